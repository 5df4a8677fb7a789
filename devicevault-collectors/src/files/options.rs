//! Which files are collected, as the options of a device say.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::collections::BTreeMap;
use std::sync::Arc;

use devicevault_core::text::{SuspectRules, TextRules};
use devicevault_core::{ArtifactInfo, Device, Error, ErrorKind, Kind, Result, check_artefact_name, parse_size};
use devicevault_ssh::Pattern;

use crate::platform::{Platform, PlatformSet};

const PREFIX: &str = "files.";
const WINDOW: &str = "sftp.window";
const IN_FLIGHT: &str = "sftp.in_flight";
const SETTINGS: [&str; 6] = ["kind", "take", "min_size", "max_size", "mandatory", "extension"];
const LONGEST_PATH: usize = 4096;

/// A file to collect.
#[derive(Debug)]
pub(super) struct FileArtefact {
    pub(super) info: ArtifactInfo,
    pub(super) place: Place,
    /// More bytes than this are not taken.
    pub(super) max_size: u64,
}

/// Where it is.
#[derive(Debug)]
pub(super) enum Place {
    Path(String),
    Pattern { text: String, pattern: Pattern, take: Take },
}

/// Which of the files that a pattern meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Take {
    One,
    Newest,
    Last,
    All,
}

/// How a server is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    /// In bytes.
    pub(super) window: u32,
    pub(super) in_flight: usize,
}

/// What one device's options say.
struct Reader<'a> {
    device: &'a Device,
    rules: Arc<TextRules>,
    patterns: bool,
}

impl Place {
    /// As the option says it.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Path(path) => path,
            Self::Pattern { text, .. } => text,
        }
    }
}

/// The files of a device, in the order of their names; with `patterns`, of a collector that can list.
pub(super) fn files(device: &Device, platform: Option<&Platform>, patterns: bool) -> Result<Vec<FileArtefact>> {
    let reader = Reader { device, rules: rules(platform), patterns };
    let mut names: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
    for (key, value) in &device.options {
        if !patterns && key.starts_with("sftp.") || key.starts_with("scp.") {
            return Err(reader.wrong(key, "there is no option of this name for this collector"));
        }
        let Some(rest) = key.strip_prefix(PREFIX) else { continue };
        let (name, setting) = rest.split_once('.').unwrap_or((rest, ""));
        check_artefact_name(name).map_err(|e| reader.wrong(key, e.message()))?;
        if !setting.is_empty() && !SETTINGS.contains(&setting) || rest.ends_with('.') {
            return Err(reader
                .wrong(key, "there is no setting of this name")
                .hint(format!("settings of a file are {}; its name holds no dot", SETTINGS.join(", "))));
        }
        names.entry(name).or_default().insert(setting, value);
    }
    if names.is_empty() {
        return Err(Error::new(ErrorKind::Config, "read device options", "no file of the device is named")
            .with("device", &device.name)
            .hint("name one, such as files.config = \"/flash/config.bin\""));
    }
    names.into_iter().map(|(name, settings)| reader.file(name, &settings)).collect()
}

/// How fast a server is read.
pub(super) fn pace(device: &Device) -> Result<Pace> {
    let reader = Reader { device, rules: Arc::default(), patterns: true };
    if let Some(key) = device.options.keys().find(|k| k.starts_with("sftp.") && *k != WINDOW && *k != IN_FLIGHT) {
        let known = format!("options are {WINDOW} and {IN_FLIGHT}");
        return Err(reader.wrong(key, "there is no option of this name").hint(known));
    }
    let window = match device.options.get(WINDOW) {
        None => 16 << 20,
        Some(text) => {
            match parse_size(text).and_then(|s| u32::try_from(s).ok()).filter(|s| (64 << 10..=64 << 20).contains(s)) {
                Some(window) => window,
                None => return Err(reader.wrong(WINDOW, "it is a size from 64KiB to 64MiB").value(text)),
            }
        }
    };
    let in_flight = match device.options.get(IN_FLIGHT) {
        None => 64,
        Some(text) => match text.parse().ok().filter(|n| (1..=64).contains(n)) {
            Some(n) => n,
            None => return Err(reader.wrong(IN_FLIGHT, "it is a number from 1 to 64").value(text)),
        },
    };
    Ok(Pace { window, in_flight })
}

/// What a platform knows of its texts. That a text looks like an answer of the command line cut off, or refused, says
/// nothing of a file.
fn rules(platform: Option<&Platform>) -> Arc<TextRules> {
    let of_text = platform.and_then(|p| p.artefacts().find(|a| a.kind == Kind::Text));
    of_text.map_or_else(Arc::default, |info| {
        let mut rules = TextRules::clone(&info.rules);
        rules.suspect = SuspectRules::default();
        Arc::new(rules)
    })
}

/// The platform of a device, where there is one of that name: files need none.
pub(super) fn platform(platforms: &PlatformSet, device: &Device) -> Option<Arc<Platform>> {
    platforms.get(&device.platform).ok()
}

impl Reader<'_> {
    fn wrong(&self, option: &str, message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Config, "read device options", message)
            .with("option", option.escape_debug())
            .with("device", &self.device.name)
    }

    fn file(&self, name: &str, settings: &BTreeMap<&str, &str>) -> Result<FileArtefact> {
        let option = |setting: &str| format!("{PREFIX}{name}.{setting}");
        let wrong = |setting: &str, why: &str, value: &str| self.wrong(&option(setting), why).value(value);
        let Some(path) = settings.get("") else {
            let path = format!("{PREFIX}{name}");
            let why = "the file has settings and no path";
            return Err(self.wrong(&path, why).hint(format!("set {path}")));
        };
        let size_of = |setting: &str| match settings.get(setting) {
            None => Ok(None),
            Some(text) => match parse_size(text) {
                Some(size) => Ok(Some(size)),
                None => Err(wrong(setting, "it is a size, such as 512, 64KiB or 300MB", text)),
            },
        };
        let kind = match settings.get("kind").copied() {
            None | Some("binary") => Kind::Binary,
            Some("text") => Kind::Text,
            Some(other) => return Err(wrong("kind", "it is text or binary", other)),
        };
        let mandatory = match settings.get("mandatory").copied() {
            None | Some("yes" | "true") => true,
            Some("no" | "false") => false,
            Some(other) => return Err(wrong("mandatory", "it is yes or no", other)),
        };
        let take = match settings.get("take").copied() {
            None => None,
            Some("one") => Some(Take::One),
            Some("newest") => Some(Take::Newest),
            Some("last") => Some(Take::Last),
            Some("all") => Some(Take::All),
            Some(other) => return Err(wrong("take", "it is one, newest, last or all", other)),
        };
        let place = self.place(&format!("{PREFIX}{name}"), path, take)?;
        let archive = matches!(place, Place::Pattern { take: Take::All, .. });
        if archive && kind == Kind::Text {
            return Err(wrong("kind", "an archive of all files is binary", "text"));
        }
        let (min, max) = (size_of("min_size")?, size_of("max_size")?);
        if let (Some(min), Some(max)) = (min, max)
            && min > max
        {
            return Err(wrong("max_size", "it is smaller than min_size", &max.to_string()));
        }
        let extension = match settings.get("extension").copied() {
            Some(text) if is_extension(text) => text.to_owned(),
            Some(other) => return Err(wrong("extension", "it is 1 to 16 letters and digits", other)),
            None if archive => "tar".to_owned(),
            None => extension_of(path).unwrap_or(if kind == Kind::Text { "txt" } else { "bin" }.to_owned()),
        };
        let mut info = match kind {
            Kind::Text => ArtifactInfo::text(name).with_rules(self.rules.clone()),
            Kind::Binary => ArtifactInfo::binary(name),
        };
        info = info.with_extension(extension).with_min_size(min.unwrap_or(1));
        if !mandatory {
            info = info.optional();
        }
        Ok(FileArtefact { info, place, max_size: max.unwrap_or(u64::MAX) })
    }

    fn place(&self, option: &str, path: &str, take: Option<Take>) -> Result<Place> {
        if path.is_empty() || path.len() > LONGEST_PATH {
            return Err(self.wrong(option, "a path has 1 to 4096 bytes"));
        }
        if path.chars().any(char::is_control) {
            return Err(self.wrong(option, "the path holds a control character").value(path));
        }
        let wild = path.contains(if self.patterns { &['*', '?', '['][..] } else { &['*', '?'] });
        if !wild {
            return match take {
                None | Some(Take::One) => Ok(Place::Path(path.to_owned())),
                Some(_) => {
                    Err(self.wrong(&format!("{option}.take"), "it chooses among the files that a pattern meets"))
                }
            };
        }
        if !self.patterns {
            return Err(self
                .wrong(option, "SCP cannot list, so it takes no pattern")
                .value(path)
                .hint("name one file, or use the collector sftp"));
        }
        let pattern = Pattern::parse(path).map_err(|e| self.wrong(option, e.to_string()))?;
        if path.split('/').any(|c| c == "..") {
            return Err(self.wrong(option, "a pattern does not lead upwards").value(path));
        }
        // What was written as it is, by backslashes.
        if let Some(plain) = pattern.as_path() {
            return String::from_utf8(plain).map(Place::Path).map_err(|_| self.wrong(option, "the path is no text"));
        }
        Ok(Place::Pattern { text: path.to_owned(), pattern, take: take.unwrap_or(Take::One) })
    }
}

/// Adds the value that is wrong, escaped.
trait WithValue {
    fn value(self, value: &str) -> Self;
}

impl WithValue for Error {
    fn value(self, value: &str) -> Self {
        self.with("value", value.escape_debug())
    }
}

fn is_extension(text: &str) -> bool {
    (1..=16).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric())
}

fn extension_of(path: &str) -> Option<String> {
    let name = path.rsplit(['/', ':', '\\']).next()?;
    let (stem, extension) = name.rsplit_once('.')?;
    (!stem.is_empty() && is_extension(extension)).then(|| extension.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn device(options: &[(&str, &str)]) -> Device {
        let mut device = Device::new("d", "d", "h", "linux");
        device.options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        device
    }

    fn read(options: &[(&str, &str)]) -> Result<Vec<FileArtefact>> {
        files(&device(options), None, true)
    }

    #[test]
    fn files_are_read_with_their_settings() {
        let got = read(&[
            ("files.config", "/flash/startup.CFG"),
            ("files.config.kind", "text"),
            ("files.config.min_size", "4KiB"),
            ("files.dump", "backup-*.bin"),
            ("files.dump.take", "newest"),
            ("files.dump.max_size", "300 MB"),
            ("files.dump.mandatory", "no"),
            ("files.set", "/etc/frr/*"),
            ("files.set.take", "all"),
            ("files.odd", "/a/\\[x\\]"),
            ("site.colour", "blue"),
        ])
        .unwrap();
        let line = |f: &FileArtefact| {
            let i = &f.info;
            format!("{} {} {} {} {} {}", i.name, i.kind, i.extension, i.min_size, f.max_size, i.mandatory)
        };
        let lines: Vec<_> = got.iter().map(line).collect();
        let no_bound = u64::MAX;
        assert_eq!(
            lines,
            [
                format!("config text cfg 4096 {no_bound} true"),
                "dump binary bin 1 300000000 false".to_owned(),
                format!("odd binary bin 1 {no_bound} true"),
                format!("set binary tar 1 {no_bound} true"),
            ]
        );
        assert!(got.iter().any(|f| matches!(&f.place, Place::Path(p) if p == "/a/[x]")));
        assert!(got.iter().any(|f| matches!(&f.place, Place::Pattern { take: Take::Newest, .. })));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (options, fits) in [
            (&[][..], "no file"),
            (&[("files.a", "")], "files.a"),
            (&[("files.a", "x\ny")], "control character"),
            (&[("files.A", "x")], "files.A"),
            (&[("files.", "x")], "files."),
            (&[("files.a.", "x")], "files.a."),
            (&[("files.a.kind", "text")], "no path"),
            (&[("files.a", "x"), ("files.a.colour", "x")], "files.a.colour"),
            (&[("files.a", "x"), ("files.a.kind", "image")], "files.a.kind"),
            (&[("files.a", "x"), ("files.a.take", "newest")], "files.a.take"),
            (&[("files.a", "*"), ("files.a.take", "oldest")], "files.a.take"),
            (&[("files.a", "*"), ("files.a.take", "all"), ("files.a.kind", "text")], "files.a.kind"),
            (&[("files.a", "x"), ("files.a.min_size", "-1")], "files.a.min_size"),
            (&[("files.a", "x"), ("files.a.min_size", "2"), ("files.a.max_size", "1")], "files.a.max_size"),
            (&[("files.a", "x"), ("files.a.max_size", "99999999999GiB")], "files.a.max_size"),
            (&[("files.a", "x"), ("files.a.mandatory", "maybe")], "files.a.mandatory"),
            (&[("files.a", "x"), ("files.a.extension", "../x")], "files.a.extension"),
            (&[("files.a", "[x")], "files.a"),
            (&[("files.a", "../*")], "upwards"),
            (&[("files.a", "x"), ("scp.x", "x")], "scp.x"),
        ] {
            let e = read(options).unwrap_err();
            assert!(e.to_string().contains(fits) && e.kind() == ErrorKind::Config, "{fits}: {e}");
        }
        let e = files(&device(&[("files.a", "/x/*")]), None, false).unwrap_err();
        assert!(e.to_string().contains("SCP cannot list"), "{e}");
        assert!(files(&device(&[("files.a", "x"), ("sftp.window", "2MiB")]), None, false).is_err());
        for bad in [("sftp.window", "1"), ("sftp.window", "1GiB"), ("sftp.in_flight", "0"), ("sftp.colour", "x")] {
            assert!(pace(&device(&[bad])).unwrap_err().to_string().contains(bad.0));
        }
        let got = pace(&device(&[("sftp.window", "2MiB"), ("sftp.in_flight", "8")])).unwrap();
        assert_eq!(got, Pace { window: 2 << 20, in_flight: 8 });
    }

    #[test]
    fn a_platform_gives_the_rules_of_its_texts_and_no_suspicion() {
        let platforms = PlatformSet::built_in();
        let ios = platforms.get("cisco_ios").unwrap();
        let text = [("files.startup", "nvram:startup-config"), ("files.startup.kind", "text")];
        let got = files(&device(&text), Some(&ios), false).unwrap();
        let rules = got.first().unwrap().info.rules.clone();
        assert!(!rules.secrets.is_empty() && rules.suspect.failure.is_empty());
    }

    proptest! {
        #[test]
        fn any_option_is_read_or_refused(key in "files[.][a-z.]{0,12}", path: String, setting: String) {
            let _ = read(&[(&key, &path), ("files.a", "x"), ("files.a.max_size", &setting)]);
            let _ = files(&device(&[(&key, &path)]), None, false);
        }
    }
}
