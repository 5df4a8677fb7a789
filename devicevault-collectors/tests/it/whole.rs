//! What tells a whole text from one that is not, platform by platform.

use bytes::BytesMut;
use devicevault_collectors::PlatformSet;
use devicevault_core::text::{InstanceKey, ViewMaker};

/// Why a configuration of a platform would be suspect.
fn why(platform: &str, text: &str) -> Vec<String> {
    let platform = PlatformSet::built_in().get(platform).unwrap();
    let info = platform.artefacts().find(|a| a.name == "running-config").unwrap();
    let (mut clean, mut redacted) = (BytesMut::new(), BytesMut::new());
    let mut maker = ViewMaker::new(info.rules.clone(), InstanceKey::new([0; 32]), "a".into(), 1 << 20);
    maker.push(text.as_bytes(), &mut clean, &mut redacted).unwrap();
    maker.finish(&mut clean, &mut redacted)
}

const IOS: &str = "Building configuration...\n\nCurrent configuration : 900 bytes\n!\nversion 17.9\nhostname r1\n!\n";

#[test]
fn what_ios_shows_without_privileges_is_suspect() {
    let text = "Building configuration...\n\nCurrent configuration : 64 bytes\n!\nboot-start-marker\nboot-end-marker\n!\nend\n";
    assert_eq!(why("cisco_ios", text).len(), 1);
    assert_eq!(why("cisco_ios", &format!("{IOS}end\n")), [""; 0]);
}

#[test]
fn what_a_device_could_not_read_is_suspect() {
    for (platform, text) in [
        ("cisco_ios", format!("{IOS}% Error: NVRAM read failed, configuration truncated\nend\n")),
        ("cisco_ios", format!("{IOS}%Error opening nvram:/startup-config (Permission denied)\nend\n")),
        ("cisco_ios", format!("{IOS}%SYS-2-MALLOCFAIL: Memory allocation of 65536 bytes failed\nend\n")),
        ("cisco_iosxr", "!! IOS XR Configuration 7.3.2\nhostname a\n!!% 'sysdb' detected an error\nend\n".to_owned()),
        ("cisco_nxos", "!Command: show running-config\nversion 9.3(5)\nERROR: timed out\n".to_owned()),
        ("arista_eos", "! device: a (DCS, EOS-4.29.2F)\n% Error: timeout\nend\n".to_owned()),
        ("juniper_junos", "version 22.4R1;\nsystem { /* ACCESS-DENIED */ };\n".to_owned()),
        ("mikrotik_routeros", "# 2024-01-01 by RouterOS 7.15\n#error exporting \"/ip/dns\" (timeout)\n".to_owned()),
        ("mikrotik_routeros", "# 2024-01-01 by RouterOS 7.15\n/ip dns\n#interrupted\n".to_owned()),
        ("checkpoint_gaia", "set hostname a\nCLINFR0829  Unable to get user permissions.\n".to_owned()),
        // A platform that follows Cisco and of which no more is known.
        ("edgecore_ecos", "hostname a\n% Error: out of memory\ninterface 1\n".to_owned()),
    ] {
        assert_eq!(why(platform, &text).len(), 1, "{platform}: {text} {:?}", why(platform, &text));
    }
}

#[test]
fn what_is_cut_off_or_has_no_head_is_suspect() {
    for (platform, text) in [
        ("juniper_junos", "version 22.4R1;\nsystem {\n    host-name a;\n"),
        ("juniper_junos", "version 22.4R1;\nsystem {\n    services {\n        ssh;\n    }\n"),
        ("hp_comware", "#\n version 7.1.070, Release 3506\n#\n sysname a\n#\ninterface NULL0\n"),
        ("huawei_vrp", "!Software Version V200R019\n#\nreturn\n"),
        ("paloalto_panos", "config {\n  mgt-config {\n    users {\n"),
        ("fortinet_fortios", "FGT (global) text\nend\n"),
        ("cisco_asa", ": Saved\n:\n: end\n"),
        ("arista_eos", "no aaa root\n!\nend\n"),
        ("mikrotik_routeros", "/ip dns\nset servers=1.1.1.1\n"),
        ("frr", "!\nend\n"),
    ] {
        assert_eq!(why(platform, text).len(), 1, "{platform}: {text} {:?}", why(platform, text));
    }
}

#[test]
fn what_is_whole_is_not_suspect_whatever_people_wrote_into_it() {
    for (platform, text) in [
        ("cisco_ios", format!("{IOS}banner motd ^C\n% Error: call 123\n%SYS-5: no\n^C\ninterface a\n description % Error\nend\n")),
        ("cisco_ios", format!("{IOS}banner login ^C% Invalid input^C\nmacro name x\n% Error\n@\nend\n")),
        ("cisco_ios", format!("{IOS}aaa authentication fail-message ^C\n% Authorization failed\n^C\nend\n")),
        ("cisco_iosxr", "!! IOS XR Configuration 7.3.2\nbanner motd c\n% Error\nc\nend\n".to_owned()),
        ("cisco_nxos", "!Command: show running-config\nversion 9.3(5)\nbanner motd #\n% Error\nERROR: x\n#\n".to_owned()),
        ("arista_eos", "! device: a (DCS, EOS-4.29.2F)\nbanner login\n% Error: timeout\nEOF\nend\n".to_owned()),
        ("juniper_junos", "version 22.4R1;\nsystem {\n    login {\n        message \"/* ACCESS-DENIED */\";\n    }\n}\n".to_owned()),
        ("juniper_junos", "version 22.4R1;\nsystem {\n    host-name a;\n}\n\n{master:0}\n".to_owned()),
        ("mikrotik_routeros", "# 2024-01-01 by RouterOS 7.15\n#error exporting \"/system/routerboard/wps-button\"\n".to_owned()),
        ("fortinet_fortios", "#config-version=FGT-7.4.8:user=a\nconfig system global\n    set x \"a\nCommand fail. Return code\nb\"\nend\n".to_owned()),
        ("hp_comware", "#\n version 7.1.070\n sysname a\n header shell %\nPermission denied\n%\n#\nreturn\n".to_owned()),
        // A part of a configuration, as `display this` and others show it.
        ("hp_comware", "interface GigabitEthernet1/0/43\n port link-mode bridge\n".to_owned()),
        ("huawei_vrp", "!Software Version V200R019\n#\nsysname a\n#\nreturn\n".to_owned()),
        ("paloalto_panos", "config {\n  mgt-config {\n  }\n}\n".to_owned()),
        ("edgecore_ecos", "hostname a\nbanner motd ^C\n% Error\n^C\ninterface 1\n".to_owned()),
    ] {
        assert_eq!(why(platform, &text), [""; 0], "{platform}: {text}");
    }
}

#[test]
fn a_banner_that_does_not_end_hides_nothing() {
    let text = format!("{IOS}banner motd ^C\n% Error: NVRAM read failed\nend\n");
    assert_eq!(why("cisco_ios", &text).len(), 1);
}
