//! A small Linux machine that runs commands over SSH.

use super::{Answer, Facts, Mode, Pager, Personality, joined};
use crate::sim::config::{Generated, Writer};

/// See the module. Its configuration is one file, `/etc/network/interfaces`; the others are made from it.
#[derive(Debug)]
pub(in crate::sim) struct Linux;

impl Personality for Linux {
    fn platform(&self) -> &'static str {
        "linux"
    }

    fn generate(&self, name: &str, seed: u64, size: usize) -> Generated {
        let mut w = Writer::new(name, seed);
        let psk = w.secret("", 20);
        w.line(format_args!(
            "auto lo\niface lo inet loopback\n\nauto wlan0\niface wlan0 inet dhcp\n    wpa-ssid office\n    psk={psk}\n"
        ));
        let mut port = 0;
        while port < 2 || w.len() < size {
            let number = w.number(100_000);
            w.line(format_args!(
                "auto eth{port}\niface eth{port} inet static\n    # link {number:05}\n    address 192.0.2.{}\n    netmask 255.255.255.0\n",
                1 + port % 250
            ));
            port += 1;
        }
        w.finish()
    }

    fn greeting(&self, facts: &Facts) -> String {
        format!("Linux {} 6.1.0-sim x86_64\n\nLast login: Mon Jan  5 10:00:00 2026 from 198.51.100.7\n", facts.name)
    }

    fn prompt(&self, facts: &Facts, _mode: &Mode) -> String {
        format!("{}@{}:~$ ", facts.username, facts.name)
    }

    fn begin(&self, _facts: &Facts, _page: u32) -> Mode {
        Mode { privileged: true, ..Mode::default() }
    }

    fn answer(&self, facts: &Facts, _mode: &mut Mode, command: &str) -> Answer {
        if matches!(command.trim(), "exit" | "logout") {
            return Answer::Leave;
        }
        run(facts, command).unwrap_or_else(|| Answer::text(self.unknown(command)))
    }

    fn unknown(&self, command: &str) -> String {
        format!("sh: 1: {}: not found\n", command.split_whitespace().next().unwrap_or_default())
    }

    fn exec(&self, facts: &Facts, command: &str) -> Option<(Answer, u32)> {
        Some(run(facts, command).map_or_else(|| (Answer::text(self.unknown(command)), 127), |answer| (answer, 0)))
    }

    fn shows_config(&self, command: &str) -> bool {
        command.contains("/etc/network/interfaces")
    }

    fn pager(&self) -> Option<Pager> {
        None
    }
}

/// Understands `cat FILE…`, loops over files that it has (`for f in FILE…; do … "# $f" … cat "$f" …; done`, also behind
/// `set -- FILE…;`), and a few programs.
fn run(facts: &Facts, command: &str) -> Option<Answer> {
    let command = command.trim();
    if let Some(list) = command.strip_prefix("for f in ").or_else(|| command.strip_prefix("set -- ")) {
        let files = list.split(';').next().unwrap_or_default();
        let shown = files.split_whitespace().filter_map(|path| Some((path, file(facts, path)?)));
        let parts: Vec<u8> =
            shown.flat_map(|(path, text)| [format!("# {path}\n").as_bytes(), &text, b"\n"].concat()).collect();
        return Some(joined(&[&parts]));
    }
    if let Some(files) = command.strip_prefix("cat ") {
        let texts: Option<Vec<_>> = files.split_whitespace().map(|path| file(facts, path)).collect();
        return texts.map(|t| joined(&[&t.concat()]));
    }
    match command {
        "uname -a" => Some(Answer::text(format!("Linux {} 6.1.0-sim #1 SMP x86_64 GNU/Linux\n", facts.name))),
        "uname -srm" => Some(Answer::text("Linux 6.1.0-sim x86_64\n")),
        "nft list ruleset" => Some(Answer::text(format!(
            "table inet filter {{\n\tchain input {{\n\t\ttype filter hook input priority filter; policy accept;\n\t\tct state established counter packets {} bytes {} accept\n\t}}\n}}\n",
            1000 + facts.tick,
            100_000 + facts.tick * 60
        ))),
        _ if command.starts_with("dpkg-query ") => Some(Answer::text("base-files 12.4\nopenssh-server 1:9.2p1\n")),
        "" | "true" => Some(Answer::Nothing),
        _ => None,
    }
}

fn file(facts: &Facts, path: &str) -> Option<Vec<u8>> {
    Some(match path {
        "/etc/network/interfaces" => facts.config.to_vec(),
        "/etc/hostname" => format!("{}\n", facts.name).into_bytes(),
        "/etc/hosts" => format!("127.0.0.1\tlocalhost\n127.0.1.1\t{}\n", facts.name).into_bytes(),
        "/etc/resolv.conf" => b"nameserver 198.51.100.53\n".to_vec(),
        "/etc/passwd" => b"root:x:0:0:root:/root:/bin/sh\nadmin:x:1000:1000::/home/admin:/bin/sh\n".to_vec(),
        "/etc/os-release" => b"PRETTY_NAME=\"Simulated Linux 12\"\nID=simulated\n".to_vec(),
        _ => return None,
    })
}
