//! Which commit took the place of which: references from before a purge lead on to what they stand for now.
//!
//! The map of a purge is written before the branch is moved, with the commit that the branch is moved to: it counts from
//! the moment when the branch has that commit, so that killed at any moment, references lead where the branch does.
#![deny(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, clippy::expect_used)]

use std::collections::HashMap;
use std::fs;
use std::io::ErrorKind as Io;
use std::path::Path;

use devicevault_core::Result;
use git2::{Oid, Repository};

use super::super::layout::{Layout, sync_folder, write_new};
use super::super::{branch, fault};
use crate::regular;

/// A commit and what stands for it; `None` where nothing does.
pub(in super::super) type Successors = HashMap<Oid, Option<Oid>>;

const HEAD: &str = "DeviceVault successors of commits, format 1, of ";

/// What is known of a branch.
pub(in super::super) fn load(layout: &Layout, repo: &Repository, branch: &str) -> Result<Successors> {
    let mut known = read(&layout.successors(branch))?.map(|(_, map)| map).unwrap_or_default();
    if let Some((end, map)) = read(&layout.next_successors(branch))?
        && is_in_force(repo, branch, end)?
    {
        add(&mut known, map);
    }
    Ok(known)
}

fn is_in_force(repo: &Repository, branch: &str, end: Option<Oid>) -> Result<bool> {
    let tip = branch::tip(repo, &format!("refs/heads/{branch}"))?;
    Ok(match (tip, end) {
        (Some(tip), Some(end)) => tip == end || repo.graph_descendant_of(tip, end).unwrap_or(false),
        (tip, end) => tip == end,
    })
}

/// Adds a later map: what led to a commit that has a successor leads to that.
fn add(known: &mut Successors, later: Successors) {
    for to in known.values_mut() {
        if let Some(next) = to.and_then(|to| later.get(&to)) {
            *to = *next;
        }
    }
    known.extend(later);
}

/// Writes the map of a purge that is about to move the branch to `end`. What an earlier one left half is settled first.
/// The caller holds the writers' lock.
pub(in super::super) fn announce(
    layout: &Layout,
    repo: &Repository,
    branch: &str,
    end: Option<Oid>,
    map: &Successors,
) -> Result<()> {
    settle(layout, repo, branch)?;
    write(&layout.next_successors(branch), end, map)
}

/// Makes what was announced a part of what is known, or forgets it where the branch never got there.
pub(in super::super) fn settle(layout: &Layout, repo: &Repository, branch: &str) -> Result<()> {
    let next = layout.next_successors(branch);
    if read(&next)?.is_none() {
        return Ok(());
    }
    let known = load(layout, repo, branch)?;
    write(&layout.successors(branch), None, &known)?;
    match fs::remove_file(&next) {
        Err(e) if e.kind() != Io::NotFound => Err(fault::io("settle purge", &next, e)),
        _ => sync_folder(&layout.own()),
    }
}

fn write(path: &Path, end: Option<Oid>, map: &Successors) -> Result<()> {
    let name = |oid: Option<Oid>| oid.map_or_else(|| "-".to_owned(), |o| o.to_string());
    let mut lines: Vec<String> = map.iter().map(|(from, to)| format!("{from} {}\n", name(*to))).collect();
    lines.sort_unstable();
    let text = format!("{HEAD}{}\n{}", name(end), lines.concat());
    let staged = path.with_extension("new");
    let failed = |e| fault::io("remember purge", path, e);
    match fs::remove_file(&staged) {
        Err(e) if e.kind() != Io::NotFound => return Err(failed(e)),
        _ => {}
    }
    write_new(&staged, text.as_bytes()).map_err(failed)?;
    fs::rename(&staged, path).map_err(failed)?;
    sync_folder(path.parent().unwrap_or(path))
}

fn read(path: &Path) -> Result<Option<(Option<Oid>, Successors)>> {
    let text = match regular::read_to_string(path) {
        Ok(text) => text,
        Err(e) if e.kind() == Io::NotFound => return Ok(None),
        Err(e) => return Err(fault::io("read successors of commits", path, e)),
    };
    Ok(parse(&text))
}

fn parse(text: &str) -> Option<(Option<Oid>, Successors)> {
    let oid = |text: &str| if text == "-" { Some(None) } else { Oid::from_str(text).ok().map(Some) };
    let (head, rest) = text.split_once('\n')?;
    let end = oid(head.strip_prefix(HEAD)?)?;
    let line = |line: &str| {
        let (from, to) = line.split_once(' ')?;
        Some((Oid::from_str(from).ok()?, oid(to)?))
    };
    Some((end, rest.lines().map(line).collect::<Option<_>>()?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn oid(n: u8) -> Oid {
        Oid::from_bytes(&[n; 20]).unwrap()
    }

    #[test]
    fn what_led_to_a_commit_leads_to_its_successor() {
        let mut known = Successors::from([(oid(1), Some(oid(2))), (oid(3), Some(oid(4))), (oid(5), None)]);
        add(&mut known, Successors::from([(oid(2), Some(oid(6))), (oid(4), None)]));
        assert_eq!(known[&oid(1)], Some(oid(6)));
        assert_eq!((known[&oid(3)], known[&oid(5)], known[&oid(2)]), (None, None, Some(oid(6))));
    }

    proptest! {
        #[test]
        fn a_map_reads_back(pairs in prop::collection::hash_map(any::<u8>(), prop::option::of(any::<u8>()), 0..20)) {
            let dir = tempfile::tempdir().unwrap();
            let map: Successors = pairs.iter().map(|(a, b)| (oid(*a), b.map(oid))).collect();
            let path = dir.path().join("map");
            write(&path, Some(oid(9)), &map).unwrap();
            prop_assert_eq!(read(&path).unwrap(), Some((Some(oid(9)), map)));
        }

        #[test]
        fn any_text_is_read_without_harm(text in any::<String>()) {
            let _ = parse(&text);
            let _ = parse(&format!("{HEAD}-\n{text}"));
        }
    }
}
