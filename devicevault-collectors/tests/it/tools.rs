//! The tools for whoever writes a platform: detection, recordings, trials, drafts.

use std::sync::Arc;
use std::time::Duration;

use devicevault_collectors::{
    Change, Detector, Disguise, Draft, EndedBy, Piece, Platform, PlatformSet, PlatformSource, RecordedDialer,
    Recording, Replay, ReplayDialer, SshDialer, Trial, TriedState,
};
use devicevault_core::{Device, ErrorKind, Login, SecretString, StepLimits, Target};
use devicevault_ssh::HostKeysInMemory;
use devicevault_testkit::sim::{Fleet, Quirk, SimDevice, Simulated};

const SECRET: &str = "letMeConfigure";

fn target(device: &Simulated) -> Target {
    let mut wanted = Device::new(device.name(), device.name(), device.addr().ip().to_string(), "auto");
    wanted.port = Some(device.addr().port());
    let mut login = Login::default();
    login.username = device.username().to_owned();
    login.password = Some(SecretString::from(device.password()));
    login.enable = Some(SecretString::from(SECRET));
    let mut limits = StepLimits::default();
    limits.inactivity = Duration::from_secs(6);
    Target::new(wanted, login).with_limits(limits)
}

fn ssh() -> Arc<SshDialer> {
    Arc::new(SshDialer::new(Arc::new(HostKeysInMemory::default())))
}

fn detector() -> Detector {
    Detector::new(Arc::new(PlatformSet::built_in()), ssh())
}

#[tokio::test]
async fn every_simulated_platform_is_recognised() {
    let platforms = ["cisco_ios", "juniper_junos", "mikrotik_routeros", "frr", "linux"];
    let devices = platforms.map(|p| SimDevice::of_platform(p, format!("{p}-1").replace('_', "-")).unwrap());
    let fleet = Fleet::builder().devices(devices).start().await.unwrap();
    let detector = detector();
    for device in fleet.devices() {
        let found = detector.detect(&target(device)).await.unwrap();
        assert_eq!(found.platform().map(|c| c.name.as_str()), Some(device.platform()), "{found:?}");
        assert!(found.asked.len() <= 2, "{found:?}");
    }
}

#[tokio::test]
async fn a_device_that_pages_and_needs_enable_is_recognised_too() {
    let device = SimDevice::cisco_ios("sw1").enable_secret(SECRET).quirk(Quirk::ThinkTime(Duration::from_millis(20)));
    let fleet = Fleet::builder().device(device).start().await.unwrap();
    let found = detector().detect(&target(&fleet.devices()[0])).await.unwrap();
    assert_eq!(found.platform().unwrap().name, "cisco_ios");
}

#[tokio::test]
async fn a_rejected_password_is_an_error_and_tried_once() {
    let fleet = Fleet::builder().device(SimDevice::cisco_ios("sw1")).start().await.unwrap();
    let mut target = target(&fleet.devices()[0]);
    target.login.password = Some(SecretString::from("wrong"));
    assert_eq!(detector().detect(&target).await.unwrap_err().kind(), ErrorKind::AuthRejected);
}

pub(crate) fn recording(opening: &str, answers: &[(&str, &str)]) -> Recording {
    let mut text = format!("recording = 1\nopening = {opening:?}\n");
    for (send, receive) in answers {
        text.push_str(&format!("[[step]]\nsend = {:?}\nreceive = {:?}\n", format!("{send}\n"), receive));
    }
    Recording::parse(&text).unwrap()
}

pub(crate) async fn recognised(recording: Recording) -> devicevault_collectors::Recognition {
    let dialer = RecordedDialer::new(recording);
    Detector::new(Arc::new(PlatformSet::built_in()), Arc::new(dialer)).detect(&Recording::target()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn what_nothing_speaks_for_is_not_guessed() {
    let found = recognised(recording("\nsw1#", &[("show version", "show version\nAcme OS 1.0\nsw1#")])).await;
    assert!(found.candidates.is_empty() && found.platform().is_none(), "{found:?}");
    assert!(found.asked.len() <= 3, "{found:?}");
    let e = found.into_platform().unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unsupported);
    assert!(e.hint_text().unwrap().contains("platform new"), "{e:?}");
}

#[tokio::test(start_paused = true)]
async fn relatives_are_told_apart() {
    for (opening, command, answer, platform) in [
        ("\nfw # ", "get system status", "Version: FortiGate-60F v7.4.1,build1\n", "fortinet_fortios"),
        (
            "\nfmg # ",
            "get system status",
            "Platform Full Name              : FortiManager-VM64\n",
            "fortinet_fortimanager",
        ),
        ("\n<sw>", "display version", "HPE Comware Software, Version 7.1\n", "hp_comware"),
        ("\n<sw>", "display version", "Huawei Versatile Routing Platform Software\n", "huawei_vrp"),
        ("\nA:sr1# ", "show version", "TiMOS-C-20.10.R1 cpm/x86_64 Nokia 7750 SR\n", "nokia_sros"),
        ("\nA:admin@sr1# ", "show version", "TiMOS-C-20.10.R1 cpm/x86_64 Nokia 7750 SR\n", "nokia_sros_md"),
        ("\nRP/0/RSP0/CPU0:x#", "show version", "Cisco IOS XR Software, Version 7.5.2\n", "cisco_iosxr"),
        (
            "\nftd> ",
            "show version",
            "Model : Cisco Firepower 1010 Threat Defense\nCisco Adaptive Security Appliance Software Version 9.18\n",
            "cisco_ftd",
        ),
        ("\nx-> ", "show system", "  Description:  Alcatel-Lucent OS6860E-P48 8.7.98.R01 GA,\n", "alcatel_aos7"),
    ] {
        let prompt = opening.trim_start_matches('\n');
        let found = recognised(recording(opening, &[(command, &format!("{command}\n{answer}{prompt}"))])).await;
        assert_eq!(found.platform().map(|c| c.name.as_str()), Some(platform), "{found:?}");
    }
}

const ACME: &str = r#"
name = "acme"
title = "Acme OS"
comment = "!"
failure = ['^% Invalid']

[session]
prompt = '^[\w-]+[>#] ?$'
setup = ["terminal length 0"]

[logout]
command = "exit"

[[artefacts]]
name = "running-config"
commands = ["show config"]
end_marker = '^end$'
min_size = 5

[[artefacts]]
name = "inventory"
optional = true
commands = ["show version", { run = "show modules", optional = true }]

[[volatile]]
line = '^! saved at'

[[secrets]]
line = '^user \S+ hash (?<secret>\S+)'
"#;

const CONFIG: &str = "! saved at 10:00\r\nhostname rtr-1\r\nuser joe hash 8a7b6c5d\r\ninterface e1\r\nend\r\n";

fn acme() -> Arc<Platform> {
    Platform::parse(ACME, &PlatformSource::BuiltIn).unwrap()
}

fn device() -> Replay {
    let text = |t: &str| vec![Piece::Text(t.as_bytes().to_vec())];
    let page = Piece::Pager(b" --More-- ".to_vec(), b"\r          \r".to_vec());
    let (head, tail) = CONFIG.split_at(34);
    Replay::new("rtr-1#")
        .greeting(text("\r\nwelcome\r\n"))
        .answer("terminal length 0", vec![])
        .answer("show config", vec![Piece::Text(head.into()), page, Piece::Text(tail.into())])
        .answer("show version", text("Acme OS 1.0\r\npassword hunter2secret\r\n"))
}

fn login() -> Target {
    let mut target = Recording::target();
    target.login.password = Some(SecretString::from("hunter2secret"));
    target.login.enable = None;
    target
}

#[tokio::test(start_paused = true)]
async fn a_trial_tells_what_would_be_kept_left_out_and_masked() {
    let trial = Trial::run(&acme(), Arc::new(ReplayDialer::new(device())), &login()).await.unwrap();
    assert!(trial.is_good(), "{trial:?}");
    let config = &trial.artefacts[0];
    assert!(matches!(config.state, TriedState::Whole));
    assert_eq!(config.text, CONFIG.replace("\r\n", "\n"));
    let changes: Vec<_> = config.changed.iter().map(|c| (c.number, c.change)).collect();
    assert_eq!(changes, [(1, Change::LeftOut), (3, Change::Masked)]);
    assert!(!config.changed[1].text.contains("8a7b6c5d"));
    let step = trial.exchanges.iter().find(|e| e.typed == "show config").unwrap();
    assert_eq!((step.role, step.pages), ("command", 1));
    assert!(matches!(step.ended, EndedBy::EmptyLine | EndedBy::EndMarker), "{step:?}");
    assert_eq!((step.first_line.as_str(), step.last_line.as_str()), ("! saved at 10:00", "end"));
    let setup = trial.exchanges.iter().find(|e| e.role == "setup").unwrap();
    assert_eq!((setup.typed.as_str(), setup.ended), ("terminal length 0", EndedBy::Prompt));
    // A secret of the login is shown nowhere.
    assert!(!format!("{:?}", trial.exchanges).contains("hunter2secret"));
}

#[tokio::test(start_paused = true)]
async fn a_trial_of_a_wrong_platform_says_so() {
    let wrong = ACME.replace("show config", "show nothing").replace("'^end$'", "'^finish$'");
    let wrong = Platform::parse(&wrong, &PlatformSource::BuiltIn).unwrap();
    let trial = Trial::run(&wrong, Arc::new(ReplayDialer::new(device())), &login()).await.unwrap();
    assert!(!trial.is_good());
    assert!(matches!(trial.artefacts[0].state, TriedState::Failed(_)));
    let cut = Platform::parse(&ACME.replace("'^end$'", "'^finish$'"), &PlatformSource::BuiltIn).unwrap();
    let trial = Trial::run(&cut, Arc::new(ReplayDialer::new(device())), &login()).await.unwrap();
    assert!(!trial.is_good() && trial.artefacts[0].suspect[0].contains("end marker"), "{:?}", trial.artefacts[0]);
    let lost = Platform::parse(&ACME.replace("[>#] ?$", "@ $"), &PlatformSource::BuiltIn).unwrap();
    let trial = Trial::run(&lost, Arc::new(ReplayDialer::new(device())), &login()).await.unwrap();
    assert!(trial.error.is_some() && matches!(trial.artefacts[0].state, TriedState::Absent));
}

#[tokio::test(start_paused = true)]
async fn a_recording_has_no_secret_and_plays_the_same_session() {
    let first = Trial::run(&acme(), Arc::new(ReplayDialer::new(device())), &login()).await.unwrap();
    let mut recording = Recording::taken_from(&first.tape, &login().login).unwrap();
    let mut disguise = Disguise::new().unwrap();
    disguise.apply(&mut recording, Some(&acme()));
    assert!(disguise.suspicions(&recording).is_empty());
    let text = recording.to_text();
    for secret in ["hunter2secret", "8a7b6c5d"] {
        assert!(!text.contains(secret), "{text}");
    }
    assert!(text.contains("password <password>"), "{text}");
    let again = Recording::parse(&text).unwrap();
    assert_eq!(again, recording_without_fractions(recording));
    let dialer = RecordedDialer::new(again);
    let second = Trial::run(&acme(), Arc::new(dialer.clone()), &Recording::target()).await.unwrap();
    assert!(second.is_good(), "{second:?}");
    assert_eq!(dialer.missing(), ["show modules"; 0]);
    for (a, b) in first.artefacts.iter().zip(&second.artefacts) {
        let lines = |t: &[u8]| t.split(|b| *b == b'\n').count();
        assert_eq!(lines(&a.text), lines(&b.text), "{}", a.info.name);
        let changes = |t: &devicevault_collectors::TriedArtefact| {
            t.changed.iter().map(|c| (c.number, c.change)).collect::<Vec<_>>()
        };
        assert_eq!(changes(a), changes(b));
    }
}

/// Times in a file are of whole milliseconds.
fn recording_without_fractions(mut recording: Recording) -> Recording {
    for step in &mut recording.steps {
        for time in [&mut step.after, &mut step.took].into_iter().flatten() {
            *time = Duration::from_millis(u64::try_from(time.as_millis()).unwrap());
        }
    }
    recording
}

#[tokio::test(start_paused = true)]
async fn what_a_recording_does_not_know_is_listed() {
    let dialer = RecordedDialer::new(recording("\nrtr-1#", &[("show config", "show config\nhostname a\nend\nrtr-1#")]));
    let trial = Trial::run(&acme(), Arc::new(dialer.clone()), &Recording::target()).await.unwrap();
    assert!(trial.is_good(), "{trial:?}");
    assert_eq!(dialer.missing(), ["terminal length 0", "show version"]);
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_is_too_short_to_be_found_is_not_recorded() {
    let mut target = login();
    let trial = Trial::run(&acme(), Arc::new(ReplayDialer::new(device())), &target).await.unwrap();
    target.login.password = Some(SecretString::from("abc"));
    assert_eq!(Recording::taken_from(&trial.tape, &target.login).unwrap_err().kind(), ErrorKind::Config);
}

#[test]
fn recordings_that_are_none_are_refused_with_the_place() {
    for (text, told) in [
        ("", "recording"),
        ("recording = 2", "version: 2"),
        ("recording = 1\n[[step]]\nreceive = \"x\"", "step: 1"),
        ("recording = 1\n[[step]]\nsend = \"a\"\nexec = \"b\"", "step: 1"),
        ("recording = 1\nline_end = \"x\"", "line_end"),
        ("recording = 1\nlatin1 = true\nopening = \"→\"", "U+00FF"),
        ("recording = 1\nopening = 7", "line: 2"),
    ] {
        let e = Recording::parse(text).unwrap_err();
        assert!(e.to_string().contains(told), "{told}: {e}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_draft_is_a_platform_that_keeps_the_configuration() {
    let config: String = (0..20).map(|i| format!("interface e{i}\r\n description port {i}\r\n")).collect();
    let config = format!("! saved at 10:00\r\nhostname rtr-1\r\n{config}snmp-server community s3cr3t RO\r\nend\r\n");
    let text = |t: &str| vec![Piece::Text(t.as_bytes().to_vec())];
    let device = Replay::new("rtr-1# ")
        .answer("terminal length 0", vec![])
        .answer("show running-config", text(&config))
        .answer("show version", text("Acme OS 1.0\r\n"));
    let dialer = Arc::new(ReplayDialer::new(device));
    let target = Recording::target();
    let draft = Draft::of_device("acme", None, dialer.clone(), &target).await.unwrap();
    assert!(
        draft.text.contains("setup = ['terminal length 0']") && draft.text.contains("end_marker = '^end$'"),
        "{}",
        draft.text
    );
    assert!(draft.text.contains("failure = ['^% Invalid input detected at']"), "{}", draft.text);
    assert!(!draft.text.contains("s3cr3t"), "{}", draft.text);
    let trial = Trial::run(&draft.platform, dialer, &target).await.unwrap();
    assert!(trial.is_good(), "{trial:?}\n{}", draft.text);
    assert_eq!(trial.artefacts[0].text, config.replace("\r\n", "\n"));
    assert!(trial.artefacts[0].changed.iter().any(|c| c.change == Change::Masked));

    let ios = PlatformSet::built_in().get("cisco_ios").unwrap();
    let recording = Recording::taken_from(&trial.tape, &target.login).unwrap();
    let draft = Draft::of_recording("acme_ios", Some(&ios), recording).await.unwrap();
    assert_eq!(draft.platform.name(), "acme_ios");
    assert!(!draft.text.contains("[detect]") && draft.text.contains("It begins as cisco_ios"), "{}", draft.text);
}

#[tokio::test(start_paused = true)]
async fn every_platform_can_be_the_beginning_of_another() {
    let recording = recording("\nsw1#", &[("show version", "show version\nAcme OS 1.0\nsw1#")]);
    for platform in PlatformSet::built_in().list() {
        let platform = platform.unwrap();
        let draft = Draft::of_recording("mine", Some(&platform), recording.clone()).await.unwrap();
        assert_eq!(draft.platform.name(), "mine", "{}", platform.name());
    }
}
