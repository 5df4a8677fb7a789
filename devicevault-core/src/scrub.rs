//! Takes a login's own secrets out of what is told of a conversation: a device may echo a password in an error text.

use std::fmt;
use std::ops::Range;

use crate::collector::Note;
use crate::{Error, ExposeSecret as _, Login, SecretString, Target};

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

/// Values of these names are names that we tell. Whoever reads of the device `<secret>` would know a password that it has.
const NAMES: [&str; 5] = ["address", "credential", "device", "jump host", "platform"];
/// So a name stands in sentences of ours, in quotes.
const NAMED: [&str; 2] = ["user '", "device '"];

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

/// The text with a mask for each place where a secret stands and is to go.
fn without(text: &str, secret: &str, goes: impl Fn(&Range<usize>) -> bool) -> Option<String> {
    let (mut clean, mut rest) = (String::new(), 0);
    for (at, found) in text.match_indices(secret) {
        let place = at..at + found.len();
        if goes(&place) {
            clean.push_str(text.get(rest..at)?);
            clean.push_str(MASK);
            rest = place.end;
        }
    }
    (rest > 0).then(|| clean + text.get(rest..).unwrap_or_default())
}

/// Whether a part of a text is no part of a longer word.
fn is_word(text: &str, part: &Range<usize>) -> bool {
    let is_letter = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    let (before, after) = (text.get(..part.start), text.get(part.end..));
    !is_letter(before.and_then(|t| t.chars().next_back())) && !is_letter(after.and_then(|t| t.chars().next()))
}

/// The secrets of one login, longest first.
pub(crate) struct Scrubber {
    secrets: Vec<String>,
    /// What is short or a word of ours: it is looked for as a word, in what devices said alone.
    weak: Vec<String>,
    /// What is a name that we tell, or part of one: it goes wherever it is not surely that name.
    named: Vec<String>,
    names: Vec<String>,
    users: Vec<String>,
}

impl fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scrubber({} secrets)", self.secrets.len() + self.weak.len() + self.named.len())
    }
}

impl Scrubber {
    fn new(login: &Login) -> Self {
        Self::beside(login, &[])
    }

    /// Of a conversation with a device.
    pub(crate) fn of(target: &Target) -> Self {
        let device = &target.device;
        let refs = std::iter::once(&device.login).chain(device.jump.iter().map(|hop| &hop.login));
        let credentials = refs.filter_map(|login| login.credential.as_deref());
        let hosts = device.jump.iter().map(|hop| hop.host.as_str());
        let own = [device.name.as_str(), &device.host, &device.platform];
        Self::beside(&target.login, &own.into_iter().chain(credentials).chain(hosts).collect::<Vec<_>>())
    }

    /// The secrets of a login, of which names of users and these are told.
    fn beside(login: &Login, told: &[&str]) -> Self {
        let logins = || std::iter::once(login).chain(&login.jump);
        let known = logins().flat_map(|l| [&l.password, &l.enable, &l.passphrase]).flatten();
        let users = logins().flat_map(|l| [Some(&l.username), l.enable_username.as_ref()]).flatten();
        let users: Vec<String> = users.filter(|user| !user.is_empty()).cloned().collect();
        let names: Vec<String> = told.iter().map(|name| (*name).to_owned()).chain(users.iter().cloned()).collect();
        let (mut secrets, mut weak, mut named) = (Vec::<String>::new(), Vec::new(), Vec::new());
        for secret in known.map(SecretString::expose_secret).filter(|s| !s.is_empty()) {
            if secret.chars().count() < SHORTEST || OUR_WORDS.contains(&secret) {
                weak.extend([secret.to_owned(), escaped(secret)]);
                continue;
            }
            if names.iter().any(|name| name.contains(secret)) {
                named.extend([secret.to_owned(), escaped(secret)]);
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
        Self { secrets, weak, named, names, users }
    }

    /// A text of ours without secrets; `None`: there is none in it.
    fn clean(&self, text: &str) -> Option<String> {
        self.without_named(text, self.clean_ours(text))
    }

    fn clean_ours(&self, text: &str) -> Option<String> {
        let says = SAYS.iter().filter_map(|words| Some(text.find(words)? + words.len())).min();
        let parts = says.filter(|_| !self.weak.is_empty()).and_then(|at| text.split_at_checked(at));
        let Some((ours, said)) = parts else { return self.without_secrets(text) };
        match (self.without_secrets(ours), self.without_weak(said)) {
            (None, None) => None,
            (a, b) => Some(a.unwrap_or_else(|| ours.to_owned()) + b.as_deref().unwrap_or(said)),
        }
    }

    /// The same for what a device said.
    fn clean_said(&self, text: &str) -> Option<String> {
        self.without_named(text, self.without_weak(text))
    }

    fn without_weak(&self, text: &str) -> Option<String> {
        self.weak.iter().fold(self.without_secrets(text), |clean, secret| {
            let now = clean.as_deref().unwrap_or(text);
            without(now, secret, |place| is_word(now, place)).or(clean)
        })
    }

    /// A text, or what was made of it, without secrets that are names.
    fn without_named(&self, text: &str, clean: Option<String>) -> Option<String> {
        self.named.iter().fold(clean, |clean, secret| {
            let now = clean.as_deref().unwrap_or(text);
            let names = self.names_in(now, secret);
            let is_name = |place: &Range<usize>| names.iter().any(|n| n.start <= place.start && place.end <= n.end);
            let without = without(now, secret, |place| !is_name(place));
            let now = without.as_deref().unwrap_or(now);
            now.contains(CUT).then(|| without_beginning(now, secret)).flatten().or(without).or(clean)
        })
    }

    /// Where names stand in a text that are surely no secret: longer ones as words of their own, any where we say whose it
    /// is, and a user's before a host.
    fn names_in(&self, text: &str, secret: &str) -> Vec<Range<usize>> {
        let mut all = Vec::new();
        for name in &self.names {
            let places = text.match_indices(name.as_str()).map(|(at, found)| at..at + found.len());
            all.extend(places.filter(|place| {
                let (before, after) = (text.get(..place.start), text.get(place.end..).unwrap_or_default());
                let is_told =
                    || after.starts_with('\'') && NAMED.iter().any(|n| before.is_some_and(|t| t.ends_with(n)));
                let at_a_host = || after.starts_with('@') && self.users.contains(name);
                is_word(text, place) && (name.len() > secret.len() || is_told() || at_a_host())
            }));
        }
        all
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
        if self.secrets.is_empty() && self.weak.is_empty() && self.named.is_empty() {
            return e;
        }
        e.map_texts(&|name, text| match name {
            Some(name) if NAMES.contains(&name) => self.clean_ours(text),
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

    #[test]
    fn names_that_we_tell_are_not_given_away_as_secrets() {
        let mut device = crate::Device::new("d", "gold-r1", "192.0.2.1", "cisco_ios");
        device.login.credential = Some("core".to_owned());
        for (password, said, left) in [
            ("admin", "Password: admin", "Password: <secret>"),
            (
                "admin",
                "admin@192.0.2.1: Permission denied (password).",
                "admin@192.0.2.1: Permission denied (password).",
            ),
            ("gold", "gold-r1> gold", "gold-r1> <secret>"),
            ("gold", "Use x/gold. Bad password: gold.", "Use x/<secret>. Bad password: <secret>."),
            ("gold", "Password: golden gol…", "Password: <secret>en gol…"),
            ("cisco", "cisco_ios: cisc…", "cisco_ios: <secret>…"),
            ("core", "core", "<secret>"),
            ("192.0.2.1", "192.0.2.1", "<secret>"),
        ] {
            let mut login = login(password);
            "admin".clone_into(&mut login.username);
            let message = "the device did not accept the password of user 'admin'";
            let e = Error::new(ErrorKind::AuthRejected, "log in", message)
                .with("last line", said)
                .with("device", "gold-r1")
                .with("credential", "core")
                .with("address", "192.0.2.1:22");
            let clean = Scrubber::of(&Target::new(device.clone(), login)).error(e);
            assert_eq!(clean.message(), message);
            let told =
                [("last line", left), ("device", "gold-r1"), ("credential", "core"), ("address", "192.0.2.1:22")];
            assert_eq!(clean.context().collect::<Vec<_>>(), told, "{password}");
        }
        // What a device said is told in sentences and notes of many kinds.
        let scrubber = Scrubber::of(&Target::new(device, login("cisco")));
        let mut note = Note::info("login banner: cisco_ios, the password is cisco");
        scrubber.note(&mut note);
        assert_eq!(note.text, "login banner: cisco_ios, the password is <secret>");
        // Another's secret goes from everywhere.
        let mut login = login("admin-7");
        "admin".clone_into(&mut login.username);
        assert_eq!(login.without_secrets(Error::new(ErrorKind::Internal, "x", "admin-7")).message(), "<secret>");
    }
}
