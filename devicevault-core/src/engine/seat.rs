//! The place of one conversation, which is lent to others while the device is slow to be reached.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::places::{Place, Places};
use crate::Clock;

/// Devices that are being connected to without a place, and how soon a place is lent away.
#[derive(Debug, Clone)]
pub(super) struct Antechamber {
    room: Arc<Semaphore>,
    grace: Duration,
}

impl Antechamber {
    pub(super) fn new(room: usize, grace: Duration) -> Self {
        Self { room: Arc::new(Semaphore::new(room.min(Semaphore::MAX_PERMITS))), grace }
    }
}

/// Where a conversation stands among those that may go on at a time.
#[derive(Debug)]
pub(crate) struct Seat {
    places: Places,
    antechamber: Antechamber,
    site: Option<String>,
    state: Mutex<State>,
    began: Notify,
    /// One takes the place again at a time, whoever noticed that the device was reached: it needs no second one.
    taking: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    connecting: bool,
    place: Option<Place>,
    outside: Option<OwnedSemaphorePermit>,
    over: bool,
}

impl Seat {
    pub(super) fn new(places: &Places, antechamber: &Antechamber, site: Option<&str>, place: Place) -> Arc<Self> {
        Arc::new(Self {
            places: places.clone(),
            antechamber: antechamber.clone(),
            site: site.map(str::to_owned),
            state: Mutex::new(State { place: Some(place), ..State::default() }),
            began: Notify::new(),
            taking: tokio::sync::Mutex::default(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The device is being connected to.
    pub(crate) fn connecting(&self) {
        self.state().connecting = true;
        self.began.notify_one();
    }

    /// The device was reached. Waits for a place where it was lent away.
    pub(crate) async fn reached(&self) {
        let outside = {
            let mut state = self.state();
            state.connecting = false;
            if state.over || state.place.is_some() {
                return;
            }
            state.outside.take()
        };
        // Those who hold the places may be waiting for what comes of this one: they can go outside for it.
        drop(outside);
        let _one = self.taking.lock().await;
        let (is_over, has_place) = {
            let state = self.state();
            (state.over, state.place.is_some())
        };
        if is_over || has_place {
            return;
        }
        let place = self.places.take_again(self.site.as_deref()).await;
        let mut state = self.state();
        // Where the conversation is over, the place goes back at once.
        let unused = if state.over { Some(place) } else { state.place.replace(place) };
        drop(state);
        drop(unused);
    }

    /// Lends the place to others whenever connecting takes longer than the grace. Never ends.
    pub(super) async fn lend(&self, clock: &dyn Clock) -> Infallible {
        loop {
            self.began.notified().await;
            while self.state().connecting {
                clock.sleep(self.antechamber.grace).await;
                let mut state = self.state();
                let mut lent = None;
                // Where too many stand outside already, the place is kept.
                if state.connecting
                    && state.place.is_some()
                    && let Ok(outside) = self.antechamber.room.clone().try_acquire_owned()
                {
                    state.outside = Some(outside);
                    lent = state.place.take();
                }
                let is_outside = state.outside.is_some();
                drop(state);
                drop(lent);
                if is_outside {
                    break;
                }
            }
        }
    }

    /// The conversation is over.
    pub(super) fn leave(&self) {
        let mut state = self.state();
        state.over = true;
        let given_back = (state.place.take(), state.outside.take());
        drop(state);
        drop(given_back);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;
    use crate::SystemClock;
    use crate::engine::Limits;

    fn seats(antechamber: usize) -> (Places, Antechamber, Arc<Seat>) {
        let places = Places::new(&Limits::default().with_sessions(1), Arc::new(SystemClock));
        let antechamber = Antechamber::new(antechamber, Duration::from_millis(1));
        let place = places.take(None).now_or_never().unwrap();
        let seat = Seat::new(&places, &antechamber, None, place);
        (places, antechamber, seat)
    }

    #[tokio::test]
    async fn a_place_is_lent_while_connecting_and_taken_back_before_all_others() {
        let (places, _, seat) = seats(1);
        seat.connecting();
        let other = tokio::select! { never = seat.lend(&SystemClock) => match never {}, p = places.take(None) => p };
        let mut third = places.take(None).boxed();
        let mut back = seat.reached().boxed();
        assert!((&mut third).now_or_never().is_none() && (&mut back).now_or_never().is_none());
        drop(other);
        back.await;
        assert!((&mut third).now_or_never().is_none());
        seat.leave();
        assert!(third.now_or_never().is_some());
    }

    #[tokio::test]
    async fn it_is_kept_where_too_many_are_outside_and_when_the_device_was_reached() {
        let (places, antechamber, seat) = seats(0);
        seat.connecting();
        let wait = Duration::from_millis(30);
        assert!(tokio::time::timeout(wait, seat.lend(&SystemClock)).await.is_err());
        assert!(places.take(None).now_or_never().is_none());
        antechamber.room.add_permits(1);
        seat.reached().now_or_never().unwrap();
        assert!(tokio::time::timeout(wait, seat.lend(&SystemClock)).await.is_err());
        assert!(places.take(None).now_or_never().is_none());
    }

    #[tokio::test]
    async fn one_that_is_reached_makes_room_for_those_who_keep_its_place() {
        let (places, antechamber, seat) = seats(1);
        seat.connecting();
        let other = tokio::select! { never = seat.lend(&SystemClock) => match never {}, p = places.take(None) => p };
        let second = Seat::new(&places, &antechamber, None, other);
        second.connecting();
        let back = tokio::select! {
            never = second.lend(&SystemClock) => match never {},
            back = tokio::time::timeout(Duration::from_secs(30), seat.reached()) => back,
        };
        back.unwrap();
        assert!(second.state().place.is_none() && seat.state().place.is_some());
    }

    #[tokio::test]
    async fn two_who_notice_that_it_was_reached_take_one_place() {
        let (places, _, seat) = seats(1);
        seat.connecting();
        let other = tokio::select! { never = seat.lend(&SystemClock) => match never {}, p = places.take(None) => p };
        let mut both = futures::future::join(seat.reached(), seat.reached()).boxed();
        assert!((&mut both).now_or_never().is_none());
        drop(other);
        assert!(both.now_or_never().is_some());
        seat.leave();
        assert!(places.take(None).now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_conversation_that_is_over_takes_no_place_back() {
        let (places, antechamber, seat) = seats(1);
        seat.connecting();
        let other = tokio::select! { never = seat.lend(&SystemClock) => match never {}, p = places.take(None) => p };
        let mut back = seat.reached().boxed();
        assert!((&mut back).now_or_never().is_none());
        seat.leave();
        drop(other);
        back.await;
        assert!(places.take(None).now_or_never().is_some());
        assert_eq!(antechamber.room.available_permits(), 1);
    }
}
