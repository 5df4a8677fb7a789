//! Where the name of a secret says something else: `password history 5`, `key chain K`, a community of BGP.
//!
//! Rules of platforms take the word behind `password`, `key` or `community` for a secret, and a mask where there is none hides
//! a change. Shown is what cannot be one: a line that is made of a vendor's words and numbers alone, the number of a key, the
//! kind of a public one, a community that is written as those of BGP are and does not stand near SNMP.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::ops::Range;
use std::sync::LazyLock;

use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};

/// Whole lines. A word that somebody chose is in none of them, but for the name of a key chain, of a user or of a transform
/// set. IOS writes one blank before the password of a line, and that may have blanks in it: one blank is in none of them.
const LINES: &[&str] = &[
    r"^(?:  +)?(?:no )?passwords? (?:min(?:imum)?(?:-passwd)?-len(?:gth)?|max(?:imum)?-len(?:gth)?|length (?:min|max)(?:imum)?|(?:min|max)(?:imum)? length|(?:password-)?history|aging(?:-time)?(?: day)?|age (?:expiration|warning)|expir(?:e|ation)(?:-time|-days)?|lifetime|(?:default-)?lock-?out(?:-time|-count)?|change-interval|retr(?:y|ies)|encryption-level|strength-check|complexity(?:-check)?|policy|hardening|username-password-match) (?:\d{1,5}|enabled?|disabled?)\s*$",
    // ArubaOS-Switch.
    r"^(?:no )?password (?:configuration-control|non-plaintext-sha256|complexity (?:all|repeat-char-check|repeat-password-check|user-name-check)|composition (?:lowercase|uppercase|number|specialcharacter) \d{1,2}|configuration (?:aging|history)|configuration (?:aging-period|history-record|alert-before-expiry|update-interval-time) \d{1,4})\s*$",
    r"^(?:no )?key[ -]chain \S+(?: (?:tcp|macsec))?\s*$",
    r"^(?:  +)?(?:no )?crypto key (?:generate|zeroize)(?: (?:rsa|dsa|ec|ecdsa|ed25519|usage-keys|general-keys|exportable|modulus|redundancy|\d{3,5}))*\s*$",
    r"^\s*crypto ipsec transform-set \S+(?: (?:esp|ah)-[a-z0-9-]{2,20})*\s*$",
    r"^(?:  +)?user(?:name)? \S+ (?:privilege \d{1,2}|role [\w.-]{1,32})\s*$",
    // What a page of a status says.
    r"(?i)^\s*(?:[a-z]{2,16}[ -]){0,3}pass ?(?:word|phrase)s? (?:complexity|(?:min(?:imum)? |max(?:imum)? )?length|expiration|expiry|history|aging|age|encryption|lifetime|required|change allowed|policy|strength|retries|lockout|recovery|protection) *[:=] *(?:\d{1,5}(?: (?:days?|hours?|minutes?|characters?))?|enabled?|disabled?|yes|no|on|off|none|never)\s*$",
    r"(?i)^\s*(?:[a-z]{2,16}[ -]){0,3}[a-z]{2,16} *[:=] *not (?:set|configured|defined|available|applicable)\s*$",
];

/// A server of NTP is told the number of a key.
const NTP: &str = r"^\s*(?:set (?:system )?|configure )?s?ntp (?:(?:server|peer|broadcast|multicast)\b.*\bkey(?:-id|id)?|trusted-key)$";
/// The keys of a chain are numbered.
const CHAIN: &str = r"^\s*key[ -]chain \S+(?: (?:tcp|macsec))?\s*$";

static SETTINGS: LazyLock<RegexSet> = LazyLock::new(settings);
static NUMBERED: LazyLock<Regex> = LazyLock::new(|| built_in(NTP));
static OF_A_CHAIN: LazyLock<Regex> = LazyLock::new(|| built_in(CHAIN));

#[allow(clippy::expect_used, reason = "built-in expressions, compiled by the tests of this module")]
fn settings() -> RegexSet {
    RegexSetBuilder::new(LINES).unicode(false).build().expect("built-in expressions")
}

#[allow(clippy::expect_used, reason = "built-in expressions, compiled by the tests of this module")]
fn built_in(text: &str) -> Regex {
    RegexBuilder::new(text).unicode(false).build().expect("a built-in expression")
}

/// What a line stands below.
pub(in crate::text) struct Above<S, C> {
    /// Whether one of those lines speaks of SNMP.
    pub(in crate::text) snmp: S,
    /// Whether one of those lines matches.
    pub(in crate::text) matches: C,
}

/// Whether what was taken for a secret is none, though it stands behind the name of one.
pub(in crate::text) fn is_setting<S, C>(line: &[u8], of: &Range<usize>, above: &Above<S, C>) -> bool
where
    S: Fn() -> bool,
    C: Fn(&Regex) -> bool,
{
    let value = line.get(of.clone()).unwrap_or_default();
    let before = line.get(..of.start).unwrap_or_default().trim_ascii_end();
    let start = before.iter().rposition(u8::is_ascii_whitespace).map_or(0, |at| at + 1);
    let name = before.get(start..).unwrap_or_default();
    let number = !value.is_empty() && value.len() <= 5 && value.iter().all(u8::is_ascii_digit);
    match name {
        b"send-community" if matches!(value, b"both" | b"standard" | b"extended" | b"large" | b"all") => true,
        b"community-list" | b"extcommunity-list" | b"large-community-list"
            if matches!(value, b"standard" | b"expanded" | b"extended") =>
        {
            true
        }
        b"community" if is_of_bgp(value) => !speaks_of_snmp(line) && !(above.snmp)(),
        b"key" if number && before.trim_ascii() == b"key" => (above.matches)(&OF_A_CHAIN),
        _ if is_kind_of_public_key(value) => true,
        _ if number && NUMBERED.is_match(before) => true,
        _ => SETTINGS.is_match(line),
    }
}

/// `65000:100`, and three numbers of a large community.
fn is_of_bgp(word: &[u8]) -> bool {
    let number = |part: &[u8]| (1..=10).contains(&part.len()) && part.iter().all(u8::is_ascii_digit);
    let parts = word.split(|b| *b == b':');
    parts.clone().all(number) && (2..=3).contains(&parts.count())
}

fn speaks_of_snmp(line: &[u8]) -> bool {
    line.windows(4).any(|word| word.eq_ignore_ascii_case(b"snmp"))
}

fn is_kind_of_public_key(word: &[u8]) -> bool {
    const KINDS: [&[u8]; 6] = [
        b"ssh-rsa",
        b"ssh-dss",
        b"ssh-ed25519",
        b"ecdsa-sha2-nistp256",
        b"ecdsa-sha2-nistp384",
        b"ecdsa-sha2-nistp521",
    ];
    KINDS.contains(&word)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;

    /// Whether the value is shown that stands last in the line, below another one.
    fn shown(line: &str, value: &str, header: &str) -> bool {
        let at = line.rfind(value).unwrap();
        let above = Above { snmp: || header.contains("snmp"), matches: |r: &Regex| r.is_match(header.as_bytes()) };
        is_setting(line.as_bytes(), &(at..at + value.len()), &above)
    }

    #[test]
    fn settings_are_shown() {
        for (line, value, header) in [
            ("password minimum-length 8", "minimum-length", ""),
            ("password min-length 10", "min-length 10", ""),
            ("no password hardening enable", "hardening enable", ""),
            ("   password length minimum 8", "length minimum 8", ""),
            ("   password age expiration 365", "age expiration 365", ""),
            ("password history 5", "history", ""),
            ("password complexity enable", "complexity", ""),
            ("password policy enable", "policy", ""),
            ("password encryption-level 3", "encryption-level", ""),
            ("password expiration 90", "expiration", ""),
            ("password password-history 3", "password-history", ""),
            ("password min-passwd-len 10", "min-passwd-len", ""),
            ("password aging-time day 90", "aging-time", ""),
            ("password default-lockout-time 60", "default-lockout-time", ""),
            ("password configuration-control", "configuration-control", ""),
            ("password composition lowercase 2", "composition", ""),
            ("password non-plaintext-sha256", "non-plaintext-sha256", ""),
            ("key chain K", "chain", ""),
            ("key chain K macsec", "chain K macsec", ""),
            (" key 1", "1", "key chain K"),
            ("crypto key generate rsa modulus 2048", "generate", ""),
            ("crypto ipsec transform-set T esp-aes esp-sha-hmac", "transform-set", ""),
            ("username admin privilege 15", "privilege 15", ""),
            ("username admin role network-admin", "role network-admin", ""),
            ("username admin ssh-key ssh-rsa AAAAB3NzaC1yc2E= a@b", "ssh-rsa", ""),
            (" set community 65000:100", "65000:100", "route-map M permit 10"),
            (" set community 65000:100 65000:200 additive", "65000:100", ""),
            (" apply community 1:2:3", "1:2:3", ""),
            (" neighbor 192.0.2.1 send-community both", "both", ""),
            ("ip community-list standard X permit 65000:1", "standard", ""),
            ("ntp server 192.0.2.9 key 7", "7", ""),
            ("ntp trusted-key 5", "5", ""),
            ("Password Complexity: Disabled", "Complexity:", ""),
            ("Minimum Password Length: 8", "Length:", ""),
            ("Password Expiration: 30 Days", "Expiration: 30 Days", ""),
            ("Password Change Allowed: Yes", "Change", ""),
            ("Admin Passphrase: Not Set", "Not Set", ""),
        ] {
            assert!(shown(line, value, header), "{line}");
        }
    }

    #[test]
    fn secrets_are_not() {
        for (line, value, header) in [
            // The password of a line of IOS, which may have blanks.
            (" password history 5", "history 5", "line vty 0 4"),
            ("password minimum-length", "minimum-length", ""),
            ("password policy hunter2", "policy", ""),
            ("password history 5 hunter2", "history", ""),
            ("password minimum-length 8x", "minimum-length", ""),
            ("password 8", "8", ""),
            ("password enable", "enable", ""),
            (" key chain K", "chain K", "radius server R"),
            (" key 1", "1", "radius server R"),
            (" key 123456", "123456", "key chain K"),
            (" key 7 0822455D0A16", "0822455D0A16", "key chain K"),
            ("tacacs-server key 12345", "12345", ""),
            ("ntp authentication-key 1 md5 12345", "12345", ""),
            ("tunnel key 12345", "12345", ""),
            ("username bob password privilege", "privilege", ""),
            ("username bob hunter2", "hunter2", ""),
            ("username bob privilege 15 secret hunter2", "hunter2", ""),
            ("snmp-server community 65000:100 ro", "65000:100", ""),
            (" community 65000:100", "65000:100", "snmp"),
            (" set community 65000:100:1:2", "65000:100:1:2", ""),
            (" set community 65000:1a", "65000:1a", ""),
            (" neighbor 192.0.2.1 password both", "both", ""),
            ("Password Hash: Disabled", "Hash:", ""),
            ("Password: Disabled", "Disabled", ""),
            ("Password: Not Hunter2", "Not", ""),
            ("crypto key generate rsa label hunter2", "generate", ""),
            ("crypto isakmp key transform-set address 192.0.2.1", "transform-set", ""),
        ] {
            assert!(!shown(line, value, header), "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_the_word_the_line_holds_no_other(word in "[A-Za-z][A-Za-z0-9!$%&*+./?@^_~]{3,20}") {
            for before in ["password ", "password history ", "password min-length ", "crypto key generate ", "enable secret ", "key "] {
                let line = format!("{before}{word}");
                let known = ["enable", "enabled", "disable", "disabled"].contains(&word.as_str());
                proptest::prop_assume!(!known && !word.starts_with("ssh-"));
                proptest::prop_assert!(!shown(&line, &word, ""), "{}", line);
            }
        }
    }
}
