//! What the cases have in common.

use devicevault_core::{Collector, Error, ExposeSecret as _, Result, Target};

use super::{Scene, Situation, Subject};
use crate::conformance::case::{Checked, Stop, ensure, ensure_eq, skip};
use crate::recording::{Ending, RecordingSink};

/// What a case works with.
pub(super) struct Stage<'a> {
    pub(super) scene: &'a dyn Scene,
}

impl Stage<'_> {
    pub(super) async fn subject(&self, situation: Situation) -> Result<Subject, Stop> {
        match self.scene.set_up(situation).await? {
            Some(subject) => Ok(subject),
            None => skip(format!("the test sets no device up as {situation:?}")),
        }
    }

    pub(super) async fn good(&self) -> Result<Subject, Stop> {
        self.subject(Situation::Good).await
    }
}

impl Subject {
    /// One conversation into this sink.
    pub(super) async fn talk(&self, sink: &mut RecordingSink) -> Result<()> {
        self.collector.collect(&self.target, sink).await
    }

    pub(super) fn collector(&self) -> &dyn Collector {
        &*self.collector
    }

    /// The names of the artefacts that the collector says the device has, the mandatory ones only or all.
    pub(super) fn names(&self, mandatory: bool) -> Result<Vec<String>> {
        let all = self.collector.artefacts(&self.target)?;
        Ok(all.into_iter().filter(|a| a.mandatory || !mandatory).map(|a| a.name).collect())
    }

    /// Whatever was ended is whole, and the collector kept the order of calls.
    pub(super) fn ensure_order(&self, sink: &RecordingSink) -> Checked {
        ensure_eq!(sink.violations(), &[] as &[String], "the calls of the sink are out of order");
        let names = self.names(false)?;
        let mut seen = std::collections::BTreeSet::new();
        for artefact in sink.artefacts() {
            let name = &artefact.info.name;
            ensure!(names.contains(name), "`{name}` was begun, and is none of the device's artefacts {names:?}");
            ensure!(seen.insert(name.clone()), "`{name}` was begun twice");
            ensure!(sink.asked().contains(name), "`{name}` was begun without asking whether it is wanted");
            if let (Ending::Ended, Some(want)) = (&artefact.ending, self.contents.get(name)) {
                ensure!(
                    artefact.content == *want,
                    "`{name}` was ended, and is not the device's: {} bytes of {}",
                    artefact.content.len(),
                    want.len()
                );
            }
        }
        Ok(())
    }

    /// Every mandatory artefact of these was ended.
    pub(super) fn ensure_complete(&self, sink: &RecordingSink) -> Checked {
        self.ensure_order(sink)?;
        let ended = |name: &String| sink.content(name).is_some();
        let missing: Vec<_> = self.names(true)?.into_iter().filter(|n| !ended(n)).collect();
        ensure!(missing.is_empty(), "these were not ended: {missing:?}; the artefacts are {:?}", states(sink));
        let known: Vec<_> = self.contents.keys().filter(|n| !ended(n)).collect();
        ensure!(known.is_empty(), "these were not ended: {known:?}; the artefacts are {:?}", states(sink));
        Ok(())
    }

    /// No secret of the target is in any text of these.
    pub(super) fn ensure_secret(&self, sink: &RecordingSink, verdict: &Result<()>) -> Checked {
        let mut told = vec![format!("{:?}", self.collector), format!("{:?}", self.target)];
        told.extend(sink.notes().iter().map(|n| n.text.clone()));
        told.extend(verdict.as_ref().err().map(texts));
        for artefact in sink.artefacts() {
            if let Ending::Failed(e) = artefact.ending {
                told.push(texts(&e));
            }
        }
        for secret in secrets(&self.target) {
            for text in &told {
                // The text itself is not shown: it would tell the secret again.
                ensure!(!text.contains(&secret), "a secret of the target stands in a text of {} bytes", text.len());
            }
        }
        Ok(())
    }
}

/// Everything that an error says anywhere.
fn texts(e: &Error) -> String {
    format!("{e}\n{e:?}\n{:?}", e.to_record())
}

/// The secrets that are long enough to be found in a text only if they were put there.
pub(super) fn secrets(target: &Target) -> Vec<String> {
    let login = &target.login;
    let all = [&login.password, &login.private_key, &login.passphrase, &login.enable];
    let exposed = all.into_iter().flatten().map(|s| s.expose_secret().to_owned());
    exposed.filter(|s| s.len() >= 8).collect()
}

/// Names and endings, for messages.
pub(super) fn states(sink: &RecordingSink) -> Vec<(String, usize, Ending)> {
    sink.artefacts().into_iter().map(|a| (a.info.name, a.content.len(), a.ending)).collect()
}
