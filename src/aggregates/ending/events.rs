//! The events of an ending, each of which clears some of the rows that are left. An event names at most a thousand
//! rows.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndingEvent {
    /// Rows of a closed account were removed.
    AccountRowsRemoved(AccountRows),
    /// Personal data in rows of a forgotten user was blanked, and what belonged to the user is shown as ended.
    PersonRowsBlanked(PersonRows),
    /// API keys that ended with a membership are shown as revoked.
    ApiKeysRevoked(RevokedKeys),
    /// No rows are left.
    Finished {
        /// The ending whose rows have been cleared.
        of: Ended,
    },
}

/// What ended and left rows behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// The account was closed.
    Account(AccountId),
    /// The user was forgotten.
    Person(UserId),
    /// A membership ended together with the API keys that the user had minted.
    Membership {
        /// The account that the user was a member of.
        account: AccountId,
        /// The former member.
        user: UserId,
        /// The user's removal count in the account, including this removal. Tells repeated removals apart.
        removal: u32,
    },
}

impl Ended {
    /// The ID of the ending's stream: that of the account or the user, or a hash of account, user and removal count.
    #[must_use]
    pub fn id(self) -> Uuid {
        use sha2::{Digest as _, Sha256};
        match self {
            Self::Account(account) => account.as_uuid(),
            Self::Person(user) => user.as_uuid(),
            // A user who returns can be removed again, and each removal is an ending of its own.
            Self::Membership { account, user, removal } => {
                let digest = Sha256::new()
                    .chain_update(b"tenure ending of a membership\0")
                    .chain_update(account.as_uuid().as_bytes())
                    .chain_update(user.as_uuid().as_bytes())
                    .chain_update(removal.to_be_bytes())
                    .finalize();
                // Cannot fail: the slice has 16 bytes.
                uuid::Builder::from_slice(&digest[..16])
                    .map_or_else(|_| user.as_uuid(), uuid::Builder::into_uuid)
            }
        }
    }

    /// The account that ended or lost the member; none for a user.
    const fn account(self) -> Option<AccountId> {
        match self {
            Self::Account(account) | Self::Membership { account, .. } => Some(account),
            Self::Person(_) => None,
        }
    }
}

/// Rows of a closed account that one step removes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AccountRows {
    /// The closed account.
    pub account: AccountId,
    /// The users who were members when the account closed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<UserId>,
    /// The account's API keys, valid or not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub api_keys: Vec<ApiKeyId>,
    /// The account's invites, pending or not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub invites: Vec<InviteId>,
    /// Pipes of the account's sources. They are removed before their sources, through which they are found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pipes: Vec<PipeId>,
    /// The account's sources.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceLeft>,
}

/// A source that a closed account left behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SourceLeft {
    /// The ID of the source.
    pub id: SourceId,
    /// The handle, which is free again once the row is removed.
    pub handle: Handle,
}

/// Rows of a forgotten user that one step blanks or shows as ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PersonRows {
    /// The forgotten user.
    pub user: UserId,
    /// When the user was forgotten.
    pub at: Timestamp,
    /// Invites to the user, or to a name that the user had taken, whose status is still pending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending_invites: Vec<InviteId>,
    /// Invites to the user, or to a name that the user had taken, that have been accepted, declined or revoked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub decided_invites: Vec<InviteId>,
    /// The user's bearer tokens that were not revoked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bearer_tokens: Vec<BearerTokenId>,
    /// The user's sessions that were not ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sessions: Vec<SessionId>,
    /// The user's unused sign-in links.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sign_in_links: Vec<SignInLinkId>,
    /// The name keys that were destroyed with the user.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub name_keys: Vec<NameKeyId>,
}

/// API keys that ended with a membership and that one step shows as revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RevokedKeys {
    /// The account that the keys acted for.
    pub account: AccountId,
    /// When the membership ended.
    pub at: Timestamp,
    /// The log position of the event that ended the membership.
    pub position: i64,
    /// The keys to show as revoked.
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
