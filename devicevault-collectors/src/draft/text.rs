//! The text of a draft.

use std::fmt::Write as _;

use regex::bytes::Regex;

use super::explore::Found;
use crate::platform::Platform;

const HEAD: &str = "\
#:schema ./platform.schema.json
# A draft. Look at every line: what it says was seen on one device.
# `devicevault platform check FILE --recording REC` shows what would be kept, left out and masked.
";

/// Words that a secret follows, and a rule for each.
const SECRETS: [(&str, &str); 6] = [
    ("password", r#"\bpassword (?:\d+ |cipher |encrypted )?(?<secret>"[^"]*"|\S+)"#),
    ("secret", r#"\bsecret (?:\d+ |sha512 )?(?<secret>"[^"]*"|\S+)"#),
    ("community", r#"\bcommunity (?:read |write |ro |rw |cipher |\d+ )?(?<secret>"[^"]*"|\S+)"#),
    ("passphrase", r#"\bpassphrase (?<secret>"[^"]*"|\S+)"#),
    ("pre-shared-key", r#"\bpre-shared-key (?:\S+ )??(?<secret>"[^"]*"|\S+)$"#),
    ("key-string", r#"\bkey-string (?:\d+ )?(?<secret>\S+)"#),
];

/// Lines that change by themselves.
const VOLATILE: [&str; 6] = [
    r"(?i)last (?:configuration )?(?:change|changed|modified|commit|saved)\b",
    r"(?i)\buptime\b",
    r"(?i)^\W*(?:time|date|current time|generated|exported)\b.*\d\d:\d\d",
    r"(?i)^(?:current configuration|building configuration|using \d+)",
    r"(?i)\bntp clock-period\b",
    r"\b\d\d:\d\d:\d\d\b",
];

/// In single quotes nothing is escaped; a text with such a quote needs three of them.
fn quoted(text: &str) -> String {
    if text.contains('\'') { format!("'''{text}'''") } else { format!("'{text}'") }
}

fn lines(text: &[u8]) -> impl DoubleEndedIterator<Item = String> + '_ {
    text.split(|b| *b == b'\n').map(|l| String::from_utf8_lossy(l.trim_ascii_end()).into_owned())
}

/// A file from what was found alone.
pub(super) fn from_nothing(name: &str, found: &Found) -> String {
    let mut out = HEAD.to_owned();
    let config = found.configuration.as_ref().map(|(_, text)| text.as_slice()).unwrap_or_default();
    let marks = |mark: char| lines(config).filter(|l| l.starts_with(mark)).count();
    let comment = if marks('!') > marks('#') { "!" } else { "#" };
    // Writing to a String has no way to fail.
    let _ = writeln!(out, "name = \"{name}\"\ntitle = \"{name}\"\naliases = []");
    let _ = writeln!(out, "comment = \"{comment}\"");
    match &found.refusal {
        Some(refusal) => {
            let _ =
                writeln!(out, "# A line of a short answer that matches is a refusal.\nfailure = [{}]", quoted(refusal));
        }
        None => {
            out.push_str("# Lines by which the device refuses a command, such as '^% Invalid input'.\nfailure = []\n");
        }
    }
    let shown: String = found.prompt.chars().filter(|c| !c.is_control()).collect();
    let _ = write!(out, "\n[session]\n# It was: {shown}\nprompt = {}\n", quoted(&prompt(&found.prompt)));
    match &found.paging {
        Some(command) => {
            let _ = writeln!(out, "setup = [{}]", quoted(command));
        }
        None => out.push_str("# What turns paging off. Pagers that stay are answered.\nsetup = []\n"),
    }
    if found.enabled {
        out.push_str("\n[enable]\ncommand = \"enable\"\nprompt = '# ?$'\npassword = '(?i)password: ?$'\n");
    }
    out.push_str("\n[logout]\ncommand = \"exit\"\n");
    artefacts(&mut out, found, config);
    rules(&mut out, config);
    out
}

fn artefacts(out: &mut String, found: &Found, config: &[u8]) {
    let command = found.configuration.as_ref().map_or("show running-config", |(c, _)| c.as_str());
    let _ = write!(
        out,
        "\n[[artefacts]]\nname = \"running-config\"\ncommands = [{}]\nextension = \"cfg\"\n",
        quoted(command)
    );
    let last = lines(config).rfind(|l| !l.trim().is_empty()).unwrap_or_default();
    if ["end", "return", "quit", "exit", "}", "!", "# Finished"].iter().any(|m| last.starts_with(m)) && last.len() < 16
    {
        let _ = writeln!(
            out,
            "# The last line. Without it, the text is kept as suspect.\nend_marker = {}",
            quoted(&format!("^{}$", regex::escape(&last)))
        );
    }
    if config.len() > 200 {
        let _ = writeln!(
            out,
            "# It had {} bytes; less than this is suspect.\nmin_size = {}",
            config.len(),
            config.len() / 10
        );
    }
    if !found.inventory.is_empty() {
        let commands: Vec<_> = found.inventory.iter().map(|c| quoted(c)).collect();
        let _ = write!(
            out,
            "\n[[artefacts]]\nname = \"inventory\"\noptional = true\ncommands = [{}]\nvolatile = ['(?i)\\buptime\\b']\n",
            commands.join(", ")
        );
    }
}

fn rules(out: &mut String, config: &[u8]) {
    let compiled = |p: &str| Regex::new(p).ok();
    for pattern in VOLATILE {
        let Some(rule) = compiled(pattern) else { continue };
        if let Some(line) = lines(config).take(40).find(|l| rule.is_match(l.as_bytes())) {
            let _ = write!(
                out,
                "\n# Left out where versions are compared: {}\n[[volatile]]\nline = {}\nhead = 40\n",
                plain(&line),
                quoted(pattern)
            );
        }
    }
    for (word, pattern) in SECRETS {
        let Some(rule) = compiled(pattern) else { continue };
        // The line itself would tell the secret.
        let seen = lines(config).filter(|l| rule.is_match(l.as_bytes())).count();
        if seen > 0 {
            let _ = write!(
                out,
                "\n# Seen behind the word {word} on {seen} lines.\n[[secrets]]\nline = {}\n",
                quoted(pattern)
            );
        }
    }
}

fn plain(line: &str) -> String {
    line.chars().filter(|c| !c.is_control()).take(80).collect()
}

/// An expression for prompts like this one.
fn prompt(seen: &str) -> String {
    let trimmed = seen.trim_end();
    let Some(end) = trimmed.chars().last().filter(|c| !c.is_alphanumeric()) else { return r"^\S+ ?$".to_owned() };
    let name = trimmed.strip_suffix(end).unwrap_or_default();
    let ending = if ['>', '#'].contains(&end) { "[>#]".to_owned() } else { regex::escape(&end.to_string()) };
    let mut others: Vec<char> = name.chars().filter(|c| !c.is_alphanumeric() && !"_.-".contains(*c)).collect();
    if others.contains(&'~') {
        // A shell shows its folder.
        others.push('/');
    }
    others.sort_unstable();
    others.dedup();
    let class: String =
        others.iter().map(|c| if c.is_control() { String::new() } else { regex::escape(&c.to_string()) }).collect();
    // A blank at the beginning or the end of the name is easily matched by a line of text.
    let name = if name.is_empty() { String::new() } else { format!(r"[\w.\-{class}]+(?:\([\w.\-/ ]+\))?") };
    format!("^{name}{ending} ?$")
}

/// Another platform's file under a new name, with what was found told beside.
pub(super) fn like(name: &str, like: &Platform, found: &Found) -> String {
    let mut out = HEAD.to_owned();
    let _ = writeln!(out, "# It begins as {}. On the device was seen:", like.name());
    let shown = plain(&found.prompt);
    let fits = like.shell.as_ref().is_some_and(|s| s.prompt.is_match(found.prompt.as_bytes()));
    let _ =
        writeln!(out, "#   prompt: {shown}{}", if fits { "" } else { "  — which the expression below does not match" });
    for (what, seen) in [
        ("paging off", found.paging.as_deref()),
        ("configuration", found.configuration.as_ref().map(|(c, _)| c.as_str())),
        ("refusal", found.refusal.as_deref()),
    ] {
        let _ = writeln!(out, "#   {what}: {}", seen.unwrap_or("not found"));
    }
    let mut skipping = false;
    for line in like.text().lines() {
        let top = line.split('=').next().unwrap_or_default().trim();
        if line.starts_with('[') {
            // How the other one is recognised is not how this one is.
            skipping = line.trim() == "[detect]";
        }
        if skipping || line.starts_with("#:schema") {
            continue;
        }
        match top {
            "name" if line.starts_with("name") && out_has_no_name(&out) => {
                let _ = writeln!(out, "name = \"{name}\"");
            }
            "title" if line.starts_with("title") => {
                let _ = writeln!(out, "title = \"{name}\"");
            }
            "aliases" if line.starts_with("aliases") && line.trim_end().ends_with(']') => {
                out.push_str("aliases = []\n");
            }
            _ => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    out
}

/// Artefacts have names too, further below.
fn out_has_no_name(out: &str) -> bool {
    !out.lines().any(|l| l.starts_with("name = "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prompt_is_matched_and_so_are_its_kin() {
        for (seen, kin, stranger) in [
            ("sw1#", "sw2(config)#", "this is text"),
            ("rtr-1>", "rtr-1#", "> "),
            ("<HPE>", "<other>", "hello"),
            ("[admin@MikroTik] > ", "[joe@x] > ", "admin"),
            ("user@host:~$ ", "root@host:/etc$ ", "x y#"),
            ("> ", ">", "a>"),
        ] {
            let rule = Regex::new(&prompt(seen)).unwrap_or_else(|e| panic!("{seen}: {e}"));
            assert!(rule.is_match(seen.as_bytes()) && rule.is_match(kin.as_bytes()), "{seen}: {rule}");
            assert!(!rule.is_match(stranger.as_bytes()), "{seen}: {rule}");
        }
    }
}
