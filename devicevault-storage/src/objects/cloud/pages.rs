//! Listings that come in several answers, of S3 and of Google Cloud Storage.
//!
//! The library asks on as long as an answer names the token of the next one, and takes one without it for the last, whatever
//! it says. A server that knows the first version of the listing alone says that there is more, and has no token: what came
//! would pass for all that there is. So every answer to a listing is looked at on its way.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use async_trait::async_trait;
use devicevault_core::{Error, ErrorKind, Result};
use http::Method;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};
use serde::Deserialize;

/// Makes clients that let no listing pass whose rest cannot be asked for.
#[derive(Debug, Default)]
pub(super) struct WholeListings(ReqwestConnector);

impl HttpConnector for WholeListings {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Looking(self.0.connect(options)?)))
    }
}

#[derive(Debug)]
struct Looking(HttpClient);

#[async_trait]
impl HttpService for Looking {
    async fn call(&self, request: HttpRequest) -> std::result::Result<HttpResponse, HttpError> {
        let query = request.uri().query().unwrap_or_default();
        let is_listing = request.method() == Method::GET && query.split('&').any(|pair| pair == "list-type=2");
        let response = self.0.execute(request).await?;
        if !is_listing || !response.status().is_success() {
            return Ok(response);
        }
        let (head, body) = response.into_parts();
        let body = body.bytes().await?;
        refuse_cut(&String::from_utf8_lossy(&body)).map_err(|e| HttpError::new(HttpErrorKind::Decode, e))?;
        Ok(HttpResponse::from_parts(head, body.into()))
    }
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
        for none in ["", "<html>", "{}"] {
            assert!(refuse_cut(none).is_ok(), "{none}");
        }
    }
}
