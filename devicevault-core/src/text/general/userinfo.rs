//! Passwords in addresses: `ftp://user:PASS@host` of RFC 3986 §3.2.1, and `user:PASS@host` without a scheme.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::ops::Range;

/// What stands before a colon and is no user.
const NO_USERS: [&str; 22] = [
    "sip", "sips", "mailto", "tel", "xmpp", "im", "acct", "urn", "file", "scp", "ssh", "sftp", "ftp", "ftps", "tftp",
    "http", "https", "rsync", "git", "svn", "ldap", "xmlns",
];

/// The passwords of the addresses in a line.
pub(super) fn passwords(line: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    for word in line.split(|b| b.is_ascii_whitespace() || matches!(b, b'"' | b'\'' | b'<' | b'>' | b'`')) {
        if memchr::memchr(b'@', word).is_some() {
            of_word(word, at, &mut found);
        }
        at += word.len() + 1;
    }
    found
}

fn of_word(word: &[u8], offset: usize, found: &mut Vec<Range<usize>>) {
    let mut schemes = memchr::memmem::find_iter(word, b"://").peekable();
    if schemes.peek().is_none() {
        found.extend(without_scheme(word).map(|r| r.start + offset..r.end + offset));
    }
    while let Some(scheme) = schemes.next() {
        let start = scheme + 3;
        let end = schemes.peek().copied().unwrap_or(word.len());
        let rest = word.get(start..end).unwrap_or_default();
        found.extend(of_authority(rest).map(|r| r.start + start + offset..r.end + start + offset));
    }
}

/// From the first colon to the last `@` of the authority. A password may hold unescaped what ends the authority: then
/// what stands behind the colon is no port.
fn of_authority(rest: &[u8]) -> Option<Range<usize>> {
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    let authority = rest.get(..end)?;
    let colon = memchr::memchr(b':', authority)?;
    let host = |at: &usize| authority.get(at + 1..).is_some_and(|host| host.iter().all(|b| is_of_a_host(*b)));
    let at = match memchr::memrchr(b'@', authority).filter(host) {
        Some(at) => at,
        None if authority.get(colon + 1..)?.iter().all(u8::is_ascii_digit) => return None,
        None => memchr::memrchr(b'@', rest)?,
    };
    (colon + 1 < at).then_some(colon + 1..at)
}

fn without_scheme(word: &[u8]) -> Option<Range<usize>> {
    let colon = memchr::memchr(b':', word)?;
    let before = word.get(..colon)?;
    let from = before.iter().rposition(|b| !is_of_a_user(*b)).map_or(0, |at| at + 1);
    let user = before.get(from..)?.to_ascii_lowercase();
    let at = memchr::memrchr(b'@', word)?;
    let host = word.get(at + 1..)?;
    let hosted = host.first().is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'[' | b'$'));
    let password = word.get(colon + 1..at)?;
    let taken = !user.is_empty()
        && !NO_USERS.iter().any(|n| user == n.as_bytes())
        && hosted
        && !is_date(host)
        && password.first().is_some_and(|b| !matches!(b, b'/' | b':' | b'@'));
    taken.then_some(colon + 1..at)
}

fn is_of_a_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']' | b'%' | b'$' | b'{' | b'}' | b',' | b';' | b')')
}

fn is_of_a_user(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'+' | b'-' | b'%')
}

/// A module of YANG names its revision: `module:part@2020-01-01`.
fn is_date(text: &[u8]) -> bool {
    matches!(text, [a, b, c, d, b'-', ..] if [a, b, c, d].iter().all(|x| x.is_ascii_digit()))
}
