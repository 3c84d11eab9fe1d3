//! Resolves what users type: names or ids of users and accounts, durations, and the user to act for.

use std::time::Duration;

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

/// Parses a duration: a whole number followed by `s`, `m`, `h` or `d`; seconds if the unit is missing.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let rule = || "must be a whole number followed by s, m, h or d, for example 10m".to_owned();
    let (digits, unit) = match text.char_indices().find(|(_, character)| !character.is_ascii_digit()) {
        Some((place, _)) => text.split_at(place),
        None => (text, "s"),
    };
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(rule()),
    };
    let count: u64 = digits.parse().map_err(|_| rule())?;
    // A large count of days would overflow.
    count.checked_mul(seconds).map(Duration::from_secs).ok_or_else(rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_unit() {
        for (text, seconds) in
            [("90", 90), ("90s", 90), ("10m", 600), ("24h", 86_400), ("2d", 172_800), ("0", 0)]
        {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in ["", "m", "-1", "1w", "1.5h", "99999999999999999999", "18446744073709551615d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
