//! Reading request bodies: bounded in size by route, bounded in time, and for large ones bounded in number.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use super::error::ApiError;
use super::fair_semaphore::FairSemaphore;

/// The most bytes in a body, unless the route allows more.
pub const MAX_BODY: usize = 8 * 1_024;

/// The most bytes in a large body: an escaped broadcast payload, or 10,000 identifiers.
pub const MAX_LARGE_BODY: usize = 512 * 1_024;

/// How long a body may take to arrive, including the wait for a permit.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// How many large bodies a node holds at once, and how many of them for one caller: 32 MiB in all.
const MAX_LARGE_BODIES: usize = 64;
const MAX_LARGE_BODIES_PER_CALLER: usize = 8;

/// The permits for reading large bodies on this node.
#[must_use]
pub fn large_body_permits() -> FairSemaphore {
    FairSemaphore::new(MAX_LARGE_BODIES, MAX_LARGE_BODIES_PER_CALLER)
}

/// Reads a whole body of at most `limit` bytes within [`BODY_TIMEOUT`].
///
/// # Errors
/// [`ApiError::TooLarge`], [`ApiError::TooSlow`], or [`ApiError::Malformed`] if the connection breaks.
pub async fn read(body: Body, headers: &HeaderMap, limit: usize) -> Result<Bytes, ApiError> {
    read_until(body, headers, limit, Instant::now() + BODY_TIMEOUT).await
}

/// Reads an authenticated caller's body of at most `limit` bytes. A body that may exceed [`MAX_BODY`] needs a permit.
///
/// # Errors
/// Those of [`read`], and [`ApiError::TooMany`] if no permit is free before the timeout.
pub async fn read_authenticated(
    body: Body,
    headers: &HeaderMap,
    limit: usize,
    caller: Option<Uuid>,
    permits: &FairSemaphore,
) -> Result<Bytes, ApiError> {
    // One deadline for the permit and the body, so that waiting for a permit does not extend the request.
    let deadline = Instant::now() + BODY_TIMEOUT;
    // A body without a Content-Length (chunked) may be large: it needs a permit.
    let is_short = limit <= MAX_BODY || length(headers).is_some_and(|length| length <= MAX_BODY as u64);
    let _permit = match caller {
        Some(id) if !is_short => {
            // Refused here already: a body that will be rejected must not wait for a permit.
            refuse_longer(headers, limit)?;
            Some(permits.acquire(id, deadline).await?)
        }
        _ => None,
    };
    read_until(body, headers, if is_short { MAX_BODY } else { limit }, deadline).await
}

async fn read_until(
    body: Body,
    headers: &HeaderMap,
    limit: usize,
    deadline: Instant,
) -> Result<Bytes, ApiError> {
    refuse_longer(headers, limit)?;
    timeout_at(deadline, collect(body, limit)).await.unwrap_or(Err(ApiError::TooSlow))
}

/// Copies each frame and drops it: a frame of one byte keeps a whole connection buffer alive, and a client may send a
/// body byte by byte.
async fn collect(mut body: Body, limit: usize) -> Result<Bytes, ApiError> {
    let mut whole = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| {
            ApiError::malformed("the connection broke while the body was read; send the request again")
        })?;
        let Some(piece) = frame.data_ref() else { continue };
        if whole.len() + piece.len() > limit {
            return Err(ApiError::TooLarge { most: limit });
        }
        whole.extend_from_slice(piece);
    }
    Ok(whole.into())
}

/// The declared length of the body. Trustworthy: the server reads no more than that.
fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn refuse_longer(headers: &HeaderMap, limit: usize) -> Result<(), ApiError> {
    let is_longer = length(headers).is_some_and(|length| length > limit as u64);
    if is_longer { Err(ApiError::TooLarge { most: limit }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures::stream::{StreamExt as _, iter};

    use super::*;

    /// Stands for a connection buffer of which the frame is one byte.
    struct Buffer(Arc<AtomicUsize>);

    impl AsRef<[u8]> for Buffer {
        fn as_ref(&self) -> &[u8] {
            b"x"
        }
    }

    impl Drop for Buffer {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }

    #[tokio::test]
    async fn a_body_that_comes_octet_by_octet_holds_no_more_than_its_octets() {
        let held = Arc::new(AtomicUsize::new(0));
        let (of, most) = (held.clone(), Arc::new(AtomicUsize::new(0)));
        let seen = most.clone();
        let pieces = iter(0..5_000).map(move |_| {
            of.fetch_add(1, Ordering::SeqCst);
            seen.fetch_max(of.load(Ordering::SeqCst), Ordering::SeqCst);
            Ok::<_, std::io::Error>(Bytes::from_owner(Buffer(of.clone())))
        });
        let headers = HeaderMap::new();
        let whole = read(Body::from_stream(pieces), &headers, 5_000).await.unwrap();
        assert_eq!((whole.len(), held.load(Ordering::SeqCst)), (5_000, 0));
        assert!(most.load(Ordering::SeqCst) <= 2, "{most:?} buffers at once");
        let longer =
            Body::from_stream(iter((0..11).map(|_| Ok::<_, std::io::Error>(Bytes::from_static(b"x")))));
        assert!(matches!(read(longer, &headers, 10).await, Err(ApiError::TooLarge { most: 10 })));
    }
}
