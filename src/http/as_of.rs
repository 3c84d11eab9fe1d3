//! `?as_of=`: an account as it was. Today's rights on today's account decide for its whole past.

use std::str::FromStr;

use axum::Json;
use axum::http::HeaderValue;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use super::caller::Caller;
use super::error::{ApiError, or_not_found};
use super::pagination::{Paging, Wanted};
use super::policy::{Permission, authorize, authorize_account};
use super::state::AppState;
use crate::clock::Timestamp;
use crate::event_log::ReadError;
use crate::operations::Resource;
use crate::projections::Reader;
use crate::projections::accounts::Account;
use crate::replay::{AccountPast, AccountPastError, MalformedMoment, Moment, MomentError, Resolved};

/// The response header with the position that an answer about the past shows.
const HEADER: &str = "tenure-as-of";

/// The moment that an answer is to show.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct AsOf {
    /// Show the account as it was: a time with an offset, such as `2026-01-31T12:00:00Z`, or a position. Not for API keys. The
    /// response header `Tenure-As-Of` has the position that is shown.
    pub as_of: Option<String>,
}

/// Which page of a list to return, and of which moment.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PagingAsOf {
    /// How many items to return at most [default: 50].
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
    /// The `next_cursor` of the previous page, with the same `as_of`; omit it for the first page.
    #[param(pattern = "^([A-Za-z0-9_-]{4}){0,255}([A-Za-z0-9_-]{2,3})?$")]
    cursor: Option<String>,
    /// Show the list as it was: a time with an offset, such as `2026-01-31T12:00:00Z`, or a position. Not for API keys. The
    /// response header `Tenure-As-Of` has the position that is shown.
    as_of: Option<String>,
}

/// An account that the caller may see, now or as it was.
pub struct View {
    /// The account: as it is now, for its identifier and the rights of callers.
    pub now: Account,
    /// The account as it is to be shown.
    pub account: Account,
    /// Reads what belongs to it.
    pub reader: Reader,
    /// The time by which things have expired or not.
    pub at: Timestamp,
    moment: Option<Resolved>,
    /// Bounds how many look at the past at the same time.
    _past: Option<AccountPast>,
}

impl View {
    /// Whether the past is shown.
    pub const fn is_past(&self) -> bool {
        self.moment.is_some()
    }

    /// A body that shows this view.
    pub const fn show<T>(&self, body: T) -> Shown<T> {
        Shown { body, moment: self.moment }
    }
}

/// A JSON body, with the position that it shows if that is in the past.
pub struct Shown<T> {
    body: T,
    moment: Option<Resolved>,
}

impl<T: Serialize> IntoResponse for Shown<T> {
    fn into_response(self) -> Response {
        let mut response = Json(self.body).into_response();
        if let Some(moment) = self.moment
            && let Ok(value) = HeaderValue::from_str(&moment.token().to_string())
        {
            response.headers_mut().insert(HEADER, value);
        }
        response
    }
}

/// Authorizes the caller for an account, named by its slug, and finds it as it is or was.
///
/// # Errors
/// Those of [`authorize`]; `NotFound` if the account did not exist then; [`ApiError::Malformed`] for a moment that cannot be looked
/// at; [`ApiError::Past`] if the answer takes too much.
pub async fn view(
    state: &AppState,
    caller: Caller,
    permission: Permission,
    slug: &str,
    AsOf { as_of }: AsOf,
) -> Result<View, ApiError> {
    let now = authorize(state, caller, permission, slug).await?;
    view_of(state, caller, permission, now, as_of).await
}

/// As [`view`], for a page of a list.
///
/// # Errors
/// Those of [`view`], and those of [`Paging`], which are found before the past is read.
pub async fn view_page<K: FromStr>(
    state: &AppState,
    caller: Caller,
    permission: Permission,
    slug: &str,
    PagingAsOf { limit, cursor, as_of }: PagingAsOf,
) -> Result<(View, Wanted<K>), ApiError> {
    let now = authorize(state, caller, permission, slug).await?;
    let wanted = Paging { limit, cursor }.wanted(state).await?;
    Ok((view_of(state, caller, permission, now, as_of).await?, wanted))
}

/// An account for which the caller has this permission, as it is or was.
async fn view_of(
    state: &AppState,
    caller: Caller,
    permission: Permission,
    now: Account,
    as_of: Option<String>,
) -> Result<View, ApiError> {
    let Some(text) = as_of else {
        let (reader, at) = (state.tenure.reader().clone(), state.tenure.clock().now());
        return Ok(View { account: now.clone(), now, reader, at, moment: None, _past: None });
    };
    // The past is history, whatever is asked of it.
    let now = authorize_account(state, caller, Permission::ReadHistory, now).await?;
    let moment: Moment = text.parse().map_err(|error: MalformedMoment| wrong(error.to_string()))?;
    let asker = match caller {
        Caller::Person { user, .. } => user.as_uuid(),
        Caller::Key { .. } | Caller::Anonymous => now.id.as_uuid(),
    };
    let past = state.tenure.replay().account_past(now.id, asker, moment).await;
    let past = past.map_err(|error| refusal(&error))?;
    let account = or_not_found(past.reader.account(now.id).await, Resource::Account)?;
    // Once more: the right may have been lost meanwhile.
    authorize(state, caller, permission, &now.id.to_string()).await?;
    let (at, moment) = (past.moment.at, Some(past.moment));
    Ok(View { now, account, reader: past.reader.clone(), at, moment, _past: Some(past) })
}

fn wrong(detail: String) -> ApiError {
    ApiError::Malformed { field: Some("as_of".to_owned()), detail: detail.into() }
}

fn refusal(error: &AccountPastError) -> ApiError {
    let detail = error.to_string();
    match error {
        AccountPastError::Moment(MomentError::Read(ReadError::LogReplaced { .. })) => ApiError::LogReplaced,
        AccountPastError::Moment(MomentError::Read(ReadError::BeyondHead { newest, .. })) => {
            wrong(format!("the log ends at position {newest}"))
        }
        AccountPastError::Moment(MomentError::Future { .. } | MomentError::BeforeFirst { .. }) => {
            wrong(detail)
        }
        AccountPastError::TooMany(_) | AccountPastError::TooSlow(_) => {
            ApiError::Past { code: "as_of_too_large", detail }
        }
        AccountPastError::Busy(_) => ApiError::Past { code: "as_of_busy", detail },
        AccountPastError::Moment(_) | AccountPastError::Replay(_) | AccountPastError::MayNotMakeTables => {
            tracing::error!(%error, "an account as it was could not be read");
            ApiError::Unavailable
        }
    }
}
