//! `devicevault device host-key`: which keys devices and jump hosts prove themselves by.

use std::io::Read as _;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use devicevault_core::inventory::Selector;
use devicevault_core::{Device, Error, ErrorKind, Result};
use serde::Serialize;

use super::jump::host_and_port;
use crate::Exit;
use crate::context::Context;
use crate::instance::Instance;
use crate::ui::table::{Cell, Table};
use crate::wiring::{self, HostKeys, Server};

/// Show, import and forget host keys.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  devicevault device host-key import ~/.ssh/known_hosts
  devicevault device host-key show core-rtr1
  devicevault device host-key forget core-rtr1")]
pub(crate) enum HostKeyCommand {
    /// Show what is recorded of a device and its jump hosts
    Show(WhoArgs),
    /// Add the host keys of an OpenSSH known_hosts file
    Import(ImportArgs),
    /// Forget the recorded keys of a device, so that the next connection is a first one
    Forget(WhoArgs),
}

/// Whose keys.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault device host-key show core-rtr1
  devicevault device host-key show --address bastion.example.net:2222
  devicevault device host-key forget core-rtr1
  devicevault device host-key forget --address 10.0.0.1@bastion.example.net:2222

A changed key is refused until the old one is forgotten. Compare the new fingerprint with the device's own first.
`show` tells of a device's jump hosts too; `forget` takes the device's own key alone.
A server behind jump hosts is another one than that of the same address elsewhere.
They follow its address, the last of them first.")]
pub(crate) struct WhoArgs {
    /// A device
    #[arg(required_unless_present = "address", conflicts_with = "address")]
    name: Option<String>,
    /// A server by its address, such as a jump host; behind jump hosts HOST[:PORT]@JUMP[:PORT]
    #[arg(long, value_name = "HOST[:PORT]")]
    address: Option<String>,
}

/// Import a known_hosts file.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault device host-key import ~/.ssh/known_hosts
  ssh-keyscan -p 2222 192.0.2.1 | devicevault device host-key import -

Hashed names, wildcards, other ports, @revoked and @cert-authority are taken as they are. A line with another key of a
host that is recorded already is left out, and told: forget the old one first.")]
pub(crate) struct ImportArgs {
    /// The file; `-` is standard input
    file: PathBuf,
}

pub(crate) async fn run(context: &Context, command: HostKeyCommand) -> Result<Exit> {
    let instance = context.instance().await?;
    let keys = HostKeys::of_home(&instance.home);
    match command {
        HostKeyCommand::Show(args) => show(context, &instance, &keys, &args).await,
        HostKeyCommand::Import(args) => import(context, &keys, &args).await,
        HostKeyCommand::Forget(args) => forget(context, &instance, &keys, &args).await,
    }
}

/// The servers that are meant: jump hosts first, the device last.
async fn servers(instance: &Instance, args: &WhoArgs) -> Result<Vec<Server>> {
    if let Some(name) = &args.name {
        return Ok(wiring::servers(&instance.device(name).await?));
    }
    let text = args.address.as_deref().unwrap_or_default();
    let one = |part| host_and_port(part).filter(|(host, _)| !host.is_empty()).map(|(h, p)| wiring::server(h, p));
    // The last jump host stands first.
    let mut way: Vec<Server> = text.rsplit('@').map(one).collect::<Option<_>>().unwrap_or_default();
    let server = way.pop().ok_or_else(|| {
        Error::new(ErrorKind::Config, "read address", "there is no such address").with("address", text.escape_debug())
    })?;
    Ok(vec![server.over(way)])
}

/// Refuses to forget what is recorded of a device's address alone where others have the address in other networks: the key
/// may be theirs, and whatever they show next would be trusted blindly.
async fn refuse_what_may_be_anothers(instance: &Instance, name: &str, server: &Server) -> Result<()> {
    let all = instance.inventory.devices(&Selector::default()).await?;
    let there = |d: &Device| wiring::servers(d).pop().is_some_and(|s| s != *server && s.alone() == server.alone());
    let Some(other) = all.iter().find(|d| d.name != name && there(d)) else { return Ok(()) };
    Err(Error::new(ErrorKind::Conflict, "forget host key", "the key of this address may be another device's")
        .with("address", server.alone())
        .with("other device", &other.name)
        .hint(format!(
            "back up {} first, and its key is known as its own; or pin the key of {name} once its fingerprint is compared: `devicevault device edit {name} --host-key SHA256:…`; to forget it all the same: `devicevault device host-key forget --address {}`",
            other.name,
            server.alone()
        )))
}

async fn show(context: &Context, instance: &Instance, keys: &HostKeys, args: &WhoArgs) -> Result<Exit> {
    let mut all = Vec::new();
    for server in servers(instance, args).await? {
        all.extend(keys.of(&server).await?);
    }
    if context.ui.is_json() {
        context.ui.json(&all)?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(["server", "what", "kind", "fingerprint"]);
    for key in &all {
        table.row([Cell::new(&key.server), Cell::new(key.meaning), Cell::new(&key.kind), Cell::new(&key.fingerprint)]);
    }
    context
        .ui
        .table(table, "nothing is recorded; the first connection records what it sees, unless checking is strict")?;
    Ok(Exit::Done)
}

#[derive(Debug, Serialize)]
struct Imported {
    added: usize,
    known: usize,
    refused: Vec<Refused>,
}

#[derive(Debug, Serialize)]
struct Refused {
    line: usize,
    why: String,
}

/// No known_hosts file is larger.
const MOST: u64 = 64 << 20;

async fn import(context: &Context, keys: &HostKeys, args: &ImportArgs) -> Result<Exit> {
    let unreadable = |e: std::io::Error| {
        Error::new(ErrorKind::Config, "read known_hosts", "the file cannot be read")
            .with("file", args.file.display())
            .because(e)
    };
    let mut bytes = Vec::new();
    if args.file.as_os_str() == "-" {
        std::io::stdin().lock().take(MOST).read_to_end(&mut bytes).map_err(unreadable)?;
    } else {
        let file = std::fs::File::open(&args.file).map_err(unreadable)?;
        file.take(MOST).read_to_end(&mut bytes).map_err(unreadable)?;
    }
    let done = keys.import(&String::from_utf8_lossy(&bytes)).await?;
    let refused: Vec<_> = done.refused.into_iter().map(|r| Refused { line: r.line, why: r.why }).collect();
    let exit = if refused.is_empty() { Exit::Done } else { Exit::SomeFailed };
    if context.ui.is_json() {
        context.ui.json(&Imported { added: done.added, known: done.known, refused })?;
        return Ok(exit);
    }
    for r in &refused {
        context.ui.warn(&format!("line {}: {}", r.line, r.why));
    }
    let left = refused.len();
    context.ui.note(&format!("{} added, {} known already, {left} left out", done.added, done.known));
    Ok(exit)
}

#[derive(Debug, Serialize)]
struct Forgotten {
    server: String,
    fingerprints: Vec<String>,
}

async fn forget(context: &Context, instance: &Instance, keys: &HostKeys, args: &WhoArgs) -> Result<Exit> {
    let Some(mut server) = servers(instance, args).await?.pop() else { return Ok(Exit::Done) };
    if let Some(name) = &args.name {
        let known = keys.of(&server).await?;
        if !known.is_empty() && known.iter().all(|k| k.server != server.to_string()) {
            // Whatever is believed of the device was recorded of its address alone.
            refuse_what_may_be_anothers(instance, name, &server).await?;
            server = server.alone();
        }
    }
    let done = keys.forget(&server).await?;
    for line in &done.wildcards {
        context.ui.warn(&format!("line {line} of {} speaks of it by a wildcard, and stays", keys.place()));
    }
    if context.ui.is_json() {
        context.ui.json(&Forgotten { server: server.to_string(), fingerprints: done.keys })?;
    } else if done.keys.is_empty() {
        context.ui.note(&format!("nothing was recorded of {server} itself"));
    } else {
        context.ui.note(&format!("forgot {} of {server}", done.keys.join(", ")));
    }
    Ok(Exit::Done)
}
