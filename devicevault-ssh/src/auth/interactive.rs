//! Keyboard-interactive login (RFC 4256): questions in several rounds, answered from the credential.

use russh::client::{KeyboardInteractiveAuthResponse as Answer, Prompt};

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
                let asked: Vec<_> = prompts.iter().map(|p| shown(&p.prompt)).collect();
                let asked = asked.join("', '");
                if prompts.iter().any(|p| wants_new_password(&p.prompt)) {
                    return Err(SshError::PasswordExpired { said: format!("the device asks '{asked}'") });
                }
                let replies = prompts.iter().map(|p| reply(p, user, password, &mut sent)).collect::<Option<_>>();
                let Some(replies) = replies else {
                    let mut message = format!("the device asks what no credential answers: '{asked}'");
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

/// Whether a question is one of those that change a password.
fn wants_new_password(question: &str) -> bool {
    let text = question.to_ascii_lowercase();
    text.contains("password")
        && ["new", "old", "current", "retype", "re-enter", "expired"].iter().any(|w| text.contains(w))
}

/// The answer to a question; `None` when there is none to give, or when the password was given already.
fn reply(question: &Prompt, user: &str, password: &str, sent: &mut bool) -> Option<String> {
    let text = question.prompt.to_ascii_lowercase();
    let of_another_kind = ["token", "verification", "one-time", "otp", "authenticator"];
    if text.contains("password") && !of_another_kind.iter().any(|w| text.contains(w)) || !question.echo {
        let second_factor = of_another_kind.iter().any(|w| text.contains(w));
        return (!second_factor && !std::mem::replace(sent, true)).then(|| password.to_owned());
    }
    if text.contains("press") && (text.contains("enter") || text.contains("return")) {
        return Some(String::new());
    }
    (text.contains("user") || text.contains("login")).then(|| user.to_owned())
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

    #[test]
    fn a_question_for_a_new_password_is_told_from_one_for_the_password() {
        for question in ["New password: ", "Current Password:", "Retype new password:", "(current) UNIX password: "] {
            assert!(wants_new_password(question), "{question}");
        }
        for question in ["Password: ", "backup's password:", "Passcode: ", "Username: "] {
            assert!(!wants_new_password(question), "{question}");
        }
    }
}
