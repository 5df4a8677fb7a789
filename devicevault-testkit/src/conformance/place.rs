//! Where a suite lets implementations keep their things.

use std::sync::Arc;

use devicevault_core::Result;
use futures::future::LocalBoxFuture;

/// Opens an implementation of `T` at a named place. Any `AsyncFn(&str) -> Result<Arc<T>>` is one.
///
/// A place first heard of is empty. Asked again, it is the same place opened anew, as after a restart: the suite has
/// dropped what it was given before. Names are short and of `a-z`, `0-9` and hyphens.
pub trait Opener<T: ?Sized> {
    /// Opens the place.
    fn open<'a>(&'a self, place: &'a str) -> LocalBoxFuture<'a, Result<Arc<T>>>;
}

impl<T: ?Sized, M: AsyncFn(&str) -> Result<Arc<T>>> Opener<T> for M {
    fn open<'a>(&'a self, place: &'a str) -> LocalBoxFuture<'a, Result<Arc<T>>> {
        Box::pin(async move { self(place).await })
    }
}

/// The places of one case.
pub(super) struct Places<'a, T: ?Sized> {
    pub(super) opener: &'a dyn Opener<T>,
    pub(super) case: &'static str,
}

impl<T: ?Sized> Places<'_, T> {
    /// The name of the case's place of this name.
    pub(super) fn name(&self, place: &str) -> String {
        format!("{}-{place}", self.case)
    }

    /// Opens the case's place of this name.
    pub(super) async fn open(&self, place: &str) -> Result<Arc<T>> {
        self.opener.open(&self.name(place)).await
    }

    /// Opens the case's one place.
    pub(super) async fn main(&self) -> Result<Arc<T>> {
        self.open("main").await
    }
}
