//! What logins at jump hosts came to, so that a refused one is not repeated for every server behind.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::{Hop, ProxyCommand, Route};
use crate::connection::Gate;
use crate::{Credentials, Endpoint, HostKeyPolicy, Profile, Result, SshError};

/// Logins at jump hosts that several routes have in common: the same way to the same server, with the same user, secrets
/// and trust.
///
/// - The first of them is alone; the others wait, before they connect. Once it succeeded they go side by side.
/// - What was refused, be it the credential or the host key, is not tried again: all others fail with the same error.
/// - What failed otherwise, as where nobody answers, is the answer to those who waited for it. Whoever comes later tries
///   anew, so that nobody waits for more than one silence.
/// - One that is given up says nothing: the next one tries.
///
/// Keep it as long as that is to hold, and no longer than a round: a password may be mended meanwhile.
#[derive(Debug, Default)]
pub struct HopLogins(Mutex<HashMap<Vec<Endpoint>, Vec<OneLogin>>>);

type OneLogin = (Tried, Arc<Login>);

/// What makes two logins at one server the same.
#[derive(Debug, PartialEq)]
struct Tried {
    proxy: Option<ProxyCommand>,
    credentials: Credentials,
    profile: Profile,
    host_key: HostKeyPolicy,
    source: Option<std::net::IpAddr>,
}

impl HopLogins {
    /// The login at a hop of a route.
    pub(super) fn at(&self, route: &Route, number: usize, hop: &Hop) -> Arc<Login> {
        let way = route.hops.iter().take(number + 1).map(|h| h.server.clone()).collect();
        let source = route.hops.first().and_then(|h| h.options.source);
        let (credentials, host_key) = (hop.credentials.clone(), hop.options.host_key.clone());
        let tried = Tried { proxy: route.proxy.clone(), credentials, profile: hop.options.profile, host_key, source };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let there = all.entry(way).or_default();
        if let Some((_, login)) = there.iter().find(|(t, _)| *t == tried) {
            return login.clone();
        }
        let login = Arc::new(Login(watch::Sender::new(Known::Nothing)));
        there.push((tried, login.clone()));
        login
    }
}

/// One login of several.
#[derive(Debug)]
pub(super) struct Login(watch::Sender<Known>);

/// What is known of it.
#[derive(Debug, Clone)]
enum Known {
    Nothing,
    BeingTried,
    Accepted,
    Refused(SshError),
    Failed(SshError),
}

impl Login {
    /// Waits until it may be tried. While it waits it stands where those stand who connect; it connects once it has passed
    /// the gate again, for a server takes few connections that did not log in yet.
    ///
    /// # Errors
    /// What another one came to, where this one is not to be tried.
    pub(super) async fn turn(self: Arc<Self>, gate: Option<&Arc<dyn Gate>>) -> Result<Try> {
        let (may, waited) = self.verdict(gate).await?;
        if let Some(gate) = gate.filter(|_| waited) {
            gate.pass().await;
        }
        Ok(may)
    }

    /// The same without the gate; and whether it waited.
    async fn verdict(self: Arc<Self>, gate: Option<&Arc<dyn Gate>>) -> Result<(Try, bool)> {
        let mut known = self.0.subscribe();
        let mut waited = false;
        loop {
            let mut alone = false;
            self.0.send_if_modified(|known| {
                alone = matches!(known, Known::Nothing) || (matches!(known, Known::Failed(_)) && !waited);
                if alone {
                    *known = Known::BeingTried;
                }
                alone
            });
            if alone {
                return Ok((Try { login: self, alone }, waited));
            }
            let now = known.borrow_and_update().clone();
            match now {
                Known::Accepted => return Ok((Try { login: self, alone }, waited)),
                Known::Refused(e) => return Err(e.shared()),
                Known::Failed(e) if waited => return Err(e.shared()),
                // Changed just now.
                Known::Nothing | Known::Failed(_) => {}
                Known::BeingTried => {
                    if let Some(gate) = gate {
                        gate.connecting();
                    }
                    waited = true;
                    // Who would tell lives as long as this does.
                    let _ = known.changed().await;
                }
            }
        }
    }
}

/// One that is under way.
#[derive(Debug)]
pub(super) struct Try {
    login: Arc<Login>,
    alone: bool,
}

impl Try {
    /// Tells the others what it came to.
    pub(super) fn came_to<T>(mut self, outcome: &Result<T>) {
        let alone = std::mem::take(&mut self.alone);
        self.login.0.send_if_modified(|known| {
            *known = match outcome {
                Err(e) if e.is_refusal() => Known::Refused(e.clone()),
                Ok(_) if alone => Known::Accepted,
                Err(e) if alone => Known::Failed(e.clone()),
                _ => return false,
            };
            true
        });
    }
}

impl Drop for Try {
    fn drop(&mut self) {
        if self.alone {
            self.login.0.send_replace(Known::Nothing);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::FutureExt as _;

    use super::*;
    use crate::Options;

    fn login(logins: &HopLogins, password: &str) -> Arc<Login> {
        let credentials = Credentials::new("u").with_password(password);
        let hop = Hop::new(Endpoint::new("bastion", 22), credentials, Options::default());
        let route = Route::direct().over(hop.clone());
        logins.at(&route, 0, &hop)
    }

    fn refused() -> SshError {
        SshError::AuthRejected { message: "no".to_owned(), offered: Vec::new() }
    }

    fn silent() -> SshError {
        SshError::Timeout { step: "log in", after: std::time::Duration::from_secs(1) }
    }

    /// Counts.
    #[derive(Debug, Default)]
    struct Passed {
        connecting: AtomicUsize,
        passed: AtomicUsize,
    }

    #[async_trait::async_trait]
    impl Gate for Passed {
        fn connecting(&self) {
            self.connecting.fetch_add(1, Ordering::Relaxed);
        }

        async fn pass(&self) {
            self.passed.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn who_waited_passes_the_gate_before_it_connects() {
        let (logins, counted) = (HopLogins::default(), Arc::new(Passed::default()));
        let gate: Arc<dyn Gate> = counted.clone();
        let calls = || (counted.connecting.load(Ordering::Relaxed), counted.passed.load(Ordering::Relaxed));
        let first = login(&logins, "a").turn(Some(&gate)).await.unwrap();
        assert_eq!(calls(), (0, 0));
        let mut second = login(&logins, "a").turn(Some(&gate)).boxed();
        assert!((&mut second).now_or_never().is_none());
        assert_eq!(calls(), (1, 0));
        first.came_to(&Ok(()));
        second.await.unwrap();
        assert_eq!(calls(), (1, 1));
    }

    #[tokio::test]
    async fn the_first_is_alone_and_once_it_succeeded_the_others_go() {
        let logins = HopLogins::default();
        let first = login(&logins, "a").turn(None).await.unwrap();
        let mut second = login(&logins, "a").turn(None).boxed();
        assert!((&mut second).now_or_never().is_none());
        // Another credential waits for nobody.
        login(&logins, "b").turn(None).now_or_never().unwrap().unwrap();
        first.came_to(&Ok(()));
        let (second, third) = (second.await.unwrap(), login(&logins, "a").turn(None).await.unwrap());
        // A password that is changed amid a round.
        second.came_to::<()>(&Err(refused()));
        third.came_to(&Ok(()));
        let e = login(&logins, "a").turn(None).await.unwrap_err();
        assert!(e.is_refusal(), "{e:?}");
    }

    #[tokio::test]
    async fn a_refusal_stands_and_a_silence_is_shared_with_those_who_waited() {
        let logins = HopLogins::default();
        for outcome in [silent(), refused()] {
            let first = login(&logins, "a").turn(None).await.unwrap();
            let mut waiting = login(&logins, "a").turn(None).boxed();
            assert!((&mut waiting).now_or_never().is_none());
            first.came_to::<()>(&Err(outcome.clone()));
            let e = waiting.await.unwrap_err();
            assert_eq!(e.is_refusal(), outcome.is_refusal());
            assert!(e.to_string().starts_with(&outcome.to_string()), "{e}");
        }
        assert!(login(&logins, "a").turn(None).await.unwrap_err().is_refusal());
    }

    #[tokio::test]
    async fn one_that_is_given_up_holds_up_nobody() {
        let logins = HopLogins::default();
        let first = login(&logins, "a").turn(None).await.unwrap();
        let (mut second, mut third) = (login(&logins, "a").turn(None).boxed(), login(&logins, "a").turn(None).boxed());
        assert!((&mut second).now_or_never().is_none() && (&mut third).now_or_never().is_none());
        drop(first);
        let second = second.await.unwrap();
        assert!((&mut third).now_or_never().is_none());
        second.came_to(&Ok(()));
        third.await.unwrap();
    }
}
