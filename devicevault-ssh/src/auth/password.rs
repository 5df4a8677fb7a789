//! The password, and a server that asks for a new one instead of saying yes or no (RFC 4252, section 8).
//!
//! russh takes that message without a word and goes on waiting. What can be seen of it is that something came behind the
//! password that was no verdict, and nothing more; whether it was that message is found out by asking.

use std::pin::pin;
use std::time::Duration;

use russh::client::AuthResult;
use tokio::time::timeout;

use super::{Login, closed};
use crate::error::shown;
use crate::{Result, SshError};

/// Silence is looked at so often.
const STEP: Duration = Duration::from_secs(2);
/// So many steps of silence follow what was no verdict, before anything is asked: asking may end an attempt that is under way.
const PATIENCE: u32 = 5;
/// And so many where a banner is all that may have come: behind one a server may think on.
const BEHIND_A_BANNER: u32 = 10;

/// Offers the password, once.
pub(super) async fn offer(login: &mut Login<'_>, password: &str) -> Result<AuthResult> {
    let (farewell, heard, user) = (login.farewell, login.heard, login.user);
    login.password_given();
    let (before, banners) = (heard.received(), farewell.banners().0);
    {
        let mut verdict = pin!(login.handle.authenticate_password(user, password));
        let (mut seen, mut quiet) = (before, 0);
        loop {
            if let Ok(verdict) = timeout(STEP, &mut verdict).await {
                return verdict.map_err(|e| closed(e, farewell));
            }
            let (now, (count, banner)) = (heard.received(), farewell.banners());
            quiet = if now > before && now == seen { quiet + 1 } else { 0 };
            seen = now;
            let explained = count > banners && !tells_of_expiry(&banner);
            if quiet >= if explained { BEHIND_A_BANNER } else { PATIENCE } {
                break;
            }
        }
    }
    // Who asked for a new password drops that for any other request, and answers this one alone (RFC 4252, section 5.1). Who was
    // only slow answers the password first.
    match login.handle.authenticate_none(user).await {
        Err(_) => {
            Err(login.rejected("the device answered the password by neither yes nor no, and closed the connection"))
        }
        Ok(AuthResult::Success) => Ok(AuthResult::Success),
        Ok(AuthResult::Failure { .. }) => {
            let (count, banner) = farewell.banners();
            let said = match shown(&banner) {
                banner if count > banners && !banner.is_empty() => format!("the device says: {banner}"),
                _ => "the device answers it by asking for a new one".to_owned(),
            };
            Err(SshError::PasswordExpired { said })
        }
    }
}

/// Whether a text says that the password is one of yesterday.
fn tells_of_expiry(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.contains("passw") && ["expired", "change", "new password"].iter().any(|word| text.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_banner_may_tell_of_it() {
        for text in ["Your password has expired.", "Password change required", "Please set a new password"] {
            assert!(tells_of_expiry(text), "{text}");
        }
        for text in ["", "Authorized users only", "password:", "change control applies"] {
            assert!(!tells_of_expiry(text), "{text}");
        }
    }
}
