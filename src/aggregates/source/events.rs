//! What can have happened to a source and to its pipes.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::values::{Handle, PipeName, Retention, SourceKind};
use crate::aggregates::StoredEvent;
use crate::clock::Timestamp;
use crate::ids::{AccountId, PipeId, UserId};
use crate::sealing::{FieldVisitor, SealError, SealedFields, Subject};

/// An event of a source: handles and names of pipes are public, nothing in it is sealed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SourceEvent {
    /// The source is there from now on.
    Created {
        /// The tenant that it is in.
        account: AccountId,
        /// Who made it.
        created_by: UserId,
        /// What it is called.
        handle: Handle,
        /// What it is.
        kind: SourceKind,
        /// When.
        at: Timestamp,
    },
    /// A pipe is there from now on.
    PipeCreated {
        /// The tenant that it is in.
        account: AccountId,
        /// Its identifier.
        pipe: PipeId,
        /// Who made it.
        created_by: UserId,
        /// What it is called.
        name: PipeName,
        /// What it keeps.
        retention: Retention,
        /// When.
        at: Timestamp,
    },
    /// A pipe keeps something else from now on.
    PipeRetentionChanged {
        /// The tenant that it is in.
        account: AccountId,
        /// Which.
        pipe: PipeId,
        /// What it keeps.
        retention: Retention,
        /// When.
        at: Timestamp,
    },
    /// A pipe has ended.
    PipeDeleted {
        /// The tenant that it was in.
        account: AccountId,
        /// Which.
        pipe: PipeId,
        /// What it was called.
        name: PipeName,
        /// When.
        at: Timestamp,
    },
    /// The source has ended.
    Deleted {
        /// The tenant that it was in.
        account: AccountId,
        /// What it was called.
        handle: Handle,
        /// When.
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
