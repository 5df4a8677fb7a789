//! Cancelling a future at a chosen point.

use std::pin::pin;
use std::task::Poll;

/// Polls a future at most `polls` times, each time it is woken, and drops it then.
///
/// `None`: it was dropped before it was done. A test that does this for 0, 1, 2, … until it gets `Some` has cancelled
/// the future at each of its await points. A future that nobody wakes again before its polls are used up waits for ever.
pub async fn cancel_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    std::future::poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            // The budget is used up: nobody needs to wake us to see that.
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}
