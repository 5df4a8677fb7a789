//! What a server says of a file.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use bytes::{BufMut, BytesMut};

use super::wire::{Fields, Malformed};

const SIZE: u32 = 0x01;
const OWNER: u32 = 0x02;
const PERMISSIONS: u32 = 0x04;
const TIMES: u32 = 0x08;
const EXTENDED: u32 = 0x8000_0000;

/// Attributes of a file, as far as the server tells them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attributes {
    /// Length in bytes.
    pub size: Option<u64>,
    /// Numbers of user and group.
    pub owner: Option<(u32, u32)>,
    /// Permissions and, above them, the type of the file, as in POSIX's `st_mode`.
    pub permissions: Option<u32>,
    /// Times of the last access and of the last change of the content, in seconds since 1970.
    pub times: Option<(u32, u32)>,
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileType {
    /// A file with content.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A device, a pipe, a socket.
    Other,
    /// The server does not tell.
    Unknown,
}

impl Attributes {
    /// Attributes for a new file or folder: permissions such as `0o600`.
    #[must_use]
    pub fn with_permissions(permissions: u32) -> Self {
        Self { permissions: Some(permissions & 0o7777), ..Self::default() }
    }

    /// What it is.
    #[must_use]
    pub fn file_type(&self) -> FileType {
        match self.permissions.map(|p| p & 0o170_000) {
            Some(0o100_000) => FileType::File,
            Some(0o040_000) => FileType::Folder,
            Some(0o120_000) => FileType::Link,
            // Some servers tell permissions without a type.
            Some(0) | None => FileType::Unknown,
            Some(_) => FileType::Other,
        }
    }

    /// When the content changed last, in seconds since 1970.
    #[must_use]
    pub fn modified(&self) -> Option<u32> {
        self.times.map(|(_, modified)| modified)
    }

    pub(super) fn encode(&self, out: &mut BytesMut) {
        let flag = |set: bool, bit: u32| if set { bit } else { 0 };
        out.put_u32(
            flag(self.size.is_some(), SIZE)
                | flag(self.owner.is_some(), OWNER)
                | flag(self.permissions.is_some(), PERMISSIONS)
                | flag(self.times.is_some(), TIMES),
        );
        if let Some(size) = self.size {
            out.put_u64(size);
        }
        if let Some((user, group)) = self.owner {
            out.put_u32(user);
            out.put_u32(group);
        }
        if let Some(permissions) = self.permissions {
            out.put_u32(permissions);
        }
        if let Some((accessed, modified)) = self.times {
            out.put_u32(accessed);
            out.put_u32(modified);
        }
    }

    pub(super) fn parse(fields: &mut Fields) -> Result<Self, Malformed> {
        let flags = fields.number()?;
        if flags & !(SIZE | OWNER | PERMISSIONS | TIMES | EXTENDED) != 0 {
            // Their length is unknown, so nothing that follows could be read.
            return Err(Malformed("attributes that version 3 does not have"));
        }
        let mut attributes = Self::default();
        if flags & SIZE != 0 {
            attributes.size = Some(fields.long()?);
        }
        if flags & OWNER != 0 {
            attributes.owner = Some((fields.number()?, fields.number()?));
        }
        if flags & PERMISSIONS != 0 {
            attributes.permissions = Some(fields.number()?);
        }
        if flags & TIMES != 0 {
            attributes.times = Some((fields.number()?, fields.number()?));
        }
        if flags & EXTENDED != 0 {
            for _ in 0..fields.number()? {
                fields.string()?;
                fields.string()?;
            }
        }
        Ok(attributes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_told_by_the_mode() {
        let of = |mode| Attributes { permissions: mode, ..Attributes::default() }.file_type();
        assert_eq!(of(Some(0o100_644)), FileType::File);
        assert_eq!(of(Some(0o040_755)), FileType::Folder);
        assert_eq!(of(Some(0o120_777)), FileType::Link);
        assert_eq!(of(Some(0o010_600)), FileType::Other);
        assert_eq!(of(Some(0o644)), FileType::Unknown);
        assert_eq!(of(None), FileType::Unknown);
    }
}
