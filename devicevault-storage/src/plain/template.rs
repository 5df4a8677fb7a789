//! Where a backup goes: a path with the names of its parts in braces.

use std::fmt;
use std::str::FromStr;

use devicevault_core::{Error, ErrorKind, Kind, Manifest, Result, StorageRef};

use super::layout;
use crate::names::{MAX_COMPONENT, component, hash_suffix, joined};
use crate::seal::Key;

/// Bytes of a keyed hash in place of a name.
const OPAQUE: usize = 10;
/// What stands behind the time in a file name may be this long before it gives way.
const MAX_TAIL: usize = 60;

/// A path in which `{site}`, `{group}`, `{platform}`, `{device}`, `{artefact}`, `{view}`, `{date}`, `{time}` and
/// `{ext}` stand for what a backup's manifest says.
///
/// The file name has to hold `{time}`, which tells backups apart. A folder of which nothing is known (the site of a
/// device without one) is left out.
///
/// ```
/// use devicevault_storage::plain::Template;
///
/// let by_day: Template = "{date}/{device}/{artefact}-{time}.{ext}".parse()?;
/// assert!("{device}/latest.{ext}".parse::<Template>().is_err());
/// # Ok::<(), devicevault_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    text: String,
    folders: Vec<Vec<Piece>>,
    before: Vec<Piece>,
    after: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Field(Field),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Site,
    Group,
    Platform,
    Device,
    Artefact,
    View,
    Date,
    Time,
    Ext,
}

const FIELDS: [(&str, Field); 9] = [
    ("site", Field::Site),
    ("group", Field::Group),
    ("platform", Field::Platform),
    ("device", Field::Device),
    ("artefact", Field::Artefact),
    ("view", Field::View),
    ("date", Field::Date),
    ("time", Field::Time),
    ("ext", Field::Ext),
];

impl Default for Template {
    /// `{site}/{device}/{artefact}/{time}.{ext}`
    fn default() -> Self {
        let folder = |field| vec![Piece::Field(field)];
        Self {
            text: "{site}/{device}/{artefact}/{time}.{ext}".to_owned(),
            folders: vec![folder(Field::Site), folder(Field::Device), folder(Field::Artefact)],
            before: Vec::new(),
            after: vec![Piece::Literal(".".to_owned()), Piece::Field(Field::Ext)],
        }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Template {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refuse = |why: String| {
            Error::new(ErrorKind::Config, "read path template", why)
                .with("template", text.escape_debug())
                .hint("the default is {site}/{device}/{artefact}/{time}.{ext}")
        };
        let mut segments = text.split('/').map(pieces).collect::<Result<Vec<_>, _>>().map_err(&refuse)?;
        let last = segments.pop().unwrap_or_default();
        let is_time = |p: &Piece| *p == Piece::Field(Field::Time);
        if segments.iter().flatten().any(is_time) || last.iter().filter(|p| is_time(p)).count() != 1 {
            return Err(refuse("{time} has to stand once, in the file name".to_owned()));
        }
        let mut halves = last.split(is_time).map(<[Piece]>::to_vec);
        let (before, after) = (halves.next().unwrap_or_default(), halves.next().unwrap_or_default());
        Ok(Self { text: text.to_owned(), folders: segments, before, after })
    }
}

/// The pieces of one folder's or file's name, or why it is none.
fn pieces(segment: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut rest = segment;
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('{') {
            let (name, tail) = inner.split_once('}').ok_or("a brace is not closed")?;
            let known = FIELDS.iter().find(|(n, _)| *n == name);
            let (_, field) = known.ok_or_else(|| format!("there is no {{{}}}", name.escape_debug()))?;
            pieces.push(Piece::Field(*field));
            rest = tail;
        } else {
            let end = rest.find('{').unwrap_or(rest.len());
            let (literal, tail) = rest.split_at(end);
            if literal.bytes().any(|b| !(b.is_ascii_alphanumeric() || b"-_.+=@,() ".contains(&b))) {
                return Err("text in it may hold letters, digits and -_.+=@,() only".to_owned());
            }
            pieces.push(Piece::Literal(literal.to_owned()));
            rest = tail;
        }
    }
    match pieces.as_slice() {
        [] => Err("a folder or the file has no name".to_owned()),
        [Piece::Literal(only)] if only == "." || only == ".." => Err("it has to stay beneath its root".to_owned()),
        _ => Ok(pieces),
    }
}

impl Template {
    /// The path of a backup, without the suffix of a compression. With a key, names are hashed under it.
    pub(super) fn render(&self, m: &Manifest, names: Option<&Key>) -> String {
        let mut path = String::new();
        for folder in &self.folders {
            if let Some(name) = text_of(folder, m, names) {
                path.push_str(&joined(&name));
                path.push('/');
            }
        }
        let time = layout::stamp(m);
        let (before, after) = (text_of(&self.before, m, names), text_of(&self.after, m, names));
        let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
        let name = if before.len() + time.len() + after.len() <= MAX_COMPONENT {
            format!("{before}{time}{after}")
        } else {
            // The stamp must not be cut: a file is known for ours by it.
            let tail = if after.len() <= MAX_TAIL { after.as_str() } else { "" };
            format!("long{}-{time}{tail}", hash_suffix(&format!("{before}/{after}")))
        };
        path.push_str(&joined(&name));
        path
    }
}

/// What of a backup's path reads like a keyed hash that stands for a name. Names that read so are among them.
pub fn opaque_names(at: &StorageRef) -> impl Iterator<Item = &str> {
    let is_hash = |w: &&str| w.len() == 2 * OPAQUE && w.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    at.as_str().split(|c: char| !c.is_ascii_alphanumeric()).filter(is_hash)
}

/// `None`: it is made of fields of which nothing is known.
fn text_of(pieces: &[Piece], m: &Manifest, names: Option<&Key>) -> Option<String> {
    let mut text = String::new();
    let mut known = pieces.iter().all(|p| matches!(p, Piece::Literal(_)));
    for piece in pieces {
        match piece {
            Piece::Literal(literal) => text.push_str(literal),
            Piece::Field(field) => {
                let value = match names {
                    Some(key) => field.opaque(m, key),
                    None => field.of(m),
                };
                known |= !value.is_empty();
                text.push_str(&value);
            }
        }
    }
    known.then_some(text)
}

impl Field {
    /// A keyed hash of the name that [`of`](Field::of) shows; times stay.
    fn opaque(self, m: &Manifest, key: &Key) -> String {
        let name = self.of(m);
        let word = FIELDS.iter().find(|(_, f)| *f == self).map(|(word, _)| *word).unwrap_or_default();
        match self {
            Self::Date | Self::Time => name,
            _ if name.is_empty() => name,
            _ => {
                let hash = key.mac(&[b"devicevault name v1\0", word.as_bytes(), b"\0", name.as_bytes()]);
                hash.iter().take(OPAQUE).map(|b| format!("{b:02x}")).collect()
            }
        }
    }

    fn of(self, m: &Manifest) -> String {
        let optional = |s: &Option<String>| s.as_deref().filter(|s| !s.is_empty()).map(component).unwrap_or_default();
        match self {
            Self::Site => optional(&m.source.site),
            Self::Group => optional(&m.source.group),
            Self::Platform => component(&m.source.platform),
            Self::Device => component(&m.source.device_name),
            Self::Artefact => component(&m.artefact),
            Self::View => m.view.to_string(),
            Self::Date => layout::date(m),
            Self::Time => layout::stamp(m),
            Self::Ext => {
                let extension = match (m.extension.as_str(), m.kind) {
                    ("", Kind::Text) => "txt".to_owned(),
                    ("", Kind::Binary) => "bin".to_owned(),
                    (extension, _) => component(extension),
                };
                // Nobody who browses a folder is to take it for what its extension says.
                if m.quarantined { format!("{extension}.quarantined") } else { extension }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use devicevault_testkit::samples;
    use object_store::path::Path;
    use proptest::prelude::*;

    use super::*;

    fn manifest(device: &str, site: Option<&str>) -> Manifest {
        let mut m = samples::manifest(&samples::device(device), "running-config", b"x");
        m.source.site = site.map(str::to_owned);
        m
    }

    fn render(template: &str, m: &Manifest) -> String {
        template.parse::<Template>().unwrap().render(m, None).replace(&layout::stamp(m), "TIME")
    }

    #[test]
    fn paths_follow_the_template() {
        let m = manifest("core-rtr1", Some("zurich"));
        let bare = manifest("core-rtr1", None);
        assert_eq!(Template::default(), "{site}/{device}/{artefact}/{time}.{ext}".parse().unwrap());
        assert_eq!(render("{site}/{device}/{artefact}/{time}.{ext}", &m), "zurich/core-rtr1/running-config/TIME.txt");
        assert_eq!(render("{site}/{device}/{artefact}/{time}.{ext}", &bare), "core-rtr1/running-config/TIME.txt");
        assert_eq!(render("site-{site}/{time}", &bare), "TIME");
        assert_eq!(render("all/{date}/{device}-{view}_{time}.{ext}", &m), "all/2026-01-01/core-rtr1-original_TIME.txt");
        assert_eq!(render("{group}{platform}/{time}", &m), "cisco_ios/TIME");
        assert_eq!(render("CON/.x/{time}", &m), "%43ON/%2Ex/TIME");
        let mut held = m.clone();
        held.quarantined = true;
        assert_eq!(render("{artefact}/{time}.{ext}", &held), "running-config/TIME.txt.quarantined");
    }

    #[test]
    fn opaque_paths_hold_no_name_and_keep_what_is_equal_together() {
        let (key, other) = (Key::new([7; 32]), Key::new([8; 32]));
        let template: Template = "{site}/{group}{platform}/{device}/{view}/{artefact}-{time}.{ext}".parse().unwrap();
        let m = manifest("core-rtr1", Some("zurich"));
        let path = template.render(&m, Some(&key));
        for name in ["zurich", "cisco_ios", "core", "running", "original", "txt"] {
            assert!(!path.contains(name), "{path}");
        }
        let device = |path: &str| path.split('/').nth(2).unwrap().to_owned();
        assert_eq!(device(&template.render(&manifest("core-rtr1", None), Some(&key))).len(), 20);
        let same_site = template.render(&manifest("core-rtr2", Some("zurich")), Some(&key));
        assert_eq!(path.split('/').next(), same_site.split('/').next());
        assert_ne!(device(&path), device(&same_site));
        assert_ne!(device(&path), device(&template.render(&m, Some(&other))));
        // A site and a device of the same name do not look alike.
        let twin = template.render(&manifest("zurich", Some("zurich")), Some(&key));
        assert_ne!(twin.split('/').next().unwrap(), device(&twin));
    }

    #[test]
    fn templates_that_cannot_be_are_refused() {
        for bad in [
            "",
            "/",
            "{time}/",
            "/{time}",
            "a//{time}",
            "../{time}",
            "./{time}",
            "{device}",
            "{time}/{device}",
            "{time}{time}",
            "{nope}/{time}",
            "{device/{time}",
            "a\0b/{time}",
            "a\\b/{time}",
            "é/{time}",
            "}{time}",
        ] {
            let e = bad.parse::<Template>().unwrap_err();
            assert_eq!(e.kind(), ErrorKind::Config, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_manifest_has_a_path_that_is_ours_and_fits(
            device in "(?s).{0,40}|.{100,400}", site in proptest::option::of("(?s).{0,10}|[./~ -]{0,4}|.{250}"),
            extension in "(?s).{0,6}|.{250}|manifest\\.json|tar\\.gz", artefact in ".{0,20}|.{250}",
            which in 0usize..4, opaque: bool,
        ) {
            let template = ["{site}/{device}/{artefact}/{time}.{ext}", "{device}{site}-{time}.{ext}", "{time}", "x.{ext}.{time}"][which];
            let mut m = manifest(&device, site.as_deref());
            (m.extension, m.artefact) = (extension, artefact);
            let key = opaque.then(|| Key::new([7; 32]));
            let path = template.parse::<Template>().unwrap().render(&m, key.as_ref());
            prop_assert_eq!(Path::parse(&path).unwrap().to_string(), path.clone());
            for part in path.split('/') {
                prop_assert!((1..=MAX_COMPONENT + 4).contains(&part.len()), "{}", part);
                prop_assert!(!part.starts_with('.') && part.is_ascii());
            }
            prop_assert!(layout::has_stamp(&path));
        }
    }
}
