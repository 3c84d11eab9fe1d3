//! The HTTP/1.1 server: bounded heads, timeouts for slow clients, and a graceful shutdown.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// How long the head of a request may take to arrive.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// The most bytes in the head of a request.
pub const MAX_HEAD: usize = 32 * 1_024;

/// The most header fields in a request.
const MAX_HEADERS: usize = 100;

/// How long a client may stop reading a response before the connection is closed.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// The most open connections; further ones wait in the kernel's backlog.
const MAX_CONNECTIONS: usize = 8_192;

/// How long accepted requests may take to finish at shutdown.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(4);

/// Serves until `stop` is cancelled, then lets accepted requests finish for up to 4 seconds.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let ending = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // Wait for a place before accepting: a connection that cannot be served must not take a file descriptor.
        let place = tokio::select! {
            place = places.clone().acquire_owned() => place,
            () = stop.cancelled() => break,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let (stream, peer): (_, SocketAddr) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Most likely out of file descriptors. Back off until others close; an immediate retry would spin.
                tracing::warn!(%error, "could not accept a connection; retrying");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        // Small responses must not wait for more data to fill a packet.
        let _ = stream.set_nodelay(true);
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(READ_TIMEOUT));
        let stopping = stop.clone();
        let service = router.clone().map_request(move |mut request: hyper::Request<_>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            // For responses that would never end by themselves.
            request.extensions_mut().insert(stopping.clone());
            with_readable_path(&mut request);
            request.map(axum::body::Body::new)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(MAX_HEAD)
            .max_headers(MAX_HEADERS)
            .serve_connection(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(service));
        let connection = ending.watch(connection);
        tokio::spawn(async move {
            // Held until the connection ends.
            let _place = place;
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended with an error");
            }
        });
    }
    // New clients are refused at once and can go to another node, while the open connections drain.
    drop(listener);
    if tokio::time::timeout(SHUTDOWN_TIMEOUT, ending.shutdown()).await.is_err() {
        tracing::warn!("some connections did not end in time and were dropped");
    }
}

/// Replaces octets of the path that are no UTF-8 by U+FFFD. Such a name is then not found, as any other that nothing has,
/// instead of being refused before anybody has looked at the credential.
fn with_readable_path<B>(request: &mut hyper::Request<B>) {
    use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
    let path = request.uri().path();
    if percent_decode_str(path).decode_utf8().is_ok() {
        return;
    }
    let segments: Vec<String> = path
        .split('/')
        .map(|segment| {
            let readable = percent_decode_str(segment).decode_utf8_lossy();
            utf8_percent_encode(&readable, NON_ALPHANUMERIC).to_string()
        })
        .collect();
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    if let Ok(uri) = format!("{}{query}", segments.join("/")).parse() {
        *request.uri_mut() = uri;
    }
}
