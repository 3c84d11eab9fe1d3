//! How what an ending left behind was cleared away. No event names more than a thousand rows.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::aggregates::StoredEvent;
use crate::aggregates::source::Handle;
use crate::clock::Timestamp;
use crate::ids::{
    AccountId, ApiKeyId, BearerTokenId, InviteId, NameKeyId, PipeId, SessionId, SignInLinkId, SourceId,
    UserId,
};
use crate::sealing::{FieldVisitor, SealError, SealedFields, Subject};

/// An event of an ending.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndingEvent {
    /// Rows of a closed account are gone.
    AccountRowsRemoved(AccountRows),
    /// What rows said of a forgotten person is gone, and what was theirs is shown as ended by itself.
    PersonRowsBlanked(PersonRows),
    /// Keys that ended with a membership are shown as revoked by themselves.
    ApiKeysRevoked(RevokedKeys),
    /// Nothing is left.
    Finished {
        /// What had ended.
        of: Ended,
    },
}

/// What has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// An account was closed.
    Account(AccountId),
    /// A person was forgotten.
    Person(UserId),
    /// A membership ended, and keys with it.
    Membership {
        /// The account.
        account: AccountId,
        /// The person.
        user: UserId,
        /// How often that had happened to them, this time counted.
        removal: u32,
    },
}

impl Ended {
    /// The identifier of the ending's stream.
    #[must_use]
    pub fn id(self) -> Uuid {
        use sha2::{Digest as _, Sha256};
        match self {
            Self::Account(account) => account.as_uuid(),
            Self::Person(user) => user.as_uuid(),
            Self::Membership { account, user, removal } => {
                let digest = Sha256::new()
                    .chain_update(b"tenure ending of a membership\0")
                    .chain_update(account.as_uuid().as_bytes())
                    .chain_update(user.as_uuid().as_bytes())
                    .chain_update(removal.to_be_bytes())
                    .finalize();
                uuid::Builder::from_slice(&digest[..16])
                    .map_or_else(|_| user.as_uuid(), uuid::Builder::into_uuid)
            }
        }
    }

    /// The tenant that it concerns.
    const fn account(self) -> Option<AccountId> {
        match self {
            Self::Account(account) | Self::Membership { account, .. } => Some(account),
            Self::Person(_) => None,
        }
    }
}

/// Rows of a closed account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountRows {
    /// The account.
    pub account: AccountId,
    /// Who was a member.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<UserId>,
    /// Its keys, whatever had become of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub api_keys: Vec<ApiKeyId>,
    /// Its invites, whatever had become of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub invites: Vec<InviteId>,
    /// Pipes of its sources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pipes: Vec<PipeId>,
    /// Its sources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceLeft>,
}

/// A source of a closed account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceLeft {
    /// The source.
    pub id: SourceId,
    /// What it was called.
    pub handle: Handle,
}

/// What rows said of a forgotten person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersonRows {
    /// The person.
    pub user: UserId,
    /// When they were forgotten.
    pub at: Timestamp,
    /// Invites to them that stood until then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending_invites: Vec<InviteId>,
    /// Invites to them, or to a name of theirs, that had been decided before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decided_invites: Vec<InviteId>,
    /// Their access tokens.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bearer_tokens: Vec<BearerTokenId>,
    /// Their sign-ins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sessions: Vec<SessionId>,
    /// Links by which they could have signed in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sign_in_links: Vec<SignInLinkId>,
    /// The keys of names that went with them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub name_keys: Vec<NameKeyId>,
}

/// Keys that ended with a membership.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedKeys {
    /// The account.
    pub account: AccountId,
    /// When the membership ended.
    pub at: Timestamp,
    /// With which event.
    pub position: i64,
    /// The keys.
    pub api_keys: Vec<ApiKeyId>,
}

impl DomainEvent for EndingEvent {
    fn event_type(&self) -> String {
        self.kind().0.to_owned()
    }

    fn event_version(&self) -> String {
        self.kind().1.to_owned()
    }
}

impl StoredEvent for EndingEvent {
    const KINDS: &'static [(&'static str, &'static str)] = &[
        ("ending.account_rows_removed", "1"),
        ("ending.person_rows_blanked", "1"),
        ("ending.api_keys_revoked", "1"),
        ("ending.finished", "1"),
    ];

    fn kind(&self) -> (&'static str, &'static str) {
        match self {
            Self::AccountRowsRemoved(_) => ("ending.account_rows_removed", "1"),
            Self::PersonRowsBlanked(_) => ("ending.person_rows_blanked", "1"),
            Self::ApiKeysRevoked(_) => ("ending.api_keys_revoked", "1"),
            Self::Finished { .. } => ("ending.finished", "1"),
        }
    }

    fn account(&self, _: Uuid) -> Option<AccountId> {
        match self {
            Self::AccountRowsRemoved(rows) => Some(rows.account),
            Self::PersonRowsBlanked(_) => None,
            Self::ApiKeysRevoked(keys) => Some(keys.account),
            Self::Finished { of } => of.account(),
        }
    }

    fn begins_subject(&self, _: Uuid) -> Option<Subject> {
        None
    }
}

impl SealedFields for EndingEvent {
    fn visit_sealed(&mut self, _: Subject, _: &mut dyn FieldVisitor) -> Result<(), SealError> {
        Ok(())
    }
}
