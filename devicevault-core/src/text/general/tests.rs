use proptest::prelude::*;

use super::*;

/// The line with every secret that is found as `#`.
fn shown(line: &str) -> String {
    let mut found = secrets_of_line(line.as_bytes(), false);
    found.sort_unstable_by_key(|r| (r.start, std::cmp::Reverse(r.end)));
    let (mut out, mut at) = (String::new(), 0);
    for range in found {
        if range.start >= at {
            out.push_str(&line[at..range.start]);
            out.push('#');
        }
        at = at.max(range.end);
    }
    out + &line[at..]
}

fn none(wrong: &[String]) {
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Every word that begins with `S3CRET` is masked, and nothing else of the line.
#[test]
fn secrets_go_and_the_rest_of_the_line_stays() {
    let lines = include_str!("secret_lines.txt").lines().filter(|l| !l.is_empty());
    let secret = regex::Regex::new(r"S3CRET[A-Za-z]*").unwrap();
    let marked = regex::Regex::new(r"«([^»]*)»").unwrap();
    let wrong: Vec<String> = lines
        .filter_map(|line| {
            let (plain, want) = if line.contains('«') {
                (marked.replace_all(line, "$1").into_owned(), marked.replace_all(line, "#").into_owned())
            } else {
                (line.to_owned(), secret.replace_all(line, "#").into_owned())
            };
            let got = shown(&plain);
            (got != want).then(|| format!("{got:?} where it should be {want:?}"))
        })
        .collect();
    none(&wrong);
}

#[test]
fn harmless_lines_stay() {
    let lines = include_str!("harmless_lines.txt").lines().filter(|l| !l.is_empty());
    let wrong: Vec<String> = lines.map(|l| (l, shown(l))).filter(|(l, s)| l != s).map(|(_, s)| s).collect();
    none(&wrong);
}

#[test]
fn a_mask_is_not_masked_again() {
    for line in ["password 7 <secret:0123456789ab>", "set password ENC <secret>", "ftp://u:<secret:0123456789ab>@h/x"] {
        assert_eq!(shown(line), line);
    }
    assert_eq!(shown("password <secret:not hexadecimal>"), "password # hexadecimal>");
    let masked = |text: &str| super::was_masked(text.as_bytes(), 0..text.len(), &super::masks(text.as_bytes()));
    for text in ["<secret>", "7 \"<secret:0123456789ab>\"", "md5 <secret> <secret:0123456789ab>"] {
        assert!(masked(text), "{text}");
    }
    for text in ["", "x", "<secret:0123456789ab>x", "word <secret>", "<secret:0123456789AG>", "<secret"] {
        assert!(!masked(text), "{text}");
    }
}

proptest! {
    #[test]
    fn no_line_is_too_strange(line in proptest::collection::vec(any::<u8>(), 0..200)) {
        for range in secrets_of_line(&line, true) {
            prop_assert!(range.start < range.end && range.end <= line.len());
        }
    }

    #[test]
    fn words_of_its_own_make_no_line_too_strange(words in proptest::collection::vec(prop_oneof![
        Just("password"), Just("key"), Just("\""), Just("'"), Just("\\"), Just("="), Just(":"), Just("<psk>"), Just("7"), Just("cipher"),
        Just("snmp"), Just("auth"), Just("sha"), Just("community"), Just("://"), Just("@"), Just("$9$"), Just("ENC"), Just(" "), Just(" "),
        Just("x"), Just("level"), Just("["), Just("</")], 0..30)) {
        let line = words.concat();
        for range in secrets_of_line(line.as_bytes(), true) {
            prop_assert!(range.start < range.end && range.end <= line.len());
        }
    }

    #[test]
    fn what_stands_behind_a_name_is_never_shown(
        name in prop_oneof![Just("password"), Just("secret"), Just("psk"), Just("pre-shared-key"), Just("auth-key"), Just("radius_secret"),
            Just("snmp community"), Just("token"), Just("key-string"), Just("passphrase"), Just("api-key"), Just("adminPassword"), Just("wpa2-psk")],
        between in prop_oneof![Just(" "), Just("="), Just(": "), Just(" 7 "), Just(" cipher "), Just(" 0 "), Just("  "), Just(" encrypted "),
            Just(" simple "), Just(" = "), Just(" \""), Just("=\""), Just(" hash sha512 "), Just("\": \"")],
        value in "[A-Za-z0-9!$%&*+./?^_~-]{1,4}Zq[A-Za-z0-9!$%&*+./?@^_~-]{5,30}",
        before in prop_oneof![Just(""), Just(" "), Just("set system "), Just("pw ")], after in prop_oneof![Just(""), Just(" x"), Just("\""), Just(";"), Just(" level 3")]) {
        let line = format!("{before}{name}{between}{value}{after}");
        prop_assert!(!shown(&line).contains("Zq"), "{} became {}", line, shown(&line));
    }
}

#[test]
fn long_lines_cost_no_more_than_their_length() {
    for part in
        ["password ", "key", "secret cipher ", "<password ", "password \"", "a:b@c ", "snmp auth sha ", "$9$", "[ key "]
    {
        let line = part.repeat((1 << 20) / part.len());
        let _ = secrets_of_line(line.as_bytes(), false);
    }
}
