//! A commit object as it is on disk: of a damaged repository, no library reads it.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use git2::Oid;

/// A commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Raw {
    pub(super) tree: Oid,
    pub(super) parents: Vec<Oid>,
    /// When it was committed, in seconds since 1970.
    pub(super) time: i64,
    pub(super) message: Vec<u8>,
    /// The other lines of its head, without a signature: that one is of what it was.
    head: Vec<u8>,
}

impl Raw {
    /// Reads a commit object; `None` where it is none.
    pub(super) fn parse(data: &[u8]) -> Option<Self> {
        let end = data.windows(2).position(|pair| pair == b"\n\n")?;
        let (mut tree, mut parents, mut time, mut head) = (None, Vec::new(), 0, Vec::new());
        let mut signature = false;
        for line in data.get(..end)?.split(|b| *b == b'\n') {
            signature = if line.starts_with(b" ") { signature } else { line.starts_with(b"gpgsig") };
            if let Some(id) = line.strip_prefix(b"tree ") {
                tree = Some(oid(id)?);
            } else if let Some(id) = line.strip_prefix(b"parent ") {
                parents.push(oid(id)?);
            } else if !signature {
                if line.starts_with(b"committer ") {
                    time = String::from_utf8_lossy(line).rsplit(' ').nth(1).and_then(|t| t.parse().ok()).unwrap_or(0);
                }
                head.extend_from_slice(line);
                head.push(b'\n');
            }
        }
        Some(Self { tree: tree?, parents, time, message: data.get(end + 2..)?.to_vec(), head })
    }

    /// The commit object with another tree, other parents and another message.
    pub(super) fn again(&self, tree: Oid, parents: &[Oid], message: &[u8]) -> Vec<u8> {
        let mut out = format!("tree {tree}\n").into_bytes();
        parents.iter().for_each(|p| out.extend_from_slice(format!("parent {p}\n").as_bytes()));
        out.extend_from_slice(&self.head);
        out.push(b'\n');
        out.extend_from_slice(message);
        out
    }
}

fn oid(hex: &[u8]) -> Option<Oid> {
    Oid::from_str(std::str::from_utf8(hex).ok().filter(|text| text.len() == 40)?).ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_commit_reads_back_and_loses_its_signature_alone() {
        let id = "1111111111111111111111111111111111111111";
        let other = "2222222222222222222222222222222222222222";
        let signed = format!(
            "tree {id}\nparent {other}\nauthor A <a> 5 +0000\ncommitter B <b> 7 +0200\nencoding latin1\n\
             gpgsig -----BEGIN\n tree {other}\n -----END\n\nsubject\n\nbody \u{e9}\n"
        );
        let raw = Raw::parse(signed.as_bytes()).unwrap();
        assert_eq!(
            (raw.time, raw.parents.len(), raw.message.as_slice()),
            (7, 1, "subject\n\nbody \u{e9}\n".as_bytes())
        );
        let again = String::from_utf8(raw.again(raw.tree, &raw.parents, &raw.message)).unwrap();
        let unsigned = signed.replace(&format!("gpgsig -----BEGIN\n tree {other}\n -----END\n"), "");
        assert_eq!(again, unsigned);
        assert_eq!(Raw::parse(again.as_bytes()).unwrap(), raw);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_harm(bytes in any::<Vec<u8>>(), head in "(tree |parent |[a-f0-9]{40}|\n){0,8}") {
            let _ = Raw::parse(&bytes);
            let _ = Raw::parse(head.as_bytes());
        }
    }
}
