//! What a server answered that keeps objects: the HTTP status, and the code and the words in the XML or JSON beneath it.
//!
//! The library that speaks to the server keeps the types of these errors to itself, so that they are read from their
//! text: `Server returned non-2xx status code: 503 Service Unavailable: <Error><Code>SlowDown</Code>…`.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::error::Error as StdError;
use std::time::Duration;

use devicevault_core::{Error, ErrorKind, Retry};

/// What the texts of such errors begin with.
const STATUS: &str = "Server returned non-2xx status code: ";
const ERROR_BODY: &str = "Server returned error response: ";
const REDIRECT: &str = "Received redirect without LOCATION";

/// Longer words of a server are cut off.
const MAX_WORDS: usize = 300;
/// A code is a word.
const MAX_CODE: usize = 64;

/// An answer that is an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// 0 where an error came with a status of success, or none.
    status: u16,
    code: Option<String>,
    words: Option<String>,
}

impl Answer {
    /// The answer behind an error, where there is one.
    pub(super) fn of(e: &(dyn StdError + 'static)) -> Option<Self> {
        let mut cause = Some(e);
        while let Some(c) = cause {
            if let Some(answer) = Self::read(&c.to_string()) {
                return Some(answer);
            }
            cause = c.source();
        }
        None
    }

    fn read(text: &str) -> Option<Self> {
        if text.starts_with(REDIRECT) {
            return Some(Self { status: 301, code: None, words: None });
        }
        if let Some(body) = text.strip_prefix(ERROR_BODY) {
            return Some(Self { status: 0, code: code(body), words: words(body) });
        }
        let rest = text.strip_prefix(STATUS)?;
        let status = rest.get(..3)?.parse().ok()?;
        let body = rest.split_once(": ").map_or("", |(_, body)| body);
        Some(Self { status, code: code(body), words: words(body) })
    }

    fn has(&self, codes: &[&str]) -> bool {
        self.code.as_deref().is_some_and(|code| codes.contains(&code))
    }

    /// Two writers met, and neither has won.
    pub(super) fn is_undecided(&self) -> bool {
        self.has(&["ConditionalRequestConflict", "OperationAborted"])
    }

    /// The object is there, and has to be brought back before it can be read.
    pub(super) fn is_archived(&self) -> bool {
        self.has(&["InvalidObjectState", "BlobArchived"])
    }

    /// A policy of the store keeps what is there.
    pub(super) fn is_kept(&self) -> bool {
        self.code.as_deref().is_some_and(|code| code.starts_with("BlobImmutable"))
    }

    /// The answer as a person and a retry need it.
    pub(super) fn told(&self, operation: &'static str) -> Error {
        use ErrorKind as K;
        let make = |kind, why: &str| Error::new(kind, operation, format!("{why}: {}", self.text()));
        let later = |seconds| Retry::After(Duration::from_secs(seconds));
        if self.has(&["NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted", "AllAccessDisabled"]) {
            return make(K::Unavailable, "the bucket is not there").hint("check URL, endpoint and region");
        }
        if self.is_archived() {
            return make(K::PermissionDenied, "the object was moved to an archive")
                .hint("bring it back by the means of the provider, and let no lifecycle rule archive the destination");
        }
        if self.is_kept() {
            return make(K::PermissionDenied, "a policy of the store keeps it from being changed or deleted")
                .hint("it goes when the policy lets go of it; what is written there the policy has to let in");
        }
        if self.code.as_deref().is_some_and(|code| code.starts_with("KMS.")) {
            return make(K::PermissionDenied, "the key that the store encrypts the object with cannot be used")
                .hint("look at the state of that key, and who may use it, in the provider's key service");
        }
        if self.has(&["RequestTimeTooSkewed"]) {
            return make(K::Unavailable, "the clocks of this machine and of the store differ")
                .hint("let this machine's clock be set by NTP");
        }
        if self.has(&[
            "SignatureDoesNotMatch",
            "InvalidAccessKeyId",
            "InvalidSecurity",
            "AuthenticationFailed",
            "InvalidAuthenticationInfo",
            "ExpiredToken",
            "InvalidToken",
            "InvalidClientTokenId",
        ]) {
            return make(K::AuthRejected, "the key was not accepted").hint("check user and secret of the destination");
        }
        if self.has(&["AuthorizationFailure"]) {
            return make(
                K::AuthRejected,
                "the key was not accepted, or the store's network rules shut this machine out",
            )
            .hint("check user and secret of the destination, and the firewall of the storage account");
        }
        if self.has(&["AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException"])
            || matches!(self.status, 301 | 307 | 308)
        {
            return make(K::Config, "the bucket is in another region, or on another server")
                .hint("set region, and endpoint where it is no bucket of Amazon's");
        }
        if self.has(&["QuotaExceeded"]) {
            return make(K::QuotaExceeded, "the quota at the store is used up").retry_advice(later(60));
        }
        if self.has(&["XMinioStorageFull", "StorageFull", "InsufficientCapacity"]) || self.status == 507 {
            return make(K::StorageFull, "the store has no room left").retry_advice(later(60));
        }
        match self.status {
            429 => make(K::RateLimited, "the store asks for fewer requests").retry_advice(later(5)),
            503 if self.has(&["SlowDown", "ServerBusy", "SlowDownWrite", "SlowDownRead"]) => {
                make(K::RateLimited, "the store asks for fewer requests").retry_advice(later(5))
            }
            0 if self.has(&["SlowDown", "ServerBusy"]) => {
                make(K::RateLimited, "the store asks for fewer requests").retry_advice(later(5))
            }
            401 => make(K::AuthRejected, "the credentials were not accepted")
                .hint("check user and secret of the destination"),
            403 => make(K::PermissionDenied, "the credentials do not allow it")
                .hint("it takes reading, writing, listing and deleting of objects beneath the prefix"),
            404 => make(K::NotFound, "it is not there"),
            409 => make(K::Conflict, "somebody else changes it"),
            412 => make(K::Conflict, "somebody else changed it"),
            413 => make(K::TooLarge, "the store takes no object of that size"),
            501 => make(K::Unsupported, "the store cannot do that")
                .hint("where it has no put-if-absent, or no deletion of many: the options put_if_absent, bulk_delete"),
            _ => make(K::Unavailable, "the store answered with an error"),
        }
    }

    /// The answer in a line, free of what could steer a terminal.
    fn text(&self) -> String {
        let status = (self.status > 0).then(|| self.status.to_string());
        let all = [status, self.code.clone()].into_iter().flatten().collect::<Vec<_>>().join(" ");
        match (&self.words, all.is_empty()) {
            (Some(words), true) => words.clone(),
            (Some(words), false) => format!("{all}, {words}"),
            (None, _) => all,
        }
    }
}

fn code(body: &str) -> Option<String> {
    let is_code =
        |c: &str| !c.is_empty() && c.len() <= MAX_CODE && c.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.');
    element(body, "Code").or_else(|| field(body, "reason")).filter(|c| is_code(c)).map(str::to_owned)
}

fn words(body: &str) -> Option<String> {
    let words = element(body, "Message").or_else(|| field(body, "message"))?;
    // Azure adds its request's number and time in lines of their own.
    let line = words.lines().next().unwrap_or_default().trim();
    let cut: String = line.chars().take(MAX_WORDS).collect();
    (!cut.is_empty()).then(|| cut.escape_debug().to_string().replace("\\'", "'").replace("\\\"", "\""))
}

/// What stands in the first XML element of this name. The answers are small and flat, and only shown.
fn element<'a>(body: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = body.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(text, _)| text)
}

/// The text of the first JSON field of this name.
fn field<'a>(body: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = body.split_once(&format!("\"{name}\""))?;
    let rest = rest.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    rest.split_once('"').map(|(text, _)| text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told(text: &str) -> Error {
        Answer::read(text).unwrap().told("store backup")
    }

    #[test]
    fn answers_are_told_by_what_they_mean() {
        let s3 = |status: &str, code: &str| {
            told(&format!(
                "{STATUS}{status}: <?xml version=\"1.0\"?><Error><Code>{code}</Code><Message>Said so.</Message></Error>"
            ))
        };
        for (status, code, kind) in [
            ("503 Service Unavailable", "SlowDown", ErrorKind::RateLimited),
            ("503 Service Unavailable", "ServiceUnavailable", ErrorKind::Unavailable),
            ("500 Internal Server Error", "InternalError", ErrorKind::Unavailable),
            ("429 Too Many Requests", "X", ErrorKind::RateLimited),
            ("403 Forbidden", "AccessDenied", ErrorKind::PermissionDenied),
            ("403 Forbidden", "InvalidObjectState", ErrorKind::PermissionDenied),
            ("409 Conflict", "BlobArchived", ErrorKind::PermissionDenied),
            ("409 Conflict", "BlobImmutableDueToPolicy", ErrorKind::PermissionDenied),
            ("403 Forbidden", "AuthorizationFailure", ErrorKind::AuthRejected),
            ("400 Bad Request", "KMS.DisabledException", ErrorKind::PermissionDenied),
            ("403 Forbidden", "SignatureDoesNotMatch", ErrorKind::AuthRejected),
            ("403 Forbidden", "RequestTimeTooSkewed", ErrorKind::Unavailable),
            ("404 Not Found", "NoSuchBucket", ErrorKind::Unavailable),
            ("400 Bad Request", "AuthorizationHeaderMalformed", ErrorKind::Config),
            ("507 Insufficient Storage", "XMinioStorageFull", ErrorKind::StorageFull),
        ] {
            let e = s3(status, code);
            assert_eq!(e.kind(), kind, "{e}");
            assert!(e.message().contains(code) && e.message().contains("Said so."), "{e}");
        }
        assert!(matches!(s3("503 Service Unavailable", "SlowDown").retry(), Retry::After(d) if d.as_secs() == 5));
        assert_eq!(told(&format!("{REDIRECT}, this")).kind(), ErrorKind::Config);
        let google = "{\"error\": {\"code\": 403, \"message\": \"No.\", \"errors\": [{\"reason\": \"forbidden\"}]}}";
        let e = told(&format!("{STATUS}403 Forbidden: {google}"));
        assert_eq!(e.message(), "the credentials do not allow it: 403 forbidden, No.");
        assert!(
            Answer::read(&format!("{STATUS}409 Conflict: <Code>ConditionalRequestConflict</Code>"))
                .unwrap()
                .is_undecided()
        );
    }

    proptest! {
        #[test]
        fn any_answer_is_a_short_line(body in "\\PC{0,600}|(<(Code|Message)>[\\x00-\\xff]{0,900}</(Code|Message)>){0,3}", status in "[0-9]{0,4}") {
            for text in [format!("{STATUS}{status} X: {body}"), format!("{ERROR_BODY}{body}"), body] {
                if let Some(answer) = Answer::read(&text) {
                    let e = answer.told("x");
                    prop_assert!(e.message().chars().count() < 200 + MAX_CODE + MAX_WORDS * 12);
                    prop_assert!(!e.message().chars().any(char::is_control));
                }
            }
        }
    }
}
