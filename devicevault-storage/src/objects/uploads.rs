//! Uploads in parts that broke off.

use std::fmt::Debug;

use async_trait::async_trait;
use devicevault_core::{Result, Timestamp};

/// Whether an object, by its path in the store, is one of ours.
pub type IsOurs = fn(&str) -> bool;

/// Uploads in parts that nobody finished, in a store that keeps their parts: no listing shows them, and they cost room
/// until they are given up.
#[async_trait]
pub trait Uploads: Debug + Send + Sync {
    /// Gives up those beneath the store's prefix that were begun before this time, by the store's clock, and whose object,
    /// named without the prefix, is one of ours. Returns how many. Cancelled, some are given up.
    ///
    /// # Errors
    /// What the store answers; some may have been given up by then.
    async fn give_up(&self, before: Timestamp, is_ours: IsOurs) -> Result<usize>;
}
