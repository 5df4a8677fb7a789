//! A server that confirms that it sends a part of a file, and sends all of it.

use std::path::{Path as FolderPath, PathBuf};
use std::sync::{Arc, Mutex};

use devicevault_core::SystemClock;
use devicevault_storage::ftp::{FtpOptions, FtpSecurity, FtpServer, FtpStore};
use devicevault_storage::local::LocalStore;
use devicevault_testkit::samples;
use object_store::ObjectStoreExt as _;
use object_store::path::Path;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::main;

/// What a server does with `REST`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rest {
    Heeded,
    /// It is confirmed, and the file comes from its beginning.
    Ignored,
    /// It is offered, and then refused.
    Refused,
}

/// What it was asked to begin behind.
type Asked = Arc<Mutex<Vec<usize>>>;

/// Serves the files of a folder to whoever logs in, and takes none.
async fn serve(folder: &FolderPath, rest: Rest) -> (u16, Asked) {
    let (listener, asked) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), Asked::default());
    let (port, folder, told) = (listener.local_addr().unwrap().port(), folder.to_owned(), asked.clone());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client may go away at any moment.
            tokio::spawn(converse(stream, folder.clone(), rest, told.clone()));
        }
    });
    (port, asked)
}

async fn converse(stream: TcpStream, folder: PathBuf, rest: Rest, asked: Asked) -> std::io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut commands = BufReader::new(read).lines();
    let (mut data, mut from) = (None::<TcpListener>, 0);
    write.write_all(b"220 ready\r\n").await?;
    while let Some(line) = commands.next_line().await? {
        let (command, argument) = line.split_once(' ').unwrap_or((&line, ""));
        let path = folder.join(argument.trim_start_matches('/'));
        let answer = match command {
            "USER" => "331 and the password".to_owned(),
            "PASS" => "230 come in".to_owned(),
            "TYPE" | "SITE" | "NOOP" => "200 so it is".to_owned(),
            "FEAT" => "211-this:\r\n REST STREAM\r\n SIZE\r\n211 that is all".to_owned(),
            "CWD" if path.is_dir() => "250 there".to_owned(),
            "SIZE" if path.is_file() => format!("213 {}", path.metadata()?.len()),
            "PASV" => {
                let listener = TcpListener::bind("127.0.0.1:0").await?;
                let port = listener.local_addr()?.port();
                data = Some(listener);
                format!("227 here (127,0,0,1,{},{})", port >> 8, port & 0xff)
            }
            "REST" if rest != Rest::Refused => {
                from = argument.parse().unwrap();
                asked.lock().unwrap().push(from);
                "350 from there".to_owned()
            }
            "RETR" if path.is_file() => {
                write.write_all(b"150 it comes\r\n").await?;
                let (mut socket, _) = data.take().unwrap().accept().await?;
                let begin = if rest == Rest::Heeded { from } else { 0 };
                from = 0;
                let _ = socket.write_all(&std::fs::read(&path)?[begin..]).await;
                drop(socket);
                "226 that is all".to_owned()
            }
            _ => "550 no".to_owned(),
        };
        write.write_all(format!("{answer}\r\n").as_bytes()).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_part_is_the_part_that_was_asked_for_whatever_the_server_says_that_it_can() {
    for rest in [Rest::Heeded, Rest::Ignored, Rest::Refused] {
        let folder = tempfile::tempdir().unwrap();
        LocalStore::init(folder.path(), &main()).await.unwrap();
        let content = samples::noise(1, 300_000);
        std::fs::write(folder.path().join("x"), &content).unwrap();
        let (port, asked) = serve(folder.path(), rest).await;
        let options = FtpOptions::new("127.0.0.1", "/", "anybody").with_port(port);
        let options = options.with_security(FtpSecurity::ClearText).with_password("s3cret".to_owned());
        let server = FtpServer::new(options).unwrap();
        let store = FtpStore::open(server, &main(), Arc::new(SystemClock)).await.unwrap();
        let at = Path::from("x");
        for range in [0..10, 1..2, 100_000..200_000, 299_999..300_000, 5..300_000] {
            let got = store.get_range(&at, range.start as u64..range.end as u64).await.unwrap();
            assert!(got == content[range.clone()], "{rest:?} {range:?}");
        }
        assert!(store.get(&at).await.unwrap().bytes().await.unwrap() == content, "{rest:?}");
        // A server that sends parts is asked for them: large objects are read from where they are wanted.
        let asked = asked.lock().unwrap().clone();
        assert_eq!(asked.ends_with(&[1, 100_000, 299_999, 5]), rest == Rest::Heeded, "{rest:?}: {asked:?}");
    }
}
