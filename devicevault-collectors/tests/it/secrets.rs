//! What the redacted view of each platform hides and what it leaves: `tests/secrets/NAME.txt` holds lines of configurations
//! with made-up secrets, each in «guillemets».

use std::path::Path;

use bytes::BytesMut;
use devicevault_collectors::{Disguise, PlatformSet};
use devicevault_core::Login;
use devicevault_core::text::{InstanceKey, ViewMaker};
use proptest::prelude::*;
use regex::Regex;

fn redacted(set: &PlatformSet, platform: &str, text: &str) -> String {
    views(set, platform, text).1
}

/// The clean and the redacted view.
fn views(set: &PlatformSet, platform: &str, text: &str) -> (String, String) {
    let platform = set.get(platform).unwrap();
    let rules = platform.artefacts().find(|a| a.mandatory).unwrap().rules.clone();
    let (mut clean, mut redacted) = (BytesMut::new(), BytesMut::new());
    let mut maker = ViewMaker::new(rules, InstanceKey::new([7; 32]), "d".into(), 1 << 20);
    maker.push(text.as_bytes(), &mut clean, &mut redacted).unwrap();
    let _ = maker.finish(&mut clean, &mut redacted);
    (String::from_utf8(clean.into()).unwrap(), String::from_utf8(redacted.into()).unwrap())
}

fn none(wrong: &[String]) {
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// The lines of each platform that has some.
fn tables() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/secrets");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    let name = |f: &Path| f.file_stem().unwrap().to_str().unwrap().to_owned();
    files.iter().map(|f| (name(f), std::fs::read_to_string(f).unwrap())).collect()
}

#[test]
fn of_every_line_the_secrets_go_and_the_rest_stays() {
    let set = PlatformSet::built_in();
    let marked = Regex::new("«([^»]*)»").unwrap();
    let mask = Regex::new("<secret(?::[0-9a-f]{12})?>").unwrap();
    let mut wrong = Vec::new();
    let tables = tables();
    assert!(tables.len() >= 40, "the platforms most in use are all there: {}", tables.len());
    for (platform, lines) in tables {
        let shown = redacted(&set, &platform, &marked.replace_all(&lines, "$1"));
        // An element of XML may be called what a mask of ours is.
        let want = marked.replace_all(&lines, "#");
        let (want, got) = (mask.replace_all(&want, "#"), mask.replace_all(&shown, "#"));
        let pairs = want.lines().zip(got.lines()).filter(|(want, got)| want != got);
        wrong.extend(pairs.map(|(want, got)| format!("{platform}: {got:?} where it should be {want:?}")));
        if want.lines().count() != got.lines().count() {
            wrong.push(format!("{platform}: lines came or went"));
        }
    }
    none(&wrong);
}

#[test]
fn a_text_that_was_redacted_stays_as_it_is() {
    let set = PlatformSet::built_in();
    // Fields between colons are counted in this one, and a mask has a colon.
    for (platform, lines) in tables().into_iter().filter(|(p, _)| p != "proxmox_ve") {
        let once = redacted(&set, &platform, &lines.replace(['«', '»'], ""));
        let twice = redacted(&set, &platform, &once);
        let changed: Vec<_> = once.lines().zip(twice.lines()).filter(|(a, b)| a != b).collect();
        assert!(changed.is_empty() && once.len() == twice.len(), "{platform}: {changed:?}");
    }
}

/// What is no secret on any platform, though it stands behind the name of one.
const NOWHERE: &str = "password minimum-length 8
password min-length 10
password complexity enable
password history 5
password expiration 90
password policy enable
password encryption-level 3
no password hardening enable
   password age expiration 365
password composition lowercase 2
key chain K
ntp server 192.0.2.1 key 1
ntp trusted-key 1
crypto key generate rsa modulus 2048
crypto ipsec transform-set T esp-aes esp-sha-hmac
username admin privilege 15
username admin role network-admin
route-map M permit 10
 set community 65000:100
 neighbor 192.0.2.1 send-community both
ip community-list standard X permit 65000:1
Password Complexity: Disabled
Minimum Password Length: 8
Password Expiration: 30 Days
Password Encryption: Enabled
Passphrase: Not Set
Password: Not configured
";

#[test]
fn names_of_settings_and_communities_of_bgp_are_shown() {
    let set = PlatformSet::built_in();
    let mut wrong = Vec::new();
    for platform in set.list() {
        let platform = platform.unwrap();
        // An array of disks speaks no BGP.
        if platform.name() == "hpe_msa" {
            continue;
        }
        let shown = redacted(&set, platform.name(), NOWHERE);
        let masked = shown.lines().filter(|l| l.contains("<secret"));
        wrong.extend(masked.map(|l| format!("{}: {l}", platform.name())));
    }
    none(&wrong);
}

#[test]
fn what_is_shown_anew_each_time_is_no_change() {
    let set = PlatformSet::built_in();
    let lines = tables().into_iter().find(|(p, _)| p == "fortinet_fortios").unwrap().1;
    let text = lines.replace(['«', '»'], "");
    let salted = Regex::new(r"ENC \S+").unwrap();
    let again = salted.replace_all(&text, "ENC YW5vdGhlciBkaXNwbGF5==");
    assert_ne!(text, again);
    assert_eq!(views(&set, "fortinet_fortios", &text), views(&set, "fortinet_fortios", &again));
}

#[test]
fn recordings_and_traces_hold_none_of_them() {
    let set = PlatformSet::built_in();
    let secret = Regex::new("S3CRET[A-Za-z0-9]*").unwrap();
    let mut wrong = Vec::new();
    for (platform, lines) in tables() {
        let text = lines.replace(['«', '»'], "").replace('\n', "\r\n");
        let platform = set.get(&platform).unwrap();
        let mut disguise = Disguise::new().unwrap();
        let out = disguise.bytes(text.as_bytes(), Some(&platform), &Login::default());
        let out = String::from_utf8(out).unwrap();
        let left = text.lines().zip(out.lines()).filter(|(line, _)| line.contains("S3CRET"));
        let left = left.filter(|(line, out)| secret.find_iter(line).any(|s| out.contains(s.as_str())));
        wrong.extend(left.map(|(_, out)| format!("{}: {out}", platform.name())));
        assert!(disguise.counts().0 > 0);
    }
    none(&wrong);
}

/// What is secret wherever it stands; `§` is the secret.
const ANYWHERE: &str = r#"
 password 7 §
username u password 0 §
 secret = "§"
  "api_token": "§",
<password>§</password>
<psk><![CDATA[§]]></psk>
 pre-shared-key §
 shared-secret encrypted "§"
set authentication-key §
 path ftp://u:§@192.0.2.1/x
 path scp://u:p@§@192.0.2.1/x
header "Authorization: Bearer §"
snmp-server community § ro
$9$§
ENC §
%^%#§%^%#
-AQ==§
snmp-server host 192.0.2.1 version 2c §
 ip rip authentication string §
createUser bob SHA "§" AES §
com2sec local default §
remote https://ghp_§0123456789abcdef@github.com/x
-----BEGIN RSA PRIVATE KEY-----
§
-----END RSA PRIVATE KEY-----
"#;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2))]

    #[test]
    fn whatever_the_secret_it_is_not_shown(secret in "Zq[A-Za-z0-9!$%&*+./=?@^_~-]{6,14}Zq") {
        let set = PlatformSet::built_in();
        let made_up = Regex::new("S3CRET[A-Za-z0-9]*").unwrap();
        let plain = secret.chars().filter(char::is_ascii_alphanumeric).collect::<String>() + "0123456789";
        for (platform, lines) in tables() {
            // Keys of AWS are known by their shape, which another word has not; addresses and headers take no sign as it is.
            let lines = lines.replace(['«', '»'], "");
            let lines = lines.lines().filter(|l| !l.contains("AKIA"));
            let text: String = lines.flat_map(|line| {
                let secret = if line.contains("://") || line.contains("Bearer ") { &plain } else { &secret };
                [made_up.replace_all(line, regex::NoExpand(secret)).into_owned(), "\n".to_owned()]
            }).collect();
            let shown = redacted(&set, &platform, &text);
            let left: Vec<_> = shown.lines().filter(|l| l.contains("Zq")).collect();
            prop_assert!(left.is_empty(), "{platform}: {left:?}");
        }
    }

    #[test]
    fn no_platform_shows_what_is_secret_anywhere(secret in "Zq[A-Za-z0-9]{10,20}Zq") {
        let set = PlatformSet::built_in();
        for platform in set.list() {
            let platform = platform.unwrap();
            let text = ANYWHERE.replace('§', &secret);
            let shown = redacted(&set, platform.name(), &text);
            let left: Vec<_> = shown.lines().filter(|l| l.contains("Zq")).collect();
            prop_assert!(left.is_empty(), "{}: {left:?}", platform.name());
        }
    }
}
