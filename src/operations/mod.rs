//! The operations: one type each, over one or several aggregates, called through methods of [`crate::Tenure`].

mod accounts;
mod api_keys;
mod authority;
mod bearer_tokens;
mod clearing;
mod device_codes;
mod device_limits;
mod forget;
mod invites;
mod limits;
mod refusal;
mod registration;
mod rules;
mod sessions;
mod sign_in;
mod sign_in_links;
mod sources;
mod upgrade;
mod users;

pub use accounts::{EndedKeys, NAMED_KEYS};
pub use api_keys::{ApiKeySecret, MAX_GRACE};
pub use bearer_tokens::MAX_TTL;
pub use device_codes::{MAX_DEVICE_CODE_TTL, NewDeviceCode};
pub use device_limits::{GUESS_WINDOW, UserCodeAttempt, network_of};
pub use limits::Limits;
pub use refusal::{LimitReached, Refusal, Resource};
pub use rules::Rules;
pub use sign_in::SignedIn;
pub use sign_in_links::SIGN_IN_LINK_TTL;
pub use sources::MAX_BROADCAST_BYTES;

use crate::dispatch::{DispatchError, Dispatched};
use crate::ids::UserId;

/// The result of an operation: its answer with the stored events and the position token, or the reason it failed.
pub type Outcome<T> = Result<Dispatched<T>, DispatchError<Refusal>>;

/// The name of the guard on a user's bearer tokens and sessions.
pub(crate) fn credentials_of(user: UserId) -> String {
    format!("credentials_of:{user}")
}

/// The name of the guard on the accounts that a user owns or is a member of.
pub(crate) fn accounts_of(user: UserId) -> String {
    format!("accounts_of:{user}")
}

/// Turns malformed input into a refusal.
fn invalid(invalid: crate::aggregates::field::Invalid) -> DispatchError<Refusal> {
    DispatchError::Refused(Refusal::Invalid(invalid))
}

/// Turns a query result into a decision: a missing row is a `NotFound` refusal, any other error a failure.
fn or_not_found<T>(
    answer: Result<T, crate::projections::QueryError>,
    resource: Resource,
) -> Result<T, crate::dispatch::DecideError<Refusal>> {
    use crate::dispatch::{DecideError, Failure};
    answer.map_err(|error| match error {
        crate::projections::QueryError::NotFound => DecideError::Refused(Refusal::NotFound(resource)),
        crate::projections::QueryError::Unavailable(error) => DecideError::Failed(Failure::Read(error)),
    })
}
