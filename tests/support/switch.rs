//! An address that leads to one server or another, or nowhere: what a virtual IP, a proxy or a Kubernetes service does
//! while a database fails over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// The address, and where it leads.
pub struct Switch {
    pub port: u16,
    state: Arc<State>,
    cut: watch::Sender<usize>,
}

#[derive(Default)]
struct State {
    /// The port of the server that new connections lead to; 0: they are accepted and nothing is ever said on them.
    target: AtomicU16,
    /// Up to which connection, by the order in which they came, nothing is said.
    silent: AtomicUsize,
    /// Up to which connection no answer comes through.
    unanswered: AtomicUsize,
    accepted: AtomicUsize,
    wake: tokio::sync::Notify,
    /// Whether connections that exist are led elsewhere between two statements.
    repoints: AtomicBool,
}

impl Switch {
    pub async fn to(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State::default());
        state.target.store(target, Ordering::SeqCst);
        let (cut, cuts) = watch::channel(0);
        let accepting = state.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(relay(client, accepting.clone(), cuts.clone()));
            }
        });
        Self { port, state, cut }
    }

    /// Leads new connections elsewhere; those that exist stay.
    pub fn lead_to(&self, target: u16) {
        self.state.target.store(target, Ordering::SeqCst);
    }

    /// Accepts new connections and says nothing on them.
    pub fn swallow(&self) {
        self.state.target.store(0, Ordering::SeqCst);
    }

    /// Holds back every octet of the connections that exist, or lets them go on. Later ones are not concerned.
    pub fn silence(&self, silent: bool) {
        let up_to = if silent { self.state.accepted.load(Ordering::SeqCst) } else { 0 };
        self.state.silent.store(up_to, Ordering::SeqCst);
        self.state.wake.notify_waiters();
    }

    /// Holds back the answers on the connections that exist, or lets them go on: what is asked still reaches the server.
    pub fn hold_answers(&self, hold: bool) {
        let up_to = if hold { self.state.accepted.load(Ordering::SeqCst) } else { 0 };
        self.state.unanswered.store(up_to, Ordering::SeqCst);
        self.state.wake.notify_waiters();
    }

    /// Leads connections that exist elsewhere too, each between two of its statements, as a pooler may.
    pub fn repoint(&self, repoints: bool) {
        self.state.repoints.store(repoints, Ordering::SeqCst);
    }

    /// Cuts every connection that exists.
    pub fn cut(&self) {
        self.cut.send_modify(|cuts| *cuts += 1);
    }

    pub fn url(&self, parameters: &str) -> String {
        format!("postgres://tenure@127.0.0.1:{}/tenure?{parameters}", self.port)
    }
}

async fn relay(mut client: TcpStream, state: Arc<State>, mut cuts: watch::Receiver<usize>) {
    cuts.mark_unchanged();
    let number = state.accepted.fetch_add(1, Ordering::SeqCst) + 1;
    let mut target = state.target.load(Ordering::SeqCst);
    if target == 0 {
        let _ = cuts.changed().await;
        return;
    }
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", target)).await else { return };
    let (mut startup, mut is_idle) = (Vec::new(), false);
    let (mut from_client, mut from_server) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        let (octets, to_server) = tokio::select! {
            read = client.read(&mut from_client) => (read.map(|read| &from_client[..read]), true),
            read = server.read(&mut from_server) => (read.map(|read| &from_server[..read]), false),
            _ = cuts.changed() => return,
        };
        let Ok(octets @ [_, ..]) = octets else { return };
        loop {
            let woken = state.wake.notified();
            let is_held = !to_server && state.unanswered.load(Ordering::SeqCst) >= number;
            if state.silent.load(Ordering::SeqCst) < number && !is_held {
                break;
            }
            tokio::select! {
                () = woken => {}
                _ = cuts.changed() => return,
            }
        }
        if !to_server {
            is_idle = octets.ends_with(IDLE);
            if client.write_all(octets).await.is_err() {
                return;
            }
            continue;
        }
        if startup.is_empty() {
            startup = octets.to_vec();
        } else if is_idle && state.repoints.load(Ordering::SeqCst) {
            let now = state.target.load(Ordering::SeqCst);
            if now != target && now != 0 {
                let Some(other) = begin(now, &startup).await else { return };
                (server, target) = (other, now);
            }
        }
        is_idle = false;
        if server.write_all(octets).await.is_err() {
            return;
        }
    }
}

/// `ReadyForQuery` outside a transaction, the last message of an answer.
const IDLE: &[u8] = &[b'Z', 0, 0, 0, 5, b'I'];

/// A session on another server, begun as the client began its own.
async fn begin(port: u16, startup: &[u8]) -> Option<TcpStream> {
    let mut server = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    server.write_all(startup).await.ok()?;
    let mut said = Vec::new();
    while !said.ends_with(IDLE) {
        let mut more = [0; 4_096];
        match server.read(&mut more).await {
            Ok(read @ 1..) => said.extend_from_slice(&more[..read]),
            _ => return None,
        }
    }
    Some(server)
}
