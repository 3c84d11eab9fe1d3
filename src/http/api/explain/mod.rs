//! Routes that tell why things are as they are: the story of an account, of things in it and of people, and what caused an event.

pub mod event;
pub mod of_account;
pub mod of_user;

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};

use crate::dispatch::Failure;
use crate::event_log::PositionToken;
use crate::explain::{Because, Entry, ExplainError, Story, Thing, Viewer, Who};
use crate::history::EventRecord;
use crate::http::caller::Caller;
use crate::http::error::{ApiError, place};
use crate::http::policy::is_operator;
use crate::http::state::AppState;
use crate::operations::{Refusal, Resource};

/// The most events on a page.
const MAX_ITEMS: u32 = 200;

/// Which part of a story to tell.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Part {
    /// The most events on the page [default: 100].
    #[param(minimum = 1, maximum = 200)]
    pub limit: Option<u32>,
    /// The `next_cursor` of the previous page; omit it for the first page.
    #[param(pattern = "^[0-9]{1,19}-[0-9]{1,19}$")]
    pub cursor: Option<String>,
}

/// An event of a story.
#[derive(Serialize, ToSchema)]
pub struct EntryRecord {
    /// What happened, as a sentence.
    #[schema(example = "The account was opened.")]
    pub what: String,
    /// The facts of the event by name, sealed ones included; users by their names.
    pub facts: BTreeMap<String, String>,
    /// Who did it, with which credential and on whose behalf.
    pub who: Who,
    /// Because of which event; `null` if it was a request of its own.
    #[schema(required = true)]
    pub because: Option<Because>,
    /// The event.
    #[schema(value_type = super::events::Event)]
    pub event: EventRecord,
}

impl From<Entry> for EntryRecord {
    fn from(Entry { what, facts, who, because, event }: Entry) -> Self {
        Self { what, facts, who, because, event }
    }
}

/// A page of a story, oldest event first. A page can be short or empty although there is a next one: what belongs to a story is
/// looked for in 50,000 events at a time.
#[derive(Serialize, ToSchema)]
pub struct StoryPage {
    /// The events.
    pub items: Vec<EntryRecord>,
    /// The `cursor` of the next page; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
    /// Whether there is more than is told: older credentials of a user who has had very many.
    pub is_partial: bool,
}

/// A page of the story of a thing.
async fn story(state: &AppState, thing: Thing, viewer: Viewer, part: Part) -> Result<StoryPage, ApiError> {
    let limit = part.limit.unwrap_or(100);
    if !(1..=MAX_ITEMS).contains(&limit) {
        return Err(ApiError::field("limit", "1 to 200"));
    }
    let begin = match &part.cursor {
        Some(cursor) => Some(place(state.tenure.log(), cursor, "cursor").await?),
        None => None,
    };
    let after = begin.map_or(0, |place| place.position);
    let told = state.tenure.explain(thing, viewer, after, limit as usize).await;
    let Story { entries, next, epoch, is_partial } = told.map_err(refusal)?;
    if begin.is_some_and(|begin| epoch != 0 && begin.epoch != epoch) {
        return Err(ApiError::LogReplaced);
    }
    let next_cursor = next.map(|position| PositionToken { epoch, position }.to_string());
    Ok(StoryPage { items: entries.into_iter().map(EntryRecord::from).collect(), next_cursor, is_partial })
}

/// As whom a caller who may see something sees it.
async fn viewer(state: &AppState, caller: Caller, otherwise: Viewer) -> Result<Viewer, ApiError> {
    Ok(if is_operator(state, caller).await? { Viewer::Operator } else { otherwise })
}

fn refusal(error: ExplainError) -> ApiError {
    let text = error.to_string();
    match error {
        ExplainError::NotFound(thing) | ExplainError::OtherKind { asked: thing, .. } => {
            ApiError::not_found(thing)
        }
        ExplainError::Forgotten { at, .. } => {
            let text =
                format!("the user was forgotten at {at}: nothing is told of people who were forgotten");
            ApiError::Told { refusal: Refusal::NotFound(Resource::User), text }
        }
        ExplainError::NoEvent(_) => ApiError::not_found(Resource::Event),
        ExplainError::Read(error) => Failure::Read(error).into(),
        ExplainError::Codec(error) => {
            tracing::error!(error = text, "a story could not be told");
            Failure::Codec(error).into()
        }
    }
}
