//! `devicevault destination add`

use clap::Args;
use devicevault_core::inventory::DestinationConfig;
use devicevault_core::storage::{ListFilter, StorageBackend};
use devicevault_core::{DestinationId, Error, ErrorKind, Result, View};
use futures::StreamExt as _;

use super::fields::{OptionArgs, ViewArg, check_name, check_options};
use super::{place, state};
use crate::Exit;
use crate::context::Context;
use crate::destinations;
use crate::instance::Instance;
use crate::keys::elsewhere;
use crate::keys::lock::lock;
use crate::keys::noted;
use crate::ui::human;
use crate::wiring;
use crate::wiring::OPAQUE_NAMES;
use crate::wiring::keys::destination_keys;

/// Add a destination: it is set up and tested before the home knows it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault destination add offsite --kind plain --path /mnt/offsite/devicevault
  devicevault destination add read --kind git --path /srv/git/configs --option branch=main
  devicevault destination add cloud --kind plain --url s3://backups/devicevault --option region=eu-central-1 \
      --user AKIAEXAMPLE --password-env S3_SECRET
  devicevault destination add nas --kind plain --url sftp://backup@nas.example.net/srv/devicevault --key-file ~/.ssh/nas
  devicevault destination add ftp --kind plain --url ftps://backup@ftp.example.net/~/devicevault --password-env FTP_PASSWORD
  devicevault destination add clear --kind plain --path /srv/clear --view redacted --seal no --compression none

Kinds are those that this program has: plain (a folder, or a store by its URL), git, and those of its plugins. A plain destination is sealed and
compressed with zstd, a Git repository keeps texts without secrets, unless told otherwise.")]
pub(crate) struct AddArgs {
    /// What it is to be called
    name: String,
    /// What kind it is
    #[arg(long, value_name = "KIND")]
    kind: String,
    /// What of a text it keeps [default: original; of kind git: redacted]
    #[arg(long)]
    view: Option<ViewArg>,
    #[command(flatten)]
    options: OptionArgs,
    /// Store nothing there yet
    #[arg(long)]
    disabled: bool,
}

pub(super) async fn run(context: &Context, args: AddArgs) -> Result<Exit> {
    // A key that is replaced meanwhile would stay at a destination that the home does not know yet.
    let home = context.home()?;
    let _alone = if Instance::exists(home) { Some(lock(home).await?) } else { None };
    let instance = context.instance().await?;
    check_name("destination", &args.name)?;
    if instance.inventory.destinations().await?.iter().any(|d| d.name == args.name) {
        return Err(Error::new(ErrorKind::AlreadyExists, "add destination", "there is one of this name already")
            .with("name", &args.name)
            .hint("`devicevault destination edit` changes it"));
    }
    let (view, _) = wiring::destination_defaults(&args.kind);
    let mut config = DestinationConfig::new(&args.name, &args.kind, args.view.map_or(view, View::from));
    args.options.apply(&instance.home, &mut config.options)?;
    wiring::fill_defaults(&mut config, None);
    check_options(&config.options)?;
    config.enabled = !args.disabled;
    config.created_at = Some(context.clock().now());
    config.created_by = Some(context.user());
    // A place that cannot be read yet is asked once more when it is set up.
    let hides_names =
        !config.options.contains_key(OPAQUE_NAMES) && hides_names(&instance, &config).await.unwrap_or(false);
    if hides_names {
        config.options.insert(OPAQUE_NAMES.to_owned(), "yes".to_owned());
    }
    let known = set_up_new(&instance, &mut config).await?;
    instance.inventory.put_destination(&config).await?;
    noted::note(&instance).await;
    if let Some(warning) = wiring::clear_text_store(&config) {
        context.ui.warn(&warning);
    }
    if known == 0 {
        warn_of_another_home(context, &instance, &config).await;
    }
    if context.ui.is_json() {
        context.ui.json(&config)?;
        return Ok(Exit::Done);
    }
    context.ui.note(&format!("added {}: {} of texts, {}", config.name, config.view, sealing(&config)));
    if hides_names {
        context.ui.note("names are opaque there already, and stay so: opaque_names=yes");
    }
    if known > 0 {
        context.ui.note(&format!("it was a destination of this home before: {} known", human::count(known, "version")));
    } else {
        context.ui.note(&format!(
            "the next backup stores the present versions there; `devicevault destination copy FROM {}` takes older ones along",
            config.name
        ));
    }
    Ok(Exit::Done)
}

fn sealing(config: &DestinationConfig) -> &'static str {
    if wiring::seals(config) { "sealed" } else { "not sealed" }
}

/// Sets a new destination up and tests it, before the inventory has it. Returns how many versions were known there
/// already: the newest, where it is the place that had this name before.
///
/// # Errors
/// It cannot be set up or used.
pub(crate) async fn set_up_new(instance: &Instance, config: &mut DestinationConfig) -> Result<usize> {
    place::refuse_shared(instance, config).await?;
    elsewhere::Elsewhere::read(&instance.home)?;
    let before = state::last_backups(instance, config, 1000).await?;
    if before.is_empty() && wiring::seals(config) {
        refuse_foreign(instance, config).await?;
    }
    // What is new there is not made under the name of what was elsewhere.
    let same_place = match before.first() {
        None => true,
        Some(newest) => match instance.open_backend(config, false).await {
            Ok(there) => has(&*there, newest, config).await,
            Err(_) => false,
        },
    };
    let known = if same_place { before.len() } else { 0 };
    if !same_place {
        // The records of the other place stay its own: they must not pass for copies that are here.
        config.id = DestinationId(format!("{}-{}", config.name, uuid::Uuid::now_v7()));
    }
    let backend = instance.open_backend(config, true).await.map_err(|e| match e.kind() {
        ErrorKind::Conflict => {
            e.hint("a destination that was removed comes back under the name that it had; else name an empty folder")
        }
        _ => e,
    })?;
    let health = backend.check().await.map_err(|e| e.with("destination", &config.name))?;
    if let Some(probe) = destinations::sorted(&health).0.first() {
        return Err(Error::new(
            ErrorKind::Unavailable,
            "test destination",
            format!("{}: {}", probe.name, probe.detail),
        )
        .with("destination", &config.name));
    }
    if hides_names(instance, config).await?
        && !config.options.get(OPAQUE_NAMES).is_some_and(|word| wiring::is_yes(word))
    {
        let why = "names are opaque there, and would lie in the clear beside them from now on";
        return Err(Error::new(ErrorKind::Conflict, "add destination", why)
            .with("destination", &config.name)
            .hint("give it the option opaque_names=yes; for names in the clear, name an empty place"));
    }
    // One that sealed once has keys as well, and the note of those is forgotten next.
    let was_here = known > 0 && config.kind == wiring::PLAIN && instance.keys.is_set_up();
    if was_here || wiring::seals(config) {
        bring_up_to_date(instance, config).await?;
    }
    elsewhere::back(instance, config, known > 0).await?;
    Ok(known)
}

/// Warns where what is there was stored by another home. A sealed place of another home is refused before; this one may be
/// that of a home that is gone.
pub(crate) async fn warn_of_another_home(context: &Context, instance: &Instance, config: &DestinationConfig) {
    /// So many of the versions there are asked: all of them are of one home as a rule.
    const ASKED: usize = 10;
    let Ok(backend) = instance.open_backend(config, false).await else { return };
    let (own, unnamed) = (instance.key.name(), ["", "default"]);
    let mut there = backend.list(ListFilter::default()).take(ASKED);
    while let Some(one) = there.next().await {
        let Ok((_, manifest)) = one else { return };
        if manifest.instance != own && !unnamed.contains(&manifest.instance.as_str()) {
            let (name, other) = (&config.name, manifest.instance.escape_debug());
            context.ui.warn(&format!(
                "at {name} are backups of another home, {other}: two homes that store at one place write over each other's \
                 devices of the same name. Give each a place of its own; where that home is gone, \
                 `devicevault catalog rebuild --from {name}` makes its backups known here"
            ));
            return;
        }
    }
}

/// Whether names are opaque in what is sealed there already. A place that is not there yet has none.
async fn hides_names(instance: &Instance, config: &DestinationConfig) -> Result<bool> {
    if !wiring::seals(config) {
        return Ok(false);
    }
    match destination_keys(instance.backend_settings(config, false)).await {
        Ok(folder) => folder.hides_names().await.map_err(|e| e.with("destination", &config.name)),
        Err(_) => Ok(false),
    }
}

/// Lays the home's epoch keys over those that are there of earlier: keys may have been replaced since. Those that the home
/// lacks are taken over, where a key at hand opens them.
///
/// # Errors
/// `Conflict` where another home replaced them, before anything is changed; what the destination answers.
pub(crate) async fn bring_up_to_date(instance: &Instance, config: &DestinationConfig) -> Result<()> {
    let folder = destination_keys(instance.backend_settings(config, false)).await?;
    let replaced = instance.keys.refuse_replaced(&folder).await;
    replaced.map_err(|e| e.with("destination", &config.name))?;
    instance.keys.adopt(&instance.home, vec![(config.name.clone(), folder.clone())], instance.now()).await?;
    let there = folder.list().await?;
    for epoch in instance.keys.epochs().into_iter().filter(|e| there.contains(&e.id)) {
        folder.publish(&epoch).await.map_err(|e| e.with("destination", &config.name))?;
    }
    Ok(())
}

/// Refuses a place that another home seals: with the keys of both there, neither's kit opens all of it. Its marker may be
/// lost, so that it is looked for without one.
async fn refuse_foreign(instance: &Instance, config: &DestinationConfig) -> Result<()> {
    let mut settings = instance.backend_settings(config, false);
    settings.unmarked = true;
    let folder = match destination_keys(settings).await {
        // A place that is not there yet is nobody's.
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let foreign = instance.keys.foreign_epochs(&folder).await.map_err(|e| e.with("destination", &config.name))?;
    let Some(first) = foreign.into_iter().next() else { return Ok(()) };
    Err(Error::new(ErrorKind::Conflict, "add destination", "another home seals what it keeps there")
        .with("destination", &config.name)
        .with("epoch", first)
        .hint(
            "give each home a place of its own; where this one takes the other's place, have its recovery kit at hand: \
             --kek-file KIT",
        ))
}

/// Whether a copy that is recorded of a destination is at this place.
async fn has(backend: &dyn StorageBackend, backup: &devicevault_core::run::Backup, config: &DestinationConfig) -> bool {
    let copy = backup.copies.iter().find(|c| c.destination == config.id);
    match copy.and_then(|c| c.storage_ref.as_ref()) {
        Some(at) => backend.stat(at).await.is_ok(),
        None => true,
    }
}
