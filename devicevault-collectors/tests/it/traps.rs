//! What devices of every family do to those who read along: traps, each set for every platform that is asked at a prompt.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use devicevault_collectors::{CliCollector, Piece, Platform, PlatformSet, Replay, ReplayDialer};
use devicevault_core::text::{InstanceKey, ViewMaker};
use devicevault_core::{Collector as _, Device, Login, NoteLevel, SecretString, Target};
use devicevault_testkit::recording::RecordingSink;
use regex::Regex;

use crate::sessions::{Session, all, mandatory, none};

/// What may come of a visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Allowed {
    /// The text, and no doubt of it.
    Exact,
    /// The text, or one that is kept as suspect; an error where there is none.
    NeverWrong,
}

use Allowed::{Exact, NeverWrong};

/// A trap: how the device of the platform behaves, what of its text is meant, and what may come of it.
pub(crate) struct Trap {
    pub(crate) name: String,
    pub(crate) device: Replay,
    want: String,
    allowed: Allowed,
    /// The artefact is made from several commands.
    several: bool,
}

/// A platform that is asked at a prompt, with a text such as it prints.
pub(crate) struct Case<'a> {
    platform: &'a Platform,
    shows: &'a Session,
    /// Lines end by LF.
    pub(crate) text: String,
}

impl<'a> Case<'a> {
    /// Of a platform that shows this text.
    pub(crate) fn new(platform: &'a Platform, shows: &'a Session, text: String) -> Self {
        Self { platform, shows, text }
    }

    /// A device of which the text is to come, or none that is beyond doubt.
    pub(crate) fn never_wrong(&self, name: String, pieces: &[Piece]) -> Trap {
        self.trap(name, pieces, NeverWrong)
    }

    fn prompt(&self) -> &str {
        &self.shows.prompts[0]
    }

    pub(crate) fn sent(text: &str) -> Piece {
        Piece::Text(text.replace('\n', "\r\n").into_bytes())
    }

    /// Its text before and after the middle, at a line's beginning.
    fn halves(&self) -> (&str, &str) {
        let middle = self.text.len() / 2;
        let at = self.text[middle..].find('\n').map_or(self.text.len(), |n| middle + n + 1);
        self.text.split_at(at)
    }

    /// The platform's device, which answers each spelling of the command so.
    fn device(&self, pieces: &[Piece]) -> Replay {
        self.device_at(self.prompt(), pieces)
    }

    fn device_at(&self, prompt: impl Into<Vec<u8>>, pieces: &[Piece]) -> Replay {
        let mut device = Replay::new(prompt).greeting(vec![Piece::Text(b"\r\nwelcome\r\n".to_vec())]);
        if let Some(logout) = of_file(self.platform, "logout", "command") {
            device = device.logout_by(logout);
        }
        for command in self.platform.spellings(&mandatory(self.platform).name) {
            device = device.answer(command, pieces.to_vec());
        }
        device
    }

    fn trap(&self, name: impl Into<String>, pieces: &[Piece], allowed: Allowed) -> Trap {
        let several = self.platform.commands(&mandatory(self.platform).name).count() > 1;
        Trap { name: name.into(), device: self.device(pieces), want: self.text.clone(), allowed, several }
    }

    fn traps(&self) -> Vec<Trap> {
        let mut traps = vec![self.trap("plain", &[Self::sent(&self.text)], Exact)];
        traps.extend(self.of_greetings());
        traps.extend(self.of_prompts());
        traps.extend(self.of_pagers());
        traps.extend(self.of_texts());
        traps.extend(self.of_echoes());
        traps.extend(self.of_ends());
        traps
    }

    fn of_greetings(&self) -> Vec<Trap> {
        let text = [Self::sent(&self.text)];
        let greeted = |name: &str, greeting: Vec<Piece>| Trap {
            device: self.device(&text).greeting(greeting),
            ..self.trap(name, &[], Exact)
        };
        let box_of_signs =
            "\n####################\n#  keep out >>>    #\n# call 123 -> noc> #\n####################\n\n";
        let looks = "\nother-device#\n<other>\nroot@other:~$ \n[admin@other] > \n";
        let pause = Piece::Pause(Duration::from_millis(400));
        vec![
            greeted("a banner of signs", vec![Self::sent(box_of_signs)]),
            greeted(
                "a banner that pauses at a sign",
                vec![Self::sent("\n# keep out #"), pause.clone(), Self::sent("\n")],
            ),
            greeted("a banner of prompts", vec![Self::sent(looks)]),
            greeted(
                "a banner with its own prompt",
                vec![Self::sent(&format!("\n{}\nmore\n", self.prompt().trim_end()))],
            ),
            greeted(
                "a last login that comes in pieces",
                vec![
                    Self::sent("\nLast login: "),
                    pause.clone(),
                    Self::sent("Fri Nov 21 10:00:00 2026\nLast failed login: "),
                    pause,
                    Self::sent("Thu Nov 20 09:00:00 2026 from 192.0.2.1\n"),
                ],
            ),
            greeted("silence, then a prompt", vec![Self::sent("\n"), Piece::Pause(Duration::from_secs(5))]),
        ]
    }

    fn of_prompts(&self) -> Vec<Trap> {
        let text = [Self::sent(&self.text)];
        let drawn = [
            ("a carriage return", format!("\r{}", self.prompt())),
            ("an erased line", format!("\r\x1b[K{}", self.prompt())),
            ("colours", format!("\x1b[1;32m{}\x1b[0m", self.prompt())),
            ("a title and a bell", format!("\x1b]0;title\x07{}\x07", self.prompt())),
            ("bracketed paste", format!("\x1b[?2004h{}", self.prompt())),
            ("a prompt that is drawn twice", format!("{0}\r\x1b[K{0}", self.prompt())),
        ];
        let mut traps: Vec<Trap> = drawn
            .into_iter()
            .map(|(name, prompt)| Trap { device: self.device_at(prompt, &text), ..self.trap(name, &[], Exact) })
            .collect();
        // Which of them belong to the answer nobody can tell: they stay.
        let blank = self.device_at(format!("\r\n\r\n{}", self.prompt()), &text);
        let want = format!("{}\n\n", self.text);
        let two = self.device_at(format!("\r\n{{master:0}}\r\n{}", self.prompt()), &text);
        if of_file(self.platform, "session", "confirm").as_deref() != Some("quiet") {
            traps.push(Trap { device: two, ..self.trap("a prompt of two lines", &[], Exact) });
        }
        traps.push(Trap { device: blank, want, ..self.trap("blank lines before each prompt", &[], Exact) });
        let (before, after) = self.halves();
        for ms in [0, 40, 400, 1500, 20_000] {
            let pieces = [
                Self::sent(&format!("{before}{}", self.prompt().trim_end())),
                Piece::Pause(Duration::from_millis(ms)),
                Self::sent(&format!("\n{after}")),
            ];
            let want = format!("{before}{}\n{after}", self.prompt().trim_end());
            let name = format!("its own prompt in the text for {ms} ms");
            traps.push(Trap { want, ..self.trap(name, &pieces, NeverWrong) });
        }
        traps.push(Trap {
            device: self.device(&text).redraws_prompt(),
            ..self.trap("a prompt drawn in place", &text, Exact)
        });
        traps
    }

    fn of_pagers(&self) -> Vec<Trap> {
        let (before, after) = self.halves();
        let mut traps = Vec::new();
        for pager in self.pagers() {
            let (back, blank) = ("\x08".repeat(pager.len()), " ".repeat(pager.len()));
            let erasers = [format!("\r{blank}\r"), format!("{back}{blank}{back}"), "\r\x1b[K".to_owned()];
            for (n, erase) in erasers.iter().enumerate() {
                let paged = || Piece::Pager(pager.as_bytes().to_vec(), erase.clone().into_bytes());
                let pieces = [Self::sent(before), paged(), Self::sent(after)];
                traps.push(self.trap(format!("the pager {pager:?}, erased by {n}"), &pieces, Exact));
                let pieces = [Self::sent(before), paged(), Self::sent(after), paged()];
                traps.push(self.trap(format!("the pager {pager:?} at the end, erased by {n}"), &pieces, Exact));
            }
        }
        traps
    }

    /// Pagers that devices of the platform may show: one at least.
    fn pagers(&self) -> Vec<&'static str> {
        const KNOWN: [&str; 23] = [
            "--More--",
            " --More-- ",
            "--More-- or (q)uit",
            "---- More ----",
            "--More--, next page: Space, next line: Return key, quit: Control-c",
            "lines 1-23",
            "-- [Q quit|D dump|down]",
            "--MORE--",
            "-Press Any Key For More-",
            "More: <space>,  Quit: q, One line: <return>",
            "More? Enter - next line; Space - next page; Q - quit; R - show the rest.",
            "--More-- (q) quit (u) pageup (/) search (n) repeat",
            "CTRL+C ESC q Quit SPACE n Next Page ENTER Next Entry a All",
            "<SPACE> for next page, <CR> for next line, A for all, Q to quit",
            "Press any key to continue (Q to quit)",
            "Pressanykeytocontinue(Qtoquit)",
            "Press <SPACE> to continue or <Q> to quit:",
            "Press <space>\\<n> to page\\line; <q> to quit",
            "---(more 32%)---",
            "---- More ( Press 'Q' to break ) ----",
            "----More (q=Quit, space/return=Continue)----",
            "-- more --, next page: Space, continue: g, quit: ^C",
            "More? [next screen <sp>, next line <cr>, filter pattern </>, quit <q>]",
        ];
        let known = KNOWN.into_iter().filter(|p| self.platform.takes_for_pager(p.as_bytes())).collect::<Vec<_>>();
        assert!(!known.is_empty(), "{}: no pager of this test is one of its", self.platform.name());
        known
    }

    fn of_texts(&self) -> Vec<Trap> {
        let (before, after) = self.halves();
        let coloured = self.text.replace('\n', "\x1b[0m\x1b[K\n\x1b[0;37m");
        let long = format!("{before} description {}\n{after}", "x#> ".repeat(5000).trim_end());
        let log = "*Mar  1 00:00:07.123: %LINK-3-UPDOWN: Interface Vlan1, changed state to up";
        let prompt = Piece::Text(self.prompt().as_bytes().to_vec());
        let log_behind = [
            Self::sent(&self.text),
            prompt,
            Piece::Pause(Duration::from_millis(120)),
            Self::sent(&format!("\n{log}\n")),
        ];
        let pushed_up = |text: &str| [Self::sent(&self.text), Piece::Behind(text.replace('\n', "\r\n").into_bytes())];
        let drawn_anew = format!("\n{log}\n{}", self.prompt());
        let looks =
            " description a#\n banner other-device#\nother-device#\nrouter>\n--more\n description --More-- no\n";
        let other = |name: &str, want: String, allowed| Trap {
            want: want.clone(),
            ..self.trap(name, &[Self::sent(&want)], allowed)
        };
        vec![
            self.trap("colours", &[Self::sent(&coloured)], Exact),
            other("a line of 20 kB", long, Exact),
            other("lines that look like prompts and pagers", format!("{before}{looks}{after}"), Exact),
            self.trap("a line of the log behind the prompt", &log_behind, NeverWrong),
            self.trap("the log at once behind the prompt, which is drawn anew", &pushed_up(&drawn_anew), NeverWrong),
            self.trap("the log at once behind the prompt", &pushed_up(&format!("\n{log}\n{log}\n")), NeverWrong),
            self.trap("something at once behind the prompt", &pushed_up("\nhello\n"), NeverWrong),
            other("a line of the log", format!("{before}{log}\n{after}"), NeverWrong),
            self.trap("slowly, in pieces", &self.drip(), Exact),
            other("an end without a line end", self.text.trim_end().to_owned(), NeverWrong),
        ]
    }

    /// The text with pauses at places where a prompt may seem to stand.
    fn drip(&self) -> Vec<Piece> {
        let pause = || Piece::Pause(Duration::from_millis(90));
        let lines = self.text.split_inclusive('\n').flat_map(|line| {
            let (head, tail) = line.split_at(line.len() / 2);
            [Self::sent(head), pause(), Self::sent(tail), pause()]
        });
        lines.collect()
    }

    fn of_echoes(&self) -> Vec<Trap> {
        let text = [Self::sent(&self.text)];
        let with = |name: &str, allowed, change: fn(Replay) -> Replay| Trap {
            device: change(self.device(&text)),
            ..self.trap(name, &text, allowed)
        };
        vec![
            with("byte by byte", Exact, |d| d.chunk(1)),
            with("three bytes at a time", Exact, |d| d.chunk(3)),
            with("no echo", NeverWrong, Replay::without_echo),
            with("an echo at once", NeverWrong, Replay::echo_at_once),
            with("deaf while busy", NeverWrong, Replay::deaf_while_busy),
            with("an echo that is wrapped", Exact, |d| d.echo_wrapped(10)),
        ]
    }

    fn of_ends(&self) -> Vec<Trap> {
        let (before, _) = self.halves();
        let cut = |name: &str, end: Piece| self.trap(name, &[Self::sent(before), end], NeverWrong);
        vec![cut("cut off", Piece::Cut), cut("closed", Piece::Hangup), cut("stalled", Piece::Stall)]
    }
}

/// What a platform's file says there.
fn of_file(platform: &Platform, section: &str, key: &str) -> Option<String> {
    let file: toml::Table = platform.text().parse().unwrap();
    Some(file.get(section)?.get(key)?.as_str()?.to_owned())
}

/// What was taken: the text and whether it is doubted, or why there is none.
pub(crate) async fn visit(
    set: &Arc<PlatformSet>,
    platform: &Platform,
    device: Replay,
) -> Result<(String, Vec<String>), String> {
    let info = mandatory(platform);
    let collector = CliCollector::new(set.clone(), Arc::new(ReplayDialer::new(device)));
    let mut login = Login::default();
    login.username = "admin".into();
    login.password = Some(SecretString::from("word"));
    login.enable = Some(SecretString::from("sesame"));
    let mut sink = RecordingSink::new().wanting([info.name.as_str()]);
    let mut device = Device::new("d1", "d1", "192.0.2.1", platform.name());
    device.options.insert("cli.channel".to_owned(), "shell".to_owned());
    let target = Target::new(device, login);
    let ended = tokio::time::timeout(Duration::from_secs(3600), collector.collect(&target, &mut sink)).await;
    let ended = ended.map_err(|_| "it does not end".to_owned())?;
    let doubts = sink.notes().iter().filter(|n| n.level == NoteLevel::Suspect).map(|n| n.text.clone()).collect();
    match sink.content(&info.name) {
        Some(content) => Ok((String::from_utf8_lossy(&content).into_owned(), doubts)),
        None => Err(ended.err().map_or_else(|| "no text and no error".to_owned(), |e| e.to_string())),
    }
}

/// The text is as the device meant it, below the headings of an artefact that several commands make.
fn same(text: &str, trap: &Trap) -> bool {
    text.strip_suffix(&trap.want).is_some_and(|heading| trap.several || heading.is_empty())
}

/// How many reasons there are to keep a text as suspect.
pub(crate) fn suspicions(platform: &Platform, text: &str) -> usize {
    let (mut clean, mut redacted) = (BytesMut::new(), BytesMut::new());
    let rules = mandatory(platform).rules.clone();
    let mut maker = ViewMaker::new(rules, InstanceKey::new([7; 32]), "d".into(), 1 << 20);
    maker.push(text.as_bytes(), &mut clean, &mut redacted).unwrap();
    maker.finish(&mut clean, &mut redacted).len()
}

pub(crate) fn wrong(platform: &Platform, trap: &Trap, got: &Result<(String, Vec<String>), String>) -> Option<String> {
    match (got, trap.allowed) {
        (Ok((text, doubts)), _) if doubts.is_empty() && same(text, trap) => None,
        (Ok((_, doubts)), NeverWrong) if !doubts.is_empty() => None,
        (Ok((text, _)), NeverWrong) if suspicions(platform, text) > suspicions(platform, &trap.want) => None,
        (Err(e), NeverWrong) if e != "it does not end" && e != "no text and no error" => None,
        (Ok((text, doubts)), _) => {
            let at = text.bytes().zip(trap.want.bytes()).take_while(|(a, b)| a == b).count();
            let near = |t: &str| {
                t.as_bytes()[at.saturating_sub(20).min(t.len())..(at + 30).min(t.len())].escape_ascii().to_string()
            };
            Some(format!("got {:?}, want {:?}, {doubts:?}", near(text), near(&trap.want)))
        }
        (Err(e), _) => Some(e.clone()),
    }
}

#[tokio::test(start_paused = true)]
async fn every_platform_passes_every_trap() {
    let set = Arc::new(PlatformSet::built_in());
    let sessions: BTreeMap<String, Session> = all();
    let mut failed = Vec::new();
    let mut visits = 0;
    for (name, shows) in &sessions {
        let platform = set.get(name).unwrap();
        if shows.prompts.is_empty() {
            continue;
        }
        let case = Case { platform: &platform, shows, text: shows.text(false, mandatory(&platform).min_size.max(600)) };
        for trap in case.traps() {
            visits += 1;
            let got = visit(&set, &platform, trap.device.clone()).await;
            failed.extend(wrong(&platform, &trap, &got).map(|why| format!("{name}: {}: {why}", trap.name)));
        }
    }
    assert!(visits > 4000, "{visits}");
    none(&failed);
}

#[tokio::test(start_paused = true)]
async fn where_only_silence_tells_no_rest_of_an_answer_is_lost() {
    let set = Arc::new(PlatformSet::built_in());
    let mut failed = Vec::new();
    let mut visits = 0;
    for (name, shows) in &all() {
        let platform = set.get(name).unwrap();
        if of_file(&platform, "session", "confirm").as_deref() != Some("quiet") {
            continue;
        }
        let case = Case { platform: &platform, shows, text: shows.text(false, mandatory(&platform).min_size.max(600)) };
        let (prompt, (before, _)) = (case.prompt().trim_end(), case.halves());
        for ms in [300, 900, 1500, 2500, 4000, 8000, 20_000] {
            for (what, rest) in [("a line", " a b c\n".to_owned()), ("a text", "interface 1\n x\n".repeat(300))] {
                let pieces = [
                    Case::sent(&format!("{before}{prompt}")),
                    Piece::Pause(Duration::from_millis(ms)),
                    Case::sent(&format!("\n{rest}")),
                ];
                let want = format!("{before}{prompt}\n{rest}");
                for (how, change) in [
                    ("", (|d| d) as fn(Replay) -> Replay),
                    (", echoed at once", Replay::echo_at_once),
                    (", deaf while busy", Replay::deaf_while_busy),
                ] {
                    visits += 1;
                    let trap = case.trap(format!("{what} after {ms} ms{how}"), &pieces, NeverWrong);
                    let trap = Trap { device: change(trap.device.clone()), want: want.clone(), ..trap };
                    let got = visit(&set, &platform, trap.device.clone()).await;
                    failed.extend(wrong(&platform, &trap, &got).map(|why| format!("{name}: {}: {why}", trap.name)));
                }
            }
        }
    }
    assert!(visits > 200, "{visits}");
    none(&failed);
}

/// The platform's prompt before privileges were raised: one of its test's, or the privileged one with the sign changed.
fn first_prompt(shows: &Session, raised: &Regex) -> String {
    let other = shows.prompts.iter().find(|p| !raised.is_match(p) && p.contains('>'));
    other.cloned().unwrap_or_else(|| shows.prompts[0].replace('#', ">"))
}

#[tokio::test(start_paused = true)]
async fn privileges_are_raised_on_every_platform_that_has_them() {
    let set = Arc::new(PlatformSet::built_in());
    let mut failed = Vec::new();
    let mut visits = 0;
    for (name, shows) in &all() {
        let platform = set.get(name).unwrap();
        let Some(command) = of_file(&platform, "enable", "command") else { continue };
        let raised = Regex::new(&of_file(&platform, "enable", "prompt").unwrap()).unwrap();
        let case = Case { platform: &platform, shows, text: shows.text(false, mandatory(&platform).min_size) };
        let text = [Case::sent(&case.text)];
        let before = first_prompt(shows, &raised);
        let full = || Piece::Prompt(shows.prompts[0].as_bytes().to_vec());
        let secret = || Piece::Question(b"Password: ".to_vec());
        for (what, asked) in [
            ("without a question", vec![full()]),
            ("with a secret", vec![secret(), full()]),
            (
                "with a secret, slowly",
                vec![Piece::Pause(Duration::from_secs(4)), secret(), Piece::Pause(Duration::from_secs(2)), full()],
            ),
            ("with a user name", vec![Piece::Question(b"Username: ".to_vec()), secret(), full()]),
        ] {
            visits += 1;
            let device = case.device_at(before.as_str(), &text).answer(command.as_str(), asked);
            let trap = Trap { device, ..case.trap(what, &[], Exact) };
            let got = visit(&set, &platform, trap.device.clone()).await;
            failed.extend(wrong(&platform, &trap, &got).map(|why| format!("{name}, {before:?}: {what}: {why}")));
        }
    }
    assert!(visits > 200, "{visits}");
    none(&failed);
}

#[tokio::test(start_paused = true)]
async fn a_prompt_may_change_where_the_platform_says_so() {
    let set = Arc::new(PlatformSet::built_in());
    let mut failed = Vec::new();
    let mut visits = 0;
    for (name, shows) in &all() {
        let platform = set.get(name).unwrap();
        let case = Case { platform: &platform, shows, text: shows.text(false, mandatory(&platform).min_size) };
        for (before, later) in &shows.meanwhile {
            visits += 1;
            let pieces = [Case::sent(&case.text), Piece::Prompt(later.clone().into_bytes())];
            let device = case.device_at(before.as_str(), &pieces);
            let trap = Trap { device, ..case.trap("another prompt", &[], Exact) };
            let got = visit(&set, &platform, trap.device.clone()).await;
            failed.extend(wrong(&platform, &trap, &got).map(|why| format!("{name}, {before:?} to {later:?}: {why}")));
        }
    }
    assert!(visits > 5, "{visits}");
    none(&failed);
}
