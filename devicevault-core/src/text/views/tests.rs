use std::sync::{Arc, LazyLock};

use proptest::prelude::*;

use bytes::Bytes;
use regex::bytes::Regex;

use super::*;
use crate::text::{Prefilter, ProseRule, SecretRule, ShapeRule};

fn re(s: &str) -> Regex {
    Regex::new(s).unwrap()
}

fn rules() -> TextRules {
    prefiltered(unfiltered())
}

fn prefiltered(rules: TextRules) -> TextRules {
    let any = Prefilter::new(rules.expressions().map(Regex::as_str), true).unwrap();
    rules.with_prefilter(any)
}

fn unfiltered() -> TextRules {
    let mut rules = TextRules::default();
    rules.volatile.push(LineRule::drop(re("^! Time:")));
    rules.volatile.push(LineRule::drop(re("^Current configuration")).in_head(3));
    rules.volatile.push(LineRule::replace(re(r"clock-period \d+"), "clock-period 0"));
    rules.volatile_blocks.push(BlockRule::new(re("^<revision>"), re("^</revision>")));
    rules.secrets.push(SecretRule::new(re(r"community (\S+)")));
    rules.secrets.push(SecretRule::new(re(r"auth (?<secret>\S+) priv (?<secret2>\S+)")));
    rules.secrets.push(SecretRule::new(re(r"^ +key (\S+)$")).within(re("^aaa-server")));
    rules.secrets.push(SecretRule::new(re(r"ENC (\S+)")).resalted(true));
    rules.secret_blocks.push(
        BlockRule::new(re(r#"^(?<keep> *set private-key )".*"#), re(r#"-----END.*"$"#)).keep_end(false).resalted(true),
    );
    rules.secret_blocks.push(BlockRule::new(re("^ssd-control-start"), re("^ssd-control-end")));
    rules
}

fn views_of(text: &[u8], cuts: &[usize]) -> (String, String) {
    let (mut clean, mut redacted) = (BytesMut::new(), BytesMut::new());
    let mut maker = ViewMaker::new(Arc::new(rules()), InstanceKey::new([1; 32]), "d".into(), 1 << 20);
    let mut at = 0;
    for cut in cuts.iter().map(|c| c % (text.len() + 1)).filter(|c| *c > 0) {
        let to = at.max(cut);
        maker.push(&text[at..to], &mut clean, &mut redacted).unwrap();
        at = to;
    }
    maker.push(&text[at..], &mut clean, &mut redacted).unwrap();
    maker.finish(&mut clean, &mut redacted);
    (String::from_utf8_lossy(&clean).into_owned(), String::from_utf8_lossy(&redacted).into_owned())
}

fn views(text: &str) -> (String, String) {
    views_of(text.as_bytes(), &[])
}

fn unmask(text: &str) -> String {
    re("<secret:[0-9a-f]{12}>").replace_all(text.as_bytes(), &b"<M>"[..]).iter().map(|b| char::from(*b)).collect()
}

#[test]
fn a_private_key_without_a_frame_is_masked_and_what_follows_is_not() {
    let body = [
        "MHcCAQEEIIrYSSNQFaA2Hwf1duRSxKtLYX5CB04fSeQ6tF1aY/PuoAoGCCqGSM49",
        "AwEHoUQDQgAEPR3tU2Fta9ktY+6P9G0cWO+0kETA6SFs38GecTyudlHz6xvCdz8q",
        "EKTcWGekdmdDPsHloRNtsiCa697B2O9IFA==",
    ];
    let (_, redacted) = views(&format!("crypto key\n {}\n {}\n {}\nexit\nhostname r1\n", body[0], body[1], body[2]));
    assert_eq!(unmask(&redacted), "crypto key\n <M>\n <M>\n <M>\nexit\nhostname r1\n");
}

#[test]
fn a_value_below_its_name_is_masked_and_what_follows_is_not() {
    let text = "db:\n  password: |\n    first line\n\n    second: line\n  user: bob\n  secret:\n    S3cret\n  name: x\nsecret:\n  file: a\n  b\n";
    let (clean, redacted) = views(text);
    assert_eq!(clean, text);
    let want =
        "db:\n  password: |\n    <M>\n\n    <M>\n  user: bob\n  secret:\n    <M>\n  name: x\nsecret:\n  file: a\n  b\n";
    assert_eq!(unmask(&redacted), want);
    assert_eq!(views(&redacted).1, redacted);
}

#[test]
fn volatile_lines_are_left_out_or_levelled() {
    let (clean, _) = views(
        "Current configuration : 9\na\n! Time: 1\nntp clock-period 17\n<revision>\nx\n</revision>\nCurrent configuration stays",
    );
    assert_eq!(clean, "a\nntp clock-period 0\nCurrent configuration stays");
}

#[test]
fn secrets_are_masked_where_they_stand() {
    let (clean, redacted) = views(
        "snmp community pub RO\nuser auth a1 priv b2 end\nkey 10\naaa-server X\n host 1\n  key k3y\nother\n key 10\n",
    );
    assert_eq!(
        clean,
        "snmp community pub RO\nuser auth a1 priv b2 end\nkey 10\naaa-server X\n host 1\n  key k3y\nother\n key 10\n"
    );
    assert_eq!(
        unmask(&redacted),
        "snmp community <M> RO\nuser auth <M> priv <M> end\nkey 10\naaa-server X\n host 1\n  key <M>\nother\n key 10\n"
    );
}

#[test]
fn a_changed_secret_shows_and_a_resalted_one_does_not() {
    assert_ne!(views("community a").1, views("community b").1);
    assert_eq!(views("set password ENC abc").0, "set password ENC <secret>");
    assert_eq!(views("set password ENC abc"), views("set password ENC xyz"));
}

#[test]
fn blocks_are_masked_as_a_whole() {
    let pem = "x\n-----BEGIN RSA PRIVATE KEY-----\nAAAA\nBBBB\n-----END RSA PRIVATE KEY-----\ny\n";
    let (clean, redacted) = views(pem);
    assert_eq!(clean, pem);
    assert_eq!(unmask(&redacted), "x\n-----BEGIN RSA PRIVATE KEY-----\n<M>\n-----END RSA PRIVATE KEY-----\ny\n");

    let forti = |body: &str| {
        format!(
            "edit 1\n  set private-key \"-----BEGIN ENCRYPTED PRIVATE KEY-----\n{body}\n-----END ENCRYPTED PRIVATE KEY-----\"\nnext\n"
        )
    };
    let (clean, redacted) = views(&forti("AA\nBB"));
    assert_eq!(redacted, "edit 1\n  set private-key <secret>\nnext\n");
    assert_eq!(clean, redacted);
    assert_eq!(views(&forti("AA\nBB")), views(&forti("CC")));

    let (_, redacted) = views("ssd-control-start\nabc\nssd-control-end\nend\n");
    assert_eq!(unmask(&redacted), "ssd-control-start\n<M>\nssd-control-end\nend\n");
}

#[test]
fn a_block_without_its_end_stays_masked() {
    let (_, redacted) = views("-----BEGIN PRIVATE KEY-----\nAAAA\ncommunity x");
    assert_eq!(unmask(&redacted), "-----BEGIN PRIVATE KEY-----\n<M>\n");
    // What follows is in no view but the original: it is compared, and somebody is told.
    let open = |rest: &str| format!("a\nset private-key \"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAA\n{rest}\n");
    let (clean, redacted) = views(&open("policy 1"));
    assert_eq!(redacted, "a\nset private-key <secret>\n");
    assert_ne!(clean, views(&open("policy 2")).0);
    let mut maker = ViewMaker::new(Arc::new(rules()), InstanceKey::new([1; 32]), "d".into(), 1 << 20);
    let (mut clean, mut redacted) = (BytesMut::new(), BytesMut::new());
    maker.push(open("policy 1").as_bytes(), &mut clean, &mut redacted).unwrap();
    assert_eq!(maker.finish(&mut clean, &mut redacted), ["a secret that begins in line 2 has no end"]);
}

#[test]
fn an_endless_line_is_refused() {
    let mut maker = ViewMaker::new(Arc::default(), InstanceKey::new([1; 32]), "d".into(), 10);
    let (mut a, mut b) = (BytesMut::new(), BytesMut::new());
    assert!(maker.push(b"12345\n67890", &mut a, &mut b).is_ok());
    assert_eq!(maker.push(b"123456", &mut a, &mut b).unwrap_err().kind(), ErrorKind::TooLarge);
}

fn line_ends(text: &[u8], cuts: &[usize]) -> Vec<u8> {
    let (mut ends, mut out) = (LineEnds::default(), BytesMut::new());
    let text = Bytes::copy_from_slice(text);
    let mut at = 0;
    for cut in cuts.iter().map(|c| c % (text.len() + 1)) {
        let to = at.max(cut);
        ends.push(&text.slice(at..to), &mut out);
        at = to;
    }
    ends.push(&text.slice(at..), &mut out);
    ends.finish(&mut out);
    out.to_vec()
}

proptest! {
    #[test]
    fn views_do_not_depend_on_chunks(lines in proptest::collection::vec(prop_oneof![
        Just("a".to_owned()), Just("! Time: x".to_owned()), Just("community s RO".to_owned()), Just(" key k".to_owned()), Just("aaa-server".to_owned()),
        Just("-----BEGIN PRIVATE KEY-----".to_owned()), Just("-----END PRIVATE KEY-----".to_owned()), Just("<revision>".to_owned()), Just("</revision>".to_owned()),
        Just(" set private-key \"x".to_owned()), Just("-----END x\"".to_owned()), Just("p ENC q".to_owned()), ".*"], 0..20), cuts in proptest::collection::vec(any::<usize>(), 0..10)) {
        let text = lines.join("\n");
        prop_assert_eq!(views_of(text.as_bytes(), &cuts), views(&text));
    }

    #[test]
    fn no_secret_is_left_in_redacted(secret in "[a-z]{12}", before in "[a-z]{0,9}", tail in " [a-z]{0,9}") {
        let text = format!("{before}\nsnmp community {secret}{tail}\nx ENC {secret}\n-----BEGIN PRIVATE KEY-----\n{secret}\n-----END PRIVATE KEY-----\n");
        prop_assert!(!views(&text).1.contains(&secret));
    }

    #[test]
    fn bytes_that_are_not_utf8_survive(line in proptest::collection::vec(any::<u8>().prop_filter("one line", |b| *b != b'\n'), 0..40)) {
        let (mut clean, mut redacted) = (BytesMut::new(), BytesMut::new());
        let mut maker = ViewMaker::new(Arc::default(), InstanceKey::new([1; 32]), "d".into(), 1 << 20);
        maker.push(&line, &mut clean, &mut redacted).unwrap();
        maker.finish(&mut clean, &mut redacted);
        prop_assert_eq!(&clean[..], &line[..]);
        prop_assert!(!redacted.contains(&0));
    }

    #[test]
    fn nothing_of_utf16_is_shown(secret in "[a-z]{6,12}", big in any::<bool>(), crlf in any::<bool>()) {
        let text = format!("hostname r1\npassword {secret}\n\nbanner {secret} x\n");
        let text = if crlf { text.replace('\n', "\r\n") } else { text };
        let bytes: Vec<u8> = text.encode_utf16().flat_map(|c| if big { c.to_be_bytes() } else { c.to_le_bytes() }).collect();
        let (clean, redacted) = views_bytes(&bytes);
        prop_assert_eq!(clean, bytes);
        let shown: Vec<u8> = redacted.into_iter().filter(|b| *b != 0).collect();
        prop_assert!(!String::from_utf8_lossy(&shown).contains(&secret[..4]) && !shown.windows(8).any(|w| w == b"hostname"));
    }

    #[test]
    fn line_ends_become_lf_wherever_the_text_is_cut(text in "[ab\r\n]{0,40}", cuts in proptest::collection::vec(any::<usize>(), 0..8)) {
        let want = re("\r+\n").replace_all(text.as_bytes(), &b"\n"[..]).into_owned();
        prop_assert_eq!(line_ends(text.as_bytes(), &cuts), want);
    }
}

#[test]
fn secrets_that_no_rule_names_are_masked_by_what_they_are() {
    let (clean, redacted) =
        views("radius key 7 0822455D0A16\ncopy run ftp://u:p@ss@192.0.2.1/x\npassword-policy enable\n");
    assert_eq!(clean, "radius key 7 0822455D0A16\ncopy run ftp://u:p@ss@192.0.2.1/x\npassword-policy enable\n");
    assert_eq!(unmask(&redacted), "radius key 7 <M>\ncopy run ftp://u:<M>@192.0.2.1/x\npassword-policy enable\n");
}

#[test]
fn a_platform_says_which_lines_hold_none() {
    let mut rules = TextRules::default();
    rules.plain.push(re("^token "));
    let (mut clean, mut redacted) = (BytesMut::new(), BytesMut::new());
    let mut maker = ViewMaker::new(Arc::new(rules), InstanceKey::new([1; 32]), "d".into(), 1 << 20);
    maker.push(b"token tray\ntoken $9$abcdefgh\n", &mut clean, &mut redacted).unwrap();
    maker.finish(&mut clean, &mut redacted);
    assert_eq!(unmask(&String::from_utf8_lossy(&redacted)), "token tray\ntoken <M>\n");
}

#[test]
fn the_lines_of_a_blocks_frame_are_masked_like_others() {
    let (_, redacted) = views("ssd-control-start password hunter2\nabc\nssd-control-end secret hunter3\nend\n");
    assert_eq!(unmask(&redacted), "ssd-control-start password <M>\n<M>\nssd-control-end secret <M>\nend\n");
}

#[test]
fn a_rule_that_takes_the_word_before_a_secret_hides_the_secret_too() {
    let (_, redacted) =
        views("bgp community cipher hunter2 end\nbgp community 192.0.2.1 hunter2\nbgp community 7 hunter2\n");
    assert_eq!(unmask(&redacted), "bgp community <M> end\nbgp community <M>\nbgp community <M>\n");
}

fn continued(text: &str, cuts: &[usize]) -> (String, String) {
    let mut rules = rules();
    rules.continued = Some(re(r"\\$"));
    let (mut clean, mut redacted) = (BytesMut::new(), BytesMut::new());
    let mut maker = ViewMaker::new(Arc::new(rules), InstanceKey::new([1; 32]), "d".into(), 1 << 20);
    let mut at = 0;
    for cut in cuts.iter().map(|c| c % (text.len() + 1)) {
        let to = at.max(cut);
        maker.push(&text.as_bytes()[at..to], &mut clean, &mut redacted).unwrap();
        at = to;
    }
    maker.push(&text.as_bytes()[at..], &mut clean, &mut redacted).unwrap();
    maker.finish(&mut clean, &mut redacted);
    (String::from_utf8_lossy(&clean).into_owned(), String::from_utf8_lossy(&redacted).into_owned())
}

#[test]
fn what_is_broken_over_lines_is_looked_at_as_one() {
    let text = "add name=u pass\\\n    word=hunter2 x=y\nadd secret=\"hunt\\\n    er2\" z=1\nadd secret=\\\n    hunter2\nlast \\\n";
    let (clean, redacted) = continued(text, &[]);
    assert_eq!(clean, text);
    assert_eq!(
        unmask(&redacted),
        "add name=u pass\\\n    word=<M> x=y\nadd secret=\"<M>\" z=1\nadd secret=\\\n    <M>\nlast \\\n"
    );
    // The mask of a value does not change with where it is broken.
    assert_eq!(continued("secret=hunter2\n", &[]).1, continued("secret=hunt\\\n    er2\n", &[]).1);
}

proptest! {
    #[test]
    fn broken_lines_do_not_depend_on_chunks(text in "[ab=\\\\\n ]{0,40}", cuts in proptest::collection::vec(any::<usize>(), 0..8)) {
        let whole = continued(&text, &[]);
        prop_assert_eq!(&whole.0, &text);
        let mut cuts = cuts;
        cuts.sort_unstable();
        prop_assert_eq!(continued(&text, &cuts), whole);
    }
}

fn views_bytes(text: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut clean, mut redacted) = (BytesMut::new(), BytesMut::new());
    let mut maker = ViewMaker::new(Arc::default(), InstanceKey::new([1; 32]), "d".into(), 1 << 20);
    maker.push(text, &mut clean, &mut redacted).unwrap();
    maker.finish(&mut clean, &mut redacted);
    (clean.to_vec(), redacted.to_vec())
}

/// What tells of failures and of where a text ends, beside the other rules.
fn watchful(with_prefilter: bool, shape: bool) -> TextRules {
    let mut rules = unfiltered();
    rules.suspect.failure.push(re("^% Invalid"));
    rules.suspect.prose.push(ProseRule::until_its_mark(re(r"^banner (?<until>\S)")));
    rules.suspect.end_marker = Some(re("^end *$"));
    rules.suspect.required.push(re("^version"));
    rules.suspect.stated_length = Some(re(r"^Length (?<bytes>\d+)"));
    rules.suspect.shape = shape.then(|| ShapeRule::new(re("^hostname"), re("x$")));
    if with_prefilter { prefiltered(rules) } else { rules }
}

static WATCHFUL: LazyLock<[Arc<TextRules>; 4]> = LazyLock::new(|| {
    [(false, false), (true, false), (false, true), (true, true)]
        .map(|(filter, shape)| Arc::new(watchful(filter, shape)))
});

proptest! {
    #[test]
    fn lines_that_pass_as_a_whole_leave_what_they_leave_one_by_one(
        lines in proptest::collection::vec(prop_oneof![
            3 => " {0,3}[a-c]{0,2} {0,2}".prop_map(|s| s),
            1 => prop::sample::select(vec![
                "community s RO", " key k", "aaa-server", "aaa-server", "<revision>", "</revision>", "p ENC q", "password:", "    x",
                "-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----", "% Invalid", "banner #", "x#", "Length 9", "Length 90",
                "version 1", "hostname a", "end", "end  ", "end\t", "a\0b", "snmp-server user u auth md5 k1", "  auth k2", "\u{b}", "\r",
                "set a \"b", "! Time: 1", "clock-period 7",
            ]).prop_map(str::to_owned),
        ], 0..40),
        last in prop_oneof!["", "\n", "\n\n"], cuts in proptest::collection::vec(0..400_usize, 0..4), shape in any::<bool>(),
    ) {
        let text = lines.join("\n") + &last;
        let made = |with_prefilter: bool| {
            let (mut clean, mut redacted) = (BytesMut::new(), BytesMut::new());
            let rules = WATCHFUL[usize::from(with_prefilter) + 2 * usize::from(shape)].clone();
            let mut maker = ViewMaker::new(rules, InstanceKey::new([1; 32]), "d".into(), 1 << 20);
            let mut cuts: Vec<_> = cuts.iter().map(|c| c % (text.len() + 1)).chain([0, text.len()]).collect();
            cuts.sort_unstable();
            for part in cuts.windows(2) {
                maker.push(&text.as_bytes()[part[0]..part[1]], &mut clean, &mut redacted).unwrap();
            }
            let length = maker.stated_length();
            let why = maker.finish(&mut clean, &mut redacted);
            (clean, redacted, length, why)
        };
        prop_assert_eq!(made(true), made(false));
    }
}
