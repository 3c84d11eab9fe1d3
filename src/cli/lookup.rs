//! Resolves what users type: names or ids of users and accounts, and the user to act for.

use crate::Tenure;
use crate::aggregates::field::Invalid;
use crate::context::{Actor, Context};
use crate::dispatch::DispatchError;
use crate::ids::UserId;
use crate::operations::{Refusal, Resource};
use crate::projections::{QueryError, accounts, users};

/// The user with this username or id.
pub(super) async fn user(tenure: &Tenure, text: &str) -> anyhow::Result<users::User> {
    // Unambiguous: a username that forms a UUID is refused.
    let found = match text.parse() {
        Ok(id) => tenure.reader().user(id).await,
        Err(_) => tenure.reader().user_by_username(text).await,
    };
    found.map_err(|error| missing(error, Resource::User))
}

/// The account with this name or id.
pub(super) async fn account(tenure: &Tenure, text: &str) -> anyhow::Result<accounts::Account> {
    tenure.reader().account_by_slug(text).await.map_err(|error| missing(error, Resource::Account))
}

/// The user named by a flag. Required on a database, where no user is logged in.
pub(super) async fn named(
    tenure: &Tenure,
    text: Option<&str>,
    flag: &'static str,
) -> anyhow::Result<users::User> {
    match text {
        Some(text) => user(tenure, text).await,
        None => Err(Invalid { field: flag, rule: "required on a database; name a user" }.into()),
    }
}

/// Turns "not found" into the refusal that has the exit code of a missing resource.
pub(super) fn missing(error: QueryError, thing: Resource) -> anyhow::Error {
    match error {
        QueryError::NotFound => DispatchError::Refused(Refusal::NotFound(thing)).into(),
        QueryError::Unavailable(_) => error.into(),
    }
}

/// Parses an id. A malformed id is reported as not found, because no resource can have it.
pub(super) fn id<T: std::str::FromStr>(text: &str, thing: Resource) -> anyhow::Result<T> {
    text.parse().map_err(|_| DispatchError::Refused(Refusal::NotFound(thing)).into())
}

/// The context of an operator who acts for a user.
pub(super) const fn on_behalf_of(user: UserId) -> Context {
    let context = Context::of(Actor::Operator);
    Context { on_behalf_of: Some(user), ..context }
}
