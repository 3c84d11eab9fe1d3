//! Limits on what clients and accounts can create, checked as part of the command that would exceed them.

use super::refusal::{LimitReached, Refusal};
use super::{accounts_of, credentials_of};
use crate::context::Actor;
use crate::dispatch::{DecideError, Failure, UnitOfWork};
use crate::ids::{AccountId, UserId};
use crate::projections::QueryError;

/// The limits of an instance. Commands run directly on the database (`Actor::Operator`) are exempt.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Active sources per account.
    pub sources_per_account: u32,
    /// Pipes created by users, per account; the built-in pipes of a source do not count.
    pub pipes_per_account: u32,
    /// API keys per account that are not revoked; expired ones count.
    pub keys_per_account: u32,
    /// Pending invites per account.
    pub pending_invites_per_account: u32,
    /// Accounts that one user owns.
    pub accounts_per_owner: u32,
    /// Active bearer tokens per user.
    pub tokens_per_user: u32,
    /// Active sessions per user. At the limit, a new session ends the oldest one instead of being refused.
    pub sessions_per_user: u32,
    /// Active device codes requested from one address (IPv6: one /64).
    pub device_codes_per_address: u32,
    /// Active device codes in total.
    pub device_codes: u32,
    /// Wrong user codes within ten minutes, per session, per user and per address (IPv6: per /64).
    pub user_code_failures: u32,
    /// Wrong user codes within ten minutes, in total.
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

/// Upper bound of the margin below a limit within which the set is guarded; the margin is an eighth of the limit. The
/// guard makes the limit exact, at the cost of retries.
const MAX_MARGIN: u32 = 512;

/// How many nodes may decide on one set at once without exceeding the limit. A node also guards the set when more than
/// `margin / NODES` of its own decisions are in flight, so the unguarded decisions of all nodes stay within the margin.
const NODES: u32 = 8;

/// A limited set, with the account or user it belongs to.
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
            Self::Sources(_) => "sources per account",
            Self::Pipes(_) => "pipes per account",
            Self::Keys(_) => "API keys per account",
            Self::PendingInvites(_) => "pending invites per account",
            Self::Accounts(_) => "accounts per owner",
            Self::Tokens(_) => "bearer tokens per user",
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

    /// The name under which this node counts the decisions in flight on the set.
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

    /// Makes the decision conflict with every concurrent change of the set.
    async fn guard_set(self, work: &mut UnitOfWork<'_>) -> Result<(), Failure> {
        let guard = match self {
            Self::Sources(id) | Self::Pipes(id) | Self::Keys(id) | Self::PendingInvites(id) => {
                // The account's own events guard these sets: each event carries the account, so no guard row is needed.
                return work.depend_on_account(id).await;
            }
            Self::Accounts(user) => accounts_of(user),
            Self::Tokens(user) => credentials_of(user),
        };
        // Events cannot be looked up by user, so these sets need a guard that every change bumps.
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

/// Refuses the command if the limit has been reached.
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
    // Far below the limit a plain count is enough: concurrent decisions cannot close the gap, and a guard would cost
    // retries.
    let margin = (most / 8).min(MAX_MARGIN);
    let mut count = counted.count(work).await.map_err(Failure::from)?;
    let is_near = count.saturating_add(margin) >= most || contenders.saturating_mul(NODES) > margin;
    if count < most && is_near {
        // Serialize the decisions of this node first: unserialized, all but one of them would lose the guard and retry.
        work.wait_turn_on(&set).await;
        counted.guard_set(work).await?;
        // Count again: a guard protects only what is read after it.
        count = counted.count(work).await.map_err(Failure::from)?;
    }
    if count < most {
        Ok(())
    } else {
        Err(DecideError::Refused(Refusal::LimitReached(LimitReached { what: counted.what(), most })))
    }
}
