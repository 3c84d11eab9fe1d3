//! The state of an account that decisions need.

use std::collections::BTreeMap;

use cqrs_es::Aggregate;
use serde::{Deserialize, Serialize};

use super::commands::AccountCommand;
use super::events::{AccountEvent, STREAM_TYPE};
use super::refusal::AccountRefusal;
use super::values::{AccountName, NatsPublicKey, NatsSeed};
use crate::aggregates::handle_by_decide;
use crate::clock::Timestamp;
use crate::ids::UserId;
use crate::sealing::{FieldVisitor, SealError, Sealed, SealedFields, Subject};

/// An account, folded from the events of the stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Account {
    /// The stream has no events.
    #[default]
    Unknown,
    /// The account is open.
    Open(Open),
    /// The account was closed. The ID is never used again.
    Closed,
}

/// An open account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Open {
    /// The user who owns the account.
    pub owner: UserId,
    /// When the account was opened.
    pub opened_at: Timestamp,
    /// The members without the owner, and when each became a member.
    pub members: BTreeMap<UserId, Timestamp>,
    /// How many times the API keys of each user have ended with a membership. A key with a lower count than its
    /// minter's has ended, so that a returning member cannot revive old keys.
    pub removals: BTreeMap<UserId, u32>,
    /// The account name, unique without ASCII case.
    #[serde(skip)]
    pub name: Sealed<AccountName>,
    /// The public key of the account at NATS; none while it has no NATS account.
    pub nats_public_key: Option<NatsPublicKey>,
    /// The seed of the key that signs credentials of its NATS users; none while it has no NATS account.
    #[serde(skip)]
    pub nats_signing_seed: Sealed<Option<NatsSeed>>,
}

impl Open {
    /// How many times the API keys of this user have ended with a membership.
    #[must_use]
    pub fn removals_of(&self, user: UserId) -> u32 {
        self.removals.get(&user).copied().unwrap_or_default()
    }

    /// Whether the user is the owner or a member.
    #[must_use]
    pub fn includes(&self, user: UserId) -> bool {
        self.owner == user || self.members.contains_key(&user)
    }
}

impl Account {
    /// The open account; none if unknown or closed.
    #[must_use]
    pub const fn open(&self) -> Option<&Open> {
        match self {
            Self::Open(account) => Some(account),
            Self::Unknown | Self::Closed => None,
        }
    }
}

impl Aggregate for Account {
    const TYPE: &'static str = STREAM_TYPE;
    type Command = AccountCommand;
    type Event = AccountEvent;
    type Error = AccountRefusal;
    type Services = ();

    handle_by_decide!();

    fn apply(&mut self, event: AccountEvent) {
        match (&mut *self, event) {
            (_, AccountEvent::Opened { owner, at, name }) => {
                *self = Self::Open(Open {
                    owner,
                    opened_at: at,
                    members: BTreeMap::new(),
                    removals: BTreeMap::new(),
                    name,
                    nats_public_key: None,
                    nats_signing_seed: None.into(),
                });
            }
            (_, AccountEvent::Closed { .. }) => *self = Self::Closed,
            (Self::Open(account), AccountEvent::MemberAdded { user, at }) => {
                account.members.insert(user, at);
            }
            (Self::Open(account), AccountEvent::MemberRemoved { user, removal, .. }) => {
                account.members.remove(&user);
                if let Some(removal) = removal {
                    account.removals.insert(user, removal);
                }
            }
            (Self::Open(account), AccountEvent::OwnershipTransferred { from, to, at }) => {
                account.members.remove(&to);
                account.members.insert(from, at);
                account.owner = to;
            }
            (
                Self::Open(account),
                AccountEvent::NatsAccountSet { public_key, signing_seed, .. }
                | AccountEvent::NatsSigningSeedReissued { public_key, signing_seed, .. },
            ) => {
                account.nats_public_key = Some(public_key);
                account.nats_signing_seed = match signing_seed {
                    Sealed::Open(seed) => Some(seed).into(),
                    Sealed::Unreadable => Sealed::Unreadable,
                };
            }
            (Self::Open(account), AccountEvent::Renamed { name, .. }) => account.name = name,
            (Self::Unknown | Self::Closed, _) => {}
        }
    }
}

impl SealedFields for Account {
    fn visit_sealed(&mut self, owner: Subject, visitor: &mut dyn FieldVisitor) -> Result<(), SealError> {
        match self {
            Self::Open(account) => {
                visitor.field("name", owner, &mut account.name)?;
                visitor.field("nats_signing_seed", owner, &mut account.nats_signing_seed)
            }
            Self::Unknown | Self::Closed => Ok(()),
        }
    }
}
