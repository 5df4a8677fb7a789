//! A switch with the command line of Cisco IOS.

use super::{Answer, Facts, Mode, Pager, Personality, is, joined, number_after};
use crate::sim::config::{Generated, Writer};

/// See the module.
#[derive(Debug)]
pub(in crate::sim) struct CiscoIos;

impl Personality for CiscoIos {
    fn platform(&self) -> &'static str {
        "cisco_ios"
    }

    fn generate(&self, name: &str, seed: u64, size: usize) -> Generated {
        let mut w = Writer::new(name, seed);
        head(&mut w, name);
        for vlan in 10..14 + w.number(6) {
            let number = w.number(9000);
            w.line(format_args!("vlan {vlan}\n name SEGMENT-{number}\n!"));
        }
        let mut end = Writer::new(name, seed.wrapping_add(1));
        tail(&mut end);
        let mut port = 0;
        while port < 4 || w.len() + end.len() < size {
            let (member, number) = (1 + port / 48, 1 + port % 48);
            let (vlan, host) = (10 + w.number(4), w.number(100_000));
            w.line(format_args!(
                "interface GigabitEthernet{member}/0/{number}\n description desk {host:05} floor {}\n switchport access vlan {vlan}\n switchport mode access\n spanning-tree portfast\n!",
                port % 7
            ));
            port += 1;
        }
        w.append(end);
        w.finish()
    }

    fn greeting(&self, _facts: &Facts) -> String {
        "\nAuthorised use only. Sessions are recorded.\n\n".to_owned()
    }

    fn prompt(&self, facts: &Facts, mode: &Mode) -> String {
        let state = if mode.configuring { "(config)" } else { "" };
        format!("{}{state}{}", facts.name, if mode.privileged { "#" } else { ">" })
    }

    fn begin(&self, facts: &Facts, page: u32) -> Mode {
        Mode { privileged: facts.enable.is_none(), configuring: false, page }
    }

    fn answer(&self, facts: &Facts, mode: &mut Mode, command: &str) -> Answer {
        if let Some(length) = number_after(command, "terminal length") {
            mode.page = length;
            return Answer::Nothing;
        }
        if number_after(command, "terminal width").is_some() {
            return Answer::Nothing;
        }
        if mode.configuring {
            if is(command, "end") || is(command, "exit") {
                mode.configuring = false;
            }
            return Answer::Nothing;
        }
        if is(command, "enable") {
            return if mode.privileged { Answer::Nothing } else { Answer::AskEnable };
        }
        if is(command, "disable") {
            mode.privileged = false;
            return Answer::Nothing;
        }
        if is(command, "exit") || is(command, "logout") || is(command, "quit") {
            return Answer::Leave;
        }
        if mode.privileged && (is(command, "configure terminal") || is(command, "configure")) {
            mode.configuring = true;
            return Answer::text("Enter configuration commands, one per line.  End with CNTL/Z.\n");
        }
        match show(facts, mode.privileged, command) {
            Some(answer) => answer,
            None => Answer::text(self.unknown(command)),
        }
    }

    fn unknown(&self, _command: &str) -> String {
        "                  ^\n% Invalid input detected at '^' marker.\n\n".to_owned()
    }

    fn exec(&self, facts: &Facts, command: &str) -> Option<(Answer, u32)> {
        let answer = show(facts, facts.enable.is_none(), command);
        Some(answer.map_or_else(|| (Answer::text(self.unknown(command)), 0), |text| (text, 0)))
    }

    fn shows_config(&self, command: &str) -> bool {
        is(command, "show running-config")
    }

    fn line_end(&self) -> &'static [u8] {
        b"\r\n"
    }

    fn pager(&self) -> Option<Pager> {
        Some(Pager {
            marker: " --More-- ",
            erase: "\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}          \u{8}\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}\u{8}",
        })
    }
}

fn head(w: &mut Writer, name: &str) {
    let (enable, admin, backup) = (w.secret("$9$", 43), w.secret("$9$", 43), w.secret("", 16));
    w.lines("version 17.9\nservice timestamps debug datetime msec\nservice timestamps log datetime msec\nservice password-encryption\n!");
    w.line(format_args!("hostname {name}\n!\nboot-start-marker\nboot-end-marker\n!"));
    w.line(format_args!("enable secret 9 {enable}\n!\nno aaa new-model\n!"));
    w.line(format_args!("username admin privilege 15 secret 9 {admin}"));
    w.line(format_args!("username backup privilege 5 password 7 {backup}\n!"));
    w.lines("ip domain name example.net\nip ssh version 2\n!\nspanning-tree mode rapid-pvst\n!");
}

fn tail(w: &mut Writer) {
    let (read, write, tacacs, ospf) = (w.secret("", 14), w.secret("", 14), w.secret("", 20), w.secret("", 18));
    let (third, fourth) = (w.number(256), 1 + w.number(250));
    w.line(format_args!(
        "interface Vlan10\n ip address 192.0.2.{fourth} 255.255.255.0\n ip ospf message-digest-key 1 md5 7 {ospf}\n!"
    ));
    w.line(format_args!("router ospf 1\n network 192.0.2.0 0.0.0.255 area {third}\n!"));
    w.line(format_args!(
        "ip access-list standard MANAGEMENT\n 10 permit 198.51.100.0 0.0.0.255\n 20 deny   any log\n!"
    ));
    w.line(format_args!("snmp-server community {read} RO MANAGEMENT\nsnmp-server community {write} RW MANAGEMENT"));
    w.line(format_args!("snmp-server location floor {}", third % 20));
    w.line(format_args!("tacacs-server host 198.51.100.10 key 7 {tacacs}\n!"));
    w.lines("banner motd ^C\nAuthorised use only. Sessions are recorded.\n^C\n!\nline con 0\n stopbits 1\nline vty 0 4\n login local\n transport input ssh\nline vty 5 15\n login local\n transport input ssh\n!\nntp clock-period 17179869\nntp server 198.51.100.1\nend");
}

fn show(facts: &Facts, privileged: bool, command: &str) -> Option<Answer> {
    if is(command, "show version") {
        return Some(version(facts));
    }
    if is(command, "show inventory") {
        return Some(inventory(facts));
    }
    if is(command, "show vtp status") {
        return Some(Answer::text(format!(
            "VTP Version capable             : 1 to 3\nVTP version running             : 1\nVTP Domain Name                 : example\nDevice ID                       : 0200.5e00.5301\nConfiguration last modified by 192.0.2.1 at 1-5-26 {}\n",
            facts.time()
        )));
    }
    if !privileged {
        return None;
    }
    if is(command, "show running-config") {
        let head = format!(
            "Building configuration...\n\nCurrent configuration : {} bytes\n!\n! Last configuration change at 10:{:02}:00 UTC Mon Jan 5 2026 by admin\n! NVRAM config last updated at {} UTC Mon Jan 5 2026 by admin\n!\n",
            facts.config.len(),
            facts.changes % 60,
            facts.time()
        );
        return Some(joined(&[head.as_bytes(), &clocked(facts), b"\n"]));
    }
    if is(command, "show startup-config") {
        let head = format!("Using {} out of 2097152 bytes\n!\n", facts.startup.len());
        return Some(joined(&[head.as_bytes(), &facts.startup, b"\n"]));
    }
    None
}

/// The clock's drift that the device works out anew all the time.
fn clocked(facts: &Facts) -> Vec<u8> {
    const LINE: &[u8] = b"ntp clock-period ";
    let text = &facts.config;
    let at = text.windows(LINE.len()).rposition(|w| w == LINE).filter(|_| facts.tick > 0);
    let Some(at) = at else { return text.to_vec() };
    let (before, rest) = text.split_at(at);
    let after = rest.iter().position(|b| *b == b'\n').and_then(|end| rest.get(end..)).unwrap_or_default();
    let period = format!("ntp clock-period {}", 17_179_869 + facts.tick % 1000);
    [before, period.as_bytes(), after].concat()
}

fn version(facts: &Facts) -> Answer {
    let name = &facts.name;
    let minutes = 100 + facts.tick;
    Answer::text(format!(
        "Cisco IOS Software, Simulated Switch Software (SIM-UNIVERSALK9-M), Version 17.9(4), RELEASE SOFTWARE\n\nROM: Bootstrap program is a simulation\n\n{name} uptime is {} hours, {} minutes\nSystem returned to ROM by reload\nSystem image file is \"flash:sim-universalk9.17.09.04.bin\"\n\ncisco SIM-48P (simulated) processor with 524288K bytes of memory.\nProcessor board ID SIM00000001\n52 Gigabit Ethernet interfaces\n\nConfiguration register is 0x2102\n\n",
        minutes / 60,
        minutes % 60
    ))
}

fn inventory(facts: &Facts) -> Answer {
    Answer::text(format!(
        "NAME: \"1\", DESCR: \"SIM-48P\"\nPID: SIM-48P           , VID: V01  , SN: SIM{:08}\n\nNAME: \"Switch 1 - Power Supply 0\", DESCR: \"Power supply\"\nPID: SIM-PWR           , VID: V01  , SN: SIM00000002\n\n\n",
        facts.name.bytes().map(u32::from).sum::<u32>()
    ))
}
