//! Authorization: one table of permissions and roles, for every route.

use secrecy::SecretString;

use super::caller::{Caller, good_until};
use super::error::{ApiError, or_not_found};
use super::quoted::quoted;
use super::state::AppState;
use crate::clock::Timestamp;
use crate::ids::{AccountId, UserId};
use crate::operations::Resource;
use crate::projections::QueryError;
use crate::projections::accounts::Account;

/// A permission on an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Read the account, its sources and its pipes.
    Read,
    /// List the members of the account.
    ReadMembers,
    /// Create, change and delete sources and pipes, and broadcast.
    ManageSources,
    /// Manage keys, invites, members and ownership, and close the account.
    Administer,
    /// Read the events of the account.
    ReadHistory,
    /// Verify API keys of the account.
    VerifyKeys,
    /// Get a credential for a NATS user of the account.
    Exchange,
}

/// The role of a caller in an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// An API key of the account.
    Key,
    /// A member of the account who does not own it.
    Member,
    /// The user who owns the account.
    Owner,
    /// A user who operates the instance; not necessarily a member of the account.
    Operator,
}

/// The table: whether a role has a permission.
const fn allows(permission: Permission, role: Role) -> bool {
    use Role::{Key, Member, Operator, Owner};
    match permission {
        Permission::Read | Permission::ManageSources => matches!(role, Key | Member | Owner | Operator),
        // Not for keys: a key acts on the account's sources and pipes only.
        Permission::ReadMembers | Permission::ReadHistory => matches!(role, Member | Owner | Operator),
        Permission::Administer => matches!(role, Owner | Operator),
        Permission::VerifyKeys => matches!(role, Key | Owner | Operator),
        // What goes through an account is its own.
        Permission::Exchange => matches!(role, Key | Member | Owner),
    }
}

/// Authorizes the caller for an account, named by its slug, and returns the account.
///
/// # Errors
/// [`ApiError::NoCredential`]; `NotFound` if there is no such account or the caller has no role in it;
/// [`ApiError::FORBIDDEN`] if the role lacks the permission; [`ApiError::TooMany`] at the account's rate limit.
pub async fn authorize(
    state: &AppState,
    caller: Caller,
    permission: Permission,
    slug: &str,
) -> Result<Account, ApiError> {
    // Before the look-up, so that anonymous callers cannot find out which accounts exist.
    if caller == Caller::Anonymous {
        return Err(ApiError::NoCredential);
    }
    let account = or_not_found(state.tenure.reader().account_by_slug(slug).await, Resource::Account)?;
    authorize_account(state, caller, permission, account).await
}

/// Authorizes the caller for an account that was already read.
///
/// # Errors
/// Those of [`authorize`].
pub async fn authorize_account(
    state: &AppState,
    caller: Caller,
    permission: Permission,
    account: Account,
) -> Result<Account, ApiError> {
    let role = role(state, caller, &account).await?;
    // Not found instead of forbidden: a stranger must not learn that the account exists.
    let role = role.ok_or(ApiError::not_found(Resource::Account))?;
    if !allows(permission, role) {
        return Err(ApiError::FORBIDDEN);
    }
    // Counted only after authorization, so that strangers cannot use up the tenant's rate limit.
    state.rate_limits.tenant(account.id)?;
    Ok(account)
}

/// The role of a caller in an account; none for strangers.
async fn role(state: &AppState, caller: Caller, account: &Account) -> Result<Option<Role>, ApiError> {
    match caller {
        Caller::Anonymous => Err(ApiError::NoCredential),
        // A key never has the rights of the user who minted it.
        Caller::Key { account: of, .. } => Ok((of == account.id).then_some(Role::Key)),
        Caller::Person { user, .. } if user == account.owner_user_id => Ok(Some(Role::Owner)),
        Caller::Person { user, .. } => {
            // Before the membership: an operator who is also a member must keep the wider role.
            if user_is_operator(state, user).await? {
                return Ok(Some(Role::Operator));
            }
            let member = state.tenure.reader().membership(account.id, user).await?;
            Ok(member.then_some(Role::Member))
        }
    }
}

async fn user_is_operator(state: &AppState, user: UserId) -> Result<bool, ApiError> {
    Ok(or_not_found(state.tenure.reader().user(user).await, Resource::User)?.operator)
}

/// Whether the caller is a user who operates the instance.
///
/// # Errors
/// `NotFound` if the user no longer exists; [`ApiError::Unavailable`] if the user cannot be read.
pub async fn is_operator(state: &AppState, caller: Caller) -> Result<bool, ApiError> {
    match caller {
        Caller::Person { user, .. } => user_is_operator(state, user).await,
        Caller::Anonymous | Caller::Key { .. } => Ok(false),
    }
}

/// Authorizes operators only.
///
/// # Errors
/// [`ApiError::NoCredential`] if the caller is anonymous, [`ApiError::FORBIDDEN`] for all other callers.
pub async fn require_operator(state: &AppState, caller: Caller) -> Result<(), ApiError> {
    // Anonymous callers get 401 and not 403.
    caller.context()?;
    if is_operator(state, caller).await? { Ok(()) } else { Err(ApiError::FORBIDDEN) }
}

/// Until when a reader of events may go on, unless an event ends its rights; none if it may not. Its credential has to be good,
/// and it has to read the history of the account, or of all.
///
/// # Errors
/// [`ApiError::Unavailable`] if nobody can tell.
pub async fn reads_until(
    state: &AppState,
    caller: Caller,
    credential: &SecretString,
    account: Option<AccountId>,
) -> Result<Option<Timestamp>, ApiError> {
    let Some(until) = good_until(state, caller, credential).await? else { return Ok(None) };
    let Some(account) = account else {
        return Ok(is_operator(state, caller).await?.then_some(until));
    };
    match state.tenure.reader().account(account).await {
        Ok(account) => {
            let role = role(state, caller, &account).await?;
            Ok(role.is_some_and(|role| allows(Permission::ReadHistory, role)).then_some(until))
        }
        Err(QueryError::NotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Authorizes the caller for a user, named in a path by `me`, identifier or username: the caller, or any user if
/// the caller is an operator.
///
/// # Errors
/// [`ApiError::NoCredential`]; [`ApiError::FORBIDDEN`] for API keys; `NotFound` for other users.
pub async fn authorize_self(state: &AppState, caller: Caller, slug: &str) -> Result<UserId, ApiError> {
    let me = caller.person()?;
    if slug == "me" {
        return Ok(me);
    }
    let not_found = || ApiError::not_found(Resource::User);
    let reader = state.tenure.reader();
    let wanted = match slug.parse::<UserId>() {
        Ok(id) if id == me => return Ok(me),
        Ok(id) => reader.user(id).await,
        Err(_) => reader.user_by_username(slug).await,
    };
    // Another user and an unknown one get the same answer, so that usernames cannot be probed.
    let operator = user_is_operator(state, me).await?;
    let wanted = or_not_found(wanted, Resource::User)?.id;
    if wanted == me || operator { Ok(wanted) } else { Err(not_found()) }
}

/// The account that a caller acts in on the routes for ppz's clients: the key's own, else the one named by its
/// identifier, else the user's default account.
///
/// # Errors
/// [`ApiError::NoCredential`]; [`ApiError::InvalidOrg`] if the caller does not act in the account, or has none;
/// [`ApiError::TooMany`] at the account's rate limit.
pub async fn acting_account(
    state: &AppState,
    caller: Caller,
    permission: Permission,
    named: Option<&str>,
) -> Result<Account, ApiError> {
    // Shortened and harmless, because clients print it.
    let shown = named.map(quoted);
    let invalid = || ApiError::InvalidOrg { named: shown.clone() };
    let named = match named {
        None => None,
        Some(text) => Some(text.parse::<AccountId>().map_err(|_| invalid())?),
    };
    let user = match caller {
        Caller::Anonymous => return Err(ApiError::NoCredential),
        Caller::Key { account, .. } => {
            return match named {
                // Refused, not ignored: the client believes that it acts in the named account.
                Some(named) if named != account => Err(invalid()),
                _ => {
                    state.rate_limits.tenant(account)?;
                    match state.tenure.reader().account(account).await {
                        Err(QueryError::NotFound) => Err(invalid()),
                        account => Ok(account?),
                    }
                }
            };
        }
        Caller::Person { user, .. } => user,
    };
    let reader = state.tenure.reader();
    let account = match named {
        Some(id) => reader.account(id).await,
        None => reader.default_account_for(user).await,
    };
    let account = match account {
        Ok(account) => account,
        // The same error as for another tenant's account, so that identifiers cannot be probed.
        Err(QueryError::NotFound) => return Err(invalid()),
        Err(error) => return Err(error.into()),
    };
    let role = match role(state, caller, &account).await? {
        // Of the two roles of an operator who is a member too, the other one may allow it.
        Some(Role::Operator) if !allows(permission, Role::Operator) => {
            reader.membership(account.id, user).await?.then_some(Role::Member)
        }
        role => role,
    };
    match role {
        Some(role) if allows(permission, role) => {
            state.rate_limits.tenant(account.id)?;
            Ok(account)
        }
        _ => Err(invalid()),
    }
}
