//! A simulated device while it runs: what its connections share.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use russh::keys::PrivateKey;
use russh::server::Config;

use super::config::middle;
use super::keys;
use super::personality::{Answer, Facts, Mode, Personality};
use super::quirk::{Fate, Quirk};
use super::socket::Cut;
use super::spec::SimDevice;
use super::stats::{Counters, Stats};

/// A device that runs.
#[derive(Debug)]
pub(super) struct State {
    pub(super) is: SimDevice,
    pub(super) addr: SocketAddr,
    pub(super) counters: Counters,
    pub(super) rsa: Option<PrivateKey>,
    ticks: AtomicU64,
    live: Mutex<Live>,
    pub(super) commands: Mutex<VecDeque<String>>,
    connections: Mutex<Vec<(u64, Cut)>>,
}

/// What may change while it runs.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) password: String,
    pub(super) config: Bytes,
    pub(super) startup: Bytes,
    pub(super) secrets: Vec<String>,
    pub(super) changes: u64,
    pub(super) quirks: Arc<[Quirk]>,
    pub(super) key_number: u64,
    pub(super) ssh: Arc<Config>,
    pub(super) fingerprint: String,
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

    pub(super) fn live(&self) -> MutexGuard<'_, Live> {
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

pub(super) fn identity(name: &str, number: u64, rsa: Option<&PrivateKey>, quirks: &[Quirk]) -> (Arc<Config>, String) {
    let key = match rsa.filter(|_| keys::needs_rsa(quirks)) {
        Some(rsa) => rsa.clone(),
        None => keys::ed25519(name, number),
    };
    let fingerprint = keys::fingerprint(&key);
    (keys::server_config(key, quirks), fingerprint)
}
