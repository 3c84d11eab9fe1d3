//! Authorization: every state it reads becomes a premise of the unit, so a permission lost meanwhile is a conflict.

use super::refusal::{Refusal, Resource};
use crate::aggregates::account::Open;
use crate::aggregates::api_key::{ApiKey, Minted};
use crate::aggregates::field::Invalid;
use crate::aggregates::user::User;
use crate::context::Actor;
use crate::dispatch::{DecideError, UnitOfWork};
use crate::ids::{AccountId, UserId};

/// The user who acts; none for API keys, the system and operators on the database.
pub(super) const fn person(work: &UnitOfWork<'_>) -> Option<UserId> {
    let context = work.context();
    match context.actor {
        Actor::User(id) => Some(id),
        Actor::Token(_) => context.on_behalf_of,
        Actor::ApiKey(_) | Actor::System | Actor::Operator => None,
    }
}

/// The user who acts, as [`person`] gives it; `Forbidden` if the user has been forgotten.
pub(super) async fn acting_person(work: &mut UnitOfWork<'_>) -> Result<Option<UserId>, DecideError<Refusal>> {
    let Some(id) = person(work) else { return Ok(None) };
    match work.load::<User>(id.as_uuid()).await?.registered() {
        Some(_) => Ok(Some(id)),
        None => Err(DecideError::Refused(Refusal::Forbidden)),
    }
}

/// Whether a key is still in force, that is, has not ended with its minter's membership.
pub(super) async fn is_good(
    work: &mut UnitOfWork<'_>,
    account: &Open,
    key: &Minted,
) -> Result<bool, DecideError<Refusal>> {
    // A higher count means that a membership ended after the key was minted. A minter who comes back revives no key.
    if account.removals_of(key.minter) > key.removals {
        return Ok(false);
    }
    // Forgetting a user ends the keys they minted where they are a member, before the membership itself is cleared
    // away. Keys that were kept when the membership ended earlier stay in force.
    let minter = work.load::<User>(key.minter.as_uuid()).await?;
    Ok(minter.registered().is_some() || !account.includes(key.minter))
}

/// Whether the caller is an operator: a user with the operator flag, the system, or the command line.
pub(super) async fn is_operator(work: &mut UnitOfWork<'_>) -> Result<bool, DecideError<Refusal>> {
    if matches!(work.context().actor, Actor::System | Actor::Operator) {
        return Ok(true);
    }
    let Some(id) = person(work) else { return Ok(false) };
    let user = work.load::<User>(id.as_uuid()).await?;
    Ok(user.registered().is_some_and(|user| user.operator))
}

/// Allows operators only.
pub(super) async fn require_operator(work: &mut UnitOfWork<'_>) -> Result<(), DecideError<Refusal>> {
    if is_operator(work).await? { Ok(()) } else { Err(DecideError::Refused(Refusal::Forbidden)) }
}

/// Allows this user and operators only.
pub(super) async fn require_self(
    work: &mut UnitOfWork<'_>,
    user: UserId,
) -> Result<(), DecideError<Refusal>> {
    if acting_person(work).await? == Some(user) { Ok(()) } else { require_operator(work).await }
}

/// Allows the owner of the account and operators only. Users outside the account get `NotFound`.
pub(super) async fn require_owner(
    work: &mut UnitOfWork<'_>,
    account: &Open,
) -> Result<(), DecideError<Refusal>> {
    match acting_person(work).await? {
        Some(id) if id == account.owner => Ok(()),
        _ if is_operator(work).await? => Ok(()),
        Some(id) if account.includes(id) => Err(DecideError::Refused(Refusal::Forbidden)),
        // Do not reveal that the account exists.
        Some(_) => Err(DecideError::Refused(Refusal::NotFound(Resource::Account))),
        None => Err(DecideError::Refused(Refusal::Forbidden)),
    }
}

/// Allows the account's owner, members and API keys, and operators. Returns the user behind the call: for a key its
/// minter, for the command line and the system none.
pub(super) async fn require_member(
    work: &mut UnitOfWork<'_>,
    id: AccountId,
    account: &Open,
) -> Result<Option<UserId>, DecideError<Refusal>> {
    if let Actor::ApiKey(key) = work.context().actor {
        let key = work.load::<ApiKey>(key.as_uuid()).await?;
        return match key.active(work.at()) {
            Some(key) if key.account == id && is_good(work, account, key).await? => Ok(Some(key.minter)),
            _ => Err(DecideError::Refused(Refusal::Forbidden)),
        };
    }
    match acting_person(work).await? {
        Some(person) if account.includes(person) => Ok(Some(person)),
        person if is_operator(work).await? => Ok(person),
        _ => Err(DecideError::Refused(Refusal::NotFound(Resource::Account))),
    }
}

/// The `created_by` of a new resource: the caller, or the user named by an operator. A caller cannot name another user.
pub(super) fn created_by(caller: Option<UserId>, named: Option<UserId>) -> Result<UserId, Refusal> {
    match (caller, named) {
        (Some(caller), Some(named)) if caller != named => Err(Refusal::Forbidden),
        (Some(maker), _) | (None, Some(maker)) => Ok(maker),
        (None, None) => {
            let rule = "a user; an operator must name who creates this";
            Err(Refusal::Invalid(Invalid { field: "by", rule }))
        }
    }
}
