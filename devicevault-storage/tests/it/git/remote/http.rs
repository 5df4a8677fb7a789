//! A small HTTP server in front of `git http-backend`: as much of CGI (RFC 3875) as that takes.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use base64::Engine as _;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::JoinHandle;

pub(super) struct Server {
    port: u16,
    task: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

/// Serves the repositories of a folder to whoever has this token.
pub(super) async fn start(root: &Path, user: &str, token: &str) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{token}"));
    let known = Arc::new((root.to_owned(), format!("Basic {pair}")));
    let task = tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let known = known.clone();
            tokio::spawn(async move {
                let _ = serve(socket, &known.0, &known.1).await;
            });
        }
    });
    Server { port, task }
}

async fn serve(socket: TcpStream, root: &PathBuf, authorization: &str) -> std::io::Result<()> {
    let mut socket = BufReader::new(socket);
    let mut line = String::new();
    socket.read_line(&mut line).await?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = std::collections::HashMap::new();
    loop {
        let mut line = String::new();
        socket.read_line(&mut line).await?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let body = body(&mut socket, &headers).await?;
    if headers.get("authorization").map(String::as_str) != Some(authorization) {
        let answer = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"x\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        return socket.get_mut().write_all(answer.as_bytes()).await;
    }
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let mut cgi = Command::new("git");
    cgi.arg("http-backend").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    cgi.env("GIT_PROJECT_ROOT", root).env("GIT_HTTP_EXPORT_ALL", "1").env("REMOTE_USER", "git");
    cgi.env("REQUEST_METHOD", method).env("PATH_INFO", path).env("QUERY_STRING", query);
    for (variable, header) in [("CONTENT_TYPE", "content-type"), ("HTTP_CONTENT_ENCODING", "content-encoding")] {
        cgi.env(variable, headers.get(header).cloned().unwrap_or_default());
    }
    cgi.env("GIT_PROTOCOL", headers.get("git-protocol").cloned().unwrap_or_default());
    cgi.env("CONTENT_LENGTH", body.len().to_string());
    let mut child = cgi.spawn()?;
    let mut input = child.stdin.take().unwrap();
    let feed = tokio::spawn(async move {
        let _ = input.write_all(&body).await;
    });
    let output = child.wait_with_output().await?.stdout;
    feed.await?;
    let at = output.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or(output.len());
    let (head, rest) = output.split_at(at);
    let head = String::from_utf8_lossy(head);
    let status = head.lines().find_map(|l| l.strip_prefix("Status: ")).unwrap_or("200 OK");
    let answer = format!(
        "HTTP/1.1 {status}\r\n{head}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        rest.len().saturating_sub(4)
    );
    socket.get_mut().write_all(answer.as_bytes()).await?;
    socket.get_mut().write_all(rest.get(4..).unwrap_or_default()).await?;
    socket.get_mut().shutdown().await
}

/// The body, by its length or in chunks.
async fn body(
    socket: &mut BufReader<TcpStream>,
    headers: &std::collections::HashMap<String, String>,
) -> std::io::Result<Vec<u8>> {
    if headers.get("expect").is_some() {
        socket.get_mut().write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    let mut body = Vec::new();
    if let Some(length) = headers.get("content-length").and_then(|l| l.parse().ok()) {
        body.resize(length, 0);
        socket.read_exact(&mut body).await?;
    } else if headers.contains_key("transfer-encoding") {
        loop {
            let mut line = String::new();
            socket.read_line(&mut line).await?;
            let length = usize::from_str_radix(line.trim(), 16).unwrap_or(0);
            let from = body.len();
            body.resize(from + length, 0);
            socket.read_exact(&mut body[from..]).await?;
            socket.read_line(&mut String::new()).await?;
            if length == 0 {
                break;
            }
        }
    }
    Ok(body)
}
