//! Heads of a tar archive (POSIX.1-2017, pax and ustar interchange formats).
//!
//! The same files give the same archive: nothing stands in it but path, size, permissions, owner's numbers and time of
//! change.

/// Unit of an archive in bytes.
const BLOCK: usize = 512;

/// A file in an archive.
#[derive(Debug)]
pub(super) struct Member<'a> {
    /// Without a slash in front.
    pub(super) path: &'a [u8],
    pub(super) size: u64,
    pub(super) permissions: u32,
    pub(super) owner: (u32, u32),
    /// In seconds since 1970.
    pub(super) modified: u32,
}

/// What stands before a file's content.
pub(super) fn head(member: &Member<'_>) -> Vec<u8> {
    /// The largest number of eleven octal digits.
    const MOST: u64 = 0o77_777_777_777;
    let mut records = Vec::new();
    if member.path.len() > 100 {
        record(&mut records, b"path", member.path);
    }
    if member.size > MOST {
        record(&mut records, b"size", member.size.to_string().as_bytes());
    }
    let mut out = Vec::new();
    for (key, number) in [(b"uid", member.owner.0), (b"gid", member.owner.1)] {
        if number > 0o7_777_777 {
            record(&mut records, key, number.to_string().as_bytes());
        }
    }
    if !records.is_empty() {
        let extended = Member {
            path: b"pax",
            size: records.len() as u64,
            permissions: 0o644,
            owner: (0, 0),
            modified: member.modified,
        };
        out.extend(block(&extended, b'x'));
        out.extend(&records);
        out.extend(padding(records.len() as u64));
    }
    out.extend(block(member, b'0'));
    out
}

/// What stands behind a file's content.
pub(super) fn padding(size: u64) -> Vec<u8> {
    let over = (size % BLOCK as u64) as usize;
    vec![0; if over == 0 { 0 } else { BLOCK - over }]
}

/// The end of an archive.
pub(super) fn end() -> Vec<u8> {
    vec![0; 2 * BLOCK]
}

/// `<length> <key>=<value>\n`, the length being that of the whole.
fn record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    out.extend(length.to_string().as_bytes());
    out.push(b' ');
    out.extend(key);
    out.push(b'=');
    out.extend(value);
    out.push(b'\n');
}

fn block(member: &Member<'_>, kind: u8) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, field: &[u8]| {
        for (place, byte) in block.iter_mut().skip(at).zip(field) {
            *place = *byte;
        }
    };
    let octal = |number: u64, digits: usize| format!("{:0digits$o}", number & ((1 << (3 * digits)) - 1));
    // A longer path stands whole in the extended head.
    put(0, member.path.get(..100).unwrap_or(member.path));
    put(100, octal(u64::from(member.permissions & 0o7777), 7).as_bytes());
    put(108, octal(u64::from(member.owner.0), 7).as_bytes());
    put(116, octal(u64::from(member.owner.1), 7).as_bytes());
    put(124, octal(member.size, 11).as_bytes());
    put(136, octal(u64::from(member.modified), 11).as_bytes());
    put(148, b"        ");
    put(156, &[kind]);
    put(257, b"ustar\x0000");
    let sum: u64 = block.iter().map(|b| u64::from(*b)).sum();
    let text = format!("{sum:06o}\0 ");
    for (place, byte) in block.iter_mut().skip(148).zip(text.bytes()) {
        *place = byte;
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_head_is_what_tar_writes() {
        let member = Member { path: b"etc/a", size: 5, permissions: 0o640, owner: (1, 2), modified: 0o17 };
        let head = head(&member);
        assert_eq!(head.len(), 512);
        assert_eq!(&head[..6], b"etc/a\0");
        assert_eq!(&head[100..108], b"0000640\0");
        assert_eq!(&head[124..136], b"00000000005\0");
        assert_eq!(&head[257..265], b"ustar\x0000");
    }

    proptest! {
        #[test]
        fn a_record_tells_its_own_length(value in "[a-z]{1,1200}") {
            let mut out = Vec::new();
            record(&mut out, b"path", value.as_bytes());
            let text = String::from_utf8(out.clone()).unwrap();
            prop_assert_eq!(text.split(' ').next().unwrap().parse::<usize>().unwrap(), out.len());
        }

        #[test]
        fn everything_is_whole_blocks(path in "[a-z/]{1,300}", size: u64) {
            let member = Member { path: path.as_bytes(), size, permissions: 0o644, owner: (0, 0), modified: 0 };
            prop_assert_eq!(head(&member).len() % BLOCK, 0);
            prop_assert_eq!((padding(size).len() as u64).wrapping_add(size) % BLOCK as u64, 0);
        }
    }
}
