//! The collector keeps what its trait promises.

use std::sync::Arc;
use std::time::Duration;

use devicevault_collectors::{CliCollector, PlatformSet, SshDialer};
use devicevault_core::{Device, Login, Result, SecretString, StepLimits, Target};
use devicevault_ssh::HostKeysInMemory;
use devicevault_testkit::conformance::{self, Situation, Subject};
use devicevault_testkit::sim::{Fleet, Quirk, SimDevice};

async fn subject(situation: Situation, platform: &str, command: &str) -> Result<Option<Subject>> {
    let mut simulated = SimDevice::of_platform(platform, "dev-1").unwrap().size(20_000);
    match situation {
        Situation::CutOff => simulated = simulated.quirk(Quirk::CutOff { command: command.to_owned(), after: 4000 }),
        Situation::Stalled => simulated = simulated.quirk(Quirk::Stall { command: command.to_owned(), after: 4000 }),
        _ => {}
    }
    let fleet = Fleet::builder().device(simulated).start().await?;
    let device = &fleet.devices()[0];
    let mut wanted = Device::new("dev-1", "dev-1", device.addr().ip().to_string(), platform);
    wanted.port = Some(device.addr().port());
    let mut login = Login::default();
    login.username = device.username().to_owned();
    let wrong = situation == Situation::WrongPassword;
    login.password = Some(SecretString::from(if wrong { "not-the-password".to_owned() } else { device.password() }));
    let mut limits = StepLimits::default();
    limits.inactivity = Duration::from_secs(2);
    limits.command = Duration::from_millis(900);
    let content = device.exec_answer(command).or_else(|| device.answer(command)).unwrap();
    // A terminal's line ends are the terminal's; a command's output is kept as it is.
    let shell = platform == "cisco_ios";
    let text = String::from_utf8_lossy(&content).replace("\r\n", "\n");
    let content = if shell { text } else { text.replace('\n', "\r\n") };
    let dialer = SshDialer::new(Arc::new(HostKeysInMemory::default()));
    let collector = CliCollector::new(Arc::new(PlatformSet::built_in()), Arc::new(dialer));
    let subject = Subject::new(Arc::new(collector), Target::new(wanted, login).with_limits(limits));
    Ok(Some(subject.with_content("running-config", content).holding(fleet)))
}

#[tokio::test]
async fn over_a_shell() {
    let scene = async |s: Situation| subject(s, "cisco_ios", "show running-config").await;
    conformance::collector(scene).await.assert();
}

#[tokio::test]
async fn over_exec() {
    let scene = async |s: Situation| subject(s, "mikrotik_routeros", "/export show-sensitive").await;
    conformance::collector(scene).await.assert();
}
