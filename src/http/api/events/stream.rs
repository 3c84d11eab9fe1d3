//! `GET /api/v1/events/stream` and `GET /api/v1/accounts/{account}/events/stream`: events as they happen, as server-sent
//! events (WHATWG HTML, §9.2).

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Extension, FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use futures::stream::unfold;
use secrecy::SecretString;
use serde::Deserialize;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;
use utoipa::IntoParams;
use uuid::Uuid;

use super::event_type_of;
use crate::clock::Timestamp;
use crate::event_log::PositionToken;
use crate::event_log::read::Filter;
use crate::http::caller::{Caller, Via, presented_credential};
use crate::http::error::{ApiError, place};
use crate::http::extract::{AuthenticatedRead, Parameters};
use crate::http::fair_semaphore::Permit;
use crate::http::policy::{Permission, authorize, reads_until, require_operator};
use crate::http::state::SharedState;
use crate::ids::{AccountId, UserId};
use crate::subscribers::live::{Look, Seat, Shown, Topic};

/// How often a reader is sent its place, and is checked for the expiry of its rights, if nothing happens.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// The most events that are made ready for a reader at once.
const MOST: usize = 64;

/// The pause before something is read again that could not be.
const RETRY: Duration = Duration::from_millis(250);

/// The place after which a reader resumes: the `id` of the last event that it got.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Which events to send, and from where on.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct StreamQuery {
    /// Where to begin, exclusive: the `id` of an event, a `next_cursor`, or the `Tenure-Position` of a write. `start` begins with
    /// the first event [default: the newest event]. `Last-Event-ID` goes before it, so that a browser resumes where it was.
    #[param(pattern = "^(start|[0-9]{1,19}-[0-9]{1,19})$")]
    pub cursor: Option<String>,
    /// Send only events of this type, for example `account.opened`.
    #[serde(rename = "type")]
    #[param(rename = "type", pattern = "^[a-z_.]{1,64}$")]
    pub event_type: Option<String>,
}

/// Follow the events of an account
///
/// Server-sent events: each has the record of an event as `data` and the place to resume from as `id`; an `id` without `data`
/// comes every ten seconds. An event of the type `end` says why the server ends the stream. For the account's members and
/// owner, and operators.
#[utoipa::path(get, path = "/api/v1/accounts/{account}/events/stream", operation_id = "followAccountEvents", tag = "events",
    params(("account" = String, Path, description = "The account's identifier or name"), StreamQuery),
    responses((status = 200, description = "The events, until the client goes away", body = String,
        content_type = "text/event-stream")))]
pub async fn of_account(
    State(state): State<SharedState>,
    read: AuthenticatedRead,
    Path(account): Path<String>,
    Parameters(query): Parameters<StreamQuery>,
    request: StreamRequest,
) -> Result<Response, ApiError> {
    let account = authorize(&state, read.caller, Permission::ReadHistory, &account).await?;
    follow(state, read.caller, Some(account.id), query, request).await
}

/// Follow all events
///
/// Server-sent events, as for an account. For operators.
#[utoipa::path(get, path = "/api/v1/events/stream", operation_id = "followEvents", tag = "events", params(StreamQuery),
    responses((status = 200, description = "The events, until the client goes away", body = String,
        content_type = "text/event-stream")))]
pub async fn of_all(
    State(state): State<SharedState>,
    read: AuthenticatedRead,
    Parameters(query): Parameters<StreamQuery>,
    request: StreamRequest,
) -> Result<Response, ApiError> {
    require_operator(&state, read.caller).await?;
    follow(state, read.caller, None, query, request).await
}

/// What a stream needs of its request.
pub struct StreamRequest {
    /// The credential, to be checked again.
    credential: SecretString,
    last_event_id: Option<String>,
    /// Cancelled when the server stops.
    stopping: CancellationToken,
}

impl FromRequestParts<SharedState> for StreamRequest {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &SharedState) -> Result<Self, ApiError> {
        let credential = presented_credential(state, &parts.headers)?.ok_or(ApiError::NoCredential)?;
        let stopping = Extension::<CancellationToken>::from_request_parts(parts, state).await;
        let Extension(stopping) = stopping.map_err(|_| ApiError::Internal)?;
        Ok(Self { credential, last_event_id: last_event_id(&parts.headers)?, stopping })
    }
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let mut given = headers.get_all(LAST_EVENT_ID).iter();
    let wrong = || ApiError::field("last-event-id", "send the `id` of the last event once");
    let Some(id) = given.next() else { return Ok(None) };
    let id = id.to_str().map_err(|_| wrong())?;
    if given.next().is_some() {
        return Err(wrong());
    }
    Ok(Some(id.to_owned()).filter(|id| !id.is_empty()))
}

async fn follow(
    state: SharedState,
    caller: Caller,
    account: Option<AccountId>,
    query: StreamQuery,
    request: StreamRequest,
) -> Result<Response, ApiError> {
    let user = caller.person()?;
    let filter = Filter {
        account: account.map(AccountId::as_uuid),
        types: event_type_of(query.event_type)?.into_iter().collect(),
        ..Filter::default()
    };
    // A place is for one reader, and nobody waits for one.
    let permit = state.streams.acquire(user.as_uuid(), Instant::now()).await?;
    let rights = [Some(user.as_uuid()), credential_id(caller), account.map(AccountId::as_uuid)];
    let rights: Vec<Uuid> = rights.into_iter().flatten().collect();
    let topic = filter.account.map_or(Topic::All, Topic::Account);
    let log = state.tenure.log();
    let begin = match (&request.last_event_id, query.cursor.as_deref()) {
        (Some(id), _) => Some(place(log, id, LAST_EVENT_ID.as_str()).await?),
        (None, None | Some("start")) => None,
        (None, Some(cursor)) => Some(place(log, cursor, "cursor").await?),
    };
    let seat = state.live.join(topic, &rights).await.map_err(crate::dispatch::Failure::Read)?;
    let (epoch, newest) = seat.newest().ok_or(ApiError::Unavailable)?;
    let after = match begin {
        // The log may have been replaced since the place was looked up.
        Some(begin) if begin.epoch != epoch => return Err(ApiError::LogReplaced),
        Some(begin) => begin.position,
        None if query.cursor.is_some() => 0,
        None => newest,
    };
    let mut heartbeat = interval_at(Instant::now() + HEARTBEAT, HEARTBEAT);
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let StreamRequest { credential, stopping, .. } = request;
    let reader = Reader {
        state,
        user,
        caller,
        account,
        credential,
        seat,
        filter,
        epoch,
        after,
        checked: 0,
        // Its rights may have ended before it joined.
        until: Timestamp::default(),
        heartbeat,
        stopping,
        begun: false,
        ended: false,
        _permit: permit,
    };
    let events = unfold(reader, async |mut reader| {
        let piece = reader.next().await?;
        Some((Ok::<_, std::convert::Infallible>(piece), reader))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store"),
        // nginx would keep events back until its buffer is full.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(events)).into_response())
}

/// The stream of the caller's own credential, which an event ends.
const fn credential_id(caller: Caller) -> Option<Uuid> {
    match caller {
        Caller::Person { via: Via::Token(token), .. } => Some(token.as_uuid()),
        Caller::Person { via: Via::Session(session), .. } => Some(session.as_uuid()),
        Caller::Key { .. } | Caller::Anonymous => None,
    }
}

/// A reader of a stream.
struct Reader {
    state: SharedState,
    user: UserId,
    caller: Caller,
    account: Option<AccountId>,
    credential: SecretString,
    seat: Seat,
    filter: Filter,
    epoch: i64,
    /// The place up to which the reader has everything.
    after: i64,
    /// The newest event of its rights' streams that a check has covered.
    checked: i64,
    /// Its rights hold until then, unless an event ends them.
    until: Timestamp,
    heartbeat: Interval,
    stopping: CancellationToken,
    begun: bool,
    ended: bool,
    _permit: Permit,
}

impl Reader {
    /// The next piece of the stream; none at its end.
    async fn next(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        if !self.begun {
            self.begun = true;
            // A client that is cut off before the first event resumes from here.
            return Some(format!("retry: 1000\n{}", self.place()).into());
        }
        let stopping = self.stopping.clone();
        let piece = tokio::select! {
            piece = self.piece() => piece,
            // No word of farewell: the client goes on at another node.
            () = stopping.cancelled() => return None,
        };
        Some(piece)
    }

    async fn piece(&mut self) -> Bytes {
        loop {
            let (epoch, after) = (self.epoch, self.after);
            let filter = &self.filter;
            let look = self.seat.look(epoch, after, MOST, |event| wants(filter, event));
            match look {
                Look::Ended => return self.end("log_replaced"),
                Look::Behind(newest) => match self.read(newest).await {
                    Ok((events, place)) if events.is_empty() => self.after = place,
                    Ok((events, place)) => return self.send(&events, place).await,
                    Err(ApiError::LogReplaced) => return self.end("log_replaced"),
                    Err(_) => tokio::time::sleep(RETRY).await,
                },
                Look::Events(events, place) if events.is_empty() => {
                    self.after = place;
                    tokio::select! {
                        () = self.seat.changed() => {}
                        _ = self.heartbeat.tick() => return self.send(&[], place).await,
                    }
                    // Its rights may have ended with an event that it does not get.
                    if self.seat.rights_touched_at() > self.checked && !self.check().await {
                        return self.end("forbidden");
                    }
                }
                Look::Events(events, place) => return self.send(&events, place).await,
            }
        }
    }

    /// The next matching events of the log, for a reader that is behind the window, which ends at `newest`.
    async fn read(&self, newest: i64) -> Result<(Vec<Arc<Shown>>, i64), ApiError> {
        let failed = crate::dispatch::Failure::Read;
        let most = i64::try_from(MOST).unwrap_or(i64::MAX);
        let page = self.state.tenure.log().read_page(self.after, &self.filter, most).await.map_err(failed)?;
        if page.epoch != 0 && page.epoch != self.epoch {
            return Err(ApiError::LogReplaced);
        }
        let records = self.state.tenure.describe(&page.events).await;
        let records = records.map_err(crate::dispatch::Failure::Codec)?;
        // Without a next page, everything up to `newest` was there to be found.
        let last = records.last().map_or(self.after, |record| record.position);
        let place = page.next.unwrap_or_else(|| newest.max(last));
        Ok((records.iter().map(|record| Arc::new(Shown::of(record))).collect(), place))
    }

    /// Sends events, once it is sure that the reader may have them: whatever ended its rights before them is seen by now.
    async fn send(&mut self, events: &[Arc<Shown>], place: i64) -> Bytes {
        let is_over = self.until <= self.state.tenure.clock().now();
        if (is_over || self.seat.rights_touched_at() > self.checked) && !self.check().await {
            return self.end("forbidden");
        }
        let mut text = String::new();
        for event in events {
            // JSON without line ends is one line of `data`.
            let json = String::from_utf8_lossy(&event.json);
            let _ = write!(text, "id: {}\ndata: {json}\n\n", self.token(event.position));
        }
        self.after = place;
        if events.last().is_none_or(|last| last.position < place) {
            text.push_str(&self.place());
        }
        text.into()
    }

    /// Whether the reader still has its rights. Waits while nobody can tell: what may not be read is never sent.
    async fn check(&mut self) -> bool {
        loop {
            let touched = self.seat.rights_touched_at();
            match reads_until(&self.state, self.caller, &self.credential, self.account).await {
                Ok(Some(until)) => {
                    (self.checked, self.until) = (touched, until);
                    return true;
                }
                Ok(None) => return false,
                Err(error) if error.status() != StatusCode::SERVICE_UNAVAILABLE => return false,
                Err(_) => tokio::time::sleep(RETRY).await,
            }
        }
    }

    fn token(&self, position: i64) -> PositionToken {
        PositionToken { epoch: self.epoch, position }
    }

    /// The reader's place without an event.
    fn place(&self) -> String {
        format!("id: {}\n\n", self.token(self.after))
    }

    /// The last piece.
    fn end(&mut self, why: &str) -> Bytes {
        self.ended = true;
        tracing::debug!(user = %self.user, why, "a stream of events ends");
        format!("event: end\ndata: {{\"reason\":\"{why}\"}}\n\n").into()
    }
}

fn wants(filter: &Filter, event: &Shown) -> bool {
    filter.account.is_none_or(|account| event.account == Some(account))
        && (filter.types.is_empty() || filter.types.contains(&event.event_type))
}
