//! The words that network configurations name secrets by.

/// What the names of secrets have in common, in any case: a line without any of them has no keyword.
pub(super) const STEMS: &[&str] = &[
    "pass",
    "secret",
    "psk",
    "preshared",
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
    "pincode",
    "authtok",
    "masterauth",
    "otp",
    "-pin",
    "_pin",
    "pin_",
    "pin=",
    "pin:",
    "pin\"",
    "pin'",
    "pin>",
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
    /// `pass` and `pin`, which say many other things: a secret follows behind a sign, where it is long enough for one.
    Weak,
    /// A word of XML that ends in `key`, as many do that are none: a secret follows where it looks like one.
    Faint,
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
    "authtok",
    "otp-seed",
    "otp_seed",
    "phrase",
    "_cak",
    "-cak",
    "sessionkey",
    "bindpw",
    "pincode",
    "pin-code",
    "pin_code",
    "sim-pin",
    "sim_pin",
    "user-pin",
    "user_pin",
    "wps-pin",
    "wps_pin",
    "so-pin",
    "so_pin",
];

/// Ends of names that are secrets where a sign stands behind them: without one they name what they are said of.
const WEAK_ENDS: &[&str] = &[
    "_pw",
    "-pw",
    "encryptionkey",
    "authenticationkey",
    "signingkey",
    "masterkey",
    "wepkey",
    "hmackey",
    "tsigkey",
    "userkey",
    "domainkey",
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
    "masterauth",
    "rootpw",
    "proxy-pass",
    "pskey",
    "encrypted-key",
    "passcrypt",
    "preshared",
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
    "sort_key",
    "hash-key",
    "hash_key",
    "config-key",
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
    "_hashed",
    "_hex",
    "_plain",
    "_text",
    "-raw",
    "_raw",
    "-pem",
    "_pem",
    "-base64",
    "_base64",
    "-b64",
    "_b64",
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
    let weak = matches!(whole, b"pass" | b"pin" | b"skey") || WEAK_ENDS.iter().any(|e| root.ends_with(e.as_bytes()));
    secret.then_some(Class::Secret).or(weak.then_some(Class::Weak))
}

/// What the name of an element announces: in XML it is written with capitals and without hyphens, and nothing but a value
/// stands in it, so that more of them tell than in a line of words.
pub(super) fn class_of_element(name: &[u8]) -> Option<Class> {
    const ENDS: &[&str] = &["keydata", "pass", "pw"];
    const NONE: &[&str] = &["pubkey", "publickey", "hostkey", "sshkey", "bypass", "compass", "trespass"];
    if let Some(class) = class(name) {
        return Some(class);
    }
    let lower = name.to_ascii_lowercase();
    let ends = |list: &[&str]| list.iter().any(|e| lower.ends_with(e.as_bytes()));
    if name.len() > LONGEST || name.is_empty() || ends(PLAIN_ENDS) || ends(NONE) || lower == b"pass" {
        return None;
    }
    match (ends(ENDS), lower.ends_with(b"key")) {
        (true, _) => Some(Class::Weak),
        (false, true) => Some(Class::Faint),
        (false, false) => None,
    }
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
