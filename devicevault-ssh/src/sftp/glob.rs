//! Patterns of file names.
//!
//! `*` stands for any bytes of a name, `?` for one, `[a-c7]` and `[!a-c7]` for one of a set or none of it; a name that
//! begins with a dot is met only by a pattern that does. Nothing stands for `/`. `\` takes the next byte as it is.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use super::attributes::{Attributes, FileType};
use super::error::{SftpError, escaped};
use super::session::SftpSession;

/// Folders that one pattern may make this look into.
const MOST_FOLDERS: usize = 1000;

/// A path with wildcards, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    absolute: bool,
    components: Vec<Component>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Component {
    Plain(Vec<u8>),
    Wild(Vec<Token>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Byte(u8),
    Any,
    One,
    Set { ranges: Vec<(u8, u8)>, inverted: bool },
}

/// What a pattern met.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Matches {
    /// Files, in the order of their paths.
    pub files: Vec<Match>,
    /// Of the places that a wildcard met, those into which the server let nobody look: there may be files in them that the
    /// pattern would have met.
    pub unread: Vec<SftpError>,
}

/// A file that a pattern met.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Match {
    /// Its whole path, with the folders of the pattern in front.
    pub path: Vec<u8>,
    /// Of the file, links followed.
    pub attributes: Attributes,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// `Pattern` for an empty one, a set that does not end, or a `\` at the end.
    pub fn parse(pattern: impl AsRef<[u8]>) -> Result<Self, SftpError> {
        let bytes = pattern.as_ref();
        let wrong = |why| SftpError::Pattern { pattern: escaped(bytes), why };
        let components: Result<Vec<_>, _> =
            bytes.split(|b| *b == b'/').filter(|c| !c.is_empty()).map(|c| component(c).map_err(wrong)).collect();
        let components = components?;
        if components.is_empty() {
            return Err(wrong("it names no file"));
        }
        Ok(Self { absolute: bytes.first() == Some(&b'/'), components })
    }

    /// Whether it holds a wildcard; without one it is the path of one file.
    #[must_use]
    pub fn is_wild(&self) -> bool {
        self.components.iter().any(|c| matches!(c, Component::Wild(_)))
    }

    /// The path, where there is no wildcard in it.
    #[must_use]
    pub fn as_path(&self) -> Option<Vec<u8>> {
        let mut path = self.root();
        for component in &self.components {
            match component {
                Component::Plain(name) => append(&mut path, name),
                Component::Wild(_) => return None,
            }
        }
        Some(path)
    }

    /// Whether it meets this path, component by component.
    #[must_use]
    pub fn matches(&self, path: &[u8]) -> bool {
        let absolute = path.first() == Some(&b'/');
        let mut names = path.split(|b| *b == b'/').filter(|c| !c.is_empty());
        let all = self.components.iter().all(|c| names.next().is_some_and(|n| c.meets(n)));
        all && names.next().is_none() && absolute == self.absolute
    }

    fn root(&self) -> Vec<u8> {
        if self.absolute { b"/".to_vec() } else { Vec::new() }
    }
}

impl Component {
    fn meets(&self, name: &[u8]) -> bool {
        match self {
            Self::Plain(plain) => plain == name,
            Self::Wild(tokens) => meets(tokens, name),
        }
    }
}

impl SftpSession {
    /// The files that a pattern meets; folders are looked into, not met. Of what a wildcard met, what is not there is no
    /// file: it went meanwhile, or is a link that leads nowhere.
    ///
    /// # Errors
    /// `TooMany` beyond `most` files or a thousand folders; `NotFound` for a folder without wildcard that is not there.
    pub async fn glob(&self, pattern: &Pattern, most: usize) -> Result<Matches, SftpError> {
        let mut met = Matches::default();
        let mut folders = vec![pattern.root()];
        let mut looked = 0;
        let too_many = |path: &[u8], most| SftpError::TooMany { path: escaped(path), most };
        let Some((last, above)) = pattern.components.split_last() else { return Ok(met) };
        let mut after_wildcard = false;
        for component in above {
            let mut next = Vec::new();
            for folder in folders {
                match component {
                    Component::Plain(name) => next.push(joined(&folder, name)),
                    Component::Wild(tokens) => {
                        looked += 1;
                        if looked > MOST_FOLDERS {
                            return Err(too_many(&folder, MOST_FOLDERS));
                        }
                        for (path, attributes) in self.met(&folder, tokens, after_wildcard, &mut met.unread).await? {
                            if matches!(attributes.file_type(), FileType::Folder | FileType::Unknown) {
                                next.push(path);
                            }
                        }
                    }
                }
            }
            after_wildcard |= matches!(component, Component::Wild(_));
            folders = next;
        }
        for folder in folders {
            looked += 1;
            if looked > MOST_FOLDERS {
                return Err(too_many(&folder, MOST_FOLDERS));
            }
            let found = match last {
                Component::Plain(name) => match self.stat(joined(&folder, name)).await {
                    Ok(attributes) => vec![(joined(&folder, name), attributes)],
                    Err(e) if after_wildcard => {
                        pass_over(e, &mut met.unread)?;
                        Vec::new()
                    }
                    Err(e) => return Err(e),
                },
                Component::Wild(tokens) => self.met(&folder, tokens, after_wildcard, &mut met.unread).await?,
            };
            let is_file = |a: &Attributes| matches!(a.file_type(), FileType::File | FileType::Unknown);
            let found = found.into_iter().filter(|(_, a)| is_file(a));
            met.files.extend(found.map(|(path, attributes)| Match { path, attributes }));
            if met.files.len() > most {
                return Err(too_many(&folder, most));
            }
        }
        met.files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(met)
    }

    /// What a wildcard meets in a folder. A folder that a wildcard found is passed over when it cannot be read.
    async fn met(
        &self,
        folder: &[u8],
        tokens: &[Token],
        passable: bool,
        unread: &mut Vec<SftpError>,
    ) -> Result<Vec<(Vec<u8>, Attributes)>, SftpError> {
        /// More entries than a folder of a device has.
        const MOST_ENTRIES: usize = 100_000;
        let listed = self.list(if folder.is_empty() { b"." } else { folder }, MOST_ENTRIES).await;
        let entries = match listed {
            Ok(entries) => entries,
            Err(e) if passable => {
                pass_over(e, unread)?;
                return Ok(Vec::new());
            }
            Err(e) => return Err(e),
        };
        let mut found = Vec::new();
        for entry in entries {
            if !meets(tokens, &entry.name) {
                continue;
            }
            let path = joined(folder, &entry.name);
            let attributes = match entry.attributes.file_type() {
                FileType::Link | FileType::Unknown => match self.stat(&path).await {
                    Ok(attributes) => attributes,
                    Err(e) => {
                        pass_over(e, unread)?;
                        continue;
                    }
                },
                _ => entry.attributes,
            };
            found.push((path, attributes));
        }
        Ok(found)
    }
}

/// Of what a wildcard found, what is not there is no file that it met; what is not for this login is told.
fn pass_over(e: SftpError, unread: &mut Vec<SftpError>) -> Result<(), SftpError> {
    if e.ends_session() || matches!(e, SftpError::TooMany { .. }) {
        return Err(e);
    }
    if !matches!(e, SftpError::NotFound { .. }) {
        unread.push(e);
    }
    Ok(())
}

fn joined(folder: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = folder.to_vec();
    append(&mut path, name);
    path
}

fn append(path: &mut Vec<u8>, name: &[u8]) {
    if path.last().is_some_and(|b| *b != b'/') {
        path.push(b'/');
    }
    path.extend_from_slice(name);
}

fn component(text: &[u8]) -> Result<Component, &'static str> {
    let mut tokens = Vec::new();
    let mut bytes = text.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        tokens.push(match byte {
            0 => return Err("it holds a NUL"),
            b'*' => Token::Any,
            b'?' => Token::One,
            b'\\' => Token::Byte(bytes.next().ok_or("it ends with a backslash")?),
            b'[' => {
                const OPEN: &str = "a set that begins with [ has no ]";
                let inverted = bytes.next_if(|b| matches!(b, b'!' | b'^')).is_some();
                let mut ranges = Vec::new();
                loop {
                    // As the first of a set, ] stands for itself.
                    let from = match bytes.next().ok_or(OPEN)? {
                        b']' if !ranges.is_empty() => break,
                        b'\\' => bytes.next().ok_or(OPEN)?,
                        other => other,
                    };
                    let to = match bytes.next_if_eq(&b'-') {
                        None => from,
                        Some(_) => match bytes.peek() {
                            // At the end of a set, - stands for itself.
                            Some(b']') => {
                                ranges.push((b'-', b'-'));
                                from
                            }
                            _ => bytes.next().ok_or(OPEN)?,
                        },
                    };
                    ranges.push((from, to));
                }
                Token::Set { ranges, inverted }
            }
            other => Token::Byte(other),
        });
    }
    let plain: Option<Vec<u8>> = tokens.iter().map(|t| if let Token::Byte(b) = t { Some(*b) } else { None }).collect();
    Ok(plain.map_or(Component::Wild(tokens), Component::Plain))
}

/// Takes steps in proportion to name times pattern at most: only the last `*` is ever tried again.
fn meets(tokens: &[Token], name: &[u8]) -> bool {
    if name.first() == Some(&b'.') && tokens.first() != Some(&Token::Byte(b'.')) {
        return false;
    }
    let (mut rest, mut left) = (tokens, name);
    let mut retry: Option<(&[Token], &[u8])> = None;
    loop {
        match (rest.split_first(), left.split_first()) {
            (None, None) => return true,
            (Some((Token::Any, after)), _) => {
                retry = Some((after, left));
                rest = after;
                continue;
            }
            (Some((token, after)), Some((byte, further))) if token.meets(*byte) => {
                (rest, left) = (after, further);
                continue;
            }
            _ => {}
        }
        // One more byte for the last star.
        let Some((after, from)) = retry else { return false };
        let Some((_, further)) = from.split_first() else { return false };
        retry = Some((after, further));
        (rest, left) = (after, further);
    }
}

impl Token {
    fn meets(&self, byte: u8) -> bool {
        match self {
            Self::Byte(own) => *own == byte,
            Self::One | Self::Any => true,
            Self::Set { ranges, inverted } => {
                ranges.iter().any(|(from, to)| (*from..=*to).contains(&byte)) != *inverted
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    #[test]
    fn wildcards_meet_what_a_shell_would_meet() {
        for (p, yes, no) in [
            ("/flash/*.bin", "/flash/a.b.bin", "/flash/x/a.bin"),
            ("*.bin", "a.bin", ".bin"),
            (".*", ".bin", "bin"),
            ("a?c", "abc", "ac"),
            ("[!a-c]*", "dx", "bx"),
            ("[]-]", "]", "["),
            ("[a-]", "-", "b"),
            ("backup-[0-9][0-9].cfg", "backup-07.cfg", "backup-7.cfg"),
            ("\\*", "*", "x"),
            ("*a*b*", "xxaxbx", "xxbxa"),
            ("x/*/c", "x/y/c", "/x/y/c"),
        ] {
            assert!(pattern(p).matches(yes.as_bytes()), "{p} {yes}");
            assert!(!pattern(p).matches(no.as_bytes()), "{p} {no}");
        }
    }

    #[test]
    fn a_plain_path_is_told_from_a_pattern() {
        assert_eq!(pattern("/etc//frr/frr.conf").as_path().unwrap(), b"/etc/frr/frr.conf");
        assert_eq!(pattern("a\\*b").as_path().unwrap(), b"a*b");
        assert!(pattern("/etc/*").is_wild());
        assert_eq!(pattern("/etc/*").as_path(), None);
        for bad in ["", "/", "[a", "[", "a\\", "[]", "a\0b"] {
            assert!(matches!(Pattern::parse(bad), Err(SftpError::Pattern { .. })), "{bad:?}");
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        let p = pattern(&"*a".repeat(1000));
        assert!(!p.matches(&b"a".repeat(999)));
        assert!(p.matches(&b"a".repeat(1000)));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text: Vec<u8>, path: Vec<u8>) {
            if let Ok(p) = Pattern::parse(&text) {
                let _ = p.matches(&path);
            }
        }

        #[test]
        fn a_plain_name_meets_itself_alone(name in "[a-z.]{1,8}", other in "[a-z.]{1,8}") {
            let p = pattern(&name);
            prop_assert!(p.matches(name.as_bytes()));
            prop_assert_eq!(p.matches(other.as_bytes()), name == other);
        }

        #[test]
        fn a_star_meets_every_middle(a in "[a-z]{1,4}", middle in "[^/\0]{0,10}", b in "[a-z]{0,4}") {
            let (p, path) = (pattern(&format!("{a}*{b}")), format!("{a}{middle}{b}"));
            prop_assert!(p.matches(path.as_bytes()));
        }
    }
}
