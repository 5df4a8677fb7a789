//! Packets of the SSH file transfer protocol, version 3 (draft-ietf-secsh-filexfer-02), and OpenSSH's extensions to it.
//!
//! Handles and names are bytes: the protocol promises no encoding, and a name that is not UTF-8 must still be opened.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::attributes::Attributes;

/// The version that this client speaks.
pub(super) const VERSION: u32 = 3;
/// The longest packet that is taken, in bytes; OpenSSH's limit is a quarter of it.
pub(super) const LONGEST_PACKET: usize = 1 << 20;

const INIT: u8 = 1;
const VERSION_REPLY: u8 = 2;
const OPEN: u8 = 3;
const CLOSE: u8 = 4;
const READ: u8 = 5;
const WRITE: u8 = 6;
const LSTAT: u8 = 7;
const FSTAT: u8 = 8;
const SETSTAT: u8 = 9;
const OPENDIR: u8 = 11;
const READDIR: u8 = 12;
const REMOVE: u8 = 13;
const MKDIR: u8 = 14;
const RMDIR: u8 = 15;
const REALPATH: u8 = 16;
const STAT: u8 = 17;
const RENAME: u8 = 18;
const STATUS: u8 = 101;
const HANDLE: u8 = 102;
const DATA: u8 = 103;
const NAME: u8 = 104;
const ATTRS: u8 = 105;
const EXTENDED: u8 = 200;
const EXTENDED_REPLY: u8 = 201;

/// How a file is opened (section 6.3).
pub(super) mod flags {
    pub(in crate::sftp) const READ: u32 = 0x01;
    pub(in crate::sftp) const WRITE: u32 = 0x02;
    pub(in crate::sftp) const CREATE: u32 = 0x08;
    pub(in crate::sftp) const TRUNCATE: u32 = 0x10;
    pub(in crate::sftp) const EXCLUSIVE: u32 = 0x20;
}

/// What a client asks.
#[derive(Debug, Clone, Copy)]
pub(super) enum Request<'a> {
    Open {
        path: &'a [u8],
        flags: u32,
        attributes: &'a Attributes,
    },
    Close {
        handle: &'a [u8],
    },
    Read {
        handle: &'a [u8],
        offset: u64,
        length: u32,
    },
    Write {
        handle: &'a [u8],
        offset: u64,
        data: &'a [u8],
    },
    Stat {
        path: &'a [u8],
    },
    LinkStat {
        path: &'a [u8],
    },
    HandleStat {
        handle: &'a [u8],
    },
    SetStat {
        path: &'a [u8],
        attributes: &'a Attributes,
    },
    OpenFolder {
        path: &'a [u8],
    },
    ReadFolder {
        handle: &'a [u8],
    },
    Remove {
        path: &'a [u8],
    },
    MakeFolder {
        path: &'a [u8],
        attributes: &'a Attributes,
    },
    RemoveFolder {
        path: &'a [u8],
    },
    RealPath {
        path: &'a [u8],
    },
    Rename {
        from: &'a [u8],
        to: &'a [u8],
    },
    /// An extension with arguments that are all strings; so are all that are used here.
    Extended {
        name: &'static str,
        arguments: &'a [&'a [u8]],
    },
}

/// The first packet of a session.
pub(super) fn hello() -> Bytes {
    let mut packet = BytesMut::with_capacity(9);
    packet.put_u32(5);
    packet.put_u8(INIT);
    packet.put_u32(VERSION);
    packet.freeze()
}

impl Request<'_> {
    /// The whole packet, its length in front.
    pub(super) fn encode(&self, id: u32) -> Bytes {
        let mut out = BytesMut::with_capacity(64 + self.payload());
        out.put_u32(0);
        match *self {
            Self::Open { path, flags, attributes } => {
                begin(&mut out, OPEN, id);
                string(&mut out, path);
                out.put_u32(flags);
                attributes.encode(&mut out);
            }
            Self::Close { handle } => on_one(&mut out, CLOSE, id, handle),
            Self::Read { handle, offset, length } => {
                on_one(&mut out, READ, id, handle);
                out.put_u64(offset);
                out.put_u32(length);
            }
            Self::Write { handle, offset, data } => {
                on_one(&mut out, WRITE, id, handle);
                out.put_u64(offset);
                string(&mut out, data);
            }
            Self::Stat { path } => on_one(&mut out, STAT, id, path),
            Self::LinkStat { path } => on_one(&mut out, LSTAT, id, path),
            Self::HandleStat { handle } => on_one(&mut out, FSTAT, id, handle),
            Self::SetStat { path, attributes } => {
                on_one(&mut out, SETSTAT, id, path);
                attributes.encode(&mut out);
            }
            Self::OpenFolder { path } => on_one(&mut out, OPENDIR, id, path),
            Self::ReadFolder { handle } => on_one(&mut out, READDIR, id, handle),
            Self::Remove { path } => on_one(&mut out, REMOVE, id, path),
            Self::MakeFolder { path, attributes } => {
                on_one(&mut out, MKDIR, id, path);
                attributes.encode(&mut out);
            }
            Self::RemoveFolder { path } => on_one(&mut out, RMDIR, id, path),
            Self::RealPath { path } => on_one(&mut out, REALPATH, id, path),
            Self::Rename { from, to } => {
                on_one(&mut out, RENAME, id, from);
                string(&mut out, to);
            }
            Self::Extended { name, arguments } => {
                on_one(&mut out, EXTENDED, id, name.as_bytes());
                for argument in arguments {
                    string(&mut out, argument);
                }
            }
        }
        let length = (out.len() - 4) as u32;
        if let Some(head) = out.first_chunk_mut::<4>() {
            *head = length.to_be_bytes();
        }
        out.freeze()
    }

    fn payload(&self) -> usize {
        match self {
            Self::Write { data, .. } => data.len(),
            Self::Extended { arguments, .. } => arguments.iter().map(|a| a.len()).sum(),
            Self::Rename { from, to } => from.len() + to.len(),
            Self::Open { path, .. } | Self::Stat { path } => path.len(),
            _ => 0,
        }
    }
}

fn begin(out: &mut BytesMut, kind: u8, id: u32) {
    out.put_u8(kind);
    out.put_u32(id);
}

fn on_one(out: &mut BytesMut, kind: u8, id: u32, of: &[u8]) {
    begin(out, kind, id);
    string(out, of);
}

fn string(out: &mut BytesMut, text: &[u8]) {
    out.put_u32(text.len() as u32);
    out.put_slice(text);
}

/// What a server answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    Status(Status),
    Handle(Bytes),
    Data(Bytes),
    Names(Vec<(Bytes, Attributes)>),
    Attributes(Attributes),
    Extended(Bytes),
}

/// How a request ended (section 7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) code: u32,
    pub(super) said: Bytes,
}

impl Status {
    pub(super) const OK: u32 = 0;
    pub(super) const END: u32 = 1;
    pub(super) const NO_SUCH_FILE: u32 = 2;
    pub(super) const PERMISSION_DENIED: u32 = 3;
    pub(super) const UNSUPPORTED: u32 = 8;
}

/// What the server does not say in this protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) &'static str);

const CUT: Malformed = Malformed("a packet ends before its last field");

/// Fields one after the other.
#[derive(Debug)]
pub(super) struct Fields(pub(super) Bytes);

impl Fields {
    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        self.0.try_get_u8().map_err(|_| CUT)
    }

    pub(super) fn number(&mut self) -> Result<u32, Malformed> {
        self.0.try_get_u32().map_err(|_| CUT)
    }

    pub(super) fn long(&mut self) -> Result<u64, Malformed> {
        self.0.try_get_u64().map_err(|_| CUT)
    }

    /// Shares the packet's memory.
    pub(super) fn string(&mut self) -> Result<Bytes, Malformed> {
        let length = self.number()? as usize;
        if length > self.0.len() {
            return Err(CUT);
        }
        Ok(self.0.split_to(length))
    }

    /// A copy, so that a name does not keep a whole packet in memory.
    fn own_string(&mut self) -> Result<Bytes, Malformed> {
        self.string().map(|s| Bytes::copy_from_slice(&s))
    }
}

/// What the server says first: its version and the names of its extensions.
pub(super) fn parse_version(packet: Bytes) -> Result<(u32, Vec<Bytes>), Malformed> {
    let mut fields = Fields(packet);
    if fields.byte()? != VERSION_REPLY {
        return Err(Malformed("the first packet is not a version"));
    }
    let version = fields.number()?;
    let mut extensions = Vec::new();
    while !fields.0.is_empty() {
        extensions.push(fields.own_string()?);
        fields.string()?;
    }
    Ok((version, extensions))
}

/// A reply, without its length, and the request that it answers.
pub(super) fn parse_reply(packet: Bytes) -> Result<(u32, Reply), Malformed> {
    let mut fields = Fields(packet);
    let kind = fields.byte()?;
    let id = fields.number()?;
    let reply = match kind {
        STATUS => {
            let code = fields.number()?;
            // Servers of older versions say no more than the code.
            let said = if fields.0.is_empty() { Bytes::new() } else { fields.own_string()? };
            Reply::Status(Status { code, said })
        }
        HANDLE => Reply::Handle(fields.own_string()?),
        DATA => Reply::Data(fields.string()?),
        NAME => Reply::Names(names(&mut fields)?),
        ATTRS => Reply::Attributes(Attributes::parse(&mut fields)?),
        EXTENDED_REPLY => Reply::Extended(fields.0),
        _ => return Err(Malformed("a packet of a kind that is no reply")),
    };
    Ok((id, reply))
}

fn names(fields: &mut Fields) -> Result<Vec<(Bytes, Attributes)>, Malformed> {
    /// Two strings' lengths and the flags of the attributes.
    const SHORTEST: usize = 12;
    let count = fields.number()? as usize;
    if count > fields.0.len() / SHORTEST {
        return Err(Malformed("a list is shorter than its count"));
    }
    let mut names = Vec::with_capacity(count);
    for _ in 0..count {
        let name = fields.own_string()?;
        // How `ls -l` would show it: made for people.
        fields.string()?;
        names.push((name, Attributes::parse(fields)?));
    }
    Ok(names)
}

/// Cuts a stream of bytes into packets.
#[derive(Debug, Default)]
pub(super) struct Framer {
    buffer: BytesMut,
}

impl Framer {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next packet without its length; `None` until it is whole.
    pub(super) fn next(&mut self) -> Result<Option<Bytes>, Malformed> {
        let Some(head) = self.buffer.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*head) as usize;
        if length == 0 || length > LONGEST_PACKET {
            return Err(Malformed("a packet's length is out of bounds"));
        }
        if self.buffer.len() < 4 + length {
            // Grows to the packet's size at once.
            self.buffer.reserve(4 + length - self.buffer.len());
            return Ok(None);
        }
        self.buffer.advance(4);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn packet(kind: u8, id: u32, fill: impl FnOnce(&mut BytesMut)) -> Bytes {
        let mut out = BytesMut::new();
        begin(&mut out, kind, id);
        fill(&mut out);
        out.freeze()
    }

    #[test]
    fn replies_are_read() {
        let status = packet(STATUS, 7, |o| {
            o.put_u32(2);
            string(o, b"No such file");
            string(o, b"en");
        });
        let said = Status { code: 2, said: Bytes::from_static(b"No such file") };
        assert_eq!(parse_reply(status).unwrap(), (7, Reply::Status(said)));
        let short = packet(STATUS, 8, |o| o.put_u32(1));
        assert_eq!(parse_reply(short).unwrap().1, Reply::Status(Status { code: 1, said: Bytes::new() }));
        let handle = packet(HANDLE, 9, |o| string(o, b"\xff\x00"));
        assert_eq!(parse_reply(handle).unwrap().1, Reply::Handle(Bytes::from_static(b"\xff\x00")));
        let names = packet(NAME, 1, |o| {
            o.put_u32(1);
            string(o, b"caf\xe9");
            string(o, b"-rw-------");
            o.put_u32(0x8000_0001);
            o.put_u64(5);
            o.put_u32(1);
            string(o, b"x@y");
            string(o, b"z");
        });
        let five = Attributes { size: Some(5), ..Attributes::default() };
        assert_eq!(parse_reply(names).unwrap().1, Reply::Names(vec![(Bytes::from_static(b"caf\xe9"), five)]));
    }

    #[test]
    fn a_count_that_cannot_be_allocates_nothing() {
        let names = packet(NAME, 1, |o| o.put_u32(u32::MAX));
        assert!(parse_reply(names).is_err());
        assert!(parse_reply(packet(READ, 1, |_| {})).is_err());
        assert!(parse_reply(Bytes::from_static(&[ATTRS, 0, 0])).is_err());
    }

    #[test]
    fn versions_are_read() {
        let mut hello = BytesMut::from(&[VERSION_REPLY, 0, 0, 0, 3][..]);
        string(&mut hello, b"fsync@openssh.com");
        string(&mut hello, b"1");
        let (version, extensions) = parse_version(hello.freeze()).unwrap();
        assert_eq!((version, extensions), (3, vec![Bytes::from_static(b"fsync@openssh.com")]));
        assert!(parse_version(Bytes::from_static(b"Welcome")).is_err());
    }

    #[test]
    fn a_length_out_of_bounds_is_refused() {
        for bad in [&[0u8, 0, 0, 0][..], &[0xff, 0xff, 0xff, 0xff, 1], b"This is a banner"] {
            let mut framer = Framer::default();
            framer.push(bad);
            assert!(framer.next().is_err(), "{bad:?}");
        }
        let mut framer = Framer::default();
        framer.push(&(LONGEST_PACKET as u32).to_be_bytes());
        assert_eq!(framer.next().unwrap(), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            let bytes = Bytes::from(bytes);
            let _ = parse_reply(bytes.clone());
            let _ = parse_version(bytes.clone());
            let mut framer = Framer::default();
            framer.push(&bytes);
            while let Ok(Some(_)) = framer.next() {}
        }

        #[test]
        fn packets_come_out_as_they_went_in(
            packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..300), 1..8),
            cut in 1usize..40,
        ) {
            let mut stream = Vec::new();
            for p in &packets {
                stream.extend_from_slice(&(p.len() as u32).to_be_bytes());
                stream.extend_from_slice(p);
            }
            let mut framer = Framer::default();
            let mut got = Vec::new();
            for piece in stream.chunks(cut) {
                framer.push(piece);
                while let Some(p) = framer.next().unwrap() {
                    got.push(p.to_vec());
                }
            }
            prop_assert!(framer.buffer.is_empty());
            prop_assert_eq!(got, packets);
        }

        #[test]
        fn attributes_go_there_and_back(
            size: Option<u64>, owner: Option<(u32, u32)>, permissions: Option<u32>, times: Option<(u32, u32)>,
        ) {
            let attributes = Attributes { size, owner, permissions, times };
            let mut out = BytesMut::new();
            attributes.encode(&mut out);
            prop_assert_eq!(Attributes::parse(&mut Fields(out.freeze())).unwrap(), attributes);
        }

        #[test]
        fn a_request_says_its_own_length(path: Vec<u8>, data: Vec<u8>) {
            for request in [
                Request::Write { handle: &path, offset: 7, data: &data },
                Request::Rename { from: &path, to: &data },
                Request::Extended { name: "posix-rename@openssh.com", arguments: &[&path, &data] },
            ] {
                let mut framer = Framer::default();
                framer.push(&request.encode(3));
                let got = framer.next().unwrap();
                prop_assert!(got.is_some() && framer.buffer.is_empty());
            }
        }
    }
}
