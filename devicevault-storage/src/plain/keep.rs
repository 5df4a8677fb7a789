//! What a store can do and tell beside what every object store can.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;
use devicevault_core::Result;
use devicevault_core::storage::Health;
use object_store::path::Path;

/// A store that knows what it promises, and tidies up after itself.
#[async_trait]
pub trait Keep: Debug + Send + Sync + 'static {
    /// Whether what was confirmed survives a power cut at the store.
    fn durable(&self) -> bool;

    /// Whether of two programs that create one object, whichever they are, one is refused.
    fn put_if_absent(&self) -> bool;

    /// Removes what broken uploads left longer ago than this; the number of bytes that it held.
    ///
    /// # Errors
    /// What the store answers.
    async fn sweep(&self, older_than: Duration) -> Result<u64>;

    /// Makes an object that is there as durable as if it had just been written, whoever wrote it.
    ///
    /// # Errors
    /// What the store answers.
    async fn settle(&self, at: &Path) -> object_store::Result<()>;

    /// Adds to a connection test what is known of durability, space and clock, in words for a person.
    async fn probe(&self, health: &mut Health);
}
