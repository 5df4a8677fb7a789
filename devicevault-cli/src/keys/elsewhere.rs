//! What opens by keys of before alone: destinations with sealed copies that the home knows no more, whatever becomes of
//! the home's own keys since, and epoch keys that are lost, should a copy of one come up.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use devicevault_core::inventory::DestinationConfig;
use devicevault_core::{DestinationId, Error, ErrorKind, Result, Timestamp};
use devicevault_storage::regular;
use devicevault_storage::seal::{EpochId, EpochObject};
use serde::{Deserialize, Serialize};

use crate::files;
use crate::instance::Instance;
use crate::keys::{kit, spent};
use crate::wiring;
use crate::wiring::keys::destination_keys;

/// Name of the file in a home. It holds no secret.
pub(crate) const FILE: &str = "removed.json";
/// A note of more destinations than anybody has is nobody's.
const LONGEST_FILE: u64 = 1 << 20;

/// What was removed, and what it needs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Elsewhere {
    #[serde(default)]
    pub(crate) places: Vec<Left>,
    /// Files of replaced keys that stay in the home for them, by the key's id.
    #[serde(default)]
    pub(crate) files: BTreeMap<String, PathBuf>,
}

/// A destination that was removed, or an epoch key that is found nowhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Left {
    pub(crate) id: DestinationId,
    pub(crate) name: String,
    /// Its folder or URL.
    pub(crate) place: Option<String>,
    /// Ids of the keys each of which opens it.
    pub(crate) keys: BTreeSet<String>,
    pub(crate) removed: Timestamp,
    /// It is an epoch key: its id is the place's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) lost_epoch: bool,
}

impl Left {
    /// For people.
    pub(crate) fn describe(&self) -> String {
        match &self.place {
            Some(place) => format!("{} ({place})", self.name),
            None => self.name.clone(),
        }
    }

    pub(crate) fn keys_text(&self) -> String {
        self.keys.iter().map(String::as_str).collect::<Vec<_>>().join(" or ")
    }
}

impl Elsewhere {
    /// Reads that of a home; nothing where there is none.
    ///
    /// # Errors
    /// `Config` when it is not to be understood: it would be forgotten which kits are needed still.
    pub(crate) fn read(home: &Path) -> Result<Self> {
        let path = home.join(FILE);
        let wrong = |why: &str| {
            Error::new(ErrorKind::Config, "read removed destinations", why)
                .with("file", path.display())
                .hint("where no removed destination is needed any more, delete it; or bring it back from a copy")
        };
        match path.symlink_metadata() {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(e) => return Err(wrong("it cannot be read").because(e)),
            Ok(m) if !m.is_file() || m.len() > LONGEST_FILE => return Err(wrong("it is no file of ours")),
            Ok(_) => {}
        }
        let text = regular::read(&path).map_err(|e| wrong("it cannot be read").because(e))?;
        serde_json::from_slice(&text).map_err(|e| wrong("it is not what was written there").because(e))
    }

    /// Writes it. Key files that stayed for what is forgotten by now go, and their kits.
    async fn write(&mut self, home: &Path) -> Result<()> {
        let needed: BTreeSet<String> = self.keys().into_iter().map(str::to_owned).collect();
        let (stay, go) = std::mem::take(&mut self.files).into_iter().partition(|(key, _)| needed.contains(key));
        self.files = stay;
        let path = home.join(FILE);
        if self.places.is_empty() {
            let failed = |e| files::failed(&e, "forget removed destinations", "the file cannot be removed", &path);
            remove(&path).map_err(failed)?;
        } else {
            // Serialising plain data into memory has no way to fail.
            files::replace_private(&path, &serde_json::to_vec_pretty(self).unwrap_or_default())?;
        }
        for (key, file) in BTreeMap::into_iter(go) {
            for file in [home.join(file), home.join(kit::file_name(&key))] {
                spent::delete(&file, &key).await?;
            }
        }
        Ok(())
    }

    /// Those that none of these keys opens.
    pub(crate) fn without<'a>(&'a self, keys: &'a [String]) -> impl Iterator<Item = &'a Left> {
        self.places.iter().filter(move |left| keys.iter().all(|k| !left.keys.contains(k)))
    }

    /// Those that this key opens and none of the others.
    pub(crate) fn needing<'a>(&'a self, key: &'a str, others: &'a [String]) -> impl Iterator<Item = &'a Left> {
        self.without(others).filter(move |left| left.keys.contains(key))
    }

    /// Notes that the file of a key stays for what was removed.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) async fn keep_file(&mut self, home: &Path, key: &str, file: &Path) -> Result<()> {
        let beneath = file.strip_prefix(home).unwrap_or(file);
        self.files.insert(key.to_owned(), beneath.to_owned());
        self.write(home).await
    }

    /// Forgets what needs a key, and the key with its file and kit, where they stayed for that.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) async fn forget(&mut self, home: &Path, key: &str) -> Result<()> {
        for left in &mut self.places {
            left.keys.remove(key);
        }
        self.places.retain(|left| !left.keys.is_empty());
        self.write(home).await
    }

    /// Notes epoch keys that sealed something and are found nowhere: a copy of one of them, made before now, opens by this key.
    /// Of one that was lost before, the key of then is noted already.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) async fn lose(
        &mut self,
        home: &Path,
        lost: &BTreeSet<EpochId>,
        key: &str,
        now: Timestamp,
    ) -> Result<()> {
        for id in lost.iter().map(|id| DestinationId(id.to_string())) {
            if self.places.iter().any(|l| l.lost_epoch && l.id == id && !l.keys.contains(key)) {
                continue;
            }
            self.places.retain(|l| l.id != id);
            let (name, keys) = (format!("epoch key {id}"), BTreeSet::from([key.to_owned()]));
            self.places.push(Left { id, name, place: None, keys, removed: now, lost_epoch: true });
        }
        self.write(home).await
    }

    /// Forgets of lost epoch keys those that the home has by now.
    ///
    /// # Errors
    /// It cannot be written.
    pub(crate) async fn find(&mut self, home: &Path, epochs: &[EpochObject]) -> Result<()> {
        let before = self.places.len();
        self.places.retain(|l| !l.lost_epoch || epochs.iter().all(|e| e.id.to_string() != l.id.0));
        if self.places.len() == before { Ok(()) } else { self.write(home).await }
    }

    /// Ids of every key that something needs.
    pub(crate) fn keys(&self) -> BTreeSet<&str> {
        self.places.iter().flat_map(|left| left.keys.iter().map(String::as_str)).collect()
    }
}

/// Notes what a destination needs, before it is removed from the inventory. What that is; `None` where nothing was sealed
/// there. One that does not seal may have sealed once: what lies there tells, and of one that is away nobody knows.
///
/// # Errors
/// It cannot be written.
pub(crate) async fn leave(instance: &Instance, config: &DestinationConfig) -> Result<Option<Left>> {
    if config.kind != wiring::PLAIN {
        return Ok(None);
    }
    let (keys, is_known) = opened_by(instance, config).await;
    if keys.is_empty() {
        return Ok(None);
    }
    let mut all = Elsewhere::read(&instance.home)?;
    let place = wiring::place_of(config, &instance.home);
    let (id, name, removed) = (config.id.clone(), config.name.clone(), instance.now());
    let left = Left { id, name, place, keys, removed, lost_epoch: false };
    all.places.retain(|l| l.id != left.id);
    if is_known {
        all.places.push(left.clone());
    } else {
        // Any one of them may be the only one that opens it.
        all.places.extend(left.keys.iter().map(|key| Left { keys: BTreeSet::from([key.clone()]), ..left.clone() }));
    }
    all.write(&instance.home).await?;
    Ok(Some(left))
}

/// Forgets a destination that is there again, perhaps at another place, and has the home's keys. `known` says that what was
/// removed was found there: what is new at a place where another one was says nothing of that one.
///
/// # Errors
/// It cannot be written.
pub(crate) async fn back(instance: &Instance, config: &DestinationConfig, known: bool) -> Result<()> {
    let mut all = Elsewhere::read(&instance.home)?;
    let before = all.places.len();
    all.places.retain(|l| !(known && (l.id == config.id || is_same(l, config, &instance.home))));
    if all.places.len() == before { Ok(()) } else { all.write(&instance.home).await }
}

fn remove(file: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(file) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

fn is_same(left: &Left, config: &DestinationConfig, home: &Path) -> bool {
    left.place.is_some() && left.place == wiring::place_of(config, home)
}

/// The ids of those keys each of which opens all that the home sealed there. Of one that is away, those that may, and
/// `false`: it is unknown which of them ever came there. While keys are replaced, the new one, which is the first, opens
/// nothing that none of the others does.
async fn opened_by(instance: &Instance, config: &DestinationConfig) -> (BTreeSet<String>, bool) {
    let sources = instance.keys.sources();
    let new = usize::from(sources.retiring().next().is_some());
    let assumed = || (sources.keys.iter().skip(new).map(|k| k.id.clone()).collect(), false);
    let Ok(folder) = destination_keys(instance.backend_settings(config, false)).await else { return assumed() };
    let Ok(there) = folder.list().await else { return assumed() };
    let mut all: Option<BTreeSet<String>> = None;
    for id in there {
        let Ok(Some(object)) = folder.load(id).await else { continue };
        let wraps: BTreeSet<String> = object.wraps.into_iter().map(|w| w.kek.0).collect();
        all = Some(match all {
            None => wraps,
            Some(before) if before.is_disjoint(&wraps) => &before | &wraps,
            Some(before) => &before & &wraps,
        });
    }
    (all.unwrap_or_default(), true)
}

#[cfg(test)]
mod tests {
    use devicevault_storage::seal::Key;
    use devicevault_storage::seal::keys::Kek;

    use super::*;

    fn left(name: &str, keys: &[&str]) -> Left {
        Left {
            id: DestinationId::from(name),
            name: name.to_owned(),
            place: Some(format!("/srv/{name}")),
            keys: keys.iter().map(|k| (*k).to_owned()).collect(),
            removed: Timestamp::UNIX_EPOCH,
            lost_epoch: false,
        }
    }

    #[tokio::test]
    async fn what_needs_a_key_is_found_kept_and_forgotten() {
        let home = tempfile::tempdir().unwrap();
        let mut all = Elsewhere::read(home.path()).unwrap();
        let kek = Kek::raw(Key::new([1; 32]));
        let aa = kek.id().0.as_str();
        std::fs::write(home.path().join("kek.key"), hex::encode(kek.key().expose())).unwrap();
        all.places = vec![left("one", &[aa]), left("both", &[aa, "bb"])];
        all.keep_file(home.path(), aa, &home.path().join("kek.key")).await.unwrap();
        assert_eq!(Elsewhere::read(home.path()).unwrap(), all);
        let names = |found: Vec<&Left>| found.into_iter().map(|l| l.name.clone()).collect::<Vec<_>>();
        let bb = ["bb".to_owned()];
        assert_eq!(names(all.without(&bb).collect()), ["one"]);
        assert_eq!(names(all.needing(aa, &bb).collect()), ["one"]);
        assert_eq!(names(all.needing(aa, &["cc".to_owned()]).collect()), ["one", "both"]);
        all.forget(home.path(), aa).await.unwrap();
        assert!(!home.path().join("kek.key").exists());
        assert_eq!(names(all.places.iter().collect()), ["both"]);
        all.forget(home.path(), "bb").await.unwrap();
        assert!(!home.path().join(FILE).exists());
    }

    #[test]
    fn what_is_not_ours_is_an_error_and_hangs_nothing() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join(FILE), "{\"places\": 3}").unwrap();
        assert_eq!(Elsewhere::read(home.path()).unwrap_err().kind(), ErrorKind::Config);
        std::fs::remove_file(home.path().join(FILE)).unwrap();
        std::fs::create_dir(home.path().join(FILE)).unwrap();
        assert_eq!(Elsewhere::read(home.path()).unwrap_err().kind(), ErrorKind::Config);
    }
}
