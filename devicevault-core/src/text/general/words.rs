//! The words that network configurations name secrets by, and those that stand around them.

/// What the names of secrets have in common, in any case: a line without any of them has no keyword.
pub(super) const STEMS: &[&str] = &[
    "pass",
    "secret",
    "psk",
    "key",
    "communit",
    "token",
    "credential",
    "pwd",
    "cak",
    "pmk",
    "snmp",
    "usm",
    "-pw",
    "_pw",
    "pw ",
    "pw=",
    "bindpw",
    "phrase",
];

/// What kind of secret a name announces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// What follows is a secret.
    Secret,
    /// The bare word `key`: it numbers and names keys too.
    Key,
    /// Of SNMP, or of BGP where it is none.
    Community,
    /// `auth` and `priv` of an SNMPv3 user: a secret follows where an algorithm stands between.
    Snmpv3,
}

/// Ends of names that are secrets, digits and [`SUFFIXES`] aside.
const SECRET_ENDS: &[&str] = &[
    "password",
    "passwords",
    "passwd",
    "passphrase",
    "pass-phrase",
    "pass_phrase",
    "passcode",
    "secret",
    "secrets",
    "psk",
    "pwd",
    "token",
    "-pass",
    "_pass",
    "-key",
    "_key",
    "apikey",
    "authkey",
    "privkey",
    "enckey",
    "passkey",
    "sharedkey",
    "privatekey",
    "secretkey",
    "accesskey",
    "accountkey",
    "keystring",
    "phrase",
    "_cak",
    "-cak",
    "sessionkey",
    "bindpw",
];

/// Names that are secrets as they stand.
const SECRET_NAMES: &[&str] = &[
    "cak",
    "pmk",
    "pw",
    "common-pw",
    "bind-pw",
    "user-pw",
    "admin-pw",
    "auth-pw",
    "priv-pw",
    "userpass",
    "authpass",
    "privpass",
    "bindpass",
    "proxypass",
    "newpass",
    "requirepass",
    "proxy-pass",
    "pskey",
    "encrypted-key",
];

/// Ends of names that are none though they end like one: public keys, numbers of keys, words of other trades.
const PLAIN_ENDS: &[&str] = &[
    "public-key",
    "public_key",
    "publickey",
    "pub-key",
    "pub_key",
    "ssh-key",
    "key-hash",
    "key_hash",
    "ssh_key",
    "host-key",
    "host_key",
    "hostkey",
    "rsa-key",
    "dsa-key",
    "ecdsa-key",
    "ed25519-key",
    "authorized-key",
    "addressed-key",
    "named-key",
    "trusted-key",
    "request-key",
    "control-key",
    "admin-key",
    "actor-key",
    "partner-key",
    "oper-key",
    "lacp-key",
    "lag-key",
    "aggregation-key",
    "tunnel-key",
    "gre-key",
    "primary-key",
    "foreign-key",
    "sort-key",
    "hash-key",
    "index-key",
    "no-password",
    "nopassword",
    "nopasswd",
    "no-secret",
    "by-pass",
    "low-pass",
    "reset-password",
    "change-password",
];

/// What is added to a name without changing what it is.
const SUFFIXES: &[&str] = &[
    "-octet-string",
    "-string",
    "_string",
    "-value",
    "_value",
    "-text",
    "-hash",
    "_hash",
    "-hashed",
    "-encrypted",
    "_encrypted",
    "-encrypt",
    "-enc",
    "_enc",
    "-cipher",
    "-ciphertext",
    "-plain",
    "-plaintext",
    "-clear",
    "-cleartext",
    "-hex",
    "-ascii",
];

/// Longer names are none.
const LONGEST: usize = 96;

/// What a name announces; `None` for a name of something else.
pub(super) fn class(name: &[u8]) -> Option<Class> {
    if name.len() > LONGEST {
        return None;
    }
    let lower = name.to_ascii_lowercase();
    let whole = lower.trim_ascii();
    let whole = trim(whole, |b| b == b'-' || b == b'_');
    if matches!(whole, b"auth" | b"authentication" | b"authentication-mode" | b"auth-protocol" | b"priv") {
        return Some(Class::Snmpv3);
    }
    if matches!(whole, b"privacy" | b"privacy-mode" | b"priv-protocol" | b"privacy-protocol") {
        return Some(Class::Snmpv3);
    }
    let mut root = whole;
    loop {
        let before = root.len();
        root = trim_end(root, |b| b.is_ascii_digit() || b == b'-' || b == b'_');
        for &suffix in SUFFIXES {
            root = root.strip_suffix(suffix.as_bytes()).unwrap_or(root);
        }
        if root.len() == before {
            break;
        }
    }
    if root.is_empty() || [whole, root].iter().any(|n| PLAIN_ENDS.iter().any(|e| n.ends_with(e.as_bytes()))) {
        return None;
    }
    if root == b"key" {
        // `key-string` is said of nothing else than a secret; `key` is.
        let digits_alone = trim_end(whole, |b| b.is_ascii_digit()) == b"key";
        return Some(if digits_alone { Class::Key } else { Class::Secret });
    }
    if whole.ends_with(b"community-name") || whole.ends_with(b"community_name") {
        return Some(Class::Secret);
    }
    let of_snmp = [&b"ro"[..], b"rw", b"trap", b"snmp", b"get"].iter().any(|s| root.starts_with(s));
    if of_snmp && root.ends_with(b"community") {
        return Some(Class::Secret);
    }
    if root.ends_with(b"community") || root.ends_with(b"communities") {
        let bgp = matches!(root, b"send-community" | b"ip-community" | b"ext-community" | b"large-community");
        let bgp = bgp || root.ends_with(b"extcommunity") || root.ends_with(b"extended-community");
        return (!bgp).then_some(Class::Community);
    }
    let secret = SECRET_ENDS.iter().any(|e| root.ends_with(e.as_bytes()))
        || SECRET_NAMES.iter().any(|n| root == n.as_bytes())
        || root.ends_with(b"credential")
        || root.ends_with(b"credentials");
    secret.then_some(Class::Secret)
}

fn trim(text: &[u8], of: impl Fn(u8) -> bool) -> &[u8] {
    let end = trim_end(text, &of);
    let start = end.iter().position(|b| !of(*b)).unwrap_or(end.len());
    end.get(start..).unwrap_or_default()
}

fn trim_end(text: &[u8], of: impl Fn(u8) -> bool) -> &[u8] {
    let end = text.iter().rposition(|b| !of(*b)).map_or(0, |at| at + 1);
    text.get(..end).unwrap_or_default()
}

/// How the value is written, or which one it is: stands between a name and its value.
pub(super) fn is_modifier(word: &[u8]) -> bool {
    const WORDS: &[&str] = &[
        "cipher",
        "ciphertext",
        "cipher-text",
        "plain",
        "plaintext",
        "plain-text",
        "simple",
        "encrypted",
        "encrypt",
        "unencrypted",
        "clear",
        "cleartext",
        "clear-text",
        "hash",
        "hashed",
        "hash2",
        "irreversible",
        "reversible",
        "irreversible-cipher",
        "irreversible-password",
        "ascii",
        "ascii-text",
        "hexadecimal",
        "hex",
        "text",
        "enc",
        "localized",
        "localizedkey",
        "bcrypt",
        "scrypt",
        "pbkdf2",
        "crypt",
        "md5",
        "des",
        "3des",
        "usual",
        "nonstandard",
        "hmac",
        "secret",
        "password",
        "password6",
        "key",
        "key-string",
        "pass-phrase",
        "passphrase",
        "psk",
        "raw",
        "pre-shared-key",
        "preshared-key",
        "pre-share",
        "shared-key",
        "shared-secret",
        "community",
        "encrypted-password",
        "plaintext-password",
        "hashed-password",
        "encrypted-key",
        "md5-key",
        "authentication-key",
        "private-key",
        "read",
        "write",
        "ro",
        "rw",
        "read-only",
        "read-write",
        "string",
        "value",
        "is",
        "was",
        "are",
        "=",
        ":",
        "=>",
        "inbound",
        "outbound",
        "esp",
        "ah",
        "both",
        "local",
        "remote",
        "keyed-md5",
        "aes",
        "name",
        "encoded",
        "type",
        "cak",
        "chap",
        "pap",
        "tcp-md5",
        "encryption-key",
        "custom",
        "common",
        "set-key",
        "wep-40",
        "wep-104",
        "wep-128",
        "readonly",
        "readwrite",
        "localized-key",
        "auth-encrypted",
        "privacy-encrypted",
        "secret-value",
        "secret-encrypted",
    ];
    is_algorithm(word) || WORDS.iter().any(|w| word.eq_ignore_ascii_case(w.as_bytes()))
}

/// The name of an algorithm.
pub(super) fn is_algorithm(word: &[u8]) -> bool {
    const STARTS: &[&str] = &["sha", "aes", "hmac-", "md5", "des", "3des", "ah-md5", "keychain-md5", "ietf-md5"];
    let lower = word.to_ascii_lowercase();
    let known = |s: &&str| lower.strip_prefix(s.as_bytes()).is_some_and(|rest| rest.len() <= 9 && is_size(rest));
    STARTS.iter().any(known) || lower.starts_with(b"hmac-") && lower.len() < 20
}

/// What follows the name of an algorithm in one word: `-256`, `128-cfb`, `-cmac`.
fn is_size(rest: &[u8]) -> bool {
    rest.iter().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'/'))
        || [&b"-cmac"[..], b"-cbc", b"-cfb", b"-gcm", b"-hmac"].iter().any(|mode| rest.ends_with(mode))
}

/// A word that is followed by what it says, such as `level 15`.
pub(super) fn takes_an_argument(word: &[u8]) -> bool {
    const WORDS: &[&str] = &[
        "level",
        "role",
        "user",
        "username",
        "user-name",
        "index",
        "id",
        "key-id",
        "keyid",
        "address",
        "hostname",
        "host",
        "user-role",
        "engineid",
        "algorithm",
        "spi",
        "vrid",
        "ckn",
        "eigrp",
        "encryption-type",
    ];
    WORDS.iter().any(|w| word.eq_ignore_ascii_case(w.as_bytes()))
}

/// A word of the configuration's language that stands where a secret could and is none.
pub(super) fn is_plain(word: &[u8], class: Class) -> bool {
    const WORDS: &[&str] = &[
        "enable",
        "enabled",
        "disable",
        "disabled",
        "required",
        "required-for",
        "requires",
        "none",
        "null",
        "never",
        "default",
        "complexity",
        "complexity-check",
        "policy",
        "policies",
        "profile",
        "minimum",
        "min",
        "maximum",
        "max",
        "length",
        "min-length",
        "max-length",
        "minimum-length",
        "history",
        "aging",
        "age",
        "lifetime",
        "expire",
        "expiry",
        "expires",
        "expiration",
        "expired",
        "change",
        "changed",
        "prompt",
        "option",
        "fallback",
        "rotation",
        "rollover",
        "encryption",
        "recovery",
        "strength",
        "strength-check",
        "retry",
        "retries",
        "attempts",
        "attempt",
        "lockout",
        "reset",
        "control",
        "manager",
        "operator",
        "port-access",
        "warning",
        "warn",
        "notification",
        "alert",
        "configuration",
        "authentication",
        "authorization",
        "login",
        "logging",
        "chain",
        "key-chain",
        "keychain",
        "for",
        "to",
        "and",
        "or",
        "of",
        "in",
        "on",
        "the",
        "not",
        "true",
        "false",
        "yes",
        "no",
        "restriction",
        "restrictions",
        "mandatory",
        "optional",
        "ring",
        "bucket",
        "priv",
        "auth",
        "mode-list",
        "timeout",
        "size",
        "server-group",
        "exit",
        "list",
    ];
    const OF_KEYS: &[&str] = &[
        "generate",
        "zeroize",
        "rsa",
        "dsa",
        "ecdsa",
        "ed25519",
        "export",
        "import",
        "exchange",
        "pair",
        "pairs",
        "label",
        "usage",
        "server",
        "management",
        "manager",
        "storage",
        "mypubkey",
        "pubkey-chain",
        "retire",
        "chains",
        "macsec",
        "source",
        "modulus",
        "file",
        "bits",
        "regeneration",
        "certificate",
        "certificates",
        "update",
        "derivation",
        "selection",
        "length",
        "cryptographic-algorithm",
        "accept-lifetime",
        "send-lifetime",
        "replay",
        "agreement",
        "identifier",
        "tolerance",
        "reuse",
        "re-exchange",
        "renegotiation",
        "rekey",
        "accounting",
    ];
    let lower = word.to_ascii_lowercase();
    WORDS.iter().any(|w| lower == w.as_bytes())
        || class == Class::Key && OF_KEYS.iter().any(|w| lower == w.as_bytes())
        || class == Class::Community && is_bgp(&lower)
}

/// A community of BGP: `65000:1`, `no-export`.
fn is_bgp(word: &[u8]) -> bool {
    const WORDS: &[&str] = &[
        "no-export",
        "no-advertise",
        "local-as",
        "internet",
        "additive",
        "graceful-shutdown",
        "members",
        "list",
        "map",
    ];
    let numbers = word.contains(&b':') && word.iter().all(|b| b.is_ascii_digit() || *b == b':');
    numbers || WORDS.iter().any(|w| word == w.as_bytes())
}

/// A word before `key` that makes it one of another trade.
pub(super) fn makes_key_plain(word: &[u8]) -> bool {
    const WORDS: &[&str] =
        &["crypto", "public", "ssh", "host", "rsa", "dsa", "ecdsa", "gre", "lacp", "tunnel", "primary", "sort"];
    WORDS.iter().any(|w| word.eq_ignore_ascii_case(w.as_bytes()))
}
