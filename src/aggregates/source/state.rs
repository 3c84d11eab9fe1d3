//! The state of a source that decisions need.

use std::collections::BTreeMap;

use cqrs_es::Aggregate;
use serde::{Deserialize, Serialize};

use super::commands::SourceCommand;
use super::events::SourceEvent;
use super::refusal::SourceRefusal;
use super::values::{Handle, PipeName, Retention, SourceKind};
use crate::aggregates::handle_by_decide;
use crate::ids::{AccountId, PipeId, UserId};
use crate::sealing::{FieldVisitor, SealError, SealedFields, Subject};

/// A source, folded from the events of the stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Source {
    /// The stream has no events.
    #[default]
    Unknown,
    /// The source exists.
    Active(Active),
    /// The source was deleted. The ID is never used again.
    Deleted,
}

/// A source that was created and not deleted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Active {
    /// The account that the source belongs to.
    pub account: AccountId,
    /// The user who created the source.
    pub created_by: UserId,
    /// The handle, unique within the account.
    pub handle: Handle,
    /// What kind of actor the source is.
    pub kind: SourceKind,
    /// The pipes that users created, by name, each with its retention. Automatic pipes are not listed.
    pub pipes: BTreeMap<PipeName, (PipeId, Retention)>,
}

impl Source {
    /// The existing source; none if unknown or deleted.
    #[must_use]
    pub const fn active(&self) -> Option<&Active> {
        match self {
            Self::Active(source) => Some(source),
            Self::Unknown | Self::Deleted => None,
        }
    }
}

impl Aggregate for Source {
    const TYPE: &'static str = "source";
    type Command = SourceCommand;
    type Event = SourceEvent;
    type Error = SourceRefusal;
    type Services = ();

    handle_by_decide!();

    fn apply(&mut self, event: SourceEvent) {
        match (&mut *self, event) {
            (_, SourceEvent::Created { account, created_by, handle, kind, .. }) => {
                *self = Self::Active(Active { account, created_by, handle, kind, pipes: BTreeMap::new() });
            }
            (_, SourceEvent::Deleted { .. }) => *self = Self::Deleted,
            (Self::Active(source), SourceEvent::PipeCreated { pipe, name, retention, .. }) => {
                source.pipes.insert(name, (pipe, retention));
            }
            (Self::Active(source), SourceEvent::PipeRetentionChanged { pipe, retention, .. }) => {
                // The event names the pipe by ID only, and the map is keyed by name.
                for (id, kept) in source.pipes.values_mut() {
                    if *id == pipe {
                        *kept = retention;
                    }
                }
            }
            (Self::Active(source), SourceEvent::PipeDeleted { name, .. }) => {
                source.pipes.remove(&name);
            }
            (Self::Unknown | Self::Deleted, _) => {}
        }
    }
}

impl SealedFields for Source {
    fn visit_sealed(&mut self, _: Subject, _: &mut dyn FieldVisitor) -> Result<(), SealError> {
        Ok(())
    }
}
