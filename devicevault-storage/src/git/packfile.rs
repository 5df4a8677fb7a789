//! Writing a pack and its index, flushed: version 2 of both formats in Git's `gitformat-pack`.
//!
//! libgit2 can write packs too, and looks for likenesses in every object among ten others: for a text that costs more
//! than all the rest of storing it. Who writes here knows which objects are versions of one another.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use devicevault_core::{Error, ErrorKind, Result};
use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};
use git2::{ObjectType, Oid};
use sha1::{Digest as _, Sha1};

use super::fault;
use super::layout::{make_beneath, sync_folder};

/// Type number of a delta whose base is named by its distance.
const OFS_DELTA: u8 = 6;

/// A pack that is being written, beside where it is to be.
///
/// Dropped without [`finish`](Self::finish), it leaves nothing.
pub(super) struct PackWriter {
    folder: PathBuf,
    staged: PathBuf,
    file: BufWriter<File>,
    hash: Sha1,
    offset: u64,
    expected: u32,
    entries: Vec<Entry>,
    places: HashMap<Oid, u64>,
    compression: Compression,
}

struct Entry {
    id: Oid,
    offset: u64,
    crc: u32,
}

impl PackWriter {
    /// Begins a pack of `count` objects that will stand in `folder`.
    pub(super) fn new(folder: &Path, count: usize, compression: Compression) -> Result<Self> {
        let expected = u32::try_from(count).map_err(|e| {
            Error::new(ErrorKind::TooLarge, "write pack", "a pack cannot hold so many objects").because(e)
        })?;
        // The name of a temporary file as Git has them: `git gc` clears away what a killed process leaves.
        let staged = folder.join(format!("tmp_pack_{}", uuid::Uuid::now_v7().simple()));
        let failed = |e| fault::io("write pack", &staged, e);
        // Its parent has to be there: a repository that went away in this moment is not begun anew where it was.
        make_beneath(folder).map_err(failed)?;
        let file = File::create_new(&staged).map_err(failed)?;
        let mut this = Self {
            folder: folder.to_owned(),
            file: BufWriter::with_capacity(256 << 10, file),
            hash: Sha1::new(),
            offset: 0,
            expected,
            entries: Vec::with_capacity(count),
            places: HashMap::with_capacity(count),
            compression,
            staged,
        };
        let mut head = *b"PACK\0\0\0\x02\0\0\0\0";
        head[8..].copy_from_slice(&expected.to_be_bytes());
        this.put(&head, &mut Crc::new()).map_err(|e| fault::io("write pack", &this.staged, e))?;
        Ok(this)
    }

    /// Adds an object as it is.
    pub(super) fn whole(&mut self, id: Oid, kind: ObjectType, data: &[u8]) -> Result<()> {
        let number = match kind {
            ObjectType::Commit => 1,
            ObjectType::Tree => 2,
            ObjectType::Tag => 4,
            _ => 3,
        };
        self.entry(id, number, data.len(), &[], data)
    }

    /// Adds an object as what differs from `base`, which stands in this pack already.
    pub(super) fn delta(&mut self, id: Oid, base: Oid, delta: &[u8]) -> Result<()> {
        let Some(distance) = self.places.get(&base).map(|place| self.offset - place) else {
            return Err(
                Error::new(ErrorKind::Internal, "write pack", "a delta comes before its base").with("object", id)
            );
        };
        // Seven bits a byte, the highest first, each but the last one less than it counts.
        let mut way = vec![(distance & 0x7f) as u8];
        let mut rest = distance >> 7;
        while rest > 0 {
            rest -= 1;
            way.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        way.reverse();
        self.entry(id, OFS_DELTA, delta.len(), &way, delta)
    }

    fn entry(&mut self, id: Oid, number: u8, size: usize, base: &[u8], data: &[u8]) -> Result<()> {
        let offset = self.offset;
        if self.places.insert(id, offset).is_some() {
            return Err(Error::new(ErrorKind::Internal, "write pack", "an object comes twice").with("object", id));
        }
        let mut head = vec![number << 4 | (size & 0xf) as u8];
        let mut rest = size >> 4;
        while rest > 0 {
            if let Some(last) = head.last_mut() {
                *last |= 0x80;
            }
            head.push((rest & 0x7f) as u8);
            rest >>= 7;
        }
        let mut crc = Crc::new();
        let mut write = || {
            self.put(&head, &mut crc)?;
            self.put(base, &mut crc)?;
            let mut packed = ZlibEncoder::new(Vec::with_capacity(data.len() / 3 + 32), self.compression);
            packed.write_all(data)?;
            self.put(&packed.finish()?, &mut crc)
        };
        write().map_err(|e| fault::io("write pack", &self.staged, e))?;
        self.entries.push(Entry { id, offset, crc: crc.sum() });
        Ok(())
    }

    fn put(&mut self, bytes: &[u8], crc: &mut Crc) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hash.update(bytes);
        crc.update(bytes);
        self.offset += bytes.len() as u64;
        Ok(())
    }

    /// Flushes pack and index, gives both their names, and flushes these. Returns the pack.
    pub(super) fn finish(mut self) -> Result<PathBuf> {
        if self.entries.len() != self.expected as usize {
            return Err(Error::new(
                ErrorKind::Internal,
                "write pack",
                "there are not as many objects as were announced",
            ));
        }
        let checksum: [u8; 20] = std::mem::take(&mut self.hash).finalize().into();
        let name = format!("pack-{}", hex::encode(checksum));
        let (pack, index) = (self.folder.join(format!("{name}.pack")), self.folder.join(format!("{name}.idx")));
        let staged_index = self.staged.with_extension("idx");
        let bytes = self.index(checksum);
        let mut write = || {
            self.file.write_all(&checksum)?;
            self.file.flush()?;
            settle(self.file.get_ref())?;
            let mut file = File::create_new(&staged_index)?;
            file.write_all(&bytes)?;
            settle(&file)?;
            // Whoever sees the index finds the pack.
            fs::rename(&self.staged, &pack)?;
            fs::rename(&staged_index, &index)
        };
        let outcome = write().map_err(|e| fault::io("write pack", &pack, e));
        if outcome.is_err() {
            let _ = fs::remove_file(&staged_index);
        }
        outcome?;
        sync_folder(&self.folder)?;
        Ok(pack)
    }

    fn index(&mut self, checksum: [u8; 20]) -> Vec<u8> {
        self.entries.sort_unstable_by_key(|e| e.id);
        let mut out = Vec::with_capacity(1100 + self.entries.len() * 28);
        out.extend_from_slice(b"\xfftOc\0\0\0\x02");
        let mut counts = [0_u32; 256];
        for entry in &self.entries {
            if let Some(count) = entry.id.as_bytes().first().and_then(|b| counts.get_mut(usize::from(*b))) {
                *count += 1;
            }
        }
        let mut sum = 0;
        for count in counts {
            sum += count;
            out.extend_from_slice(&sum.to_be_bytes());
        }
        self.entries.iter().for_each(|e| out.extend_from_slice(e.id.as_bytes()));
        self.entries.iter().for_each(|e| out.extend_from_slice(&e.crc.to_be_bytes()));
        let mut large: Vec<u64> = Vec::new();
        for entry in &self.entries {
            // Beyond 2 GiB, the place in a second table.
            let short = u32::try_from(entry.offset).ok().filter(|o| *o < 1 << 31).unwrap_or_else(|| {
                large.push(entry.offset);
                1 << 31 | (large.len() - 1) as u32
            });
            out.extend_from_slice(&short.to_be_bytes());
        }
        large.iter().for_each(|offset| out.extend_from_slice(&offset.to_be_bytes()));
        out.extend_from_slice(&checksum);
        let own = Sha1::digest(&out);
        out.extend_from_slice(&own);
        out
    }
}

/// Flushes a file that nobody will change, and says so by its permissions, as Git does.
fn settle(file: &File) -> io::Result<()> {
    let mut permissions = file.metadata()?.permissions();
    permissions.set_readonly(true);
    file.set_permissions(permissions)?;
    file.sync_all()
}

impl Drop for PackWriter {
    fn drop(&mut self) {
        // After `finish` it has another name.
        let _ = fs::remove_file(&self.staged);
    }
}

#[cfg(test)]
mod tests {
    use super::super::delta;
    use super::*;
    use git2::{Odb, Repository};
    use proptest::prelude::*;

    #[test]
    fn a_repository_that_went_away_is_not_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let gone = dir.path().join("git");
        assert!(PackWriter::new(&gone.join("objects/pack"), 1, Compression::fast()).is_err());
        assert!(!gone.exists());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn libgit2_reads_what_is_written(
            texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 1..12), large in 0_usize..400_000
        ) {
            let dir = tempfile::tempdir().unwrap();
            let packs = dir.path().join("pack");
            let mut bodies = texts;
            bodies.push(vec![7; large]);
            // Versions of the first, each a delta of the one before.
            for i in 0..5_usize {
                let mut next = bodies.last().unwrap().clone();
                next.splice(0..0, format!("version {i}\n").into_bytes());
                bodies.push(next);
            }
            let mut known = std::collections::BTreeMap::new();
            for body in &bodies {
                known.insert(Oid::hash_object(ObjectType::Blob, body).unwrap(), body.clone());
            }
            let mut writer = PackWriter::new(&packs, known.len(), Compression::fast()).unwrap();
            let mut last: Option<(Oid, &Vec<u8>)> = None;
            for (id, body) in &known {
                match last.and_then(|(base, content)| Some((base, delta::encode(content, body, body.len())?))) {
                    Some((base, delta)) => writer.delta(*id, base, &delta).unwrap(),
                    None => writer.whole(*id, ObjectType::Blob, body).unwrap(),
                }
                last = Some((*id, body));
            }
            let pack = writer.finish().unwrap();
            let odb = Odb::new().unwrap();
            odb.add_disk_alternate(dir.path().to_str().unwrap()).unwrap();
            for (id, body) in &known {
                let object = odb.read(*id).unwrap();
                prop_assert_eq!(object.data(), body);
            }
            prop_assert_eq!(super::super::pack::objects(&pack).unwrap(), known.keys().copied().collect::<Vec<_>>());
            prop_assert_eq!(fs::read_dir(&packs).unwrap().count(), 2);
            // libgit2's own check of a whole pack.
            let repo = Repository::init_bare(dir.path().join("r")).unwrap();
            let odb = repo.odb().unwrap();
            let mut writer = odb.packwriter().unwrap();
            writer.write_all(&fs::read(&pack).unwrap()).unwrap();
            writer.commit().unwrap();
        }
    }

    #[test]
    fn what_is_not_finished_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let id = Oid::hash_object(ObjectType::Blob, b"x").unwrap();
        let mut writer = PackWriter::new(dir.path(), 2, Compression::fast()).unwrap();
        writer.whole(id, ObjectType::Blob, b"x").unwrap();
        assert_eq!(writer.whole(id, ObjectType::Blob, b"x").unwrap_err().kind(), ErrorKind::Internal);
        assert_eq!(writer.delta(Oid::ZERO_SHA1, Oid::ZERO_SHA1, b"").unwrap_err().kind(), ErrorKind::Internal);
        assert_eq!(writer.finish().unwrap_err().kind(), ErrorKind::Internal);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
