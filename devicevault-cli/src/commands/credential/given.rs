//! The secrets of a credential as they are given: by reference, or to be stored.

use std::io::Read as _;

use clap::Args;
use devicevault_core::inventory::Credential;
use devicevault_core::{Error, ErrorKind, LoginRef, Result, SecretRef, SecretString};

use crate::context::Context;
use crate::instance::Instance;
use crate::keys::lock::lock;
use crate::keys::new::NewKey;
use crate::login_args::{LoginArgs, warn_of_open_files};
use crate::secrets::{self, Reading};
use crate::wiring;
use crate::wiring::keys::Keys;

const PASSWORD: &str = "password";
const PRIVATE_KEY: &str = "private-key";
const PASSPHRASE: &str = "passphrase";
const CERTIFICATE: &str = "certificate";
const ENABLE: &str = "enable";

/// More is not read from standard input.
const MAX_INPUT: u64 = 64 << 10;

/// How the secrets are given.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Login options")]
pub(super) struct GivenArgs {
    #[command(flatten)]
    login: LoginArgs,
    /// Read now what the options point to, and keep it sealed in the catalog; without, where it is found is kept
    #[arg(long)]
    store: bool,
    /// Ask for the password, twice; stored. So it is when nothing else is given
    #[arg(long, group = "password")]
    ask_password: bool,
    /// The password is the first line of standard input; stored
    #[arg(long, group = "password")]
    password_stdin: bool,
    /// Ask for the passphrase of the key, twice; stored
    #[arg(long, group = "passphrase")]
    ask_passphrase: bool,
    /// Ask for the enable secret, twice; stored
    #[arg(long, group = "enable")]
    ask_enable: bool,
    /// The enable secret is the next line of standard input; stored
    #[arg(long, group = "enable")]
    enable_stdin: bool,
}

impl GivenArgs {
    /// Sets on a credential what was given, and seals what is to be stored. `ask` are the fields that are asked for when
    /// no secret was given.
    ///
    /// # Errors
    /// Something cannot be read, or there is no key to seal with.
    pub(super) async fn apply(
        &self,
        context: &Context,
        instance: &Instance,
        credential: &mut Credential,
        ask: &[&str],
    ) -> Result<()> {
        let mut given = LoginRef::default();
        self.login.apply(&mut given)?;
        warn_of_open_files(&context.ui, &given);
        let says_nothing = given == user_only(&given) && !self.asks();
        let ask = |field: &str, wanted: bool| wanted || (says_nothing && ask.contains(&field));
        let mut stored: Vec<(&'static str, SecretString)> = Vec::new();
        if self.store {
            for (field, reading, at) in fields(&given) {
                if let Some(at) = at {
                    stored.push((field, secrets::read(field, at, reading).await?));
                }
            }
        }
        let mut lines = Lines::default();
        if self.password_stdin {
            stored.push((PASSWORD, lines.next("password")?));
        }
        if self.enable_stdin {
            stored.push((ENABLE, lines.next("enable secret")?));
        }
        for (field, what, wanted) in [
            (PASSWORD, "password", self.ask_password),
            (PASSPHRASE, "passphrase of the key", self.ask_passphrase),
            (ENABLE, "enable secret", self.ask_enable),
        ] {
            if ask(field, wanted) {
                stored.push((field, secrets::ask_twice(what)?));
            }
        }
        self.login.apply(&mut credential.login)?;
        check_key(&stored, &credential.login).await?;
        let login = &mut credential.login;
        for (field, _) in &stored {
            let at = Some(SecretRef::Stored((*field).to_owned()));
            match *field {
                PASSWORD => login.password = at,
                PRIVATE_KEY => login.private_key = at,
                PASSPHRASE => login.passphrase = at,
                CERTIFICATE => login.certificate = at,
                _ => login.enable = at,
            }
        }
        let login = credential.login.clone();
        let keeps = |field: &str| {
            fields(&login).iter().any(|(f, _, at)| *f == field && matches!(at, Some(SecretRef::Stored(_))))
        };
        let keys = if stored.is_empty() { instance.keys.clone() } else { keys(context, instance).await? };
        wiring::put_secrets(&keys, credential, &stored, keeps).await
    }

    fn asks(&self) -> bool {
        self.ask_password || self.password_stdin || self.ask_passphrase || self.ask_enable || self.enable_stdin
    }
}

/// Refuses to store what is no private key, or one that its passphrase does not open: it would show at night.
async fn check_key(stored: &[(&'static str, SecretString)], login: &LoginRef) -> Result<()> {
    let given = |wanted: &str| stored.iter().find(|(field, _)| *field == wanted).map(|(_, secret)| secret.clone());
    let Some(key) = given(PRIVATE_KEY) else { return Ok(()) };
    let is_stored = matches!(login.passphrase, Some(SecretRef::Stored(_)));
    let passphrase = match (given(PASSPHRASE), &login.passphrase) {
        (None, Some(at)) if !is_stored => Some(secrets::first_line(PASSPHRASE, at).await?),
        (given, _) => given,
    };
    let fail = |why: String| Error::new(ErrorKind::Config, "store private key", why);
    match wiring::private_key_opens(&key, passphrase.as_ref()) {
        Ok(true) => Ok(()),
        // One that is stored already opens it, or does not: the next login tells.
        Ok(false) if is_stored && passphrase.is_none() => Ok(()),
        Ok(false) => Err(fail("it has a passphrase, which is not given".to_owned()).hint(
            "give --ask-passphrase, or say by --key-passphrase-file or --key-passphrase-command where it is found",
        )),
        Err(why) => Err(fail(why)),
    }
}

/// What of a login proves nothing.
fn user_only(login: &LoginRef) -> LoginRef {
    let mut only = LoginRef::default();
    only.username.clone_from(&login.username);
    only.enable_username.clone_from(&login.enable_username);
    only
}

/// The secrets of a login: the field, how much of its source is the secret, and where it is.
fn fields(login: &LoginRef) -> [(&'static str, Reading, &Option<SecretRef>); 5] {
    [
        (PASSWORD, Reading::FirstLine, &login.password),
        (PRIVATE_KEY, Reading::Whole, &login.private_key),
        (PASSPHRASE, Reading::FirstLine, &login.passphrase),
        (CERTIFICATE, Reading::Whole, &login.certificate),
        (ENABLE, Reading::FirstLine, &login.enable),
    ]
}

/// The fields that a login stores and a person can type.
pub(super) fn typed(login: &LoginRef) -> Vec<&'static str> {
    let stored = |at: &Option<SecretRef>| matches!(at, Some(SecretRef::Stored(_)));
    fields(login).into_iter().filter(|(_, r, at)| *r == Reading::FirstLine && stored(at)).map(|(f, _, _)| f).collect()
}

/// The keys of the home as they are now; a home without any gets its first.
async fn keys(context: &Context, instance: &Instance) -> Result<Keys> {
    if instance.keys.is_set_up() {
        // What the home has is what counts, not what it had when this program began.
        return Keys::open(Some(&instance.home), &context.given_keys).await;
    }
    let _alone = lock(&instance.home).await?;
    let (home, typed) = (&instance.home, &context.given_keys.typed);
    let keys = Keys::create(home, &NewKey::Generate(None), typed, context.clock().now()).await?;
    context.ui.note("made the first key of this home: back up the home, or store the secrets anew if it is lost");
    Ok(keys)
}

/// Standard input, line by line.
#[derive(Default)]
struct Lines(Option<zeroize::Zeroizing<String>>, usize);

impl Lines {
    fn next(&mut self, what: &'static str) -> Result<SecretString> {
        let fail = |why: &str| Error::new(ErrorKind::Config, "read standard input", format!("{why} the {what}"));
        if self.0.is_none() {
            let mut text = zeroize::Zeroizing::new(String::new());
            let read = std::io::stdin().lock().take(MAX_INPUT + 1).read_to_string(&mut text);
            read.map_err(|e| fail("it cannot be read for").because(e))?;
            if text.len() as u64 > MAX_INPUT {
                return Err(fail("it is too long for"));
            }
            self.0 = Some(text);
        }
        let line = self.0.as_ref().and_then(|text| text.lines().nth(self.1)).unwrap_or_default();
        self.1 += 1;
        if line.is_empty() {
            return Err(fail("it has no line for"));
        }
        Ok(line.to_owned().into())
    }
}
