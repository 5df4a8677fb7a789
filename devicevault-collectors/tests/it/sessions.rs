//! A small session with every platform: `tests/platforms/NAME.toml` says what it shows, refuses, hides and changes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::BytesMut;
use devicevault_collectors::{Channel, CliCollector, Piece, Platform, PlatformSet, Replay, ReplayDialer};
use devicevault_core::text::{InstanceKey, ViewMaker};
use devicevault_core::{ArtifactInfo, Collector as _, Device, ErrorKind, Login, NoteLevel, SecretString, Target};
use devicevault_testkit::recording::{Ending, RecordingSink};

use crate::tools::{recognised, recording};

/// What a platform's file says.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Session {
    /// Prompts of it. The first one is that of the session, with all rights.
    pub(crate) prompts: Vec<String>,
    not_prompts: Vec<String>,
    /// A prompt, and what it may become while somebody is there.
    #[serde(default)]
    pub(crate) meanwhile: Vec<(String, String)>,
    /// How it says no to a command.
    refusal: String,
    /// Lines with secrets: every word that begins with `S3CRET` is one.
    secrets: Vec<String>,
    /// Lines that look like secrets and are none.
    #[serde(default)]
    plain: Vec<String>,
    /// Lines as they are at one time and at another.
    #[serde(default)]
    volatile: Vec<(String, String)>,
    /// Lines of which one is another text than the other, though they look like such.
    #[serde(default)]
    changes: Vec<(String, String)>,
    /// The last line of a configuration.
    #[serde(default)]
    end: Option<String>,
    /// What it shows to somebody who does not know what it is.
    #[serde(default)]
    device: Option<Shown>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Shown {
    /// Its banner and its prompt.
    opening: String,
    command: String,
    answer: String,
}

impl Session {
    /// Its configuration at one time or the other, and no smaller than a real one.
    pub(crate) fn text(&self, later: bool, smallest: u64) -> String {
        let mut text = String::new();
        for (one, other) in &self.volatile {
            text.push_str(if later { other } else { one });
            text.push('\n');
        }
        for line in self.secrets.iter().chain(&self.plain) {
            text.push_str(line);
            text.push('\n');
        }
        let mut number = 0;
        while (text.len() as u64) < smallest {
            number += 1;
            text.push_str(&format!(" description filler {number}\n"));
        }
        if let Some(end) = &self.end {
            text.push_str(end);
            text.push('\n');
        }
        text
    }
}

pub(crate) fn all() -> BTreeMap<String, Session> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/platforms");
    let files = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path());
    let read = |f: std::path::PathBuf| {
        let name = f.file_stem().unwrap().to_str().unwrap().to_owned();
        let session = toml::from_str(&std::fs::read_to_string(&f).unwrap());
        (name, session.unwrap_or_else(|e| panic!("{}: {e}", f.display())))
    };
    files.map(read).collect()
}

pub(crate) fn mandatory(platform: &Platform) -> &ArtifactInfo {
    platform.artefacts().find(|a| a.mandatory).unwrap()
}

/// Fails with all that was said of all platforms.
pub(crate) fn none(wrong: &[String]) {
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_platform_has_its_session() {
    let set = PlatformSet::built_in();
    let names: Vec<String> = set.list().map(|p| p.unwrap().name().to_owned()).collect();
    assert_eq!(names, all().into_keys().collect::<Vec<_>>());
}

#[test]
fn prompts_are_known_and_what_is_none_is_not_taken_for_one() {
    let set = PlatformSet::built_in();
    let mut wrong = Vec::new();
    for (name, session) in all() {
        let platform = set.get(&name).unwrap();
        assert!(platform.channel() == Channel::Exec || !session.prompts.is_empty(), "{name} shows a prompt");
        for prompt in &session.prompts {
            for drawn in ["", "\r", "\x1b[K", "\x1b[?2004h", "\x1b]0;title\x07", "\x1b[6n", "\x1b[c", "\x07", "\0"] {
                if !platform.takes_for_prompt(format!("{drawn}{prompt}").as_bytes()) {
                    wrong.push(format!("{name}: {drawn:?} {prompt:?} is not taken for a prompt"));
                }
            }
        }
        let taken = session.not_prompts.iter().filter(|p| platform.takes_for_prompt(p.as_bytes()));
        wrong.extend(taken.map(|p| format!("{name}: {p:?} is taken for a prompt")));
    }
    none(&wrong);
}

#[test]
fn secrets_are_masked_and_what_changes_by_itself_is_no_change() {
    let set = PlatformSet::built_in();
    let mut wrong = Vec::new();
    for (name, session) in all() {
        let platform = set.get(&name).unwrap();
        let (clean, redacted) = views(mandatory(&platform), &session.text(false, 0));
        let (later, _) = views(mandatory(&platform), &session.text(true, 0));
        if clean != later {
            wrong.push(format!("{name}: a change is seen where there is none:\n{clean}---\n{later}"));
        }
        for (one, other) in &session.changes {
            let clean = |line: &str| views(mandatory(&platform), &format!("{line}\n")).0;
            if clean(one) == clean(other) || clean(one).is_empty() {
                wrong.push(format!("{name}: a change is none: {one:?}, {other:?}"));
            }
        }
        for line in redacted.lines().filter(|l| l.contains("S3CRET")) {
            wrong.push(format!("{name}: shows {line}"));
        }
        for line in &session.plain {
            if !redacted.lines().any(|l| l == line) {
                wrong.push(format!("{name}: {line:?} is masked"));
            }
        }
        for line in &session.secrets {
            let keyword = line.trim_start().split([' ', '=', '"', '<', ':']).find(|w| !w.is_empty()).unwrap();
            if !redacted.contains(keyword) && !keyword.contains("S3CRET") {
                wrong.push(format!("{name}: nothing is left of {line:?}"));
            }
        }
    }
    none(&wrong);
}

/// The clean and the redacted view.
fn views(artefact: &ArtifactInfo, text: &str) -> (String, String) {
    let (mut clean, mut redacted) = (BytesMut::new(), BytesMut::new());
    let mut maker = ViewMaker::new(artefact.rules.clone(), InstanceKey::new([7; 32]), "d".into(), 1 << 20);
    maker.push(text.as_bytes(), &mut clean, &mut redacted).unwrap();
    let _ = maker.finish(&mut clean, &mut redacted);
    (String::from_utf8(clean.into()).unwrap(), String::from_utf8(redacted.into()).unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_session_gives_the_whole_text_and_a_refusal_gives_none() {
    let set = Arc::new(PlatformSet::built_in());
    let mut wrong = Vec::new();
    for (name, session) in all() {
        let platform = set.get(&name).unwrap();
        let info = mandatory(&platform).clone();
        let text = session.text(false, info.min_size);
        for chunk in [usize::MAX, 7] {
            let got = visit(&set, &name, &session, &text, chunk).await;
            let artefact = got.0.artefacts().into_iter().find(|a| a.info.name == info.name);
            let content = artefact.map(|a| (String::from_utf8(a.content.to_vec()).unwrap(), a.ending));
            let suspect = got.0.notes().iter().any(|n| n.level == NoteLevel::Suspect);
            match content {
                Some((content, Ending::Ended)) if content.contains(&text) && !suspect => {}
                other => wrong.push(format!("{name}, {chunk}: {:?} {other:?} {:?}", got.1, got.0.notes())),
            }
        }
        let refused = visit(&set, &name, &session, &format!("{}\n", session.refusal), usize::MAX).await;
        match refused.0.artefacts().into_iter().find(|a| a.info.name == info.name).map(|a| a.ending) {
            Some(Ending::Failed(e)) if e.kind() == ErrorKind::Refused => {}
            other => wrong.push(format!("{name}: a refusal became {other:?} {:?}", refused.1)),
        }
    }
    none(&wrong);
}

/// Asks a device that answers so to every command of the platform's first artefact.
async fn visit(
    set: &Arc<PlatformSet>,
    name: &str,
    session: &Session,
    text: &str,
    chunk: usize,
) -> (RecordingSink, Option<String>) {
    let platform = set.get(name).unwrap();
    let info = mandatory(&platform);
    let prompt = session.prompts.first().map_or("$ ", String::as_str);
    let shell = platform.channel() == Channel::Shell;
    let lines = if shell { text.replace('\n', "\r\n") } else { text.to_owned() };
    let mut device = Replay::new(prompt).greeting(vec![Piece::Text(b"\r\nwelcome\r\n".to_vec())]).chunk(chunk);
    for command in platform.spellings(&info.name) {
        device = device.answer(command, vec![Piece::Text(lines.clone().into_bytes())]);
    }
    let collector = CliCollector::new(set.clone(), Arc::new(ReplayDialer::new(device)));
    let mut login = Login::default();
    login.username = "admin".into();
    login.password = Some(SecretString::from("word"));
    login.enable = Some(SecretString::from("sesame"));
    let mut sink = RecordingSink::new().wanting([info.name.as_str()]);
    let target = Target::new(Device::new("d1", "d1", "192.0.2.1", name), login);
    let error = collector.collect(&target, &mut sink).await.err().map(|e| e.to_string());
    (sink, error)
}

#[tokio::test(start_paused = true)]
async fn devices_are_recognised_by_what_they_show() {
    let mut wrong = Vec::new();
    for (name, session) in all() {
        let Some(Shown { opening, command, answer }) = session.device else { continue };
        let prompt = opening.lines().last().unwrap_or_default();
        let answer = format!("{command}\n{answer}{prompt}");
        let found = recognised(recording(&opening, &[(&command, &answer)])).await;
        if found.platform().map(|c| c.name.as_str()) != Some(&name) {
            wrong.push(format!("{name}: {found:?}"));
        }
    }
    none(&wrong);
}
