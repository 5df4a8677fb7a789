//! A proxy command: a program whose input and output are the connection (`ssh_config(5)`, ProxyCommand).
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::str::FromStr;

use super::environment::Environment;
use super::process::Process;
use crate::{Endpoint, Result, SshError};

/// The command, with `%h` for the host, `%p` for the port, `%r` for the user and `%%` for a percent sign.
///
/// It is run without a shell: words are parted by blanks, quoted by `'…'` or `"…"`, and `\` takes the next character as
/// it is. Where it needs more of a shell (`|`, `&&`, `$VAR`, …) it is given to `sh`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyCommand {
    text: String,
    form: Form,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    Words(Vec<String>),
    Shell,
}

/// What only a shell understands.
const OF_A_SHELL: [char; 16] = ['|', '&', ';', '<', '>', '(', ')', '$', '`', '\n', '*', '?', '[', '#', '~', '{'];

impl FromStr for ProxyCommand {
    type Err = SshError;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = |why: &str| SshError::config(format!("the proxy command {why}"));
        if text.trim().is_empty() || text.contains('\0') {
            return Err(wrong("is empty"));
        }
        // An empty expansion finds what is no token.
        expand(text, "", "", "").map_err(|c| wrong(&format!("holds %{}, which means nothing", c.escape_debug())))?;
        let form = match words(text) {
            Split::Words(words) => Form::Words(words),
            Split::NeedsShell => Form::Shell,
            Split::Unclosed => return Err(wrong("has a quote without an end")),
        };
        Ok(Self { text: text.to_owned(), form })
    }
}

impl ProxyCommand {
    /// Starts it towards a server.
    pub(super) fn start(&self, to: &Endpoint, user: &str, environment: &Environment) -> Result<Process> {
        let port = to.port.to_string();
        self.refuse_harm(&to.host, user)?;
        let filled = |s: &str| {
            expand(s, &to.host, &port, user).map_err(|_| SshError::config("the proxy command holds an unknown token"))
        };
        match &self.form {
            Form::Words(words) => {
                let words = words.iter().map(|w| filled(w)).collect::<Result<Vec<_>>>()?;
                let (program, arguments) =
                    words.split_first().ok_or_else(|| SshError::config("the proxy command is empty"))?;
                Process::start(program, arguments, environment)
            }
            Form::Shell => Process::start("sh", &["-c".to_owned(), filled(&self.text)?], environment),
        }
    }

    /// What the system's `ssh` is told as its `ProxyCommand`. It fills in the tokens by itself and hands `exec` and all of
    /// that to a shell, which takes one program: a command that needs more of a shell is given to one of its own.
    ///
    /// # Errors
    /// `Config`: what would be filled in for host or user name could be an option or a command.
    pub fn for_the_systems_ssh(&self, host: &str, user: &str) -> Result<String> {
        self.refuse_harm(host, user)?;
        Ok(match &self.form {
            Form::Words(words) => words.iter().map(|w| quoted(w)).collect::<Vec<_>>().join(" "),
            Form::Shell => format!("/bin/sh -c {}", quoted(&self.text)),
        })
    }

    /// Host and user may come from an inventory that others write: neither becomes an option or a command.
    fn refuse_harm(&self, host: &str, user: &str) -> Result<()> {
        let harmless = |s: &str| {
            !s.starts_with('-')
                && s.chars().all(|c| c.is_ascii_alphanumeric() || "._-:%@\\/+".contains(c) || !c.is_ascii())
        };
        for (what, text, token) in [("host", host, "%h"), ("user name", user, "%r")] {
            if self.text.contains(token) && !(harmless(text) && (self.form != Form::Shell || !text.contains('\\'))) {
                let message = format!("'{}' is no {what} for a proxy command", text.escape_debug());
                return Err(SshError::Config { message });
            }
        }
        Ok(())
    }
}

/// The text as one word of a shell. `ssh` looks whether quotes have an end, and takes `\'` for no end: backslashes stand
/// outside.
fn quoted(text: &str) -> String {
    let one = |c: char| if matches!(c, '\'' | '\\') { format!("'\\{c}'") } else { c.to_string() };
    format!("'{}'", text.chars().map(one).collect::<String>())
}

/// Puts host, port and user in; the error is the letter of an unknown token.
fn expand(text: &str, host: &str, port: &str, user: &str) -> Result<String, char> {
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(c) = letters.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        match letters.next() {
            Some('h') => out.push_str(host),
            Some('p') => out.push_str(port),
            Some('r') => out.push_str(user),
            Some('%') => out.push('%'),
            other => return Err(other.unwrap_or(' ')),
        }
    }
    Ok(out)
}

#[derive(Debug, PartialEq, Eq)]
enum Split {
    Words(Vec<String>),
    NeedsShell,
    Unclosed,
}

fn words(text: &str) -> Split {
    let mut all = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut letters = text.chars();
    while let Some(c) = letters.next() {
        match (quote, c) {
            (Some(q), c) if c == q => quote = None,
            (Some('"'), '$' | '`') => return Split::NeedsShell,
            (Some('"'), '\\') => match letters.next() {
                Some(next @ ('"' | '\\')) => word.get_or_insert_default().push(next),
                Some(next) => word.get_or_insert_default().extend(['\\', next]),
                None => return Split::Unclosed,
            },
            (Some(_), c) => word.get_or_insert_default().push(c),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '\\') => match letters.next() {
                Some(next) => word.get_or_insert_default().push(next),
                None => return Split::Unclosed,
            },
            (None, c) if OF_A_SHELL.contains(&c) => return Split::NeedsShell,
            (None, c) if c.is_whitespace() => all.extend(word.take()),
            // A variable that is set for the command.
            (None, '=') if all.is_empty() => return Split::NeedsShell,
            (None, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Split::Unclosed;
    }
    all.extend(word);
    if all.is_empty() { Split::Unclosed } else { Split::Words(all) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn simple_commands_need_no_shell() {
        let split = |text: &str| words(text);
        let list = |words: &[&str]| Split::Words(words.iter().map(|w| (*w).to_owned()).collect());
        assert_eq!(split("nc -X 5 -x proxy:1080 %h %p"), list(&["nc", "-X", "5", "-x", "proxy:1080", "%h", "%p"]));
        assert_eq!(split(r#"a 'b c' "d \" e" f\ g """#), list(&["a", "b c", "d \" e", "f g", ""]));
        for shell in ["a | b", "a; b", "exec a $HOME", "a \"$X\"", "a > b", "X=1 a", "a `b`", "~/a"] {
            assert_eq!(split(shell), Split::NeedsShell, "{shell}");
        }
        for bad in ["a 'b", "a \"b", "a \\"] {
            assert_eq!(split(bad), Split::Unclosed, "{bad}");
        }
    }

    #[test]
    fn tokens_are_filled_in_once() {
        assert_eq!(expand("%h:%p %r 100%%", "%p", "22", "u").unwrap(), "%p:22 u 100%");
        for bad in ["", "  ", "nc %x", "nc %", "'nc"] {
            assert!(bad.parse::<ProxyCommand>().is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_host_is_never_an_option_or_a_command() {
        let command: ProxyCommand = "nc %h %p".parse().unwrap();
        for host in ["-oProxyCommand=x", "a b", "a;b", "$(x)", "a'b"] {
            assert!(command.start(&Endpoint::new(host, 22), "u", &Environment::default()).is_err(), "{host}");
        }
        let command: ProxyCommand = "true %r | cat".parse().unwrap();
        for user in ["-x", "a;b", "a\\b", "`x`"] {
            assert!(command.start(&Endpoint::new("h", 22), user, &Environment::default()).is_err(), "{user}");
        }
    }

    #[test]
    fn the_systems_ssh_gets_one_program() {
        let told = |text: &str| text.parse::<ProxyCommand>().unwrap().for_the_systems_ssh("h", "DOM\\u");
        assert_eq!(told(r"nc -x 'a b' %h %p%%\'").unwrap(), r"'nc' '-x' 'a b' '%h' '%p%%'\'''");
        assert_eq!(told(". /a b; exec t '%h'").unwrap(), r"/bin/sh -c '. /a b; exec t '\''%h'\'''");
        assert_eq!(told(r#"t "a\\""#).unwrap(), r"'t' 'a'\\''");
        // What is filled in is quoted as a word, and read by a shell otherwise.
        assert!(told("t %r").is_ok() && told("t %r | cat").is_err());
        let command: ProxyCommand = "nc %h %p".parse().unwrap();
        assert!(command.for_the_systems_ssh("$(x)", "u").is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_a_command_or_an_error(text in ".*") {
            let _ = text.parse::<ProxyCommand>();
        }

        #[test]
        fn quoted_words_come_back(list in proptest::collection::vec("[^\0]*", 1..5)) {
            let text = list.iter().map(|w| quoted(w)).collect::<Vec<_>>().join(" ");
            prop_assert_eq!(words(&text), Split::Words(list));
        }
    }
}
