//! Copies that have a reason in common why they were not dealt with: told by the reason, however many they are.

use devicevault_core::{Error, ErrorKind};
use serde::Serialize;

use crate::ui::{Ui, human};

/// Copies of one destination that have a reason in common.
#[derive(Debug, Serialize)]
pub(crate) struct Apart {
    destination: String,
    copies: usize,
    why: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

/// What is said of them, and the hint where their reason has none.
pub(crate) type Words = (&'static str, Option<&'static str>);
/// Of those that could not be looked at.
pub(crate) const UNREADABLE: Words = ("could not be looked at", None);
/// Of those whose key is not at hand.
pub(crate) const UNOPENED: Words = (
    "could not be opened",
    Some(
        "nothing was found damaged: down to the last stored byte they are what was stored. Have the key at hand, or give \
         the recovery kit by --kek-file, and verify again; `devicevault key check` looks at every key",
    ),
);

/// Of those that were to be copied.
pub(crate) const NOT_COPIED: Words = ("could not be copied", None);

/// Adds a copy to those of its reason.
pub(crate) fn add(all: &mut Vec<Apart>, destination: &str, e: &Error) {
    let why = reason(e);
    match all.iter_mut().find(|a| a.destination == destination && a.why == why) {
        Some(known) => known.copies += 1,
        None => all.push(Apart {
            destination: destination.to_owned(),
            copies: 1,
            why,
            hint: e.hint_text().map(str::to_owned),
        }),
    }
}

/// Adds what another part of the work had.
pub(crate) fn merge(all: &mut Vec<Apart>, others: Vec<Apart>) {
    for other in others {
        match all.iter_mut().find(|a| a.destination == other.destination && a.why == other.why) {
            Some(known) => known.copies += other.copies,
            None => all.push(other),
        }
    }
}

/// How many copies these are.
pub(crate) fn count(all: &[Apart]) -> usize {
    all.iter().map(|a| a.copies).sum()
}

/// Tells each reason once, with where and how many.
pub(crate) fn tell(ui: &Ui, all: &[Apart], (what, hint): Words) {
    let mut told: Vec<(&str, Vec<&Apart>)> = Vec::new();
    for apart in all {
        match told.iter_mut().find(|(why, _)| *why == apart.why) {
            Some((_, same)) => same.push(apart),
            None => told.push((&apart.why, vec![apart])),
        }
    }
    for (why, same) in told {
        let where_to: Vec<_> =
            same.iter().map(|a| format!("{} at {}", human::copies(a.copies), a.destination)).collect();
        ui.failure(&format!("{} {what}: {why}", where_to.join(", ")));
        let own = same.iter().find_map(|a| a.hint.as_deref());
        if let Some(hint) = hint.or(own) {
            ui.failure_hint(hint);
        }
    }
}

/// The error and its causes without what it says of the single copy.
fn reason(e: &Error) -> String {
    const OF_A_COPY: [&str; 5] = ["path", "object", "backup", "manifest", "destination"];
    let of_key = e.kind() == ErrorKind::KeyUnavailable;
    let of_a_copy = |name: &str| OF_A_COPY.contains(&name) || (of_key && name == "epoch");
    let context = e.context().filter(|(name, _)| !of_a_copy(name));
    let context: Vec<_> = context.map(|(name, value)| format!("{name}: {value}")).collect();
    let mut why = format!("{}: {}", e.operation(), e.message());
    if !context.is_empty() {
        why.push_str(&format!(" ({})", context.join(", ")));
    }
    let mut cause = std::error::Error::source(e);
    while let Some(c) = cause {
        why.push_str(&format!(": {c}"));
        cause = c.source();
    }
    why
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_key_is_one_reason_however_many_copies_it_closes() {
        let mut all = Vec::new();
        for (epoch, path) in [("e1", "a"), ("e2", "b")] {
            let e = Error::new(ErrorKind::KeyUnavailable, "open epoch key", "none of the keys at hand opens it");
            add(&mut all, "store", &e.with("epoch", epoch).with("wrapped by", "70ee").with("path", path));
        }
        add(&mut all, "store", &Error::new(ErrorKind::Unavailable, "read", "away").with("path", "a"));
        assert_eq!((all.len(), count(&all)), (2, 3));
        assert_eq!(all[0].why, "open epoch key: none of the keys at hand opens it (wrapped by: 70ee)");
        assert_eq!(all[1].why, "read: away");
    }
}
