//! Over real SSH, with simulated devices of each platform.

use std::sync::Arc;
use std::time::Duration;

use devicevault_collectors::{CliCollector, PlatformSet, SshDialer};
use devicevault_core::text::LineEnds;
use devicevault_core::{Collector as _, Device, ErrorKind, Login, NoteLevel, Result, SecretString, StepLimits, Target};
use devicevault_ssh::HostKeysInMemory;
use devicevault_testkit::recording::RecordingSink;
use devicevault_testkit::sim::{Fleet, Quirk, SimDevice, Simulated};

const PLATFORMS: [&str; 5] = ["cisco_ios", "juniper_junos", "mikrotik_routeros", "frr", "linux"];
const SECRET: &str = "letMeConfigure";

pub(crate) fn collector() -> CliCollector {
    let dialer = SshDialer::new(Arc::new(HostKeysInMemory::default()));
    CliCollector::new(Arc::new(PlatformSet::built_in()), Arc::new(dialer))
}

pub(crate) fn target(device: &Simulated) -> Target {
    let mut wanted = Device::new(device.name(), device.name(), device.addr().ip().to_string(), device.platform());
    wanted.port = Some(device.addr().port());
    let mut login = Login::default();
    login.username = device.username().to_owned();
    login.password = Some(SecretString::from(device.password()));
    login.enable = Some(SecretString::from(SECRET));
    let mut limits = StepLimits::default();
    limits.inactivity = Duration::from_secs(6);
    Target::new(wanted, login).with_limits(limits)
}

pub(crate) async fn one(device: SimDevice) -> (Fleet, Result<RecordingSink>) {
    let fleet = Fleet::builder().device(device).start().await.unwrap();
    let taken = take(&fleet.devices()[0]).await;
    (fleet, taken)
}

async fn take(device: &Simulated) -> Result<RecordingSink> {
    let mut sink = RecordingSink::new();
    collector().collect(&target(device), &mut sink).await?;
    assert!(sink.violations().is_empty(), "{:?}", sink.violations());
    Ok(sink)
}

/// The configuration as the pipeline would keep it.
pub(crate) fn config(sink: &RecordingSink) -> Vec<u8> {
    let artefact = sink.artefacts().into_iter().find(|a| a.info.mandatory).unwrap();
    let content = sink.content(&artefact.info.name).unwrap_or_else(|| panic!("not ended; notes {:?}", sink.notes()));
    let (mut ends, mut out) = (LineEnds::default(), bytes::BytesMut::new());
    ends.push(&content, &mut out);
    ends.finish(&mut out);
    out.to_vec()
}

pub(crate) fn suspect(sink: &RecordingSink) -> bool {
    sink.notes().iter().any(|n| n.level == NoteLevel::Suspect)
}

/// What the device would print for the command that the platform asks with.
pub(crate) fn truth(device: &Simulated) -> Vec<u8> {
    let platform = PlatformSet::built_in().get(device.platform()).unwrap();
    let artefact = platform.artefacts().find(|a| a.mandatory).unwrap().name.clone();
    let command = platform.commands(&artefact).next().unwrap().to_owned();
    let answer = device.exec_answer(&command).or_else(|| device.answer(&command));
    let text = answer.unwrap_or_else(|| panic!("{} knows no '{command}'", device.platform()));
    String::from_utf8_lossy(&text).replace("\r\n", "\n").into_bytes()
}

pub(crate) fn same(device: &Simulated, sink: &RecordingSink, what: &str) {
    let (got, want) = (config(sink), truth(device));
    assert!(
        got == want || suspect(sink),
        "{} {what}: {} bytes for {}; notes {:?}\n{}",
        device.platform(),
        got.len(),
        want.len(),
        sink.notes(),
        first_difference(&got, &want)
    );
}

fn first_difference(got: &[u8], want: &[u8]) -> String {
    let at = got.iter().zip(want).position(|(a, b)| a != b).unwrap_or(got.len().min(want.len()));
    let near = |t: &[u8]| t[at.saturating_sub(40)..(at + 40).min(t.len())].escape_ascii().to_string();
    format!("got  {}\nwant {}", near(got), near(want))
}

#[tokio::test]
async fn every_platform_gives_its_configuration() {
    for platform in PLATFORMS {
        let (fleet, taken) = one(SimDevice::of_platform(platform, "dev-1").unwrap().size(30_000)).await;
        let sink = taken.unwrap_or_else(|e| panic!("{platform}: {e:?}"));
        if platform != "linux" {
            same(&fleet.devices()[0], &sink, "plain");
        }
        assert!(!suspect(&sink), "{platform}: {:?}", sink.notes());
        assert!(sink.notes().iter().all(|n| n.level == NoteLevel::Info), "{platform}: {:?}", sink.notes());
    }
}

#[tokio::test]
async fn misbehaviour_gives_a_whole_text_or_a_suspect_one() {
    let quirks = [
        vec![Quirk::Pieces { bytes: 7, pause: Duration::ZERO }],
        vec![Quirk::SlowPrompt(Duration::from_millis(300))],
        vec![Quirk::PagerAlways],
        vec![Quirk::PromptLookalikes],
        vec![Quirk::PromptLookalikes, Quirk::Pieces { bytes: 400, pause: Duration::from_millis(5) }],
        vec![Quirk::OwnPromptInText(Duration::from_millis(40))],
        vec![Quirk::OwnPromptInText(Duration::from_millis(400))],
        vec![Quirk::OwnPromptInText(Duration::from_millis(1500))],
        vec![Quirk::EchoAtOnce],
        vec![Quirk::EchoAtOnce, Quirk::OwnPromptInText(Duration::from_millis(200))],
        vec![Quirk::EchoWrapped(20)],
        vec![Quirk::NoEcho],
        vec![Quirk::AnsiStorm],
        vec![Quirk::AsksAtLogout],
        vec![Quirk::NeverLogsOut],
        vec![Quirk::KeyboardInteractiveOnly],
        vec![Quirk::ThinkTime(Duration::from_millis(30)), Quirk::PagerAlways],
    ];
    let visits = ["cisco_ios", "frr"].into_iter().flat_map(|platform| quirks.clone().map(|q| (platform, q)));
    let visits: Vec<_> = visits
        .map(|(platform, quirks)| {
            tokio::spawn(async move {
                let mut device = SimDevice::of_platform(platform, "dev-1").unwrap().size(8000);
                for quirk in &quirks {
                    device = device.quirk(quirk.clone());
                }
                let (fleet, taken) = one(device).await;
                let sink = taken.unwrap_or_else(|e| panic!("{platform} {quirks:?}: {e:?}"));
                same(&fleet.devices()[0], &sink, &format!("{quirks:?}"));
                let known =
                    quirks.iter().any(|q| matches!(q, Quirk::EchoWrapped(_) | Quirk::PagerAlways | Quirk::AnsiStorm));
                assert!(!known || !suspect(&sink), "{platform} {quirks:?}: {:?}", sink.notes());
            })
        })
        .collect();
    for visit in visits {
        visit.await.unwrap();
    }
}

#[tokio::test]
async fn enable_is_asked_for_and_a_wrong_secret_is_told() {
    let (fleet, taken) = one(SimDevice::cisco_ios("dev-1").enable_secret(SECRET)).await;
    let whole = String::from_utf8_lossy(&config(&taken.unwrap())).into_owned();
    let stored = String::from_utf8_lossy(&fleet.devices()[0].config()).replace("\r\n", "\n");
    assert!(whole.contains(&stored), "{whole}");
    let (_fleet, taken) = one(SimDevice::cisco_ios("dev-1").enable_secret("another")).await;
    let e = taken.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::AuthRejected);
    assert!(!format!("{e:?}").contains(SECRET));
}

#[tokio::test]
async fn old_equipment_is_reached_by_its_profile_and_told_of_otherwise() {
    for (quirk, profile) in [(Quirk::LegacyAlgorithms, "legacy"), (Quirk::AncientAlgorithms, "ancient")] {
        let fleet = Fleet::builder().device(SimDevice::cisco_ios("dev-1").quirk(quirk)).start().await.unwrap();
        let device = &fleet.devices()[0];
        let e = take(device).await.unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Unsupported);
        assert!(e.hint_text().unwrap().contains(profile), "{e:?}");
        let mut target = target(device);
        target.device.options.insert("ssh.profile".into(), profile.into());
        let mut sink = RecordingSink::new();
        collector().collect(&target, &mut sink).await.unwrap();
        same(device, &sink, profile);
    }
}

#[tokio::test]
async fn a_device_that_exchanges_keys_by_ml_kem_alone_is_reached() {
    let (fleet, taken) = one(SimDevice::cisco_ios("dev-1").quirk(Quirk::PostQuantum)).await;
    same(&fleet.devices()[0], &taken.unwrap(), "post-quantum");
}

#[tokio::test]
async fn a_wrong_password_and_a_changed_host_key_are_refused() {
    let fleet = Fleet::builder().device(SimDevice::cisco_ios("dev-1")).start().await.unwrap();
    let device = &fleet.devices()[0];
    let mut wrong = target(device);
    wrong.login.password = Some(SecretString::from("not-the-password"));
    let e = collector().collect(&wrong, &mut RecordingSink::new()).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::AuthRejected);
    assert!(!format!("{e:?}").contains("not-the-password"));

    let keeper = collector();
    keeper.collect(&target(device), &mut RecordingSink::new()).await.unwrap();
    let before = device.fingerprint();
    device.change_host_key();
    let e = keeper.collect(&target(device), &mut RecordingSink::new()).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::HostKeyRejected);
    let text = e.to_string();
    assert!(text.contains(&before) && text.contains(&device.fingerprint()), "{text}");
}

#[tokio::test]
async fn cut_stalled_and_endless_answers_end_in_an_error_that_names_the_command() {
    let command = "show running-config".to_owned();
    for (quirk, kind) in [
        (Quirk::CutOff { command: command.clone(), after: 5000 }, ErrorKind::Incomplete),
        (Quirk::Stall { command: command.clone(), after: 5000 }, ErrorKind::Timeout),
    ] {
        let fleet =
            Fleet::builder().device(SimDevice::cisco_ios("dev-1").size(20_000).quirk(quirk)).start().await.unwrap();
        let mut target = target(&fleet.devices()[0]);
        target.limits.inactivity = Duration::from_millis(600);
        let mut sink = RecordingSink::new();
        let e = collector().collect(&target, &mut sink).await.unwrap_err();
        assert_eq!(e.kind(), kind);
        assert!(e.to_string().contains(&command), "{e}");
        assert!(sink.content("running-config").is_none());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_megabytes_take_less_than_the_bar() {
    let (fleet, _) = one(SimDevice::cisco_ios("dev-1").size(5_000_000)).await;
    let device = &fleet.devices()[0];
    let mut sink = RecordingSink::new().wanting(["running-config"]);
    let started = tokio::time::Instant::now();
    collector().collect(&target(device), &mut sink).await.unwrap();
    let took = started.elapsed();
    same(device, &sink, "5 MB");
    assert!(took < Duration::from_secs(10), "{took:?}: even without optimisation it is far below this");
}
