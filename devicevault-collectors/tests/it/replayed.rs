//! Sessions with a device in memory that misbehaves. Time is paused: nothing here waits.

mod exec;

use std::sync::Arc;
use std::time::Duration;

use devicevault_collectors::{CliCollector, Piece, PlatformSet, Replay, ReplayDialer};
use devicevault_core::{Collector as _, Device, ErrorKind, Login, NoteLevel, Result, SecretString, Target};
use devicevault_testkit::recording::{Ending, RecordingSink};
use proptest::prelude::*;

const PLATFORM: &str = r#"
name = "acme"
title = "Acme OS"
comment = "!"
failure = ['^% Invalid']

[session]
prompt = '^[\w-]+(?:\([\w-]+\))?[>#] ?$'
setup = ["terminal length 0"]
SESSION

[enable]
command = "enable"
prompt = '# ?$'
password = '^Password: ?$'

[logout]
command = "exit"
[[logout.questions]]
expect = '\[y/n\]\? ?$'
answer = "n"

[[login]]
expect = '^accept\? $'
key = "a"

[[artefacts]]
name = "config"
commands = ["show config"]
MARKER

[[artefacts]]
name = "inventory"
optional = true
commands = ["show version", { run = "show modules", otherwise = ["show cards"], optional = true }]
"#;

struct Variant {
    session: &'static str,
    marker: &'static str,
}

const PLAIN: Variant = Variant { session: "", marker: "" };
const WHEN_READ: Variant = Variant { session: "echo = \"when-read\"", marker: "" };
const MARKED: Variant = Variant { session: "", marker: "end_marker = '^end$'" };
const ENDS_LINE: Variant = Variant { session: "pager_ends_line = true", marker: "" };
const QUIET: Variant = Variant { session: "confirm = \"quiet\"", marker: "" };

/// Talks to the device as a platform of this variant.
async fn talk(variant: &Variant, dialer: &ReplayDialer, sink: &mut RecordingSink) -> Result<()> {
    talk_as(&platform(variant), dialer, sink).await
}

fn platform(variant: &Variant) -> String {
    PLATFORM.replace("SESSION", variant.session).replace("MARKER", variant.marker)
}

async fn talk_as(text: &str, dialer: &ReplayDialer, sink: &mut RecordingSink) -> Result<()> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("acme.toml"), text).unwrap();
    let platforms = PlatformSet::built_in().with_folder(folder.path()).unwrap();
    let collector = CliCollector::new(Arc::new(platforms), Arc::new(dialer.clone()));
    let mut login = Login::default();
    login.username = "admin".into();
    login.enable = Some(SecretString::from("sesame"));
    let target = Target::new(Device::new("d1", "d1", "192.0.2.1", "acme"), login);
    collector.collect(&target, sink).await
}

async fn collected(variant: &Variant, device: Replay) -> RecordingSink {
    let mut sink = RecordingSink::new();
    talk(variant, &ReplayDialer::new(device), &mut sink).await.unwrap();
    assert!(sink.violations().is_empty(), "{:?}", sink.violations());
    sink
}

fn text(text: &str) -> Piece {
    Piece::Text(text.replace('\n', "\r\n").into_bytes())
}

fn pause(ms: u64) -> Piece {
    Piece::Pause(Duration::from_millis(ms))
}

fn suspects(sink: &RecordingSink) -> usize {
    sink.notes().iter().filter(|n| n.level == NoteLevel::Suspect).count()
}

fn content(sink: &RecordingSink, artefact: &str) -> String {
    String::from_utf8(sink.content(artefact).unwrap_or_else(|| panic!("{artefact} was not ended")).to_vec()).unwrap()
}

const CONFIG: &str = "hostname rtr-1\ninterface e1\n description a#\nend\n";

fn device() -> Replay {
    Replay::new("rtr-1#")
        .greeting(vec![text("\n*** core# is not a prompt\n\n")])
        .answer("terminal length 0", vec![])
        .answer("show config", vec![text(CONFIG)])
        .answer("show version", vec![text("Acme OS 1.0\n")])
        .answer("show modules", vec![text("slot 1\n")])
}

#[tokio::test(start_paused = true)]
async fn a_session_gives_each_text_and_nothing_else() {
    for variant in [PLAIN, WHEN_READ, MARKED, QUIET] {
        for chunk in [1, 2, 3, 7, 100, usize::MAX] {
            let sink = collected(&variant, device().chunk(chunk)).await;
            assert_eq!(content(&sink, "config"), CONFIG, "chunk {chunk}");
            assert_eq!(content(&sink, "inventory"), "! show version\nAcme OS 1.0\n\n! show modules\nslot 1\n");
            assert_eq!(sink.notes(), [], "chunk {chunk}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_marker_and_the_prompt_in_mid_text_end_nothing_either() {
    let whole = "hostname rtr-1\nend\nrtr-1#\nmore\nend\n";
    for ms in [0, 40, 7000, 20_000] {
        let pieces = vec![text("hostname rtr-1\nend\nrtr-1#"), pause(ms), text("\nmore\nend\n")];
        let dialer = ReplayDialer::new(with_config(pieces));
        let mut sink = RecordingSink::new().wanting(["config"]);
        talk(&MARKED, &dialer, &mut sink).await.unwrap();
        assert!(content(&sink, "config") == whole || suspects(&sink) > 0, "{ms} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_line_that_is_taken_for_a_pager_and_not_erased_is_doubted() {
    for before in ["a\n--More--", "a\n --More-- "] {
        let pieces = vec![text(before), pause(300), text("\nb\n")];
        let sink = collected(&PLAIN, with_config(pieces.clone())).await;
        assert!(suspects(&sink) > 0 || content(&sink, "config").contains("More"), "{before:?}");
        // Of a platform whose pagers end so it is none.
        let sink = collected(&ENDS_LINE, with_config(pieces)).await;
        assert_eq!((suspects(&sink), content(&sink, "config").as_str()), (0, "a\nb\n"));
    }
}

#[tokio::test(start_paused = true)]
async fn the_devices_own_prompt_in_mid_text_ends_nothing() {
    let whole = "hostname rtr-1\nbanner\nrtr-1#\nmore\n\nend\n";
    for ms in [0, 1, 40, 400, 1500, 20_000] {
        let pieces = vec![text("hostname rtr-1\nbanner\nrtr-1#"), pause(ms), text("\nmore\n\nend\n")];
        for variant in [WHEN_READ, MARKED] {
            let sink = collected(&variant, with_config(pieces.clone())).await;
            assert_eq!(content(&sink, "config"), whole, "{ms} ms");
        }
        // Where it is not known when the device echoes, the text is whole or suspect.
        let sink = collected(&PLAIN, with_config(pieces.clone())).await;
        assert!(content(&sink, "config") == whole || suspects(&sink) > 0, "{ms} ms");
        let sink = collected(&PLAIN, with_config(pieces).echo_at_once()).await;
        assert!(content(&sink, "config") == whole || suspects(&sink) > 0, "{ms} ms");
    }
}

/// The device with another configuration.
fn with_config(pieces: Vec<Piece>) -> Replay {
    Replay::new("rtr-1#")
        .greeting(vec![text("\nwelcome\n")])
        .answer("terminal length 0", vec![])
        .answer("show config", pieces)
        .answer("show version", vec![text("Acme OS 1.0\n")])
}

#[tokio::test(start_paused = true)]
async fn a_line_that_begins_like_the_prompt_is_text() {
    let pieces = vec![text("a\nrtr-1#"), pause(300), text(" is my name\nb\n")];
    for variant in [PLAIN, WHEN_READ] {
        let sink = collected(&variant, with_config(pieces.clone())).await;
        assert_eq!(content(&sink, "config"), "a\nrtr-1# is my name\nb\n");
        assert_eq!(suspects(&sink), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_device_that_throws_away_what_is_typed_ahead_is_asked_again() {
    let pieces = vec![text("a\nrtr-1#"), pause(300), text("\nb\n")];
    let sink = collected(&WHEN_READ, with_config(pieces).deaf_while_busy()).await;
    assert_eq!(content(&sink, "config"), "a\nrtr-1#\nb\n");
}

#[tokio::test(start_paused = true)]
async fn text_without_a_line_end_stays_without() {
    let sink = collected(&WHEN_READ, with_config(vec![text("a\nlast")])).await;
    assert_eq!(content(&sink, "config"), "a\nlast");
    let sink = collected(&WHEN_READ, with_config(vec![])).await;
    assert_eq!(content(&sink, "config"), "");
}

#[tokio::test(start_paused = true)]
async fn text_that_is_erased_makes_the_artefact_suspect_and_a_prompt_or_pager_does_not() {
    let line = |erase: &str| vec![text(&format!("a\n description port three{erase}rest\nb\n"))];
    for variant in [PLAIN, WHEN_READ, MARKED, QUIET] {
        for chunk in [1, 3, usize::MAX] {
            for erase in ["\x1b[2J", "\x1b[1K", "\x1b[2K", "\r\x1b[K", "\x08 \x08", "\x1b[5D\x1b[5P"] {
                let sink = collected(&variant, with_config(line(erase)).chunk(chunk)).await;
                assert_eq!(suspects(&sink), 1, "{erase:?} in {chunk}: {:?}", sink.notes());
            }
            let nothing = ["\x1b[K", "\x1b[7m", "rtr-1#\r\x1b[K", "rtr-1#show config\x1b[2K\r", "--More--\r        \r"];
            let back = format!("--More--{}", "\x08 \x08".repeat(8));
            for erase in nothing.into_iter().chain([back.as_str()]) {
                let sink =
                    collected(&variant, with_config(vec![text(&format!("a\n{erase}b\nc\n"))]).chunk(chunk)).await;
                assert_eq!((content(&sink, "config").as_str(), suspects(&sink)), ("a\nb\nc\n", 0), "{erase:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_prompt_that_is_drawn_anew_without_an_echo_ends_what_prints_nothing() {
    for variant in [PLAIN, WHEN_READ, MARKED, QUIET] {
        for chunk in [1, 3, usize::MAX] {
            let sink = collected(&variant, device().redraws_prompt().chunk(chunk)).await;
            assert_eq!(content(&sink, "config"), CONFIG, "chunk {chunk}");
            assert_eq!(suspects(&sink), 0, "{:?}", sink.notes());
            // A configuration that prints nothing at all is no configuration that is known to be whole.
            let sink = collected(&variant, device().answer("show config", vec![]).redraws_prompt().chunk(chunk)).await;
            assert_eq!(content(&sink, "config"), "");
            assert_eq!(suspects(&sink), 1, "{:?}", sink.notes());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_blank_of_a_prompt_may_come_late() {
    for chunk in [1, 5, 6, 7, 13] {
        let device = Replay::new("rtr-1# ").greeting(vec![text("\nwelcome\n")]).chunk(chunk);
        let device = device.answer("terminal length 0", vec![]).answer("show config", vec![text(CONFIG)]);
        for variant in [PLAIN, WHEN_READ, MARKED, QUIET] {
            let sink = collected(&variant, device.clone().answer("show version", vec![text("1\n")])).await;
            assert_eq!(content(&sink, "config"), CONFIG, "chunk {chunk}");
            assert_eq!(suspects(&sink), 0, "chunk {chunk}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_question_in_the_middle_of_an_answer_is_answered_and_is_no_text() {
    let asking = |question: &str| {
        let pieces = vec![text("one\n"), Piece::Question(question.as_bytes().to_vec()), text("two\nend\n")];
        with_config(pieces)
    };
    let commands = r#"commands = [{ run = "show config", questions = [
        { expect = 'passwords\? \[Y\]> ?$', answer = "n" },
        { expect = '^Password: ?$', credential = "enable" },
    ] }]"#;
    for question in ["Do you want to mask passwords? [Y]> ", "Password: "] {
        for chunk in [1, 4, usize::MAX] {
            let dialer = ReplayDialer::new(asking(question).chunk(chunk));
            let mut sink = RecordingSink::new().wanting(["config"]);
            let platform = platform(&PLAIN).replacen(r#"commands = ["show config"]"#, commands, 1);
            talk_as(&platform, &dialer, &mut sink).await.unwrap();
            assert_eq!(content(&sink, "config"), "one\ntwo\nend\n", "{question} {chunk}");
            assert_eq!(suspects(&sink), 0);
        }
    }
    // Nobody answers what the platform does not know, and the error shows it.
    let mut sink = RecordingSink::new();
    let e = talk(&PLAIN, &ReplayDialer::new(asking("Really? [y/n] ")), &mut sink).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Timeout);
    assert!(e.to_string().contains("Really?") && e.hint_text().unwrap().contains("questions"), "{e:?}");
    assert!(sink.content("config").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_pager_that_takes_no_notice_of_a_key_is_given_another() {
    let unseen = Piece::Pager(b" --More-- \r\x1b[Kno".to_vec(), b"t lost\r\n".to_vec());
    let seen = Piece::Pager(b" --More-- ".to_vec(), b"\r\x1b[K".to_vec());
    let sink = collected(&PLAIN, with_config(vec![text("one\n"), seen, unseen, text("end\n")])).await;
    assert_eq!(content(&sink, "config"), "one\nnot lost\nend\n");
    assert_eq!(suspects(&sink), 0);
}

#[tokio::test(start_paused = true)]
async fn pagers_are_answered_and_leave_nothing() {
    let back = "\x08".repeat(10);
    for erase in
        [format!("{back}          {back}"), "\r          \r".to_owned(), "\r\x1b[K".to_owned(), "\r\n".to_owned()]
    {
        for pager in
            [" --More-- ", "--More--", "\x1b[7m---- More ----\x1b[m", "<--- More --->", "Press any key to continue"]
        {
            let erase = if pager.len() > 10 { "\r\x1b[2K".to_owned() } else { erase.clone() };
            let page = || Piece::Pager(pager.as_bytes().to_vec(), erase.clone().into_bytes());
            let pieces =
                vec![text("one\n"), page(), text("two\n"), pause(50), page(), text("x\n"), page(), text("\nend\n")];
            for chunk in [1, 5, usize::MAX] {
                let variant = if erase == "\r\n" { &ENDS_LINE } else { &PLAIN };
                let sink = collected(variant, with_config(pieces.clone()).chunk(chunk)).await;
                assert_eq!(content(&sink, "config"), "one\ntwo\nx\n\nend\n", "{pager:?} {erase:?} {chunk}");
                assert_eq!(suspects(&sink), 0);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_pager_in_the_text_does_no_harm() {
    let sink =
        collected(&WHEN_READ, with_config(vec![text("a\n description --More-- "), pause(200), text("not\nend\n")]))
            .await;
    assert_eq!(content(&sink, "config"), "a\n description --More-- not\nend\n");
}

#[tokio::test(start_paused = true)]
async fn a_device_without_echo_gives_a_suspect_text() {
    let sink = collected(&PLAIN, device().without_echo()).await;
    assert_eq!(content(&sink, "config"), CONFIG);
    assert!(suspects(&sink) > 0);
}

#[tokio::test(start_paused = true)]
async fn a_stalled_answer_ends_at_the_time_of_silence() {
    let dialer = ReplayDialer::new(with_config(vec![text("a\nb\n"), Piece::Stall]));
    let mut sink = RecordingSink::new();
    let e = talk(&PLAIN, &dialer, &mut sink).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Timeout);
    assert!(e.to_string().contains("show config"), "{e}");
    assert!(matches!(sink.artefacts().last().map(|a| a.ending.clone()), None | Some(Ending::Open)));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_never_ends_ends_at_its_bound() {
    let drip: Vec<Piece> = (0..1000).flat_map(|_| [text("x\n"), pause(1000)]).collect();
    let mut sink = RecordingSink::new();
    let e = talk(&PLAIN, &ReplayDialer::new(with_config(drip)), &mut sink).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Timeout);
    assert!(e.to_string().contains("600 s") && e.to_string().contains("show config"), "{e}");
}

#[tokio::test(start_paused = true)]
async fn a_cut_connection_leaves_the_artefact_open() {
    let dialer = ReplayDialer::new(with_config(vec![text(&"line\n".repeat(1000)), Piece::Cut]));
    let mut sink = RecordingSink::new();
    let e = talk(&PLAIN, &dialer, &mut sink).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Incomplete);
    assert!(e.to_string().contains("show config"), "{e}");
    assert!(matches!(sink.artefacts()[0].ending, Ending::Open));
}

#[tokio::test(start_paused = true)]
async fn what_was_whole_before_the_cut_stays_whole() {
    let cut = Replay::new("rtr-1#")
        .answer("terminal length 0", vec![])
        .answer("show config", vec![text(CONFIG)])
        .answer("show version", vec![text("Acme"), Piece::Cut]);
    let mut sink = RecordingSink::new();
    talk(&PLAIN, &ReplayDialer::new(cut), &mut sink).await.unwrap_err();
    assert_eq!(content(&sink, "config"), CONFIG);
}

#[tokio::test(start_paused = true)]
async fn refused_commands_fail_what_is_mandatory_and_are_noted_otherwise() {
    let device = Replay::new("rtr-1#")
        .answer("terminal length 0", vec![])
        .answer("show version", vec![text("Acme OS\n")])
        .answer("show cards", vec![text("card 1\n")]);
    let sink = collected(&PLAIN, device).await;
    let config = sink.artefacts().into_iter().find(|a| a.info.name == "config").unwrap();
    match config.ending {
        Ending::Failed(e) => {
            assert_eq!(e.kind(), ErrorKind::Refused);
            assert!(e.to_string().contains("show config") && e.to_string().contains("% Invalid"), "{e}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(content(&sink, "inventory"), "! show version\nAcme OS\n\n! show cards\ncard 1\n");
    let sink = collected(
        &PLAIN,
        Replay::new("rtr-1#").answer("terminal length 0", vec![]).answer("show config", vec![text(CONFIG)]),
    )
    .await;
    assert_eq!(content(&sink, "config"), CONFIG);
    assert!(sink.content("inventory").is_none() && sink.notes().len() == 1, "{:?}", sink.notes());
}

#[tokio::test(start_paused = true)]
async fn banners_questions_and_look_alikes_before_the_prompt_are_passed() {
    let greeting = vec![
        text("\nauthorised only\ncore-rtr1# "),
        pause(700),
        text("not a prompt\n"),
        Piece::Pager(b"Press any key to continue".to_vec(), b"\r\x1b[K".to_vec()),
        text("\nrules\n"),
    ];
    let sink = collected(&WHEN_READ, device().greeting(greeting)).await;
    assert_eq!(content(&sink, "config"), CONFIG);
    assert_eq!(suspects(&sink), 0);
}

#[tokio::test(start_paused = true)]
async fn text_after_a_prompt_that_was_believed_makes_the_artefact_suspect() {
    // Twice the own prompt, each with a pause: no rule can tell that from an empty line and its answer.
    let pieces = vec![text("a\nrtr-1#"), pause(100), text("\nrtr-1#"), pause(100), text("\nb\n")];
    let sink = collected(&WHEN_READ, with_config(pieces)).await;
    assert!(suspects(&sink) > 0 || content(&sink, "config") == "a\nrtr-1#\nrtr-1#\nb\n");
}

#[tokio::test(start_paused = true)]
async fn logging_out_is_tried_and_its_failure_is_a_note() {
    let stuck = device().answer("exit", vec![]).logout_by("never");
    let sink = collected(&PLAIN, stuck).await;
    assert_eq!(content(&sink, "config"), CONFIG);
    assert!(sink.notes().iter().any(|n| n.level == NoteLevel::Warning), "{:?}", sink.notes());
    let dialer = ReplayDialer::new(
        device().answer("exit", vec![Piece::Question(b"Save [y/n]? ".to_vec()), Piece::Hangup]).logout_by("never"),
    );
    let mut sink = RecordingSink::new();
    talk(&PLAIN, &dialer, &mut sink).await.unwrap();
    assert_eq!(dialer.typed().last().map(String::as_str), Some("n"), "{:?}", dialer.typed());
    assert_eq!(sink.notes(), []);
}

/// Lines of text, among them the device's prompt, pagers and the beginnings of both.
fn lines() -> impl Strategy<Value = Vec<String>> {
    let line = prop_oneof![
        6 => "[a-z0-9 !/.-]{0,30}",
        1 => Just("rtr-1#".to_owned()),
        1 => Just("rtr-1# show run".to_owned()),
        1 => Just("other#".to_owned()),
        1 => Just("end".to_owned()),
        1 => Just(" --More-- is a word".to_owned()),
    ];
    proptest::collection::vec(line, 0..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn a_text_is_whole_or_suspect_whatever_it_holds_and_however_it_comes(
        lines in lines(),
        pauses in proptest::collection::vec((any::<prop::sample::Index>(), 1u64..2000), 0..4),
        chunk in prop_oneof![Just(usize::MAX), 1usize..40],
        variant in prop_oneof![Just(0), Just(1), Just(2), Just(3)],
        at_once in any::<bool>(),
    ) {
        let whole: String = lines.iter().map(|l| format!("{l}\n")).collect();
        let sent = whole.replace('\n', "\r\n");
        let mut cuts: Vec<(usize, u64)> = pauses.iter().map(|(i, ms)| (i.index(sent.len() + 1), *ms)).collect();
        // The worst places: right behind a line that is the prompt.
        cuts.extend(sent.match_indices("rtr-1#").map(|(at, m)| (at + m.len(), 30)));
        cuts.sort_unstable();
        let mut pieces = Vec::new();
        let mut from = 0;
        for (to, ms) in cuts {
            pieces.push(Piece::Text(sent.as_bytes()[from..to].to_vec()));
            pieces.push(pause(ms));
            from = to;
        }
        pieces.push(Piece::Text(sent.as_bytes()[from..].to_vec()));
        let variant = [PLAIN, WHEN_READ, MARKED, QUIET].into_iter().nth(variant).unwrap();
        // A platform that names an end marker promises that no prompt of its own follows it but the one at the end.
        let said: Vec<&str> = lines.iter().map(|l| l.trim()).filter(|l| !l.is_empty()).collect();
        prop_assume!(variant.marker.is_empty() || !said.windows(2).any(|w| w[0] == "end" && w[1].starts_with("rtr-1#")));
        // A platform that says "when-read" promises it; silence alone tells nothing where echoes come at once.
        let at_once = at_once && ![WHEN_READ.session, QUIET.session].contains(&variant.session);
        let mut device = with_config(pieces).chunk(chunk);
        if at_once {
            device = device.echo_at_once();
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut sink = RecordingSink::new();
            match talk(&variant, &ReplayDialer::new(device), &mut sink).await {
                Ok(()) => {
                    let got = content(&sink, "config");
                    prop_assert!(got == whole || suspects(&sink) > 0, "got {got:?}\nwant {whole:?}\nnotes {:?}", sink.notes());
                }
                // Giving up is honest.
                Err(e) => prop_assert!(matches!(e.kind(), ErrorKind::Timeout), "{e:?}"),
            }
            Ok(())
        })?;
    }
}

#[tokio::test(start_paused = true)]
async fn a_device_that_does_not_react_to_the_logout_was_in_mid_answer() {
    for (variant, pieces) in [
        (QUIET, vec![text("a\nrtr-1#"), pause(7000), text("\nb\nend\n")]),
        (PLAIN, vec![text("a\nrtr-1#"), pause(7000), text("\nrtr-1#"), pause(7000), text("\nb\nend\n")]),
    ] {
        let mut sink = RecordingSink::new().wanting(["config"]);
        let ended = talk(&variant, &ReplayDialer::new(with_config(pieces)), &mut sink).await;
        let whole = sink.content("config").is_some_and(|c| c.ends_with(b"end\n"));
        assert!(ended.is_err() || whole || suspects(&sink) > 0, "{}", variant.session);
    }
}

#[tokio::test(start_paused = true)]
async fn the_log_behind_the_last_prompt_is_no_text() {
    const LOG: &str = "%SYS-5-CONFIG_I: Configured from console by bob on vty0 (192.0.2.1)";
    let shown =
        |behind: String| with_config(vec![text(CONFIG), Piece::Behind(behind.replace('\n', "\r\n").into_bytes())]);
    for variant in [PLAIN, WHEN_READ, MARKED] {
        for behind in [format!("\n{LOG}\n"), format!("\n\n{LOG}\n{LOG}\n"), format!("\n{LOG}\nrtr-1#")] {
            for chunk in [1, 7, usize::MAX] {
                let sink = collected(&variant, shown(behind.clone()).chunk(chunk)).await;
                assert_eq!(content(&sink, "config"), CONFIG, "{behind:?} {chunk}");
                // Where a prompt stood for a moment, an empty line was typed at it, and it may be the echo that came.
                assert!(suspects(&sink) == 0 || chunk < 100 && variant.session.is_empty(), "{behind:?} {chunk}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_prompt_with_a_log_in_mid_text_ends_nothing() {
    const LOG: &str = "%SYS-5-CONFIG_I: Configured from console by bob on vty0 (192.0.2.1)";
    let (before, after) = ("hostname rtr-1\nbanner x\n", "interface e2\nend\n");
    for ms in [0, 40, 1500, 8000] {
        for (variant, change) in [
            (PLAIN, (|d| d) as fn(Replay) -> Replay),
            (PLAIN, Replay::echo_at_once),
            (PLAIN, Replay::deaf_while_busy),
            (WHEN_READ, |d| d),
            (WHEN_READ, Replay::deaf_while_busy),
        ] {
            let quoted = format!("{before}rtr-1#\n{LOG}\n");
            let device = change(with_config(vec![text(&quoted), pause(ms), text(after)]));
            let sink = collected(&variant, device).await;
            let got = content(&sink, "config");
            assert!(got == format!("{quoted}{after}") || suspects(&sink) > 0, "{ms}: {got:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_text_that_is_one_of_several_is_told() {
    for (name, line, told) in [
        ("cisco_asa", "ASA Version 9.16(4) <context>", 1),
        ("cisco_asa", "ASA Version 9.16(4) <system>\nASA Version 9.16(4) <system>", 1),
        ("cisco_asa", "ASA Version 9.16(4)", 0),
        ("cisco_nxos", "vdc sw1 id 1\n  limit-resource vlan minimum 16 maximum 4094\nvdc prod id 2", 1),
        ("cisco_nxos", "vdc sw1 id 1", 0),
    ] {
        let platforms = Arc::new(PlatformSet::built_in());
        let platform = platforms.get(name).unwrap();
        let answer = format!("{line}\nhostname fw1\n{}end\n", "interface e1\n".repeat(20));
        let device = platform
            .spellings("running-config")
            .fold(Replay::new("fw1# "), |device, command| device.answer(command, vec![text(&answer)]));
        for chunk in [3, usize::MAX] {
            let mut login = Login::default();
            login.username = "admin".into();
            let target = Target::new(Device::new("d1", "d1", "192.0.2.1", name), login);
            let dialer = ReplayDialer::new(device.clone().greeting(vec![text("\nwelcome\n")]).chunk(chunk));
            let collector = CliCollector::new(platforms.clone(), Arc::new(dialer));
            let mut sink = RecordingSink::new().wanting(["running-config"]);
            collector.collect(&target, &mut sink).await.unwrap();
            let warnings = sink.notes().iter().filter(|n| n.text.contains("add a device for each")).count();
            assert_eq!(warnings, told, "{name}: {line}");
        }
    }
}
