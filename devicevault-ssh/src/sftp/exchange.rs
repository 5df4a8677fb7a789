//! Requests out, replies in: many at a time over one channel.
//!
//! Two tasks hold the halves of the channel. One writes whole packets, so that a caller that goes away never leaves
//! half of one on the wire; the other reads whatever comes and gives each reply to the request that it answers.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::select;
use russh::client::Msg;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::error::SftpError;
use super::wire::{Framer, LONGEST_PACKET, Reply, Request, hello, parse_reply, parse_version};
use crate::connection::Farewell;

/// Requests that may be without an answer at a time, over all users of a session.
const MOST_OUTSTANDING: usize = 512;
/// Packets that may wait to be written.
const MOST_QUEUED: usize = 32;

/// The running exchange. Dropping it ends both tasks and closes the channel.
#[derive(Debug)]
pub(super) struct Exchange {
    outgoing: mpsc::Sender<Bytes>,
    state: Arc<Mutex<State>>,
    places: Arc<Semaphore>,
    /// Either task ends the other by what it leaves in `state`.
    tasks: [JoinHandle<()>; 2],
}

/// The answer to one request, to be awaited.
#[derive(Debug)]
pub(super) struct Pending {
    reply: oneshot::Receiver<Reply>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    next: u32,
    waiting: HashMap<u32, Waiting>,
    ended: Option<SftpError>,
}

#[derive(Debug)]
struct Waiting {
    reply: oneshot::Sender<Reply>,
    /// The most bytes of data that were asked for.
    most: usize,
    _place: OwnedSemaphorePermit,
}

impl Exchange {
    /// Says hello on a channel whose subsystem was granted. Also the names of the server's extensions.
    pub(super) async fn start(channel: Channel<Msg>, farewell: Farewell) -> Result<(Self, Vec<Bytes>), SftpError> {
        let (mut read, write) = channel.split();
        let lost = || SftpError::Lost { said: farewell.said() };
        write.data_bytes(hello()).await.map_err(|_| lost())?;
        let mut framer = Framer::default();
        let first = loop {
            if let Some(packet) = framer.next()? {
                break packet;
            }
            match read.wait().await {
                Some(ChannelMsg::Data { data }) => framer.push(&data),
                Some(ChannelMsg::Eof | ChannelMsg::Close) | None => return Err(lost()),
                Some(_) => {}
            }
        };
        let (version, extensions) = parse_version(first)?;
        if version > super::wire::VERSION {
            return Err(SftpError::Protocol { why: "it chose a version that was not offered" });
        }
        let state = Arc::new(Mutex::new(State::default()));
        let (outgoing, queue) = mpsc::channel(MOST_QUEUED);
        let (ending, over) = oneshot::channel();
        let tasks = [
            tokio::spawn(write_packets(write, queue, over, state.clone(), farewell.clone())),
            tokio::spawn(read_replies(read, framer, ending, state.clone(), farewell)),
        ];
        let places = Arc::new(Semaphore::new(MOST_OUTSTANDING));
        Ok((Self { outgoing, state, places, tasks }, extensions))
    }

    /// Sends a request; its answer may hold up to `most` bytes of data.
    ///
    /// Cancel safe: a dropped future has sent nothing, or a whole request.
    pub(super) async fn send(&self, request: &Request<'_>, most: usize) -> Result<Pending, SftpError> {
        let Ok(place) = self.places.clone().acquire_owned().await else { return Err(self.end()) };
        let Ok(queue) = self.outgoing.reserve().await else { return Err(self.end()) };
        let (reply, answer) = oneshot::channel();
        let id = {
            let mut state = lock(&self.state);
            if let Some(e) = &state.ended {
                return Err(e.clone());
            }
            let id = state.next;
            state.next = id.wrapping_add(1);
            state.waiting.insert(id, Waiting { reply, most, _place: place });
            id
        };
        let packet = request.encode(id);
        if packet.len() > LONGEST_PACKET {
            lock(&self.state).waiting.remove(&id);
            return Err(SftpError::Unsupported { what: "names of that length" });
        }
        queue.send(packet);
        Ok(Pending { reply: answer, state: self.state.clone() })
    }

    /// Sends a request if that can be done without waiting, and takes no interest in the answer.
    pub(super) fn send_and_forget(&self, request: &Request<'_>) {
        // Nothing of this waits unless the queue is full; then the server's end of the session tidies up.
        let _ = self.send(request, 0).now_or_never();
    }

    pub(super) async fn ask(&self, request: &Request<'_>) -> Result<Reply, SftpError> {
        self.send(request, 0).await?.answer().await
    }

    pub(super) fn is_open(&self) -> bool {
        lock(&self.state).ended.is_none()
    }

    fn end(&self) -> SftpError {
        lock(&self.state).ended.clone().unwrap_or(SftpError::Lost { said: None })
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl Pending {
    /// Waits for the answer. Cancel safe.
    pub(super) async fn answer(&mut self) -> Result<Reply, SftpError> {
        match (&mut self.reply).await {
            Ok(reply) => Ok(reply),
            Err(_) => Err(lock(&self.state).ended.clone().unwrap_or(SftpError::Lost { said: None })),
        }
    }

    /// Whether waiting for it would take no time.
    pub(super) fn is_there(&self) -> bool {
        !self.reply.is_empty()
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Nothing more will be answered: whoever waits is told why.
fn finish(state: &Mutex<State>, because: SftpError) {
    let mut state = lock(state);
    state.ended.get_or_insert(because);
    state.waiting.clear();
}

async fn write_packets(
    write: ChannelWriteHalf<Msg>,
    mut queue: mpsc::Receiver<Bytes>,
    over: oneshot::Receiver<()>,
    state: Arc<Mutex<State>>,
    farewell: Farewell,
) {
    let close = CloseChannel(Some(write));
    let Some(write) = &close.0 else { return };
    let writing = pin!(async {
        while let Some(packet) = queue.recv().await {
            if write.data_bytes(packet).await.is_err() {
                finish(&state, SftpError::Lost { said: farewell.said() });
                return;
            }
        }
    });
    // A closed channel never opens its window again: without this the writer would wait for ever.
    select(writing, over).await;
}

async fn read_replies(
    mut read: ChannelReadHalf,
    mut framer: Framer,
    // Dropped when this ends, which ends the writer.
    _ending: oneshot::Sender<()>,
    state: Arc<Mutex<State>>,
    farewell: Farewell,
) {
    let because = loop {
        match read.wait().await {
            Some(ChannelMsg::Data { data }) => framer.push(&data),
            Some(ChannelMsg::Eof | ChannelMsg::Close) | None => break SftpError::Lost { said: farewell.said() },
            Some(_) => continue,
        }
        if let Err(e) = deliver(&mut framer, &state) {
            break e;
        }
    };
    finish(&state, because);
}

fn deliver(framer: &mut Framer, state: &Mutex<State>) -> Result<(), SftpError> {
    while let Some(packet) = framer.next()? {
        let (id, reply) = parse_reply(packet)?;
        let Some(waiting) = lock(state).waiting.remove(&id) else {
            return Err(SftpError::Protocol { why: "it answers what was not asked" });
        };
        if matches!(&reply, Reply::Data(data) if data.len() > waiting.most) {
            return Err(SftpError::Protocol { why: "it sends more data than was asked for" });
        }
        // Whoever asked may have gone.
        let _ = waiting.reply.send(reply);
    }
    Ok(())
}

/// Closes the channel when the task that writes to it ends or is aborted.
struct CloseChannel(Option<ChannelWriteHalf<Msg>>);

impl Drop for CloseChannel {
    fn drop(&mut self) {
        let (Some(write), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) else { return };
        runtime.spawn(async move {
            let _ = write.close().await;
        });
    }
}
