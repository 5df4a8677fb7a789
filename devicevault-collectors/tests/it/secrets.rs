//! What the redacted view of each platform hides and what it leaves: `tests/secrets/NAME.txt` holds lines of configurations
//! with made-up secrets, each in «guillemets».

use std::path::Path;

use bytes::BytesMut;
use devicevault_collectors::PlatformSet;
use devicevault_core::text::{InstanceKey, ViewMaker};
use proptest::prelude::*;
use regex::Regex;

fn redacted(set: &PlatformSet, platform: &str, text: &str) -> String {
    let platform = set.get(platform).unwrap();
    let rules = platform.artefacts().find(|a| a.mandatory).unwrap().rules.clone();
    let (mut clean, mut redacted) = (BytesMut::new(), BytesMut::new());
    let mut maker = ViewMaker::new(rules, InstanceKey::new([7; 32]), "d".into(), 1 << 20);
    maker.push(text.as_bytes(), &mut clean, &mut redacted).unwrap();
    let _ = maker.finish(&mut clean, &mut redacted);
    String::from_utf8(redacted.into()).unwrap()
}

fn none(wrong: &[String]) {
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn of_every_line_the_secrets_go_and_the_rest_stays() {
    let set = PlatformSet::built_in();
    let marked = Regex::new("«([^»]*)»").unwrap();
    let mask = Regex::new("<secret(?::[0-9a-f]{12})?>").unwrap();
    let mut wrong = Vec::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/secrets");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 40, "the platforms most in use are all there: {}", files.len());
    for file in files {
        let platform = file.file_stem().unwrap().to_str().unwrap();
        let lines = std::fs::read_to_string(&file).unwrap();
        let shown = redacted(&set, platform, &marked.replace_all(&lines, "$1"));
        let (want, got) = (marked.replace_all(&lines, "#"), mask.replace_all(&shown, "#"));
        let pairs = want.lines().zip(got.lines()).filter(|(want, got)| want != got);
        wrong.extend(pairs.map(|(want, got)| format!("{platform}: {got:?} where it should be {want:?}")));
        if want.lines().count() != got.lines().count() {
            wrong.push(format!("{platform}: lines came or went"));
        }
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
remote https://ghp_§0123456789abcdef@github.com/x
-----BEGIN RSA PRIVATE KEY-----
§
-----END RSA PRIVATE KEY-----
"#;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]

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
