//! `devicevault credential list`

use clap::Args;
use devicevault_core::Result;

use super::{All, places, show};
use crate::Exit;
use crate::context::Context;
use crate::ui::human;
use crate::ui::table::{Cell, Table};

/// List credentials. No secret is read.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault credential list
  devicevault credential list --json")]
pub(crate) struct ListArgs {}

pub(super) async fn run(context: &Context, _args: ListArgs) -> Result<Exit> {
    let instance = context.instance().await?;
    let all = All::of(&instance).await?;
    if context.ui.is_json() {
        let shown: Vec<_> = all.credentials.iter().map(|c| show::Shown::of(c, all.users(c))).collect();
        context.ui.json(&shown)?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(["name", "user", "logs in with", "for", "used by", "rotated"]);
    for c in &all.credentials {
        let with: Vec<_> = places(&c.login).into_iter().map(|(name, _)| name).filter(|n| *n != "enable user").collect();
        table.row([
            Cell::new(&c.name),
            Cell::opt(c.login.username.as_ref()),
            Cell::new(with.join(", ")),
            Cell::new(show::purpose(c)),
            Cell::new(all.users(c).len().to_string()),
            Cell::new(human::time(c.rotated_at)),
        ]);
    }
    context.ui.table(table, "there is none yet; `devicevault credential add` makes one")?;
    Ok(Exit::Done)
}
