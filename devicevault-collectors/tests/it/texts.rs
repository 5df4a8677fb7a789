//! What is volatile and what is secret in the texts of each platform.

use bytes::BytesMut;
use devicevault_collectors::PlatformSet;
use devicevault_core::text::{InstanceKey, ViewMaker};

/// The clean and the redacted view of an artefact's text.
fn views(platform: &str, artefact: &str, text: &str) -> (String, String, Vec<String>) {
    let platform = PlatformSet::built_in().get(platform).unwrap();
    let rules = platform.artefacts().find(|a| a.name == artefact).unwrap().rules.clone();
    let (mut clean, mut redacted) = (BytesMut::new(), BytesMut::new());
    let mut maker = ViewMaker::new(rules, InstanceKey::new([7; 32]), "d".into(), 1 << 20);
    maker.push(text.as_bytes(), &mut clean, &mut redacted).unwrap();
    let suspect = maker.finish(&mut clean, &mut redacted);
    (String::from_utf8(clean.into()).unwrap(), String::from_utf8(redacted.into()).unwrap(), suspect)
}

/// Every `S3CRET…` is masked, and the rest of its line stays.
fn masked(platform: &str, lines: &str) {
    let (_, redacted, _) = views(platform, first_artefact(platform), lines);
    assert!(!redacted.contains("S3CRET"), "{platform} shows a secret:\n{redacted}");
    for (line, shown) in lines.lines().zip(redacted.lines()) {
        let keyword = line.split("S3CRET").next().unwrap().trim_end_matches(['"', '$', '9', '7', '6', '5']);
        assert!(shown.starts_with(keyword.trim_end()), "{line:?} became {shown:?}");
    }
}

fn first_artefact(platform: &str) -> &'static str {
    if platform == "linux" { "network-config" } else { "running-config" }
}

#[test]
fn cisco_ios_secrets() {
    masked(
        "cisco_ios",
        "enable secret 9 S3CRETa\nenable password S3CRETb\nusername admin privilege 15 secret 9 S3CRETc\n\
         username x password 7 S3CRETd\nline vty 0 4\n password 7 S3CRETe\nsnmp-server community S3CRETf RO 5\n\
         snmp-server host 10.42.0.35 vrf Mgmt-vrf informs version 2c S3CRETg  tty vtp\nsnmp-server host 10.1.1.1 S3CRETh\n\
         snmp-server user u g v3 auth sha S3CRETi priv aes 128 S3CRETj\ntacacs-server key 7 S3CRETk\n\
         radius-server host 10.1.1.1 auth-port 1812 acct-port 1813 key S3CRETl\naaa group server tacacs+ G\n \
         server-private 10.1.1.1 key 7 S3CRETm\naaa server radius dynamic-author\n client 10.1.1.1 server-key 7 S3CRETn\n\
         radius server R\n address ipv4 10.1.1.1\n key 7 S3CRETo\ncrypto isakmp key S3CRETp address 0.0.0.0\n\
         crypto keyring K\n  pre-shared-key address 0.0.0.0 0.0.0.0 key S3CRETq\n\
         router bgp 65000\n neighbor 10.1.1.1 password 7 S3CRETr\ninterface Gi1\n ip ospf message-digest-key 1 md5 7 S3CRETs\n \
         standby 1 authentication md5 key-string 7 S3CRETt\n standby 1 authentication S3CRETu\n\
         ntp authentication-key 1 md5 S3CRETv 7\nkey chain K\n key 1\n  key-string 7 S3CRETw\n\
         archive\n path ftp://backup:S3CRETx@10.1.1.1/x\n ppp chap password 0 S3CRETy\nip ftp password S3CRETz\n",
    );
    let (_, shown, _) = views("cisco_ios", "running-config", "key chain K\n key 1\n   accept-lifetime infinite\nend\n");
    assert!(shown.contains(" key 1\n"), "the number of a key is no secret: {shown}");
}

#[test]
fn cisco_ios_volatile_lines() {
    let text = |time: &str, bytes: u32, clock: u32| {
        format!(
            "Building configuration...\n\nCurrent configuration : {bytes} bytes\n!\n! Last configuration change at {time} by admin\n!\n\
             hostname r1\nntp clock-period {clock}\nend\n"
        )
    };
    let (a, _, good) = views("cisco_ios", "running-config", &text("10:11:12", 19000, 17179869));
    let (b, _, _) = views("cisco_ios", "running-config", &text("10:11:13", 19001, 17179870));
    assert_eq!(a, b);
    assert_eq!(a, "!\n!\nhostname r1\nend\n");
    assert!(good.is_empty());
    let (_, _, cut) = views("cisco_ios", "running-config", "hostname r1\ninterface Gi1\n");
    assert_eq!(cut.len(), 1, "a text without its end is suspect");
}

#[test]
fn frr_secrets_and_volatile_lines() {
    masked(
        "frr",
        "password S3CRETa\nenable password S3CRETb\nrouter bgp 1\n neighbor 192.0.2.9 password S3CRETc\ninterface e\n ip ospf message-digest-key 1 md5 S3CRETd\n isis password md5 S3CRETe\nkey chain K\n key 1\n  key-string S3CRETf\n",
    );
    let (clean, _, suspect) = views(
        "frr",
        "running-config",
        "Building configuration...\n\nCurrent configuration:\n!\nfrr version 8.4\n!\nend\n",
    );
    assert_eq!(clean, "!\nfrr version 8.4\n!\nend\n");
    assert!(suspect.is_empty());
}

#[test]
fn junos_secrets_and_volatile_lines() {
    masked(
        "juniper_junos",
        "system {\n    root-authentication {\n        encrypted-password \"$6$S3CRETa\"; ## SECRET-DATA\n    }\n    archival {\n        \"pasvftp://u:S3CRETb@203.0.113.10/\";\n        \"ftp://u@203.0.113.11/\" password \"$9$S3CRETc\"; ## SECRET-DATA\n    }\n}\nsnmp {\n    community S3CRETd {\n        authorization read-only;\n    }\n}\nset system root-authentication encrypted-password \"$6$S3CRETe\"\n",
    );
    let (clean, _, _) =
        views("juniper_junos", "running-config", "## Last commit: 2024-12-06 11:41:05 UTC by root\nversion 22.4;\n");
    assert_eq!(clean, "version 22.4;\n");
    let (_, shown, _) = views(
        "juniper_junos",
        "running-config",
        "policy-options {\n    community PEERS members 65000:1;\n    permissions [ secret view ];\n}\n",
    );
    assert!(!shown.contains("<secret"), "{shown}");
}

#[test]
fn routeros_secrets_and_volatile_lines() {
    masked(
        "mikrotik_routeros",
        "/ppp secret\nadd name=u password=S3CRETa profile=x\nadd name=v password=\"S3CRETb \\\" c\" profile=x\n/interface wireguard\nadd private-key=\"S3CRETc=\" listen-port=1\n/radius\nadd secret=S3CRETd service=login\n",
    );
    let broken = "/interface pppoe-client\nadd name=p password=\\\n    \"S3CRETe and more\" user=u\nadd name=q comment=\"a\\\n    b\" password=\"S3CRETf\\\n    S3CRETg\" user=v\n/ip address\nadd address=192.0.2.1/24\n/snmp community\nadd addresses=0.0.0.0/0 name=S3CRETh\n/system note\nset show-at-login=no\n";
    let (_, shown, _) = views("mikrotik_routeros", "running-config", broken);
    assert!(!shown.contains("S3CRET"), "{shown}");
    for stays in
        ["/ip address\nadd address=192.0.2.1/24\n", "/snmp community\n", "/system note\nset show-at-login=no\n"]
    {
        assert!(shown.contains(stays), "{stays:?} is gone from:\n{shown}");
    }
    let (clean, _, _) = views(
        "mikrotik_routeros",
        "running-config",
        "# 2024-10-25 12:09:43 by RouterOS 7.15.2\n# software id = A\n/port\n",
    );
    assert_eq!(clean, "# software id = A\n/port\n");
    let inventory = |up: &str| {
        views("mikrotik_routeros", "inventory", &format!("         uptime: {up}\n        version: 7.15.2\n")).0
    };
    assert_eq!(inventory("1w2d"), inventory("1w3d"));
}

#[test]
fn linux_secrets_and_volatile_lines() {
    masked("linux", "psk=S3CRETa\nPrivateKey = S3CRETb\n    password: S3CRETc\nrocommunity S3CRETd 10.0.0.0/8\n");
    let counters =
        |n: u32| views("linux", "firewall", &format!("\t\tip saddr 10.0.0.1 counter packets {n} bytes {n} accept\n")).0;
    assert_eq!(counters(1), counters(99));
}

#[test]
fn what_fortios_measures_is_no_change_and_its_version_is_one() {
    let status = |version: &str, age: u32, bytes: u32, days: u32, heat: &str| {
        let text = format!(
            "Version: FortiGate-3001F v{version},build2795,250523 (GA.M)\nCluster Uptime: {days} days 12:42:42\n    FG1(updated {age} seconds ago): in-sync\n        ha1: physical/10000full, up, rx-bytes/packets/dropped/errors={bytes}/9/0/0, tx={bytes}/8/0/0\n  Product Extra         : Pri f/w rev: 08.01\nha1           {heat}         3.35        32.74         -2.2         -8.1       \nport31        {heat}         3.31        38.07   /39.27   /38.96   /39.15       -1.3   / -0.3   /  0.1   /  0.6   \n"
        );
        views("fortinet_fortios", "inventory", &text).0
    };
    let one = status("7.4.8", 1, 4958, 12, "29.7");
    assert_eq!(one, status("7.4.8", 3, 5958, 13, "N/A"));
    assert_ne!(one, status("7.2.8", 1, 4958, 12, "29.7"));
    assert!(one.contains("rev: 08.01") && one.contains("ha1: physical/10000full, up"), "{one}");
}

#[test]
fn a_key_of_fortios_ends_with_its_frame_wherever_the_quote_closes() {
    let key = |kind: &str, close: &str, body: &str| {
        let text = format!(
            "config firewall ssh local-key\n    edit \"k\"\n        set private-key \"-----BEGIN {kind}PRIVATE KEY-----\n{body}\n-----END {kind}PRIVATE KEY-----{close}\n        set public-key \"ssh-rsa AAAA\"\n    next\nend\nconfig firewall policy\n    edit 1\n        set action accept\n    next\nend\n"
        );
        ["fortinet_fortios", "fortinet_fortimanager"].map(|platform| views(platform, "running-config", &text))
    };
    for kind in ["", "ENCRYPTED ", "RSA ", "OPENSSH "] {
        for close in ["\"", "\n\""] {
            let one = key(kind, close, "b3BlbnNzaC1rZXk");
            for (clean, redacted, suspect) in &one {
                assert!(suspect.iter().all(|why| !why.contains("no end")), "{suspect:?}");
                assert!(redacted.contains("set action accept") && redacted.contains("set public-key"), "{redacted}");
                assert!(!redacted.contains("b3Blbn") && !clean.contains("b3Blbn"), "{redacted}\n{clean}");
            }
            assert_eq!(one, key(kind, close, "c2FsdGVkIGFuZXc"), "another salt is no change");
        }
    }
}
