//! Which crates of others may be used, and by whom.

use std::collections::BTreeSet;

use super::deny_file::{Ban, DenyFile};
use crate::command;
use crate::workspace::Workspace;

/// What `devicevault-core` must not be built of, directly or not: it opens no socket, file or database and has no
/// command line. A name that ends in `*` stands for all that begin so.
const NOT_IN_CORE: &[&str] = &[
    // Network and TLS.
    "mio",
    "socket2",
    "hyper*",
    "h2",
    "reqwest",
    "axum*",
    "tower*",
    "russh*",
    "rustls*",
    "tokio-rustls",
    "aws-lc-*",
    "ring",
    "openssl*",
    "native-tls",
    "quinn*",
    "lapin",
    "suppaftp",
    "async-snmp",
    "lettre",
    // Databases and stores.
    "sqlx*",
    "rusqlite",
    "libsqlite3-sys",
    "object_store",
    "git2",
    "libgit2-sys",
    "rustix",
    // Terminals and command lines.
    "clap*",
    "indicatif",
    "comfy-table",
    "console",
    "crossterm",
    "anstream",
    "inquire",
    "rpassword",
    "miette",
    "tracing-subscriber",
];

pub(super) fn breaches(workspace: &Workspace) -> Vec<String> {
    let file = match DenyFile::load(workspace) {
        Ok(file) => file,
        Err(why) => return vec![why],
    };
    let mut out: Vec<String> = file.bans.iter().flat_map(|ban| of_ban(workspace, ban)).collect();
    out.extend(of_core());
    out
}

fn of_ban(workspace: &Workspace, ban: &Ban) -> Vec<String> {
    let there: Vec<_> = workspace.packages.iter().filter(|p| p.name == ban.name).collect();
    let mut out = Vec::new();
    if ban.one_version || !ban.wrappers.is_empty() {
        if there.len() > 1 {
            let versions: Vec<_> = there.iter().map(|p| p.version.as_str()).collect();
            out.push(format!("{} is there in versions {}: {}", ban.name, versions.join(", "), ban.reason));
        }
        let users =
            workspace.packages.iter().filter(|p| p.needs.contains(&ban.name) || p.needs_in_tests.contains(&ban.name));
        // A stranger's optional dependency is not a use: that the banned crate is built tells who switched it on.
        for user in users.filter(|p| p.member && !ban.one_version && !ban.wrappers.contains(&p.name)) {
            out.push(format!("{} must not depend on {}: {}", user.name, ban.name, ban.reason));
        }
    } else if !there.is_empty() {
        out.push(format!("{} is used: {}", ban.name, ban.reason));
    }
    out
}

/// Core is asked of cargo by itself: in the workspace, features that others switch on would blur the answer.
fn of_core() -> Vec<String> {
    let args = ["tree", "--package", "devicevault-core", "--edges", "normal,build", "--prefix", "none"];
    let mut tree = command::cargo(&args);
    tree.args(["--format", "{p}", "--target", "all", "--all-features"]);
    let text = match command::output_of(tree) {
        Ok(text) => text,
        Err(why) => return vec![why],
    };
    let names: BTreeSet<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    names
        .into_iter()
        .filter(|n| NOT_IN_CORE.iter().any(|p| stands_for(p, n)))
        .map(|n| format!("devicevault-core pulls in {n}: it must do without network, database, TLS and terminal"))
        .collect()
}

fn stands_for(pattern: &str, name: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == name, |start| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_the_rest() {
        assert!(stands_for("sqlx*", "sqlx-core") && stands_for("sqlx*", "sqlx"));
        assert!(!stands_for("ring", "ring-compat"));
    }
}
