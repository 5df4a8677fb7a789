//! A server of our own that keeps objects as S3 and Google Cloud Storage do (their XML API), in memory, and misbehaves on
//! request. It believes every signature.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::ops::Bound;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use devicevault_core::{Clock as _, Digest, SystemClock, Timestamp};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Decoded, without the bucket.
    pub(crate) key: String,
    pub(crate) query: BTreeMap<String, String>,
    pub(crate) headers: HashMap<String, String>,
    body: Bytes,
}

impl Request {
    fn has(&self, name: &str) -> bool {
        self.query.contains_key(name)
    }

    /// What it is, in a word.
    pub(crate) fn verb(&self) -> &'static str {
        match (self.method.as_str(), self.key.is_empty()) {
            ("GET", true) if self.has("uploads") => "list uploads",
            ("GET", true) => "list",
            ("GET", false) => "get",
            ("HEAD", _) => "head",
            ("DELETE", _) if self.has("uploadId") => "abort",
            ("DELETE", _) => "delete",
            ("PUT", _) if self.has("partNumber") => "part",
            ("PUT", _) => "put",
            ("POST", true) => "bulk delete",
            ("POST", _) if self.has("uploads") => "begin",
            ("POST", _) => "complete",
            _ => "other",
        }
    }
}

/// What the server does instead of answering well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The connection ends at once, and this much later it is done.
    Late(Duration),
    /// This status and code, and nothing is done.
    Answer(u16, &'static str),
    /// It is done, and the connection ends before the answer.
    LoseReply,
    /// It is done, and then this status and code are answered.
    DoneAndAnswer(u16, &'static str),
    /// The body of the answer ends in its middle.
    Truncate,
    /// The answer comes this much later.
    Stall(Duration),
    /// The answer has another etag than the object.
    WrongEtag,
    /// A listing that does not have what came last.
    Stale,
}

type Plan = Box<dyn FnMut(&Request) -> Option<Fault> + Send>;

/// What it holds.
#[derive(Default)]
pub(crate) struct Held {
    pub(crate) objects: BTreeMap<String, Bytes>,
    pub(crate) uploads: BTreeMap<String, BTreeMap<u32, Bytes>>,
    order: Vec<String>,
    count: u64,
}

struct State {
    held: Mutex<Held>,
    plan: Mutex<Plan>,
    log: Mutex<Vec<&'static str>>,
    /// Before every answer.
    latency: Duration,
    conditions: bool,
    /// Whether a condition is looked at when a request comes, and not when it is carried out: several writers get through.
    racing: bool,
    /// How often an object took the place of one that it was not to replace.
    replaced: std::sync::atomic::AtomicU32,
    /// Requests that it is at, whether or not somebody waits for the answer.
    busy: std::sync::atomic::AtomicU32,
    /// How far the server's clock is ahead, in seconds.
    ahead: i64,
}

/// The server; gone when dropped.
pub(crate) struct Double {
    state: Arc<State>,
    addr: SocketAddr,
    listening: tokio::task::JoinHandle<()>,
}

impl Drop for Double {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Double {
    pub(crate) async fn start() -> Self {
        Self::with(Duration::ZERO, true, 0).await
    }

    /// With a latency, with or without preconditions, with its clock ahead.
    pub(crate) async fn with(latency: Duration, conditions: bool, ahead: i64) -> Self {
        Self::of(latency, conditions, false, ahead).await
    }

    /// One whose put-if-absent lets several writers through at once, and whose clock is so far behind that all that it
    /// holds looks old.
    pub(crate) async fn racing(latency: Duration) -> Self {
        Self::of(latency, true, true, -10 * 86_400).await
    }

    async fn of(latency: Duration, conditions: bool, racing: bool, ahead: i64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (held, plan, log) = (Mutex::default(), Mutex::new(Box::new(|_: &Request| None) as Plan), Mutex::default());
        let replaced = std::sync::atomic::AtomicU32::default();
        let state =
            Arc::new(State { held, plan, log, latency, conditions, racing, replaced, busy: Default::default(), ahead });
        let served = state.clone();
        let listening = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(served.clone(), stream));
            }
        });
        Self { state, addr, listening }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// What it does from now on.
    pub(crate) fn plan(&self, plan: impl FnMut(&Request) -> Option<Fault> + Send + 'static) {
        *self.state.plan.lock().unwrap() = Box::new(plan);
    }

    /// The k-th request of this kind, counted from 1, meets a fault; none after it.
    pub(crate) fn fault_at(&self, verb: &'static str, k: u32, fault: Fault) {
        let mut count = 0;
        self.plan(move |r| {
            count += u32::from(r.verb() == verb);
            (r.verb() == verb && count == k).then_some(fault)
        });
    }

    pub(crate) fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.state.held.lock().unwrap()
    }

    /// How often an object took the place of one that it was not to replace.
    pub(crate) fn replaced(&self) -> u32 {
        self.state.replaced.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Whether it is at something, also if nobody waits for the answer.
    pub(crate) fn is_busy(&self) -> bool {
        self.state.busy.load(std::sync::atomic::Ordering::Acquire) > 0
    }

    /// The requests so far.
    pub(crate) fn log(&self) -> Vec<&'static str> {
        self.state.log.lock().unwrap().clone()
    }
}

/// A request that is being answered.
struct AtIt(Arc<State>);

impl AtIt {
    fn new(state: &Arc<State>) -> Self {
        state.busy.fetch_add(1, std::sync::atomic::Ordering::AcqRel);
        Self(state.clone())
    }
}

impl Drop for AtIt {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, std::sync::atomic::Ordering::AcqRel);
    }
}

async fn serve(state: Arc<State>, mut stream: TcpStream) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut buffer = Vec::new();
    loop {
        let request = read(&mut stream, &mut buffer).await?;
        state.log.lock().unwrap().push(request.verb());
        let at_it = AtIt::new(&state);
        let fault = (state.plan.lock().unwrap())(&request);
        let through = state.racing && !state.held.lock().unwrap().objects.contains_key(&request.key);
        if let Some(Fault::Late(time)) = fault {
            tokio::spawn(async move {
                tokio::time::sleep(time).await;
                at_it.0.held.lock().unwrap().answer(&request, &at_it.0, fault, through);
            });
            return None;
        }
        tokio::time::sleep(state.latency).await;
        if let Some(Fault::Stall(time)) = fault {
            tokio::time::sleep(time).await;
        }
        let mut answer = match fault {
            Some(Fault::Answer(status, code)) => Answer::error(status, code),
            _ => state.held.lock().unwrap().answer(&request, &state, fault, through),
        };
        match fault {
            Some(Fault::LoseReply) => return None,
            Some(Fault::DoneAndAnswer(status, code)) => answer = Answer::error(status, code),
            _ => {}
        }
        let head = request.method == "HEAD";
        let mut text = format!("HTTP/1.1 {} X\r\nContent-Length: {}\r\n", answer.status, answer.body.len());
        for (name, value) in &answer.headers {
            write!(text, "{name}: {value}\r\n").unwrap();
        }
        text.push_str("\r\n");
        stream.write_all(text.as_bytes()).await.ok()?;
        let half = answer.body.len() / 2;
        match fault {
            _ if head => {}
            Some(Fault::Truncate) => {
                stream.write_all(&answer.body[..half]).await.ok()?;
                return None;
            }
            _ => stream.write_all(&answer.body).await.ok()?,
        }
    }
}

async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Request> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    buffer.drain(..end + 4);
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?);
    let headers: HashMap<_, _> =
        lines.filter_map(|l| l.split_once(": ")).map(|(k, v)| (k.to_lowercase(), v.to_owned())).collect();
    let len = headers.get("content-length").map_or(0, |l| l.parse().unwrap());
    while buffer.len() < len {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    let body = Bytes::from(buffer.drain(..len).collect::<Vec<_>>());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let query = query.split('&').filter(|p| !p.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decoded(name), decoded(&value.replace('+', " ")))
    });
    let key = path.trim_start_matches('/').split_once('/').map_or("", |(_bucket, key)| key);
    Some(Request { method, key: decoded(key), query: query.collect(), headers, body })
}

fn decoded(text: &str) -> String {
    let (bytes, mut out, mut i) = (text.as_bytes(), Vec::new(), 0);
    while i < bytes.len() {
        if bytes[i] == b'%' {
            out.push(u8::from_str_radix(&text[i + 1..i + 3], 16).unwrap());
            i += 3;
        } else {
            out.push(bytes[i]);
            i += 1;
        }
    }
    String::from_utf8(out).unwrap()
}

struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

impl Answer {
    fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new() }
    }

    fn xml(text: String) -> Self {
        Self { body: text.into(), ..Self::new(200) }
    }

    fn error(status: u16, code: &str) -> Self {
        let text = format!("<Error><Code>{code}</Code><Message>The double says so.</Message></Error>");
        Self { body: text.into(), ..Self::new(status) }
    }

    fn with(mut self, name: &'static str, value: impl std::fmt::Display) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }
}

fn etag(bytes: &[u8]) -> String {
    format!("\"{}\"", &Digest::of(bytes).to_string()[..32])
}

impl Held {
    fn put(&mut self, key: &str, bytes: Bytes) {
        self.objects.insert(key.to_owned(), bytes);
        self.order.push(key.to_owned());
    }

    fn answer(&mut self, r: &Request, state: &State, fault: Option<Fault>, through: bool) -> Answer {
        self.count += 1;
        match r.verb() {
            "list" => self.list(r, state, fault),
            "list uploads" => self.list_uploads(r, state),
            "get" | "head" => self.get(r, state, fault),
            "put" => {
                let create = r.headers.contains_key("if-none-match")
                    || r.headers.get("x-goog-if-generation-match").is_some_and(|g| g == "0");
                if state.conditions && create && self.objects.contains_key(&r.key) {
                    if !through {
                        return Answer::error(412, "PreconditionFailed");
                    }
                    state.replaced.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
                self.put(&r.key, r.body.clone());
                Answer::new(200).with("ETag", etag(&r.body)).with("x-goog-generation", self.count)
            }
            "begin" => {
                let id = format!("{}-{}", self.count, r.key);
                self.uploads.insert(id.clone(), BTreeMap::new());
                Answer::xml(format!(
                    "<InitiateMultipartUploadResult><UploadId>{id}</UploadId></InitiateMultipartUploadResult>"
                ))
            }
            "part" => match self.uploads.get_mut(&r.query["uploadId"]) {
                None => Answer::error(404, "NoSuchUpload"),
                Some(parts) => {
                    parts.insert(r.query["partNumber"].parse().unwrap(), r.body.clone());
                    Answer::new(200).with("ETag", etag(&r.body))
                }
            },
            "complete" => match self.uploads.remove(&r.query["uploadId"]) {
                None => Answer::error(404, "NoSuchUpload"),
                Some(parts) => {
                    let sizes: BTreeSet<_> = parts.values().rev().skip(1).map(Bytes::len).collect();
                    if sizes.len() > 1 || sizes.first().is_some_and(|size| *size < 5 << 20) {
                        return Answer::error(400, "EntityTooSmall");
                    }
                    let bytes = Bytes::from(parts.into_values().flatten().collect::<Vec<u8>>());
                    let etag = etag(&bytes);
                    self.put(&r.key, bytes);
                    Answer::xml(format!(
                        "<CompleteMultipartUploadResult><ETag>{etag}</ETag></CompleteMultipartUploadResult>"
                    ))
                }
            },
            "abort" => {
                self.uploads.remove(&r.query["uploadId"]);
                Answer::new(204)
            }
            "delete" => match self.objects.remove(&r.key) {
                Some(_) => Answer::new(204),
                None => Answer::error(404, "NoSuchKey"),
            },
            "bulk delete" => {
                let text = String::from_utf8_lossy(&r.body).into_owned();
                let keys = text.split("<Key>").skip(1).filter_map(|rest| rest.split_once("</Key>"));
                let mut out = String::from("<DeleteResult>");
                for (key, _) in keys {
                    let plain = key.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"");
                    self.objects.remove(&plain.replace("&apos;", "'").replace("&amp;", "&"));
                    write!(out, "<Deleted><Key>{key}</Key></Deleted>").unwrap();
                }
                Answer::xml(out + "</DeleteResult>")
            }
            _ => Answer::error(501, "NotImplemented"),
        }
    }

    fn get(&self, r: &Request, state: &State, fault: Option<Fault>) -> Answer {
        let Some(bytes) = self.objects.get(&r.key) else { return Answer::error(404, "NoSuchKey") };
        let etag = if fault == Some(Fault::WrongEtag) { "\"other\"".to_owned() } else { etag(bytes) };
        let modified = now(state).strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let range = r.headers.get("range").and_then(|range| {
            let (start, end) = range.strip_prefix("bytes=")?.split_once('-')?;
            let start: usize = start.parse().ok()?;
            Some((start, end.parse().map_or(bytes.len(), |end: usize| (end + 1).min(bytes.len()))))
        });
        let answer = match range {
            Some((start, end)) if start < end => {
                let told = format!("bytes {start}-{}/{}", end - 1, bytes.len());
                let answer = Answer { body: bytes.slice(start..end), ..Answer::new(206) };
                answer.with("Content-Range", told)
            }
            Some(_) => return Answer::error(416, "InvalidRange"),
            None => Answer { body: bytes.clone(), ..Answer::new(200) },
        };
        answer.with("ETag", etag).with("Last-Modified", modified).with("x-goog-generation", 1)
    }

    /// One a page. The name of an upload holds the key of its object.
    fn list_uploads(&self, r: &Request, state: &State) -> Answer {
        let after = r.query.get("upload-id-marker").map_or("", String::as_str);
        let key = |id: &str| id.split_once('-').map_or(String::new(), |(_, key)| key.to_owned());
        let mut found = self.uploads.keys().filter(|id| id.as_str() > after && key(id).starts_with(&r.query["prefix"]));
        let Some(id) = found.next() else { return Answer::xml("<ListMultipartUploadsResult/>".to_owned()) };
        let (key, id, at) = (escaped(&key(id)), escaped(id), now(state).strftime("%Y-%m-%dT%H:%M:%S.000Z"));
        Answer::xml(format!(
            "<ListMultipartUploadsResult><IsTruncated>{}</IsTruncated><NextKeyMarker>{key}</NextKeyMarker>\
             <NextUploadIdMarker>{id}</NextUploadIdMarker><Upload><Key>{key}</Key><UploadId>{id}</UploadId>\
             <Initiated>{at}</Initiated></Upload></ListMultipartUploadsResult>",
            found.next().is_some()
        ))
    }

    fn list(&self, r: &Request, state: &State, fault: Option<Fault>) -> Answer {
        let text = |name: &str| r.query.get(name).map_or("", String::as_str);
        let (prefix, after) = (text("prefix"), text("continuation-token").max(text("start-after")));
        let hidden = if fault == Some(Fault::Stale) { 4 } else { 0 };
        let hidden: BTreeSet<_> = self.order.iter().rev().take(hidden).collect();
        let modified = now(state).strftime("%Y-%m-%dT%H:%M:%S.000Z");
        let (mut contents, mut prefixes, mut told, mut next) = (String::new(), BTreeSet::new(), 0, None);
        let from = if after > prefix { Bound::Excluded(after) } else { Bound::Included(prefix) };
        for (key, bytes) in self.objects.range::<str, _>((from, Bound::Unbounded)) {
            let Some(rest) = key.strip_prefix(prefix) else { break };
            if hidden.contains(key) {
                continue;
            }
            // Pages are short, so that there are several.
            if told == 50 {
                next = Some(key.clone());
                break;
            }
            match rest.split_once('/') {
                Some((folder, _)) if text("delimiter") == "/" => drop(prefixes.insert(format!("{prefix}{folder}/"))),
                _ => {
                    let (key, size, etag) = (escaped(key), bytes.len(), etag(bytes));
                    write!(contents, "<Contents><Key>{key}</Key><Size>{size}</Size><LastModified>{modified}</LastModified><ETag>{etag}</ETag></Contents>").unwrap();
                    told += 1;
                }
            }
            next = None;
        }
        let mut out = format!("<ListBucketResult>{contents}");
        for prefix in prefixes {
            let prefix = escaped(&prefix);
            write!(out, "<CommonPrefixes><Prefix>{prefix}</Prefix></CommonPrefixes>").unwrap();
        }
        // The last key of this page begins the next one after it.
        if let Some(next) = next {
            let before = self.objects.range(..next).next_back().map_or(String::new(), |(key, _)| key.clone());
            let before = escaped(&before);
            write!(out, "<NextContinuationToken>{before}</NextContinuationToken>").unwrap();
        }
        Answer::xml(out + "</ListBucketResult>")
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn now(state: &State) -> Timestamp {
    Timestamp::from_second(SystemClock.now().as_second() + state.ahead).unwrap()
}
