//! Devices that misbehave, over real SSH: none makes the program panic or hang, and what is stored as a success is whole.

use std::time::Duration;

use devicevault_core::{Collector as _, ErrorKind, Target};
use devicevault_testkit::recording::{Ending, RecordingSink};
use devicevault_testkit::sim::{Fleet, Quirk, SimDevice, Simulated};

use crate::simulated::{collector, config, one, same, suspect, target, truth};

/// A whole visit takes no longer, whatever the device does.
const LONGEST: Duration = Duration::from_secs(30);

fn impatient(device: &Simulated) -> Target {
    let mut target = target(device);
    target.limits.connect = Duration::from_millis(700);
    target.limits.login = Duration::from_millis(1500);
    target.limits.inactivity = Duration::from_millis(700);
    target.limits.command = Duration::from_secs(5);
    target
}

/// What the device gave; it must come to an end.
async fn visit(target: &Target) -> (RecordingSink, Option<devicevault_core::Error>) {
    let mut sink = RecordingSink::new().wanting(["running-config"]);
    let ended = tokio::time::timeout(LONGEST, collector().collect(target, &mut sink)).await;
    let error = ended.unwrap_or_else(|_| panic!("no end within {LONGEST:?}")).err();
    assert!(sink.violations().is_empty(), "{:?}", sink.violations());
    (sink, error)
}

/// Whether a configuration was handed on as whole and beyond doubt.
fn success(sink: &RecordingSink) -> bool {
    sink.content("running-config").is_some() && !suspect(sink)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_is_cut_or_falls_silent_at_any_byte_is_no_success() {
    let fleet = Fleet::builder().device(SimDevice::cisco_ios("dev-1").size(3000)).start().await.unwrap();
    let device = &fleet.devices()[0];
    let want = truth(device);
    let ends =
        [0, 1, 20, 21, 400, 700, 900, 1000, 1100, 1200, 1300, 1400, 1500, 1600, 1800, 2000, 2400, 3000, 4000, 5000];
    let (mut whole, mut failed) = (0, 0);
    for bytes in ends.into_iter().chain((6000..9000).step_by(1000)) {
        for quirk in [Quirk::CutOffAfter(bytes), Quirk::StallsAfter(bytes)] {
            device.set_quirks([quirk.clone()]);
            let (sink, error) = visit(&impatient(device)).await;
            if success(&sink) {
                assert_eq!(config(&sink), want, "{quirk:?}");
                whole += 1;
            } else {
                let e = error.unwrap_or_else(|| panic!("{quirk:?}: neither a text nor an error; {:?}", sink.notes()));
                assert!(!e.message().is_empty());
                failed += 1;
            }
        }
    }
    assert!(whole > 0 && failed > 20, "{whole} whole, {failed} failed: the bytes do not cover a session");
}

#[tokio::test]
async fn a_slow_drip_is_waited_for() {
    let drip = Quirk::Pieces { bytes: 1, pause: Duration::from_micros(300) };
    let (fleet, taken) = one(SimDevice::cisco_ios("dev-1").size(1500).quirk(drip)).await;
    let sink = taken.unwrap();
    same(&fleet.devices()[0], &sink, "drip");
    assert!(!suspect(&sink));
}

#[tokio::test]
async fn an_answer_without_end_is_given_up() {
    let endless = Quirk::Endless { command: "show running-config".into() };
    let fleet = Fleet::builder().device(SimDevice::cisco_ios("dev-1").quirk(endless)).start().await.unwrap();
    let mut target = impatient(&fleet.devices()[0]);
    target.limits.command = Duration::from_millis(800);
    let (sink, error) = visit(&target).await;
    assert_eq!(error.unwrap().kind(), ErrorKind::Timeout);
    assert!(!success(&sink));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_megabytes_are_whole() {
    let fleet = Fleet::builder().device(SimDevice::cisco_ios("dev-1").size(50_000_000)).start().await.unwrap();
    let mut target = target(&fleet.devices()[0]);
    target.limits.command = Duration::from_secs(300);
    let mut sink = RecordingSink::new().wanting(["running-config"]);
    collector().collect(&target, &mut sink).await.unwrap();
    assert!(!suspect(&sink));
    assert!(config(&sink) == truth(&fleet.devices()[0]), "the texts differ");
}

#[tokio::test]
async fn bytes_that_are_no_text_survive_and_nul_is_what_a_terminal_leaves_out() {
    let (fleet, taken) = one(SimDevice::cisco_ios("dev-1").size(4000).quirk(Quirk::InvalidUtf8)).await;
    let sink = taken.unwrap();
    let want = fleet.devices()[0].answer("show running-config").unwrap();
    let want: Vec<u8> = want.iter().copied().filter(|b| !matches!(*b, 0 | b'\r')).collect();
    assert!(config(&sink) == want && !suspect(&sink), "{:?}", sink.notes());
}

#[tokio::test]
async fn lines_of_ten_thousand_columns_are_whole() {
    let line = |c: char| format!(" description {}\n", c.to_string().repeat(10_000));
    let text = format!("hostname dev-1\n{}{}!\nend\n", line('x'), line('#').repeat(3));
    for quirks in [vec![], vec![Quirk::Pieces { bytes: 777, pause: Duration::ZERO }], vec![Quirk::PagerAlways]] {
        let device = SimDevice::cisco_ios("dev-1").answering("show running-config", text.clone());
        let (_fleet, taken) = one(quirks.into_iter().fold(device, SimDevice::quirk)).await;
        let sink = taken.unwrap();
        assert!(String::from_utf8(config(&sink)).unwrap() == text && !suspect(&sink), "{:?}", sink.notes());
    }
}

#[tokio::test]
async fn a_greeting_of_a_megabyte_with_prompts_and_questions_in_it_is_passed() {
    let page = "********\r\ndev-1>\r\ndev-1#\r\nAuthorised users only# \r\nlogin: \r\nPassword: \r\n --More-- \r\n\r\n";
    let greeting = page.repeat((1 << 20) / page.len() + 1);
    let (fleet, taken) = one(SimDevice::cisco_ios("dev-1").size(4000).greeting(greeting)).await;
    let sink = taken.unwrap();
    same(&fleet.devices()[0], &sink, "greeting");
    assert!(!suspect(&sink), "{:?}", sink.notes());
}

#[tokio::test]
async fn a_device_that_asks_the_terminal_is_answered_at_login_and_nowhere_else() {
    let greeting = "\x1b[6n\x1b[c\x1b[2J\x1b]0;dev-1\x07\x07welcome\r\n";
    let text = "hostname dev-1\n\x1b[6nbanner \x1b[c\n!\nend\n";
    let device = SimDevice::cisco_ios("dev-1").greeting(greeting).answering("show running-config", text);
    let (fleet, taken) = one(device).await;
    let sink = taken.unwrap();
    assert_eq!(String::from_utf8(config(&sink)).unwrap(), "hostname dev-1\nbanner \n!\nend\n");
    assert!(!suspect(&sink), "{:?}", sink.notes());
    let typed = fleet.devices()[0].commands();
    assert!(typed.iter().skip(1).all(|c| !c.contains('\x1b') && !c.contains("1;1R")), "{typed:?}");
}

#[tokio::test]
async fn a_password_that_has_to_be_changed_is_told_and_not_answered() {
    let fleet =
        Fleet::builder().device(SimDevice::cisco_ios("dev-1").quirk(Quirk::AsksNewPassword)).start().await.unwrap();
    let (sink, error) = visit(&target(&fleet.devices()[0])).await;
    let e = error.unwrap();
    assert_eq!(e.kind(), ErrorKind::AuthRejected);
    assert!(e.hint_text().is_some_and(|h| h.contains("new password")), "{e:?}");
    assert!(!success(&sink));
}

#[tokio::test]
async fn a_prompt_that_changes_under_way_is_no_success() {
    let fleet =
        Fleet::builder().device(SimDevice::cisco_ios("dev-1").quirk(Quirk::PromptChanges)).start().await.unwrap();
    let (sink, error) = visit(&impatient(&fleet.devices()[0])).await;
    let e = error.unwrap();
    assert_eq!(e.kind(), ErrorKind::Timeout);
    assert!(e.to_string().contains("another-dev-1"), "{e}");
    assert!(e.hint_text().is_some_and(|h| h.contains("varies")), "{e:?}");
    assert!(!success(&sink));
    assert!(sink.artefacts().iter().all(|a| !matches!(a.ending, Ending::Ended)));
}

#[tokio::test]
async fn a_device_without_echo_is_whole_or_suspect() {
    for quirks in [vec![Quirk::NoEcho], vec![Quirk::NoEcho, Quirk::SlowPrompt(Duration::from_millis(200))]] {
        let device = SimDevice::cisco_ios("dev-1").size(4000);
        let (fleet, taken) = one(quirks.into_iter().fold(device, SimDevice::quirk)).await;
        same(&fleet.devices()[0], &taken.unwrap(), "no echo");
    }
}
