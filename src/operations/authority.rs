//! Who may do what, decided on versions that the unit of work carries, so that a right lost meanwhile is noticed.

use super::refusal::{Refusal, Resource};
use crate::aggregates::account::Open;
use crate::aggregates::api_key::{ApiKey, Minted};
use crate::aggregates::field::Invalid;
use crate::aggregates::user::User;
use crate::context::Actor;
use crate::dispatch::{DecideError, UnitOfWork};
use crate::ids::{AccountId, UserId};

/// The person who acts, if it is one.
pub(super) const fn person(work: &UnitOfWork<'_>) -> Option<UserId> {
    let context = work.context();
    match context.actor {
        Actor::User(id) => Some(id),
        Actor::Token(_) => context.on_behalf_of,
        Actor::ApiKey(_) | Actor::System | Actor::Operator => None,
    }
}

/// The person who acts, if it is one: somebody who has been forgotten meanwhile acts no more.
pub(super) async fn acting_person(work: &mut UnitOfWork<'_>) -> Result<Option<UserId>, DecideError<Refusal>> {
    let Some(id) = person(work) else { return Ok(None) };
    match work.load::<User>(id.as_uuid()).await?.registered() {
        Some(_) => Ok(Some(id)),
        None => Err(DecideError::Refused(Refusal::Forbidden)),
    }
}

/// Whether a key still is what it was when it was minted: not ended with the membership of whoever minted it.
pub(super) async fn is_good(
    work: &mut UnitOfWork<'_>,
    account: &Open,
    key: &Minted,
) -> Result<bool, DecideError<Refusal>> {
    if account.removals_of(key.minter) > key.removals {
        return Ok(false);
    }
    let minter = work.load::<User>(key.minter.as_uuid()).await?;
    Ok(minter.registered().is_some() || !account.includes(key.minter))
}

/// Whether the caller runs the instance.
pub(super) async fn is_operator(work: &mut UnitOfWork<'_>) -> Result<bool, DecideError<Refusal>> {
    if matches!(work.context().actor, Actor::System | Actor::Operator) {
        return Ok(true);
    }
    let Some(id) = person(work) else { return Ok(false) };
    let user = work.load::<User>(id.as_uuid()).await?;
    Ok(user.registered().is_some_and(|user| user.operator))
}

/// Only who runs the instance.
pub(super) async fn require_operator(work: &mut UnitOfWork<'_>) -> Result<(), DecideError<Refusal>> {
    if is_operator(work).await? { Ok(()) } else { Err(DecideError::Refused(Refusal::Forbidden)) }
}

/// Only this person, and who runs the instance.
pub(super) async fn require_self(
    work: &mut UnitOfWork<'_>,
    user: UserId,
) -> Result<(), DecideError<Refusal>> {
    if acting_person(work).await? == Some(user) { Ok(()) } else { require_operator(work).await }
}

/// Only the owner of the account, and who runs the instance; for strangers the account does not exist.
pub(super) async fn require_owner(
    work: &mut UnitOfWork<'_>,
    account: &Open,
) -> Result<(), DecideError<Refusal>> {
    match acting_person(work).await? {
        Some(id) if id == account.owner => Ok(()),
        _ if is_operator(work).await? => Ok(()),
        Some(id) if account.includes(id) => Err(DecideError::Refused(Refusal::Forbidden)),
        Some(_) => Err(DecideError::Refused(Refusal::NotFound(Resource::Account))),
        None => Err(DecideError::Refused(Refusal::Forbidden)),
    }
}

/// Only the account's members, its owner, its keys, and who runs the instance. Gives the person behind it: for a key
/// its minter, for who acts on the database nobody.
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

/// Who is written down as the maker of something: the caller, who may name nobody else; or whom who acts on the
/// database names. Never nobody.
pub(super) fn created_by(caller: Option<UserId>, named: Option<UserId>) -> Result<UserId, Refusal> {
    match (caller, named) {
        (Some(caller), Some(named)) if caller != named => Err(Refusal::Forbidden),
        (Some(maker), _) | (None, Some(maker)) => Ok(maker),
        (None, None) => Err(Refusal::Invalid(Invalid { field: "by", rule: "who makes it must be named" })),
    }
}
