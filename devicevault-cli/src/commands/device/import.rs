//! `devicevault device import`

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::path::PathBuf;

use clap::Args;
use devicevault_core::inventory::Selector;
use devicevault_core::{Device, Error, ErrorKind, Result};
use serde::Serialize;

use super::csv::{self, Fault, Line};
use super::fields;
use crate::Exit;
use crate::context::Context;
use crate::instance::Instance;
use crate::ui::human;

/// Add many devices from a CSV file: all, or none where a line is wrong.
#[derive(Debug, Args)]
#[command(after_help = format!("\
Examples:
  devicevault device import devices.csv
  devicevault device import devices.csv --update
  printf 'name,host,platform,user,password_env\\ncore-rtr1,192.0.2.1,cisco_ios,backup,PW\\n' |
      devicevault device import -

{}", csv::COLUMNS))]
pub(crate) struct ImportArgs {
    /// The file; `-` is standard input
    file: PathBuf,
    /// Change devices that are there already: what the file says is set, the rest of them goes
    #[arg(long)]
    update: bool,
}

#[derive(Debug, Serialize)]
struct Imported {
    added: usize,
    updated: usize,
    unchanged: usize,
}

/// So many faults are told.
const TOLD: usize = 20;

pub(crate) async fn run(context: &Context, args: ImportArgs) -> Result<Exit> {
    let instance = context.instance().await?;
    let (lines, mut faults) = if args.file.as_os_str() == "-" {
        csv::read(std::io::stdin().lock())?
    } else {
        let file = File::open(&args.file).map_err(|e| {
            Error::new(ErrorKind::Config, "read device file", "it cannot be opened")
                .with("file", args.file.display())
                .because(e)
        })?;
        csv::read(file).map_err(|e| e.with("file", args.file.display()))?
    };
    let (devices, imported) = plan(&instance, lines, args.update, &mut faults).await?;
    if !faults.is_empty() {
        return Err(refused(&args, faults));
    }
    instance.inventory.put_devices(&devices).await?;
    if context.ui.is_json() {
        context.ui.json(&imported)?;
    } else {
        context.ui.note(&format!(
            "{} added, {} updated, {} unchanged",
            human::count(imported.added, "device"),
            imported.updated,
            imported.unchanged
        ));
    }
    Ok(Exit::Done)
}

/// The devices to store; what cannot be is added to the faults.
async fn plan(
    instance: &Instance,
    lines: Vec<Line>,
    update: bool,
    faults: &mut Vec<Fault>,
) -> Result<(Vec<Device>, Imported)> {
    let mut all = Selector::default();
    all.disabled = true;
    let known: HashMap<String, Device> =
        instance.inventory.devices(&all).await?.into_iter().map(|d| (d.name.clone(), d)).collect();
    let credentials = instance.inventory.credentials().await?;
    let mut platforms: HashMap<(String, String), std::result::Result<(), String>> = HashMap::new();
    let mut first_lines: HashMap<String, u64> = HashMap::new();
    let (mut devices, mut imported) = (Vec::new(), Imported { added: 0, updated: 0, unchanged: 0 });
    for Line { number, mut device } in lines {
        let mut fault = |why: String| faults.push(Fault { line: number, why });
        if let Some(first) = first_lines.insert(device.name.clone(), number) {
            fault(format!("the name {} stands in line {first} already", device.name));
            continue;
        }
        // Options may be wrong for one device and right for another; without any, all of a platform are alike.
        let checked = if device.options.is_empty() {
            let kind = (device.collector.clone(), device.platform.clone());
            platforms.entry(kind).or_insert_with(|| check(instance, &device)).clone()
        } else {
            check(instance, &device)
        };
        let named = || fields::check_named(&credentials, &device).map_err(|e| e.to_string());
        if let Err(why) = checked.and_then(|()| named()) {
            fault(why);
            continue;
        }
        match known.get(&device.name) {
            None => imported.added += 1,
            Some(old) => {
                device.id = old.id.clone();
                if device == *old {
                    imported.unchanged += 1;
                    continue;
                }
                if !update {
                    fault(format!("there is a device named {} already (--update changes it)", device.name));
                    continue;
                }
                imported.updated += 1;
            }
        }
        devices.push(device);
    }
    Ok((devices, imported))
}

fn check(instance: &Instance, device: &Device) -> std::result::Result<(), String> {
    fields::check_platform(instance, device).map_err(|e| e.to_string())
}

fn refused(args: &ImportArgs, mut faults: Vec<Fault>) -> Error {
    faults.sort_by_key(|f| f.line);
    let lines: BTreeSet<_> = faults.iter().map(|f| f.line).collect();
    let mut told: Vec<_> = faults.iter().take(TOLD).map(|f| format!("line {}: {}", f.line, f.why)).collect();
    if faults.len() > TOLD {
        told.push(format!("and {} more", faults.len() - TOLD));
    }
    let cause =
        told.into_iter().rev().fold(None::<Cause>, |inner, text| Some(Cause { text, inner: inner.map(Box::new) }));
    let e = Error::new(
        ErrorKind::Config,
        "import devices",
        format!(
            "{} wrong, so nothing was imported",
            if lines.len() == 1 { "a line is".to_owned() } else { format!("{} lines are", lines.len()) }
        ),
    )
    .with("file", args.file.display());
    match cause {
        Some(cause) => e.because(cause),
        None => e,
    }
}

/// A list of causes, so that each is told in a line of its own.
#[derive(Debug)]
struct Cause {
    text: String,
    inner: Option<Box<Self>>,
}

impl std::fmt::Display for Cause {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Cause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.inner.as_deref().map(|e| e as &(dyn std::error::Error + 'static))
    }
}
