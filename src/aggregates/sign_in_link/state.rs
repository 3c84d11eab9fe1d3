//! What decisions about a sign-in link need to know.

use cqrs_es::Aggregate;
use serde::{Deserialize, Serialize};

use super::commands::SignInLinkCommand;
use super::events::SignInLinkEvent;
use super::refusal::SignInLinkRefusal;
use crate::aggregates::handle_by_decide;
use crate::clock::Timestamp;
use crate::ids::UserId;
use crate::sealing::{FieldVisitor, SealError, SealedFields, Subject};

/// What the log knows of a sign-in link.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum SignInLink {
    /// Nothing yet.
    #[default]
    Unknown,
    /// Good until it expires.
    Active(Active),
    /// Good for nothing any more.
    Used,
}

/// What is good until it expires.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Active {
    /// Who signs in by it.
    pub user: UserId,
    /// From when on it is dead.
    pub expires_at: Timestamp,
}

impl Aggregate for SignInLink {
    const TYPE: &'static str = "sign_in_link";
    type Command = SignInLinkCommand;
    type Event = SignInLinkEvent;
    type Error = SignInLinkRefusal;
    type Services = ();

    handle_by_decide!();

    fn apply(&mut self, event: SignInLinkEvent) {
        *self = match event {
            SignInLinkEvent::Issued { user, expires_at, .. } => Self::Active(Active { user, expires_at }),
            SignInLinkEvent::Used { .. } => Self::Used,
        };
    }
}

impl SealedFields for SignInLink {
    fn visit_sealed(&mut self, _: Subject, _: &mut dyn FieldVisitor) -> Result<(), SealError> {
        Ok(())
    }
}
