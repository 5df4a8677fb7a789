//! `devicevault destination remove`

use std::collections::BTreeSet;

use clap::Args;
use devicevault_core::{DestinationId, Error, ErrorKind, Result};
use serde::Serialize;

use super::guard::{refuse_named_by_policies, refuse_without_original};
use crate::Exit;
use crate::context::Context;
use crate::instance::Instance;
use crate::keys::elsewhere;
use crate::keys::lock::lock;
use crate::keys::noted;
use crate::keys::sources::KeyFrom;
use crate::round::{self, RoundOptions};
use crate::ui::human;
use crate::wiring;

/// Remove destinations from the home. What they hold is not deleted, and stays where it is.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault destination remove offsite
  devicevault destination remove offsite --discard-waiting

What it holds can be read as a folder (`devicevault history --from DIR`), and is known again when the destination is added
again with the same name and place.")]
pub(crate) struct RemoveArgs {
    /// What they are called
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Accept that nothing keeps originals
    #[arg(long)]
    without_original: bool,
    /// Give up what waits for them
    #[arg(long)]
    discard_waiting: bool,
}

#[derive(Debug, Serialize)]
struct Removed {
    removed: Vec<String>,
    /// What they hold is there still.
    left: Vec<Left>,
    discarded: usize,
}

#[derive(Debug, Serialize)]
struct Left {
    destination: String,
    /// Its folder or URL.
    path: Option<String>,
    /// Ids of the keys each of which opens what is sealed there.
    keys: Vec<String>,
}

pub(super) async fn run(context: &Context, args: RemoveArgs) -> Result<Exit> {
    // What a key opens is noted as it is: no rotation may be under way.
    let home = context.home()?;
    let _alone = if Instance::exists(home) { Some(lock(home).await?) } else { None };
    let instance = context.instance().await?;
    let mut gone = Vec::new();
    for name in &args.names {
        gone.push(instance.destination(name).await?);
    }
    let ids: BTreeSet<DestinationId> = gone.iter().map(|d| d.id.clone()).collect();
    refuse_named_by_policies(&instance, &gone.iter().collect::<Vec<_>>()).await?;
    if !args.without_original {
        refuse_without_original(&instance, |d| (!ids.contains(&d.id)).then_some(d)).await?;
    }
    let discarded = discard(context, &instance, &ids, args.discard_waiting).await?;
    let mut left = Vec::new();
    for d in &gone {
        let keys = elsewhere::leave(&instance, d).await?.map(|l| l.keys.into_iter().collect()).unwrap_or_default();
        instance.inventory.remove_destination(&d.id).await?;
        left.push(Left { destination: d.name.clone(), path: wiring::place_of(d, &instance.home), keys });
    }
    noted::note(&instance).await;
    if context.ui.is_json() {
        context.ui.json(&Removed { removed: args.names, left, discarded })?;
        return Ok(Exit::Done);
    }
    if discarded > 0 {
        context.ui.note(&format!("gave up {} that waited", human::copies(discarded)));
    }
    for l in &left {
        let at = l.path.as_ref().map_or_else(String::new, |p| format!(" in {p}"));
        context.ui.note(&format!("removed {}; what it holds was not deleted, and stays{at}", l.destination));
        if !l.keys.is_empty() {
            let in_token = |id: &String| {
                instance.keys.sources().keys.iter().any(|k| k.id == *id && matches!(k.from, KeyFrom::Token { .. }))
            };
            let kit = match (l.keys.as_slice(), l.keys.iter().any(in_token)) {
                ([_], true) => "that token",
                ([_], false) => "that kit",
                (_, true) => "the kits, or tokens, of all of them",
                (_, false) => "the kits of all of them",
            };
            context.ui.note(&format!(
                "what is sealed there opens by key {}, and no rotation changes that from now on: keep {kit} for as long as \
                 what it holds",
                l.keys.join(" or ")
            ));
        }
    }
    Ok(Exit::Done)
}

/// Gives up what waits, where that is accepted. Returns how much that was.
async fn discard(
    context: &Context,
    instance: &Instance,
    ids: &BTreeSet<DestinationId>,
    accepted: bool,
) -> Result<usize> {
    let spool = instance.spool().await?;
    let waits: Vec<_> = spool.pending().await?.into_iter().filter(|(_, p)| ids.contains(&p.destination)).collect();
    if let (Some((_, item)), false) = (waits.first(), accepted) {
        return Err(Error::new(ErrorKind::Conflict, "remove destination", "copies wait for it")
            .with("destination", &item.destination)
            .with("copies", waits.len())
            .hint("deliver them with `devicevault run deliver`, or give them up: --discard-waiting"));
    }
    for (id, _) in &waits {
        spool.remove(*id).await?;
    }
    if !waits.is_empty() {
        // The catalog learns that they wait no longer.
        let (options, events) = (RoundOptions::default(), std::sync::Arc::new(devicevault_core::event::NoEvents));
        round::engine(instance, &options, events, context.clock().clone(), spool).deliver(&[]).await?;
    }
    Ok(waits.len())
}
