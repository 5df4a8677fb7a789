//! The recovery kit: a text for people with the key that opens everything, and what to do with it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use devicevault_core::inventory::DestinationConfig;
use devicevault_core::{Error, ErrorKind, Result, Timestamp};

use crate::ui::escape;
use crate::wiring::keys::{Keys, is_sealed};
use crate::{files, wiring};

/// What names of kits begin with.
const PREFIX: &str = "recovery-kit-";

/// What stands in a kit beside the key.
#[derive(Debug)]
struct KitFacts<'a> {
    home: &'a Path,
    kek: &'a str,
    written: Timestamp,
    /// Name, kind and place of every sealed destination.
    stores: Vec<[String; 3]>,
    /// Id and time of every epoch key.
    epochs: Vec<(String, Timestamp)>,
}

/// The name of the kit of a key.
pub(crate) fn file_name(kek: &str) -> String {
    format!("{PREFIX}{kek}.txt")
}

/// Whether a file is called as a kit is.
pub(crate) fn is_kit(path: &Path) -> bool {
    path.file_name().is_some_and(|n| n.to_string_lossy().starts_with(PREFIX))
}

/// Kits that still lie in a home: whoever takes the machine takes them too.
pub(crate) fn left_in(home: &Path) -> Vec<PathBuf> {
    files::entries(home).unwrap_or_default().into_iter().filter(|p| is_kit(p)).collect()
}

/// Writes the kit of these keys for these destinations, into the home where nothing else is said; where it is.
///
/// # Errors
/// `Unsupported` where every key stays in its token; `AlreadyExists`; it cannot be written.
pub(crate) async fn write(
    home: &Path,
    keys: &Keys,
    destinations: &[DestinationConfig],
    now: Timestamp,
    to: Option<&Path>,
) -> Result<PathBuf> {
    let (kek, lines) = keys.kit(home).await?;
    let sealed = destinations.iter().filter(|d| is_sealed(d));
    let facts = KitFacts {
        home,
        kek: &kek,
        written: now,
        stores: sealed
            .map(|d| [d.name.clone(), d.kind.clone(), wiring::place_of(d, home).unwrap_or_default()])
            .collect(),
        epochs: keys.epochs().into_iter().map(|e| (e.id.to_string(), e.created)).collect(),
    };
    let text = zeroize::Zeroizing::new(text(&facts, &lines));
    let path = match to {
        None => {
            // What an earlier command left in the home is the same kit, and perhaps an older text.
            let path = home.join(file_name(&kek));
            files::replace_private(&path, text.as_bytes())?;
            return Ok(path);
        }
        Some(folder) if folder.is_dir() => folder.join(file_name(&kek)),
        Some(file) => file.to_owned(),
    };
    files::write_new_private(&path, text.as_bytes()).map_err(|e| match e.kind() {
        ErrorKind::AlreadyExists => {
            Error::new(ErrorKind::AlreadyExists, "write recovery kit", "there is a file of this name already")
                .with("file", path.display())
                .hint("name another one")
        }
        _ => e,
    })?;
    Ok(path)
}

/// The text. `lines` are those of the key.
fn text(facts: &KitFacts<'_>, lines: &str) -> String {
    let mut out = String::from(
        "\
DEVICEVAULT RECOVERY KIT

Whoever holds this sheet opens every sealed backup of this instance; without it, and
without the machine, nobody does. Print it, or copy it to a stick, keep it in a safe
place apart from the machine and from the stores, and delete the file.

",
    );
    let written = facts.written.strftime("%Y-%m-%dT%H:%M:%SZ");
    let _ = writeln!(out, "Written   {written} by devicevault {}", env!("CARGO_PKG_VERSION"));
    let _ = writeln!(out, "Home      {}", escape::text(&facts.home.display().to_string()));
    let _ = writeln!(out, "Key id    {}\n\n{lines}", facts.kek);
    out.push_str("It opens the sealed stores of this instance. They were, when this was written:\n");
    for [name, kind, place] in &facts.stores {
        let _ = writeln!(out, "  {}  ({kind})  {}", escape::text(name), escape::text(place));
    }
    out.push_str("\nEpoch keys, wrapped, lie under keys/ in each of them. They were:\n");
    for (id, created) in &facts.epochs {
        let _ = writeln!(out, "  {id}  made {}", created.strftime("%Y-%m-%d"));
    }
    out.push_str(
        "\nTo read the backups on another machine:
  1. Install devicevault.
  2. Copy a store there: the whole folder, with keys/ and with hidden files.
  3. Put the four KEY lines above into a file that only you can read: kit.txt
  4. devicevault verify   --from STORE --kek-file kit.txt
     devicevault history  --from STORE --kek-file kit.txt
     devicevault download DEVICE --from STORE --kek-file kit.txt --to FILE

Without the program: docs/format.md in its source says how a store is read, and
docs/dvo1.py, a small script, does it:
     python3 dvo1.py store STORE --kek-file kit.txt --to FOLDER

A check that does not fit tells that its line was mistyped. This sheet is out of date
once the key was replaced (`devicevault key rotate --scope kek`): then print the new one.
",
    );
    out
}
