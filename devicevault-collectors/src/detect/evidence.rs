//! Signs and their weights: from what was seen to what a device is.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::collections::BTreeMap;

use devicevault_core::{Error, ErrorKind};

use crate::escape::shown;
use crate::platform::{DetectRules, Sign};

/// From here on, with a [`LEAD`] over every other, a platform is sure.
const SURE: i32 = 80;
const LEAD: i32 = 30;
/// Below, nothing was said.
const WORTH_TELLING: i32 = 5;
/// A platform's word counts so much more for each point that it has.
const VOICE: i32 = 10;

/// What was seen of a device.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    pub(super) version: Option<String>,
    /// All that came before the first prompt, the SSH server's banner too.
    pub(super) banner: Vec<u8>,
    pub(super) prompt: Vec<u8>,
    /// Commands and what was answered.
    pub(super) answers: Vec<(String, Vec<u8>)>,
}

/// A platform that a device may be of.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Candidate {
    /// The platform's name.
    pub name: String,
    /// For people.
    pub title: String,
    /// From 0 to 100.
    pub certainty: u8,
    /// What speaks for it, for people: device bytes in it are escaped.
    pub signs: Vec<String>,
}

/// What a device seems to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recognition {
    /// The platforms that something speaks for, the likeliest first.
    pub candidates: Vec<Candidate>,
    /// The first of them is sure.
    pub sure: bool,
    /// The commands that were given to find out.
    pub asked: Vec<String>,
}

impl Recognition {
    /// The platform, where it is sure.
    #[must_use]
    pub fn platform(&self) -> Option<&Candidate> {
        self.candidates.first().filter(|_| self.sure)
    }

    /// The platform.
    ///
    /// # Errors
    /// `Unsupported` where it is not sure, with the likeliest.
    pub fn into_platform(self) -> devicevault_core::Result<Candidate> {
        let near: Vec<_> = self.candidates.iter().take(3).map(|c| format!("{} ({} %)", c.name, c.certainty)).collect();
        let asked = self.asked.join(", ");
        if let Some(found) = self.candidates.into_iter().next().filter(|_| self.sure) {
            return Ok(found);
        }
        let e =
            Error::new(ErrorKind::Unsupported, "recognise device", "it is not sure which platform the device is of");
        let e = if asked.is_empty() { e } else { e.with("asked", asked) };
        Err(if near.is_empty() {
            e.hint(
                "nothing speaks for any platform; name one by --platform, or draft one with `devicevault platform new`",
            )
        } else {
            e.hint(format!("it may be {}; name one by --platform", near.join(" or ")))
        })
    }
}

/// Platforms by name, with their titles and signs.
pub(super) type Signs = [(String, String, DetectRules)];

/// A platform's points, and what was seen of it.
struct Weighed<'a> {
    name: &'a str,
    title: &'a str,
    rules: &'a DetectRules,
    points: i32,
    signs: Vec<String>,
}

impl Evidence {
    fn weigh<'a>(&self, platforms: &'a Signs) -> Vec<Weighed<'a>> {
        let one = |(name, title, rules): &'a (String, String, DetectRules)| {
            let mut weighed = Weighed { name, title, rules, points: 0, signs: Vec::new() };
            if let Some(version) = &self.version {
                weighed.look("its SSH server", &rules.ssh, &[version.as_bytes()].into_iter());
            }
            weighed.look("its banner", &rules.banner, &lines(&self.banner));
            if !self.prompt.is_empty() {
                weighed.look("its prompt", &rules.prompt, &[self.prompt.as_slice()].into_iter());
            }
            let answers = self.answers.iter().flat_map(|(_, answer)| lines(answer));
            weighed.look("its answer", &rules.answers, &answers);
            weighed
        };
        let mut all: Vec<_> = platforms.iter().map(one).collect();
        all.sort_by(|a, b| b.points.cmp(&a.points).then(a.name.cmp(b.name)));
        all
    }

    /// What the device seems to be.
    pub(super) fn judge(&self, platforms: &Signs) -> Recognition {
        let all = self.weigh(platforms);
        let (first, second) = (all.first().map_or(0, |w| w.points), all.get(1).map_or(0, |w| w.points.max(0)));
        // What two platforms both are certain of is certain of neither.
        let sure = first >= SURE && first - second.min(100) >= LEAD;
        let told = all.into_iter().take_while(|w| w.points >= WORTH_TELLING).take(10);
        let candidates = told.map(|w| {
            let most = if sure { 100 } else { SURE - 1 };
            Candidate {
                name: w.name.to_owned(),
                title: w.title.to_owned(),
                certainty: u8::try_from(w.points.clamp(0, most)).unwrap_or_default(),
                signs: w.signs,
            }
        });
        let asked = self.answers.iter().map(|(command, _)| command.clone()).collect();
        Recognition { candidates: candidates.collect(), sure, asked }
    }

    /// The command that the likeliest platforms would ask next; nothing where none has another.
    pub(super) fn next_command(&self, platforms: &Signs) -> Option<String> {
        let mut votes: BTreeMap<&str, (i32, i32)> = BTreeMap::new();
        for weighed in self.weigh(platforms).iter().filter(|w| w.points >= 0) {
            let asked = |c: &&String| self.answers.iter().any(|(done, _)| done == *c);
            let Some(command) = weighed.rules.commands.iter().find(|c| !asked(c)) else { continue };
            // Whose first command was answered by something else is hardly it.
            let silenced = weighed.rules.commands.iter().any(|c| asked(&c));
            let voice = weighed.points * VOICE + i32::from(!silenced);
            let vote = votes.entry(command).or_default();
            *vote = (vote.0 + voice, vote.1 + 1);
        }
        votes.into_iter().filter(|(_, v)| v.0 > 0).max_by_key(|(_, v)| *v).map(|(c, _)| c.to_owned())
    }

    /// Whether anything was said for any platform.
    pub(super) fn says_nothing(&self, platforms: &Signs) -> bool {
        self.weigh(platforms).first().is_none_or(|w| w.points < WORTH_TELLING)
    }
}

impl Weighed<'_> {
    /// Each sign counts once, however often it is seen.
    fn look<'l>(&mut self, place: &str, signs: &[Sign], lines: &(impl Iterator<Item = &'l [u8]> + Clone)) {
        for sign in signs {
            let Some(line) = lines.clone().find(|l| sign.line.is_match(l)) else { continue };
            self.points = (self.points + sign.weight).clamp(-1000, 1000);
            if sign.weight > 0 {
                self.signs.push(format!("{place}: {}", shown(line, 80)));
            }
        }
    }
}

/// Lines, without their ends.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    text.split(|b| *b == b'\n').map(<[u8]>::trim_ascii_end).filter(|l| !l.is_empty())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may panic")]
mod tests {
    use super::*;
    use regex::bytes::Regex;

    fn sign(line: &str, weight: i32) -> Sign {
        Sign { line: Regex::new(line).unwrap(), weight }
    }

    fn platforms() -> Vec<(String, String, DetectRules)> {
        let rules = |commands: &[&str], prompt: &str, answer: &str| DetectRules {
            commands: commands.iter().map(|c| (*c).to_owned()).collect(),
            prompt: vec![sign(prompt, 10)],
            answers: vec![sign(answer, 80)],
            ..DetectRules::default()
        };
        vec![
            ("a".to_owned(), "A".to_owned(), rules(&["show version"], "#$", "^A OS")),
            ("b".to_owned(), "B".to_owned(), rules(&["show version"], "#$", "^B OS")),
            ("c".to_owned(), "C".to_owned(), rules(&["display version"], ">$", "^C OS")),
        ]
    }

    #[test]
    fn the_likeliest_platforms_are_asked_and_one_answer_decides() {
        let platforms = platforms();
        let mut seen = Evidence { prompt: b"sw#".to_vec(), ..Evidence::default() };
        assert_eq!(seen.next_command(&platforms).as_deref(), Some("show version"));
        assert!(!seen.judge(&platforms).sure);
        seen.answers.push(("show version".to_owned(), b"x\r\nB OS 1.0\r\n".to_vec()));
        let found = seen.judge(&platforms);
        assert_eq!((found.platform().unwrap().name.as_str(), found.platform().unwrap().certainty), ("b", 90));
        seen.prompt = b"<sw>".to_vec();
        seen.answers.clear();
        assert_eq!(seen.next_command(&platforms).as_deref(), Some("display version"));
    }

    #[test]
    fn two_that_fit_alike_are_not_sure() {
        let platforms = platforms();
        let answers = vec![("show version".to_owned(), b"A OS\nB OS\n".to_vec())];
        let seen = Evidence { answers, ..Evidence::default() };
        let found = seen.judge(&platforms);
        assert!(!found.sure && found.platform().is_none());
        assert!(found.candidates.iter().all(|c| i32::from(c.certainty) < SURE));
        let e = found.into_platform().unwrap_err();
        assert!(e.hint_text().unwrap().contains("a (79 %) or b (79 %)"), "{e:?}");
        assert!(Evidence::default().judge(&platforms).into_platform().is_err());
    }
}
