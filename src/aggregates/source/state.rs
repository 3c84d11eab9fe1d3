//! What decisions about a source need to know.

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

/// A source, as far as the log knows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum Source {
    /// Not created yet.
    #[default]
    Unknown,
    /// It is there.
    Active(Active),
    /// It has ended; its identifier is never used again.
    Deleted,
}

/// A source that is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Active {
    /// The tenant that it is in.
    pub account: AccountId,
    /// Who made it.
    pub created_by: UserId,
    /// What it is called.
    pub handle: Handle,
    /// What it is.
    pub kind: SourceKind,
    /// The pipes that people have made, and what each keeps.
    pub pipes: BTreeMap<PipeName, (PipeId, Retention)>,
}

impl Source {
    /// The source, if it is there.
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
