//! `devicevault import git`

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use devicevault_core::inventory::{DestinationConfig, Selector};
use devicevault_core::{Device, DeviceId, Error, ErrorKind, Result};
use serde::Serialize;

use crate::context::Context;
use crate::importing::{Import, Imported};
use crate::instance::Instance;
use crate::interrupt::cancellable;
use crate::ui::human;
use crate::ui::table::{Cell, Table};
use crate::wiring::ForeignHistory;
use crate::{Exit, pushing};

/// Take in the history of a Git repository as backups: each changed file is a version, taken when it was committed. What is
/// there already is left alone: an import that was cut off is gone on with by the same command.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  devicevault import git /var/lib/oxidized/devices.git --dry-run
  devicevault import git /var/lib/oxidized/devices.git
  devicevault import git /var/lib/oxidized/core.git /var/lib/oxidized/access.git     a repository for each group
  devicevault import git /var/lib/rancid/routers --layout rancid --create --platform cisco_ios

A node is the device of that name, or with that address, in the home. Those that are none are listed and left out; with
--create they are added, disabled: their address is to be looked at first. Into a Git destination, versions go that are older
than nothing it has of the device. Exit codes: 0 all is there, 3 some is not, 1 nothing could be imported.")]
pub(crate) struct GitArgs {
    /// Where the repositories are
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<PathBuf>,
    /// Whose they are
    #[arg(long, default_value = "oxidized")]
    layout: Layout,
    /// Which branch [default: the one that is checked out]
    #[arg(long, value_name = "NAME")]
    branch: Option<String>,
    /// What the files are
    #[arg(long, value_name = "NAME", default_value = "running-config")]
    artefact: String,
    /// Only to this destination; may be given several times [default: all that are enabled]
    #[arg(long = "to", value_name = "NAME")]
    to: Vec<String>,
    /// Add devices for nodes that are none, disabled
    #[arg(long, requires = "platform")]
    create: bool,
    /// The platform of those
    #[arg(long, value_name = "PLATFORM", requires = "create")]
    platform: Option<String>,
    /// Only tell what would be imported
    #[arg(long)]
    dry_run: bool,
}

/// So many of the files that are left out are named.
const FIRST: usize = 10;

/// How a repository is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Layout {
    /// `node` or `group/node`
    Oxidized,
    /// `configs/node`
    Rancid,
}

impl Layout {
    /// The node and group of a file; none of what is no configuration.
    fn node<'a>(self, path: &'a str, repository: &'a str) -> Option<(&'a str, Option<&'a str>)> {
        let parts: Vec<&str> = path.split('/').collect();
        let group = (!repository.is_empty()).then_some(repository);
        match (self, parts.as_slice()) {
            (_, [.., name]) if name.starts_with('.') || name.is_empty() => None,
            (Self::Oxidized, [node]) => Some((node, group)),
            (Self::Oxidized, [group, node]) | (Self::Rancid, [group, "configs", node]) => Some((node, Some(group))),
            (Self::Rancid, ["configs", node]) => Some((node, group)),
            _ => None,
        }
    }
}

/// What was imported, as `import git --json` tells it. The names are stable.
#[derive(Debug, Serialize)]
struct Told<'a> {
    path: &'a Path,
    dry_run: bool,
    devices: usize,
    #[serde(flatten)]
    done: &'a Imported,
}

pub(super) async fn run(context: &Context, args: GitArgs) -> Result<Exit> {
    let instance = context.instance().await?;
    let destinations = destinations(&instance, &args.to).await?;
    let (mut good, mut bad) = (0, 0);
    let mut all = Vec::new();
    for path in &args.paths {
        let (devices, done) = one(context, &instance, &args, path, destinations.clone()).await?;
        good += done.imported + done.there + done.same;
        bad += done.failed.len() + done.unknown.len() + done.refused.len() + done.doubles.len() + usize::from(done.cut);
        all.push((path, devices, done));
    }
    if !args.dry_run && all.iter().any(|(_, _, done)| done.imported > 0) {
        pushing::after_round(context, &instance).await;
    }
    if context.ui.is_json() {
        let told: Vec<Told<'_>> = all
            .iter()
            .map(|(path, devices, done)| Told { path, dry_run: args.dry_run, devices: *devices, done })
            .collect();
        context.ui.json(&told)?;
    } else {
        for (path, devices, done) in &all {
            tell(context, &args, path, *devices, done)?;
        }
    }
    Ok(Exit::of_parts(good, bad))
}

async fn destinations(instance: &Instance, names: &[String]) -> Result<Vec<DestinationConfig>> {
    if names.is_empty() {
        let all = instance.inventory.destinations().await?;
        return Ok(all.into_iter().filter(|d| d.enabled).collect());
    }
    let mut chosen = Vec::new();
    for name in names {
        chosen.push(instance.destination(name).await?);
    }
    Ok(chosen)
}

async fn one(
    context: &Context,
    instance: &Instance,
    args: &GitArgs,
    path: &Path,
    destinations: Vec<DestinationConfig>,
) -> Result<(usize, Imported)> {
    let mut known = Nodes::of(instance).await?;
    let repository = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    let repository = repository.strip_suffix(".git").unwrap_or(repository).to_owned();
    // One for all groups is called so by default.
    let repository =
        if ["devices", "oxidized", "configs"].contains(&repository.as_str()) { String::new() } else { repository };
    let (at, branch) = (path.to_owned(), args.branch.clone());
    let open = move || ForeignHistory::open(&at, branch.as_deref());
    let failed = |e| Error::new(ErrorKind::Internal, "import history", "the work ended in a panic").because(e);
    let mut history = tokio::task::spawn_blocking(open).await.map_err(failed)??;
    if args.create {
        let (back, found) = nodes(history, args.layout, repository.clone()).await?;
        let new = known.create(found, args.platform.as_deref().unwrap_or_default());
        if !args.dry_run {
            instance.inventory.put_devices(&new).await?;
        }
        history = back;
    }
    let (layout, artefact, now) = (args.layout, args.artefact.clone(), context.clock().now());
    let plan = move || {
        Import::plan(history, &artefact, now, &|path| match layout.node(path, &repository) {
            None => Ok(None),
            Some((node, _)) => known.get(node).map(|d| Some(d.clone())).ok_or_else(|| node.to_owned()),
        })
    };
    let plan = tokio::task::spawn_blocking(plan).await.map_err(failed)??;
    let devices = plan.devices();
    let done = if args.dry_run {
        plan.foretold()
    } else {
        cancellable(plan.carry_out(instance, destinations, &context.ui)).await?
    };
    Ok((devices, done))
}

/// The nodes of a history, with their groups.
async fn nodes(
    mut history: ForeignHistory,
    layout: Layout,
    repository: String,
) -> Result<(ForeignHistory, BTreeMap<String, Option<String>>)> {
    let look = move || {
        let mut found = BTreeMap::new();
        for number in 0..history.len() {
            let Some(commit) = history.commit(number)? else { break };
            for file in &commit.files {
                if let Some((node, group)) = layout.node(&file.path, &repository) {
                    found.insert(node.to_owned(), group.map(str::to_owned));
                }
            }
        }
        Ok((history, found))
    };
    let failed = |e| Error::new(ErrorKind::Internal, "import history", "the work ended in a panic").because(e);
    tokio::task::spawn_blocking(look).await.map_err(failed)?
}

/// Devices by what a node may be called.
struct Nodes(HashMap<String, Device>);

impl Nodes {
    async fn of(instance: &Instance) -> Result<Self> {
        let mut any = Selector::default();
        any.disabled = true;
        let devices = instance.inventory.devices(&any).await?;
        let mut all = HashMap::new();
        for d in &devices {
            all.entry(d.host.clone()).or_insert_with(|| d.clone());
        }
        // A name goes before an address.
        all.extend(devices.into_iter().map(|d| (d.name.clone(), d)));
        Ok(Self(all))
    }

    fn get(&self, node: &str) -> Option<&Device> {
        self.0.get(node)
    }

    /// Devices for nodes that are none and whose name one can have.
    fn create(&mut self, found: BTreeMap<String, Option<String>>, platform: &str) -> Vec<Device> {
        let mut new = Vec::new();
        let mut seen = BTreeSet::new();
        for (node, group) in found {
            let can_be = devicevault_core::check_device_name(&node).is_ok();
            if !can_be || self.0.contains_key(&node) || !seen.insert(node.clone()) {
                continue;
            }
            let mut device = Device::new(DeviceId(uuid::Uuid::now_v7().to_string()), &node, &node, platform);
            device.group = group;
            device.enabled = false;
            self.0.insert(node, device.clone());
            new.push(device);
        }
        new
    }
}

fn tell(context: &Context, args: &GitArgs, path: &Path, devices: usize, done: &Imported) -> Result<()> {
    let ui = &context.ui;
    if !done.unknown.is_empty() {
        let mut table = Table::new(["unknown node", "versions"]);
        for (node, versions) in &done.unknown {
            table.row([Cell::new(node), Cell::number(*versions)]);
        }
        ui.table(table, "")?;
        ui.note(if args.create {
            "no device can have these names: they are left out"
        } else {
            "no device of the home has these names or addresses: add them, or give --create"
        });
    }
    if !done.left_out.is_empty() {
        let first: Vec<String> = done.left_out.keys().take(FIRST).map(|path| path.escape_debug().to_string()).collect();
        let more = if done.left_out.len() > FIRST { " …" } else { "" };
        ui.note(&format!(
            "{} left out, since they are links or no nodes by this layout: {}{more}",
            human::count(done.left_out.len(), "file"),
            first.join(", ")
        ));
    }
    for line in &done.failed {
        ui.failure(line);
    }
    for name in &done.refused {
        ui.failure(&format!("{}: no file can have this name, or two have: left out", name.escape_debug()));
    }
    for (path, first) in &done.doubles {
        let (path, first) = (path.escape_debug(), first.escape_debug());
        ui.failure(&format!(
            "{path}: left out, since it is the same device as {first}, and both changed while both were there"
        ));
    }
    if done.cut {
        ui.failure("the repository is a shallow clone: what came before its first commit is not in it");
        ui.failure_hint("`git fetch --unshallow` fetches it; imported then, all versions come once more");
    }
    if let Some((commit, at)) = done.ahead.iter().next() {
        ui.warn(&format!(
            "dated after now: {}, such as {commit} of {}: each is taken as made when the next one was, or now",
            human::count(done.ahead.len(), "commit"),
            human::time(*at)
        ));
    }
    if let Some((commit, at)) = done.merges.iter().next() {
        ui.warn(&format!(
            "{} in the history, such as {commit} of {}: what was changed on a side that was merged in comes as one version, that of \
             the merge; --branch imports that side by itself, where it has a branch still",
            human::count(done.merges.len(), "merge"),
            human::time(*at)
        ));
    }
    if done.too_old > 0 {
        let left = human::count(done.too_old, "copy");
        ui.note(&format!("{left} left out: newer versions are there already, and it keeps them in order"));
    }
    let word = if args.dry_run { "would be imported, if they are not there yet" } else { "imported" };
    ui.note(&format!(
        "{}: {} commits, {}: {} {word}, {} there already, {} without a change, {} failed",
        path.display(),
        done.commits,
        human::count(devices, "device"),
        human::count(done.imported, "version"),
        done.there,
        done.same,
        done.failed.len()
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_nodes_of_groups() {
        let oxidized = |path| Layout::Oxidized.node(path, "");
        assert_eq!(oxidized("core-rtr1"), Some(("core-rtr1", None)));
        assert_eq!(oxidized("core/core-rtr1"), Some(("core-rtr1", Some("core"))));
        assert_eq!(Layout::Oxidized.node("core-rtr1", "core"), Some(("core-rtr1", Some("core"))));
        assert_eq!((oxidized("a/b/c"), oxidized(".gitignore")), (None, None));
        let rancid = |path| Layout::Rancid.node(path, "routers");
        assert_eq!(rancid("configs/r1"), Some(("r1", Some("routers"))));
        assert_eq!(rancid("core/configs/r1"), Some(("r1", Some("core"))));
        assert_eq!((rancid("router.db"), rancid("configs/.cvsignore")), (None, None));
    }
}
