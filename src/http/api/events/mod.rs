//! What has happened: an account's feed for whoever belongs to it, and everything for operators.

pub mod of_account;
pub mod of_all;

use axum::Json;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::event_log::PositionToken;
use crate::event_log::read::{Filter, Page};
use crate::history::EventRecord;
use crate::http::error::{ApiError, place};
use crate::http::state::AppState;

/// How many events a page holds at most.
const MAX_ITEMS: u32 = 1_000;

/// Which events.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Feed {
    /// `desc`: newest first; `asc`: oldest first [default: desc].
    #[param(pattern = "^(asc|desc)$")]
    pub order: Option<String>,
    /// How many at most [default: 100].
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
    /// Behind which the page begins: `next_cursor` of the page before, or the `Tenure-Position` of a write.
    #[param(pattern = "^[0-9]{1,19}-[0-9]{1,19}$")]
    pub cursor: Option<String>,
    /// Only events of this type, for example `account.opened`.
    #[serde(rename = "type")]
    #[param(rename = "type", pattern = "^[a-z_.]{1,64}$")]
    pub event_type: Option<String>,
}

/// A page of events.
#[derive(Serialize, ToSchema)]
pub struct EventPage {
    /// The events.
    #[schema(value_type = Vec<EventBody>)]
    pub items: Vec<EventRecord>,
    /// Where the next page begins. Oldest first it is always there, so that a reader can come back for what is yet to
    /// happen; newest first it is absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// An event.
#[derive(ToSchema)]
#[allow(dead_code)] // stands for the record of the engine in the API's description
pub struct EventBody {
    /// The place in the log.
    position: i64,
    /// The event's identity.
    event_id: crate::ids::EventId,
    /// The kind of aggregate.
    stream_type: String,
    /// The aggregate.
    stream_id: String,
    /// The place in the aggregate's stream.
    version: i64,
    /// What happened.
    #[schema(example = "account.opened")]
    event_type: String,
    /// The version of the event's shape.
    event_version: String,
    /// The tenant that it concerns.
    account_id: Option<crate::ids::AccountId>,
    /// When it was stored.
    recorded_at: crate::clock::Timestamp,
    /// What happened, in clear.
    #[schema(value_type = Value)]
    payload: serde_json::Value,
    /// Who did it, on whose behalf, in reaction to what.
    #[schema(value_type = Value)]
    metadata: serde_json::Value,
    /// What is sealed in it, open; `null` where the key has been destroyed, `(hidden)` for secrets.
    #[schema(value_type = Object)]
    sealed: serde_json::Value,
    /// Why this release cannot read it, if it cannot.
    #[schema(required = false)]
    unreadable: Option<String>,
}

impl AppState {
    async fn feed(&self, feed: Feed, account: Option<uuid::Uuid>) -> Result<Json<EventPage>, ApiError> {
        let limit = feed.limit.unwrap_or(100);
        if !(1..=MAX_ITEMS).contains(&limit) {
            return Err(ApiError::field("limit", "1 to 1000"));
        }
        let named = |octet: u8| octet.is_ascii_lowercase() || matches!(octet, b'_' | b'.');
        if feed
            .event_type
            .as_ref()
            .is_some_and(|kind| !(1..=64).contains(&kind.len()) || !kind.bytes().all(named))
        {
            return Err(ApiError::field("type", "a type as in docs/events.md, for example account.opened"));
        }
        let filter = Filter { account, types: feed.event_type.into_iter().collect(), ..Filter::default() };
        let log = self.tenure.log();
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
        let Page { events, next, epoch: found } = page.map_err(crate::dispatch::Failure::Read)?;
        if begin.is_some() && found != 0 && found != epoch {
            return Err(ApiError::LogReplaced);
        }
        let epoch = if found == 0 { epoch } else { found };
        let next = if oldest_first {
            next.or_else(|| events.last().map(|event| event.position)).or(Some(from.unwrap_or(0)))
        } else {
            next.filter(|position| *position > 1)
        };
        let next_cursor = next.map(|position| PositionToken { epoch, position }.to_string());
        let items = self.tenure.describe(&events).await.map_err(crate::dispatch::Failure::Codec)?;
        Ok(Json(EventPage { items, next_cursor }))
    }
}
