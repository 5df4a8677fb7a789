//! `devicevault key check`

use std::path::Path;
use std::sync::Arc;

use clap::Args;
use devicevault_core::key::KeyProvider;
use devicevault_core::{Error, ErrorKind, Result};
use serde::Serialize;

use super::{needed, no_keys, settle};
use crate::Exit;
use crate::context::Context;
use crate::instance::Instance;
use crate::keys::elsewhere::Elsewhere;
use crate::keys::kit;
use crate::keys::places::KeyedPlaces;
use crate::keys::sources::KeySource;
use crate::ui::table::{Cell, Table, Tone};

/// Check that every key can be had and opens every epoch key, and that every sealed destination has its epoch keys. Asks
/// for passphrases and PINs that are not kept.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault key check
  devicevault key check --repair        finish what was cut off, bring destinations up to date

Exit codes: 0 all is in order, 3 something is not, 1 nothing is.")]
pub(crate) struct CheckArgs {
    /// Wrap what is not wrapped as it should be, here and at destinations
    #[arg(long)]
    repair: bool,
    /// Lay this home's keys also over later ones at a destination: keys that were retired there from elsewhere open it
    /// again, and those that took their place do not
    #[arg(long, requires = "repair")]
    over: bool,
}

impl CheckArgs {
    pub(super) fn repairs(&self) -> bool {
        self.repair
    }
}

#[derive(Debug, Serialize)]
struct Finding {
    what: String,
    good: bool,
    detail: String,
}

pub(super) async fn run(context: &Context, args: &CheckArgs) -> Result<Exit> {
    let mut instance = context.instance().await?;
    if !instance.keys.is_set_up() {
        return Err(no_keys());
    }
    if args.over {
        for (_, folder) in KeyedPlaces::of(&instance, instance.keys.sources()).await?.reachable {
            for epoch in instance.keys.epochs() {
                instance.keys.refuse_damaged(&epoch).await?;
                folder.replace(&epoch).await?;
            }
        }
    }
    if args.repair {
        settle::tell(context, &settle::settle(context, &instance, None).await?);
        instance = context.instance().await?;
    }
    let mut found = Vec::new();
    for (source, provider) in instance.keys.held() {
        let (what, tried) = (format!("key {}", source.id), try_key(&instance, source, provider).await);
        found.push(finding(what, tried.map(|()| format!("{} opens every epoch key", source.from.describe()))));
    }
    for id in instance.keys.unreadable() {
        let why = "what the home has of it cannot be read, and no destination that is there has it whole";
        let e = Error::new(ErrorKind::Corrupt, "check keys", why).hint(needed::bring_back(id));
        found.push(finding(format!("epoch key {id}"), Err(e)));
    }
    let places = KeyedPlaces::of(&instance, instance.keys.sources()).await?;
    for (config, folder) in places.reachable {
        let looked = async {
            // Its error says what is to be done where another home has the place.
            instance.keys.refuse_taken_over(&folder).await?;
            needed::check(context, &instance, &config, &folder, args.repair).await?;
            let mut here = 0;
            for epoch in instance.keys.epochs() {
                match folder.load(epoch.id).await? {
                    Some(there) if there == epoch => here += 1,
                    Some(_) => return Err(behind("an epoch key there is not as it is here")),
                    None => {}
                }
            }
            // One that nothing was sealed with there need not be there.
            let all = instance.keys.epochs().len();
            let others = if here < all { "; nothing there needs the others" } else { "" };
            Ok(format!("{here} of {all} epoch keys are there, as they are here{others}"))
        };
        found.push(finding(format!("destination {}", config.name), looked.await));
    }
    found.extend(places.away.into_iter().map(|(name, e)| finding(format!("destination {name}"), Err(e))));
    let elsewhere = Elsewhere::read(&instance.home)?;
    let stays: Vec<String> = instance.keys.sources().keys.iter().map(|k| k.id.clone()).collect();
    for left in elsewhere.without(&stays) {
        let (what, opens) = match left.lost_epoch {
            true => (format!("lost {}", left.name), "a copy of it that comes up opens"),
            false => (format!("removed {}", left.name), "opens"),
        };
        let detail = format!(
            "{opens} by key {} alone: keep its kit, or the token that it is in, for {}",
            left.keys_text(),
            left.describe()
        );
        found.push(Finding { what, good: true, detail });
    }
    let kits = kit::left_in(&instance.home);
    let of = |kit: &Path, source: &KeySource| kit.ends_with(kit::file_name(&source.id));
    let leaves = |kit: &Path| instance.keys.sources().retiring().any(|k| of(kit, k));
    let opens = |kit: &Path| instance.keys.sources().active().any(|k| of(kit, k));
    let serves = |kit: &Path| elsewhere.keys().into_iter().any(|k| kit.ends_with(kit::file_name(k)));
    found.push(Finding {
        what: "recovery kit".to_owned(),
        good: kits.is_empty(),
        // The dead ones are told first: they are not to be printed.
        detail: match kits.iter().find(|k| !opens(k)).or(kits.first()) {
            Some(kit) if leaves(kit) => format!(
                "{} is of a key that is being replaced: to be kept until `devicevault key rotate --scope kek` has ended, \
                 and not longer",
                kit.display()
            ),
            Some(kit) if !opens(kit) && serves(kit) => format!(
                "{} is of a key that only what was removed or lost needs: print it for that, take it away, delete it",
                kit.display()
            ),
            Some(kit) if !opens(kit) => format!("{} is of a key that opens nothing: not to be kept", kit.display()),
            Some(kit) => format!("{} still lies on this machine: print it, take it away, delete it", kit.display()),
            None => "none lies in the home; may you know where yours is".to_owned(),
        },
    });
    tell(context, &found)
}

fn finding(what: String, tried: Result<String>) -> Finding {
    let good = tried.is_ok();
    let told = |e: Error| match e.hint_text() {
        Some(hint) => format!("{}; {hint}", e.to_record().message),
        None => e.to_record().message,
    };
    Finding { what, good, detail: tried.unwrap_or_else(told) }
}

pub(super) fn behind(why: &str) -> Error {
    Error::new(ErrorKind::Conflict, "check keys", why.to_owned())
        .hint("`devicevault key check --repair` brings it up to date")
}

async fn try_key(instance: &Instance, source: &KeySource, provider: &Arc<dyn KeyProvider>) -> Result<()> {
    let id = provider.kek().await?;
    if id.0 != source.id {
        return Err(Error::new(ErrorKind::Conflict, "check keys", "it is another key than it was")
            .with("found", id)
            .hint("a file, variable or passphrase was changed: put back what was there when this key was made"));
    }
    if source.retiring {
        return Err(behind("its retirement is not finished"));
    }
    for epoch in instance.keys.epochs() {
        if !epoch.is_wrapped_by(&id) {
            return Err(behind("an epoch key is not wrapped by it").with("epoch", epoch.id));
        }
        epoch.open(std::slice::from_ref(provider)).await?;
    }
    Ok(())
}

fn tell(context: &Context, found: &[Finding]) -> Result<Exit> {
    let bad = found.iter().filter(|f| !f.good).count();
    if context.ui.is_json() {
        context.ui.json(&found)?;
    } else {
        let mut table = Table::new(["what", "", "detail"]);
        for f in found {
            let state = if f.good { Cell::new("good") } else { Cell::new("not in order").tone(Tone::Bad) };
            table.row([Cell::new(&f.what), state, Cell::new(&f.detail)]);
        }
        context.ui.table(table, "")?;
    }
    Ok(Exit::of_parts(found.len() - bad, bad))
}
