//! What a [`Spool`] promises.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use devicevault_core::body::read_to_vec;
use devicevault_core::spool::{ParkId, Parked};
use devicevault_core::{Body, DestinationId, ErrorKind, Result, Spool};
use futures::future::try_join_all;
use uuid::Uuid;

use super::case::{
    Case, Checked, Selection, Stop, broken, cases, chooses_cases, ensure, ensure_eq, ensure_kind, run, skip,
};
use super::place::{Opener, Places};
use super::report::Report;
use crate::bodies::ScriptedBody;
use crate::samples;

/// Runs every case against the spool that `make` opens; see [the module](super) for what a place is.
///
/// Each has to be bounded to [`SpoolSuite::CAPACITY`]. What is parked was taken at [`samples::BEGINNING`]: a spool that
/// gives up what is old should be opened with a clock that stands there.
pub async fn spool<M>(make: M) -> Report
where
    M: AsyncFn(&str) -> Result<Arc<dyn Spool>>,
{
    SpoolSuite::new(&make).run().await
}

/// The suite with its settings.
pub struct SpoolSuite<'a> {
    opener: &'a dyn Opener<dyn Spool>,
    selection: Selection,
}

chooses_cases!(SpoolSuite);

impl<'a> SpoolSuite<'a> {
    /// How many bytes the spools under test may hold.
    pub const CAPACITY: usize = 1 << 20;

    /// All cases against what is opened there.
    #[must_use]
    pub fn new(opener: &'a dyn Opener<dyn Spool>) -> Self {
        Self { opener, selection: Selection::default() }
    }

    /// Runs the cases.
    pub async fn run(&self) -> Report {
        run("Spool", list(), &self.selection, |case| Stage(Places { opener: self.opener, case })).await
    }
}

struct Stage<'a>(Places<'a, dyn Spool>);

fn list<'a>() -> Vec<Case<Stage<'a>>> {
    cases![
        "bodies": "what was written is read, whole and in ranges, more than once" => bodies,
        "dropped-writer": "a writer that is dropped gives its room back" => dropped_writer,
        "dropped-body": "a body lives as long as a handle to it, and no longer" => dropped_body,
        "bounded": "a write waits while the spool is full, and goes on when there is room" => bounded,
        "too-large": "what can never fit is TooLarge" => too_large,
        "park": "what was parked is pending, oldest first, until it is removed" => park,
        "park-other-bodies": "a body of any kind can be parked; one that fails is not" => park_other_bodies,
        "parked-body": "a parked body needs no other handle, and outlives its removal while it is read" => parked_body,
        "pending-of": "one artefact's items for a destination are found by themselves" => pending_of,
        "missing": "what is not parked cannot be opened; removing it is Ok" => missing,
        "at-once": "writers at once do not disturb one another" => at_once,
        "restart": "where the spool is durable, what was parked survives, and only that" => restart,
    ]
}

/// More than half of what a spool may hold.
const MOST: usize = SpoolSuite::CAPACITY / 4 * 3;

async fn written(spool: &dyn Spool, content: &Bytes, piece: usize) -> Result<Arc<dyn Body>> {
    let mut writer = spool.create().await?;
    for start in (0..content.len()).step_by(piece.max(1)) {
        writer.write(content.slice(start..(start + piece).min(content.len()))).await?;
    }
    writer.finish().await
}

async fn ensure_reads(body: &dyn Body, content: &Bytes) -> Checked {
    ensure_eq!(body.len(), content.len() as u64, "the body tells another length");
    let got = read_to_vec(body.read(None), u64::MAX).await?;
    ensure!(got == *content, "{} bytes of a body of {} came, or they are others", got.len(), content.len());
    Ok(())
}

fn item(device: &str, artefact: &str, destination: &str, content: &Bytes) -> Parked {
    let manifest = samples::manifest(&samples::device(device), artefact, content);
    Parked { destination: DestinationId::from(destination), entry: devicevault_core::Entry::new(manifest), attempts: 3 }
}

async fn ensure_pending(spool: &dyn Spool, want: &[(ParkId, Parked)]) -> Checked {
    let got = spool.pending().await?;
    let ids = |items: &[(ParkId, Parked)]| items.iter().map(|(id, _)| *id).collect::<Vec<_>>();
    ensure_eq!(ids(&got), ids(want), "other items are pending, or in another order");
    ensure!(got == want, "a pending item is not as it was parked");
    Ok(())
}

async fn bodies(stage: &Stage<'_>) -> Checked {
    let spool = stage.0.main().await?;
    for size in [0, 1, 4095, 4096, 4097, 65_535, 65_536, 65_537, 500_000] {
        let content = samples::noise(1, size);
        let body = written(&*spool, &content, 1 + size / 3).await?;
        ensure_reads(&*body, &content).await?;
        ensure_reads(&*body, &content).await?;
        let len = size as u64;
        for from in [0, 1, len / 2, 65_536, len] {
            for to in [0, from, from + 1, len / 2 + 7, len, len + 9] {
                let got = read_to_vec(body.read(Some(from..to)), u64::MAX).await?;
                let want = content.slice(from.min(len) as usize..(to.min(len).max(from.min(len))) as usize);
                ensure!(got == want, "{from}..{to} of {len} bytes: {} came, or they are others", got.len());
            }
        }
    }
    let small = samples::text(2, 300);
    ensure_reads(&*written(&*spool, &small, 1).await?, &small).await
}

async fn dropped_writer(stage: &Stage<'_>) -> Checked {
    let spool = stage.0.main().await?;
    for _ in 0..5 {
        let mut writer = spool.create().await?;
        writer.write(samples::noise(1, MOST)).await?;
    }
    let content = samples::noise(2, MOST);
    ensure_reads(&*written(&*spool, &content, MOST).await?, &content).await
}

async fn dropped_body(stage: &Stage<'_>) -> Checked {
    let spool = stage.0.main().await?;
    let content = samples::noise(1, MOST);
    for _ in 0..5 {
        let body = written(&*spool, &content, MOST).await?;
        let other = body.clone();
        drop(body);
        ensure_reads(&*other, &content).await?;
    }
    Ok(())
}

async fn bounded(stage: &Stage<'_>) -> Checked {
    let spool = stage.0.main().await?;
    let content = samples::noise(1, MOST);
    let first = written(&*spool, &content, 100_000).await?;
    let second = tokio::spawn({
        let (spool, content) = (spool.clone(), content.clone());
        async move { written(&*spool, &content, 100_000).await }
    });
    // Long enough for a write that does not wait.
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(2)).await;
        ensure!(!second.is_finished(), "twice three quarters of its bound are in the spool");
    }
    ensure_reads(&*first, &content).await?;
    drop(first);
    match second.await {
        Ok(body) => ensure_reads(&*body?, &content).await,
        Err(e) => broken(format!("a task did not end: {e}")),
    }
}

async fn too_large(stage: &Stage<'_>) -> Checked {
    let spool = stage.0.main().await?;
    let content = samples::noise(1, SpoolSuite::CAPACITY * 2);
    ensure_kind(written(&*spool, &content, content.len()).await.map(|_| ()), ErrorKind::TooLarge, "twice the bound")?;
    ensure_kind(
        written(&*spool, &content, 10_000).await.map(|_| ()),
        ErrorKind::TooLarge,
        "twice the bound, in pieces",
    )?;
    let content = samples::noise(2, MOST);
    ensure_reads(&*written(&*spool, &content, MOST).await?, &content).await
}

async fn park(stage: &Stage<'_>) -> Checked {
    let spool = stage.0.main().await?;
    ensure_pending(&*spool, &[]).await?;
    let mut parked = Vec::new();
    for i in 0..6_usize {
        let content = samples::text(i as u64, 3000 * i);
        let body = written(&*spool, &content, 1000).await?;
        let item = item(&format!("sw{}", i % 2), "running-config", ["main", "outer"][i % 2], &content);
        parked.push((spool.park(&item, body).await?, item));
        ensure_pending(&*spool, &parked).await?;
    }
    for (i, (id, _)) in parked.iter().enumerate() {
        ensure_reads(&*spool.open(*id).await?, &samples::text(i as u64, 3000 * i)).await?;
    }
    while !parked.is_empty() {
        let (id, _) = parked.remove(parked.len() / 2);
        spool.remove(id).await?;
        ensure_pending(&*spool, &parked).await?;
        ensure_kind(spool.open(id).await.map(|_| ()), ErrorKind::NotFound, "opening what was removed")?;
    }
    Ok(())
}

async fn park_other_bodies(stage: &Stage<'_>) -> Checked {
    let spool = stage.0.main().await?;
    let content = samples::text(1, 100_000);
    let given = item("sw1", "running-config", "main", &content);
    let id = spool.park(&given, Arc::new(content.clone())).await?;
    let pieces = ScriptedBody::new(content.clone()).in_pieces_of(777).yielding();
    let second = spool.park(&given, pieces.clone().shared()).await?;
    ensure!(id != second, "two parked items have one id");
    for id in [id, second] {
        ensure_reads(&*spool.open(id).await?, &content).await?;
    }
    // A spool that keeps the body itself need not read it before it is asked for.
    if let Ok(bad) = spool.park(&given, pieces.failing_at(50_000).shared()).await {
        let read = read_to_vec(spool.open(bad).await?.read(None), u64::MAX).await;
        ensure!(read.is_err(), "half of a body was parked, and reads as the whole");
        spool.remove(bad).await?;
    }
    ensure_pending(&*spool, &[(id, given.clone()), (second, given)]).await
}

async fn parked_body(stage: &Stage<'_>) -> Checked {
    let spool = stage.0.main().await?;
    let content = samples::noise(1, 200_000);
    let item = item("sw1", "running-config", "main", &content);
    let body = written(&*spool, &content, 50_000).await?;
    let id = spool.park(&item, body.clone()).await?;
    drop(body);
    let opened = spool.open(id).await?;
    ensure_reads(&*opened, &content).await?;
    spool.remove(id).await?;
    ensure_reads(&*opened, &content).await?;
    drop(opened);
    let most = samples::noise(2, MOST);
    ensure_reads(&*written(&*spool, &most, MOST).await?, &most).await
}

async fn pending_of(stage: &Stage<'_>) -> Checked {
    let spool = stage.0.main().await?;
    let mut parked = Vec::new();
    for round in 0..2 {
        for (device, artefact, destination) in [
            ("sw1", "running-config", "main"),
            ("sw1", "running-config", "outer"),
            ("sw1", "inventory", "main"),
            ("SW1", "running-config", "main"),
        ] {
            let content = Bytes::from(format!("{round} {device} {artefact} {destination}"));
            let item = item(device, artefact, destination, &content);
            parked.push((spool.park(&item, Arc::new(content)).await?, item));
        }
    }
    for (_, of) in &parked {
        let want: Vec<_> = parked.iter().filter(|(_, p)| p.line() == of.line()).cloned().collect();
        ensure_eq!(want.len(), 2, "the suite parked another number");
        let got = spool.pending_of(&of.line()).await?;
        ensure!(got == want, "of {:?}, {} items are pending, or others, or in another order", of.line(), got.len());
    }
    Ok(())
}

async fn missing(stage: &Stage<'_>) -> Checked {
    let spool = stage.0.main().await?;
    let nobody = ParkId(Uuid::now_v7());
    ensure_kind(spool.open(nobody).await.map(|_| ()), ErrorKind::NotFound, "opening what was never parked")?;
    spool.remove(nobody).await?;
    let content = Bytes::from_static(b"x");
    let id = spool.park(&item("sw1", "running-config", "main", &content), Arc::new(content)).await?;
    spool.remove(id).await?;
    spool.remove(id).await?;
    ensure_pending(&*spool, &[]).await
}

async fn at_once(stage: &Stage<'_>) -> Checked {
    let spool = stage.0.main().await?;
    // All of them together fit: none waits for another that waits for it.
    let tasks = (0..8_u64).map(|i| {
        let spool = spool.clone();
        tokio::spawn(async move {
            let content = samples::noise(i, 100_000);
            for round in 0..3 {
                let body = written(&*spool, &content, 10_000 + round).await?;
                ensure_reads(&*body, &content).await?;
            }
            Ok::<(), Stop>(())
        })
    });
    for done in try_join_all(tasks).await.or_else(|e| broken(format!("a task did not end: {e}")))? {
        done?;
    }
    Ok(())
}

async fn restart(stage: &Stage<'_>) -> Checked {
    let content = samples::text(1, 200_000);
    let parked = {
        let spool = stage.0.main().await?;
        if !spool.is_durable() {
            return skip("it is not durable");
        }
        let mut parked = Vec::new();
        for device in ["sw1", "sw2"] {
            let item = item(device, "running-config", "main", &content);
            parked.push((spool.park(&item, Arc::new(content.clone())).await?, item));
        }
        // Not parked, and still being written.
        let _body = written(&*spool, &content, 10_000).await?;
        let mut writer = spool.create().await?;
        writer.write(samples::noise(1, 100_000)).await?;
        parked
    };
    for _ in 0..2 {
        let spool = stage.0.main().await?;
        ensure_pending(&*spool, &parked).await?;
        for (id, _) in &parked {
            ensure_reads(&*spool.open(*id).await?, &content).await?;
        }
    }
    let spool = stage.0.main().await?;
    for (id, _) in &parked {
        spool.remove(*id).await?;
    }
    drop(spool);
    let spool = stage.0.main().await?;
    ensure_pending(&*spool, &[]).await?;
    let most = samples::noise(2, MOST);
    ensure_reads(&*written(&*spool, &most, MOST).await?, &most).await
}
