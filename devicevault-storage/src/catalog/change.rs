//! What a change of the catalog is, as far as the writer has to know.

use std::fmt::Debug;

use async_trait::async_trait;

use super::db::{Connection, Context, Fault};

/// A change that the writer makes inside a savepoint, unless it is one statement.
///
/// It may be made more than once, when the transaction around it has to be begun again: identifiers and tokens are
/// made before, and a repetition leaves the same state.
#[async_trait]
pub(super) trait Change: Debug + Send + Sync + 'static {
    /// What its caller is answered.
    type Output: Send + 'static;

    /// Verb and object, for errors.
    fn operation(&self) -> &'static str;

    /// Whether it writes by one statement at the most: a database takes back by itself what a statement that fails did.
    fn is_one_statement(&self) -> bool {
        false
    }

    /// Makes it. An error undoes what it did, and nothing else.
    async fn apply(&self, tx: &mut Connection, context: &Context) -> Result<Self::Output, Fault>;
}
