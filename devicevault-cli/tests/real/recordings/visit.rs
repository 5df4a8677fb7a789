//! One device, backed up as a user would do it, and compared with its recording.

use devicevault_collectors::{Channel, PlatformSet};
use devicevault_core::{Clock as _, SystemClock};
use regex::Regex;
use serde_json::Value;

use super::player::Recorded;
use super::screen;
use crate::devicevault::Person;

/// What came of a visit.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) platform: String,
    pub(super) device: String,
    pub(super) lines: usize,
    pub(super) seconds: f64,
    pub(super) wrong: Option<String>,
}

/// The commands that show a configuration. The player answers each of them with the one that was recorded, in this order.
const CONFIG: [&str; 23] = [
    r"show running-config view full",
    r"show running-config no-encrypt",
    r"more system:running-config",
    r"show running-config( all)?( \| .*)?",
    r"show running config.*",
    r"show run",
    r"show configuration \| display (omit|set|inheritance).*",
    r"show configuration running( cli)?",
    r"show configuration commands.*",
    r"show configuration.*",
    r"/export show-sensitive.*",
    r"/export.*",
    r"display current-configuration.*",
    r"show full-configuration.*",
    r"show \| grep \.",
    r"show",
    r"nv config show.*",
    r"cat (/cf)?/conf/config.xml",
    r"show config.*",
    r"show current-config.*",
    r"save_configuration -p.*",
    r"show startup-config",
    r"(show system|get .*)config.*",
];

/// Backs it up and compares.
pub(super) fn visit(device: &Recorded) -> Row {
    let (person, started) = (Person::new(), SystemClock.monotonic());
    let answer = person.back_up(device.port, &device.platform, "u", "recorded", &[]);
    let seconds = (SystemClock.monotonic() - started).as_secs_f64();
    let parsed: Result<Vec<Value>, _> = serde_json::from_str(&answer.out);
    let found = parsed.map_err(|_| format!("no JSON: {}", answer.err)).and_then(|list| compare(device, &person, &list));
    let (lines, wrong) = match found {
        Ok(lines) => (lines, None),
        Err(why) => (0, Some(why)),
    };
    Row { platform: device.platform.clone(), device: device.device.clone(), lines, seconds, wrong }
}

fn compare(device: &Recorded, person: &Person, list: &[Value]) -> Result<usize, String> {
    let artefact = list.iter().find(|a| a["artefact"] == "running-config").ok_or_else(|| format!("{list:?}"))?;
    let suspect = artefact["suspect"].as_array().is_some_and(|s| !s.is_empty());
    if artefact["status"] != "stored" || suspect {
        return Err(format!("{artefact}"));
    }
    let path = person.folder().join(artefact["path"].as_str().unwrap_or_default());
    let bytes = std::fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let got = screen::stored(&String::from_utf8_lossy(&bytes));
    let platform = PlatformSet::built_in().get(&device.platform).map_err(|e| e.to_string())?;
    let (command, raw) = config(device).ok_or("the recording has no configuration")?;
    let want = screen::answer(raw, command, platform.channel() == Channel::Shell);
    match got.iter().zip(&want).position(|(g, w)| g != w) {
        Some(at) => Err(format!("line {}: {:?}, recorded {:?}", at + 1, got[at], want[at])),
        None if got.len() != want.len() => Err(format!("{} lines, recorded {}", got.len(), want.len())),
        None => Ok(got.len()),
    }
}

/// The recording's configuration: command and answer.
fn config(device: &Recorded) -> Option<(&str, &str)> {
    let typed = |text: &str| text.trim_matches(['\r', '\n', '\x15', ' ']).to_owned();
    CONFIG.iter().find_map(|pattern| {
        let pattern = Regex::new(&format!("^(?:{pattern})$")).expect("an expression");
        let found = device.commands.iter().find(|(command, _)| pattern.is_match(&typed(command)))?;
        Some((found.0.trim_matches(['\r', '\n', '\x15', ' ']), found.1.as_str()))
    })
}
