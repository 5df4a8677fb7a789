//! What holds of the texts of all platforms: messages that come in between, and what is no configuration at all.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use devicevault_core::text::ShapeRule;
use devicevault_core::{Error, ErrorKind};
use regex::bytes::Regex;

use super::place::Fault;

/// How platforms that follow Cisco say within a text that something of it is missing: `%Error opening nvram:`,
/// `% Error: NVRAM read failed`, `%% Unable to read`.
const TROUBLE: &str = r"^%{1,2} ?(?i:error|warning|cannot|can't|could not|unable|fail(?:ed|ure)|insufficient|low on memory|out of memory|timed? ?out|output (?:aborted|truncated|interrupted))\b";

/// What a console shows when the device restarts: what stands after it is another session.
const RESTARTS: [&str; 9] = [
    r"^System Bootstrap, Version \d",
    r"^Press (?:RETURN|ENTER|Return|Enter|any key) to get started[.!]*\s*$",
    r"^\S{1,64} con\d+(?:/\d+)? is now available\s*$",
    r"^(?:U-Boot \d{4}\.\d\d|GNU GRUB +version \d|RedBoot\(tm\) )",
    r"^(?:Press|Hit) .{1,40} to (?:stop|interrupt|abort) (?:the )?auto-? ?boot",
    r"^The system is going down for (?:system |maintenance|reboot|power|halt)",
    r"^The system is going down NOW ?!",
    r"^(?:reboot: )?Restarting system\.?\s*$",
    r"^Uncompressing Linux\.\.\.",
];

/// A line that tells of an error and of nothing else, in the midst of a configuration. (Of an inventory it may be a part:
/// a device tells there what it does not have.) Its first word tells it from others.
const ERROR: &str = r"^(?:ERROR|Error|error|FATAL|Fatal|fatal)(?: [Ee]rror)?: (?:[A-Za-z]{2,24}|\S)";

/// Lines that a device's log or another user writes onto the terminal, in the middle of whatever stands there. Each has
/// the whole form of such a message: time, origin, name.
const MESSAGES: [&str; 23] = [
    // With a time, and the message's name as those that follow Cisco (`%LINK-3-UPDOWN:`, `%LINK-W-Down:`) write it. Before
    // the time stand numbers, the month, a card and a name: no words, as in a remark.
    r#"^[*.]?(?:(?:[*.]?[A-Z][a-z]{2}|[^\s!"'%a-z]*\d[^\s!"'%]{0,40}|[^\s!"'%]{1,40}:) +){0,6}[^\s!"'%]{0,24}\d\d:\d\d:\d\d[^"'%]{0,80}(?:%\$ VDC-\d{1,3} %\$ |%[A-Z]{3,8}\d{1,3}-[A-Z]:\w{1,8} )?%[A-Z][A-Z0-9_]*(?:-[A-Z0-9_]+)?-(?:[0-7]|[A-Z])-[A-Za-z0-9_]+ ?:"#,
    // The same, as Huawei and H3C write it (`%%01IFNET/4/LINK_STATE`).
    r#"^[#%]?[A-Z][a-z]{2} +\d+ [\d:.,+\- ]*\d\d:\d\d:\d\d[^"'%]{0,80}(?:%%\d\d)?[A-Z][A-Z0-9_]*/\d/[A-Za-z0-9_]+"#,
    // With the time since the device started (`1w2d`, `00:12:34` is above).
    r"^(?:\d{1,12}: )?[*.]?(?:\d{1,4}[ywdh]){1,3}: %[A-Z][A-Z0-9_]*(?:-[A-Z0-9_]+)?-(?:[0-7]|[A-Z])-[A-Za-z0-9_]+ ?:",
    // Without a time.
    r"^%[A-Z][A-Z0-9_]*(?:-[A-Z0-9_]+)?-(?:[0-7]|[A-Z])-[A-Za-z0-9_]+ ?: ",
    // RFC 3164, with its priority (FASTPATH: Dell, Netgear, Ubiquiti) or with a process (Linux, BSD).
    r"^<\d{1,3}> ?[A-Z][a-z]{2} [ \d]\d (?:\d{4} )?\d\d:\d\d:\d\d(?:\.\d{1,6})? \S+ \S",
    r"^[A-Z][a-z]{2} [ \d]\d (?:\d{4} )?\d\d:\d\d:\d\d(?:\.\d{1,6})? +\S+ +[\w/.()\-]+\[\d+\]: ",
    // FastIron.
    r"^SYSLOG: ?<\d{1,3}>",
    // EXOS.
    r"^\d\d/\d\d/\d{4} \d\d:\d\d:\d\d\.\d\d <(?:Crit|Erro|Warn|Noti|Info|Summ|Debu)[A-Za-z\-]*:[A-Za-z0-9_.]+> ",
    // SR OS.
    r"^\d+ \d{4}/\d\d/\d\d \d\d:\d\d:\d\d\.\d\d \S+ (?:CRITICAL|MAJOR|MINOR|WARNING|CLEARED|INDETERMINATE): \S+ #\d+ ",
    // ArubaOS-Switch.
    r"^[IWMDE] \d\d/\d\d/\d\d \d\d:\d\d:\d\d \d{5} [\w\-]+: ",
    // wall(1) and shutdown(8), syslogd, write(1).
    r"^\s?Broadcast (?:[Mm]essage from \S+@\S+ ?(?:\(|on \S)|Message from \S+@\S+\s*$)",
    r"^Message from (?:syslogd@\S+ at [A-Z]|\S+@\S+ on \S+ at \d)",
    // IOS: `send` and `reload in`.
    r"^\*\*\* Message from (?:tty|vty|con|aux)[\w/ ]{0,20} to [\w/ ]{1,40}:",
    r"^\*\*\* --- SHUTDOWN (?:in \d|NOW|ABORTED).{0,32}---",
    // The kernel of a Linux.
    r"^\[ {0,6}\d{1,8}\.\d{6}\] \S",
    // What is debugged on IOS has a time and no name; what repeats on NX-OS says so.
    r"^(?:\d{1,12}: )?[*.]?[A-Z][a-z]{2} [ \d]\d (?:\d{4} )?\d\d:\d\d:\d\d\.\d{3,6}(?: [A-Z]{2,5})?: \S",
    r"^\d{4} [A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d{1,6})? \S+ last message repeated \d+ times?\s*$",
    // VOSS and BOSS, by RFC 5424 and before.
    r"^1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d \S+ \w+ - 0x[0-9a-fA-F]{8} - ",
    r"^(?:CP|IO)\d+ +\[\d\d/\d\d/\d\d \d\d:\d\d:\d\d\.\d{3}:\w{1,5}\] 0x[0-9a-fA-F]{8} ",
    // ZTE; shutdown(8) of a BSD; RouterOS.
    r"^An alarm \d+ (?:ID \d+ )?level \w+ (?:occurred|cleared|recovered) at \d",
    r"^\*\*\* (?:FINAL )?System shutdown message from \S+@\S+ \*\*\*",
    r"^echo: [a-z\d,\-]+(?:,(?:critical|error|warning|info)) \S",
    // Wind River's and others' consoles.
    r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d) \S+ [\w/.()\-]+\[\d+\]: ",
];

/// The lines by which configurations of all kinds are known: braces, tags, keys with values, paths, headings, sections,
/// addresses;
/// and the words that they begin with.
const CONFIGURATION: &str = concat!(
    r#"[{};]\s*$|^\s*[{]|^\s*\[\s*(?:[{"]|$)|^\[[\w:./@ \-]+\]\s*$|^\s*</?[A-Za-z?!][^>]*>|^\s*"[^"]+"\s*[:=]"#,
    r#"|^\s*[\w.\-/:"\[\]]+\s*=\s*\S|^[a-z][\w\-]*:\s*$|^/[a-z][\w\-]*(?:/[\w\-]+)*(?: [\w \-/.=]*)?$|^-{5} .* -{5}$"#,
    r"|^\d{1,3}(?:\.\d{1,3}){3}\s|^(?:[0-9a-fA-F:]*::|(?:[0-9a-fA-F]{1,4}:){3,7})[0-9a-fA-F.:]*(?:/\d{1,3})?\s+\S",
    r"|^search [\w\-]+(?:\.[\w\-]+)+|^options (?:\w+:\d|rotate|edns0|trust-ad)|^inet6? (?:autoconf|dhcp|alias|[0-9a-fA-F]*[.:])",
    r"|^(?:block|pass|match)(?: (?:in|out|log|quick|all|drop|return|inet6?|on|from|proto)\b|$)|^(?:cmd|eth|ppp|wifi) \d+ \w",
    r"|^\s*(?:no |undo |unset )?(?:aaa|access-list|account|acl|add|address|admin|arp|auto|banner|bfd|bgp|boot|bridge|cdp",
    r"|chassis|class-map|cli|clock|config|configure|console|controller|create|crypto|description|dhcp|dns|domain|domain-name|edit|enable",
    r"|end|exit|feature|filter|firewall|gateway|global|group|host|hostname|host-name|iface|igmp|interface|ip|ipv4|ipv6|lacp",
    r"|httpd|lag|lan|ldap|license|line|lldp|local-user|logging|loopback|mac|mac-address-table|management|mgmt|module|name|nameserver|netconf|network|ntp|ospf",
    r"|passwd|password|policy|policy-map|pool|port|ports|pppoe|prefix-list|profile|protocol|protocols|qos|queue|radius",
    r"|radius-server|return|rip|route|router|security|server|service|session|set|slot|snmp|snmp-agent|snmp-server|sntp",
    r"|spanning-tree|ssh|stack|static|stp|switch|switchname|switchport|syslocation|syscontact|sysname|syslog|system|tacacs|tacacs-server|telnet|telnetd",
    r"|terminal|time|timezone|trunk|tunnel|unit|user|user-bridge|user-interface|username|users|version|virtual|vlan|vlans|vpn|vrf|vrrp|vsys|vty",
    r"|wan|web|wireless|wlan|zone)(?:[ \t:]|$)",
);
/// What is said to a person all the same: `system is not ready`, `user x has no rights.`
const SAID: &str = concat!(
    r"(?i)\b(?:is|are|was|were|has|have|not|denied|reject(?:ed)?|fail(?:ed|ure)?|errors?|unable|cannot|could|please|unavailable",
    r"|invalid|unknown|expired|aborted|timed? ?out|timeout|busy|lost|wait|again)\b|[.!]\s*$",
);

/// What no good text has, save in what people wrote.
pub(super) fn trouble() -> Result<Regex, Fault> {
    built_in(TROUBLE)
}

/// What a device shows when it restarts. (Of an inventory the boot loader is a part.)
pub(super) fn restarts() -> Result<Vec<Regex>, Fault> {
    RESTARTS.into_iter().map(built_in).collect()
}

/// What no configuration has, save in what people wrote.
pub(super) fn error() -> Result<Regex, Fault> {
    built_in(ERROR)
}

/// What no good text has anywhere.
pub(super) fn messages() -> Result<Vec<Regex>, Fault> {
    MESSAGES.into_iter().map(built_in).collect()
}

/// What configurations look like.
pub(super) fn shape() -> Result<ShapeRule, Fault> {
    Ok(ShapeRule::new(built_in(CONFIGURATION)?, built_in(SAID)?))
}

pub(super) fn built_in(text: &str) -> Result<Regex, Fault> {
    let built = regex::bytes::RegexBuilder::new(text).unicode(false).build();
    built.map_err(|e| {
        Error::new(ErrorKind::Internal, "compile expressions", "a built-in expression is wrong").because(e).into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any(of: &[Regex], line: &str) -> bool {
        of.iter().any(|r| r.is_match(line.as_bytes()))
    }

    #[test]
    fn messages_are_known_by_their_whole_form() {
        let known = messages().unwrap();
        for message in [
            "*Mar  1 00:00:07.123: %LINK-3-UPDOWN: Interface Vlan1, changed state to up",
            "Nov 21 10:00:00: %STKUNIT0-M:CP %IFMGR-5-ASTATE_UP: Changed interface Admin state to up: Te 0/1",
            "*Nov 21 10:00:00.123: ISAKMP:(0):found peer pre-shared key",
            "Nov 21 10:00:00.123 UTC: AAA/BIND(0000000B): Bind i/f",
            "2026 Nov 21 10:00:00.123 sw1 last message repeated 1 time",
            "1 2026-11-21T10:00:00.123+00:00 SW1 CP1 - 0x000305c8 - 00300001.226 DYNAMIC SET GlobalRouter SNMP INFO x",
            "CP1  [11/21/26 10:00:00.123:UTC] 0x0000c595 00000000 GlobalRouter SNMP INFO Link Up",
            "An alarm 19712 level minor occurred at 10:00:00 11/21/2026 UTC sent by MPU",
            "*** FINAL System shutdown message from root@sw1 ***",
            "echo: system,error,critical login failure for user admin from 192.0.2.1 via ssh",
            "000123: Nov 21 18:00:00.123: %SYS-5-CONFIG_I: Configured from console by u on vty0",
            "000123: *Nov 21 18:00:00.123: %SYS-5-CONFIG_I: Configured from console by u on vty0",
            "000123: .Nov 21 2026 18:00:00.123 UTC: %LINK-3-UPDOWN: Interface Gi0/1, changed state to up",
            "1w2d: %LINK-3-UPDOWN: Interface Gi0/1, changed state to up",
            "000123: 3y12w: %SYS-5-CONFIG_I: Configured from console by u on vty0",
            "2026 Nov 21 18:00:00.123 sw1 %$ VDC-1 %$ %ETHPORT-5-IF_DOWN_ADMIN_DOWN: Interface Ethernet1/1 is down",
            "21-Nov-2026 18:00:00 %LINK-W-Down:  gi1/0/3",
            "%LINK-I-Up:  gi3",
            "Nov 21 2026 18:00:00 sw1 %%01IFNET/4/LINK_STATE(l)[1]: down",
            "<189> Nov 21 18:00:00 sw1-1 TRAPMGR[trapTask]: traputil.c(763) 4711 %% NOTE Link Down: Gi1/0/3",
            "Nov 21 18:00:00.123 sw1 login[123]: authentication failure",
            "Nov  1 18:00:00  sw1 mgd[4711]: UI_COMMIT: user u",
            "SYSLOG: <14> Nov 21 18:00:00 sw1 System: Interface ethernet 1/1/3, state down",
            "11/21/2026 18:00:00.12 <Info:vlan.msgs.portLinkStateDown> Port 3 link down",
            "1 2026/11/21 18:00:00.12 UTC MAJOR: SYSTEM #2001 Base \"a\"",
            "I 11/21/26 18:00:00 00077 ports: port 3 is now off-line",
            "Broadcast message from root@sw1 (pts/1) (Sat Nov 21 18:00:00 2026):",
            "Broadcast message from root@sw1 on pts/1 (Sat 2026-11-21 18:00:00 UTC):",
            "Message from syslogd@sw1 at Nov 21 18:00:00 ...",
            "*** Message from tty2 to all terminals:",
            "*** --- SHUTDOWN in 0:05:00 ---",
            "*** --- SHUTDOWN ABORTED ---",
            "[   12.345678] eth0: link down",
            "RP/0/RP0/CPU0:Nov 21 18:00:00.123 : ifmgr[403]: %PKT_INFRA-LINK-3-UPDOWN : Interface down",
            "2026 Nov 21 18:00:00 sw1 %ETHPORT-5-IF_UP: Interface Ethernet1/1 is up",
            "Nov 21 18:00:00 sw1 Ebra: %LINEPROTO-5-UPDOWN: Line protocol on Interface Ethernet1, changed state to up",
            "*** --- SHUTDOWN NOW ---",
        ] {
            assert!(any(&known, message), "{message}");
        }
        for text in [
            " event syslog pattern \"%LINK-3-UPDOWN: Interface Vlan1\"",
            "logging message %LINK-3-UPDOWN",
            "! Last configuration change at 18:00:00 UTC Sat Nov 21 2026 by u",
            "#Last configuration: Sat Nov 21 18:00:00 2026",
            "## Last commit: 2026-11-21 18:00:00 UTC by root",
            " description Broadcast message from root@sw1 (pts/1)",
            "banner motd Message from syslogd@sw1 at Nov 21",
            "*** Message from the owner: keep out ***",
            "*** Message from the IT department to all users of this device: ***",
            "*** --- SHUTDOWN every night at 22:00 ---",
            "Broadcast message from root@noc",
            " description flapped Nov 21 18:00:00: %LINK-3-UPDOWN: see ticket 4711",
            " remark 10:11:12 %SEC-6-IPACCESSLOGP: list 101 denied tcp",
            "*** SHUTDOWN is at noon ***",
            "<14>",
            "SYSLOG server 192.0.2.1",
            "clock timezone UTC 0 0",
            "[1.5] x",
        ] {
            assert!(!any(&known, text), "{text}");
        }
    }

    #[test]
    fn what_a_console_shows_at_a_restart_is_no_text() {
        let known: Vec<Regex> = restarts().unwrap().into_iter().chain(trouble()).collect();
        for line in [
            "System Bootstrap, Version 15.2",
            "Press RETURN to get started!",
            "sw1 con0 is now available",
            "U-Boot 2019.04 (Jan 01 2020)",
            "Hit any key to stop autoboot:  3",
            "The system is going down for reboot NOW!",
            "% Output aborted: low memory",
            "%Error opening nvram:/startup-config",
        ] {
            assert!(any(&known, line), "{line}");
        }
        for line in [" description Press RETURN to get started!", "boot system flash:image.bin", "%"] {
            assert!(!any(&known, line), "{line}");
        }
        assert!(error().unwrap().is_match(b"ERROR: process ospfd is not responding, skipped"));
        assert!(!error().unwrap().is_match(b" description error: none"));
    }

    #[test]
    fn a_message_has_not_the_shape_of_a_configuration() {
        let shape = shape().unwrap();
        for line in [
            "hostname a",
            "sysname a",
            "config system global",
            "set system host-name 'a'",
            "/interface bridge",
            "<opnsense>",
            "  <version>1</version>",
            "{\"a\": 1}",
            "system {",
            "add address=192.0.2.1/24",
            "[network]",
            "iface lo inet loopback",
            "    vlan 1",
            "end",
            "nameserver 192.0.2.1",
            "::1 localhost",
            "search example.net",
            "inet autoconf",
            "block return",
            "pass",
            "telnetd host lan",
            "mac-address-table aging-time 300",
            "eth 0 IPaddr \"192.0.2.1\"",
            "/system/general timezone GMT",
            "user-bridge bridge c1",
        ] {
            assert!(shape.is_match(line.as_bytes()), "{line}");
        }
        for line in [
            "% Command rejected: not authorized to run this command on this line",
            "Error: You do not have permission to run this command. Contact your administrator.",
            "Command authorization failure: TACACS+ server 192.0.2.1 is not responding, denied.",
            "ERROR: Another session is holding the configuration lock, please try again later.",
            "Unable to retrieve the configuration: internal database error (code 0x80000012).",
            "User backup is not privileged to run this command; this attempt was logged.",
            "Session ID 1234",
            "show running-config",
            "     ^",
            "WARNING: Token not found: the system is still starting up, not all services are available.",
            "Connection to management daemon lost, retrying...",
            "request aborted.",
            "system is not ready",
            "search in progress",
            "pass phrase required",
            "match: 0 records",
            "/usr/sbin/x: not found",
            "10:11:12 session closed",
            "service unavailable",
            "! hostname a",
            "",
        ] {
            assert!(!shape.is_match(line.as_bytes()), "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_somebody_wrote_behind_a_word_of_theirs_is_no_message(word in "(description|remark|banner) ", text in ".{0,200}") {
            let line = format!(" {word}{}", text.replace(['\n', '%'], " "));
            let known: Vec<Regex> = restarts().unwrap().into_iter().chain(trouble()).chain(messages().unwrap().into_iter().skip(1)).collect();
            proptest::prop_assert!(!any(&known, &line));
        }
    }
}
