//! A sealed place whose key is not at hand.

use devicevault_core::storage::{Verdict, VerifyDepth};
use devicevault_core::{Error, Result};
use futures::StreamExt as _;

use super::{Bad, Found, tell};
use crate::context::Context;
use crate::interrupt::cancellable;
use crate::place::Place;
use crate::wiring::keys::Keys;
use crate::{Exit, wiring};

/// What can be said of it without.
///
/// # Errors
/// It cannot be listed.
pub(super) async fn look(context: &Context, place: &Place, depth: VerifyDepth, why: &Error) -> Result<Exit> {
    let backend = wiring::open_place(context, place, &Keys::default()).await?;
    let mut found = Found { depth: depth.min(VerifyDepth::Stored), ..Found::default() };
    found.in_place = true;
    found.not_opened = (depth > found.depth).then(|| why.to_record().message);
    let check = async {
        let mut verdicts = backend.verify_unopened(depth);
        while let Some(one) = verdicts.next().await {
            let (at, verdict) = one?;
            found.checked += 1;
            let (verdict, what) = match verdict {
                Verdict::Good(_) => {
                    found.good += 1;
                    continue;
                }
                Verdict::Damaged(what) => ("damaged", what),
                _ => ("missing", vec!["it is not there".to_owned()]),
            };
            found.bad.push(Bad { storage_ref: Some(at.to_string()), ..Bad::unnamed(verdict, what) });
        }
        Ok(())
    };
    cancellable(check).await?;
    tell(context, &found)
}
