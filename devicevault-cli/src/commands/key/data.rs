//! `devicevault key rotate --scope data`: what is stored is sealed anew.

use std::collections::BTreeMap;

use devicevault_core::catalog::{CatalogExt as _, Query, RunQuery};
use devicevault_core::run::RunState;
use devicevault_core::{Error, ErrorKind, Result, Timestamp};
use futures::{StreamExt as _, TryStreamExt as _};
use serde::Serialize;

use super::{begun, settle};
use crate::context::Context;
use crate::instance::{CATALOG, Instance};
use crate::interrupt::cancellable;
use crate::keys::lock::lock_credentials;
use crate::keys::places::KeyedPlaces;
use crate::ui::human;
use crate::ui::progress::counter;
use crate::wiring::keys::{Keys, is_sealed};
use crate::{Exit, wiring};

/// No destination has more versions than this.
const MOST: usize = 10_000_000;
/// What is left after so many passes is left to the next call.
const MOST_PASSES: usize = 5;

/// What was done.
#[derive(Debug, Default, Serialize)]
struct Rotated {
    scope: &'static str,
    /// The epoch key that was made for it; none where an earlier rotation is gone on with.
    new: Option<String>,
    /// Backups that were sealed anew.
    rewritten: usize,
    /// Stored secrets of credentials that were.
    secrets: usize,
    /// Runs that began before the new epoch key was made, and are storing still.
    under_way: usize,
    /// Those that could not be, and why.
    bad: Vec<Bad>,
    /// Destinations that could not be reached, and why.
    behind: Vec<Bad>,
}

#[derive(Debug, Serialize)]
struct Bad {
    destination: String,
    why: String,
}

/// Seals everything under a new epoch key, or goes on with the rotation that was cut off. An epoch key of `--scope epoch` is
/// not taken for one of those: it may be the one that was seen.
///
/// # Errors
/// The home cannot be read. What goes wrong with a backup or a destination is told.
pub(super) async fn rotate(context: &Context, instance: &Instance) -> Result<Exit> {
    // What the home has is what counts, not what it had when this program began.
    let keys = Keys::open(Some(&instance.home), &context.given_keys).await?;
    let newest = keys.epochs().last().map(|epoch| epoch.id.to_string());
    let mut done = match begun::read(&instance.home)? {
        Some(epoch) if Some(&epoch) == newest.as_ref() => {
            cancellable(Box::pin(until_none_is_left(context, instance, &keys))).await?
        }
        // A new key is of use where all can be sealed under it.
        _ => Rotated { scope: "data", behind: away(instance, &keys).await?, ..Rotated::default() },
    };
    if done.rewritten + done.secrets == 0 && done.behind.is_empty() {
        settle::kit_while_unfinished(context, instance, &keys).await?;
        let epoch = keys.new_epoch(&instance.home, context.clock().now()).await?;
        begun::note(&instance.home, &epoch.id.to_string())?;
        done = cancellable(Box::pin(until_none_is_left(context, instance, &keys))).await?;
        done.new = Some(epoch.id.to_string());
    }
    if let Some(newest) = keys.epochs().last() {
        done.under_way = storing_since_before(instance, newest.created).await?;
    }
    if done.behind.is_empty() && done.under_way == 0 {
        begun::forget(&instance.home)?;
    }
    tell(context, &done)
}

/// Goes over everything until a pass finds nothing that is sealed under another key: a backup that ran beside the one
/// before may have stored under it.
async fn until_none_is_left(context: &Context, instance: &Instance, keys: &Keys) -> Result<Rotated> {
    let mut all = Rotated::default();
    for n in 1..=MOST_PASSES {
        let mut pass = Rotated { scope: "data", ..Rotated::default() };
        credentials(instance, keys, &mut pass).await?;
        everywhere(context, instance, keys, &mut pass).await?;
        let is_last = pass.rewritten + pass.secrets == 0;
        pass.rewritten += all.rewritten;
        pass.secrets += all.secrets;
        all = pass;
        if is_last {
            break;
        }
        if n == MOST_PASSES {
            let why = "each time something was found that others had sealed under a key of before: do it again";
            all.behind.push(Bad { destination: "what was stored meanwhile".to_owned(), why: why.to_owned() });
        }
    }
    Ok(all)
}

/// Stored secrets lie in the catalog, under the same epoch keys.
async fn credentials(instance: &Instance, keys: &Keys, done: &mut Rotated) -> Result<()> {
    let all = match instance.inventory.credentials().await {
        Err(e) if e.kind() == ErrorKind::Unsupported => Vec::new(),
        all => all?,
    };
    for name in all.into_iter().map(|c| c.name) {
        // Whoever changes it meanwhile does so before or after this.
        let _alone = lock_credentials(&instance.home).await?;
        let now = instance.inventory.credentials().await?;
        let Some(mut credential) = now.into_iter().find(|c| c.name == name) else { continue };
        match wiring::reseal_secrets(keys, &mut credential).await {
            Ok(0) => {}
            Ok(count) => {
                instance.inventory.put_credential(&credential).await?;
                done.secrets += count;
            }
            Err(e) => done.bad.push(Bad { destination: CATALOG.to_owned(), why: e.to_record().message }),
        }
    }
    Ok(())
}

/// Runs that began before a time and are storing: what is on its way to a destination is sealed under the key of before.
/// Whatever is stored later is sealed under the newest.
async fn storing_since_before(instance: &Instance, time: Timestamp) -> Result<usize> {
    // Closes runs of processes that died.
    instance.catalog.pending().await?;
    let mut query = RunQuery::default();
    query.state = Some(RunState::Storing);
    let runs: Vec<_> = instance.catalog.every_run(&query).try_collect().await?;
    Ok(runs.iter().filter(|run| run.start.started_at <= time).count())
}

/// Destinations that cannot be reached.
async fn away(instance: &Instance, keys: &Keys) -> Result<Vec<Bad>> {
    let places = KeyedPlaces::of(instance, keys.sources()).await?;
    Ok(places.away.into_iter().map(|(name, e)| Bad { destination: name, why: e.to_record().message }).collect())
}

async fn everywhere(context: &Context, instance: &Instance, keys: &Keys, done: &mut Rotated) -> Result<()> {
    let places = KeyedPlaces::of(instance, keys.sources()).await?;
    done.behind.extend(places.away.into_iter().map(|(name, e)| Bad { destination: name, why: e.to_record().message }));
    for (config, _) in places.reachable {
        let bad = |e: Error| Bad { destination: config.name.clone(), why: e.to_record().message };
        if !is_sealed(&config) {
            let why =
                "it seals no more, and nothing there is sealed anew: `devicevault destination edit --seal yes` first";
            done.bad.push(bad(Error::new(ErrorKind::Config, "seal anew", why)));
            continue;
        }
        let mut settings = instance.backend_settings(&config, false);
        settings.keys = keys.clone();
        let backend = match wiring::open_sealed(settings).await {
            Ok(backend) => backend,
            Err(e) => {
                done.behind.push(bad(e));
                continue;
            }
        };
        let mut query = Query::default();
        query.destination = Some(config.id.clone());
        let expected = instance.find_all(&query, MOST).await?.len();
        let counter = counter(&context.ui, expected, "copies");
        let mut closed: BTreeMap<Option<String>, (usize, Error)> = BTreeMap::new();
        let mut each = backend.reseal();
        while let Some(one) = each.next().await {
            counter.inc(1);
            match one {
                Ok(one) => done.rewritten += usize::from(one.changed),
                Err(e) if e.kind() == ErrorKind::Corrupt => done.bad.push(bad(e)),
                // Of an epoch that no key at hand opens: it keeps nothing from the others.
                Err(e) if e.kind() == ErrorKind::KeyUnavailable && e.context().any(|(name, _)| name == "path") => {
                    let epoch = e.context().find(|(name, _)| *name == "epoch").map(|(_, id)| id.to_owned());
                    closed.entry(epoch).or_insert((0, e)).0 += 1;
                }
                Err(e) => {
                    done.behind.push(bad(e));
                    break;
                }
            }
        }
        counter.finish_and_clear();
        done.bad.extend(closed.into_values().map(|(count, e)| {
            let first = bad(e);
            Bad { why: format!("{} stay closed, the first: {}", human::count(count, "object"), first.why), ..first }
        }));
    }
    Ok(())
}

fn tell(context: &Context, done: &Rotated) -> Result<Exit> {
    let ui = &context.ui;
    let exit = Exit::of_parts(1, done.bad.len() + done.behind.len() + done.under_way);
    if ui.is_json() {
        ui.json(done)?;
        return Ok(exit);
    }
    for bad in &done.bad {
        ui.warn(&format!("at {}: {}; nothing of that was changed", bad.destination, bad.why));
    }
    for behind in &done.behind {
        ui.warn(&format!("{} is not done: {}", behind.destination, behind.why));
    }
    if !done.behind.is_empty() {
        ui.note("run the same command again when it is back: it goes on where it stopped");
    }
    let copies = human::count(done.rewritten, "backup");
    let secrets = match done.secrets {
        0 => String::new(),
        n => format!(" and {} of credentials", human::count(n, "stored secret")),
    };
    ui.note(&match &done.new {
        Some(id) => format!("{copies}{secrets} sealed anew, under the new epoch key {id}"),
        None if done.rewritten + done.secrets == 0 && !done.behind.is_empty() => {
            "nothing was sealed anew, and no epoch key made".to_owned()
        }
        None => format!("{copies}{secrets} sealed anew: what an earlier rotation had left"),
    });
    if done.under_way > 0 {
        ui.warn(&format!(
            "{} that began before the new epoch key was made are being stored: what of that is sealed under the key of before, \
             the same command seals anew when they are over",
            human::count(done.under_way, "backup")
        ));
    }
    Ok(exit)
}
