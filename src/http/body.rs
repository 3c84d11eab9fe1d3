//! The bodies of requests: bounded by route and in time, and the long ones in number.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderMap, header};
use tokio::time::{Instant, timeout_at};

use super::caller::Caller;
use super::error::DoorError;
use super::turns::Turns;

/// The most bytes of a body where the route does not say otherwise.
pub const MAX_BODY: usize = 8 * 1_024;

/// The most bytes of a long body: a broadcast's payload, escaped, or 10,000 identifiers.
pub const MAX_LONG_BODY: usize = 512 * 1_024;

/// How long a body may take to come, and to wait for its turn.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// How many long bodies a node holds at once, and how many of them are one caller's: 32 MiB in all.
const LONG_BODIES: usize = 64;
const LONG_BODIES_PER_CALLER: usize = 8;

/// Turns at reading a long body.
#[must_use]
pub fn turns() -> Turns {
    Turns::new(LONG_BODIES, LONG_BODIES_PER_CALLER)
}

/// A body of at most `limit` bytes, whole, in time.
///
/// # Errors
/// It is too long, too slow, or breaks off.
pub async fn read(body: Body, headers: &HeaderMap, limit: usize) -> Result<Bytes, DoorError> {
    read_until(body, headers, limit, Instant::now() + BODY_TIMEOUT).await
}

/// An authenticated caller's body of at most `limit` bytes; a body that may be longer than [`MAX_BODY`] waits for its turn.
///
/// # Errors
/// As [`read`], or too many long ones are being read.
pub async fn read_known(
    body: Body,
    headers: &HeaderMap,
    limit: usize,
    caller: Caller,
    turns: &Turns,
) -> Result<Bytes, DoorError> {
    let deadline = Instant::now() + BODY_TIMEOUT;
    let is_short = limit <= MAX_BODY || length(headers).is_some_and(|length| length <= MAX_BODY as u64);
    let _turn = match caller.id() {
        Some(id) if !is_short => {
            refuse_longer(headers, limit)?;
            Some(turns.enter(id, deadline).await?)
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
) -> Result<Bytes, DoorError> {
    refuse_longer(headers, limit)?;
    match timeout_at(deadline, to_bytes(body, limit)).await {
        Err(_) => Err(DoorError::TooSlow),
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => {
            let too_large = std::error::Error::source(&error)
                .is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>);
            Err(if too_large { DoorError::TooLarge } else { DoorError::malformed("the body broke off") })
        }
    }
}

/// What a request says of the length of its body; the server holds it to that.
fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn refuse_longer(headers: &HeaderMap, limit: usize) -> Result<(), DoorError> {
    if length(headers).is_some_and(|length| length > limit as u64) {
        Err(DoorError::TooLarge)
    } else {
        Ok(())
    }
}
