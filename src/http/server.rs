//! The HTTP/1.1 server: bounded heads, timeouts for slow clients, and a graceful shutdown.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::connection::{BoundedSilence, Places, Requests};

/// The most bytes in the head of a request.
pub const MAX_HEAD: usize = 32 * 1_024;

/// The most header fields in a request.
const MAX_HEADERS: usize = 100;

/// How long a client may stop reading a response before the connection is closed.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// How long accepted requests may take to finish at shutdown.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(4);

/// Serves until `stop` is cancelled, then lets accepted requests finish for up to 4 seconds.
pub async fn serve(listener: TcpListener, router: Router, stop: CancellationToken) {
    let ending = GracefulShutdown::new();
    let places = Places::new();
    loop {
        // Wait for a place before accepting: a connection that cannot be served must not take a file descriptor.
        let place = tokio::select! {
            place = places.take() => place,
            () = stop.cancelled() => break,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        places.accepted(accepted.is_ok());
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
        let requests = Arc::new(Requests::default());
        let stream = BoundedSilence::new(Box::pin(stream), places.clone(), requests.clone());
        let router = router.clone();
        let service = hyper::service::service_fn(move |mut request: hyper::Request<Incoming>| {
            let answering = requests.begin();
            request.extensions_mut().insert(ConnectInfo(peer));
            // For responses that would never end by themselves.
            request.extensions_mut().insert(stopping.clone());
            with_readable_path(&mut request);
            let response = router.clone().oneshot(request.map(axum::body::Body::new));
            async move { response.await.map(|response| answering.until_sent(response)) }
        });
        let connection = http1::Builder::new()
            // The stream has a limit of its own, and another one between requests.
            .header_read_timeout(None)
            .max_buf_size(MAX_HEAD)
            .max_headers(MAX_HEADERS)
            .serve_connection(TokioIo::new(stream), service);
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
