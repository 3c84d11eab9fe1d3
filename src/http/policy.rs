//! Who may do what: one table, for every route.

use super::caller::Caller;
use super::error::{ApiError, or_not_found};
use super::state::AppState;
use crate::ids::{AccountId, UserId};
use crate::operations::Resource;
use crate::projections::accounts::Account;

/// What somebody wants to do with an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// See it, its sources and pipes.
    Read,
    /// See who belongs to it.
    ReadMembers,
    /// Create, change and delete sources and pipes; broadcast.
    ManageSources,
    /// Mint, list, rotate, revoke keys; invites; members; ownership; close.
    Administer,
    /// Its history and feed.
    ReadHistory,
    /// Ask whose a key is.
    VerifyKeys,
}

/// What somebody is to an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// One of its API keys.
    Key,
    /// A person who belongs to it.
    Member,
    /// The person who owns it.
    Owner,
    /// Whoever runs the instance.
    Operator,
}

/// Who may do what.
const fn allows(permission: Permission, role: Role) -> bool {
    use Role::{Key, Member, Operator, Owner};
    match permission {
        Permission::Read | Permission::ManageSources => matches!(role, Key | Member | Owner | Operator),
        Permission::ReadMembers | Permission::ReadHistory => matches!(role, Member | Owner | Operator),
        Permission::Administer => matches!(role, Owner | Operator),
        Permission::VerifyKeys => matches!(role, Key | Owner | Operator),
    }
}

impl AppState {
    /// The account that a slug names, if the caller may do this with it: what others have is not found.
    ///
    /// # Errors
    /// No credential, no such account (or none that the caller may know of), or not the caller's to do.
    pub async fn authorize(
        &self,
        caller: Caller,
        permission: Permission,
        slug: &str,
    ) -> Result<Account, ApiError> {
        if caller == Caller::Anonymous {
            return Err(ApiError::NoCredential);
        }
        let account = or_not_found(self.tenure.reader().account_by_slug(slug).await, Resource::Account)?;
        self.authorize_account(caller, permission, account).await
    }

    /// The same for an account that is known.
    ///
    /// # Errors
    /// As [`AppState::authorize`].
    pub async fn authorize_account(
        &self,
        caller: Caller,
        permission: Permission,
        account: Account,
    ) -> Result<Account, ApiError> {
        let role = self.role(caller, &account).await?;
        let role = role.ok_or(ApiError::not_found(Resource::Account))?;
        if !allows(permission, role) {
            return Err(ApiError::FORBIDDEN);
        }
        self.rate_limits.tenant(account.id)?;
        Ok(account)
    }

    /// What a caller is to an account.
    async fn role(&self, caller: Caller, account: &Account) -> Result<Option<Role>, ApiError> {
        match caller {
            Caller::Anonymous => Err(ApiError::NoCredential),
            Caller::Key { account: of, .. } => Ok((of == account.id).then_some(Role::Key)),
            Caller::Person { user, .. } if user == account.owner_user_id => Ok(Some(Role::Owner)),
            Caller::Person { user, .. } => {
                if self.user_is_operator(user).await? {
                    return Ok(Some(Role::Operator));
                }
                let member = self.tenure.reader().membership(account.id, user).await?;
                Ok(member.then_some(Role::Member))
            }
        }
    }

    async fn user_is_operator(&self, user: UserId) -> Result<bool, ApiError> {
        Ok(or_not_found(self.tenure.reader().user(user).await, Resource::User)?.operator)
    }

    /// Whether a person runs the instance.
    ///
    /// # Errors
    /// It cannot be found out.
    pub async fn is_operator(&self, caller: Caller) -> Result<bool, ApiError> {
        match caller {
            Caller::Person { user, .. } => self.user_is_operator(user).await,
            Caller::Anonymous | Caller::Key { .. } => Ok(false),
        }
    }

    /// Only whoever runs the instance.
    ///
    /// # Errors
    /// Anybody else.
    pub async fn require_operator(&self, caller: Caller) -> Result<(), ApiError> {
        caller.context()?;
        if self.is_operator(caller).await? { Ok(()) } else { Err(ApiError::FORBIDDEN) }
    }

    /// The person whom a segment of a path names, for themselves and whoever runs the instance: others are not found.
    ///
    /// # Errors
    /// Anybody else, or no such person.
    pub async fn authorize_self(&self, caller: Caller, slug: &str) -> Result<UserId, ApiError> {
        let me = caller.person()?;
        if slug == "me" {
            return Ok(me);
        }
        let not_found = || ApiError::not_found(Resource::User);
        let reader = self.tenure.reader();
        let wanted = match slug.parse::<UserId>() {
            Ok(id) if id == me => return Ok(me),
            Ok(id) => reader.user(id).await,
            Err(_) => reader.user_by_username(slug).await,
        };
        let operator = self.user_is_operator(me).await?;
        let wanted = or_not_found(wanted, Resource::User)?.id;
        if wanted == me || operator { Ok(wanted) } else { Err(not_found()) }
    }

    /// The account that a caller acts in on the routes of ppz's clients: the key's own, else the one that is named
    /// by its identifier, else the person's default one.
    ///
    /// # Errors
    /// Not an account that the caller acts in.
    pub async fn acting_account(&self, caller: Caller, named: Option<&str>) -> Result<AccountId, ApiError> {
        let named = match named {
            None => None,
            Some(text) => Some(text.parse::<AccountId>().map_err(|_| ApiError::InvalidOrg)?),
        };
        let user = match caller {
            Caller::Anonymous => return Err(ApiError::NoCredential),
            Caller::Key { account, .. } => {
                return match named {
                    Some(named) if named != account => Err(ApiError::InvalidOrg),
                    _ => {
                        self.rate_limits.tenant(account)?;
                        Ok(account)
                    }
                };
            }
            Caller::Person { user, .. } => user,
        };
        let reader = self.tenure.reader();
        let account = match named {
            Some(id) => reader.account(id).await,
            None => reader.default_account_for(user).await,
        };
        let account = match account {
            Ok(account) => account,
            Err(crate::projections::QueryError::NotFound) => return Err(ApiError::InvalidOrg),
            Err(error) => return Err(error.into()),
        };
        match self.role(caller, &account).await? {
            Some(role) if allows(Permission::ManageSources, role) => {
                self.rate_limits.tenant(account.id)?;
                Ok(account.id)
            }
            _ => Err(ApiError::InvalidOrg),
        }
    }
}
