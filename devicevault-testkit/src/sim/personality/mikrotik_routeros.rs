//! A router with the command line of RouterOS.

use super::{Answer, Facts, Mode, Pager, Personality, joined};
use crate::sim::config::{Generated, Writer};

/// See the module.
#[derive(Debug)]
pub(in crate::sim) struct MikrotikRouteros;

impl Personality for MikrotikRouteros {
    fn platform(&self) -> &'static str {
        "mikrotik_routeros"
    }

    fn generate(&self, name: &str, seed: u64, size: usize) -> Generated {
        let mut w = Writer::new(name, seed);
        w.lines("/interface bridge\nadd name=bridge1\n/interface ethernet");
        for port in 1..6 {
            let number = w.number(100_000);
            w.line(format_args!("set [ find default-name=ether{port} ] comment=\"link {number:05}\""));
        }
        let (private, ppp, community) = (w.secret("", 43), w.secret("", 16), w.secret("", 14));
        // A statement that is too long for a line is broken, within a value too.
        let (first, second) = private.split_at(20);
        w.line(format_args!(
            "/interface wireguard\nadd listen-port=13231 mtu=1420 name=wg1 private-key=\"{first}\\\n    {second}=\""
        ));
        w.line(format_args!("/snmp community\nset [ find default=yes ] name={community}"));
        w.line(format_args!("/ppp secret\nadd name=backup password={ppp}"));
        w.lines("/ip address");
        let mut address = 0;
        while address < 3 || w.len() < size {
            let number = w.number(100_000);
            w.line(format_args!(
                "add address=198.51.{}.{}/32 comment=\"host {number:05}\" interface=bridge1 network=\\\n    198.51.100.0",
                address / 250 % 256,
                1 + address % 250
            ));
            address += 1;
        }
        w.line(format_args!("/system clock\nset time-zone-name=UTC\n/system identity\nset name={name}"));
        w.finish()
    }

    fn greeting(&self, _facts: &Facts) -> String {
        "\n\n  RouterOS 7.16 (simulated)\n\n".to_owned()
    }

    fn prompt(&self, facts: &Facts, _mode: &Mode) -> String {
        format!("[{}@{}] > ", facts.username, facts.name)
    }

    fn begin(&self, _facts: &Facts, page: u32) -> Mode {
        Mode { privileged: true, configuring: false, page }
    }

    fn answer(&self, facts: &Facts, _mode: &mut Mode, command: &str) -> Answer {
        if matches!(command.trim(), "/quit" | "quit" | "exit") {
            return Answer::Leave;
        }
        show(facts, command).unwrap_or_else(|| Answer::text(self.unknown(command)))
    }

    fn unknown(&self, command: &str) -> String {
        let word = command.split_whitespace().next().unwrap_or_default();
        format!("bad command name {} (line 1 column 1)\n", word.trim_start_matches('/'))
    }

    fn exec(&self, facts: &Facts, command: &str) -> Option<(Answer, u32)> {
        Some(show(facts, command).map_or_else(|| (Answer::text(self.unknown(command)), 1), |answer| (answer, 0)))
    }

    fn shows_config(&self, command: &str) -> bool {
        matches!(command.trim(), "/export" | "/export show-sensitive" | "export" | "export show-sensitive")
    }

    fn line_end(&self) -> &'static [u8] {
        b"\r\n"
    }

    fn pager(&self) -> Option<Pager> {
        Some(Pager { marker: "-- [Q quit|D dump|down]", erase: "\r                       \r" })
    }
}

fn show(facts: &Facts, command: &str) -> Option<Answer> {
    if MikrotikRouteros.shows_config(command) {
        let head = format!(
            "# 2026-01-05 {} by RouterOS 7.16\n# software id = SIMU-LATE\n#\n# model = SIM5009\n# serial number = SIM00000001\n",
            facts.time()
        );
        let config =
            if command.contains("show-sensitive") { facts.config.to_vec() } else { without_secrets(&facts.config) };
        return Some(joined(&[head.as_bytes(), &config]));
    }
    let answer = match command.trim().trim_start_matches('/') {
        "system resource print" => format!(
            "                   uptime: {}m\n                  version: 7.16 (stable)\n              free-memory: {}KiB\n             total-memory: 1048576KiB\n               board-name: SIM5009\n                 platform: MikroTik\n",
            100 + facts.tick,
            700_000 - facts.tick % 1000
        ),
        "system routerboard print" => {
            "       routerboard: yes\n             model: SIM5009\n     serial-number: SIM00000001\n".to_owned()
        }
        "system license print" => "  software-id: SIMU-LATE\n       nlevel: 5\n     features: \n".to_owned(),
        "system package update print" => "            channel: stable\n  installed-version: 7.16\n".to_owned(),
        _ => return None,
    };
    Some(Answer::text(answer))
}

/// The statements without the values that are sensitive, as an export without `show-sensitive` prints them.
fn without_secrets(config: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(config);
    let mut out = String::with_capacity(text.len());
    let mut inside = false;
    for line in text.lines() {
        if inside {
            inside = line.ends_with('\\');
            continue;
        }
        let cut = ["private-key=", "password="].iter().filter_map(|key| line.find(key)).min();
        out.push_str(cut.map_or(line, |at| line.get(..at).unwrap_or(line).trim_end()));
        inside = cut.is_some() && line.ends_with('\\');
        out.push('\n');
    }
    out.into_bytes()
}
