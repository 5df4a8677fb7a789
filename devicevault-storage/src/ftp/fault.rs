//! What errors of FTP mean to a person.

use std::time::Duration;

use devicevault_core::{Error, ErrorKind, Retry};
use suppaftp::{FtpError, Status};

/// The most of a server's words that is shown.
const MOST_WORDS: usize = 200;

/// The house's error for one of FTP.
pub(super) fn of_ftp(operation: &'static str, e: &FtpError) -> Error {
    let make = |kind, message: String| Error::new(kind, operation, message);
    match e {
        FtpError::UnexpectedResponse(response) => {
            let said = words(&response.body);
            match response.status {
                Status::NotAvailable => {
                    make(ErrorKind::Unavailable, format!("the server closes the connection: {said}"))
                }
                Status::NotLoggedIn | Status::InvalidCredentials => {
                    make(ErrorKind::AuthRejected, format!("the server does not accept the login: {said}"))
                        .hint("check user name and password of this destination")
                }
                Status::RequestedActionNotTaken | Status::ExceededStorage => {
                    make(ErrorKind::StorageFull, format!("there is no room at the server: {said}"))
                        .hint("free some space there, or move the destination")
                        .retry_advice(Retry::After(Duration::from_secs(60)))
                }
                Status::ActionAborted | Status::TransferAborted => {
                    make(ErrorKind::Unavailable, format!("the server broke off the transfer: {said}"))
                        .hint("look at the free space of the server's disk")
                }
                Status::BadCommand | Status::NotImplemented | Status::NotImplementedParameter => {
                    make(ErrorKind::Unsupported, format!("the server cannot do that: {said}"))
                }
                Status::FileUnavailable | Status::BadFilename => {
                    make(ErrorKind::PermissionDenied, format!("the server refused: {said}"))
                        .hint("give the folder to the user that logs in there, with the right to write and rename")
                }
                _ => make(ErrorKind::Unavailable, format!("the server refused: {said}")),
            }
        }
        // Ours: what came is not what was to come.
        FtpError::ConnectionError(e) if e.kind() == std::io::ErrorKind::Other => {
            make(ErrorKind::Unavailable, shown(&e.to_string()))
        }
        FtpError::ConnectionError(e) => {
            make(ErrorKind::Unavailable, "the connection broke".to_owned()).because(e.to_string())
        }
        FtpError::SecureError(why) if why.contains("certificate") => make(
            ErrorKind::HostKeyRejected,
            format!("the server's certificate is not trusted: {}", shown(why)),
        )
        .hint(
            "name the authority that signed it by the option ca_file; the name in the certificate has to be the host's",
        ),
        FtpError::SecureError(why) => make(ErrorKind::Unavailable, format!("TLS failed: {}", shown(why)))
            .hint("check that the port is one of FTP over TLS, and whether it is explicit or implicit"),
        FtpError::BadResponse => {
            make(ErrorKind::Unsupported, "the server does not speak FTP".to_owned()).hint("check address and port")
        }
        other => make(ErrorKind::Unavailable, shown(&other.to_string())),
    }
}

/// Whether the connection is no longer of use.
pub(super) fn ends_session(e: &FtpError) -> bool {
    match e {
        FtpError::UnexpectedResponse(response) => response.status == Status::NotAvailable,
        _ => true,
    }
}

/// Whether there is no such file, or one may not know: the protocol has one code for both.
pub(super) fn is_absent(e: &FtpError) -> bool {
    matches!(e, FtpError::UnexpectedResponse(r) if matches!(r.status, Status::FileUnavailable | Status::BadFilename))
}

/// The same of a change: some say then that it was broken off.
pub(super) fn may_be_absent(e: &FtpError) -> bool {
    is_absent(e) || matches!(e, FtpError::UnexpectedResponse(r) if r.status == Status::ActionAborted)
}

/// Whether the server does not know the command.
pub(super) fn is_unknown(e: &FtpError) -> bool {
    matches!(e, FtpError::UnexpectedResponse(r)
        if matches!(r.status, Status::BadCommand | Status::NotImplemented | Status::BadArguments | Status::CommandNotImplemented))
}

/// No answer came in time.
pub(super) fn silent(operation: &'static str, after: Duration) -> Error {
    Error::new(ErrorKind::Timeout, operation, format!("the server did not answer within {} s", after.as_secs()))
}

/// What the server said, as people may see it.
pub(super) fn words(body: &[u8]) -> String {
    shown(&String::from_utf8_lossy(body))
}

fn shown(text: &str) -> String {
    let line = text.lines().next_back().unwrap_or_default().trim();
    line.chars().take(MOST_WORDS).collect::<String>().escape_debug().to_string()
}
