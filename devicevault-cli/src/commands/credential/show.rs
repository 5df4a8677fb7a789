//! `devicevault credential show`

use clap::Args;
use devicevault_core::Result;
use devicevault_core::inventory::Credential;
use serde::Serialize;

use super::{All, places};
use crate::Exit;
use crate::context::Context;
use crate::ui::{escape, human};

/// Show a credential and who uses it; never its secrets.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault credential show switches
  devicevault credential show switches --json")]
pub(crate) struct ShowArgs {
    /// What it is called
    name: String,
}

/// A credential for programs. It serialises without what is sealed.
#[derive(Debug, Serialize)]
pub(super) struct Shown<'a> {
    #[serde(flatten)]
    credential: &'a Credential,
    used_by: Vec<String>,
}

impl<'a> Shown<'a> {
    pub(super) fn of(credential: &'a Credential, used_by: Vec<String>) -> Self {
        Self { credential, used_by }
    }
}

/// Which devices it is for without being named there.
pub(super) fn purpose(c: &Credential) -> String {
    let sites = c.sites.iter().map(|s| format!("site {s}"));
    sites.chain(c.default.then(|| "default".to_owned())).collect::<Vec<_>>().join(", ")
}

pub(super) async fn run(context: &Context, args: ShowArgs) -> Result<Exit> {
    let instance = context.instance().await?;
    let all = All::of(&instance).await?;
    let c = all.named(&args.name)?;
    let users = all.users(c);
    if context.ui.is_json() {
        context.ui.json(&Shown::of(c, users))?;
        return Ok(Exit::Done);
    }
    let mut lines = vec![("name", c.name.clone())];
    lines.extend(c.description.clone().map(|d| ("description", d)));
    lines.extend(c.login.username.clone().map(|u| ("user", u)));
    lines.extend(places(&c.login));
    let purpose = purpose(c);
    if !purpose.is_empty() {
        lines.push(("for", purpose));
    }
    lines.push(("added", human::time(c.created_at)));
    lines.push(("rotated", human::time(c.rotated_at)));
    lines.push(("used by", if users.is_empty() { "nobody".to_owned() } else { users.join(", ") }));
    for (name, value) in lines {
        context.ui.line(&format!("{name:14} {}", escape::text(&value)))?;
    }
    Ok(Exit::Done)
}
