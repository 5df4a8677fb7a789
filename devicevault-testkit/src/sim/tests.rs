//! Simulated devices as a client meets them.

use std::sync::Arc;
use std::time::Duration;

use russh::client::{self, AuthResult, Handle, KeyboardInteractiveAuthResponse};
use russh::{Channel, ChannelMsg, Preferred, cipher, kex, mac};

use super::{Fleet, PASSWORD, Quirk, SimDevice, Simulated, USERNAME};

struct Client;

impl client::Handler for Client {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _key: &russh::keys::PublicKeyOrCertificate) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

async fn connect_with(device: &Simulated, config: client::Config) -> Result<Handle<Client>, russh::Error> {
    client::connect(Arc::new(config), device.addr(), Client).await
}

async fn login(device: &Simulated) -> Handle<Client> {
    let mut session = connect_with(device, client::Config::default()).await.unwrap();
    assert!(session.authenticate_password(USERNAME, PASSWORD).await.unwrap().success());
    session
}

/// A shell on a terminal of 200 columns.
struct Shell {
    channel: Channel<client::Msg>,
    _session: Handle<Client>,
    seen: Vec<u8>,
    closed: bool,
}

impl Shell {
    async fn open(device: &Simulated, rows: u32) -> Self {
        let session = login(device).await;
        let channel = session.channel_open_session().await.unwrap();
        channel.request_pty(true, "vt100", 200, rows, 0, 0, &[]).await.unwrap();
        channel.request_shell(true).await.unwrap();
        Self { channel, _session: session, seen: Vec::new(), closed: false }
    }

    async fn type_in(&self, text: &str) {
        self.channel.data_bytes(text.as_bytes().to_vec()).await.unwrap();
    }

    /// Reads until what was seen ends so, and returns it.
    async fn until(&mut self, end: &str) -> String {
        let wait = async { while !self.seen.ends_with(end.as_bytes()) && self.more().await {} };
        let waited = tokio::time::timeout(Duration::from_secs(10), wait).await;
        let seen = String::from_utf8_lossy(&std::mem::take(&mut self.seen)).into_owned();
        assert!(waited.is_ok() && seen.ends_with(end), "waited for {end:?}, saw {seen:?}");
        seen
    }

    async fn more(&mut self) -> bool {
        match self.channel.wait().await {
            Some(ChannelMsg::Data { data }) => self.seen.extend_from_slice(&data),
            Some(ChannelMsg::Close) | None => self.closed = true,
            Some(_) => {}
        }
        !self.closed
    }

    async fn until_closed(&mut self) -> String {
        tokio::time::timeout(Duration::from_secs(10), async { while self.more().await {} }).await.unwrap();
        String::from_utf8_lossy(&std::mem::take(&mut self.seen)).into_owned()
    }
}

async fn exec(device: &Simulated, command: &str) -> (Vec<u8>, Option<u32>) {
    let session = login(device).await;
    let mut channel = session.channel_open_session().await.unwrap();
    channel.exec(true, command).await.unwrap();
    let (mut out, mut status) = (Vec::new(), None);
    while let Some(message) = channel.wait().await {
        match message {
            ChannelMsg::Data { data } => out.extend_from_slice(&data),
            ChannelMsg::ExitStatus { exit_status } => status = Some(exit_status),
            ChannelMsg::Failure => break,
            _ => {}
        }
    }
    (out, status)
}

async fn one(device: SimDevice) -> Fleet {
    Fleet::builder().device(device).start().await.unwrap()
}

fn crlf(text: &[u8]) -> String {
    String::from_utf8_lossy(text).replace('\n', "\r\n")
}

#[tokio::test]
async fn a_switch_is_talked_to_in_its_shell() {
    let fleet = one(SimDevice::cisco_ios("sw1").enable_secret("enable-me").size(20_000)).await;
    let device = &fleet.devices()[0];
    let mut shell = Shell::open(device, 24).await;
    assert_eq!(shell.until("sw1>").await, "\r\nAuthorised use only. Sessions are recorded.\r\n\r\nsw1>");
    shell.type_in("terminal length 0\r").await;
    assert_eq!(shell.until("sw1>").await, "terminal length 0\r\nsw1>");
    shell.type_in("show running-config\r").await;
    assert!(shell.until("sw1>").await.contains("% Invalid input"));
    shell.type_in("enable\r").await;
    assert_eq!(shell.until("Password: ").await, "enable\r\nPassword: ");
    shell.type_in("wrong\r").await;
    assert_eq!(shell.until("Password: ").await, "\r\nPassword: ");
    shell.type_in("enable-me\r").await;
    assert_eq!(shell.until("sw1#").await, "\r\nsw1#");
    shell.type_in("\r").await;
    assert_eq!(shell.until("sw1#").await, "\r\nsw1#");
    shell.type_in("show running-config\r\n").await;
    let want = crlf(&device.answer("show running-config").unwrap());
    assert_eq!(shell.until("sw1#").await, format!("show running-config\r\n{want}sw1#"));
    assert!(device.change_line("hostname", "hostname changed"));
    shell.type_in("sh run\n").await;
    assert!(shell.until("sw1#").await.contains("\r\nhostname changed\r\n"));
    shell.type_in("exit\r").await;
    assert_eq!(shell.until_closed().await, "exit\r\n");
    let stats = fleet.stats();
    assert_eq!((stats.logins, stats.shells, stats.commands, stats.enable_attempts), (1, 1, 6, 2));
    assert_eq!(device.commands()[0], "terminal length 0");
    assert!(!device.commands().iter().any(|c| c.contains("enable-me")));
}

#[tokio::test]
async fn a_line_is_edited_as_it_is_typed() {
    let fleet = one(SimDevice::cisco_ios("sw1")).await;
    let mut shell = Shell::open(&fleet.devices()[0], 24).await;
    shell.until("sw1#").await;
    shell.type_in("xx\x08\x7fshow nothing\x17\x15sho\u{3}").await;
    assert!(shell.until("^C\r\nsw1#").await.starts_with("xx\x08 \x08\x08 \x08show nothing"));
    shell.type_in("garbage\x15terminal length 0\r\n\r\n").await;
    assert!(shell.until("sw1#\r\nsw1#").await.contains("terminal length 0\r\n"));
    // Everything at once, typed ahead.
    shell.type_in("terminal width 0\rshow inventory\rexit\r").await;
    let all = shell.until_closed().await;
    assert!(all.contains("sw1#show inventory\r\nNAME:") && all.ends_with("sw1#exit\r\n"), "{all}");
    assert_eq!(fleet.devices()[0].commands()[0], "terminal length 0");
}

#[tokio::test]
async fn texts_come_in_pages_until_told_otherwise() {
    let fleet = one(SimDevice::cisco_ios("sw1").size(3000)).await;
    let device = &fleet.devices()[0];
    let want = crlf(&device.answer("show running-config").unwrap());
    let mut shell = Shell::open(device, 24).await;
    shell.until("sw1#").await;
    shell.type_in("show running-config\r").await;
    let first = shell.until(" --More-- ").await;
    assert_eq!(first.matches("\r\n").count(), 1 + 23);
    let mut text = first.strip_prefix("show running-config\r\n").unwrap().to_owned();
    shell.type_in("\r").await;
    text += &shell.until(" --More-- ").await;
    loop {
        shell.type_in(" ").await;
        while !shell.seen.ends_with(b"sw1#") && !shell.seen.ends_with(b" --More-- ") && shell.more().await {}
        let page = String::from_utf8(std::mem::take(&mut shell.seen)).unwrap();
        text += &page;
        if page.ends_with("sw1#") {
            break;
        }
    }
    let (back, blanks) = ("\x08".repeat(10), " ".repeat(10));
    let shown = text.replace(&format!(" --More-- {back}{blanks}{back}"), "");
    assert_eq!(shown, format!("{want}sw1#"));
    shell.type_in("show running-config\r").await;
    shell.until(" --More-- ").await;
    shell.type_in("q").await;
    shell.until("sw1#").await;
    shell.type_in("terminal length 0\rshow running-config\r").await;
    shell.until("\r\nend\r\n\r\nsw1#").await;
    device.set_quirks([Quirk::PagerAlways]);
    let mut shell = Shell::open(device, 24).await;
    shell.until("sw1#").await;
    shell.type_in("terminal length 0\rshow running-config\r").await;
    shell.until(" --More-- ").await;
}

#[tokio::test]
async fn commands_run_without_a_shell() {
    let fleet = Fleet::builder()
        .devices(
            ["cisco_ios", "juniper_junos", "mikrotik_routeros", "linux"]
                .map(|p| SimDevice::of_platform(p, "x1").unwrap()),
        )
        .device(SimDevice::frr("r1"))
        .start()
        .await
        .unwrap();
    let commands = [
        "show running-config",
        "show configuration | display omit",
        "/export show-sensitive",
        "cat /etc/network/interfaces",
    ];
    for (device, command) in fleet.devices().iter().zip(commands) {
        let (out, status) = exec(device, command).await;
        let want = device.exec_answer(command).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap().replace("\r\n", "\n").as_bytes(),
            &want[..],
            "{}",
            device.platform()
        );
        assert!(want.len() > 1000);
        assert_eq!(status, Some(0));
        let (out, status) = exec(device, "no-such-command").await;
        assert!(!out.is_empty() && (status != Some(0) || device.platform() == "cisco_ios"));
    }
    let script = "for f in /etc/hostname /etc/nothing /etc/hosts; do if [ -f \"$f\" ]; then cat \"$f\"; fi; done; true";
    let (out, _) = exec(&fleet.devices()[3], script).await;
    assert!(out.starts_with(b"# /etc/hostname\nx1\n\n# /etc/hosts\n"));
    assert_eq!(exec(fleet.device("r1").unwrap(), "show running-config").await, (Vec::new(), None));
    let mut shell = Shell::open(fleet.device("r1").unwrap(), 0).await;
    shell.until("r1# ").await;
    shell.type_in("terminal length 0\nshow running-config\n").await;
    shell.until("\r\nend\r\nr1# ").await;
}

#[tokio::test]
async fn passwords_keys_and_questions_are_checked_and_counted() {
    let key = super::keys::ed25519("somebody", 1);
    let line = key.public_key().to_openssh().unwrap();
    let fleet = one(SimDevice::linux("host1").authorized_key(line).ssh_banner("Keep out.\n")).await;
    let device = &fleet.devices()[0];
    let mut session = connect_with(device, client::Config::default()).await.unwrap();
    assert!(!session.authenticate_password(USERNAME, "wrong").await.unwrap().success());
    assert!(!session.authenticate_password("nobody", PASSWORD).await.unwrap().success());
    let with = |key| russh::keys::PrivateKeyWithHashAlg::new(Arc::new(key), None);
    let stranger = super::keys::ed25519("stranger", 1);
    assert!(!session.authenticate_publickey(USERNAME, with(stranger)).await.unwrap().success());
    assert!(session.authenticate_publickey(USERNAME, with(key)).await.unwrap().success());
    assert_eq!((device.stats().password_attempts, device.stats().logins), (2, 1));
    device.set_password("another");
    let mut session = connect_with(device, client::Config::default()).await.unwrap();
    assert!(!session.authenticate_password(USERNAME, PASSWORD).await.unwrap().success());

    let fleet = one(SimDevice::linux("host2").quirk(Quirk::KeyboardInteractiveOnly)).await;
    let device = &fleet.devices()[0];
    let mut session = connect_with(device, client::Config::default()).await.unwrap();
    let refused = session.authenticate_password(USERNAME, PASSWORD).await.unwrap();
    assert!(matches!(refused, AuthResult::Failure { .. }));
    assert_eq!(device.stats().password_attempts, 0);
    let asked = session.authenticate_keyboard_interactive_start(USERNAME, None).await.unwrap();
    let KeyboardInteractiveAuthResponse::InfoRequest { prompts, .. } = asked else { panic!("{asked:?}") };
    assert_eq!(prompts[0].prompt, "Password: ");
    let answered = session.authenticate_keyboard_interactive_respond(vec![PASSWORD.to_owned()]).await.unwrap();
    assert!(matches!(answered, KeyboardInteractiveAuthResponse::Success));
}

#[tokio::test]
async fn a_host_key_is_the_devices_own_until_it_is_changed() {
    let make = || Fleet::builder().device(SimDevice::frr("r1")).device(SimDevice::frr("r2")).start();
    let (first, second) = (make().await.unwrap(), make().await.unwrap());
    let of = |fleet: &Fleet, i: usize| fleet.devices()[i].fingerprint();
    assert_eq!(of(&first, 0), of(&second, 0));
    assert_ne!(of(&first, 0), of(&first, 1));
    let before = of(&first, 0);
    first.devices()[0].change_host_key();
    assert_ne!(of(&first, 0), before);
    login(&first.devices()[0]).await;
}

#[tokio::test]
async fn old_algorithms_are_all_that_an_old_device_knows() {
    let old = |quirk| SimDevice::cisco_ios(format!("{quirk:?}")).quirk(quirk);
    let fleet = Fleet::builder()
        .device(old(Quirk::LegacyAlgorithms))
        .device(old(Quirk::AncientAlgorithms))
        .start()
        .await
        .unwrap();
    let offers = [(kex::DH_G14_SHA1, cipher::AES_128_CBC), (kex::DH_G1_SHA1, cipher::TRIPLE_DES_CBC)];
    for (device, (kex, cipher)) in fleet.devices().iter().zip(offers) {
        assert!(connect_with(device, client::Config::default()).await.is_err());
        let preferred = Preferred {
            kex: vec![kex].into(),
            cipher: vec![cipher].into(),
            mac: vec![mac::HMAC_SHA1].into(),
            key: vec![russh::keys::Algorithm::Rsa { hash: None }].into(),
            ..Preferred::default()
        };
        let config = client::Config { preferred, ..client::Config::default() };
        let mut session = connect_with(device, config).await.unwrap();
        assert!(session.authenticate_password(USERNAME, PASSWORD).await.unwrap().success());
    }
}

#[tokio::test]
async fn a_connection_is_cut_where_it_was_told() {
    let quirk = Quirk::CutOff { command: "show running-config".to_owned(), after: 1000 };
    let fleet = one(SimDevice::cisco_ios("sw1").quirk(quirk)).await;
    let mut shell = Shell::open(&fleet.devices()[0], 24).await;
    shell.until("sw1#").await;
    shell.type_in("terminal length 0\rshow run\r").await;
    let got = shell.until_closed().await;
    let text = got.split_once("show run\r\n").unwrap().1;
    let want = crlf(&fleet.devices()[0].answer("show running-config").unwrap());
    assert_eq!(text, &want[..1000]);
}

#[tokio::test]
async fn a_stalled_device_says_nothing_more_and_is_left() {
    let quirk = Quirk::Stall { command: "show version".to_owned(), after: 10 };
    let fleet = one(SimDevice::cisco_ios("sw1").quirk(quirk)).await;
    let mut shell = Shell::open(&fleet.devices()[0], 24).await;
    shell.until("sw1#").await;
    shell.type_in("show version\r").await;
    shell.until("Cisco IOS ").await;
    assert!(tokio::time::timeout(Duration::from_millis(100), shell.more()).await.is_err());
    drop(shell);
    let gone = async {
        while fleet.stats().open > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap();
}

#[tokio::test]
async fn an_endless_answer_goes_on_as_long_as_it_is_read() {
    let quirk = Quirk::Endless { command: "show version".to_owned() };
    let fleet = one(SimDevice::cisco_ios("sw1").quirk(quirk)).await;
    let mut shell = Shell::open(&fleet.devices()[0], 24).await;
    shell.until("sw1#").await;
    shell.type_in("terminal length 0\rshow version\r").await;
    while shell.seen.len() < 8 << 20 {
        assert!(shell.more().await);
    }
}

#[tokio::test]
async fn a_text_of_five_megabytes_comes_whole_and_in_pieces() {
    let fleet = one(SimDevice::juniper_junos("r1").size(5 << 20)).await;
    let device = &fleet.devices()[0];
    let (out, _) = exec(device, "show configuration").await;
    assert_eq!(out, device.exec_answer("show configuration").unwrap());
    device.set_quirks([Quirk::Pieces { bytes: 7, pause: Duration::ZERO }]);
    let (out, _) = exec(device, "show version").await;
    assert_eq!(out, device.exec_answer("show version").unwrap());
}

#[tokio::test]
async fn the_own_prompt_stands_in_the_text_and_the_text_pauses_behind_it() {
    let pause = Duration::from_millis(300);
    let fleet = one(SimDevice::cisco_ios("sw1").quirk(Quirk::OwnPromptInText(pause))).await;
    let mut shell = Shell::open(&fleet.devices()[0], 24).await;
    shell.until("sw1#").await;
    shell.type_in("terminal length 0\r").await;
    shell.until("sw1#").await;
    shell.type_in("show run\r").await;
    let first = shell.until("\r\nsw1#").await;
    assert!(!first.contains("\r\nend\r\n"));
    assert!(tokio::time::timeout(pause / 3, shell.more()).await.is_err());
    // Typed into the pause: it is read, and echoed, after the text.
    shell.type_in("\r").await;
    let rest = shell.until("\r\nend\r\n\r\nsw1#\r\nsw1#").await;
    let want = crlf(&fleet.devices()[0].answer("show running-config").unwrap());
    assert_eq!(format!("{first}{rest}"), format!("show run\r\n{want}sw1#\r\nsw1#"));
}

#[tokio::test]
async fn echo_comes_as_the_device_likes_it() {
    let fleet = one(SimDevice::frr("r1")).await;
    let device = &fleet.devices()[0];
    device.set_quirks([Quirk::NoEcho]);
    let mut shell = Shell::open(device, 24).await;
    shell.until("r1# ").await;
    shell.type_in("show version\r").await;
    assert!(shell.until("r1# ").await.starts_with("FRRouting"));

    device.set_quirks([Quirk::EchoWrapped(10)]);
    let mut shell = Shell::open(device, 24).await;
    shell.until("r1# ").await;
    shell.type_in("show version\r").await;
    assert!(shell.until("r1# ").await.starts_with("show v \rersion\r\nFRR"));

    device.set_quirks([Quirk::EchoAtOnce, Quirk::ThinkTime(Duration::from_millis(200))]);
    let mut shell = Shell::open(device, 24).await;
    shell.until("r1# ").await;
    shell.type_in("show version\r").await;
    shell.until("show version\r\n").await;
    shell.type_in("exit\r").await;
    let all = shell.until_closed().await;
    assert!(all.starts_with("exit\r\nFRRouting") && all.ends_with("r1# "), "{all}");
}

#[tokio::test]
async fn a_logout_may_ask_or_never_come() {
    let fleet = one(SimDevice::cisco_ios("sw1").quirk(Quirk::AsksAtLogout)).await;
    let mut shell = Shell::open(&fleet.devices()[0], 24).await;
    shell.until("sw1#").await;
    shell.type_in("exit\r").await;
    shell.until("[yes/no]: ").await;
    shell.type_in("no\r").await;
    shell.until_closed().await;
    fleet.devices()[0].set_quirks([Quirk::NeverLogsOut]);
    let mut shell = Shell::open(&fleet.devices()[0], 24).await;
    shell.until("sw1#").await;
    shell.type_in("exit\r").await;
    shell.until("exit\r\n").await;
    assert!(tokio::time::timeout(Duration::from_millis(100), shell.more()).await.is_err());
}

#[tokio::test]
async fn devices_end_with_their_fleet() {
    let fleet = one(SimDevice::cisco_ios("sw1")).await;
    let mut shell = Shell::open(&fleet.devices()[0], 24).await;
    shell.until("sw1#").await;
    let device = fleet.devices()[0].clone();
    drop(fleet);
    shell.until_closed().await;
    let refused = async {
        while connect_with(&device, client::Config::default()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), refused).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_devices_answer_at_once() {
    let devices = (0..100).map(|i| SimDevice::cisco_ios(format!("sw{i:03}")));
    let fleet = Arc::new(Fleet::builder().devices(devices).start().await.unwrap());
    let mut talks = tokio::task::JoinSet::new();
    for i in 0..100 {
        let fleet = fleet.clone();
        talks.spawn(async move {
            let device = &fleet.devices()[i];
            let (out, _) = exec(device, "show running-config").await;
            assert_eq!(String::from_utf8(out).unwrap(), crlf(&device.exec_answer("show running-config").unwrap()));
        });
    }
    talks.join_all().await;
    assert_eq!(fleet.stats().logins, 100);
}

#[tokio::test]
async fn whatever_is_typed_the_next_line_is_understood() {
    let fleet = one(SimDevice::cisco_ios("sw1")).await;
    let mut rng = fastrand::Rng::with_seed(7);
    for _ in 0..20 {
        let mut shell = Shell::open(&fleet.devices()[0], 24).await;
        shell.until("sw1#").await;
        // Everything but Ctrl-D, which leaves, and letters, which may be a command that does.
        let noise = (0..rng.usize(0..2000)).map(|_| rng.u8(..)).filter(|b| *b != 4 && !b.is_ascii_alphabetic());
        shell.channel.data_bytes(noise.collect::<Vec<u8>>()).await.unwrap();
        shell.type_in("\u{15}\rq\u{15}show inventory\r").await;
        shell.until("SN: SIM00000002\r\n\r\n\r\nsw1#").await;
    }
}
