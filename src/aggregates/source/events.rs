//! The events of a source and its pipes.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::values::{Handle, PipeName, Retention, SourceKind};
use crate::aggregates::StoredEvent;
use crate::clock::Timestamp;
use crate::ids::{AccountId, PipeId, UserId};
use crate::sealing::{FieldVisitor, SealError, SealedFields, Subject};

/// An event of a source. Nothing is sealed: handles and pipe names are public.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SourceEvent {
    /// The source was created.
    Created {
        /// The account that the source belongs to.
        account: AccountId,
        /// The user who created the source.
        created_by: UserId,
        /// The handle, unique within the account.
        handle: Handle,
        /// What kind of actor the source is.
        kind: SourceKind,
        /// When the source was created.
        at: Timestamp,
    },
    /// A pipe was created.
    PipeCreated {
        /// The account that the source belongs to.
        account: AccountId,
        /// The ID of the new pipe.
        pipe: PipeId,
        /// The user who created the pipe.
        created_by: UserId,
        /// The pipe name, unique within the source.
        name: PipeName,
        /// How long and how much the pipe keeps.
        retention: Retention,
        /// When the pipe was created.
        at: Timestamp,
    },
    /// The retention of a pipe was replaced.
    PipeRetentionChanged {
        /// The account that the source belongs to.
        account: AccountId,
        /// The pipe whose retention changed.
        pipe: PipeId,
        /// The new retention.
        retention: Retention,
        /// When the retention changed.
        at: Timestamp,
    },
    /// A pipe was deleted.
    PipeDeleted {
        /// The account that the source belonged to.
        account: AccountId,
        /// The pipe that was deleted.
        pipe: PipeId,
        /// The pipe name, which is free again.
        name: PipeName,
        /// When the pipe was deleted.
        at: Timestamp,
    },
    /// The source was deleted. Its pipes were deleted before it.
    Deleted {
        /// The account that the source belonged to.
        account: AccountId,
        /// The handle, which is free again.
        handle: Handle,
        /// When the source was deleted.
        at: Timestamp,
    },
}

impl DomainEvent for SourceEvent {
    fn event_type(&self) -> String {
        self.kind().0.to_owned()
    }

    fn event_version(&self) -> String {
        self.kind().1.to_owned()
    }
}

impl StoredEvent for SourceEvent {
    const KINDS: &'static [(&'static str, &'static str)] = &[
        ("source.created", "1"),
        ("pipe.created", "1"),
        ("pipe.retention_changed", "1"),
        ("pipe.deleted", "1"),
        ("source.deleted", "1"),
    ];

    fn kind(&self) -> (&'static str, &'static str) {
        match self {
            Self::Created { .. } => ("source.created", "1"),
            Self::PipeCreated { .. } => ("pipe.created", "1"),
            Self::PipeRetentionChanged { .. } => ("pipe.retention_changed", "1"),
            Self::PipeDeleted { .. } => ("pipe.deleted", "1"),
            Self::Deleted { .. } => ("source.deleted", "1"),
        }
    }

    fn account(&self, _: Uuid) -> Option<AccountId> {
        match self {
            Self::Created { account, .. }
            | Self::PipeCreated { account, .. }
            | Self::PipeRetentionChanged { account, .. }
            | Self::PipeDeleted { account, .. }
            | Self::Deleted { account, .. } => Some(*account),
        }
    }

    fn begins_subject(&self, _: Uuid) -> Option<Subject> {
        None
    }
}

impl SealedFields for SourceEvent {
    fn visit_sealed(&mut self, _: Subject, _: &mut dyn FieldVisitor) -> Result<(), SealError> {
        Ok(())
    }
}
