//! Looking at names and folders at an FTP server.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use chrono::{DateTime, Utc};
use suppaftp::tokio::{AsyncRustlsStream, TransferStream};
use suppaftp::{FtpError, FtpResult, Status};
use tokio::io::AsyncReadExt as _;

use super::fault::{ends_session, is_absent, is_unknown, words};
use super::listing;
use super::session::Session;
use crate::marker::MARKER;
use crate::remote::{FileKind, Found};

/// The longest listing of one folder, in bytes.
const MOST_LISTING: usize = 64 << 20;

/// The server's name of a path.
pub(super) fn at(session: &Session, path: &str) -> String {
    match (session.facts.base.as_str(), path) {
        ("", "") => "/".to_owned(),
        (base, "") => base.to_owned(),
        (base, path) => format!("{base}/{path}"),
    }
}

/// What has a name there; `None` where nothing has.
pub(super) async fn look(session: &mut Session, at: &str) -> FtpResult<Option<Found>> {
    if session.facts.machine_listings {
        match session.ftp.mlst(Some(at)).await {
            Ok(line) => {
                let found = listing::facts(&line).map_err(|_| FtpError::BadResponse)?.1;
                return Ok(Some(found));
            }
            Err(e) if is_unknown(&e) => session.facts.machine_listings = false,
            Err(e) if is_absent(&e) => return Ok(None),
            Err(e) => return Err(e),
        }
    }
    match session.ftp.size(at).await {
        Ok(size) => {
            let modified = match session.ftp.mdtm(at).await {
                Ok(time) => Some(time.and_utc()),
                Err(e) if ends_session(&e) && !matches!(e, FtpError::BadResponse) => return Err(e),
                Err(_) => None,
            };
            return Ok(Some(Found::new(FileKind::File, size as u64, modified)));
        }
        Err(e) if ends_session(&e) => return Err(e),
        Err(_) => {}
    }
    match session.ftp.cwd(at).await {
        Ok(()) => Ok(Some(Found::new(FileKind::Folder, 0, None))),
        Err(e) if ends_session(&e) => Err(e),
        Err(_) => Ok(None),
    }
}

/// Whether the server sends a part of a file that is asked for. Some confirm `REST` and send the file from its beginning: of
/// the marker, which is small, more than the last byte comes then.
pub(super) async fn resumes(session: &mut Session) -> FtpResult<bool> {
    if !session.facts.ranges {
        return Ok(false);
    }
    let marker = at(session, MARKER);
    let last = look(session, &marker).await?.and_then(|found| usize::try_from(found.size).ok()?.checked_sub(1));
    let Some(last) = last.filter(|last| *last > 0) else { return Ok(false) };
    session.ftp.resume_transfer(last).await?;
    let mut transfer = match session.ftp.retr_as_stream(&marker).await {
        Err(e) if !ends_session(&e) => return Ok(false),
        other => other?,
    };
    let sent = tokio::io::copy(&mut transfer, &mut tokio::io::sink()).await.map_err(FtpError::ConnectionError)?;
    transfer.finish().await?;
    Ok(sent == 1)
}

/// What came of listing a folder.
pub(super) enum Listed {
    Entries(Vec<(String, Found)>),
    /// It is not there, or may not be entered.
    NotEntered,
    /// It is there, and may not be read.
    Shut,
}

/// Lists a folder. `is_base`: it is the one that the destination begins in.
pub(super) async fn list(session: &mut Session, at: &str, is_base: bool, now: DateTime<Utc>) -> FtpResult<Listed> {
    if !enters(session, at).await? {
        return Ok(Listed::NotEntered);
    }
    // Of the folder that was just gone to: an argument would be taken for options or a pattern by some.
    if session.facts.machine_listings {
        match lines(session, "MLSD").await {
            Ok(text) => {
                let read = text.lines().filter(|l| !l.is_empty()).map(listing::facts);
                let all: std::result::Result<Vec<_>, _> = read.collect();
                let all = all.map_err(|_| FtpError::BadResponse)?;
                return Ok(Listed::Entries(all.into_iter().filter(|(name, _)| name != "." && name != "..").collect()));
            }
            Err(e) if is_unknown(&e) => session.facts.machine_listings = false,
            Err(e) => return Err(e),
        }
    }
    let text = lines(session, "LIST").await?;
    let read = text.lines().map(|line| listing::line(line, now));
    let all: std::result::Result<Vec<Option<_>>, _> = read.collect();
    let all: Vec<_> = all.map_err(|_| FtpError::BadResponse)?.into_iter().flatten().collect();
    if !all.is_empty() || !is_shut(session, is_base).await? {
        return Ok(Listed::Entries(all));
    }
    // One that was removed meanwhile shows nothing either.
    match enters(session, at).await? {
        false => Ok(Listed::NotEntered),
        true if lists_itself(session).await? => Ok(Listed::Entries(all)),
        true => Ok(Listed::Shut),
    }
}

/// Whether a folder is there and may be gone to.
pub(super) async fn enters(session: &mut Session, at: &str) -> FtpResult<bool> {
    match session.ftp.cwd(at).await {
        Ok(()) => Ok(true),
        Err(e) if is_absent(&e) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Whether the folder that was gone to is one that the server could not open: many then list nothing, and confirm it. The
/// words of that confirmation differ, and it is no error; but a folder that is open lists itself when asked for all names.
async fn is_shut(session: &mut Session, is_base: bool) -> FtpResult<bool> {
    if lists_itself(session).await? {
        return Ok(false);
    }
    if is_base {
        // What lies there by name is not in the listing.
        return match session.ftp.size(MARKER).await {
            Ok(_) => Ok(true),
            Err(e) if ends_session(&e) => Err(e),
            Err(_) => Ok(false),
        };
    }
    if let Some(all_names) = session.facts.all_names {
        return Ok(all_names);
    }
    // A server that does not take the option says nothing of any folder.
    let base = at(session, "");
    session.ftp.cwd(base).await?;
    let all_names = lists_itself(session).await?;
    session.facts.all_names = Some(all_names);
    Ok(all_names)
}

async fn lists_itself(session: &mut Session) -> FtpResult<bool> {
    match lines(session, "LIST -a").await {
        Ok(text) => Ok(text.lines().any(|line| !line.trim().is_empty())),
        Err(e) if ends_session(&e) => Err(e),
        Err(_) => Ok(false),
    }
}

/// Ends a listing, and reads what the server says of it: whether there are more names.
async fn refuse_cut(session: &mut Session, transfer: TransferStream<AsyncRustlsStream>) -> FtpResult<()> {
    let whole = [Status::ClosingDataConnection, Status::RequestedFileActionOk];
    let said = words(&session.ftp.read_response_in(&whole).await?.body);
    // The client does not know that the transfer has ended. There is nothing to break off, which is said in several ways.
    match session.ftp.abort(transfer).await {
        Err(e) if ends_session(&e) => return Err(e),
        _ => {}
    }
    if said.to_ascii_lowercase().contains("truncated") {
        let why =
            format!("the listing of the folder is cut; the server says: {said} (its option -L, or LimitRecursion)");
        return Err(FtpError::ConnectionError(std::io::Error::other(why)));
    }
    Ok(())
}

async fn lines(session: &mut Session, command: &str) -> FtpResult<String> {
    let open = [Status::AboutToSend, Status::AlreadyOpen];
    let (_, mut transfer) = session.ftp.custom_data_command(command, &open).await?;
    let mut all = Vec::new();
    let mut bounded = (&mut transfer).take(MOST_LISTING as u64);
    bounded.read_to_end(&mut all).await.map_err(FtpError::ConnectionError)?;
    if all.len() >= MOST_LISTING {
        return Err(FtpError::ConnectionError(std::io::Error::other("the listing of the folder is too long")));
    }
    if session.facts.cuts_listings {
        refuse_cut(session, transfer).await?;
    } else {
        transfer.finish().await?;
    }
    // Names in another encoding are not ours.
    Ok(String::from_utf8_lossy(&all).into_owned())
}
