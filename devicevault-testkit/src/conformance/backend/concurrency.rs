//! Many at once, and cancelled ones.

use devicevault_core::{Entry, StorageBackend};
use futures::future::try_join_all;

use super::stage::{Item, Stage, batch, ensure_holds, ensure_kept, listed, store_one};
use crate::bodies::ScriptedBody;
use crate::cancel::cancel_after;
use crate::conformance::case::{Checked, Stop, broken, ensure};
use crate::samples;

const TASKS: u64 = 12;
const ROUNDS: u64 = 4;

pub(super) async fn many(stage: &Stage<'_>) -> Checked {
    let backend = stage.places.main().await?;
    let per_batch = backend.capability().max_batch.clamp(1, 3) as u64;
    let item = |task: u64, round: u64, i: u64| {
        Item::config(&format!("sw{task}"), samples::text(stage.seed + task * 100 + round * 10 + i, 2000))
    };
    let items: Vec<Vec<Vec<Item>>> =
        (0..TASKS).map(|t| (0..ROUNDS).map(|r| (0..per_batch).map(|i| item(t, r, i)).collect()).collect()).collect();
    let tasks = items.iter().cloned().map(|rounds| {
        let backend = backend.clone();
        spawned(async move {
            for round in rounds {
                let verdicts = backend.store(batch(&round)).await;
                for (verdict, item) in verdicts.into_iter().zip(&round) {
                    ensure_kept(&*backend, &verdict?, item).await?;
                }
            }
            Ok(())
        })
    });
    try_join_all(tasks).await?;
    ensure_holds(&*backend, &items.iter().flatten().flatten().collect::<Vec<_>>()).await
}

pub(super) async fn same_entry(stage: &Stage<'_>) -> Checked {
    let backend = stage.places.main().await?;
    let item = Item::config("sw1", samples::text(stage.seed, 200_000));
    let tasks = (0..8).map(|_| {
        let (backend, item) = (backend.clone(), item.clone());
        spawned(async move {
            let at = store_one(&*backend, &item).await?;
            ensure_kept(&*backend, &at, &item).await
        })
    });
    try_join_all(tasks).await?;
    ensure_holds(&*backend, &[&item]).await
}

async fn spawned(work: impl Future<Output = Checked> + Send + 'static) -> Checked {
    match tokio::spawn(work).await {
        Ok(done) => done,
        Err(e) => broken(format!("a task did not end: {e}")),
    }
}

pub(super) async fn cancel(stage: &Stage<'_>) -> Checked {
    let backend = stage.places.main().await?;
    let content = samples::text(stage.seed, 150_000);
    let mut all: Vec<Item> = Vec::new();
    let mut polls = 0;
    loop {
        let entries = backend.capability().max_batch.clamp(1, 3);
        let items: Vec<_> = (0..entries).map(|i| Item::config(&format!("sw{i}"), content.clone())).collect();
        let bodies = ScriptedBody::new(content.clone()).in_pieces_of(16_384).yielding().shared();
        let cut = items.iter().map(|i| (i.entry.clone(), bodies.clone())).collect();
        let done = cancel_after(polls, backend.store(cut)).await;
        ensure_stored_or_absent(&*backend, &items).await?;
        // What was cut is done again, and is there once.
        for item in &items {
            let at = store_one(&*backend, item).await?;
            ensure_kept(&*backend, &at, item).await?;
        }
        all.extend(items);
        if done.is_some() {
            break;
        }
        // Every early point, then ever fewer of the late ones.
        polls += 1 + polls / 8;
        ensure!(polls < 100_000, "storing {entries} entries of 150,000 bytes takes more than {polls} polls");
    }
    ensure_holds(&*backend, &all.iter().collect::<Vec<_>>()).await?;
    drop(backend);
    ensure_holds(&*stage.places.main().await?, &all.iter().collect::<Vec<_>>()).await
}

async fn ensure_stored_or_absent(backend: &dyn StorageBackend, items: &[Item]) -> Result<(), Stop> {
    for (at, manifest) in listed(backend).await? {
        let id = Entry::new(manifest).id();
        if let Some(item) = items.iter().find(|i| i.entry.id() == id) {
            ensure_kept(backend, &at, item).await?;
        }
    }
    Ok(())
}
