//! Conversations in which the device does what it should not.

use std::time::Duration;

use devicevault_core::{Error, ErrorKind, Result, Retry};

use super::stage::{Stage, secrets, states};
use super::{Situation, Subject};
use crate::conformance::case::{Checked, Stop, broken, ensure, ensure_eq, ensure_kind, skip};
use crate::recording::{Ending, RecordingSink};

/// The errors that the conversation and its artefacts ended in; some mandatory artefact has to be missing.
async fn ended_badly(subject: &Subject) -> Result<(RecordingSink, Vec<Error>), Stop> {
    let mut sink = RecordingSink::new();
    let verdict = subject.talk(&mut sink).await;
    subject.ensure_order(&sink)?;
    let missing = subject.names(true)?.into_iter().any(|n| sink.content(&n).is_none());
    ensure!(missing, "every mandatory artefact was ended: {:?}", states(&sink));
    let failed = sink.artefacts().into_iter().filter_map(|a| match a.ending {
        Ending::Failed(e) => Some(e),
        _ => None,
    });
    let errors: Vec<_> = verdict.err().into_iter().chain(failed).collect();
    ensure!(!errors.is_empty(), "there is no error, neither of the conversation nor of an artefact");
    Ok((sink, errors))
}

pub(super) async fn cut_off(stage: &Stage<'_>) -> Checked {
    let subject = stage.subject(Situation::CutOff).await?;
    for _ in 0..2 {
        ended_badly(&subject).await?;
    }
    Ok(())
}

pub(super) async fn stalled(stage: &Stage<'_>) -> Checked {
    let subject = stage.subject(Situation::Stalled).await?;
    let limits = &subject.target.limits;
    let bound = limits.connect + limits.login + limits.inactivity.min(limits.command) * 3 + Duration::from_secs(10);
    let Ok(ended) = tokio::time::timeout(bound, ended_badly(&subject)).await else {
        return broken(format!("it waits still after {} s, with limits {limits:?}", bound.as_secs()));
    };
    let (_, errors) = ended?;
    ensure!(errors.iter().any(|e| e.kind() == ErrorKind::Timeout), "none of the errors is a Timeout: {errors:?}");
    Ok(())
}

pub(super) async fn wrong_password(stage: &Stage<'_>) -> Checked {
    let subject = stage.subject(Situation::WrongPassword).await?;
    let mut sink = RecordingSink::new();
    let verdict = subject.talk(&mut sink).await;
    subject.ensure_order(&sink)?;
    ensure!(sink.artefacts().is_empty(), "artefacts were begun without a login: {:?}", states(&sink));
    if let Err(e) = &verdict {
        ensure_eq!(e.retry(), Retry::Never, "the advice on a rejected login");
    }
    ensure_kind(verdict, ErrorKind::AuthRejected, "a conversation with a wrong password")
}

pub(super) async fn no_secrets(stage: &Stage<'_>) -> Checked {
    let mut looked = false;
    for situation in [Situation::Good, Situation::CutOff, Situation::Stalled, Situation::WrongPassword] {
        let Some(subject) = stage.scene.set_up(situation).await? else { continue };
        looked |= !secrets(&subject.target).is_empty();
        let mut sink = RecordingSink::new();
        let verdict = subject.talk(&mut sink).await;
        subject.ensure_secret(&sink, &verdict)?;
    }
    if looked { Ok(()) } else { skip("no target has a secret of eight characters or more") }
}
