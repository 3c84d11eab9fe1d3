//! A proxy between the committer and PostgreSQL that loses the connection at chosen places of a batch.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

const SOCKET: &str = ".s.PGSQL.5432";

/// Where the connection is lost; a batch is one statement, which commits by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Cut {
    /// Nowhere.
    Never = 0,
    /// Before the first byte of a batch: the server sees the client go.
    BeforeBatch = 1,
    /// In the middle of a batch, and the server is not told that the client has gone.
    InsideBatch = 2,
    /// The server gets the batch, the client never hears of it.
    AfterBatch = 3,
    /// The client has gone before anything of the batch arrived; all of it arrives later.
    LateBatch = 4,
}

/// A proxy in front of a server's socket.
pub struct Proxy {
    pub directory: PathBuf,
    mode: Arc<AtomicU8>,
    cuts: Arc<AtomicUsize>,
    _temp: tempfile::TempDir,
}

impl Proxy {
    pub fn start(server: &Path) -> Self {
        let temp = tempfile::tempdir().expect("a directory");
        let directory = temp.path().to_owned();
        let listener = UnixListener::bind(directory.join(SOCKET)).expect("a socket");
        let mode = Arc::new(AtomicU8::new(0));
        let cuts = Arc::new(AtomicUsize::new(0));
        let server = server.join(SOCKET);
        let state = (mode.clone(), cuts.clone());
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let Ok(upstream) = UnixStream::connect(&server).await else { continue };
                tokio::spawn(relay(client, upstream, state.0.clone(), state.1.clone()));
            }
        });
        Self { directory, mode, cuts, _temp: temp }
    }

    /// Cuts the next commit of the committer in this way, once.
    pub fn arm(&self, cut: Cut) {
        self.mode.store(cut as u8, Ordering::SeqCst);
    }

    /// How many connections were cut so far.
    pub fn cuts(&self) -> usize {
        self.cuts.load(Ordering::SeqCst)
    }
}

/// Relays messages of the frontend one by one and watches for the Bind of a statement that stores a batch.
async fn relay(client: UnixStream, server: UnixStream, mode: Arc<AtomicU8>, cuts: Arc<AtomicUsize>) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let answers = tokio::spawn(async move {
        let mut buffer = vec![0; 65_536];
        while let Ok(read @ 1..) = from_server.read(&mut buffer).await {
            if to_client.write_all(&buffer[..read]).await.is_err() {
                break;
            }
        }
    });
    let mut appends: Vec<Vec<u8>> = Vec::new();
    let mut started = false;
    loop {
        let Some(message) = read_message(&mut from_client, started).await else { break };
        started = true;
        if let Some((name, query)) = parsed(&message)
            && String::from_utf8_lossy(&query).contains("log.append(")
        {
            appends.push(name);
        }
        let is_batch =
            bound_statement(&message).is_some_and(|name| appends.iter().any(|known| known == name));
        let armed = mode.load(Ordering::SeqCst);
        let hit = is_batch && armed != Cut::Never as u8;
        if hit && mode.compare_exchange(armed, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            cuts.fetch_add(1, Ordering::SeqCst);
            // The rest of what the client has sent: the batch is one write, so it is there already or soon.
            let mut rest = message;
            let mut more = vec![0; 1 << 20];
            while let Ok(Ok(read @ 1..)) =
                tokio::time::timeout(Duration::from_millis(20), from_client.read(&mut more)).await
            {
                rest.extend_from_slice(&more[..read]);
            }
            if armed == Cut::AfterBatch as u8 {
                answers.abort();
                let _ = answers.await;
                drop(from_client);
                let _ = to_server.write_all(&rest).await;
                // Kept open for a moment, so that the server surely reads what it was sent.
                tokio::time::sleep(Duration::from_millis(100)).await;
                return;
            }
            answers.abort();
            let _ = answers.await;
            drop(from_client);
            match armed {
                2 => {
                    let _ = to_server.write_all(&rest[..rest.len() / 2]).await;
                    // Longer than the server lets a transaction of the committer idle.
                    tokio::time::sleep(Duration::from_secs(8)).await;
                }
                4 => {
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    let _ = to_server.write_all(&rest).await;
                    tokio::time::sleep(Duration::from_millis(300)).await;
                }
                _ => {}
            }
            return;
        }
        if to_server.write_all(&message).await.is_err() {
            break;
        }
    }
    answers.abort();
}

async fn read_message(from: &mut tokio::net::unix::OwnedReadHalf, started: bool) -> Option<Vec<u8>> {
    let header = if started { 5 } else { 4 };
    let mut message = vec![0; header];
    from.read_exact(&mut message).await.ok()?;
    let length = u32::from_be_bytes(message[header - 4..].try_into().ok()?) as usize;
    let mut body = vec![0; length.checked_sub(4)?];
    from.read_exact(&mut body).await.ok()?;
    message.extend_from_slice(&body);
    Some(message)
}

/// The name and the text of a Parse message.
fn parsed(message: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let body = message.strip_prefix(b"P")?.get(4..)?;
    let mut parts = body.split(|byte| *byte == 0);
    Some((parts.next()?.to_vec(), parts.next()?.to_vec()))
}

/// The statement that a Bind message names.
fn bound_statement(message: &[u8]) -> Option<&[u8]> {
    let body = message.strip_prefix(b"B")?.get(4..)?;
    body.split(|byte| *byte == 0).nth(1)
}
