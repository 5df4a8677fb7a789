//! Requests whose answers are looked at before they are believed.
//!
//! No redirection is followed: a page to which something on the way sends us, of a portal or of a gateway that is being
//! mended, answers a `GET` by `200`, and an upload that became one would pass for stored.
//!
//! Listings come in several answers, at S3 and Google Cloud Storage.
//! The library asks on as long as an answer names the token of the next one, and takes one without it for the last, whatever
//! it says. A server that knows the first version of the listing alone says that there is more, and has no token: what came
//! would pass for all that there is. So every answer to a listing is looked at on its way.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use async_trait::async_trait;
use devicevault_core::{Error, ErrorKind, Result};
use http::Method;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};
use object_store::{ClientConfigKey, ClientOptions};
use quick_xml::events::Event;
use serde::Deserialize;

/// Makes clients that follow no redirection, and let nothing pass for a whole listing that is none.
#[derive(Debug)]
pub(super) struct Doubting {
    client: reqwest::Client,
    allows_http: bool,
}

impl Doubting {
    /// `client` follows nothing.
    pub(super) fn new(client: reqwest::Client, allows_http: bool) -> Self {
        Self { client, allows_http }
    }
}

impl HttpConnector for Doubting {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        // The services of a cloud's machines that hand out credentials are spoken to without TLS, and with less patience.
        let is_store = options.get_config_value(&ClientConfigKey::AllowHttp) == Some(self.allows_http.to_string());
        let client = if is_store {
            HttpClient::new(self.client.clone())
        } else {
            ReqwestConnector::default().connect(options)?
        };
        Ok(HttpClient::new(Looking(client)))
    }
}

#[derive(Debug)]
struct Looking(HttpClient);

#[async_trait]
impl HttpService for Looking {
    async fn call(&self, request: HttpRequest) -> std::result::Result<HttpResponse, HttpError> {
        let is_read = request.method() == Method::GET;
        let query = request.uri().query().filter(|_| is_read).unwrap_or_default();
        let is_of = |pair: &str| LISTINGS.iter().find(|(asked, _)| *asked == pair).map(|(_, root)| *root);
        let root = query.split('&').find_map(is_of);
        let is_change = !is_read && request.method() != Method::HEAD;
        let response = self.0.execute(request).await?;
        if !response.status().is_success() || (root.is_none() && !is_change) {
            return Ok(response);
        }
        let (head, body) = response.into_parts();
        let body = body.bytes().await?;
        let text = String::from_utf8_lossy(&body);
        let looked = match root {
            Some(root) => refuse_other(&text, root).and_then(|()| refuse_cut(&text)),
            None => refuse_page(&text),
        };
        looked.map_err(|e| HttpError::new(HttpErrorKind::Decode, e))?;
        Ok(HttpResponse::from_parts(head, body.into()))
    }
}

/// What asks for a listing, and what the answer is then: of S3 and Google Cloud Storage, and of Azure.
const LISTINGS: [(&str, &str); 2] = [("list-type=2", "ListBucketResult"), ("comp=list", "EnumerationResults")];

/// Refuses what is no listing. The library takes any XML for one, of nothing.
fn refuse_other(text: &str, root: &str) -> Result<()> {
    let mut reader = quick_xml::Reader::from_str(text);
    let found = loop {
        match reader.read_event() {
            Ok(Event::Start(element) | Event::Empty(element)) => {
                break element.local_name().as_ref() == root.as_bytes();
            }
            Ok(Event::Eof) | Err(_) => break false,
            Ok(_) => {}
        }
    };
    if found {
        return Ok(());
    }
    let why = "the store answers a listing by something else, as a portal or a gateway on the way may";
    Err(Error::new(ErrorKind::Incomplete, "list objects", why).hint(LOOK))
}

const LOOK: &str = "look at the endpoint, and at proxies on the way to it";

/// Refuses a page for people as a confirmation: a store confirms by nothing, or by XML.
fn refuse_page(text: &str) -> Result<()> {
    let text = text.trim_start_matches(['\u{feff}', ' ', '\t', '\r', '\n']);
    let begins = |with: &str| text.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
    if !begins("<!doctype html") && !begins("<html") {
        return Ok(());
    }
    let why = "a page for people came in place of a confirmation, as of a portal or a gateway on the way";
    Err(Error::new(ErrorKind::Unavailable, "write object", why).hint(LOOK))
}

/// `ListBucketResult`, as far as it says whether there is more.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    is_truncated: Option<String>,
    next_continuation_token: Option<String>,
}

/// Refuses a page after which there is more, and no way to ask for it. What cannot be read is the library's to tell.
fn refuse_cut(xml: &str) -> Result<()> {
    let Ok(listed) = quick_xml::de::from_str::<Listed>(xml) else { return Ok(()) };
    let has_more = listed.is_truncated.is_some_and(|word| word.trim().eq_ignore_ascii_case("true"));
    if !has_more || listed.next_continuation_token.is_some_and(|token| !token.is_empty()) {
        return Ok(());
    }
    let why = "the store's listing breaks off: there is more, and it does not say how to ask for it";
    Err(Error::new(ErrorKind::Incomplete, "list objects", why)
        .hint("the server, or the gateway before it, has to know the second version of S3's listing (list-type=2)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_for_people_confirms_nothing() {
        for page in ["<html>", "\u{feff}\n <!DOCTYPE html><p>Maintenance", "<HTML lang=en>"] {
            assert!(refuse_page(page).is_err(), "{page}");
        }
        for confirmation in
            ["", "<", "<?xml version=\"1.0\"?><CompleteMultipartUploadResult/>", "<CopyObjectResult/>", "ä"]
        {
            assert!(refuse_page(confirmation).is_ok(), "{confirmation}");
        }
    }

    #[test]
    fn a_listing_that_breaks_off_is_no_whole_one() {
        let page = |rest: &str| {
            format!(
                "<?xml version=\"1.0\"?><ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>b</Name>\
                 <Contents><Key>a&lt;IsTruncated></Key><Size>1</Size></Contents>{rest}</ListBucketResult>"
            )
        };
        for whole in [
            "",
            "<IsTruncated>false</IsTruncated>",
            "<IsTruncated>true</IsTruncated><NextContinuationToken>x</NextContinuationToken>",
            "<NextContinuationToken>x</NextContinuationToken><IsTruncated> true </IsTruncated><Contents/>",
        ] {
            assert!(refuse_cut(&page(whole)).is_ok(), "{whole}");
        }
        for cut in [
            "<IsTruncated>true</IsTruncated>",
            "<IsTruncated>True</IsTruncated><NextContinuationToken/>",
            "<IsTruncated>true</IsTruncated><NextMarker>a</NextMarker>",
        ] {
            let e = refuse_cut(&page(cut)).unwrap_err();
            assert!(e.kind() == ErrorKind::Incomplete && e.hint_text().is_some(), "{cut}: {e:?}");
        }
        let azure = "\u{feff}<?xml version=\"1.0\"?><EnumerationResults><Blobs/></EnumerationResults>";
        assert!(
            refuse_other(&page(""), "ListBucketResult").is_ok() && refuse_other(azure, "EnumerationResults").is_ok()
        );
        for none in
            ["", "{}", "<html><ListBucketResult/></html>", "<!-- <ListBucketResult> -->", "ListBucketResult", azure]
        {
            let e = refuse_other(none, "ListBucketResult").unwrap_err();
            assert!(e.kind() == ErrorKind::Incomplete && e.hint_text().is_some(), "{none}: {e:?}");
        }
    }
}
