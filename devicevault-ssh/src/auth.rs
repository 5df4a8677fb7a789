//! Logging in: each credential is offered once and never again.

use std::sync::Arc;

use russh::client::{AuthResult, Handle, KeyboardInteractiveAuthResponse as Answer, Prompt};
use russh::keys::{PrivateKey, PrivateKeyWithHashAlg, decode_secret_key};
use russh::{MethodKind, MethodSet};

use crate::connection::{Farewell, Guard};
use crate::error::shown;
use crate::{Credentials, Profile, Result, SshError};

const STEP: &str = "log in";

/// Reads the private key, before anything is sent.
pub(crate) fn private_key(credentials: &Credentials) -> Result<Option<Arc<PrivateKey>>> {
    let Some(text) = &credentials.private_key else { return Ok(None) };
    let passphrase = credentials.passphrase.as_ref().map(|p| p.as_str());
    match decode_secret_key(text, passphrase) {
        Ok(key) => Ok(Some(Arc::new(key))),
        Err(russh::keys::Error::KeyIsEncrypted) => {
            Err(SshError::Config { message: "the private key is encrypted and no passphrase is set".to_owned() })
        }
        // The library's reasons may quote the key's text.
        Err(_) => Err(SshError::Config {
            message: "the private key cannot be read: it is none of OpenSSH, PKCS#1, PKCS#8 and SEC1, or the passphrase is wrong"
                .to_owned(),
        }),
    }
}

/// The conversation of RFC 4252. `none` is asked first: its answer tells which methods there are, so that a password
/// is never sent by a second method after a first one refused it.
pub(crate) async fn log_in(
    handle: &mut Handle<Guard>,
    credentials: &Credentials,
    key: Option<Arc<PrivateKey>>,
    profile: Profile,
    farewell: &Farewell,
) -> Result<()> {
    let user = &credentials.username;
    let asked = handle.authenticate_none(user).await;
    let Some(mut offered) = remaining(asked, handle, farewell)? else { return Ok(()) };
    let mut refused = Vec::new();

    if let Some(key) = key
        && offered.contains(&MethodKind::PublicKey)
    {
        let hash = match key.algorithm().is_rsa() {
            true => handle.best_supported_rsa_hash().await.map_err(|e| closed(e, farewell))?.unwrap_or(match profile {
                Profile::Modern => Some(russh::keys::HashAlg::Sha512),
                // A server that announces nothing is from before RFC 8332.
                Profile::Legacy | Profile::Ancient => None,
            }),
            false => None,
        };
        let tried = handle.authenticate_publickey(user, PrivateKeyWithHashAlg::new(key, hash)).await;
        match remaining(tried, handle, farewell)? {
            None => return Ok(()),
            Some(next) => offered = next,
        }
        refused.push("the key");
    }
    if let Some(password) = &credentials.password {
        if offered.contains(&MethodKind::Password) {
            let tried = handle.authenticate_password(user, password.as_str()).await;
            match remaining(tried, handle, farewell)? {
                None => return Ok(()),
                Some(next) => offered = next,
            }
            refused.push("the password");
        } else if offered.contains(&MethodKind::KeyboardInteractive) {
            return interactive(handle, user, password, farewell).await;
        }
    }
    let message = match refused.as_slice() {
        [] if credentials.private_key.is_none() && credentials.password.is_none() => {
            format!("the device asks user '{}' for a credential, and none is set", user.escape_debug())
        }
        [] => "the device takes none of the credentials that are set".to_owned(),
        list => format!("the device did not accept {} of user '{}'", list.join(" and "), user.escape_debug()),
    };
    Err(rejected(&message, &offered, farewell))
}

/// The methods to go on with; `None` when the login is complete.
fn remaining(
    result: Result<AuthResult, russh::Error>,
    handle: &Handle<Guard>,
    farewell: &Farewell,
) -> Result<Option<MethodSet>> {
    match result.map_err(|e| closed(e, farewell))? {
        AuthResult::Success => Ok(None),
        AuthResult::Failure { remaining_methods, .. } => {
            // A server may answer a refused credential by closing: sending it again would only lock the account.
            if remaining_methods.is_empty() && handle.is_closed() {
                let message = "the device closed the connection instead of answering the login";
                return Err(rejected(message, &remaining_methods, farewell));
            }
            Ok(Some(remaining_methods))
        }
    }
}

/// RFC 4256, with the password as the answer to the one hidden question.
async fn interactive(handle: &mut Handle<Guard>, user: &str, password: &str, farewell: &Farewell) -> Result<()> {
    const ROUNDS: usize = 8;
    let mut password_sent = false;
    let mut answer = handle.authenticate_keyboard_interactive_start(user, None).await;
    for _ in 0..ROUNDS {
        match answer.map_err(|e| match password_sent {
            true => rejected("the device closed the connection after the password", &MethodSet::empty(), farewell),
            false => closed(e, farewell),
        })? {
            Answer::Success => return Ok(()),
            Answer::Failure { remaining_methods, .. } => {
                let message = format!("the device did not accept the password of user '{}'", user.escape_debug());
                return Err(rejected(&message, &remaining_methods, farewell));
            }
            Answer::InfoRequest { prompts, .. } => {
                let replies =
                    prompts.iter().map(|p| reply(p, user, password, &mut password_sent)).collect::<Option<_>>();
                let Some(replies) = replies else {
                    let asked: Vec<_> = prompts.iter().map(|p| shown(&p.prompt)).collect();
                    let message = format!("the device asks what no credential answers: '{}'", asked.join("', '"));
                    return Err(rejected(&message, &MethodSet::empty(), farewell));
                };
                answer = handle.authenticate_keyboard_interactive_respond(replies).await;
            }
        }
    }
    Err(rejected("the device goes on asking questions", &MethodSet::empty(), farewell))
}

/// The answer to a question; `None` when there is none to give, or when the password was given already.
fn reply(question: &Prompt, user: &str, password: &str, password_sent: &mut bool) -> Option<String> {
    let text = question.prompt.to_ascii_lowercase();
    if !question.echo || text.contains("password") {
        return (!std::mem::replace(password_sent, true)).then(|| password.to_owned());
    }
    (text.contains("user") || text.contains("login")).then(|| user.to_owned())
}

fn rejected(message: &str, offered: &MethodSet, farewell: &Farewell) -> SshError {
    let offered: Vec<String> = offered.iter().map(String::from).collect();
    let mut message = message.to_owned();
    if !offered.is_empty() {
        message.push_str(&format!("; it offers {}", offered.join(", ")));
    }
    if let Some(said) = farewell.said() {
        message.push_str(&format!("; it says: {said}"));
    }
    SshError::AuthRejected { message, offered }
}

fn closed(e: russh::Error, farewell: &Farewell) -> SshError {
    SshError::Closed { step: STEP, said: farewell.said(), source: Some(e.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_answers_one_hidden_question_once() {
        let question = |prompt: &str, echo| Prompt { prompt: prompt.to_owned(), echo };
        let mut sent = false;
        assert_eq!(reply(&question("Username: ", true), "u", "p", &mut sent).as_deref(), Some("u"));
        assert_eq!(reply(&question("Token code", true), "u", "p", &mut sent), None);
        assert_eq!(reply(&question("Password: ", false), "u", "p", &mut sent).as_deref(), Some("p"));
        assert_eq!(reply(&question("Password: ", false), "u", "p", &mut sent), None);
    }

    #[test]
    fn a_key_that_cannot_be_read_is_told_without_its_text() {
        let credentials = Credentials::new("u").with_private_key("-----BEGIN RSA SECRETSECRET", None);
        let e = private_key(&credentials).unwrap_err();
        assert!(!format!("{e} {e:?} {credentials:?}").contains("SECRETSECRET"));
    }
}
