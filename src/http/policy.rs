//! Who may do what: one table, for every route.

use super::caller::Caller;
use super::door::Door;
use super::error::{DoorError, found};
use crate::ids::{AccountId, UserId};
use crate::operations::Thing;
use crate::projections::accounts::Account;

/// What somebody wants to do with an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// See it, its sources and pipes.
    See,
    /// See who belongs to it.
    SeeMembers,
    /// Create, change and delete sources and pipes; broadcast.
    UseThings,
    /// Mint, list, rotate, revoke keys; invites; members; ownership; close.
    Own,
    /// Its history and feed.
    History,
    /// Ask whose a key is.
    VerifyKeys,
}

/// What somebody is to an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
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
const fn allows(act: Act, standing: Standing) -> bool {
    use Standing::{Key, Member, Operator, Owner};
    match act {
        Act::See | Act::UseThings => matches!(standing, Key | Member | Owner | Operator),
        Act::SeeMembers | Act::History => matches!(standing, Member | Owner | Operator),
        Act::Own => matches!(standing, Owner | Operator),
        Act::VerifyKeys => matches!(standing, Key | Owner | Operator),
    }
}

impl Door {
    /// The account that a slug names, if the caller may do this with it: what others have is not found.
    ///
    /// # Errors
    /// No credential, no such account (or none that the caller may know of), or not the caller's to do.
    pub async fn admit(&self, caller: Caller, act: Act, slug: &str) -> Result<Account, DoorError> {
        if caller == Caller::Anonymous {
            return Err(DoorError::NoCredential);
        }
        let account = found(self.tenure.reader().account_by_slug(slug).await, Thing::Account)?;
        self.admit_to(caller, act, account).await
    }

    /// The same for an account that is known.
    ///
    /// # Errors
    /// As [`Door::admit`].
    pub async fn admit_to(&self, caller: Caller, act: Act, account: Account) -> Result<Account, DoorError> {
        let standing = self.standing(caller, &account).await?;
        let standing = standing.ok_or(DoorError::not_found(Thing::Account))?;
        if !allows(act, standing) {
            return Err(DoorError::FORBIDDEN);
        }
        self.limiter.tenant(account.id)?;
        Ok(account)
    }

    /// What a caller is to an account.
    async fn standing(&self, caller: Caller, account: &Account) -> Result<Option<Standing>, DoorError> {
        match caller {
            Caller::Anonymous => Err(DoorError::NoCredential),
            Caller::Key { account: of, .. } => Ok((of == account.id).then_some(Standing::Key)),
            Caller::Person { user, .. } if user == account.owner_user_id => Ok(Some(Standing::Owner)),
            Caller::Person { user, .. } => {
                if self.runs_the_instance(user).await? {
                    return Ok(Some(Standing::Operator));
                }
                let member = self.tenure.reader().membership(account.id, user).await?;
                Ok(member.then_some(Standing::Member))
            }
        }
    }

    async fn runs_the_instance(&self, user: UserId) -> Result<bool, DoorError> {
        Ok(found(self.tenure.reader().user(user).await, Thing::User)?.operator)
    }

    /// Whether a person runs the instance.
    ///
    /// # Errors
    /// It cannot be found out.
    pub async fn is_operator(&self, caller: Caller) -> Result<bool, DoorError> {
        match caller {
            Caller::Person { user, .. } => self.runs_the_instance(user).await,
            Caller::Anonymous | Caller::Key { .. } => Ok(false),
        }
    }

    /// Only whoever runs the instance.
    ///
    /// # Errors
    /// Anybody else.
    pub async fn operator(&self, caller: Caller) -> Result<(), DoorError> {
        caller.context()?;
        if self.is_operator(caller).await? { Ok(()) } else { Err(DoorError::FORBIDDEN) }
    }

    /// The person whom a segment of a path names, for themselves and whoever runs the instance: others are not found.
    ///
    /// # Errors
    /// Anybody else, or no such person.
    pub async fn oneself(&self, caller: Caller, slug: &str) -> Result<UserId, DoorError> {
        let me = caller.person()?;
        if slug == "me" {
            return Ok(me);
        }
        let not_found = || DoorError::not_found(Thing::User);
        let reader = self.tenure.reader();
        let wanted = match slug.parse::<UserId>() {
            Ok(id) if id == me => return Ok(me),
            Ok(id) => reader.user(id).await,
            Err(_) => reader.user_by_username(slug).await,
        };
        let operator = self.runs_the_instance(me).await?;
        let wanted = found(wanted, Thing::User)?.id;
        if wanted == me || operator { Ok(wanted) } else { Err(not_found()) }
    }

    /// The account that a caller acts in on the routes of ppz's clients: the key's own, else the one that is named
    /// by its identifier, else the person's default one.
    ///
    /// # Errors
    /// Not an account that the caller acts in.
    pub async fn org(&self, caller: Caller, named: Option<&str>) -> Result<AccountId, DoorError> {
        let named = match named {
            None => None,
            Some(text) => Some(text.parse::<AccountId>().map_err(|_| DoorError::InvalidOrg)?),
        };
        let user = match caller {
            Caller::Anonymous => return Err(DoorError::NoCredential),
            Caller::Key { account, .. } => {
                return match named {
                    Some(named) if named != account => Err(DoorError::InvalidOrg),
                    _ => {
                        self.limiter.tenant(account)?;
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
            Err(crate::projections::QueryError::NotFound) => return Err(DoorError::InvalidOrg),
            Err(error) => return Err(error.into()),
        };
        match self.standing(caller, &account).await? {
            Some(standing) if allows(Act::UseThings, standing) => {
                self.limiter.tenant(account.id)?;
                Ok(account.id)
            }
            _ => Err(DoorError::InvalidOrg),
        }
    }
}
