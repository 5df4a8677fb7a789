//! What devices say in place of a text, and in the middle of it: on no platform is it taken for the device's own.

use std::sync::Arc;
use std::time::Duration;

use devicevault_collectors::{Channel, Piece, PlatformSet, Replay};

use crate::sessions::{Session, all, mandatory, none};
use crate::traps::{suspicions, visit};

/// What stands in the place of a configuration.
const INSTEAD: [&str; 11] = [
    "% Command rejected: not authorized to run this command on this line\n",
    "Error: You do not have permission to run this command. Ask an administrator for the rights to do so.\n",
    "Command authorization failure: the server 192.0.2.1 is not responding, denied.\n",
    "ERROR: Another session is holding the configuration lock, please try again later.\n",
    "Unable to retrieve the configuration: internal database error (code 0x80000012).\n",
    "%Error: configuration is being saved by another user, try again later please\n",
    "User u is not privileged to run this command; this attempt was logged.\nPlease ask for access.\nSession ID 12\n",
    "show it\n   ^\nWARNING: Token not found: the system is starting, not all is available.\n\nPlease wait and try it again.\n",
    "Connection to the management daemon lost, retrying...\nTimeout waiting for a reply from it\nrequest aborted.\n",
    "The device is busy with another task at this moment; nothing of what was asked for can be shown\n",
    "Internal error 0x17\n\nThis has been logged.\nThe manager of this system has been told.\nThere is nothing to be done here.\n",
];

/// What comes in between.
const BETWEEN: [&str; 12] = [
    "*Nov 21 18:00:00.123: %LINK-3-UPDOWN: Interface GigabitEthernet0/1, changed state to down",
    "<189> Nov 21 18:00:00 sw1-1 TRAPMGR[trapTask]: traputil.c(763) 4711 %% NOTE Link Down: Gi1/0/3",
    "SYSLOG: <14> Nov 21 18:00:00 sw1 System: Interface ethernet 1/1/3, state down",
    "11/21/2026 18:00:00.12 <Info:vlan.msgs.portLinkStateDown> Port 3 link down",
    "1 2026/11/21 18:00:00.12 UTC MAJOR: SYSTEM #2001 Base",
    "Broadcast message from root@sw1 (pts/1) (Sat Nov 21 18:00:00 2026):",
    "Message from syslogd@sw1 at Nov 21 18:00:00 ...",
    "*** Message from tty2 to all terminals:",
    "*** --- SHUTDOWN in 0:05:00 ---",
    "System Bootstrap, Version 15.2",
    "% Output aborted: low memory",
    "ERROR: process ospfd is not responding, skipped",
];

fn device(platform: &devicevault_collectors::Platform, session: &Session, pieces: &[Piece]) -> Replay {
    let prompt = session.prompts.first().map_or("$ ", String::as_str);
    let mut device = Replay::new(prompt).greeting(vec![Piece::Text(b"\r\nwelcome\r\n".to_vec())]);
    for command in platform.spellings(&mandatory(platform).name) {
        device = device.answer(command, pieces.to_vec());
    }
    device
}

fn sent(text: &str) -> Piece {
    Piece::Text(text.replace('\n', "\r\n").into_bytes())
}

#[tokio::test(start_paused = true)]
async fn a_message_in_place_of_the_text_is_an_error_or_suspect() {
    let set = Arc::new(PlatformSet::built_in());
    let mut wrong = Vec::new();
    for (name, session) in all() {
        let platform = set.get(&name).unwrap();
        if platform.channel() == Channel::Exec || mandatory(&platform).name == "inventory" {
            continue;
        }
        for message in INSTEAD {
            if let Ok((text, doubts)) = visit(&set, &platform, device(&platform, &session, &[sent(message)])).await
                && doubts.is_empty()
                && suspicions(&platform, &text) == 0
            {
                wrong.push(format!("{name}: kept as good: {message:?}"));
            }
        }
    }
    none(&wrong);
}

#[test]
fn a_message_within_the_text_makes_it_suspect_on_every_platform() {
    let set = PlatformSet::built_in();
    let mut wrong = Vec::new();
    for (name, session) in all() {
        let platform = set.get(&name).unwrap();
        if mandatory(&platform).name == "inventory" {
            continue;
        }
        let text = session.text(false, 600);
        let usual = suspicions(&platform, &text);
        for message in BETWEEN {
            let middle = text[text.len() / 2..].find('\n').map_or(text.len(), |n| text.len() / 2 + n + 1);
            let polluted = format!("{}{message}\n{}", &text[..middle], &text[middle..]);
            if suspicions(&platform, &polluted) <= usual {
                wrong.push(format!("{name}: not seen: {message:?}"));
            }
            let quoted = format!("{} description {message}\n{}", &text[..middle], &text[middle..]);
            if suspicions(&platform, &quoted) > usual {
                wrong.push(format!("{name}: in a description: {message:?}"));
            }
        }
    }
    none(&wrong);
}

#[test]
fn banners_and_comments_say_what_they_like() {
    let set = PlatformSet::built_in();
    let said = "Error: you are not allowed here.\nPress any key to get started.\n% Error: so they say\n";
    let mut wrong = Vec::new();
    for (name, session) in all() {
        let platform = set.get(&name).unwrap();
        if mandatory(&platform).name == "inventory" {
            continue;
        }
        let text = session.text(false, 600);
        let usual = suspicions(&platform, &text);
        let middle = text[text.len() / 2..].find('\n').map_or(text.len(), |n| text.len() / 2 + n + 1);
        // There a comment ends with its line.
        let comments = name != "radware_alteon";
        let (quotes, elements) = (goes_over_lines(&platform, "quotes"), goes_over_lines(&platform, "elements"));
        for (open, close, theirs) in [
            ("banner motd \"Welcome.", "\"", true),
            ("/* by bob:", " */", comments),
            ("set login-banner \"", "\"", quotes),
            ("set message banner on msgvalue \"Say \\\"x\\\" and", "go\";", quotes),
            ("    pre-login-message (\"one", "two\" name \"x\")", quotes),
            (" description rack 19 \"", " description \"of a pair", quotes),
            (" description it's", " description bob's", false),
            ("/* \"by bob */", "/* 19\" */", false),
            ("<message lang=\"en\">For all of you:", "</message>", elements),
            ("<descr><![CDATA[For all [of you]:", "]]></descr>", elements),
        ] {
            let with = |end| format!("{}{open}\n{said}{end}\n{}", &text[..middle], &text[middle..]);
            if theirs && suspicions(&platform, &with(close)) > usual {
                wrong.push(format!("{name}: suspect: {open}"));
            }
            if !theirs && open != "/* by bob:" && suspicions(&platform, &with(close)) <= usual {
                wrong.push(format!("{name}: hidden: {open}"));
            }
            if !text[middle..].contains(close) && theirs && suspicions(&platform, &with("")) <= usual {
                wrong.push(format!("{name}: without an end: {open}"));
            }
        }
    }
    none(&wrong);
}

/// Whether the platform's file says that such values go over several lines.
fn goes_over_lines(platform: &devicevault_collectors::Platform, kind: &str) -> bool {
    let file: toml::Table = platform.text().parse().unwrap();
    let named = file.get("multiline").and_then(toml::Value::as_array).into_iter().flatten();
    // A backslash continues a line in a value, too.
    named.filter_map(toml::Value::as_str).any(|k| k == kind) || kind == "quotes" && file.contains_key("continued")
}

#[test]
fn a_quote_that_stands_in_a_word_or_is_closed_hides_nothing() {
    let set = PlatformSet::built_in();
    for name in ["hp_procurve", "juniper_junos", "opnsense"] {
        let platform = set.get(name).unwrap();
        for line in ["description a 19\" rack", "name \"a\" \"b\"", "name \"a \\\" b\"", "<a>b</a>", "name a\"b"] {
            let text = |error| format!("hostname a\n{line}\n{error}: process died\n{line}\nvlan 1\n");
            assert!(suspicions(&platform, &text("ERROR")) > suspicions(&platform, &text("Note")), "{name}: {line}");
        }
    }
}

#[test]
fn pages_and_banners_of_some_platforms_say_what_they_like() {
    let set = PlatformSet::built_in();
    for (name, text) in [
        (
            "f5_tmos",
            "ltm rule x {\nwhen HTTP_REQUEST {\nHTTP::respond 403 content {\nError: no access\n }\n}\nwhen RULE_INIT {\nError: two\n}\n}\n",
        ),
        (
            "extreme_exos",
            "configure vlan a tag 2\nconfigure banner before-login\nWelcome\nError: keep out\n\nconfigure vlan b tag 3\n",
        ),
    ] {
        let platform = set.get(name).unwrap();
        assert_eq!(suspicions(&platform, text), suspicions(&platform, &text.replace("Error: ", "Note: ")), "{name}");
        assert!(suspicions(&platform, &format!("{text}ERROR: died\n")) > suspicions(&platform, text), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_few_lines_of_a_configuration_are_one() {
    let set = Arc::new(PlatformSet::built_in());
    let text = "hostname a\nvlan 1\n name users of the whole of the second floor\nip address 192.0.2.1 255.255.255.0\n";
    for name in ["hp_procurve", "netgear_prosafe", "aruba_aoscx"] {
        let (platform, session) = (set.get(name).unwrap(), all().remove(name).unwrap());
        let (got, doubts) = visit(&set, &platform, device(&platform, &session, &[sent(text)])).await.unwrap();
        assert_eq!((got.as_str(), doubts.len(), suspicions(&platform, &got)), (text, 0, 0), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_pager_that_is_not_erased_makes_the_text_suspect() {
    let set = Arc::new(PlatformSet::built_in());
    let pieces = [sent("hostname a\nvlan 1\n"), Piece::Pager(b"--More--".to_vec(), Vec::new()), sent("vlan 2\nend\n")];
    for name in ["cisco_ios", "arista_eos", "cisco_asa", "juniper_junos", "hp_procurve"] {
        let (platform, session) = (set.get(name).unwrap(), all().remove(name).unwrap());
        let (text, doubts) = visit(&set, &platform, device(&platform, &session, &pieces)).await.unwrap();
        assert!(text.contains("--More--vlan 2") && !doubts.is_empty(), "{name}: {text:?} {doubts:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_drawn_over_lines_above_makes_the_text_suspect() {
    let set = Arc::new(PlatformSet::built_in());
    let (platform, session) = (set.get("hp_procurve").unwrap(), all().remove("hp_procurve").unwrap());
    for (up, suspect) in [("\x1b[1A\x1b[2K", true), ("\x1bM\r", true), ("\x1b[1F", true), ("", false)] {
        let pieces = [
            sent("hostname a\nworking 10%\n"),
            sent(&format!("{up}working 50%\n")),
            Piece::Pause(Duration::from_millis(20)),
            sent("vlan 1\nvlan 2\n"),
        ];
        let (_, doubts) = visit(&set, &platform, device(&platform, &session, &pieces)).await.unwrap();
        assert_eq!(!doubts.is_empty(), suspect, "{up:?}: {doubts:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn headings_are_no_text_of_the_device() {
    const SEVERAL: &str = r#"
name = "acme"
title = "Acme OS"
comment = "!"
failure = ['^% Invalid']
[session]
prompt = '^[\w-]+# ?$'
[[artefacts]]
name = "running-config"
commands = ["show one", { run = "show two", optional = true }, { run = "show three", optional = true }]
min_size = 30
"#;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("acme.toml"), SEVERAL).unwrap();
    let set = Arc::new(PlatformSet::built_in().with_folder(folder.path()).unwrap());
    let platform = set.get("acme").unwrap();
    let of = |answers: [&str; 3]| {
        let device = Replay::new("sw1# ").greeting(vec![sent("\nwelcome\n")]);
        ["show one", "show two", "show three"]
            .into_iter()
            .zip(answers)
            .fold(device, |d, (c, a)| d.answer(c, vec![sent(a)]))
    };
    let (text, doubts) = visit(&set, &platform, of(["", "", ""])).await.unwrap();
    assert!(text.contains("! show three") && doubts.iter().any(|d| d.contains("0 bytes")), "{text:?} {doubts:?}");
    let whole = "hostname a\nvlan 1\nvlan 2\nvlan 3\nvlan 4\n";
    assert_eq!(visit(&set, &platform, of([whole, "", ""])).await.unwrap().1, Vec::<String>::new());
}
