//! How many there may be of what strangers and tenants can make: typed refusals, decided with the change itself.

use super::refusal::{LimitReached, Refusal};
use super::{accounts_of, credentials_of};
use crate::context::Actor;
use crate::dispatch::{DecideError, Failure, UnitOfWork};
use crate::ids::{AccountId, UserId};
use crate::projections::QueryError;

/// How many there may be. Whoever acts on the database itself is not held to it.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Living sources of an account.
    pub sources_per_account: u32,
    /// Pipes that people have made in an account.
    pub pipes_per_account: u32,
    /// Keys of an account that are not revoked.
    pub keys_per_account: u32,
    /// Pending invites of an account.
    pub pending_invites_per_account: u32,
    /// Accounts that one person owns.
    pub accounts_per_owner: u32,
    /// Living bearer tokens of one person.
    pub tokens_per_user: u32,
    /// Living sessions of one person; the oldest makes room for one more.
    pub sessions_per_user: u32,
    /// Living device codes that were asked for from one address (IPv6: one /64).
    pub device_codes_per_address: u32,
    /// Living device codes in all.
    pub device_codes: u32,
    /// Wrong user codes of one session, and of one address, within ten minutes.
    pub user_code_failures: u32,
    /// Wrong user codes in all, within ten minutes.
    pub user_code_failures_in_all: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sources_per_account: 1_000,
            pipes_per_account: 5_000,
            keys_per_account: 1_000,
            pending_invites_per_account: 1_000,
            accounts_per_owner: 100,
            tokens_per_user: 1_000,
            sessions_per_user: 1_000,
            device_codes_per_address: 100,
            device_codes: 10_000,
            user_code_failures: 10,
            user_code_failures_in_all: 1_000,
        }
    }
}

/// So close to a bound the set is guarded, which makes the bound exact: an eighth of the bound, at most so many.
const MAX_MARGIN: u32 = 512;

/// How many nodes may decide on one set at once: further away from the bound than the margin, so many of them can together
/// not pass it, because each guards the set too when an eighth of the margin is under way on it alone.
const NODES: u32 = 8;

/// What is counted.
#[derive(Clone, Copy)]
pub(super) enum Counted {
    Sources(AccountId),
    Pipes(AccountId),
    Keys(AccountId),
    PendingInvites(AccountId),
    Accounts(UserId),
    Tokens(UserId),
}

impl Counted {
    const fn what(self) -> &'static str {
        match self {
            Self::Sources(_) => "sources of the account",
            Self::Pipes(_) => "pipes of the account",
            Self::Keys(_) => "API keys of the account",
            Self::PendingInvites(_) => "pending invites of the account",
            Self::Accounts(_) => "accounts of the owner",
            Self::Tokens(_) => "bearer tokens of the user",
        }
    }

    const fn most(self, limits: &Limits) -> u32 {
        match self {
            Self::Sources(_) => limits.sources_per_account,
            Self::Pipes(_) => limits.pipes_per_account,
            Self::Keys(_) => limits.keys_per_account,
            Self::PendingInvites(_) => limits.pending_invites_per_account,
            Self::Accounts(_) => limits.accounts_per_owner,
            Self::Tokens(_) => limits.tokens_per_user,
        }
    }

    /// The name of the set.
    fn set(self) -> String {
        match self {
            Self::Sources(id) => format!("sources:{id}"),
            Self::Pipes(id) => format!("pipes:{id}"),
            Self::Keys(id) => format!("keys:{id}"),
            Self::PendingInvites(id) => format!("invites:{id}"),
            Self::Accounts(user) => accounts_of(user),
            Self::Tokens(user) => credentials_of(user),
        }
    }

    /// Makes the decision stand only on the set as it is.
    async fn guard_set(self, work: &mut UnitOfWork<'_>) -> Result<(), Failure> {
        let guard = match self {
            Self::Sources(id) | Self::Pipes(id) | Self::Keys(id) | Self::PendingInvites(id) => {
                return work.depend_on_account(id).await;
            }
            Self::Accounts(user) => accounts_of(user),
            Self::Tokens(user) => credentials_of(user),
        };
        work.bump_guard(guard.clone());
        work.read_guard(guard).await
    }

    async fn count(self, work: &UnitOfWork<'_>) -> Result<u32, QueryError> {
        let reader = work.reader();
        match self {
            Self::Sources(id) => reader.count_of_sources(id).await,
            Self::Pipes(id) => reader.count_of_pipes(id).await,
            Self::Keys(id) => reader.count_of_api_keys(id).await,
            Self::PendingInvites(id) => reader.count_of_pending_invites(id, work.at()).await,
            Self::Accounts(user) => reader.count_of_accounts(user).await,
            Self::Tokens(user) => reader.count_of_bearer_tokens(user, work.at()).await,
        }
    }
}

/// Refuses one more of what there are as many of as there may be.
pub(super) async fn enforce_limit(
    work: &mut UnitOfWork<'_>,
    counted: Counted,
    limits: &Limits,
) -> Result<(), DecideError<Refusal>> {
    if work.context().actor == Actor::Operator {
        return Ok(());
    }
    let most = counted.most(limits);
    let set = counted.set();
    let contenders = u32::try_from(work.contenders_on(&set)).unwrap_or(u32::MAX);
    let margin = (most / 8).min(MAX_MARGIN);
    let mut count = counted.count(work).await.map_err(Failure::from)?;
    let is_near = count.saturating_add(margin) >= most || contenders.saturating_mul(NODES) > margin;
    if count < most && is_near {
        work.wait_turn_on(&set).await;
        counted.guard_set(work).await?;
        count = counted.count(work).await.map_err(Failure::from)?;
    }
    if count < most {
        Ok(())
    } else {
        Err(DecideError::Refused(Refusal::LimitReached(LimitReached { what: counted.what(), most })))
    }
}
