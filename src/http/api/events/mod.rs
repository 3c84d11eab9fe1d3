//! Routes for events: an account's feed for its members and owner, and the whole log for operators.

pub mod of_account;
pub mod of_all;
pub mod stream;

use axum::Json;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::event_log::PositionToken;
use crate::event_log::read::{Filter, Page};
use crate::history::EventRecord;
use crate::http::error::{ApiError, place};
use crate::http::state::AppState;

/// The largest number of events in a page.
const MAX_ITEMS: u32 = 1_000;

/// Which events to list, and in which order.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Feed {
    /// `desc` for newest first, `asc` for oldest first [default: desc].
    #[param(pattern = "^(asc|desc)$")]
    pub order: Option<String>,
    /// The maximum number of events in the page [default: 100].
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
    /// Where the page starts, exclusive: `next_cursor` of the previous page, or the `Tenure-Position` of a write.
    #[param(pattern = "^[0-9]{1,19}-[0-9]{1,19}$")]
    pub cursor: Option<String>,
    /// List only events of this type, for example `account.opened`.
    #[serde(rename = "type")]
    #[param(rename = "type", pattern = "^[a-z_.]{1,64}$")]
    pub event_type: Option<String>,
}

/// A page of events.
#[derive(Serialize, ToSchema)]
pub struct EventPage {
    /// The events, in the requested order.
    #[schema(value_type = Vec<Event>)]
    pub items: Vec<EventRecord>,
    /// The `cursor` of the next page. With `order=asc` it is always present, so that a client can poll for new events;
    /// with `order=desc` it is absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// An event of the log.
#[derive(ToSchema)]
#[allow(dead_code)] // only describes the engine's `EventRecord` in the OpenAPI document
#[allow(clippy::struct_field_names)] // as the records of the log name them
pub struct Event {
    /// The position in the log; the first event has position 1, and there are no gaps.
    position: i64,
    /// The event's unique identifier.
    event_id: crate::ids::EventId,
    /// The type of the aggregate, for example `account`.
    stream_type: String,
    /// The aggregate's identifier.
    stream_id: String,
    /// The event's number in the stream of its aggregate, starting at 1.
    version: i64,
    /// The event type: what happened.
    #[schema(example = "account.opened")]
    event_type: String,
    /// The version of the payload format of this event type.
    event_version: String,
    /// The account that the event belongs to; `null` if it belongs to none.
    account_id: Option<crate::ids::AccountId>,
    /// When the event was stored.
    recorded_at: crate::clock::Timestamp,
    /// The unencrypted data of the event.
    #[schema(value_type = Value)]
    payload: serde_json::Value,
    /// Who caused the event, on behalf of which user, in which request, and in reaction to which event.
    #[schema(value_type = Value)]
    metadata: serde_json::Value,
    /// The sealed fields, decrypted: `null` if the data key was destroyed, `(hidden)` for secrets.
    #[schema(value_type = Object)]
    sealed: serde_json::Value,
    /// Why this release cannot read the event; absent if it can.
    #[schema(required = false)]
    unreadable: Option<String>,
}

/// The type of events that a reader asks for, by the same rule as the parameter's pattern in the OpenAPI document.
fn event_type_of(given: Option<String>) -> Result<Option<String>, ApiError> {
    let named = |octet: u8| octet.is_ascii_lowercase() || matches!(octet, b'_' | b'.');
    match &given {
        Some(kind) if !(1..=64).contains(&kind.len()) || !kind.bytes().all(named) => {
            Err(ApiError::field("type", "a type from docs/events.md, for example account.opened"))
        }
        _ => Ok(given),
    }
}

/// A page of the events of an account, or of all events if `account` is `None`.
async fn feed(
    state: &AppState,
    feed: Feed,
    account: Option<uuid::Uuid>,
) -> Result<Json<EventPage>, ApiError> {
    let limit = feed.limit.unwrap_or(100);
    if !(1..=MAX_ITEMS).contains(&limit) {
        return Err(ApiError::field("limit", "1 to 1000"));
    }
    let types = event_type_of(feed.event_type)?.into_iter().collect();
    let filter = Filter { account, types, ..Filter::default() };
    let log = state.tenure.log();
    let oldest_first = match feed.order.as_deref() {
        Some("asc") => true,
        None | Some("desc") => false,
        Some(_) => return Err(ApiError::field("order", "`asc` or `desc`")),
    };
    let begin = match &feed.cursor {
        Some(cursor) => Some(place(log, cursor, "cursor").await?),
        None => None,
    };
    let epoch = begin.map_or_else(|| log.seen().get().epoch, |place| place.epoch);
    let (from, limit) = (begin.map(|place| place.position), i64::from(limit));
    let page = if oldest_first {
        log.read_page(from.unwrap_or(0), &filter, limit).await
    } else {
        log.read_page_back(from.unwrap_or(i64::MAX), &filter, limit).await
    };
    let Page { events, next, searched_to, epoch: found } = page.map_err(crate::dispatch::Failure::Read)?;
    // The log can be restored or fail over between resolving the cursor and reading: the page would then continue
    // another log. An epoch of 0 means that no event was read.
    if begin.is_some() && found != 0 && found != epoch {
        return Err(ApiError::LogReplaced);
    }
    let epoch = if found == 0 { epoch } else { found };
    let next = if oldest_first {
        // At the end of the log, too: the client polls from here for new events.
        let last = || events.last().map(|event| event.position).or(from).or(Some(0));
        next.or(searched_to).or_else(last)
    } else {
        // Positions start at 1: nothing comes before the first event.
        next.filter(|position| *position > 1)
    };
    let next_cursor = next.map(|position| PositionToken { epoch, position }.to_string());
    let items = state.tenure.describe(&events).await.map_err(crate::dispatch::Failure::Codec)?;
    Ok(Json(EventPage { items, next_cursor }))
}
