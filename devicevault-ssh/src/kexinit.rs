//! What the server offers: its first message, read for the sake of error texts (RFC 4253, sections 4.2, 6 and 7.1).
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

/// The server's lists of algorithms. `out` is from us to the server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Offer {
    pub(crate) kex: Vec<String>,
    pub(crate) host_key: Vec<String>,
    pub(crate) cipher_out: Vec<String>,
    pub(crate) cipher_in: Vec<String>,
    pub(crate) mac_out: Vec<String>,
    pub(crate) mac_in: Vec<String>,
}

const KEXINIT: u8 = 20;
const COOKIE: usize = 16;
/// No server needs more before the end of its key exchange message.
pub(crate) const MOST: usize = 32 * 1024;

/// Finds the lists in the first bytes that the server sent. `None`: they are not there (yet).
pub(crate) fn parse(bytes: &[u8]) -> Option<Offer> {
    let mut rest = bytes;
    loop {
        // Lines of text may stand before the version line.
        let end = rest.iter().position(|b| *b == b'\n')?;
        let (line, after) = rest.split_at_checked(end + 1)?;
        rest = after;
        if line.starts_with(b"SSH-") {
            break;
        }
    }
    let length = usize::try_from(u32::from_be_bytes(*rest.first_chunk::<4>()?)).ok()?;
    let packet = rest.get(4..4usize.checked_add(length)?)?;
    let (padding, body) = packet.split_first()?;
    let payload = body.get(..body.len().checked_sub(usize::from(*padding))?)?;
    let (kind, lists) = payload.split_first()?;
    if *kind != KEXINIT {
        return None;
    }
    let mut lists = lists.get(COOKIE..)?;
    let mut next = || {
        let length = usize::try_from(u32::from_be_bytes(*lists.first_chunk::<4>()?)).ok()?;
        let (list, after) = lists.get(4..)?.split_at_checked(length)?;
        lists = after;
        Some(names(list))
    };
    Some(Offer {
        kex: next()?,
        host_key: next()?,
        cipher_out: next()?,
        cipher_in: next()?,
        mac_out: next()?,
        mac_in: next()?,
    })
}

fn names(list: &[u8]) -> Vec<String> {
    const MOST_NAMES: usize = 100;
    let names = list.split(|b| *b == b',').filter(|n| !n.is_empty()).take(MOST_NAMES);
    names.map(|n| n.get(..64).unwrap_or(n).escape_ascii().to_string()).collect()
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "tests may panic")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(lists: &[&str]) -> Vec<u8> {
        let mut payload = vec![KEXINIT];
        payload.extend([7; COOKIE]);
        for list in lists {
            payload.extend((list.len() as u32).to_be_bytes());
            payload.extend(list.as_bytes());
        }
        payload.extend([0; 5]);
        let mut out = b"hello\r\nSSH-2.0-x\r\n".to_vec();
        out.extend((payload.len() as u32 + 1 + 4).to_be_bytes());
        out.push(4);
        out.extend(payload);
        out.extend([0; 4]);
        out
    }

    #[test]
    fn lists_are_found() {
        let bytes = message(&["k1,k2", "h1", "c1", "c2", "m1", "m2", "none", "none", "", ""]);
        let offer = parse(&bytes).unwrap();
        assert_eq!(offer.kex, ["k1", "k2"]);
        assert_eq!(offer.host_key, ["h1"]);
        assert_eq!(offer.cipher_in, ["c2"]);
        assert_eq!(offer.mac_in, ["m2"]);
        for cut in 0..bytes.len() {
            assert_eq!(parse(&bytes[..cut]), None);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut with_version = b"SSH-2.0-x\n".to_vec();
            with_version.extend(&bytes);
            let _ = (parse(&bytes), parse(&with_version));
        }
    }
}
