//! A sealed place whose key is not at hand.

use std::collections::BTreeSet;

use devicevault_core::storage::{Verdict, VerifyDepth};
use devicevault_core::{Error, Result, StorageRef};
use futures::StreamExt as _;

use super::{Bad, Found, tell};
use crate::context::Context;
use crate::interrupt::cancellable;
use crate::place::Place;
use crate::wiring::keys::Keys;
use crate::{Exit, apart, wiring};

/// What can be said of it without.
///
/// # Errors
/// It cannot be listed.
pub(super) async fn look(context: &Context, place: &Place, depth: VerifyDepth, why: &Error) -> Result<Exit> {
    let mut found = Found { depth: depth.min(VerifyDepth::Stored), ..Found::default() };
    found.in_place = true;
    found.not_opened = (depth > found.depth).then(|| why.to_record().message);
    let mut good = 0;
    cancellable(walk(context, place, depth, &BTreeSet::new(), &mut found, |_| good += 1)).await?;
    found.good = good;
    tell(context, &found)
}

/// Of a place of which a part opens, the rest.
///
/// # Errors
/// As [`look`].
pub(super) async fn beside(
    context: &Context,
    place: &Place,
    depth: VerifyDepth,
    opened: &BTreeSet<StorageRef>,
    why: &Error,
    found: &mut Found,
) -> Result<()> {
    let mut closed = Vec::new();
    cancellable(walk(context, place, depth, opened, found, |_| apart::add(&mut closed, "folder", why))).await?;
    found.unopened.extend(closed);
    Ok(())
}

/// Looks at the stored bytes of all but those that were opened. What is not as it was stored is among the bad ones.
async fn walk(
    context: &Context,
    place: &Place,
    depth: VerifyDepth,
    but: &BTreeSet<StorageRef>,
    found: &mut Found,
    mut good: impl FnMut(&StorageRef),
) -> Result<()> {
    let backend = wiring::open_place(context, place, &Keys::default()).await?;
    let mut verdicts = backend.verify_unopened(depth);
    while let Some(one) = verdicts.next().await {
        let (at, verdict) = one?;
        if but.contains(&at) {
            continue;
        }
        found.checked += 1;
        let (verdict, what) = match verdict {
            Verdict::Good(_) => {
                good(&at);
                continue;
            }
            Verdict::Damaged(what) => ("damaged", what),
            _ => ("missing", vec!["it is not there".to_owned()]),
        };
        // A damaged manifest was told already, where the others were opened.
        let told = |b: &Bad| b.storage_ref.as_deref() == Some(at.as_str());
        if !found.bad.iter().any(told) {
            found.bad.push(Bad { storage_ref: Some(at.to_string()), ..Bad::unnamed(verdict, what) });
        }
    }
    Ok(())
}
