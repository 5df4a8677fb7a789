//! What a collector says of reaching its device, so that one that cannot be reached keeps nobody waiting.

use std::sync::Arc;

use crate::engine::Seat;

/// A conversation's turn among those that may go on at a time.
///
/// Every conversation has a place, and there are few: [`Limits::sessions`](crate::engine::Limits::sessions). A device
/// that does not answer would hold one until the attempt to connect is given up. A collector that says when it connects
/// lets the engine lend the place to another device meanwhile:
///
/// ```
/// # async fn dial(_: &str) -> std::io::Result<()> { Ok(()) }
/// # async fn example(target: &devicevault_core::Target) -> std::io::Result<()> {
/// target.turn.connecting();
/// let stream = dial(&target.device.host).await?;
/// target.turn.reached().await; // before the login: logins count as conversations
/// # Ok(stream)
/// # }
/// ```
///
/// One that says nothing keeps its place all along. Without an engine both calls do nothing.
#[derive(Debug, Clone, Default)]
pub struct Turn(Option<Arc<Seat>>);

impl Turn {
    pub(crate) fn at(seat: Arc<Seat>) -> Self {
        Self(Some(seat))
    }

    /// An attempt to reach the device begins.
    pub fn connecting(&self) {
        if let Some(seat) = &self.0 {
            seat.connecting();
        }
    }

    /// The device was reached. Waits for the place, where it was lent away; those who come back go first. Dropping the
    /// future gives the turn up.
    pub async fn reached(&self) {
        if let Some(seat) = &self.0 {
            seat.reached().await;
        }
    }
}
