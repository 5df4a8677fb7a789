//! Between the stages: whole files are shown to the checkers that file rules name.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::join_all;
use tokio::sync::Semaphore;

use super::intake::Collected;
use super::{Inner, Job};
use crate::file_rules::{Check, CheckedFile, FileChecker, Finding, OnBreach, refuse};
use crate::scrub::Scrubber;
use crate::{ArtifactInfo, Error, ErrorKind};

/// Files that are looked at at a time, whatever number of devices is backed up.
const AT_ONCE: usize = 4;
/// So much is told of a checker's words, in characters.
const TOLD: usize = 300;

/// Who may be asked.
#[derive(Debug)]
pub(super) struct Checkers {
    known: BTreeMap<String, Arc<dyn FileChecker>>,
    permits: Semaphore,
}

impl Checkers {
    pub(super) fn new(known: BTreeMap<String, Arc<dyn FileChecker>>) -> Self {
        Self { known, permits: Semaphore::new(AT_ONCE) }
    }
}

/// Has every file looked at that has to be. What does not pass breaks a rule, or is refused: an artefact that failed.
pub(super) async fn check(
    engine: &Inner,
    job: &Job,
    collected: Vec<Collected>,
) -> (Vec<Collected>, Vec<(ArtifactInfo, Error)>) {
    let scrubber = Scrubber::of(&job.target);
    let looked_at = join_all(collected.into_iter().map(|it| one(engine, job, &scrubber, it))).await;
    let (mut kept, mut refused) = (Vec::new(), Vec::new());
    for verdict in looked_at {
        match verdict {
            Ok(it) => kept.push(it),
            Err(failed) => refused.push(*failed),
        }
    }
    (kept, refused)
}

async fn one(
    engine: &Inner,
    job: &Job,
    scrubber: &Scrubber,
    mut it: Collected,
) -> Result<Collected, Box<(ArtifactInfo, Error)>> {
    for check in std::mem::take(&mut it.checks) {
        let Some(mut why) = breach(engine, job, &it, &check).await else { continue };
        scrubber.text(&mut why);
        match check.on_breach {
            OnBreach::Quarantine => it.breaches.push(why),
            OnBreach::Refuse => {
                let error = refuse(ErrorKind::Quarantined, why, &it.info.name);
                return Err(Box::new((it.info, error)));
            }
        }
    }
    Ok(it)
}

/// Why a file does not pass; `None`: it does. Without a verdict it does not.
async fn breach(engine: &Inner, job: &Job, it: &Collected, check: &Check) -> Option<String> {
    // Nobody keeps it: there is nothing to be kept apart.
    let body = it.original.body.clone()?;
    let device = &job.target.device.name;
    let found = match engine.checkers.known.get(&check.checker) {
        None => Err(Error::new(ErrorKind::Config, "check file", "there is no checker of this name")),
        Some(checker) => {
            let file =
                CheckedFile::new(device, &it.info.name, it.original.sha256, body).with_extension(&it.info.extension);
            // The semaphore is never closed.
            let _permit = engine.checkers.permits.acquire().await.ok();
            tokio::select! {
                found = checker.check(&file) => found,
                () = engine.clock.sleep(engine.limits.collect) => {
                    Err(Error::new(ErrorKind::Timeout, "check file", "it took longer than a conversation may"))
                }
            }
        }
    };
    let (name, origin) = (&check.checker, &check.origin);
    match found {
        Ok(Finding::Passed) => None,
        Ok(Finding::Rejected(words)) if words.trim().is_empty() => {
            Some(format!("the checker {name} rejects it (rule of {origin})"))
        }
        Ok(Finding::Rejected(words)) => {
            Some(format!("the checker {name} rejects it: {} (rule of {origin})", told(&words)))
        }
        Err(e) => {
            tracing::warn!(event = "check_failed", device = %device, artefact = %it.info.name, checker = %name,
                error = %e.to_record().message);
            let why = told(e.message());
            Some(format!("the checker {name} gave no verdict: {why} (rule of {origin})"))
        }
    }
}

/// Words from outside: on one line, escaped, cut.
fn told(words: &str) -> String {
    let line = words.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut told: String = line.chars().flat_map(char::escape_debug).take(TOLD).collect();
    if line.chars().flat_map(char::escape_debug).nth(TOLD).is_some() {
        told.push('…');
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_from_outside_are_one_harmless_short_line() {
        assert_eq!(told(" Eicar\n\tFOUND\u{1b}[2J "), "Eicar FOUND\\u{1b}[2J");
        let long = told(&"x".repeat(10_000));
        assert_eq!(long.chars().count(), TOLD + 1);
    }
}
