//! Requests and answers of HTTP.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{AtIt, Fault, Request, State};

/// What a redirection leads to.
const PAGE: &str = "a-page-for-people.html";

pub(super) async fn serve(state: Arc<State>, mut stream: TcpStream) -> Option<()> {
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
            _ if request.key == PAGE => Answer::page(),
            Some(Fault::Answer(status, code)) => Answer::error(status, code),
            Some(Fault::Page) => Answer::page(),
            Some(Fault::Elsewhere(status)) => Answer::new(status).with("Location", format_args!("/portal/{PAGE}")),
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
            Some(Fault::Twice) => {
                let body = if head { &[][..] } else { &answer.body };
                stream.write_all(&[body, text.as_bytes(), body].concat()).await.ok()?;
            }
            _ if head => {}
            Some(Fault::Truncate) => {
                stream.write_all(&answer.body[..half]).await.ok()?;
                return None;
            }
            _ => stream.write_all(&answer.body).await.ok()?,
        }
        if request.headers.get("connection").is_some_and(|wish| wish.eq_ignore_ascii_case("close")) {
            return None;
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

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Bytes,
}

impl Answer {
    pub(super) fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Bytes::new() }
    }

    pub(super) fn xml(text: String) -> Self {
        Self { body: text.into(), ..Self::new(200) }
    }

    /// A page for people.
    fn page() -> Self {
        Self::xml("<html><body>Maintenance</body></html>".to_owned()).with("ETag", "\"page\"")
    }

    pub(super) fn error(status: u16, code: &str) -> Self {
        let text = format!("<Error><Code>{code}</Code><Message>The double says so.</Message></Error>");
        Self { body: text.into(), ..Self::new(status) }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl std::fmt::Display) -> Self {
        self.headers.push((name, value.to_string()));
        self
    }
}
