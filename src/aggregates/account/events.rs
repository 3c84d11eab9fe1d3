//! What can have happened to a tenant.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::values::{AccountName, NatsPublicKey, NatsSeed};
use crate::aggregates::StoredEvent;
use crate::clock::Timestamp;
use crate::ids::{AccountId, ApiKeyId, UserId};
use crate::sealing::{FieldVisitor, SealError, Sealed, SealedFields, Subject};

/// The kind of stream that these events belong to.
pub const STREAM_TYPE: &str = "account";

/// An event of an account. Fields of type [`Sealed`] are not part of the payload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountEvent {
    /// The tenant begins.
    Opened {
        /// Who owns it.
        owner: UserId,
        /// When.
        at: Timestamp,
        /// The unique name.
        #[serde(skip)]
        name: Sealed<AccountName>,
    },
    /// A user belongs to it from now on.
    MemberAdded {
        /// Who.
        user: UserId,
        /// When.
        at: Timestamp,
    },
    /// A user no longer belongs to it.
    MemberRemoved {
        /// Who.
        user: UserId,
        /// When.
        at: Timestamp,
        /// Version 2: the keys end that the user has minted in it, and how often that has happened to them, this time
        /// counted. In version 1 such keys had events of their own, or stayed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        removal: Option<u32>,
    },
    /// A member owns it from now on, and the old owner is a member.
    OwnershipTransferred {
        /// The old owner.
        from: UserId,
        /// The new owner.
        to: UserId,
        /// When.
        at: Timestamp,
    },
    /// The tenant has an account at NATS.
    NatsAccountSet {
        /// The account's public key, for life.
        public_key: NatsPublicKey,
        /// When.
        at: Timestamp,
        /// The seed of the key that signs its users' credentials.
        #[serde(skip)]
        signing_seed: Sealed<NatsSeed>,
    },
    /// Another key signs the credentials of the tenant's users at NATS.
    NatsSigningSeedReissued {
        /// The account's public key, the same as before.
        public_key: NatsPublicKey,
        /// When.
        at: Timestamp,
        /// The seed of the key that signs its users' credentials.
        #[serde(skip)]
        signing_seed: Sealed<NatsSeed>,
    },
    /// The account's name could be taken for something else, and gave way to another.
    Renamed {
        /// When.
        at: Timestamp,
        /// The new name.
        #[serde(skip)]
        name: Sealed<AccountName>,
        /// The name that is given up for it.
        #[serde(skip)]
        former_name: Sealed<AccountName>,
    },
    /// The tenant ends, and with it all that belongs to it: its name is free, what it sealed is unreadable.
    Closed {
        /// Version 1: what ended with it. Version 2 lists nothing.
        #[serde(flatten, skip_serializing_if = "Option::is_none")]
        listed: Option<ListedAtClosing>,
        /// When.
        at: Timestamp,
        /// The name that is given up.
        #[serde(skip)]
        name: Sealed<AccountName>,
    },
}

/// What the first version of `account.closed` named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedAtClosing {
    /// Who belonged to it at the end.
    pub members: Vec<UserId>,
    /// Every key that ever acted for it.
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
