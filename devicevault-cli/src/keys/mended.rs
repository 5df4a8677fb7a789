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
    let before = instance.keys.unreadable().count();
    let none_left = instance.keys.epochs().is_empty();
    if let Err(e) = take(instance).await {
        context.ui.alert(&format!("epoch keys of the home could not be put right: {}", e.to_record().message));
        return;
    }
    let left: Vec<_> = instance.keys.unreadable().collect();
    if left.len() < before || none_left {
        let keys = human::count(instance.keys.epochs().len(), "epoch key");
        context.ui.alert(&format!(
            "what the home had of epoch keys was damaged or gone: it was put right from destinations, and has {keys} now"
        ));
    }
    for id in left {
        context.ui.alert(&format!(
            "epoch key {id} cannot be read, and no destination that is there has it whole: what is sealed under it does not \
             open; bring keys/{id}.json back, from a copy of this home or of any destination, into keys/ of the home"
        ));
    }
}

async fn take(instance: &Instance) -> Result<()> {
    let places = KeyedPlaces::of(instance, instance.keys.sources()).await?;
    instance.keys.adopt(&instance.home, places.named(), instance.now()).await.map(drop)
}
