//! Telnet with devices that are scripts over TCP: logins, refusals, and what a hostile one may try.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use devicevault_collectors::{CliCollector, PlatformSet, SshDialer, Transports};
use devicevault_core::{
    Collector as _, Device, Error, ErrorKind, Login, NoteLevel, Result, SecretString, StepLimits, Target,
};
use devicevault_ssh::HostKeysInMemory;
use devicevault_testkit::recording::{Ending, RecordingSink};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const PLATFORM: &str = r#"
name = "acme"
title = "Acme OS"
transport = "telnet"

[session]
prompt = '^[\w-]+[>#] ?$'

[enable]
command = "enable"
prompt = '# ?$'
password = '(?i)^(?:enable )?password: ?$'

[logout]
command = "exit"

[[artefacts]]
name = "config"
commands = ["show config"]
"#;

#[derive(Clone)]
enum Step {
    /// The device sends this.
    Send(Vec<u8>),
    /// It waits for a line that holds this.
    Await(&'static str),
    /// It says nothing for a while, as a slow line does.
    Pause,
    /// It reads and says nothing.
    Stall,
    /// It closes with unread bytes, which is a reset.
    Reset,
}
use Step::{Await, Pause, Reset, Send, Stall};

fn send(text: &str) -> Step {
    Send(text.replace('\n', "\r\n").into_bytes())
}

/// What devices were told, by connection.
type Heard = Arc<Mutex<Vec<Vec<u8>>>>;

async fn device(script: Vec<Step>, chunk: usize) -> (u16, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Heard::default();
    let all = heard.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            all.lock().unwrap().push(Vec::new());
            let index = all.lock().unwrap().len() - 1;
            tokio::spawn(play(stream, script.clone(), chunk, all.clone(), index));
        }
    });
    (port, heard)
}

async fn play(mut stream: TcpStream, script: Vec<Step>, chunk: usize, all: Heard, index: usize) {
    stream.set_nodelay(true).unwrap();
    let mut seen = 0;
    for step in script {
        match step {
            Send(bytes) => {
                for piece in bytes.chunks(chunk) {
                    if stream.write_all(piece).await.is_err() {
                        return;
                    }
                    if chunk < 100 {
                        tokio::task::yield_now().await;
                    }
                }
            }
            Await(text) => loop {
                let told = all.lock().unwrap()[index][seen..].to_vec();
                let found = (0..=told.len()).find(|at| told[*at..].starts_with(text.as_bytes()));
                let end = found.and_then(|at| told[at..].iter().position(|b| *b == b'\r').map(|e| at + e + 1));
                if let Some(end) = end {
                    seen += end;
                    break;
                }
                if !listen(&mut stream, &all, index).await {
                    return;
                }
            },
            Pause => tokio::time::sleep(Duration::from_millis(700)).await,
            Stall => while listen(&mut stream, &all, index).await {},
            Reset => {
                tokio::time::sleep(Duration::from_millis(20)).await;
                stream.set_zero_linger().unwrap();
                return;
            }
        }
    }
    let _ = stream.shutdown().await;
}

async fn listen(stream: &mut TcpStream, all: &Heard, index: usize) -> bool {
    let mut piece = [0; 1024];
    match stream.read(&mut piece).await {
        Ok(got @ 1..) => {
            all.lock().unwrap()[index].extend_from_slice(&piece[..got]);
            true
        }
        _ => false,
    }
}

async fn talk(port: u16, change: impl FnOnce(&mut Login)) -> (RecordingSink, Result<()>) {
    talk_within(Duration::from_secs(2), port, change).await
}

async fn talk_within(login_time: Duration, port: u16, change: impl FnOnce(&mut Login)) -> (RecordingSink, Result<()>) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("acme.toml"), PLATFORM).unwrap();
    let platforms = Arc::new(PlatformSet::built_in().with_folder(folder.path()).unwrap());
    let dialer = Transports::new(SshDialer::new(Arc::new(HostKeysInMemory::default())));
    let mut target = Device::new("d", "d", "127.0.0.1", "acme");
    target.port = Some(port);
    let mut login = Login::default();
    login.username = "backup".into();
    login.password = Some(SecretString::from("the-password"));
    login.enable = Some(SecretString::from("the-enable-secret"));
    change(&mut login);
    let mut limits = StepLimits::default();
    limits.login = login_time;
    limits.inactivity = Duration::from_secs(3);
    let mut sink = RecordingSink::new();
    let target = Target::new(target, login).with_limits(limits);
    let done = CliCollector::new(platforms, Arc::new(dialer)).collect(&target, &mut sink).await;
    (sink, done)
}

async fn fails(script: Vec<Step>) -> (Error, Vec<Vec<u8>>) {
    let (port, heard) = device(script, usize::MAX).await;
    let (sink, done) = talk(port, |_| {}).await;
    assert!(sink.violations().is_empty(), "{:?}", sink.violations());
    let e = done.unwrap_err();
    assert!(!format!("{e:?}").contains("the-password"), "{e:?}");
    let heard = heard.lock().unwrap().clone();
    (e, heard)
}

fn count(heard: &[Vec<u8>], text: &str) -> usize {
    heard.iter().map(|h| h.windows(text.len()).filter(|w| *w == text.as_bytes()).count()).sum()
}

/// What a real one negotiates when it begins.
const OPENING: &[u8] =
    b"\xff\xfd\x18\xff\xfd\x20\xff\xfd\x23\xff\xfd\x27\xff\xfb\x01\xff\xfb\x03\xff\xfd\x1f\xff\xfb\x05";

fn answers(login: Vec<Step>) -> Vec<Step> {
    let mut script = vec![Send(OPENING.to_vec())];
    script.extend(login);
    script.extend([
        Await(""),
        send("\nsw1>"),
        Await("enable"),
        send("enable\nPassword: "),
        Await("the-enable-secret"),
        send("\nsw1#"),
        Await(""),
        send("\nsw1#"),
        Await("show config"),
        send("show config\nhostname sw1\nsecret 255\nend\nsw1#"),
        Await(""),
        send("\nsw1#"),
        Await("exit"),
        send("exit\n"),
    ]);
    script
}

fn usual() -> Vec<Step> {
    vec![
        send("\nUser Access Verification\n\nUsername: "),
        Await("backup"),
        send("backup\nPassword: "),
        Await("the-password"),
        send("\nsw1>"),
    ]
}

#[tokio::test]
async fn a_login_by_prompts_in_pieces_of_any_size() {
    for chunk in [1, 2, 3, 7, usize::MAX] {
        let (port, heard) = device(answers(usual()), chunk).await;
        let (sink, done) = talk(port, |_| {}).await;
        done.unwrap_or_else(|e| panic!("{chunk}: {e:?}"));
        let config = sink.artefacts().into_iter().find(|a| a.info.name == "config").unwrap();
        assert!(matches!(config.ending, Ending::Ended), "{:?}", config.ending);
        assert_eq!(sink.content("config").unwrap(), "hostname sw1\nsecret 255\nend\n");
        assert!(sink.notes().iter().any(|n| n.level == NoteLevel::Warning && n.text.contains("clear text")));
        let heard = heard.lock().unwrap().clone();
        assert_eq!((heard.len(), count(&heard, "the-password"), count(&heard, "the-enable-secret")), (1, 1, 1));
        // The return key of a terminal that the device echoes.
        assert_eq!(count(&heard, "the-password\r\0"), 1);
    }
}

#[tokio::test]
async fn a_banner_of_a_megabyte_is_no_prompt() {
    let line = "* Authorised use only. login: none Password: none sw1> >>> #\n";
    let mut login = vec![send(&line.repeat((1 << 20) / line.len()))];
    login.extend(usual());
    let (port, _) = device(answers(login), usize::MAX).await;
    let (sink, done) = talk(port, |_| {}).await;
    done.unwrap();
    assert!(matches!(sink.artefacts()[0].ending, Ending::Ended));
}

/// A banner that stalls behind the word is no question: the password would go out as the user name.
#[tokio::test]
async fn a_password_is_typed_where_it_is_asked_for() {
    for (banner, rest) in [
        ("This system asks for your user name and password:", "\nUnauthorised access is prohibited.\n"),
        ("Never tell anybody your\npassword:", " it is yours.\n"),
        ("To change your own\nPassword: ", "call 4711.\n"),
    ] {
        let login = [vec![send(&format!("\n{banner}")), Pause, send(rest)], usual()].concat();
        let (port, heard) = device(answers(login), usize::MAX).await;
        let (_, done) = talk_within(Duration::from_secs(60), port, |_| {}).await;
        done.unwrap_or_else(|e| panic!("{banner}: {e:?}"));
        let heard = heard.lock().unwrap().clone();
        let said = String::from_utf8_lossy(&heard[0]).into_owned();
        let at = |text: &str| said.find(text).unwrap();
        assert!(at("backup") < at("the-password"), "{banner}: {said:?}");
        assert_eq!(count(&heard, "the-password"), 1, "{banner}");
    }
}

#[tokio::test]
async fn a_line_that_asks_for_a_password_alone_gets_it() {
    for question in ["Password: ", "Enter the password of the console line, then press the return key. Password: "] {
        let login =
            vec![send(&format!("\nUser Access Verification\n\n{question}")), Await("the-password"), send("\nsw1>")];
        let (port, heard) = device(answers(login), usize::MAX).await;
        let (_, done) = talk(port, |_| {}).await;
        done.unwrap_or_else(|e| panic!("{question}: {e:?}"));
        assert_eq!(count(&heard.lock().unwrap(), "the-password"), 1, "{question}");
    }
}

#[tokio::test]
async fn an_enable_that_asks_for_a_name_gets_its_own() {
    let mut script = answers(usual());
    let at = script.iter().position(|s| matches!(s, Await("the-enable-secret"))).unwrap();
    script[at - 1] = send("enable\nUsername: ");
    script.splice(at..at, [Await("boss"), send("boss\nPassword: ")]);
    let (port, _) = device(script, usize::MAX).await;
    let (_, done) = talk(port, |l| l.enable_username = Some("boss".into())).await;
    done.unwrap();
}

#[tokio::test]
async fn a_wrong_password_is_given_once() {
    let refused = "\n% Login invalid\n\nUsername: ";
    let login = |end: Vec<Step>| {
        [vec![send("\nUsername: "), Await("backup"), send("backup\nPassword: "), Await("the-password")], end].concat()
    };
    for end in
        [vec![send(refused), Stall], vec![send("\nPassword: "), Stall], vec![send("\nLogin incorrect\n")], vec![Reset]]
    {
        let (e, heard) = fails(login(end)).await;
        assert_eq!(e.kind(), ErrorKind::AuthRejected, "{e:?}");
        assert_eq!((heard.len(), count(&heard, "the-password")), (1, 1), "{e:?}");
    }
    let (e, _) = fails(login(vec![send(refused), Stall])).await;
    assert!(e.to_string().contains("user name and password") && e.to_string().contains("% Login invalid"), "{e}");
}

#[tokio::test]
async fn a_wrong_enable_secret_is_given_once() {
    for end in ["\nPassword: ", "\n% Access denied\nsw1>"] {
        let mut script = answers(usual());
        let at = script.iter().position(|s| matches!(s, Await("the-enable-secret"))).unwrap();
        script.truncate(at + 1);
        // Whoever is shown the old prompt is asked for it once more.
        script.extend([send(end), Await(""), send("\nsw1>"), Stall]);
        let (e, heard) = fails(script).await;
        assert_eq!(e.kind(), ErrorKind::AuthRejected, "{e:?}");
        assert_eq!(count(&heard, "the-enable-secret"), 1);
        assert!(e.to_string().starts_with("raise privileges"), "{e}");
    }
}

#[tokio::test]
async fn an_expired_password_is_told_and_none_is_changed() {
    for question in [
        "You are required to change your password immediately\nCurrent password: ",
        "Enter new password: ",
        "\nYour password has expired. Change it now? [y/n]: ",
        "New Password:",
        "(current) UNIX password: ",
        "Please retype your password: ",
    ] {
        let mut script = usual();
        script.pop();
        script.extend([send(&format!("\n{question}")), Stall]);
        let (e, heard) = fails(script).await;
        assert_eq!(e.kind(), ErrorKind::AuthRejected, "{question}: {e:?}");
        assert!(e.to_string().contains("password to be changed"), "{question}: {e}");
        assert_eq!(count(&heard, "the-password"), 1, "{question}");
    }
}

#[tokio::test]
async fn what_a_hostile_device_tries_ends_in_an_error() {
    let flood = |bytes: &[u8]| bytes.repeat((3 << 20) / bytes.len());
    for (what, bytes) in [
        ("negotiation", flood(b"\xff\xfd\x63\xff\xfb\x63\xff\xfc\x01\xff\xfb\x01")),
        ("an option without an end", [b"\xff\xfa\x18".to_vec(), flood(b"x")].concat()),
        ("escapes", flood(b"\x1b[2J\x1b]0;")),
        ("NUL", flood(b"\0\r\0")),
        ("half a command", b"\xff".to_vec()),
        ("nothing", Vec::new()),
    ] {
        let (e, heard) = fails(vec![Send(bytes), Stall]).await;
        assert_eq!(e.kind(), ErrorKind::Timeout, "{what}: {e:?}");
        assert!(heard[0].len() < 8192, "{what}: {} bytes were answered", heard[0].len());
        assert_eq!(count(&heard, "the-password"), 0, "{what}");
    }
    // A script that ends closes the connection.
    let (e, _) = fails(vec![send("busy, try later\n")]).await;
    assert_eq!(e.kind(), ErrorKind::Unavailable, "{e:?}");
}
