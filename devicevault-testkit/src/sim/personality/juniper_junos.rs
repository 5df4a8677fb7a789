//! A router with the command line of Junos.

use super::{Answer, Facts, Mode, Pager, Personality, is, joined, number_after};
use crate::sim::config::{Generated, Writer};

/// See the module.
#[derive(Debug)]
pub(in crate::sim) struct JuniperJunos;

impl Personality for JuniperJunos {
    fn platform(&self) -> &'static str {
        "juniper_junos"
    }

    fn generate(&self, name: &str, seed: u64, size: usize) -> Generated {
        let mut w = Writer::new(name, seed);
        let (root, admin, radius) = (w.secret("$6$", 60), w.secret("$6$", 60), w.secret("$9$", 24));
        w.line(format_args!("version 23.4R1.9;\nsystem {{\n    host-name {name};"));
        w.line(format_args!(
            "    root-authentication {{\n        encrypted-password \"{root}\"; ## SECRET-DATA\n    }}"
        ));
        w.line(format_args!(
            "    login {{\n        user admin {{\n            class super-user;\n            authentication {{\n                encrypted-password \"{admin}\"; ## SECRET-DATA\n            }}\n        }}\n    }}"
        ));
        w.line(format_args!("    radius-server {{\n        198.51.100.10 secret \"{radius}\"; ## SECRET-DATA\n    }}"));
        w.lines("    services {\n        ssh;\n        netconf {\n            ssh;\n        }\n    }\n}\ninterfaces {");
        let mut end = Writer::new(name, seed.wrapping_add(1));
        let (community, bgp) = (end.secret("", 14), end.secret("$9$", 24));
        end.line(format_args!(
            "}}\nsnmp {{\n    community {community} {{\n        authorization read-only;\n    }}\n}}"
        ));
        end.line(format_args!(
            "protocols {{\n    bgp {{\n        group upstream {{\n            type external;\n            authentication-key \"{bgp}\"; ## SECRET-DATA\n            peer-as 64500;\n            neighbor 198.51.100.1;\n        }}\n    }}\n}}"
        ));
        let mut port = 0;
        while port < 3 || w.len() + end.len() < size {
            let number = w.number(100_000);
            w.line(format_args!(
                "    ge-0/0/{port} {{\n        description \"link {number:05}\";\n        unit 0 {{\n            family inet {{\n                address 192.0.2.{}/31;\n            }}\n        }}\n    }}",
                port % 256
            ));
            port += 1;
        }
        w.append(end);
        w.finish()
    }

    fn greeting(&self, _facts: &Facts) -> String {
        "--- JUNOS 23.4R1.9 (simulated)\n".to_owned()
    }

    fn prompt(&self, facts: &Facts, mode: &Mode) -> String {
        format!("{}@{}{} ", facts.username, facts.name, if mode.configuring { "#" } else { ">" })
    }

    fn begin(&self, _facts: &Facts, page: u32) -> Mode {
        Mode { privileged: true, configuring: false, page }
    }

    fn answer(&self, facts: &Facts, mode: &mut Mode, command: &str) -> Answer {
        if let Some(length) = number_after(command, "set cli screen-length") {
            mode.page = length;
            return Answer::text(format!("Screen length set to {length}\n\n"));
        }
        if let Some(width) = number_after(command, "set cli screen-width") {
            return Answer::text(format!("Screen width set to {width}\n\n"));
        }
        if is(command, "exit") || is(command, "quit") {
            return Answer::Leave;
        }
        // In a shell the answer is followed by an empty line.
        match show(facts, command) {
            Some(Answer::Text(text)) => joined(&[&text, b"\n"]),
            Some(other) => other,
            None => Answer::text(self.unknown(command)),
        }
    }

    fn unknown(&self, _command: &str) -> String {
        "                 ^\nunknown command.\n\n".to_owned()
    }

    fn exec(&self, facts: &Facts, command: &str) -> Option<(Answer, u32)> {
        Some(show(facts, command).map_or_else(|| (Answer::text("error: unknown command.\n"), 1), |answer| (answer, 0)))
    }

    fn shows_config(&self, command: &str) -> bool {
        is(command, "show configuration") || is(command, "show configuration | display omit")
    }

    fn pager(&self) -> Option<Pager> {
        Some(Pager { marker: "---(more)---", erase: "\r                                        \r" })
    }
}

fn show(facts: &Facts, command: &str) -> Option<Answer> {
    // Output of a pipe that keeps the whole text.
    let command = command.strip_suffix("| no-more").unwrap_or(command).trim();
    if JuniperJunos.shows_config(command) {
        let head = format!("## Last commit: 2026-01-05 10:{:02}:00 UTC by admin\n", facts.changes % 60);
        return Some(joined(&[head.as_bytes(), &facts.config]));
    }
    if is(command, "show version") {
        return Some(Answer::text(format!("Hostname: {}\nModel: sim-mx\nJunos: 23.4R1.9\n", facts.name)));
    }
    if is(command, "show chassis hardware") {
        return Some(Answer::text(
            "Hardware inventory:\nItem             Version  Part number  Serial number     Description\nChassis                                SIM00000001       SIM-MX\n",
        ));
    }
    if is(command, "show system license") {
        return Some(Answer::text("License usage: none\n"));
    }
    None
}
