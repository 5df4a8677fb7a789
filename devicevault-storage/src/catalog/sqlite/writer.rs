//! The one writer: changes that wait share a transaction, and one that fails takes nobody with it.

use std::path::PathBuf;
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use devicevault_core::{Error, ErrorKind, Result};
use sqlx::{Connection as _, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use super::context::Context;
use super::fault::Fault;
use super::migrate;
use super::open::WriterOptions;
use crate::catalog::change::Change;

/// Changes that wait for the writer; callers beyond them wait for a place.
const QUEUE: usize = 1024;
/// Changes that share a transaction at most.
const GROUP: usize = 256;

/// Hands changes to the task that makes them.
#[derive(Debug)]
pub(super) struct Writer {
    queue: mpsc::Sender<Message>,
    catalog: PathBuf,
}

enum Message {
    Change(Box<dyn Waiting>),
    Close(oneshot::Sender<()>),
}

impl Writer {
    /// Starts the task on the runtime that this is called on. It ends with the writer.
    pub(super) fn start(connection: SqliteConnection, options: WriterOptions, context: &Arc<Context>) -> Self {
        let (queue, changes) = mpsc::channel(QUEUE);
        let catalog = options.catalog().to_owned();
        let context = Arc::downgrade(context);
        tokio::spawn(Task { connection: Some(connection), options, context }.run(changes));
        Self { queue, catalog }
    }

    /// Makes a change; `Ok` means that it is durable. Dropping the future leaves it made or not made.
    pub(super) async fn make<C: Change>(&self, change: C) -> Result<C::Output> {
        let operation = change.operation();
        let (reply, answer) = oneshot::channel();
        let waiting = Box::new(Pending { change, made: None, reply });
        let closed = || {
            Error::new(ErrorKind::Unavailable, operation, "the catalog was closed")
                .with("catalog", self.catalog.display())
        };
        self.queue.send(Message::Change(waiting)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Waits for what is queued, then closes the connection. Changes after it are refused.
    pub(super) async fn close(&self) {
        let (reply, closed) = oneshot::channel();
        if self.queue.send(Message::Close(reply)).await.is_ok() {
            // The task answers, or has ended already.
            let _ = closed.await;
        }
    }
}

/// A change and who waits for it, whatever it answers.
#[async_trait]
trait Waiting: Send {
    fn operation(&self) -> &'static str;
    fn is_one_statement(&self) -> bool;
    /// Nobody waits any more.
    fn is_abandoned(&self) -> bool;
    async fn attempt(&mut self, tx: &mut SqliteConnection, context: &Context) -> Result<(), Fault>;
    fn answer(self: Box<Self>, verdict: Result<()>);
}

struct Pending<C: Change> {
    change: C,
    made: Option<C::Output>,
    reply: oneshot::Sender<Result<C::Output>>,
}

#[async_trait]
impl<C: Change> Waiting for Pending<C> {
    fn operation(&self) -> &'static str {
        self.change.operation()
    }

    fn is_one_statement(&self) -> bool {
        self.change.is_one_statement()
    }

    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    async fn attempt(&mut self, tx: &mut SqliteConnection, context: &Context) -> Result<(), Fault> {
        self.made = Some(self.change.apply(tx, context).await?);
        Ok(())
    }

    fn answer(self: Box<Self>, verdict: Result<()>) {
        let Self { change, made, reply } = *self;
        let nothing = || Error::new(ErrorKind::Internal, change.operation(), "the change was not made");
        // Who dropped the call does not want the answer.
        let _ = reply.send(verdict.and_then(|()| made.ok_or_else(nothing)));
    }
}

struct Task {
    connection: Option<SqliteConnection>,
    options: WriterOptions,
    /// Gone with the catalog, and with it everybody who could wait: the lock of a catalog that was dropped is free
    /// at once, unless a transaction is under way.
    context: Weak<Context>,
}

/// Why a group as a whole was not made.
enum Broken {
    /// The transaction did not begin: it would not for each alone.
    NotBegun(Fault),
    /// It ended before all was made: each alone may fare better.
    Interrupted(Fault),
    /// One change failed after some of its statements, and no savepoint stands before it. Nothing was made.
    Mixed(Fault),
}

type Group = Vec<Box<dyn Waiting>>;

impl Task {
    async fn run(mut self, mut queue: mpsc::Receiver<Message>) {
        let mut closing = None;
        while let Some(first) = queue.recv().await {
            let mut group = Group::new();
            let mut next = Some(first);
            while let Some(message) = next {
                match message {
                    Message::Change(change) => group.push(change),
                    Message::Close(reply) => {
                        queue.close();
                        closing = Some(reply);
                    }
                }
                next = if group.len() < GROUP { queue.try_recv().ok() } else { None };
            }
            self.make(group).await;
        }
        if let Some(connection) = self.connection.take()
            && let Err(e) = connection.close().await
        {
            tracing::warn!(error = %e, "the catalog was not closed cleanly");
        }
        if let Some(reply) = closing {
            let _ = reply.send(());
        }
    }

    /// Makes a group of changes and answers each.
    async fn make(&mut self, mut group: Group) {
        group.retain(|change| !change.is_abandoned());
        let Some(context) = self.context.upgrade().filter(|_| !group.is_empty()) else { return };
        match self.together(&mut group, &context).await {
            Ok(verdicts) => {
                for (change, verdict) in group.into_iter().zip(verdicts) {
                    change.answer(verdict);
                }
            }
            Err(Broken::Interrupted(fault) | Broken::Mixed(fault)) if group.len() > 1 => {
                tracing::debug!(?fault, changes = group.len(), "a shared transaction failed; each is tried alone");
                for change in group {
                    self.alone(change, &context).await;
                }
            }
            Err(Broken::NotBegun(fault) | Broken::Interrupted(fault) | Broken::Mixed(fault)) => {
                let operation = group.first().map_or("write catalog", |c| c.operation());
                let error = fault.tell(operation, self.options.catalog());
                for change in group {
                    change.answer(Err(error.clone()));
                }
            }
        }
    }

    async fn alone(&mut self, change: Box<dyn Waiting>, context: &Context) {
        let operation = change.operation();
        let mut group = vec![change];
        let verdict = match self.together(&mut group, context).await {
            Ok(mut verdicts) => verdicts.pop().unwrap_or(Ok(())),
            Err(Broken::NotBegun(fault) | Broken::Interrupted(fault) | Broken::Mixed(fault)) => {
                Err(fault.tell(operation, self.options.catalog()))
            }
        };
        if let Some(change) = group.pop() {
            change.answer(verdict);
        }
    }

    /// One transaction for all. After a fault that was not one change's own the connection is not used again: what
    /// state it is in depends on the fault.
    async fn together(&mut self, group: &mut Group, context: &Context) -> Result<Vec<Result<()>>, Broken> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.options.connect().await.map_err(|e| Broken::NotBegun(e.into()))?,
        };
        let made = transaction(&mut connection, group, context, &self.options).await;
        if made.is_ok() {
            self.connection = Some(connection);
        } else if let Err(e) = connection.close().await {
            tracing::debug!(error = %e, "a connection after a fault did not close cleanly");
        }
        made
    }
}

/// One transaction for all. A savepoint for each change costs as much as the change, so that there are some only where one
/// failed without.
async fn transaction(
    connection: &mut SqliteConnection,
    group: &mut Group,
    context: &Context,
    options: &WriterOptions,
) -> Result<Vec<Result<()>>, Broken> {
    match attempt(connection, group, context, options, false).await {
        Err(Broken::Mixed(_)) => attempt(connection, group, context, options, true).await,
        made => made,
    }
}

/// `apart`: a change that fails takes nothing with it.
async fn attempt(
    connection: &mut SqliteConnection,
    group: &mut Group,
    context: &Context,
    options: &WriterOptions,
    apart: bool,
) -> Result<Vec<Result<()>>, Broken> {
    let mut tx = connection.begin_with("BEGIN IMMEDIATE").await.map_err(|e| Broken::NotBegun(e.into()))?;
    // A newer release may have migrated the file meanwhile, and no longer be readable by this one.
    let schema = migrate::current(&mut tx).await.map_err(Broken::NotBegun)?;
    migrate::readable(schema, options.schema(), "write catalog").map_err(Broken::NotBegun)?;
    let interrupted = |e: sqlx::Error| Broken::Interrupted(e.into());
    let mut verdicts = Vec::with_capacity(group.len());
    for change in group.iter_mut() {
        let attempted = if change.is_one_statement() || !apart {
            change.attempt(&mut tx, context).await
        } else {
            let mut savepoint = tx.begin().await.map_err(interrupted)?;
            let attempted = change.attempt(&mut savepoint, context).await;
            match &attempted {
                Ok(()) => savepoint.commit().await.map_err(interrupted)?,
                Err(fault) if fault.is_local() => savepoint.rollback().await.map_err(interrupted)?,
                Err(_) => {}
            }
            attempted
        };
        match attempted {
            Ok(()) => verdicts.push(Ok(())),
            Err(fault) if fault.is_local() && !apart && !change.is_one_statement() => {
                tx.rollback().await.map_err(interrupted)?;
                return Err(Broken::Mixed(fault));
            }
            Err(fault) if fault.is_local() => verdicts.push(Err(fault.tell(change.operation(), options.catalog()))),
            Err(fault) => return Err(Broken::Interrupted(fault)),
        }
    }
    tx.commit().await.map_err(interrupted)?;
    Ok(verdicts)
}
