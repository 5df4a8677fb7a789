//! Keyboard-interactive login (RFC 4256): questions in several rounds, answered from the credential.

use russh::client::{KeyboardInteractiveAuthResponse as Answer, Prompt};

use super::question::{Asked, asked};
use super::{Login, closed};
use crate::error::shown;
use crate::{Result, SshError};

/// Nobody asks more often than this.
const ROUNDS: usize = 8;

/// Answers the server's questions; the password is given once. `sent`: it was given already, by another method.
pub(super) async fn answer(login: &mut Login<'_>, password: &str, sent: bool) -> Result<()> {
    let (user, mut sent) = (login.user, sent);
    let mut answer = login.handle.authenticate_keyboard_interactive_start(user, None).await;
    for _ in 0..ROUNDS {
        match answer.map_err(|e| match sent {
            true => login.rejected("the device closed the connection after the password"),
            false => closed(e, login.farewell),
        })? {
            Answer::Success => return Ok(()),
            Answer::Failure { remaining_methods, .. } => {
                login.offered = remaining_methods;
                let message = format!("the device did not accept the password of user '{}'", user.escape_debug());
                return Err(login.rejected(&message));
            }
            Answer::InfoRequest { prompts, instructions, .. } => {
                let questions: Vec<_> = prompts.iter().map(|p| shown(&p.prompt)).collect();
                let questions = questions.join("', '");
                if prompts.iter().any(|p| asked(&p.prompt, !p.echo) == Asked::NewPassword) {
                    return Err(SshError::PasswordExpired { said: format!("the device asks '{questions}'") });
                }
                let replies = prompts.iter().map(|p| reply(p, user, password, &mut sent)).collect::<Option<_>>();
                if sent {
                    login.password_given();
                }
                let Some(replies) = replies else {
                    let mut message = format!("the device asks what no credential answers: '{questions}'");
                    if !instructions.trim().is_empty() {
                        message.push_str(&format!(" ({})", shown(&instructions)));
                    }
                    return Err(login.rejected(&message));
                };
                answer = login.handle.authenticate_keyboard_interactive_respond(replies).await;
            }
        }
    }
    Err(login.rejected("the device goes on asking questions"))
}

/// The answer to a question; `None` when there is none to give, or when the password was given already.
fn reply(question: &Prompt, user: &str, password: &str, sent: &mut bool) -> Option<String> {
    match asked(&question.prompt, !question.echo) {
        Asked::UserName => Some(user.to_owned()),
        Asked::Password => (!std::mem::replace(sent, true)).then(|| password.to_owned()),
        Asked::Return => Some(String::new()),
        Asked::NewPassword | Asked::Other => None,
    }
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
        assert_eq!(reply(&question("Verification code: ", false), "u", "p", &mut sent), None);
        assert_eq!(reply(&question("One-time password: ", false), "u", "p", &mut sent), None);
        assert_eq!(reply(&question("Password: ", false), "u", "p", &mut sent).as_deref(), Some("p"));
        assert_eq!(reply(&question("Password: ", false), "u", "p", &mut sent), None);
        assert_eq!(reply(&question("Press Enter to go on", true), "u", "p", &mut sent).as_deref(), Some(""));
    }
}
