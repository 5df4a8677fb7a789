//! `devicevault catalog rebuild`

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use devicevault_core::catalog::{CatalogExt as _, Query};
use devicevault_core::inventory::{DestinationConfig, Inventory, Selector};
use devicevault_core::rebuild::{Gathered, Rebuilt, Written};
use devicevault_core::run::Backup;
use devicevault_core::{Catalog, DestinationId, Device, Error, ErrorKind, Result, StorageBackend, View};
use devicevault_storage::plain::opaque_names;

use super::beside::Beside;
use super::came_back::{Told, ahead, tell};
use super::sealed;
use super::told::{self, RefusedRow};
use crate::Exit;
use crate::commands::destination::{beneath, bring_up_to_date, check_name};
use crate::commands::device::fields::key_value;
use crate::commands::key;
use crate::context::Context;
use crate::instance::{CATALOG, Instance};
use crate::interrupt::cancellable;
use crate::keys::lock::lock;
use crate::keys::new::NewKey;
use crate::keys::sources::{KeySource, KeySources};
use crate::keys::{elsewhere, kit, noted};
use crate::place::{self, Place};
use crate::ui::progress::counter;
use crate::wiring::found::Replaced;
use crate::wiring::{self, found};

/// Make the catalog anew out of what destinations hold: backups, copies, how long they were valid, what was pinned and
/// accepted, and devices as far as manifests tell. Logins, credentials, policies and runs are in no manifest.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault catalog rebuild --from store --from git           destinations that the catalog knows
  devicevault catalog rebuild --from /srv/store --from ./git    folders, in a home whose catalog is gone
  devicevault --home /new --kek-file kit.txt catalog rebuild --from /mnt/store
  devicevault catalog rebuild --from s3://backups/dv --from-option user=AKIAEXAMPLE --from-option password_env=S3_SECRET
  devicevault catalog rebuild --from offsite --into             add what the catalog lacks
  devicevault catalog rebuild --from store --replace            begin anew; the catalog of now is kept beside it

A catalog that has backups is left alone unless you say --into or --replace. What is not believed, such as a manifest
that was forged or cut, or opens by no key at hand, is named and keeps nothing else from coming back. Name the sealed
store with the others: of devices that it knows, the others' word counts after its own.

Exit codes: 0 done, 3 something was refused, is damaged or not there any more, 1 nothing could be read.")]
pub(crate) struct RebuildArgs {
    /// A destination by its name, or the folder or URL of one; may be given several times
    #[arg(long, value_name = "DESTINATION", required = true)]
    from: Vec<String>,
    /// An option of that place, as a destination has it (accept_clear=yes; of a store region=eu-central-1, user=KEY,
    /// password_env=VAR); may be given several times
    #[arg(long = "from-option", value_name = "NAME=VALUE", value_parser = key_value)]
    from_options: Vec<(String, String)>,
    /// Add to the catalog that is there what it lacks
    #[arg(long, conflicts_with = "replace")]
    into: bool,
    /// Begin a new catalog; the one of now is kept beside it, and its devices, destinations, policies and credentials are
    /// taken over
    #[arg(long)]
    replace: bool,
    /// Only tell what would come back
    #[arg(long, conflicts_with = "replace")]
    dry_run: bool,
}

/// A destination that is read.
struct Source {
    config: DestinationConfig,
    backend: Arc<dyn StorageBackend>,
    /// The catalog does not know it.
    new: bool,
}

pub(crate) async fn run(context: &Context, args: RebuildArgs) -> Result<Exit> {
    let home = context.home()?;
    let urls = args.from.iter().filter(|from| wiring::is_url(from)).count();
    if urls != 1 && args.from.len() > 1 && !args.from_options.is_empty() {
        return Err(Error::new(ErrorKind::Config, "rebuild catalog", "options are those of one URL or folder")
            .with("URLs", urls)
            .hint("name one by --from; the next one by a second call with --into"));
    }
    // Nothing is made in the home before it is known what comes back; a catalog that is to be replaced stays in force
    // until the other one is whole, beside it.
    let (beside, elsewhere);
    let scratch: &Path = if args.replace {
        existing(home)?;
        beside = Beside::make(home)?;
        beside.path()
    } else {
        elsewhere = tempfile::tempdir().map_err(|e| {
            let why = "no folder for temporary files can be made";
            Error::new(ErrorKind::Unavailable, "rebuild catalog", why).because(e)
        })?;
        elsewhere.path()
    };
    let mut replaced = None;
    let instance = if args.replace {
        let before = Replaced::open(existing(home)?, context.clock().clone()).await?;
        let instance = Instance::rehearse(context, home, scratch).await?;
        take_over(context, &before, &instance).await?;
        replaced = Some(before);
        instance
    } else if Instance::exists(home) {
        Instance::open(context, home).await?
    } else {
        Instance::rehearse(context, home, scratch).await?
    };
    let empty = instance.catalog.newest(&Query::default()).await?.is_none();
    if !empty && !args.into && !args.dry_run {
        return Err(Error::new(ErrorKind::Conflict, "rebuild catalog", "it has backups")
            .with("home", home.display())
            .hint("--into adds what it lacks, --replace begins anew and keeps this one, --dry-run only looks"));
    }
    let mut sources = Vec::new();
    for from in &args.from {
        sources.push(source(context, &instance, from, &args.from_options).await?);
    }
    let known = devices_of(&*instance.inventory).await?;
    let work = async {
        let mut gathered = gather(context, &mut sources).await?;
        if !empty {
            gathered.heed(&*instance.catalog, &sealed_of(&instance).await?).await?;
        }
        gathered.refuse_all_closed()?;
        let mut rebuilt = gathered.assemble();
        let mut missing = Vec::new();
        match &replaced {
            Some(before) => {
                if let Some(store) = &before.store {
                    refuse_nothing_for_all(&rebuilt, &*store.catalog).await?;
                    rebuilt.heed_removed(&*store.catalog).await?;
                    let from: Vec<_> = sources.iter().map(|s| s.config.clone()).collect();
                    missing = told::missing(&rebuilt, &*store.catalog, &from).await?;
                }
            }
            None => rebuilt.heed_removed(&*instance.catalog).await?,
        }
        for source in sources.iter_mut().filter(|s| s.new && has_hidden_names(&s.config, &rebuilt)) {
            source.config.options.insert(wiring::OPAQUE_NAMES.to_owned(), "yes".to_owned());
            context.ui.warn(&format!(
                "{}: names are opaque there, and the record of their key, keys/names.json, is gone: bring it back from a copy, \
                 or the next backup makes it again of the epoch keys there",
                source.config.name
            ));
        }
        let written = if args.dry_run {
            foretold(&rebuilt, &known)
        } else {
            // No key is replaced while a destination comes in with those of now.
            let _alone = if Instance::exists(home) { Some(lock(home).await?) } else { None };
            let in_force = if args.replace { None } else { Some(open(context, home).await?) };
            let instance = in_force.as_ref().unwrap_or(&instance);
            for source in sources.iter().filter(|s| s.new) {
                if instance.keys.is_set_up() && wiring::seals(&source.config) {
                    bring_up_to_date(instance, &source.config).await?;
                }
                instance.inventory.put_destination(&source.config).await?;
                // What stays closed there needs a key of before.
                let has = |b: &Backup| b.copies.iter().any(|c| c.destination == source.config.id);
                let known = rebuilt.closed == 0 && rebuilt.backups.iter().any(has);
                elsewhere::back(instance, &source.config, known).await?;
            }
            // Also where a rebuild before was cut off, and a catalog without them was made by then.
            noted::tell_forgotten(context, instance).await?;
            rebuilt.write(&*instance.catalog, &*instance.inventory).await?
        };
        Ok((rebuilt, written, missing))
    };
    let (rebuilt, written, missing) = cancellable(work).await?;
    let without_login = without_login(&*instance.inventory, &rebuilt).await?;
    let kept_as = match replaced {
        Some(before) => {
            let aside = aside(context, home);
            instance.file.close().await;
            before.give_way(&scratch.join(CATALOG), &aside).await?;
            Some(aside)
        }
        None => None,
    };
    let recovery_kit = if args.dry_run { None } else { own_keys(context, home, &sources, &rebuilt).await? };
    let told = Told {
        from: sources.iter().map(|s| s.config.name.clone()).collect(),
        dry_run: args.dry_run,
        backups: written.backups,
        copies: written.copies,
        known: written.known,
        devices: written.devices,
        pinned: written.pinned,
        mistaken: written.refused,
        namesakes: told::namesakes(&rebuilt, &known),
        removed: told::removed(&rebuilt, &known),
        without_login,
        surplus: rebuilt.surplus.len(),
        refused: rebuilt.refused.iter().map(RefusedRow::from).collect(),
        damaged: told::damaged(&rebuilt),
        missing,
        closed: rebuilt.closed,
        closed_records: rebuilt.closed_records,
        doubted: rebuilt.doubted.len(),
        unconfirmed: unconfirmed(&rebuilt, &known),
        ahead: ahead(&rebuilt, context.clock().now()),
        kept_as: kept_as.map(|p| p.display().to_string()),
        recovery_kit: recovery_kit.map(|p| p.display().to_string()),
    };
    tell(context, &told)?;
    Ok(Exit::of_parts(
        rebuilt.backups.len(),
        told.refused.len() + told.mistaken + told.damaged.len() + told.missing.len(),
    ))
}

/// Refuses to give a catalog that knows versions away for one that knows none: what was named is the wrong place, or an emptied
/// one.
async fn refuse_nothing_for_all(rebuilt: &Rebuilt, before: &dyn Catalog) -> Result<()> {
    if !rebuilt.backups.is_empty() || before.newest(&Query::default()).await?.is_none() {
        return Ok(());
    }
    let why = "nothing comes back, and the catalog of now has backups: it stays as it is";
    let e = Error::new(ErrorKind::Conflict, "rebuild catalog", why);
    let e = if rebuilt.refused.is_empty() { e } else { e.with("refused there", rebuilt.refused.len()) };
    Err(e.hint(
        "see whether the place is the right one, and whole: --dry-run in place of --replace tells what is refused there, and \
         why; `devicevault catalog check`, what the catalog names that is not there",
    ))
}

/// Lets the home's keys open what came back: it was read with a kit that is put away again. A home that has none is given
/// keys of its own, since the next backup needs one. Where a kit lies that nobody took away, as one does whose command was
/// cut off before it could tell of it, it is written anew and told.
async fn own_keys(context: &Context, home: &Path, sources: &[Source], rebuilt: &Rebuilt) -> Result<Option<PathBuf>> {
    let is_sealed = sources.iter().any(|s| wiring::seals(&s.config));
    if !is_sealed || rebuilt.backups.is_empty() || context.given_keys.is_empty() {
        return Ok(None);
    }
    let _alone = lock(home).await?;
    if KeySources::exist(home) {
        let instance = Instance::open(context, home).await?;
        key::take_over(context, &instance).await?;
        let lies = |k: &KeySource| home.join(kit::file_name(&k.id)).exists();
        if !instance.keys.sources().active().any(lies) {
            return Ok(None);
        }
        let kit = key::export::write(context, &instance, None).await?;
        context.ui.note(&key::export::advice(&kit));
        return Ok(Some(kit));
    }
    let kit = key::init::make(context, home, &NewKey::Generate(None)).await?;
    let instance = Instance::open(context, home).await?;
    for source in sources.iter().filter(|s| wiring::seals(&s.config)) {
        // The home that stored there may have replaced its keys meanwhile: then the new kit opens nothing there.
        bring_up_to_date(&instance, &source.config).await?;
    }
    let names: Vec<_> = sources.iter().filter(|s| wiring::seals(&s.config)).map(|s| s.config.name.as_str()).collect();
    context.ui.note(&format!(
        "{}: this home's key opens all of it from now on. A home that stored there before, and is alive still, deletes nothing \
         there and changes no keys any more: go on with one of the two; `devicevault key check --repair --over` in the other \
         gives the place back to that. To look without taking it over: `devicevault history --from`, or --dry-run here",
        names.join(", ")
    ));
    Ok(kit)
}

/// Opens the home's catalog; an empty one is made where it is gone.
async fn open(context: &Context, home: &Path) -> Result<Instance> {
    if !Instance::exists(home) {
        drop(Instance::create(context, home, &[]).await?);
    }
    Instance::open(context, home).await
}

/// The catalog that is to be replaced.
fn existing(home: &Path) -> Result<PathBuf> {
    let path = home.join(CATALOG);
    if Instance::exists(home) {
        return Ok(path);
    }
    Err(Error::new(ErrorKind::NotFound, "rebuild catalog", "there is none to replace")
        .with("path", path.display())
        .hint("leave --replace away"))
}

/// Where the catalog of before is kept: no other one is, whatever the clock says.
fn aside(context: &Context, home: &Path) -> PathBuf {
    let stamp = context.clock().now().strftime("%Y-%m-%dT%H-%M-%S%.6fZ").to_string();
    let named = |n: u32| match n {
        0 => home.join(format!("{CATALOG}.replaced-{stamp}")),
        n => home.join(format!("{CATALOG}.replaced-{stamp}-{n}")),
    };
    (0..).map(named).find(|path| path.symlink_metadata().is_err()).unwrap_or_else(|| named(0))
}

/// Takes devices, destinations, policies and credentials over.
async fn take_over(context: &Context, before: &Replaced, to: &Instance) -> Result<()> {
    match &before.store {
        Some(store) => copy_inventory(&*store.inventory, &*to.inventory).await,
        None => {
            context.ui.warn("the catalog of before cannot be read: devices, destinations, policies and credentials in it are not taken over");
            Ok(())
        }
    }
}

/// All devices, disabled ones too.
pub(super) async fn devices_of(inventory: &dyn Inventory) -> Result<Vec<Device>> {
    let mut all = Selector::default();
    all.disabled = true;
    inventory.devices(&all).await
}

/// The destinations where nobody without a key can write.
pub(super) async fn sealed_of(instance: &Instance) -> Result<BTreeSet<DestinationId>> {
    let all = instance.inventory.destinations().await?;
    Ok(all.into_iter().filter(wiring::seals).map(|d| d.id).collect())
}

async fn copy_inventory(from: &dyn Inventory, to: &dyn Inventory) -> Result<()> {
    to.put_devices(&devices_of(from).await?).await?;
    for destination in from.destinations().await? {
        to.put_destination(&destination).await?;
    }
    for credential in from.credentials().await? {
        to.put_credential(&credential).await?;
    }
    for policy in from.policies().await? {
        to.put_policy(&policy).await?;
    }
    Ok(())
}

/// The folder that is meant: of a name that is no folder here, the one of the home, which `init` names as its destination.
fn place_of(home: &Path, from: &str) -> PathBuf {
    let (here, there) = (PathBuf::from(from), home.join(from));
    if !here.exists() && there.is_dir() { there } else { here }
}

/// A destination by its name, or by the folder or URL that it is.
async fn source(context: &Context, instance: &Instance, from: &str, options: &[(String, String)]) -> Result<Source> {
    let known = instance.inventory.destinations().await?;
    if let Some(config) = place::named(&known, from, &context.ui) {
        refuse_options(instance, config, options)?;
        let backend = instance.open_backend(config, false).await?;
        return Ok(Source { config: config.clone(), backend, new: false });
    }
    if wiring::is_url(from) {
        return in_store(context, instance, &known, from, options).await;
    }
    let folder = &place_of(&instance.home, from);
    let mut config = found::destination_at(folder).await?;
    if Place::new(from, options).accepts_clear()? {
        config = config.with_option(wiring::ACCEPT_CLEAR, "yes");
    }
    let path = beneath(&instance.home, folder)?;
    // The folder of one that the catalog knows.
    if let Some(config) = known.iter().find(|d| d.options.get("path") == Some(&path)) {
        refuse_options(instance, config, options)?;
        let backend = instance.open_backend(config, false).await?;
        return Ok(Source { config: config.clone(), backend, new: false });
    }
    refuse_other(&known, &config, &path)?;
    config.options.insert("path".to_owned(), path);
    config.created_at = Some(context.clock().now());
    config.created_by = Some(context.user());
    let open = async |config: &DestinationConfig| {
        found::open_found(config, folder, &instance.keys, context.clock().clone()).await
    };
    let mut backend = open(&config).await?;
    if sealed::seals_after_all(context, instance, &mut config, &*backend).await? {
        backend = open(&config).await?;
    }
    Ok(Source { config, backend, new: true })
}

/// A destination in a store, which the home reaches from now on as it was told here.
async fn in_store(
    context: &Context,
    instance: &Instance,
    known: &[DestinationConfig],
    url: &str,
    options: &[(String, String)],
) -> Result<Source> {
    if let Some(config) = known.iter().find(|d| d.options.get(wiring::URL).is_some_and(|u| u == url)) {
        refuse_options(instance, config, options)?;
        let backend = instance.open_backend(config, false).await?;
        return Ok(Source { config: config.clone(), backend, new: false });
    }
    let mut asked = DestinationConfig::new("store", wiring::PLAIN, View::Original).with_option(wiring::URL, url);
    for (name, value) in options {
        asked = asked.with_option(name, of_home(instance, name, value)?);
    }
    let mut config = found::destination_in(instance.backend_settings(&asked, false)).await?;
    check_name("destination", &config.name).map_err(|e| e.with("url", url))?;
    refuse_other(known, &config, url)?;
    config.created_at = Some(context.clock().now());
    config.created_by = Some(context.user());
    let mut backend = found::open_store(instance.backend_settings(&config, false)).await?;
    if sealed::seals_after_all(context, instance, &mut config, &*backend).await? {
        backend = found::open_store(instance.backend_settings(&config, false)).await?;
    }
    Ok(Source { config, backend, new: true })
}

/// What is given here begins at the folder of now, what a destination has at the home.
fn of_home(instance: &Instance, name: &str, value: &str) -> Result<String> {
    if name.ends_with("_file") { beneath(&instance.home, Path::new(value)) } else { Ok(value.to_owned()) }
}

/// A destination that the catalog knows is opened with the options that it has: others would not be heeded.
fn refuse_options(instance: &Instance, config: &DestinationConfig, options: &[(String, String)]) -> Result<()> {
    for (name, value) in options {
        let value = of_home(instance, name, value)?;
        if config.options.get(name) != Some(&value) {
            return Err(place::options_of_destination("rebuild catalog", &config.name, name));
        }
    }
    Ok(())
}

fn refuse_other(known: &[DestinationConfig], found: &DestinationConfig, place: &str) -> Result<()> {
    if known.iter().any(|d| d.id == found.id || d.name == found.name) {
        return Err(Error::new(ErrorKind::AlreadyExists, "rebuild catalog", "another destination has its name")
            .with("name", &found.name)
            .with("place", place));
    }
    Ok(())
}

async fn gather(context: &Context, sources: &mut [Source]) -> Result<Gathered> {
    let mut gathered = Gathered::new();
    let now = context.clock().now();
    for source in sources {
        let bar = counter(&context.ui, 0, "manifests");
        let tell = |n: usize| bar.set_position(n as u64);
        let listed = gathered.gather(&source.config.id, &*source.backend, now, &tell).await;
        bar.finish_and_clear();
        let named = |e: Error| e.with("destination", &source.config.name);
        listed.map_err(named)?;
        gathered.look(&source.config.id, &*source.backend).await.map_err(named)?;
        let views = gathered.views(&source.config.id);
        if source.new && !views.is_empty() {
            // What a repository shows is shared and pushed: no single manifest there makes it show more than the others do.
            let shared = source.config.kind == wiring::GIT && views.contains(&View::Redacted);
            source.config.view = match views.contains(&View::Original) {
                _ if shared => View::Redacted,
                true => View::Original,
                false => views[0],
            };
        }
    }
    Ok(gathered)
}

/// Whether names are opaque at a destination of which nothing else tells that they are: the next backup must not show them.
fn has_hidden_names(config: &DestinationConfig, rebuilt: &Rebuilt) -> bool {
    let is_hidden = |b: &Backup| {
        let there = b.copies.iter().filter(|c| c.destination == config.id).filter_map(|c| c.storage_ref.as_ref());
        there.flat_map(opaque_names).any(|hash| hash != b.device_name)
    };
    wiring::seals(config) && !config.options.contains_key(wiring::OPAQUE_NAMES) && rebuilt.backups.iter().any(is_hidden)
}

fn foretold(rebuilt: &Rebuilt, known: &[Device]) -> Written {
    let mut written = Written::default();
    written.backups = rebuilt.backups.len();
    written.copies = rebuilt.backups.iter().map(|b| b.copies.len()).sum();
    written.devices = rebuilt.returned(known).len();
    written
}

async fn without_login(inventory: &dyn Inventory, rebuilt: &Rebuilt) -> Result<Vec<String>> {
    let known = devices_of(inventory).await?;
    let returned = rebuilt.returned(&known);
    let ids: BTreeSet<_> = rebuilt.devices.iter().map(|d| &d.id).collect();
    let all = known.iter().filter(|d| ids.contains(&d.id)).chain(returned.iter().map(|r| &r.device));
    let bare = all.filter(|d| d.enabled && d.login == devicevault_core::LoginRef::default());
    let names: BTreeSet<_> = bare.map(|d| d.name.clone()).collect();
    Ok(names.into_iter().collect())
}

/// Who comes back of whom no sealed place knows anything, as they are called from now on.
fn unconfirmed(rebuilt: &Rebuilt, known: &[Device]) -> Vec<String> {
    let returned = rebuilt.returned(known).into_iter().map(|r| r.device);
    returned.filter(|d| rebuilt.unconfirmed.contains(&d.id)).map(|d| d.name).collect()
}
