//! Prompts that a platform has to know, secrets that it has to hide and lines that it has to leave out.

use std::path::Path;
use std::sync::Arc;

use bytes::BytesMut;
use devicevault_collectors::PlatformSet;
use devicevault_core::text::{InstanceKey, TextRules, ViewMaker};
use regex::Regex;
use serde_json::Value;

use super::player::{Player, yaml};
use super::{named, parts};
use crate::devicevault::Person;

/// Tries them all and prints a line each; returns how many do not hold.
pub(super) fn all(folder: &Path) -> usize {
    let kinds = ["prompt.yaml", "secret.yaml", "significant_changes.yaml"];
    let mut failed = 0;
    for kind in kinds {
        for file in named(folder, kind) {
            let (platform, device) = parts(&file);
            let cases = yaml(&file);
            let wrong = match kind {
                "prompt.yaml" => prompts(&platform, &cases),
                "secret.yaml" => views(folder, &file, &cases, |v| &v.redacted),
                _ => views(folder, &file, &cases, |v| &v.clean),
            };
            let outcome = if wrong.is_empty() { "holds".to_owned() } else { wrong.join("; ") };
            let (kind, count) = (kind.trim_end_matches(".yaml"), texts(&cases, "pass").count());
            let count = count + texts(&cases, "fail").count();
            println!("{platform:<12} {device:<48} {:<10} {count:>8} {:>7}  {outcome}", &kind[..kind.len().min(10)], "");
            failed += usize::from(!wrong.is_empty());
        }
    }
    failed
}

fn texts<'a>(cases: &'a Value, key: &str) -> impl Iterator<Item = String> + use<'a> {
    let list = cases[key].as_array().into_iter().flatten();
    list.map(|case| case.as_str().map_or_else(|| case.to_string(), str::to_owned))
}

fn prompts(platform: &str, cases: &Value) -> Vec<String> {
    let platform = match PlatformSet::built_in().get(platform) {
        Ok(platform) => platform,
        Err(e) => return vec![e.to_string()],
    };
    let taken = |text: &String| platform.takes_for_prompt(unescaped(text).as_bytes());
    let not_taken = texts(cases, "pass").chain(texts(cases, "pass_with_expect")).filter(|text| !taken(text));
    let mut wrong: Vec<String> = not_taken.map(|text| format!("{text:?} is not taken")).collect();
    wrong.extend(texts(cases, "fail").filter(taken).map(|text| format!("{text:?} is taken")));
    wrong
}

/// The texts are written with backslashes where the file's own quotes do not read them.
fn unescaped(text: &str) -> String {
    text.replace("\\e", "\x1b").replace("\\r", "\r").replace("\\n", "\n").replace("\\x20", " ")
}

/// The views of all that a device's platform keeps.
#[derive(Debug, Default)]
struct Views {
    clean: String,
    redacted: String,
}

fn views(folder: &Path, file: &Path, cases: &Value, of: impl Fn(&Views) -> &String) -> Vec<String> {
    let (platform, device) = parts(file);
    let session = folder.join(format!("{platform}#{device}#simulation.yaml"));
    let player = Player::start(folder, &[session], &[], 1);
    let Some(recorded) = player.devices().first() else { return vec!["there is no recording of it".to_owned()] };
    let person = Person::new();
    let answer = person.back_up(recorded.port, &platform, "u", "recorded", &[]);
    let Ok(list) = serde_json::from_str::<Vec<Value>>(&answer.out) else { return vec![answer.err] };
    let known = match PlatformSet::built_in().get(&platform) {
        Ok(known) => known,
        Err(e) => return vec![e.to_string()],
    };
    let mut views = Views::default();
    for artefact in list.iter().filter(|a| a["status"] == "stored") {
        let rules = known.artefacts().find(|a| artefact["artefact"] == *a.name).map(|a| a.rules.clone());
        let bytes = std::fs::read(person.folder().join(artefact["path"].as_str().unwrap_or_default()));
        make(&bytes.unwrap_or_default(), rules.unwrap_or_default(), &mut views);
    }
    let text = of(&views);
    let shown = texts(cases, "fail").filter(|case| text.contains(case)).map(|case| format!("{case:?} is still there"));
    let gone = texts(cases, "pass").filter(|case| !holds(text, case)).map(|case| format!("{case:?} is not there"));
    shown.chain(gone).collect()
}

fn make(bytes: &[u8], rules: Arc<TextRules>, views: &mut Views) {
    let (mut clean, mut redacted) = (BytesMut::new(), BytesMut::new());
    let mut maker = ViewMaker::new(rules, InstanceKey::new([7; 32]), "d".into(), 1 << 20);
    maker.push(bytes, &mut clean, &mut redacted).expect("lines of no great length");
    let _ = maker.finish(&mut clean, &mut redacted);
    views.clean.push_str(&String::from_utf8_lossy(&clean));
    views.redacted.push_str(&String::from_utf8_lossy(&redacted));
}

/// A case is a text or an expression; what stands for a secret in it is any mask of ours.
fn holds(text: &str, case: &str) -> bool {
    let masks = Regex::new(r"<?(?:secret|configuration|certificate|key) (?:hidden|removed)>").expect("an expression");
    let expression = masks.replace_all(case, "<secret[^>]*>");
    Regex::new(&format!("(?m){expression}")).is_ok_and(|e| e.is_match(text)) || text.contains(case)
}
