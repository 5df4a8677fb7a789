//! Epoch keys of the home that are cut, empty or gone, taken again from a destination that has them.

use devicevault_core::Result;

use crate::context::Context;
use crate::instance::Instance;
use crate::keys::lock::lock_at_once;
use crate::keys::places::KeyedPlaces;
use crate::ui::human;

/// Puts them right where that can be, and tells it. Without them, only what needs them fails: nothing is held up.
pub(crate) async fn mend(context: &Context, instance: &Instance) {
    // Whoever changes keys at the moment mends them by the way.
    let Some(_alone) = lock_at_once(&instance.home).await else { return };
    let none_left = instance.keys.epochs().is_empty();
    let taken = match take(instance).await {
        Ok(taken) => taken,
        Err(e) => {
            context.ui.alert(&format!("epoch keys of the home could not be put right: {}", e.to_record().message));
            return;
        }
    };
    let left: Vec<_> = instance.keys.unreadable().collect();
    if taken > 0 {
        let keys = human::count(taken, "epoch key");
        context.ui.alert(&format!(
            "what the home had of epoch keys was damaged or gone: it was put right from destinations that had {keys}"
        ));
    } else if none_left {
        context.ui.alert(
            "the home has lost its epoch keys, and no destination that is there has one that a key at hand opens: what is \
             sealed from now on is so under a new one; bring the files of keys/ back from a copy of the home",
        );
    }
    for id in left {
        context.ui.alert(&format!(
            "epoch key {id} cannot be read, and no destination that is there has it whole: what is sealed under it does not \
             open; bring keys/{id}.json back, from a copy of this home or of any destination, into keys/ of the home"
        ));
    }
}

async fn take(instance: &Instance) -> Result<usize> {
    let places = KeyedPlaces::of(instance, instance.keys.sources()).await?;
    instance.keys.adopt(&instance.home, places.named(), instance.now()).await
}
