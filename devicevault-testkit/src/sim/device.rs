//! One simulated device: what it is, and the handle to it while it runs.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use russh::keys::PrivateKey;
use russh::server::Config;

use super::config::middle;
use super::keys;
use super::personality::{Answer, CiscoIos, Facts, Frr, JuniperJunos, Linux, MikrotikRouteros, Mode, Personality};
use super::quirk::{Fate, Quirk};
use super::socket::Cut;
use super::stats::{Counters, Stats};
use super::{PASSWORD, USERNAME};

/// A device that is to be simulated.
#[derive(Debug, Clone)]
#[must_use]
pub struct SimDevice {
    pub(super) name: String,
    personality: Arc<dyn Personality>,
    seed: u64,
    size: usize,
    username: String,
    password: String,
    authorized_keys: Vec<String>,
    enable: Option<String>,
    greeting: Option<String>,
    ssh_banner: Option<String>,
    volatile: bool,
    pub(super) quirks: Vec<Quirk>,
    answers: BTreeMap<String, Bytes>,
}

impl SimDevice {
    fn new(name: impl Into<String>, personality: impl Personality + 'static) -> Self {
        Self {
            name: name.into(),
            personality: Arc::new(personality),
            seed: 1,
            size: 4 * 1024,
            username: USERNAME.to_owned(),
            password: PASSWORD.to_owned(),
            authorized_keys: Vec::new(),
            enable: None,
            greeting: None,
            ssh_banner: None,
            volatile: false,
            quirks: Vec::new(),
            answers: BTreeMap::new(),
        }
    }

    /// A switch of Cisco IOS manners, in a shell and by `exec`.
    pub fn cisco_ios(name: impl Into<String>) -> Self {
        Self::new(name, CiscoIos)
    }

    /// A router of Junos manners, in a shell and by `exec`.
    pub fn juniper_junos(name: impl Into<String>) -> Self {
        Self::new(name, JuniperJunos)
    }

    /// A router of RouterOS manners, in a shell and by `exec`.
    pub fn mikrotik_routeros(name: impl Into<String>) -> Self {
        Self::new(name, MikrotikRouteros)
    }

    /// A router of FRRouting's manners, in a shell alone.
    pub fn frr(name: impl Into<String>) -> Self {
        Self::new(name, Frr)
    }

    /// A small Linux machine, in a shell and by `exec`.
    pub fn linux(name: impl Into<String>) -> Self {
        Self::new(name, Linux)
    }

    /// A device of the platform that platform files know by this name; `None` where there is no such simulation.
    #[must_use]
    pub fn of_platform(platform: &str, name: impl Into<String>) -> Option<Self> {
        let make = match platform {
            "cisco_ios" => Self::cisco_ios,
            "juniper_junos" => Self::juniper_junos,
            "mikrotik_routeros" => Self::mikrotik_routeros,
            "frr" => Self::frr,
            "linux" => Self::linux,
            _ => return None,
        };
        Some(make(name.into()))
    }

    /// The configuration has about so many bytes: not fewer, beyond a smallest one of a thousand or two.
    pub fn size(mut self, bytes: usize) -> Self {
        self.size = bytes;
        self
    }

    /// Seed of the configuration. Two devices of one seed have different configurations all the same.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Who may log in, with which password.
    pub fn login(mut self, username: impl Into<String>, password: impl Into<String>) -> Self {
        self.username = username.into();
        self.password = password.into();
        self
    }

    /// A public key that may log in, as a line of `authorized_keys`.
    pub fn authorized_key(mut self, openssh: impl Into<String>) -> Self {
        self.authorized_keys.push(openssh.into());
        self
    }

    /// A session begins without privileges, and `enable` asks for this.
    pub fn enable_secret(mut self, secret: impl Into<String>) -> Self {
        self.enable = Some(secret.into());
        self
    }

    /// What stands before the first prompt, in place of the platform's own greeting.
    pub fn greeting(mut self, text: impl Into<String>) -> Self {
        self.greeting = Some(text.into());
        self
    }

    /// What SSH shows before the login (RFC 4252, section 5.4). Clients need not take more than about 30 KB.
    pub fn ssh_banner(mut self, text: impl Into<String>) -> Self {
        self.ssh_banner = Some(text.into());
        self
    }

    /// Times, counters and the clock's drift move on between two answers, as on a real device.
    pub fn volatile(mut self) -> Self {
        self.volatile = true;
        self
    }

    /// Misbehaves so, too.
    pub fn quirk(mut self, quirk: Quirk) -> Self {
        self.quirks.push(quirk);
        self
    }

    /// Answers this command with these bytes, lines ended by LF.
    pub fn answering(mut self, command: impl Into<String>, answer: impl Into<Bytes>) -> Self {
        self.answers.insert(command.into(), answer.into());
        self
    }
}

/// A device that runs.
#[derive(Debug)]
pub(super) struct State {
    is: SimDevice,
    pub(super) addr: SocketAddr,
    pub(super) counters: Counters,
    rsa: Option<PrivateKey>,
    ticks: AtomicU64,
    live: Mutex<Live>,
    commands: Mutex<VecDeque<String>>,
    connections: Mutex<Vec<(u64, Cut)>>,
}

#[derive(Debug)]
struct Live {
    password: String,
    config: Bytes,
    startup: Bytes,
    secrets: Vec<String>,
    changes: u64,
    quirks: Arc<[Quirk]>,
    key_number: u64,
    ssh: Arc<Config>,
    fingerprint: String,
}

/// How many commands a device remembers.
const REMEMBERED: usize = 10_000;

impl State {
    pub(super) fn new(is: SimDevice, addr: SocketAddr, rsa: Option<PrivateKey>) -> Self {
        let made = is.personality.generate(&is.name, is.seed, is.size);
        let config = Bytes::from(made.text);
        let (ssh, fingerprint) = identity(&is.name, 0, rsa.as_ref(), &is.quirks);
        let live = Live {
            password: is.password.clone(),
            startup: config.clone(),
            config,
            secrets: made.secrets,
            changes: 0,
            quirks: is.quirks.clone().into(),
            key_number: 0,
            ssh,
            fingerprint,
        };
        Self {
            is,
            addr,
            counters: Counters::default(),
            rsa,
            ticks: AtomicU64::new(0),
            live: Mutex::new(live),
            commands: Mutex::default(),
            connections: Mutex::default(),
        }
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn connections(&self) -> MutexGuard<'_, Vec<(u64, Cut)>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn personality(&self) -> &dyn Personality {
        &*self.is.personality
    }

    pub(super) fn ssh(&self) -> Arc<Config> {
        self.live().ssh.clone()
    }

    pub(super) fn ssh_banner(&self) -> Option<String> {
        self.is.ssh_banner.clone()
    }

    pub(super) fn quirks(&self) -> Arc<[Quirk]> {
        self.live().quirks.clone()
    }

    pub(super) fn enable(&self) -> Option<&str> {
        self.is.enable.as_deref()
    }

    /// RouterOS takes terminal settings behind a plus sign in the user name: they are not part of it.
    pub(super) fn may_log_in(&self, username: &str, password: &str) -> bool {
        let username = username.split('+').next().unwrap_or_default();
        username == self.is.username && password == self.live().password
    }

    pub(super) fn may_use_key(&self, username: &str, key: &russh::keys::PublicKey) -> bool {
        let known = |line: &String| {
            russh::keys::PublicKey::from_openssh(line).is_ok_and(|known| known.key_data() == key.key_data())
        };
        username == self.is.username && self.is.authorized_keys.iter().any(known)
    }

    pub(super) fn facts(&self) -> Facts {
        let live = self.live();
        Facts {
            name: self.is.name.clone(),
            username: self.is.username.clone(),
            enable: self.is.enable.clone(),
            config: live.config.clone(),
            startup: live.startup.clone(),
            changes: live.changes,
            tick: self.ticks.load(Ordering::Relaxed),
        }
    }

    pub(super) fn greeting(&self) -> String {
        self.is.greeting.clone().unwrap_or_else(|| self.personality().greeting(&self.facts()))
    }

    /// A command was run: it is remembered, and time moves on.
    pub(super) fn ran(&self, command: &str) {
        super::stats::count(&self.counters.commands, 1);
        if self.is.volatile {
            self.ticks.fetch_add(1, Ordering::Relaxed);
        }
        let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        if commands.len() == REMEMBERED {
            commands.pop_front();
        }
        commands.push_back(command.to_owned());
    }

    /// What a command in a shell comes to.
    pub(super) fn shell_answer(&self, mode: &mut Mode, command: &str) -> Answer {
        let facts = self.facts();
        if Fate::of(&self.quirks(), command).refused {
            return Answer::text(self.personality().unknown(command));
        }
        let answer = match self.is.answers.get(command.trim()) {
            Some(own) => Answer::Text(own.clone()),
            None => self.personality().answer(&facts, mode, command),
        };
        self.with_inserts(&facts, mode, command, answer)
    }

    /// What a command without a shell comes to; `None` where that cannot be had.
    pub(super) fn exec_answer(&self, command: &str) -> Option<(Answer, u32)> {
        let facts = self.facts();
        let mode = Mode { privileged: true, ..Mode::default() };
        let (answer, status) = self.personality().exec(&facts, command)?;
        if Fate::of(&self.quirks(), command).refused {
            return Some((Answer::text(self.personality().unknown(command)), 1));
        }
        match self.is.answers.get(command.trim()) {
            Some(own) => Some((Answer::Text(own.clone()), 0)),
            None => Some((self.with_inserts(&facts, &mode, command, answer), status)),
        }
    }

    /// The configuration with what quirks put into its middle.
    fn with_inserts(&self, facts: &Facts, mode: &Mode, command: &str, answer: Answer) -> Answer {
        let Answer::Text(text) = &answer else { return answer };
        if !self.personality().shows_config(command) || text.len() < 200 {
            return answer;
        }
        let mut insert: Vec<u8> = Vec::new();
        for quirk in self.quirks().iter() {
            match quirk {
                Quirk::PromptLookalikes => insert.extend_from_slice(lookalikes(&facts.name).as_bytes()),
                Quirk::OwnPromptInText(_) => {
                    insert.extend_from_slice(self.personality().prompt(facts, mode).as_bytes());
                    insert.push(b'\n');
                }
                Quirk::InvalidUtf8 => insert.extend_from_slice(b" description \0\xff\xfe caf\xe9 \xc3(\0\n"),
                _ => {}
            }
        }
        if insert.is_empty() {
            return answer;
        }
        let (before, after) = text.split_at(middle(text));
        Answer::Text([before, &insert, after].concat().into())
    }

    pub(super) fn connected(&self, cut: &Cut) -> u64 {
        super::stats::count(&self.counters.connections, 1);
        super::stats::count(&self.counters.open, 1);
        let mut connections = self.connections();
        let number = connections.last().map_or(0, |(n, _)| n + 1);
        connections.push((number, cut.clone()));
        number
    }

    pub(super) fn disconnected(&self, number: u64) {
        self.counters.open.fetch_sub(1, Ordering::Relaxed);
        self.connections().retain(|(n, _)| *n != number);
    }

    pub(super) fn cut_all(&self) {
        self.connections().iter().for_each(|(_, cut)| cut.now());
    }

    pub(super) fn stats(&self) -> Stats {
        self.counters.read()
    }
}

fn lookalikes(name: &str) -> String {
    format!(
        "other-host#\nother-host>\n{name}x#\n {name}#\n{name}# show version\nRouter(config)#\nadmin@other> \n[admin@other] > \nPassword: \nlogin: \n --More-- \n---(more)---\n$ \n"
    )
}

fn identity(name: &str, number: u64, rsa: Option<&PrivateKey>, quirks: &[Quirk]) -> (Arc<Config>, String) {
    let key = match rsa.filter(|_| keys::needs_rsa(quirks)) {
        Some(rsa) => rsa.clone(),
        None => keys::ed25519(name, number),
    };
    let fingerprint = keys::fingerprint(&key);
    (keys::server_config(key, quirks), fingerprint)
}

/// A device of a running [`Fleet`](super::Fleet). Clones are the same device.
#[derive(Debug, Clone)]
pub struct Simulated(pub(super) Arc<State>);

impl Simulated {
    /// Its name, as in its prompt.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.is.name
    }

    /// The name of its platform file.
    #[must_use]
    pub fn platform(&self) -> &'static str {
        self.0.personality().platform()
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.0.addr
    }

    /// Who may log in.
    #[must_use]
    pub fn username(&self) -> &str {
        &self.0.is.username
    }

    /// The password that it takes now.
    #[must_use]
    pub fn password(&self) -> String {
        self.0.live().password.clone()
    }

    /// Takes another password from now on.
    pub fn set_password(&self, password: impl Into<String>) {
        self.0.live().password = password.into();
    }

    /// The SHA-256 fingerprint of its host key, as `ssh-keygen -l` prints it.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        self.0.live().fingerprint.clone()
    }

    /// Has another host key from now on. A device of old algorithms keeps its key.
    pub fn change_host_key(&self) {
        let mut live = self.0.live();
        live.key_number += 1;
        (live.ssh, live.fingerprint) = identity(self.name(), live.key_number, self.0.rsa.as_ref(), &live.quirks);
    }

    /// Misbehaves so from the next connection on, and in no other way. Algorithms stay as they were at the start.
    pub fn set_quirks(&self, quirks: impl IntoIterator<Item = Quirk>) {
        self.0.live().quirks = quirks.into_iter().collect();
    }

    /// Its configuration, without what stands around it in an answer.
    #[must_use]
    pub fn config(&self) -> Bytes {
        self.0.live().config.clone()
    }

    /// Changes its configuration.
    pub fn change(&self, edit: impl FnOnce(&mut Vec<u8>)) {
        let mut live = self.0.live();
        let mut text = live.config.to_vec();
        edit(&mut text);
        live.config = text.into();
        live.changes += 1;
    }

    /// Puts `line` in place of the first line of its configuration that begins so, blanks before it apart; they stay.
    /// `false`: there is none.
    pub fn change_line(&self, beginning: &str, line: &str) -> bool {
        let mut live = self.0.live();
        let Some(text) = changed(&live.config, beginning, line) else { return false };
        live.config = text;
        live.changes += 1;
        true
    }

    /// Changes one line of its configuration to what it has never been before.
    pub fn change_something(&self) {
        let number = self.0.live().changes + 1;
        let (beginning, line) = match self.platform() {
            "juniper_junos" => ("description ", format!("description \"change {number}\";")),
            "mikrotik_routeros" => ("set time-zone-name=", format!("set time-zone-name=Etc/Change-{number}")),
            "linux" => ("# link", format!("# link change {number}")),
            _ => ("description ", format!("description change {number}")),
        };
        self.change_line(beginning, &line);
    }

    /// What a command in a privileged shell answers now, lines ended by LF; `None` where it answers nothing.
    #[must_use]
    pub fn answer(&self, command: &str) -> Option<Bytes> {
        let mut mode = Mode { privileged: true, ..Mode::default() };
        text_of(self.0.shell_answer(&mut mode, command))
    }

    /// What a command without a shell answers now, lines ended by LF; `None` where it answers nothing.
    #[must_use]
    pub fn exec_answer(&self, command: &str) -> Option<Bytes> {
        self.0.exec_answer(command).and_then(|(answer, _)| text_of(answer))
    }

    /// Every secret of it: those in its configuration, its password, its enable secret.
    #[must_use]
    pub fn secrets(&self) -> Vec<String> {
        let live = self.0.live();
        let own = [Some(live.password.clone()), self.0.is.enable.clone()];
        live.secrets.iter().cloned().chain(own.into_iter().flatten()).collect()
    }

    /// What it was asked since its start.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.0.stats()
    }

    /// The last ten thousand commands that it was given, in order, as they were typed. Passwords are not among them.
    #[must_use]
    pub fn commands(&self) -> Vec<String> {
        self.0.commands.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

fn text_of(answer: Answer) -> Option<Bytes> {
    match answer {
        Answer::Text(text) => Some(text),
        _ => None,
    }
}

fn changed(config: &[u8], beginning: &str, line: &str) -> Option<Bytes> {
    let mut at = 0;
    for old in config.split_inclusive(|b| *b == b'\n') {
        let indent = old.iter().take_while(|b| **b == b' ').count();
        let (blanks, rest) = old.split_at(indent);
        if rest.starts_with(beginning.as_bytes()) {
            let (before, after) = (config.get(..at)?, config.get(at + old.len()..)?);
            return Some([before, blanks, line.as_bytes(), b"\n", after].concat().into());
        }
        at += old.len();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(is: SimDevice) -> Simulated {
        Simulated(Arc::new(State::new(is, ([127, 0, 0, 1], 0).into(), None)))
    }

    #[test]
    fn configurations_have_the_size_that_was_asked_for_and_their_secrets() {
        for platform in ["cisco_ios", "juniper_junos", "mikrotik_routeros", "frr", "linux"] {
            for size in [0, 5000, 20_480, 5 << 20] {
                let made = SimDevice::of_platform(platform, "x1").unwrap().size(size);
                let device = device(made);
                let config = device.config();
                assert!((size..size.max(5000) + 1000).contains(&config.len()), "{platform} {size}: {}", config.len());
                let text = String::from_utf8(config.to_vec()).unwrap().replace("\\\n    ", "");
                let inside = device.secrets().iter().filter(|s| text.contains(*s)).count();
                assert!(
                    inside >= 1 && inside + 1 == device.secrets().len(),
                    "{platform}: {inside} of {:?}",
                    device.secrets()
                );
                assert!(text.contains("x1") || platform == "linux");
            }
        }
        assert!(SimDevice::of_platform("nobody", "x").is_none());
    }

    #[test]
    fn one_name_and_seed_make_one_configuration() {
        let of = |name: &str, seed| device(SimDevice::cisco_ios(name).seed(seed)).config();
        assert_eq!(of("a", 1), of("a", 1));
        assert_ne!(of("a", 1), of("a", 2));
        assert_ne!(of("a", 1), of("b", 1));
    }

    #[test]
    fn a_line_is_changed_and_keeps_its_indent() {
        let device = device(SimDevice::cisco_ios("sw1"));
        assert!(device.change_line("description desk", "description new"));
        let text = String::from_utf8(device.config().to_vec()).unwrap();
        assert_eq!(text.matches("\n description new\n").count(), 1);
        assert!(!device.change_line("no such line", "x"));
        let before = device.config();
        device.change_something();
        assert_ne!(device.config(), before);
    }

    #[test]
    fn only_a_volatile_device_answers_differently_each_time() {
        for (volatile, same) in [(false, true), (true, false)] {
            for platform in ["cisco_ios", "mikrotik_routeros"] {
                let mut made = SimDevice::of_platform(platform, "x1").unwrap();
                made = if volatile { made.volatile() } else { made };
                let device = device(made);
                let command = if platform == "cisco_ios" { "show running-config" } else { "/export show-sensitive" };
                let first = device.answer(command).unwrap();
                device.0.ran(command);
                assert_eq!(device.answer(command).unwrap() == first, same, "{platform}");
            }
        }
    }

    #[test]
    fn quirks_stand_in_the_middle_of_the_configuration_alone() {
        let quirks = [Quirk::PromptLookalikes, Quirk::InvalidUtf8, Quirk::OwnPromptInText(std::time::Duration::ZERO)];
        let plain = device(SimDevice::cisco_ios("sw1"));
        let odd = device(quirks.into_iter().fold(SimDevice::cisco_ios("sw1"), SimDevice::quirk));
        let text = odd.answer("sh run").unwrap();
        let own = text.split(|b| *b == b'\n').filter(|l| *l == b"sw1#").count();
        assert_eq!(own, 1);
        assert!(text.contains(&0xff) && text.contains(&0));
        assert!(text.starts_with(b"Building") && text.ends_with(b"\nend\n\n"));
        assert_eq!(odd.answer("show version"), plain.answer("show version"));
    }
}
