//! Places for conversations, in all and per site, handed out in turn among the sites.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::Limits;
use crate::Clock;

/// A site; devices without one share one.
type SiteName = Option<Arc<str>>;
type Waiter = oneshot::Sender<Place>;
/// A place that was asked for.
pub(super) type Asked = oneshot::Receiver<Place>;

/// Who may talk, and who is next. Sites take turns, and within a site it goes by arrival; one that has all its places
/// taken is passed over.
#[derive(Debug, Clone)]
pub(super) struct Places(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    per_site: usize,
    /// So many runs are stored at a time before nobody begins.
    unstored: usize,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    free: usize,
    /// Runs that have done with their device and are not over, by their number, and since when, the oldest first. One that
    /// takes too long counts no more: its destination hangs, and the others' devices are not to wait for that.
    storing: VecDeque<(u64, Duration)>,
    stored_before: u64,
    /// Somebody looks again after a while whether one takes too long.
    is_watched: bool,
    sites: HashMap<SiteName, Site>,
    /// The sites that somebody waits for, the next one first.
    ring: VecDeque<SiteName>,
    /// Those who talk already, and gave their place away while their device was slow to be reached.
    returning: VecDeque<(SiteName, Waiter)>,
}

#[derive(Debug, Default)]
struct Site {
    talking: usize,
    waiting: VecDeque<Waiter>,
}

/// A run that has done with its device, until it is dropped.
#[derive(Debug)]
pub(super) struct Storing {
    shared: Arc<Shared>,
    number: u64,
}

/// A run that is stored for so long hangs.
const HANGS: Duration = Duration::from_secs(30);
/// How often is looked for such runs while others wait for them.
const LOOK: Duration = Duration::from_secs(1);

/// The right to talk to one device, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    shared: Arc<Shared>,
    site: SiteName,
}

impl Places {
    pub(super) fn new(limits: &Limits, clock: Arc<dyn Clock>) -> Self {
        let state = State { free: limits.sessions.max(1), ..State::default() };
        let per_site = limits.sessions_per_site.map_or(usize::MAX, |n| n.max(1));
        let unstored = limits.unstored.max(1);
        Self(Arc::new(Shared { per_site, unstored, clock, state: Mutex::new(state) }))
    }

    /// What is collected is being stored from now on.
    pub(super) fn store(&self) -> Storing {
        let now = self.0.clock.monotonic();
        let mut state = self.0.state();
        let number = state.stored_before;
        state.stored_before += 1;
        state.storing.push_back((number, now));
        Storing { shared: self.0.clone(), number }
    }

    /// Waits for a place. Dropping the future leaves the queue.
    pub(super) async fn take(&self, site: Option<&str>) -> Place {
        self.wait(site, false).await
    }

    /// Waits for a place, before everybody who has not begun.
    pub(super) async fn take_again(&self, site: Option<&str>) -> Place {
        self.wait(site, true).await
    }

    /// Joins the queue at once; the place comes later. Dropping what is returned leaves the queue.
    pub(super) fn ask(&self, site: Option<&str>) -> Asked {
        self.enqueue(site.map(Arc::from), false)
    }

    async fn wait(&self, site: Option<&str>, returning: bool) -> Place {
        let site: SiteName = site.map(Arc::from);
        loop {
            // A waiter is let go of only with a place in it; if one ever were not, it would queue again.
            if let Ok(place) = self.enqueue(site.clone(), returning).await {
                return place;
            }
        }
    }

    fn enqueue(&self, site: SiteName, returning: bool) -> Asked {
        let (waiter, place) = oneshot::channel();
        {
            let mut state = self.0.state();
            if returning {
                state.returning.push_back((site, waiter));
            } else {
                state.queue(&site, waiter);
            }
        }
        self.0.hand_out();
        place
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives free places to those who are next. A place that nobody takes comes back by its drop, outside the lock.
    fn hand_out(self: &Arc<Self>) {
        loop {
            let next = self.state().next(self.per_site, self.unstored);
            let Some((site, waiter)) = next else { break };
            let _ = waiter.send(Place { shared: self.clone(), site });
        }
        self.watch();
    }

    /// Where runs that are being stored hold others up, looks after a while whether they hang.
    fn watch(self: &Arc<Self>) {
        let mut state = self.state();
        let held_up = state.free > 0 && !state.ring.is_empty() && state.storing.len() >= self.unstored;
        if state.is_watched || !held_up {
            return;
        }
        let Ok(runtime) = Handle::try_current() else { return };
        state.is_watched = true;
        let (clock, shared) = (self.clock.clone(), Arc::downgrade(self));
        runtime.spawn(async move {
            clock.sleep(LOOK).await;
            let Some(shared) = shared.upgrade() else { return };
            {
                let mut state = shared.state();
                state.is_watched = false;
                state.give_up_on(clock.monotonic());
            }
            shared.hand_out();
        });
    }
}

impl State {
    fn queue(&mut self, site: &SiteName, waiter: Waiter) {
        let queue = &mut self.sites.entry(site.clone()).or_default().waiting;
        if queue.is_empty() {
            self.ring.push_back(site.clone());
        }
        queue.push_back(waiter);
    }

    /// Who is next, counted as talking from now on.
    fn next(&mut self, per_site: usize, unstored: usize) -> Option<(SiteName, Waiter)> {
        if self.free == 0 {
            return None;
        }
        self.returning.retain(|(_, waiter)| !waiter.is_closed());
        let has_room = |(site, _): &(SiteName, Waiter)| self.sites.get(site).is_none_or(|s| s.talking < per_site);
        if let Some(found) = self.returning.iter().position(has_room) {
            let (site, waiter) = self.returning.remove(found)?;
            return Some(self.begin(site, waiter));
        }
        if self.storing.len() >= unstored {
            return None;
        }
        for _ in 0..self.ring.len() {
            let name = self.ring.pop_front()?;
            let site = self.sites.entry(name.clone()).or_default();
            while site.waiting.front().is_some_and(Waiter::is_closed) {
                site.waiting.pop_front();
            }
            if site.talking >= per_site && !site.waiting.is_empty() {
                self.ring.push_back(name);
                continue;
            }
            let waiter = site.waiting.pop_front();
            if !site.waiting.is_empty() {
                self.ring.push_back(name.clone());
            }
            match waiter {
                Some(waiter) => return Some(self.begin(name, waiter)),
                None => self.forget_idle(&name),
            }
        }
        None
    }

    fn begin(&mut self, site: SiteName, waiter: Waiter) -> (SiteName, Waiter) {
        self.free -= 1;
        self.sites.entry(site.clone()).or_default().talking += 1;
        (site, waiter)
    }

    fn end(&mut self, name: &SiteName) {
        self.free += 1;
        if let Some(site) = self.sites.get_mut(name) {
            site.talking -= 1;
        }
        self.forget_idle(name);
    }

    /// Counts those no more that hang.
    fn give_up_on(&mut self, now: Duration) {
        while self.storing.front().is_some_and(|(_, since)| now.saturating_sub(*since) >= HANGS) {
            self.storing.pop_front();
        }
    }

    /// The map stays as small as what goes on.
    fn forget_idle(&mut self, name: &SiteName) {
        if self.sites.get(name).is_some_and(|s| s.talking == 0 && s.waiting.is_empty()) {
            self.sites.remove(name);
        }
    }
}

impl Drop for Storing {
    fn drop(&mut self) {
        {
            let mut state = self.shared.state();
            if let Ok(at) = state.storing.binary_search_by_key(&self.number, |(number, _)| *number) {
                state.storing.remove(at);
            }
        }
        self.shared.hand_out();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.state().end(&self.site);
        self.shared.hand_out();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use futures::future::BoxFuture;
    use proptest::prelude::*;

    use super::*;
    use crate::{SystemClock, Timestamp};

    fn places(sessions: usize, per_site: Option<usize>) -> Places {
        Places::new(&Limits::default().with_sessions(sessions).with_sessions_per_site(per_site), Arc::new(SystemClock))
    }

    #[test]
    fn sites_take_turns_and_a_full_site_is_passed_over() {
        let places = places(1, None);
        let held = places.take(None).now_or_never().unwrap();
        let mut waiting: Vec<(&str, BoxFuture<'_, Place>)> =
            ["a", "a", "a", "b", "c", "c"].iter().map(|s| (*s, places.take(Some(s)).boxed())).collect();
        for (_, wait) in &mut waiting {
            assert!(wait.now_or_never().is_none());
        }
        drop(held);
        let mut order = Vec::new();
        while !waiting.is_empty() {
            let next = waiting.iter_mut().position(|(_, wait)| wait.now_or_never().is_some()).unwrap();
            // The place was dropped by looking at it, and so went to the next one.
            order.push(waiting.remove(next).0);
        }
        assert_eq!(order, ["a", "b", "c", "a", "c", "a"]);
        assert!(places.0.state().sites.is_empty());
    }

    #[test]
    fn who_comes_back_goes_first_and_who_left_is_not_waited_for() {
        let places = places(1, None);
        let held = places.take(None).now_or_never().unwrap();
        let mut first = places.take(None).boxed();
        let mut gone = places.take(None).boxed();
        let mut again = places.take_again(None).boxed();
        assert!((&mut first).now_or_never().is_none() && (&mut gone).now_or_never().is_none());
        assert!((&mut again).now_or_never().is_none());
        drop((gone, held));
        assert!((&mut first).now_or_never().is_none());
        drop(again);
        drop((&mut first).now_or_never().unwrap());
        assert_eq!(places.0.state().free, 1);
    }

    #[test]
    fn nobody_begins_while_too_much_is_stored_and_who_talks_goes_on() {
        let places = Places::new(&Limits::default().with_sessions(3).with_unstored(2), Arc::new(SystemClock));
        let mut stored = vec![places.store(), places.store()];
        let mut first = places.take(None).boxed();
        assert!((&mut first).now_or_never().is_none());
        drop(places.take_again(None).now_or_never().unwrap());
        stored.push(places.store());
        stored.remove(0);
        assert!((&mut first).now_or_never().is_none());
        stored.remove(0);
        drop(first.now_or_never().unwrap());
        stored.clear();
        let state = places.0.state();
        assert_eq!((state.free, state.storing.len()), (3, 0));
    }

    /// Whoever sleeps moves it on.
    #[derive(Debug, Default)]
    struct Leaping(Mutex<Duration>);

    #[async_trait::async_trait]
    impl Clock for Leaping {
        fn now(&self) -> Timestamp {
            Timestamp::UNIX_EPOCH
        }

        fn monotonic(&self) -> Duration {
            *self.0.lock().unwrap()
        }

        async fn sleep(&self, time: Duration) {
            *self.0.lock().unwrap() += time;
        }
    }

    #[tokio::test]
    async fn what_hangs_holds_nobody_up_for_ever() {
        let clock = Arc::new(Leaping::default());
        let places = Places::new(&Limits::default().with_unstored(2), clock.clone());
        let hanging = [places.store(), places.store()];
        let mut first = places.take(None).boxed();
        assert!((&mut first).now_or_never().is_none());
        let place = first.await;
        assert_eq!(clock.monotonic(), HANGS);
        // It counts no more, whether it ends or not.
        let begun = places.store();
        drop((place, hanging));
        assert_eq!(places.0.state().storing.len(), 1);
        drop(begun);
        assert!(places.0.state().storing.is_empty());
    }

    #[derive(Debug, Clone)]
    enum Step {
        Ask(u8),
        Again(u8),
        Leave(usize),
        End(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0u8..4).prop_map(Step::Ask),
            1 => (0u8..4).prop_map(Step::Again),
            1 => any::<usize>().prop_map(Step::Leave),
            3 => any::<usize>().prop_map(Step::End),
        ];
        proptest::collection::vec(step, 0..120)
    }

    proptest! {
        #[test]
        fn limits_hold_and_no_place_lies_idle(steps in steps(), sessions in 1usize..5, per_site in proptest::option::of(1usize..3)) {
            let places = places(sessions, per_site);
            let most = per_site.unwrap_or(usize::MAX);
            let mut waiting: Vec<(u8, BoxFuture<'_, Place>)> = Vec::new();
            let mut held: Vec<(u8, Place)> = Vec::new();
            let name = |site: u8| site.to_string();
            for step in steps {
                let (places, all) = (&places, waiting.len());
                match step {
                    Step::Ask(s) => waiting.push((s, async move { places.take(Some(&name(s))).await }.boxed())),
                    Step::Again(s) => waiting.push((s, async move { places.take_again(Some(&name(s))).await }.boxed())),
                    Step::Leave(i) if all > 0 => drop(waiting.remove(i % all)),
                    Step::End(i) if !held.is_empty() => drop(held.remove(i % held.len())),
                    _ => {}
                }
                let mut still = Vec::new();
                for (site, mut wait) in waiting {
                    match (&mut wait).now_or_never() {
                        Some(place) => held.push((site, place)),
                        None => still.push((site, wait)),
                    }
                }
                waiting = still;
                let talking = |site: u8| held.iter().filter(|(s, _)| *s == site).count();
                prop_assert!(held.len() <= sessions);
                prop_assert!((0..4).all(|s| talking(s) <= most));
                let idle = held.len() < sessions && waiting.iter().any(|(s, _)| talking(*s) < most);
                prop_assert!(!idle, "somebody waits though there is a place");
            }
            drop((waiting, held));
            // Who left is taken out when the next one comes.
            drop(places.take(None).now_or_never());
            prop_assert_eq!(places.0.state().free, sessions);
        }
    }
}
