//! What a [`Catalog`] promises.

mod backups;
mod copies;
mod leases;
mod paging;
mod recording;
mod runs;
mod stage;

use std::sync::Arc;

use devicevault_core::{Catalog, Result};

use self::stage::Stage;
use super::case::{Case, Selection, cases, chooses_cases, run};
use super::place::{Opener, Places};
use super::report::Report;
use crate::clock::ManualClock;

/// Runs every case against the catalog that `make` opens; see [the module](super) for what a place is.
///
/// What needs time to pass is skipped; [`CatalogSuite::with_clock`] looks at that too.
pub async fn catalog<M>(make: M) -> Report
where
    M: AsyncFn(&str) -> Result<Arc<dyn Catalog>>,
{
    CatalogSuite::new(&make).run().await
}

/// The suite with its settings.
pub struct CatalogSuite<'a> {
    opener: &'a dyn Opener<dyn Catalog>,
    clock: Option<ManualClock>,
    selection: Selection,
    seed: u64,
}

chooses_cases!(CatalogSuite, seed);

impl<'a> CatalogSuite<'a> {
    /// All cases against what is opened there.
    #[must_use]
    pub fn new(opener: &'a dyn Opener<dyn Catalog>) -> Self {
        Self { opener, clock: None, selection: Selection::default(), seed: 1 }
    }

    /// The clock that the opened catalogs go by.
    #[must_use]
    pub fn with_clock(mut self, clock: &ManualClock) -> Self {
        self.clock = Some(clock.clone());
        self
    }

    /// Seed of the records.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Runs the cases.
    pub async fn run(&self) -> Report {
        run("Catalog", list(), &self.selection, |case| Stage {
            places: Places { opener: self.opener, case },
            clock: self.clock.as_ref(),
            seed: self.seed,
        })
        .await
    }
}

fn list<'a>() -> Vec<Case<Stage<'a>>> {
    cases![
        "begin": "a run that begins is there, as it began" => runs::begin,
        "begin-again": "beginning is idempotent by task id" => runs::begin_again,
        "begin-at-once": "of one task begun at once there is one run" => runs::begin_at_once,
        "advance": "a run that is not over may move on; one that is over stays over" => runs::advance,
        "end": "the whole of a run is kept" => runs::end,
        "end-again": "recording is idempotent by run" => runs::end_again,
        "find-runs": "runs are found by exactly what the query says, newest first" => runs::find,
        "interrupted": "a run whose holder died is found failed, with kind cancelled" => runs::interrupted,
        "lease": "one run per device: of two callers one gets the lease" => leases::lease,
        "lease-at-once": "of many callers at once one gets the lease" => leases::at_once,
        "lease-release": "a lease that was given back is free; one that was lost is no error" => leases::release,
        "lease-expiry": "a lease ends by itself" => leases::expiry,
        "lease-renewal": "a lease that is renewed holds; one that was lost cannot be" => leases::renewal,
        "backup": "a backup is kept with all its fields" => recording::backup,
        "backup-again": "recording is idempotent by backup id" => recording::backup_again,
        "atomic-error": "of outcomes that cannot all be recorded, none is" => recording::atomic_error,
        "atomic-cancel": "a dropped record is done or not done, never half" => recording::atomic_cancel,
        "atomic-read": "nobody sees half of a record" => recording::atomic_read,
        "many-outcomes": "a record may have many outcomes" => recording::many_outcomes,
        "records-at-once": "records at once are all kept" => recording::at_once,
        "reopen": "what was recorded is there after a restart" => recording::reopen,
        "extended": "content that was seen again is valid until then, at the destinations relied upon" => backups::extended,
        "extended-backwards": "seeing again never lowers when it was last seen" => backups::extended_backwards,
        "latest": "the reference is the newest backup that is not suspect" => backups::latest,
        "latest-suspect": "a suspect backup does not replace the reference, and shows while it is newer" => backups::latest_suspect,
        "find": "backups are found by exactly what the query says" => backups::find,
        "find-at": "what was valid at a time is what was seen first by then and not yet replaced" => backups::find_at,
        "pages": "pages come newest first, and neither repeat nor skip" => paging::pages,
        "pages-while-recording": "records that arrive between two pages neither repeat nor hide others" => paging::while_recording,
        "pages-of-runs": "pages of runs come newest first, and neither repeat nor skip" => paging::runs,
        "cursor": "a cursor that is none of the catalog's is refused" => paging::cursor,
        "copies-merged": "what is known of other copies stays" => copies::merged,
        "pending": "copies that wait are found, until they are stored" => copies::pending,
        "verified": "what a verification found of a copy is kept" => copies::verified,
        "mark": "marked copies are no longer good, and only they" => copies::mark,
        "pin": "a pinned backup is pinned until it is no longer, whatever is recorded meanwhile" => copies::pin,
        "accept": "a suspect backup that was accepted is the reference" => copies::accept,
        "quarantine": "a backup in quarantine is no reference, is found by that, and is released when it is accepted" => copies::quarantine,
        "forget": "forgotten copies are gone, and a backup without copies with them" => copies::forget,
    ]
}
