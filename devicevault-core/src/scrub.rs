//! Takes a login's own secrets out of what is told of a conversation: a device may echo a password in an error text.

use std::fmt;

use crate::collector::Note;
use crate::{Error, ExposeSecret as _, Login, SecretString};

/// What stands where a secret was.
const MASK: &str = "<secret>";
/// Shorter secrets would take every text apart.
const SHORTEST: usize = 3;
/// Words of ours: who reads that the device did not accept the `<secret>` of a user would know one that is among them.
const OUR_WORDS: [&str; 26] = [
    "accept",
    "account",
    "again",
    "answer",
    "certificate",
    "check",
    "closed",
    "connection",
    "credential",
    "device",
    "enable",
    "key",
    "login",
    "name",
    "passphrase",
    "password",
    "private",
    "prompt",
    "refused",
    "secret",
    "session",
    "time",
    "tried",
    "user",
    "username",
    "wrong",
];
/// What devices said stands in values of these names, and behind these words of ours.
const SAID: [&str; 5] = ["asked", "it says", "last line", "line", "ssh says"];
const SAYS: [&str; 4] = ["says: ", "asks '", "answers: '", "closed: "];

/// What stands where a long text was cut.
const CUT: char = '…';
/// A shorter beginning of a secret tells too little, and is found by chance.
const BEGINNING: usize = 4;

/// The text with a mask for the beginning of a secret that stands right before a cut.
fn without_beginning(text: &str, secret: &str) -> Option<String> {
    let ends = secret.char_indices().map(|(at, _)| at).skip(BEGINNING).collect::<Vec<_>>();
    ends.into_iter().rev().find_map(|end| {
        let cut = format!("{}{CUT}", secret.get(..end)?);
        text.contains(&cut).then(|| text.replace(&cut, &format!("{MASK}{CUT}")))
    })
}

impl Login {
    /// The error without the secrets of this login, where a device showed what was typed: `<secret>` stands in their place,
    /// in messages, values and causes alike.
    #[must_use]
    pub fn without_secrets(&self, e: Error) -> Error {
        Scrubber::new(self).error(e)
    }
}

/// What is printable in ASCII as it is, and each other byte escaped.
fn escaped(secret: &str) -> String {
    let one = |byte: u8| match byte {
        b' '..=b'~' => char::from(byte).to_string(),
        other => other.escape_ascii().to_string(),
    };
    secret.bytes().map(one).collect()
}

/// The text with a mask for each place where a secret stands as a word of its own.
fn without_word(text: &str, secret: &str) -> Option<String> {
    let within = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let (mut clean, mut rest) = (String::new(), 0);
    for (at, found) in text.match_indices(secret) {
        let (before, after) = (text.get(..at)?, text.get(at + found.len()..)?);
        if !within(before.chars().next_back()) && !within(after.chars().next()) {
            clean.push_str(text.get(rest..at)?);
            clean.push_str(MASK);
            rest = at + found.len();
        }
    }
    (rest > 0).then(|| clean + text.get(rest..).unwrap_or_default())
}

/// The secrets of one login, longest first.
pub(crate) struct Scrubber {
    secrets: Vec<String>,
    /// What is short, or a word of ours: it is looked for as a word, in what devices said alone.
    weak: Vec<String>,
}

impl fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scrubber({} secrets)", self.secrets.len() + self.weak.len())
    }
}

impl Scrubber {
    pub(crate) fn new(login: &Login) -> Self {
        let logins = std::iter::once(login).chain(&login.jump);
        let known = logins.flat_map(|l| [&l.password, &l.enable, &l.passphrase]).flatten();
        let (mut secrets, mut weak) = (Vec::<String>::new(), Vec::new());
        for secret in known.map(SecretString::expose_secret).filter(|s| !s.is_empty()) {
            if secret.chars().count() < SHORTEST || OUR_WORDS.contains(&secret) {
                weak.extend([secret.to_owned(), escaped(secret)]);
                continue;
            }
            // Texts of devices are escaped before they are told.
            let bytes = secret.as_bytes().escape_ascii().to_string();
            secrets.extend([
                secret.to_owned(),
                bytes,
                escaped(secret),
                secret.escape_default().to_string(),
                secret.escape_debug().to_string(),
            ]);
        }
        secrets.sort_by_key(|s| std::cmp::Reverse(s.len()));
        secrets.dedup();
        Self { secrets, weak }
    }

    /// A text of ours without secrets; `None`: there is none in it.
    fn clean(&self, text: &str) -> Option<String> {
        let says = SAYS.iter().filter_map(|words| Some(text.find(words)? + words.len())).min();
        let parts = says.filter(|_| !self.weak.is_empty()).and_then(|at| text.split_at_checked(at));
        let Some((ours, said)) = parts else { return self.without_secrets(text) };
        match (self.without_secrets(ours), self.clean_said(said)) {
            (None, None) => None,
            (a, b) => Some(a.unwrap_or_else(|| ours.to_owned()) + b.as_deref().unwrap_or(said)),
        }
    }

    /// The same for what a device said.
    fn clean_said(&self, text: &str) -> Option<String> {
        self.weak.iter().fold(self.without_secrets(text), |clean, secret| {
            without_word(clean.as_deref().unwrap_or(text), secret).or(clean)
        })
    }

    fn without_secrets(&self, text: &str) -> Option<String> {
        let mut clean = None;
        for secret in &self.secrets {
            let now: &str = clean.as_deref().unwrap_or(text);
            if now.contains(secret.as_str()) {
                clean = Some(now.replace(secret.as_str(), MASK));
            }
            let now: &str = clean.as_deref().unwrap_or(text);
            if let Some(without) = now.contains(CUT).then(|| without_beginning(now, secret)).flatten() {
                clean = Some(without);
            }
        }
        clean
    }

    pub(crate) fn error(&self, e: Error) -> Error {
        if self.secrets.is_empty() && self.weak.is_empty() {
            return e;
        }
        e.map_texts(&|name, text| match name {
            Some(name) if SAID.contains(&name) => self.clean_said(text),
            _ => self.clean(text),
        })
    }

    pub(crate) fn note(&self, note: &mut Note) {
        self.text(&mut note.text);
    }

    pub(crate) fn text(&self, text: &mut String) {
        if let Some(clean) = self.clean(text) {
            *text = clean;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn login(password: &str) -> Login {
        Login { password: Some(SecretString::from(password.to_owned())), ..Login::default() }
    }

    #[test]
    fn a_secret_is_gone_from_every_part_of_an_error() {
        let inner = Error::new(ErrorKind::Internal, "x", "it said hunter2 too");
        let e = Error::new(ErrorKind::AuthRejected, "log in", "no such password: hunter2")
            .with("last line", "Password hunter2 rejected")
            .hint("not hunter2")
            .because(inner);
        let clean = Scrubber::new(&login("hunter2")).error(e);
        let told = format!("{clean:?} {}", clean.to_record().message);
        assert!(!told.contains("hunter2") && told.contains("it said <secret> too"), "{told}");
        assert_eq!(clean.kind(), ErrorKind::AuthRejected);
    }

    #[test]
    fn escaped_and_overlapping_secrets_go_and_short_ones_stay() {
        let mut login = login("tab\there");
        login.enable = Some(SecretString::from("tab\there and more".to_owned()));
        let scrubber = Scrubber::new(&login);
        let mut note = Note::info("'tab\\there and more', tab\there");
        scrubber.note(&mut note);
        assert_eq!(note.text, "'<secret>', <secret>");
        let foreign = Scrubber::new(&self::login("Zürich-77"));
        assert_eq!(foreign.clean(r"Password: Z\xc3\xbcrich-77").unwrap(), "Password: <secret>");
        assert_eq!(foreign.clean(r"Password: Z\xc3\xbcri…").unwrap(), "Password: <secret>…");
        assert_eq!(foreign.clean("Zoo…"), None);
        let quoted = Scrubber::new(&self::login("P\u{e4}\"s\\w0rd"));
        assert_eq!(quoted.clean("Password: P\\xc3\\xa4\"s\\w0rd").unwrap(), "Password: <secret>");
        assert_eq!(Scrubber::new(&self::login("a")).clean("a banana"), None);
    }

    #[test]
    fn short_secrets_and_words_of_ours_go_where_the_device_speaks() {
        for (secret, said, left) in [
            ("a", "Password: a", "Password: <secret>"),
            ("a", "Password: banana", "Password: banana"),
            ("x1", "x1: x12 is wrong", "<secret>: x12 is wrong"),
            ("wrong", "Password: wrong", "Password: <secret>"),
        ] {
            let message = format!("the passphrase is wrong, or a device says so; it says: {said}");
            let e =
                Error::new(ErrorKind::AuthRejected, "log in", message).with("last line", said).with("device", secret);
            let clean = Scrubber::new(&login(secret)).error(e);
            let told = format!("the passphrase is wrong, or a device says so; it says: {left}");
            assert_eq!(clean.message(), told);
            assert_eq!(clean.context().collect::<Vec<_>>(), [("last line", left), ("device", secret)]);
        }
        let both = Scrubber::new(&login("password")).clean("it says: password<secret>").unwrap();
        assert_eq!(both, "it says: <secret><secret>");
    }
}
