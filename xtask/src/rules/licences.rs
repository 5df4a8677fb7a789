//! Whether the licence of everything that we build of is one that `deny.toml` allows.

use super::deny_file::DenyFile;
use crate::workspace::Workspace;

pub(super) fn breaches(workspace: &Workspace) -> Vec<String> {
    let file = match DenyFile::load(workspace) {
        Ok(file) => file,
        Err(why) => return vec![why],
    };
    let mut out = Vec::new();
    for p in &workspace.packages {
        match p.licence.as_deref().map(|text| (text, allows(text, &file.licences))) {
            Some((_, Some(true))) => {}
            Some((text, Some(false))) => out.push(format!("{}: {text} is not allowed in deny.toml", p.title())),
            Some((text, None)) => out.push(format!("{}: {text} is not an SPDX expression", p.title())),
            None => out.push(format!("{} does not name its licence", p.title())),
        }
    }
    out
}

/// Whether what is allowed satisfies an SPDX expression; `None`: it is none. The old `A/B` means `A OR B`.
fn allows(expression: &str, allowed: &[String]) -> Option<bool> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    let verdict = any(&mut rest, allowed)?;
    rest.is_empty().then_some(verdict)
}

fn any(words: &mut &[&str], allowed: &[String]) -> Option<bool> {
    let mut verdict = all(words, allowed)?;
    while eat(words, "OR") {
        verdict |= all(words, allowed)?;
    }
    Some(verdict)
}

fn all(words: &mut &[&str], allowed: &[String]) -> Option<bool> {
    let mut verdict = one(words, allowed)?;
    while eat(words, "AND") {
        verdict &= one(words, allowed)?;
    }
    Some(verdict)
}

fn one(words: &mut &[&str], allowed: &[String]) -> Option<bool> {
    if eat(words, "(") {
        let verdict = any(words, allowed)?;
        return eat(words, ")").then_some(verdict);
    }
    let (first, rest) = words.split_first()?;
    if ["OR", "AND", "WITH", ")"].contains(first) {
        return None;
    }
    *words = rest;
    let mut licence = (*first).to_owned();
    if eat(words, "WITH") {
        let (exception, rest) = words.split_first()?;
        *words = rest;
        licence = format!("{licence} WITH {exception}");
    }
    Some(allowed.contains(&licence))
}

fn eat(words: &mut &[&str], word: &str) -> bool {
    match words.split_first() {
        Some((first, rest)) if *first == word => {
            *words = rest;
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::allows;

    #[test]
    fn expressions_are_weighed() {
        let allowed = ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned);
        for (text, verdict) in [
            ("MIT", Some(true)),
            ("GPL-3.0", Some(false)),
            ("GPL-3.0 OR MIT", Some(true)),
            ("GPL-3.0 AND MIT", Some(false)),
            ("ISC AND (GPL-3.0 OR MIT)", Some(true)),
            ("MIT OR GPL-3.0 AND ISC", Some(true)),
            ("GPL-3.0/MIT", Some(true)),
            ("GPL-3.0 / MIT", Some(true)),
            ("Apache-2.0 WITH LLVM-exception", Some(true)),
            ("Apache-2.0", Some(false)),
            ("MIT OR", None),
            ("(MIT", None),
            ("MIT ISC", None),
            ("", None),
        ] {
            assert_eq!(allows(text, &allowed), verdict, "{text}");
        }
    }
}
