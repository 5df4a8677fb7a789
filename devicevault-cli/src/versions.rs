//! Which artefact of which device is meant, and its versions.

use std::collections::BTreeSet;

use devicevault_core::catalog::Query;
use devicevault_core::run::Backup;
use devicevault_core::{Device, DeviceId, Error, ErrorKind, Login, Result, Target};
use jiff::tz::TimeZone;

use crate::archive::Archive;
use crate::reference;

/// No command needs more versions of one artefact than this.
const MOST: usize = 100_000;

/// What a command was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The device; of a folder with one device it need not be said.
    pub(crate) device: Option<String>,
    /// The artefact; the platform's first one where it is not said.
    pub(crate) artefact: Option<String>,
    /// Both as they were written together: a device may be called so.
    written: Option<String>,
}

impl Wanted {
    /// Reads `DEVICE[:ARTEFACT]`. A name may hold colons itself: what is an IPv6 address as a whole is a device, else what
    /// reads like an artefact behind the last one is one, and an artefact that is said apart settles it.
    pub(crate) fn parse(what: Option<&str>, artefact: Option<&str>) -> Self {
        let Some(what) = what else { return Self::of(None, artefact) };
        if artefact.is_none()
            && let Some((device, name)) = what.rsplit_once(':')
            && !device.is_empty()
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && what.parse::<std::net::Ipv6Addr>().is_err()
            && devicevault_core::check_artefact_name(name).is_ok()
        {
            return Self { written: Some(what.to_owned()), ..Self::of(Some(device), Some(name)) };
        }
        Self::of(Some(what), artefact)
    }

    /// A device and an artefact that are said apart.
    pub(crate) fn of(device: Option<&str>, artefact: Option<&str>) -> Self {
        Self { device: device.map(str::to_owned), artefact: artefact.map(str::to_owned), written: None }
    }

    /// The device where one is called by all that was written; else as it was read.
    pub(crate) async fn settled(&self, archive: &Archive) -> Result<Self> {
        match &self.written {
            Some(name) if archive.is_device(name).await? => Ok(Self::of(Some(name), None)),
            _ => Ok(self.clone()),
        }
    }
}

/// The versions of the artefact that is wanted, newest first; there is at least one.
///
/// # Errors
/// `NotFound` where there is none, `Config` where it is not clear which device is meant.
pub(crate) async fn of(archive: &Archive, wanted: &Wanted) -> Result<(DeviceId, Vec<Backup>)> {
    let wanted = &wanted.settled(archive).await?;
    let device = match &wanted.device {
        Some(name) => archive.device_id(name).await.map_err(|e| archive.not_found(e))?,
        None => only_device(archive).await?,
    };
    let mut query = Query::default();
    query.device = Some(device.clone());
    query.artefact.clone_from(&wanted.artefact);
    let mut found = archive.versions(&query, MOST).await?;
    let names: BTreeSet<String> = found.iter().map(|b| b.artefact.clone()).collect();
    if wanted.artefact.is_none() && !found.is_empty() {
        let main = main_artefact(archive, &found, &names).await;
        found.retain(|b| b.artefact == main);
        if found.is_empty() {
            let others: Vec<_> = names.iter().map(String::as_str).collect();
            let e = Error::new(ErrorKind::NotFound, "find version", "there is none yet of the artefact that is meant")
                .with("artefact", main)
                .with("device", wanted.device.as_deref().unwrap_or(device.as_str()).escape_debug())
                .hint(format!("name another one after a colon; there is: {}", others.join(", ")));
            return Err(archive.not_found(e));
        }
    }
    if found.is_empty() {
        let e = Error::new(ErrorKind::NotFound, "find version", "there is none yet")
            .with("device", wanted.device.as_deref().unwrap_or(device.as_str()).escape_debug());
        let Some(artefact) = &wanted.artefact else {
            return Err(archive.not_found(e.hint("`devicevault history` shows what there is")));
        };
        query.artefact = None;
        let all = archive.versions(&query, MOST).await?;
        let others: Vec<_> = all.iter().map(|b| b.artefact.as_str()).collect::<BTreeSet<_>>().into_iter().collect();
        let hint = match others.as_slice() {
            [] => "there is none of any artefact of this device: `devicevault history` shows what there is".to_owned(),
            others => format!("of this device there is: {}", others.join(", ")),
        };
        return Err(archive.not_found(e.with("artefact", artefact.escape_debug()).hint(hint)));
    }
    Ok((device, found))
}

/// The version that a reference names.
///
/// # Errors
/// See [`reference::resolve`].
pub(crate) fn pick<'a>(archive: &Archive, versions: &'a [Backup], reference: &str) -> Result<&'a Backup> {
    reference::resolve(reference, versions, &TimeZone::system()).map_err(|e| archive.not_found(e))
}

/// The one version that a reference names.
///
/// # Errors
/// See [`of`] and [`pick`].
pub(crate) async fn one(archive: &Archive, wanted: &Wanted, reference: &str) -> Result<Backup> {
    let found = match of(archive, wanted).await {
        Ok((_, found)) => pick(archive, &found, reference).cloned(),
        Err(e) => Err(e),
    };
    match found {
        Err(e) if e.kind() == ErrorKind::NotFound => of_namesake(archive, wanted, reference).await?.ok_or(e),
        found => found,
    }
}

/// A version, by its identifier, of a device that was removed and whose name another one has by now.
pub(crate) async fn of_namesake(archive: &Archive, wanted: &Wanted, identifier: &str) -> Result<Option<Backup>> {
    let wanted = &wanted.settled(archive).await?;
    let (Some(instance), Some(name)) = (archive.instance(), &wanted.device) else { return Ok(None) };
    let Some(identifier) = reference::identifier(identifier) else { return Ok(None) };
    let Ok(device) = instance.device_id(name).await else { return Ok(None) };
    let mut found = Vec::new();
    for namesake in instance.namesakes(name, &device).await? {
        let mut query = Query::default();
        query.device = Some(namesake.device);
        query.artefact.clone_from(&wanted.artefact);
        let all = archive.versions(&query, MOST).await?;
        found.extend(all.into_iter().filter(|b| b.id.to_string().starts_with(&identifier)));
    }
    match found.len() {
        0 | 1 => Ok(found.pop()),
        _ => {
            Err(Error::new(ErrorKind::Conflict, "find version", "several versions begin so")
                .with("reference", identifier))
        }
    }
}

async fn only_device(archive: &Archive) -> Result<DeviceId> {
    let all = archive.versions(&Query::default(), MOST).await?;
    let devices: BTreeSet<(&str, &DeviceId)> = all.iter().map(|b| (b.device_name.as_str(), &b.device)).collect();
    let ids: BTreeSet<&DeviceId> = devices.iter().map(|(_, id)| *id).collect();
    match (ids.first(), ids.len()) {
        (Some(only), 1) => Ok((*only).clone()),
        (None, _) => Err(archive.not_found(Error::new(ErrorKind::NotFound, "find version", "there are no backups"))),
        _ => {
            let names: Vec<_> = devices.iter().map(|(name, _)| *name).take(10).collect();
            Err(Error::new(ErrorKind::Config, "find version", "there are several devices")
                .hint(format!("name one of them: {}", names.join(", "))))
        }
    }
}

/// The artefact that the platform names first, whether there is a version of it or not: never another one unasked. Where
/// the platform is not known, the first by name.
async fn main_artefact(archive: &Archive, versions: &[Backup], names: &BTreeSet<String>) -> String {
    let first_by_name = names.first().cloned().unwrap_or_default();
    let Some(device) = platform_of(archive, versions).await else { return first_by_name };
    let Ok(collector) = archive.collectors.get(&device.collector) else { return first_by_name };
    let known = collector.artefacts(&Target::new(device, Login::default())).unwrap_or_default();
    known.into_iter().map(|a| a.name).next().unwrap_or(first_by_name)
}

/// The device as the manifest of its newest version tells of it.
pub(crate) async fn platform_of(archive: &Archive, versions: &[Backup]) -> Option<Device> {
    let newest = versions.first()?;
    let mut copies: Vec<_> = newest.copies.iter().filter_map(|c| Some((c, c.storage_ref.as_ref()?))).collect();
    copies.sort_by_key(|(c, _)| archive.is_remote(&c.destination));
    for (copy, at) in copies {
        if let Ok(backend) = archive.backend(&copy.destination).await
            && let Ok(manifest) = backend.stat(at).await
        {
            let s = manifest.source;
            let mut device = Device::new(s.device, s.device_name, s.host, s.platform);
            device.collector = s.collector;
            return Some(device);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_artefact_stands_behind_a_colon() {
        let wanted = |what, artefact| {
            let w = Wanted::parse(Some(what), artefact);
            (w.device.unwrap(), w.artefact)
        };
        assert_eq!(wanted("r1", None), ("r1".to_owned(), None));
        assert_eq!(wanted("r1:running-config", None), ("r1".to_owned(), Some("running-config".to_owned())));
        assert_eq!(wanted("nas1:disk", None), ("nas1".to_owned(), Some("disk".to_owned())));
        assert_eq!(wanted("nas1:db", None), ("nas1".to_owned(), Some("db".to_owned())));
        assert_eq!(wanted("2001:db8::1", None), ("2001:db8::1".to_owned(), None));
        assert_eq!(wanted("2001:db8::face", None), ("2001:db8::face".to_owned(), None));
        assert_eq!(wanted("2001:db8::1:inventory", None), ("2001:db8::1".to_owned(), Some("inventory".to_owned())));
        assert_eq!(wanted("r1:x", Some("inventory")), ("r1:x".to_owned(), Some("inventory".to_owned())));
    }
}
