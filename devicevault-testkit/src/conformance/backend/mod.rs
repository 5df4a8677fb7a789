//! What a [`StorageBackend`] promises.

mod concurrency;
mod damage;
mod deleting;
mod listing;
mod names;
mod reading;
mod stage;
mod storing;
mod verifying;

#[cfg(doc)]
use devicevault_core::storage::Capability;
use devicevault_core::{Result, StorageBackend, StorageRef};
use futures::future::LocalBoxFuture;

use self::stage::Stage;
use super::case::{Case, Selection, cases, chooses_cases, run};
use super::place::{Opener, Places};
use super::report::Report;

/// Runs every case against the backend that `make` opens; see [the module](super) for what a place is.
///
/// A backend has to take bodies of 1 MiB at least; larger ones are tried where [`Capability::max_body`] allows.
///
/// The future is driven by a tokio runtime with its timer on; cases that do many things at once spawn tasks on it.
pub async fn backend<M>(make: M) -> Report
where
    M: AsyncFn(&str) -> Result<std::sync::Arc<dyn StorageBackend>>,
{
    BackendSuite::new(&make).run().await
}

/// What a test does to stored bytes behind the backend's back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Damage {
    /// One bit of the stored bytes is another.
    FlipBit,
    /// The last stored byte is gone.
    Truncate,
    /// The stored bytes are gone, whatever names them stays.
    Remove,
}

/// Does damage to stored bytes. Any `AsyncFn(&str, &StorageRef, Damage) -> Result<bool>` is one: it is given the place's
/// name, the reference and what to do, and says whether that can be done there.
pub trait Damager {
    /// Damages a backup of a place.
    fn damage<'a>(&'a self, place: &'a str, at: &'a StorageRef, how: Damage) -> LocalBoxFuture<'a, Result<bool>>;
}

impl<F: AsyncFn(&str, &StorageRef, Damage) -> Result<bool>> Damager for F {
    fn damage<'a>(&'a self, place: &'a str, at: &'a StorageRef, how: Damage) -> LocalBoxFuture<'a, Result<bool>> {
        Box::pin(async move { self(place, at, how).await })
    }
}

/// The suite with its settings.
pub struct BackendSuite<'a> {
    opener: &'a dyn Opener<dyn StorageBackend>,
    damage: Option<&'a dyn Damager>,
    selection: Selection,
    seed: u64,
}

chooses_cases!(BackendSuite, seed);

impl<'a> BackendSuite<'a> {
    /// All cases against what is opened there.
    #[must_use]
    pub fn new(opener: &'a dyn Opener<dyn StorageBackend>) -> Self {
        Self { opener, damage: None, selection: Selection::default(), seed: 1 }
    }

    /// How stored bytes are damaged behind the backend's back; without it the case `damage` is skipped.
    #[must_use]
    pub fn with_damage(mut self, damager: &'a dyn Damager) -> Self {
        self.damage = Some(damager);
        self
    }

    /// Seed of the contents.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Runs the cases.
    pub async fn run(&self) -> Report {
        run("StorageBackend", list(), &self.selection, |case| Stage {
            places: Places { opener: self.opener, case },
            damage: self.damage,
            seed: self.seed,
        })
        .await
    }
}

fn list<'a>() -> Vec<Case<Stage<'a>>> {
    cases![
        "empty-batch": "a batch of nothing has no verdicts" => storing::empty_batch,
        "batch": "one verdict per entry, in order" => storing::batch,
        "sizes": "bodies of any size up to `max_body` are kept" => storing::sizes,
        "bytes": "reading returns exactly the bytes of the view" => storing::bytes,
        "pieces": "however a body is cut into pieces, the same bytes are kept" => storing::pieces,
        "versions": "entries of other ids are other copies, even of the same time and content" => storing::versions,
        "same-entry-again": "storing the same entry again returns a reference to one copy" => storing::same_entry_again,
        "same-entry-in-a-batch": "the same entry twice in a batch is one copy" => storing::same_entry_in_a_batch,
        "wrong-hash": "a body with another hash than the manifest says is Incomplete, and leaves nothing" => storing::wrong_hash,
        "wrong-length": "a body of another length than the manifest says is Incomplete, and leaves nothing" => storing::wrong_length,
        "failing-body": "an entry whose body fails leaves nothing, and takes no other with it" => storing::failing_body,
        "too-large": "a body beyond `max_body` is TooLarge, and leaves nothing" => storing::too_large,
        "ranges": "a range is exact, and cut to the length" => reading::ranges,
        "large-range": "a range of a large body is exact" => reading::large_range,
        "missing": "absence is NotFound" => reading::missing,
        "foreign-references": "a reference that is none of the backend's is an error, not a panic" => reading::foreign_references,
        "dropped-reader": "dropping a reader ends it and disturbs nothing" => reading::dropped_reader,
        "stat": "the manifest comes back as it was given, transforms apart" => reading::stat,
        "list": "the list is enough to rebuild a catalog" => listing::list,
        "list-filters": "filters narrow the list to exactly what they say" => listing::filters,
        "usage": "usage adds up what is stored" => listing::usage,
        "reopen": "what store returned is there after a restart" => listing::reopen,
        "places": "two places know nothing of each other" => listing::places,
        "hostile-names": "any device name and site is kept apart from any other, and reaches nothing outside" => names::hostile,
        "private-names": "where names are private, references do not tell them" => names::private,
        "delete": "deletion takes exactly what it names; missing is Ok" => deleting::delete,
        "delete-shared": "deleting one backup leaves another of the same content" => deleting::shared,
        "store-after-delete": "an entry that was deleted can be stored again" => deleting::store_again,
        "no-delete": "a backend that cannot delete answers Unsupported and keeps what it has" => deleting::unsupported,
        "verify": "what is as recorded is Good at every depth" => verifying::good,
        "verify-expectation": "what is not as the catalog says is Damaged" => verifying::expectation,
        "verify-missing": "what is not there is Missing" => verifying::missing,
        "damage": "damage is Corrupt when read, found when verified, and never read as something else" => damage::damage,
        "many-at-once": "stores at once do not disturb one another" => concurrency::many,
        "same-entry-at-once": "the same entry stored at once is one copy" => concurrency::same_entry,
        "cancel": "a dropped store leaves each entry stored or absent, and can be done again" => concurrency::cancel,
        "maintain": "maintenance loses nothing" => verifying::maintain,
        "check": "the connection test passes and leaves nothing" => verifying::check,
        "capability": "what it can do does not change, and suffices: bodies of 1 MiB at least" => verifying::capability,
    ]
}
