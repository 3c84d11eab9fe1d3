//! How long a connection may be silent: while the head of a request arrives, and between two requests.
//!
//! Hyper knows one limit for both. With a short one, connections that a load balancer keeps for later are closed under
//! its hands, sometimes just as it sends a request, which then fails without an answer (502). With a long one, slow heads
//! hold connections.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep};

/// How long the head of a request may take to arrive.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection may wait for its next request: longer than load balancers keep one, of which the longest known
/// time is 600 s. Only [`HEAD_TIMEOUT`] while places are short.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(650);

/// The most open connections; further ones wait in the kernel's backlog.
pub(super) const MAX_CONNECTIONS: usize = 8_192;

/// With fewer free places than this, connections that wait for a request are closed soon.
const FEW_PLACES: usize = MAX_CONNECTIONS / 4;

/// The places of open connections.
pub(super) struct Places {
    free: Arc<Semaphore>,
    /// Whether the last connection could not be accepted, most likely for want of a file descriptor.
    refused: AtomicBool,
}

impl Places {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { free: Arc::new(Semaphore::new(MAX_CONNECTIONS)), refused: AtomicBool::new(false) })
    }

    /// Waits for a place; the permit holds it.
    pub(super) async fn take(&self) -> Result<OwnedSemaphorePermit, AcquireError> {
        self.free.clone().acquire_owned().await
    }

    /// Notes whether a connection could be accepted.
    pub(super) fn accepted(&self, accepted: bool) {
        self.refused.store(!accepted, Ordering::Relaxed);
    }

    fn are_few(&self) -> bool {
        self.free.available_permits() < FEW_PLACES || self.refused.load(Ordering::Relaxed)
    }
}

/// The requests of one connection. Those that are being answered hold an [`Answering`].
#[derive(Default)]
pub(super) struct Requests {
    begun: AtomicUsize,
    answered: AtomicUsize,
}

impl Requests {
    pub(super) fn begin(self: &Arc<Self>) -> Answering {
        self.begun.fetch_add(1, Ordering::Relaxed);
        Answering(self.clone())
    }

    /// How many have begun, if all of them are answered.
    fn idle(&self) -> Option<usize> {
        let begun = self.begun.load(Ordering::Relaxed);
        (begun == self.answered.load(Ordering::Relaxed)).then_some(begun)
    }
}

/// A request that is being answered, until this is dropped.
pub(super) struct Answering(Arc<Requests>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answered.fetch_add(1, Ordering::Relaxed);
    }
}

impl Answering {
    /// The response holds it to the end of its body.
    pub(super) fn until_sent<B>(self, response: hyper::Response<B>) -> hyper::Response<AnsweringBody<B>> {
        response.map(|body| AnsweringBody { body, _answering: self })
    }
}

pub(super) struct AnsweringBody<B> {
    body: B,
    _answering: Answering,
}

impl<B: Body + Unpin> Body for AnsweringBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream that ends when its client is silent for too long. While a request is being answered nothing is measured: its
/// body and its response have limits of their own.
pub(super) struct BoundedSilence<S> {
    stream: S,
    places: Arc<Places>,
    requests: Arc<Requests>,
    /// What is awaited; nothing while a request is being answered.
    awaited: Option<Awaited>,
    /// Looks again, at the latest after [`HEAD_TIMEOUT`]: hyper does not read again when a response has been sent, but
    /// waits to be woken.
    look: Pin<Box<Sleep>>,
}

struct Awaited {
    /// How many requests were before it.
    after: usize,
    since: Instant,
    /// Whether it is a head of which something is there, or the first one of the connection.
    is_head: bool,
}

impl<S> BoundedSilence<S> {
    pub(super) fn new(stream: S, places: Arc<Places>, requests: Arc<Requests>) -> Self {
        let awaited = Some(Awaited { after: 0, since: Instant::now(), is_head: true });
        let look = Box::pin(tokio::time::sleep(HEAD_TIMEOUT));
        Self { stream, places, requests, awaited, look }
    }

    /// What is awaited now, if anything.
    fn awaited(&mut self) -> Option<&mut Awaited> {
        let after = self.requests.idle();
        if self.awaited.as_ref().map(|awaited| awaited.after) != after {
            self.awaited = after.map(|after| Awaited { after, since: Instant::now(), is_head: false });
        }
        self.awaited.as_mut()
    }

    /// Ready when the silence has lasted too long.
    fn poll_too_long(&mut self, context: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.look.as_mut().poll(context));
            let now = Instant::now();
            let mut next = now + HEAD_TIMEOUT;
            if let Some(Awaited { since, is_head, .. }) = self.awaited {
                let limit = if is_head || self.places.are_few() { HEAD_TIMEOUT } else { IDLE_TIMEOUT };
                if now >= since + limit {
                    return Poll::Ready(());
                }
                next = next.min(since + limit);
            }
            self.look.as_mut().reset(next);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for BoundedSilence<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        let awaited = this.awaited();
        if read.is_ready() {
            if let Some(awaited @ Awaited { is_head: false, .. }) = awaited {
                *awaited = Awaited { since: Instant::now(), is_head: true, ..*awaited };
            }
            return read;
        }
        // As if the client had closed it.
        this.poll_too_long(context).map(Ok)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for BoundedSilence<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, octets)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, octets)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Empty;
    use hyper::body::Bytes;
    use hyper_util::rt::TokioIo;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";

    /// A client of a server that takes a minute for each answer, with a clock that goes on when nobody has anything to do.
    fn client(places: Arc<Places>) -> DuplexStream {
        let (client, server) = tokio::io::duplex(1_024);
        let requests = Arc::new(Requests::default());
        let stream = BoundedSilence::new(server, places, requests.clone());
        let service = hyper::service::service_fn(move |_| {
            let answering = requests.begin();
            async move {
                tokio::time::sleep(Duration::from_mins(1)).await;
                Ok::<_, io::Error>(answering.until_sent(hyper::Response::new(Empty::<Bytes>::new())))
            }
        });
        let mut server = hyper::server::conn::http1::Builder::new();
        let connection = server.header_read_timeout(None).serve_connection(TokioIo::new(stream), service);
        tokio::spawn(connection);
        client
    }

    async fn ask(client: &mut DuplexStream) {
        client.write_all(REQUEST).await.unwrap();
        let mut said = String::new();
        while !said.ends_with("\r\n\r\n") {
            said.push(client.read_u8().await.expect("an answer").into());
        }
        assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    }

    /// After how long the server closes the connection, in seconds.
    async fn closed_after(client: &mut DuplexStream) -> u64 {
        let since = Instant::now();
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        since.elapsed().as_secs()
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_asks_nothing_is_closed_soon_and_one_that_has_asked_may_wait() {
        assert_eq!(closed_after(&mut client(Places::new())).await, 10);
        let mut asked = client(Places::new());
        for _ in 0..3 {
            ask(&mut asked).await;
            tokio::time::sleep(Duration::from_secs(649)).await;
        }
        ask(&mut asked).await;
        let waited = closed_after(&mut asked).await;
        assert!((650..=660).contains(&waited), "{waited} s");
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_trickles_in_is_cut_off_on_every_request() {
        for requests_before in 0..3 {
            let mut client = client(Places::new());
            for _ in 0..requests_before {
                ask(&mut client).await;
                tokio::time::sleep(Duration::from_secs(100)).await;
            }
            let since = Instant::now();
            for octet in REQUEST {
                tokio::time::sleep(Duration::from_secs(3)).await;
                if client.write_all(&[*octet]).await.is_err() {
                    break;
                }
            }
            let lasted = since.elapsed().as_secs();
            assert!((10..=16).contains(&lasted), "{lasted} s after {requests_before} requests");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_connections_are_closed_soon_while_places_are_short() {
        let places = Places::new();
        let mut waiting = client(places.clone());
        ask(&mut waiting).await;
        tokio::time::sleep(Duration::from_mins(5)).await;
        let many = u32::try_from(MAX_CONNECTIONS - FEW_PLACES + 1).unwrap();
        let taken = places.free.clone().acquire_many_owned(many).await.unwrap();
        assert!(closed_after(&mut waiting).await <= 10);
        drop(taken);

        let mut waiting = client(places.clone());
        ask(&mut waiting).await;
        places.accepted(false);
        let waited = closed_after(&mut waiting).await;
        assert!((10..=20).contains(&waited), "{waited} s");
    }
}
