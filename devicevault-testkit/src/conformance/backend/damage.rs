//! Damage that is done behind the backend's back.

use devicevault_core::storage::{Verdict, VerifyDepth};
use devicevault_core::{ErrorKind, StorageBackendExt as _};

use super::Damage;
use super::stage::{Item, Stage, ensure_kept, store};
use super::verifying::DEPTHS;
use crate::conformance::case::{Checked, broken, ensure, skip};
use crate::samples;

pub(super) async fn damage(stage: &Stage<'_>) -> Checked {
    let Some(damager) = stage.damage else { return skip("the test gives no way to damage stored bytes") };
    let mut done = 0;
    for how in [Damage::FlipBit, Damage::Truncate, Damage::Remove] {
        let place = match how {
            Damage::FlipBit => "flip",
            Damage::Truncate => "truncate",
            Damage::Remove => "remove",
        };
        for size in [1, 200, 200_000] {
            let place = format!("{place}-{size}");
            let whole = Item::config("whole", samples::noise(stage.seed + 1, size));
            let item = Item::config("damaged", samples::noise(stage.seed, size));
            let refs = {
                let backend = stage.places.open(&place).await?;
                store(&*backend, &[item.clone(), whole.clone()]).await?
            };
            let [at, good] = &refs[..] else { return broken("there is not one verdict per entry") };
            if !damager.damage(&stage.places.name(&place), at, how).await? {
                continue;
            }
            done += 1;
            let backend = stage.places.open(&place).await?;
            match backend.read_all(at, 1 << 30).await {
                Ok(got) => ensure!(got == item.content, "after {how:?}, {size} bytes read as {} other ones", got.len()),
                Err(e) => {
                    let fits =
                        e.kind() == ErrorKind::Corrupt || (how == Damage::Remove && e.kind() == ErrorKind::NotFound);
                    ensure!(fits, "after {how:?}, reading should be Corrupt, and is {e:?}");
                }
            }
            for depth in DEPTHS {
                let verdict = backend.verify(at, Some(item.manifest()), depth).await?;
                let seen = depth > VerifyDepth::Size || how != Damage::FlipBit;
                let told = match &verdict {
                    Verdict::Damaged(what) => !what.is_empty(),
                    Verdict::Missing => how == Damage::Remove,
                    _ => !seen,
                };
                ensure!(told, "after {how:?}, {size} bytes at depth {depth:?} are {verdict:?}");
            }
            ensure_kept(&*backend, good, &whole).await?;
        }
    }
    if done == 0 { skip("no sort of damage can be done there") } else { Ok(()) }
}
