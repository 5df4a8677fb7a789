//! What programs that make a connection find in their environment.

use std::ffi::OsString;
use std::fmt;
use std::sync::Arc;

use tokio::process::Command;

/// The environment of programs that are started for a connection.
///
/// By itself it is that of this process, whatever stands there: a program that takes secrets from variables gives its
/// children those alone that are for them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Environment(Option<Arc<[(OsString, OsString)]>>);

impl Environment {
    /// These variables, and no others.
    #[must_use]
    pub fn only(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        Self(Some(variables.into_iter().collect()))
    }

    /// Starts a program in it. What is set for the command afterwards goes before.
    pub fn of(&self, command: &mut Command) {
        if let Some(variables) = &self.0 {
            command.env_clear().envs(variables.iter().map(|(name, value)| (name, value)));
        }
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().flat_map(|all| all.iter().map(|(name, _)| name));
        f.debug_tuple("Environment").field(&names.collect::<Vec<_>>()).finish()
    }
}
