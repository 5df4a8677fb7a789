//! The uploads in parts of a bucket: listed and given up as S3 has it
//! (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListMultipartUploads.html>), which the library does not do.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::fmt::Write as _;

use async_trait::async_trait;
use bytes::Bytes;
use devicevault_core::{Error, ErrorKind, Result, Timestamp};
use futures::TryStreamExt as _;
use http::{Method, Request};
use object_store::aws::{AwsAuthorizer, AwsCredentialProvider};
use object_store::client::{HttpClient, HttpRequestBody};
use object_store::path::Path;
use serde::Deserialize;

use crate::objects::{IsOurs, Uploads};

/// An answer is not longer: it holds a thousand uploads.
const MAX_ANSWER: usize = 8 << 20;
/// More pages are not asked for at a time.
const MAX_PAGES: usize = 100;

/// What speaks to a bucket.
#[derive(Debug)]
pub(super) struct BucketUploads {
    pub(super) http: HttpClient,
    /// The bucket's URL, without a slash at its end.
    pub(super) bucket: String,
    pub(super) region: String,
    pub(super) prefix: Path,
    /// Who signs; nobody is anonymous.
    pub(super) credentials: Option<AwsCredentialProvider>,
}

/// An upload that is not complete.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Begun {
    key: String,
    id: String,
    at: Option<Timestamp>,
}

/// A page of them, and what the next one begins with.
#[derive(Debug, Default, PartialEq, Eq)]
struct Page {
    uploads: Vec<Begun>,
    next: Option<(String, String)>,
}

#[async_trait]
impl Uploads for BucketUploads {
    async fn give_up(&self, before: Timestamp, is_ours: IsOurs) -> Result<usize> {
        let prefix = match self.prefix.as_ref() {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        let (mut next, mut given_up) = (None, 0);
        for _ in 0..MAX_PAGES {
            let page = self.page(&prefix, next.as_ref()).await?;
            for upload in &page.uploads {
                let ours = upload.key.strip_prefix(&prefix).is_some_and(is_ours);
                if ours && upload.at.is_some_and(|at| at < before) {
                    self.abort(upload).await?;
                    given_up += 1;
                }
            }
            match page.next {
                Some(marker) if next.as_ref() != Some(&marker) => next = Some(marker),
                _ => break,
            }
        }
        Ok(given_up)
    }
}

impl BucketUploads {
    async fn page(&self, prefix: &str, after: Option<&(String, String)>) -> Result<Page> {
        let mut url = format!("{}?uploads&prefix={}", self.bucket, encoded(prefix, false));
        if let Some((key, id)) = after {
            let _ = write!(url, "&key-marker={}&upload-id-marker={}", encoded(key, false), encoded(id, false));
        }
        let (status, body) = self.send(Method::GET, &url).await?;
        if status != 200 {
            return Err(refused("list broken uploads", status));
        }
        page_of(&String::from_utf8_lossy(&body))
    }

    async fn abort(&self, upload: &Begun) -> Result<()> {
        let (key, id) = (encoded(&upload.key, true), encoded(&upload.id, false));
        let url = format!("{}/{key}?uploadId={id}", self.bucket);
        match self.send(Method::DELETE, &url).await?.0 {
            // Gone meanwhile: its writer finished it, or another maintenance was faster.
            200..=299 | 404 => Ok(()),
            status => Err(refused("give up broken upload", status).with("path", upload.key.escape_debug())),
        }
    }

    async fn send(&self, method: Method, url: &str) -> Result<(u16, Bytes)> {
        let fail = |kind, why: &str| Error::new(kind, "look for broken uploads", why.to_owned());
        let request = Request::builder().method(method).uri(url).body(HttpRequestBody::empty());
        let mut request = request.map_err(|e| fail(ErrorKind::Internal, "the request cannot be made").because(e))?;
        if let Some(credentials) = &self.credentials {
            let credential = credentials.get_credential().await;
            let credential =
                credential.map_err(|e| crate::fault::of_store("look for broken uploads", &self.bucket, e))?;
            let signer = AwsAuthorizer::new(&credential, "s3", &self.region);
            let signed = signer.try_authorize(&mut request, None);
            signed.map_err(|e| fail(ErrorKind::Internal, "the request cannot be signed").because(e))?;
        }
        let unanswered = |e| fail(ErrorKind::Unavailable, "the store did not answer").because(e);
        let response = self.http.execute(request).await.map_err(unanswered)?;
        let status = response.status().as_u16();
        let (mut body, mut stream) = (Vec::new(), response.into_body().bytes_stream());
        while let Some(chunk) = stream.try_next().await.map_err(unanswered)? {
            body.extend_from_slice(&chunk);
            if body.len() > MAX_ANSWER {
                return Err(fail(ErrorKind::Corrupt, "the answer is too long to be one"));
            }
        }
        Ok((status, body.into()))
    }
}

fn refused(operation: &'static str, status: u16) -> Error {
    let kind = match status {
        401 | 403 => ErrorKind::PermissionDenied,
        400 | 404 | 405 | 501 => ErrorKind::Unsupported,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, operation, format!("the store answered {status}"))
}

/// What a signature is made over: everything but letters, digits and `-._~` as percent and two digits, and in a path the
/// slashes stay.
fn encoded(text: &str, path: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            b'/' if path => out.push('/'),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    out
}

/// `ListMultipartUploadsResult`, as far as it is of use here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    #[serde(default)]
    is_truncated: bool,
    next_key_marker: Option<String>,
    next_upload_id_marker: Option<String>,
    #[serde(default)]
    upload: Vec<ListedUpload>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListedUpload {
    key: Option<String>,
    upload_id: Option<String>,
    initiated: Option<String>,
}

/// Reads `ListMultipartUploadsResult`. What it does not name whole is passed over: it is not ours to give up.
fn page_of(xml: &str) -> Result<Page> {
    let none = |e| Error::new(ErrorKind::Corrupt, "list broken uploads", "the answer is no list of uploads").because(e);
    let listed: Listed = quick_xml::de::from_str(xml).map_err(none)?;
    let next = listed.next_key_marker.zip(listed.next_upload_id_marker).filter(|_| listed.is_truncated);
    let uploads = listed.upload.into_iter().filter_map(|u| {
        let at = u.initiated.and_then(|t| t.parse().ok());
        Some(Begun { key: u.key?, id: u.upload_id?, at })
    });
    Ok(Page { uploads: uploads.collect(), next })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_page_is_read() {
        let xml = "<?xml version=\"1.0\"?><ListMultipartUploadsResult><Bucket>b</Bucket>\
            <NextKeyMarker>dv/z</NextKeyMarker><NextUploadIdMarker>9</NextUploadIdMarker><IsTruncated>true</IsTruncated>\
            <Upload><Key>dv/a&amp;lt;b</Key><UploadId>1==</UploadId><Initiator><ID>x</ID></Initiator>\
            <Initiated>2026-11-21T01:24:44.000Z</Initiated></Upload><Upload><Key>cut</Key></Upload></ListMultipartUploadsResult>";
        let at = Some("2026-11-21T01:24:44Z".parse().unwrap());
        let begun = Begun { key: "dv/a&lt;b".to_owned(), id: "1==".to_owned(), at };
        assert_eq!(
            page_of(xml).unwrap(),
            Page { uploads: vec![begun], next: Some(("dv/z".to_owned(), "9".to_owned())) }
        );
        assert_eq!(page_of(&xml.replace("true", "false")).unwrap().next, None);
        assert_eq!(page_of("<ListMultipartUploadsResult/>").unwrap(), Page::default());
        for none in ["", "<html>", "<Upload><Key>a</Key>", "{}", "<a><IsTruncated>perhaps</IsTruncated></a>"] {
            assert_eq!(page_of(none).unwrap_err().kind(), ErrorKind::Corrupt, "{none}");
        }
    }

    #[test]
    fn other_ways_to_write_the_same_are_the_same() {
        let xml = "<ListMultipartUploadsResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\n  <Upload>\n \
            <Key><![CDATA[dv/a&b]]></Key><UploadId>&#x31;</UploadId></Upload><CommonPrefixes><Prefix>x</Prefix>\
            </CommonPrefixes><!-- and --><Upload a=\"b\"><Key>dv/c</Key><UploadId>2</UploadId></Upload>\
            </ListMultipartUploadsResult>";
        let keys: Vec<_> = page_of(xml).unwrap().uploads.into_iter().map(|u| (u.key, u.id)).collect();
        let expected = [("dv/a&b", "1"), ("dv/c", "2")].map(|(k, i)| (k.to_owned(), i.to_owned()));
        assert_eq!(keys, expected);
    }

    #[test]
    fn what_is_signed_is_encoded() {
        assert_eq!(encoded("a/b c+%=ü", true), "a/b%20c%2B%25%3D%C3%BC");
        assert_eq!(encoded("a/b", false), "a%2Fb");
    }

    proptest! {
        #[test]
        fn any_answer_is_read_without_harm(xml in "(<Upload>|</Upload>|<Key>|</Key>|<UploadId>|</UploadId>|<Initiated>|</Initiated>|\\PC){0,40}") {
            if let Ok(page) = page_of(&xml) {
                prop_assert!(page.uploads.len() <= xml.len() / 17);
            }
        }
    }
}
