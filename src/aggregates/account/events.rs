//! The events of an account.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::values::{AccountName, NatsPublicKey, NatsSeed};
use crate::aggregates::StoredEvent;
use crate::clock::Timestamp;
use crate::ids::{AccountId, ApiKeyId, UserId};
use crate::sealing::{FieldVisitor, SealError, Sealed, SealedFields, Subject};

/// The stream type of accounts.
pub const STREAM_TYPE: &str = "account";

/// An event of an account. [`Sealed`] fields are stored encrypted, outside the payload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccountEvent {
    /// The account was opened.
    Opened {
        /// The user who owns the account.
        owner: UserId,
        /// When the account was opened.
        at: Timestamp,
        /// The account name, unique without ASCII case.
        #[serde(skip)]
        name: Sealed<AccountName>,
    },
    /// A user became a member.
    MemberAdded {
        /// The new member.
        user: UserId,
        /// When the user became a member.
        at: Timestamp,
    },
    /// A membership ended.
    MemberRemoved {
        /// The former member.
        user: UserId,
        /// When the membership ended.
        at: Timestamp,
        /// Version 2: the API keys that the user minted in the account end with the membership. Counts how many times
        /// that has happened to this user, including this time. None in version 1, where such keys ended by events of
        /// their own or stayed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        removal: Option<u32>,
    },
    /// A member became the owner, and the old owner became a member.
    OwnershipTransferred {
        /// The old owner, a member from this time on.
        from: UserId,
        /// The new owner.
        to: UserId,
        /// When the ownership passed.
        at: Timestamp,
    },
    /// The account got an account at NATS.
    NatsAccountSet {
        /// The public key of the NATS account, which never changes.
        public_key: NatsPublicKey,
        /// When the key and seed were set.
        at: Timestamp,
        /// The seed of the key that signs credentials of the account's NATS users.
        #[serde(skip)]
        signing_seed: Sealed<NatsSeed>,
    },
    /// The key that signs credentials of the account's NATS users was replaced.
    NatsSigningSeedReissued {
        /// The public key of the NATS account, unchanged.
        public_key: NatsPublicKey,
        /// When the seed was replaced.
        at: Timestamp,
        /// The new seed.
        #[serde(skip)]
        signing_seed: Sealed<NatsSeed>,
    },
    /// An invalid account name, which could be read as an ID, `me` or a path step, was replaced.
    Renamed {
        /// When the account was renamed.
        at: Timestamp,
        /// The new account name.
        #[serde(skip)]
        name: Sealed<AccountName>,
        /// The account name that was given up.
        #[serde(skip)]
        former_name: Sealed<AccountName>,
    },
    /// The account was closed: everything in it has ended, its name is free, and its sealed fields are unreadable.
    Closed {
        /// Version 1: what ended with the account. None in version 2, which lists nothing.
        #[serde(flatten, skip_serializing_if = "Option::is_none")]
        listed: Option<ListedAtClosing>,
        /// When the account was closed.
        at: Timestamp,
        /// The account name that was given up.
        #[serde(skip)]
        name: Sealed<AccountName>,
    },
}

/// What version 1 of `account.closed` lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ListedAtClosing {
    /// The users who belonged to the account when it closed.
    // Flattened and optional: an event of version 2 has none.
    #[schema(required = false)]
    pub members: Vec<UserId>,
    /// Every API key that the account ever had.
    #[serde(default)]
    pub api_keys: Vec<ApiKeyId>,
}

impl DomainEvent for AccountEvent {
    fn event_type(&self) -> String {
        self.kind().0.to_owned()
    }

    fn event_version(&self) -> String {
        self.kind().1.to_owned()
    }
}

impl StoredEvent for AccountEvent {
    const KINDS: &'static [(&'static str, &'static str)] = &[
        ("account.opened", "1"),
        ("account.member_added", "1"),
        ("account.member_removed", "1"),
        ("account.member_removed", "2"),
        ("account.ownership_transferred", "1"),
        ("account.nats_account_set", "1"),
        ("account.nats_signing_seed_reissued", "1"),
        ("account.renamed", "1"),
        ("account.closed", "1"),
        ("account.closed", "2"),
    ];
    const ENDS_SUBJECT: &'static [&'static str] = &["account.closed"];

    fn kind(&self) -> (&'static str, &'static str) {
        match self {
            Self::Opened { .. } => ("account.opened", "1"),
            Self::MemberAdded { .. } => ("account.member_added", "1"),
            // The version follows from the content: without a removal count the payload is the same as in version 1.
            Self::MemberRemoved { removal: None, .. } => ("account.member_removed", "1"),
            Self::MemberRemoved { removal: Some(_), .. } => ("account.member_removed", "2"),
            Self::OwnershipTransferred { .. } => ("account.ownership_transferred", "1"),
            Self::NatsAccountSet { .. } => ("account.nats_account_set", "1"),
            Self::NatsSigningSeedReissued { .. } => ("account.nats_signing_seed_reissued", "1"),
            Self::Renamed { .. } => ("account.renamed", "1"),
            Self::Closed { listed: Some(_), .. } => ("account.closed", "1"),
            Self::Closed { listed: None, .. } => ("account.closed", "2"),
        }
    }

    fn account(&self, stream: Uuid) -> Option<AccountId> {
        Some(AccountId::from_uuid(stream))
    }

    fn begins_subject(&self, stream: Uuid) -> Option<Subject> {
        matches!(self, Self::Opened { .. }).then_some(Subject { kind: STREAM_TYPE, id: stream })
    }

    fn ends_subjects(&self, stream: Uuid) -> Vec<Subject> {
        match self {
            Self::Closed { .. } => vec![Subject { kind: STREAM_TYPE, id: stream }],
            _ => Vec::new(),
        }
    }
}

impl SealedFields for AccountEvent {
    fn visit_sealed(&mut self, owner: Subject, visitor: &mut dyn FieldVisitor) -> Result<(), SealError> {
        match self {
            Self::Opened { name, .. } | Self::Closed { name, .. } => visitor.field("name", owner, name),
            Self::NatsAccountSet { signing_seed, .. }
            | Self::NatsSigningSeedReissued { signing_seed, .. } => {
                visitor.field("signing_seed", owner, signing_seed)
            }
            Self::Renamed { name, former_name, .. } => {
                visitor.field("name", owner, name)?;
                visitor.field("former_name", owner, former_name)
            }
            Self::MemberAdded { .. } | Self::MemberRemoved { .. } | Self::OwnershipTransferred { .. } => {
                Ok(())
            }
        }
    }
}
