//! A router with FRRouting's `vtysh` as its login shell.

use super::{Answer, Facts, Mode, Pager, Personality, is, joined, number_after};
use crate::sim::config::{Generated, Writer};

/// See the module.
#[derive(Debug)]
pub(in crate::sim) struct Frr;

impl Personality for Frr {
    fn platform(&self) -> &'static str {
        "frr"
    }

    fn generate(&self, name: &str, seed: u64, size: usize) -> Generated {
        let mut w = Writer::new(name, seed);
        let password = w.secret("", 12);
        w.line(format_args!("frr version 10.1\nfrr defaults traditional\nhostname {name}\nlog syslog informational"));
        w.line(format_args!("password {password}\nservice integrated-vtysh-config\n!"));
        let mut peer = 0;
        while peer < 3 || w.len() < size / 2 {
            let number = w.number(100_000);
            w.line(format_args!(
                "interface eth{peer}\n description link {number:05}\n ip address 192.0.2.{}/31\nexit\n!",
                peer % 256
            ));
            peer += 1;
        }
        let asn = 64_512 + w.number(1000);
        w.line(format_args!("router bgp {asn}"));
        let mut neighbour = 0;
        while neighbour < 2 || w.len() < size {
            let remote = 64_512 + w.number(1000);
            let address = format!("198.51.{}.{}", 100 + neighbour / 250, 1 + neighbour % 250);
            w.line(format_args!(" neighbor {address} remote-as {remote}"));
            if neighbour < 20 {
                let key = w.secret("", 16);
                w.line(format_args!(" neighbor {address} password {key}"));
            }
            neighbour += 1;
        }
        w.lines("exit\n!\nend");
        w.finish()
    }

    fn greeting(&self, _facts: &Facts) -> String {
        "\nHello, this is a simulated FRRouting (version 10.1).\n\n".to_owned()
    }

    fn prompt(&self, facts: &Facts, mode: &Mode) -> String {
        format!("{}{} ", facts.name, if mode.privileged { "#" } else { ">" })
    }

    fn begin(&self, facts: &Facts, page: u32) -> Mode {
        Mode { privileged: facts.enable.is_none(), configuring: false, page }
    }

    fn answer(&self, facts: &Facts, mode: &mut Mode, command: &str) -> Answer {
        if let Some(length) = number_after(command, "terminal length") {
            mode.page = length;
            return Answer::Nothing;
        }
        if is(command, "exit") || is(command, "quit") {
            return Answer::Leave;
        }
        if is(command, "enable") {
            return if mode.privileged { Answer::Nothing } else { Answer::AskEnable };
        }
        if is(command, "show version") {
            return Answer::text(format!("FRRouting 10.1 ({}) on Linux(simulated).\n", facts.name));
        }
        if mode.privileged && self.shows_config(command) {
            return joined(&[b"Building configuration...\n\nCurrent configuration:\n!\n", &facts.config]);
        }
        Answer::text(self.unknown(command))
    }

    fn unknown(&self, command: &str) -> String {
        format!("% Unknown command: {command}\n")
    }

    fn exec(&self, _facts: &Facts, _command: &str) -> Option<(Answer, u32)> {
        None
    }

    fn shows_config(&self, command: &str) -> bool {
        is(command, "show running-config")
    }

    fn pager(&self) -> Option<Pager> {
        Some(Pager { marker: "--More--", erase: "\r        \r" })
    }
}
