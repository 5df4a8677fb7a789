//! `devicevault device show`

use std::collections::BTreeSet;

use clap::Args;
use devicevault_core::catalog::{Page, Query, RunQuery};
use devicevault_core::run::{Backup, Run};
use devicevault_core::{Device, Result, SecretRef};
use serde::Serialize;

use super::jump;
use crate::Exit;
use crate::commands::{history, run};
use crate::context::Context;
use crate::secrets;
use crate::ui::paint::Style;
use crate::ui::{Ui, escape};

/// Show a device with its last runs and versions.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault device show core-rtr1
  devicevault device show core-rtr1 --json")]
pub(crate) struct ShowArgs {
    /// What it is called
    name: String,
}

#[derive(Debug, Serialize)]
struct Shown {
    device: Device,
    runs: Vec<Run>,
    backups: Vec<Backup>,
}

pub(crate) async fn run(context: &Context, args: ShowArgs) -> Result<Exit> {
    let instance = context.instance().await?;
    let device = instance.device(&args.name).await?;
    let mut runs = RunQuery::default();
    runs.device = Some(device.id.clone());
    let runs = instance.catalog.runs(&runs, Page::first(5)).await?.items;
    let mut query = Query::default();
    query.device = Some(device.id.clone());
    let backups = instance.catalog.find(&query, Page::first(10)).await?.items;
    if context.ui.is_json() {
        context.ui.json(&Shown { device, runs, backups })?;
        return Ok(Exit::Done);
    }
    fields(&context.ui, &device)?;
    heading(&context.ui, "Last runs")?;
    let mut told = Vec::with_capacity(runs.len());
    for run in runs {
        told.push(run::Told::of(&instance, run).await?);
    }
    context.ui.table(run::table(told.iter().map(|t| (&t.run, t.waiting.as_slice()))), "none yet")?;
    heading(&context.ui, "Last versions")?;
    context.ui.table(history::table(&backups), "none yet")?;
    Ok(Exit::Done)
}

fn heading(ui: &Ui, text: &str) -> Result<()> {
    ui.line(&format!("\n{}", ui.paint().on(Style::Bold, text)))
}

fn agent_keys(chosen: &BTreeSet<String>) -> String {
    if chosen.is_empty() { "its first keys".to_owned() } else { chosen.iter().cloned().collect::<Vec<_>>().join(", ") }
}

fn fields(ui: &Ui, d: &Device) -> Result<()> {
    let login = &d.login;
    let place = |at: &Option<SecretRef>| at.as_ref().map(secrets::place);
    let tags: Vec<_> = d.tags.iter().map(String::as_str).collect();
    let options: Vec<_> = d.options.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let all = [
        ("name", Some(d.name.clone())),
        ("id", Some(d.id.to_string())),
        ("host", Some(d.host.clone())),
        ("port", d.port.map(|p| p.to_string())),
        ("platform", Some(d.platform.clone())),
        ("collector", Some(d.collector.clone())),
        ("jump hosts", (!d.jump.is_empty()).then(|| d.jump.iter().map(jump::text).collect::<Vec<_>>().join(" > "))),
        ("site", d.site.clone()),
        ("group", d.group.clone()),
        ("tags", (!tags.is_empty()).then(|| tags.join(", "))),
        ("options", (!options.is_empty()).then(|| options.join(", "))),
        ("credential", login.credential.clone()),
        ("user", login.username.clone()),
        ("password", place(&login.password).or_else(|| (!login.proves()).then(|| "asked for".to_owned()))),
        ("private key", place(&login.private_key)),
        ("passphrase", place(&login.passphrase)),
        ("certificate", place(&login.certificate)),
        ("SSH agent", login.agent.then(|| agent_keys(&login.agent_keys))),
        ("enable user", login.enable_username.clone()),
        ("enable secret", place(&login.enable)),
        ("enabled", Some(if d.enabled { "yes" } else { "no" }.to_owned())),
    ];
    for (name, value) in all {
        if let Some(value) = value {
            ui.line(&format!("{name:14} {}", escape::text(&value)))?;
        }
    }
    Ok(())
}
