//! Conversations in which the device does what it should.

use std::time::Duration;

use devicevault_core::{Error, ErrorKind, Item, check_artefact_name};
use futures::StreamExt as _;

use super::stage::Stage;
use crate::cancel::cancel_after;
use crate::conformance::case::{Checked, broken, ensure, ensure_eq};
use crate::recording::RecordingSink;

pub(super) async fn info(stage: &Stage<'_>) -> Checked {
    let subject = stage.good().await?;
    let info = subject.collector().info();
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b);
    ensure!(!info.key.is_empty() && info.key.bytes().all(plain), "the key '{}' is not of a-z 0-9 . _ -", info.key);
    ensure!(!info.name.trim().is_empty() && !info.description.trim().is_empty(), "name or description are empty");
    Ok(())
}

pub(super) async fn artefacts(stage: &Stage<'_>) -> Checked {
    let subject = stage.good().await?;
    let names = subject.names(false)?;
    ensure!(!names.is_empty(), "the device has no artefacts");
    for name in &names {
        check_artefact_name(name)?;
    }
    let distinct: std::collections::BTreeSet<_> = names.iter().collect();
    ensure_eq!(distinct.len(), names.len(), "two artefacts have one name");
    let mut sink = RecordingSink::new();
    subject.talk(&mut sink).await?;
    ensure_eq!(subject.names(false)?, names, "the artefacts are others after a conversation");
    Ok(())
}

pub(super) async fn collect(stage: &Stage<'_>) -> Checked {
    let subject = stage.good().await?;
    let mut sink = RecordingSink::new();
    subject.talk(&mut sink).await?;
    subject.ensure_complete(&sink)
}

pub(super) async fn back_pressure(stage: &Stage<'_>) -> Checked {
    let subject = stage.good().await?;
    let mut sink = RecordingSink::new().yielding();
    subject.talk(&mut sink).await?;
    subject.ensure_complete(&sink)
}

pub(super) async fn again(stage: &Stage<'_>) -> Checked {
    let subject = stage.good().await?;
    for _ in 0..3 {
        let mut sink = RecordingSink::new();
        subject.talk(&mut sink).await?;
        subject.ensure_complete(&sink)?;
    }
    Ok(())
}

pub(super) async fn wants(stage: &Stage<'_>) -> Checked {
    let subject = stage.good().await?;
    let names = subject.names(false)?;
    let mut wanted: Vec<Vec<&str>> = vec![Vec::new()];
    wanted.extend(names.iter().map(|n| vec![n.as_str()]));
    for only in wanted {
        let mut sink = RecordingSink::new().wanting(only.iter().copied());
        subject.talk(&mut sink).await?;
        subject.ensure_order(&sink)?;
        let begun: Vec<_> = sink.artefacts().into_iter().map(|a| a.info.name).collect();
        ensure!(begun.iter().all(|n| only.contains(&n.as_str())), "of {only:?}, these were begun: {begun:?}");
        let mandatory = subject.names(true)?;
        for name in only.iter().filter(|n| mandatory.iter().any(|m| m == *n)) {
            ensure!(sink.content(name).is_some(), "`{name}` was wanted alone, and not ended");
        }
    }
    Ok(())
}

pub(super) async fn sink_error(stage: &Stage<'_>) -> Checked {
    let subject = stage.good().await?;
    let mut whole = RecordingSink::new();
    subject.talk(&mut whole).await?;
    let mut call = 0;
    while call < whole.calls() {
        let error = Error::new(ErrorKind::QuotaExceeded, "take artefact", format!("refused at call {call}"));
        let mut sink = RecordingSink::new().refusing(call, error.clone());
        let verdict = subject.talk(&mut sink).await;
        // How many pieces come depends on the network: this call may not have happened.
        if sink.calls() > call {
            match verdict {
                Err(e) => {
                    ensure_eq!((e.kind(), e.message()), (error.kind(), error.message()), "another error came back");
                }
                Ok(()) => return broken(format!("the error of call {call} was not returned")),
            }
            ensure_eq!(sink.calls(), call + 1, "the sink was called after its error at call {call}");
        }
        subject.ensure_order(&sink)?;
        call += 1 + call / 3;
    }
    Ok(())
}

pub(super) async fn cancel(stage: &Stage<'_>) -> Checked {
    let subject = stage.good().await?;
    let tasks = tokio::runtime::Handle::current().metrics();
    let mut sink = RecordingSink::new();
    subject.talk(&mut sink).await?;
    let before = settled(|| tasks.num_alive_tasks()).await;
    let mut polls = 0;
    loop {
        let mut sink = RecordingSink::new().yielding();
        let done = cancel_after(polls, subject.talk(&mut sink)).await;
        subject.ensure_order(&sink)?;
        if !eventually(|| tasks.num_alive_tasks() <= before).await {
            let now = tasks.num_alive_tasks();
            return broken(format!("cancelled after {polls} polls, it left tasks running: {now} now, {before} before"));
        }
        if let Some(verdict) = done {
            verdict?;
            break;
        }
        polls += 1 + polls / 3;
        ensure!(polls < 1_000_000, "a conversation takes more than {polls} polls");
    }
    let mut sink = RecordingSink::new();
    subject.talk(&mut sink).await?;
    subject.ensure_complete(&sink)
}

const STEP: Duration = Duration::from_millis(2);

/// The number once it has not changed for a while: what the last conversation left behind closes in its own time.
async fn settled(number: impl Fn() -> usize) -> usize {
    let (mut last, mut same) = (number(), 0);
    for _ in 0..2000 {
        tokio::time::sleep(STEP).await;
        same = if number() == last { same + 1 } else { 0 };
        last = number();
        if same == 25 {
            break;
        }
    }
    last
}

async fn eventually(holds: impl Fn() -> bool) -> bool {
    for _ in 0..2500 {
        if holds() {
            return true;
        }
        tokio::time::sleep(STEP).await;
    }
    holds()
}

pub(super) async fn stream(stage: &Stage<'_>) -> Checked {
    let subject = stage.good().await?;
    let mut pushed = RecordingSink::new();
    subject.talk(&mut pushed).await?;
    let mut items = devicevault_core::stream(subject.collector.clone(), subject.target.clone());
    let mut pulled = RecordingSink::new();
    while let Some(item) = items.next().await {
        use devicevault_core::Sink as _;
        match item? {
            Item::Begin(info) => {
                // What the stream wants is everything.
                let _ = pulled.wants(&info.name);
                pulled.begin(info).await?;
            }
            Item::Chunk(chunk) => pulled.write(chunk).await?,
            Item::End => pulled.end().await?,
            Item::Fail(e) => pulled.fail(e).await?,
            Item::Note(note) => pulled.note(note),
            other => return broken(format!("the suite does not know this item: {other:?}")),
        }
    }
    subject.ensure_complete(&pulled)
}
