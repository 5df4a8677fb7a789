//! Holds a file to its rules while its bytes pass.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use super::{FileRule, FileRules, Magic, OnBreach};
use crate::{ArtifactInfo, Error, ErrorKind, Kind, Result};

/// Looks at one binary artefact as it arrives: extension, first bytes, size.
///
/// It holds as many first bytes as its magic numbers look at, at most some 64 KiB.
#[derive(Debug)]
pub struct Judge {
    rules: Vec<(String, FileRule)>,
    artefact: String,
    extension: String,
    needs: usize,
    head: Vec<u8>,
    /// The head has been looked at.
    looked: bool,
    received: u64,
    breaches: Vec<String>,
    refusal: Option<Error>,
}

/// A checker that still has to look at the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Its name.
    pub checker: String,
    /// Whose rule asks for it.
    pub origin: String,
    /// What becomes of a file that it does not pass.
    pub on_breach: OnBreach,
}

/// What came of a whole file.
#[derive(Debug, Default)]
pub struct Judged {
    /// Why it goes to quarantine; empty where it does not.
    pub breaches: Vec<String>,
    /// Who is to look at it besides.
    pub checks: Vec<Check>,
}

impl Judge {
    /// For an artefact that begins; `None` where no rule is about it.
    #[must_use]
    pub fn new(rules: &[FileRules], info: &ArtifactInfo) -> Option<Self> {
        if info.kind != Kind::Binary {
            return None;
        }
        let of_artefact = rules.iter().map(|r| (r.origin().to_owned(), r.of(&info.name)));
        let rules: Vec<_> = of_artefact.filter(|(_, rule)| *rule != FileRule::default()).collect();
        if rules.is_empty() {
            return None;
        }
        let magic = rules.iter().flat_map(|(_, r)| [&r.magic, &r.forbidden_magic]).flatten().flatten();
        let needs = magic.map(Magic::needs).max().unwrap_or_default();
        let mut judge = Self {
            rules,
            artefact: info.name.clone(),
            extension: info.extension.to_ascii_lowercase(),
            needs,
            head: Vec::new(),
            looked: false,
            received: 0,
            breaches: Vec::new(),
            refusal: None,
        };
        judge.hold(FileRule::extension_breach);
        Some(judge)
    }

    /// More bytes of it.
    ///
    /// # Errors
    /// `Quarantined` or `TooLarge`: nothing of it is to be kept, and no more is wanted. Every later call says so too.
    pub fn push(&mut self, chunk: &[u8]) -> Result<()> {
        self.received = self.received.saturating_add(chunk.len() as u64);
        if self.refusal.is_none() {
            self.hold_size();
        }
        if !self.looked && self.refusal.is_none() {
            let missing = self.needs.saturating_sub(self.head.len()).min(chunk.len());
            self.head.extend_from_slice(chunk.get(..missing).unwrap_or(chunk));
            if self.head.len() >= self.needs {
                self.look();
            }
        }
        self.refusal.clone().map_or(Ok(()), Err)
    }

    /// It is whole.
    ///
    /// # Errors
    /// As [`push`](Judge::push).
    pub fn finish(mut self) -> Result<Judged> {
        if !self.looked && self.refusal.is_none() {
            self.look();
        }
        if self.refusal.is_none() {
            self.hold(FileRule::smallness_breach);
        }
        if let Some(refusal) = self.refusal {
            return Err(refusal);
        }
        let mut checks: Vec<Check> = Vec::new();
        for (origin, rule) in self.rules {
            let on_breach = rule.on_breach();
            let Some(checker) = rule.checker.filter(|name| !name.is_empty()) else { continue };
            match checks.iter_mut().find(|c| c.checker == checker) {
                Some(known) if known.on_breach < on_breach => *known = Check { checker, origin, on_breach },
                Some(_) => {}
                None => checks.push(Check { checker, origin, on_breach }),
            }
        }
        Ok(Judged { breaches: self.breaches, checks })
    }

    fn look(&mut self) {
        self.looked = true;
        self.hold(FileRule::magic_breach);
        self.head = Vec::new();
    }

    /// Holds the file to a part of each rule.
    fn hold(&mut self, part: impl Fn(&FileRule, &Self) -> Option<String>) {
        let found = self.rules.iter().filter_map(|(origin, rule)| {
            let why = part(rule, self)?;
            Some((format!("{why} (rule of {origin})"), rule.on_breach()))
        });
        let (mut breaches, mut refusal) = (Vec::new(), None::<String>);
        for (why, on_breach) in found {
            match on_breach {
                OnBreach::Quarantine => breaches.push(why),
                OnBreach::Refuse => refusal = refusal.or(Some(why)),
            }
        }
        self.breaches.extend(breaches);
        let refusal = refusal.map(|why| refuse(ErrorKind::Quarantined, why, &self.artefact));
        self.refusal = self.refusal.take().or(refusal);
    }

    /// What is too large is refused, whatever becomes of other breaches: a part of a file is no file.
    fn hold_size(&mut self) {
        let bound = self.rules.iter().filter_map(|(origin, r)| Some((r.max_size?, origin))).min();
        if let Some((most, origin)) = bound.filter(|(most, _)| self.received > *most) {
            let why = format!("it is larger than the {most} bytes that are allowed (rule of {origin})");
            self.refusal = Some(refuse(ErrorKind::TooLarge, why, &self.artefact));
        }
    }
}

/// The error of a file of which nothing is kept.
pub(crate) fn refuse(kind: ErrorKind, why: String, artefact: &str) -> Error {
    Error::new(kind, "keep file", why)
        .with("artefact", artefact)
        .hint("look at the file on the device; file rules are told in the guide")
}

impl FileRule {
    fn extension_breach(&self, judge: &Judge) -> Option<String> {
        let is = &judge.extension;
        let shown =
            || if is.is_empty() { "no extension".to_owned() } else { format!("the extension {}", is.escape_debug()) };
        let wanted = self.extensions.as_ref().filter(|all| !all.is_empty());
        if let Some(wanted) = wanted.filter(|all| !all.contains(is)) {
            let wanted: Vec<_> = wanted.iter().map(String::as_str).collect();
            return Some(format!("it has {} and not {}", shown(), wanted.join(" or ")));
        }
        let forbidden = self.forbidden_extensions.as_ref().is_some_and(|all| all.contains(is));
        forbidden.then(|| format!("it has {}, which is forbidden", shown()))
    }

    fn magic_breach(&self, judge: &Judge) -> Option<String> {
        let wanted = self.magic.as_ref().filter(|all| !all.is_empty());
        if let Some(wanted) = wanted.filter(|all| !all.iter().any(|m| m.matches(&judge.head))) {
            let names: Vec<_> = wanted.iter().map(ToString::to_string).collect();
            return Some(format!("its first bytes are not those of {}", names.join(" or ")));
        }
        let found = self.forbidden_magic.iter().flatten().find(|m| m.matches(&judge.head))?;
        Some(format!("its first bytes are those of {found}, which is forbidden"))
    }

    fn smallness_breach(&self, judge: &Judge) -> Option<String> {
        let least = self.min_size.filter(|least| judge.received < *least)?;
        Some(format!("it has {} bytes, fewer than the {least} that are asked for", judge.received))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rules(origin: &str, options: &[(&str, &str)]) -> FileRules {
        let options = options.iter().map(|(k, v)| (format!("file_rules.{k}"), (*v).to_owned())).collect();
        FileRules::from_options(origin, &options).unwrap().unwrap()
    }

    fn judge(rules: &[FileRules], extension: &str, chunks: &[&[u8]]) -> Result<Judged> {
        let info = ArtifactInfo::binary("state").with_extension(extension);
        let mut judge = Judge::new(rules, &info).unwrap();
        for chunk in chunks {
            judge.push(chunk)?;
        }
        judge.finish()
    }

    #[test]
    fn each_rule_holds_by_itself_and_all_together() {
        let archive = rules("policy core", &[("extensions", "gz"), ("magic", "gzip"), ("min_size", "4")]);
        let no_programs = rules("device r1", &[("forbidden_magic", "elf, pe"), ("forbidden_extensions", "exe")]);
        let both = [archive, no_programs];
        assert!(judge(&both, "GZ", &[b"\x1f", b"\x8b\x08\0"]).unwrap().breaches.is_empty());
        let breaches = judge(&both, "exe", &[b"MZ"]).unwrap().breaches;
        assert_eq!(
            breaches,
            [
                "it has the extension exe and not gz (rule of policy core)",
                "it has the extension exe, which is forbidden (rule of device r1)",
                "its first bytes are not those of gzip (rule of policy core)",
                "its first bytes are those of pe, which is forbidden (rule of device r1)",
                "it has 2 bytes, fewer than the 4 that are asked for (rule of policy core)",
            ]
        );
        assert_eq!(judge(&both, "", &[]).unwrap().breaches.len(), 3);
        assert!(Judge::new(&both, &ArtifactInfo::text("state")).is_none(), "texts have rules of their own");
        let other = rules("p", &[("firmware.magic", "elf")]);
        assert!(Judge::new(&[other], &ArtifactInfo::binary("state")).is_none());
    }

    #[test]
    fn what_is_refused_is_refused_at_once_and_stays_so() {
        let rule = rules("p", &[("magic", "tar"), ("on_breach", "refuse")]);
        let mut one = Judge::new(std::slice::from_ref(&rule), &ArtifactInfo::binary("state")).unwrap();
        one.push(&[0; 261]).unwrap();
        assert_eq!(one.push(&[0; 1]).unwrap_err().kind(), ErrorKind::Quarantined);
        assert!(one.push(b"").is_err());
        assert!(one.finish().is_err());
        assert_eq!(judge(&[rule], "bin", &[b"short"]).unwrap_err().kind(), ErrorKind::Quarantined);
        // The least bound of several, and to the byte.
        let bounds = [rules("a", &[("max_size", "9")]), rules("b", &[("max_size", "5")])];
        assert!(judge(&bounds, "bin", &[b"12345"]).unwrap().breaches.is_empty());
        let e = judge(&bounds, "bin", &[b"12345", b"6"]).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::TooLarge);
        assert!(e.to_string().contains("rule of b"), "{e}");
    }

    #[test]
    fn a_checker_is_asked_once_and_by_the_strictest() {
        let asked = [
            rules("a", &[("checker", "av")]),
            rules("b", &[("checker", "av"), ("on_breach", "refuse")]),
            rules("c", &[("checker", "yara")]),
            rules("d", &[("checker", "av"), ("state.checker", "")]),
        ];
        let checks = judge(&asked, "bin", &[]).unwrap().checks;
        assert_eq!(
            checks.iter().map(|c| (c.checker.as_str(), c.origin.as_str())).collect::<Vec<_>>(),
            [("av", "b"), ("yara", "c")]
        );
        assert_eq!(checks[0].on_breach, OnBreach::Refuse);
    }

    proptest! {
        /// Wherever chunks are cut, the verdict is that of the whole, and no more is held than is looked at.
        #[test]
        fn chunks_do_not_matter(data in proptest::collection::vec(any::<u8>(), 0..600), cuts in proptest::collection::vec(1usize..64, 1..20),
                                magic in prop::sample::select(vec!["gzip", "tar", "0:00", "10:??ff", "elf,zip"]), min in 0u32..700, max in 0u32..700, refuse: bool) {
            prop_assume!(min <= max);
            let rule = [rules("p", &[("magic", magic), ("forbidden_magic", "1f"), ("min_size", &min.to_string()), ("max_size", &max.to_string()),
                ("on_breach", if refuse { "refuse" } else { "quarantine" })])];
            let whole = judge(&rule, "bin", &[&data]);
            let (mut parts, mut rest) = (Vec::new(), &data[..]);
            for cut in cuts.iter().cycle() {
                if rest.is_empty() { break }
                let (part, after) = rest.split_at((*cut).min(rest.len()));
                parts.push(part);
                rest = after;
            }
            let cut = judge(&rule, "bin", &parts);
            match (whole, cut) {
                (Ok(a), Ok(b)) => prop_assert_eq!(a.breaches, b.breaches),
                // Which of two faults is met first depends on what was there first.
                (Err(a), Err(b)) => prop_assert!(a.kind() == b.kind() || refuse),
                (a, b) => prop_assert!(false, "{a:?} and {b:?}"),
            }
        }
    }
}
