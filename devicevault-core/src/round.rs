//! What conversations that were begun together know of each other.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Conversations that were begun together, such as those of
/// [`Engine::back_up_all`](crate::Engine::back_up_all). Clones are the same round.
///
/// What one of them learns and the others need not find out for themselves is kept here, by its type, and forgotten with
/// the round: that a jump host before many devices refused the login, for one.
#[derive(Clone, Default)]
pub struct Round(Arc<Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>>);

impl Round {
    /// What the round keeps of this type, made where there is nothing yet.
    #[must_use]
    pub fn shared<T: Any + Default + Send + Sync>(&self) -> Arc<T> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let one = kept.entry(TypeId::of::<T>()).or_insert_with(|| Arc::<T>::default());
        // Under its own type it is what it is.
        one.clone().downcast().unwrap_or_default()
    }
}

impl fmt::Debug for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Round").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

    use super::*;

    #[test]
    fn what_is_kept_is_kept_by_its_type_and_round() {
        let round = Round::default();
        round.shared::<AtomicU32>().store(7, Ordering::Relaxed);
        assert_eq!(round.clone().shared::<AtomicU32>().load(Ordering::Relaxed), 7);
        assert_eq!(round.shared::<AtomicU64>().load(Ordering::Relaxed), 0);
        assert_eq!(Round::default().shared::<AtomicU32>().load(Ordering::Relaxed), 0);
    }
}
