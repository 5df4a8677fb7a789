//! What a question at a login asks for.

/// What a question at a login asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Asked {
    /// The name of the user.
    UserName,
    /// The password.
    Password,
    /// A new password, or the old one on the way to it.
    NewPassword,
    /// Nothing but the return key.
    Return,
    /// What no credential answers: a code of one time, the passphrase of a key, whatever is not known.
    Other,
}

/// Tells what a question asks for. `hidden`: what is typed is not shown, so that a question of no known words is one for the
/// password.
///
/// Names are no part of it: `Password for arnold@gold-sw1:` is no question for an old one.
#[must_use]
pub fn asked(question: &str, hidden: bool) -> Asked {
    let text = question.to_ascii_lowercase();
    let a_name = |piece: &&str| piece.contains('@') || piece.ends_with("'s");
    let text = text.split_ascii_whitespace().filter(|p| !a_name(p)).collect::<Vec<_>>().join(" ");
    let words: Vec<&str> = text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty()).collect();
    let has = |any: &[&str]| words.iter().any(|w| any.contains(w));
    let password = words.iter().position(|w| w.starts_with("password"));
    if let Some(at) = password {
        let before = words.iter().take(at).any(|w| ["new", "old", "current"].contains(w));
        if before || has(&["retype", "reenter", "expired"]) || text.contains("re-enter") {
            return Asked::NewPassword;
        }
    }
    if has(&["token", "tokencode", "verification", "otp", "authenticator"]) || text.contains("one-time") {
        return Asked::Other;
    }
    if password.is_some() || hidden {
        return Asked::Password;
    }
    if has(&["press"]) && has(&["enter", "return"]) {
        return Asked::Return;
    }
    if words.iter().any(|w| w.starts_with("user") || w.starts_with("login")) { Asked::UserName } else { Asked::Other }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_told_by_its_words() {
        for (question, hidden, expected) in [
            ("Username: ", false, Asked::UserName),
            ("login: ", false, Asked::UserName),
            ("(ops@r1) Username: ", false, Asked::UserName),
            ("Password: ", true, Asked::Password),
            ("(ops@r1) Password: ", false, Asked::Password),
            ("ops@r1's password: ", false, Asked::Password),
            ("backup's password:", true, Asked::Password),
            ("Password for arnold@gold-sw1:", true, Asked::Password),
            ("harold@newyork-token's password: ", false, Asked::Password),
            ("Passcode: ", true, Asked::Password),
            ("Passcode: ", false, Asked::Other),
            ("New password: ", true, Asked::NewPassword),
            ("Current Password:", true, Asked::NewPassword),
            ("Retype new password:", true, Asked::NewPassword),
            ("(current) UNIX password: ", true, Asked::NewPassword),
            ("Your password has expired. Password: ", true, Asked::NewPassword),
            ("Token code", false, Asked::Other),
            ("Verification code: ", true, Asked::Other),
            ("One-time password: ", true, Asked::Other),
            ("Enter passphrase to unlock: ", false, Asked::Other),
            ("Press Enter to go on", false, Asked::Return),
            ("", false, Asked::Other),
        ] {
            assert_eq!(asked(question, hidden), expected, "{question}");
        }
    }
}
