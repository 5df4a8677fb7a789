//! The handle to a simulated device while it runs.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;

use super::personality::{Answer, Mode};
use super::quirk::Quirk;
use super::state::{State, identity};
use super::stats::Stats;

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
    use crate::sim::SimDevice;

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
