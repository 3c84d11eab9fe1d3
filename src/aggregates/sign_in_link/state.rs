//! The state of a sign-in link that decisions need.

use cqrs_es::Aggregate;
use serde::{Deserialize, Serialize};

use super::commands::SignInLinkCommand;
use super::events::SignInLinkEvent;
use super::refusal::SignInLinkRefusal;
use crate::aggregates::handle_by_decide;
use crate::clock::Timestamp;
use crate::ids::UserId;
use crate::sealing::{FieldVisitor, SealError, SealedFields, Subject};

/// A sign-in link, folded from the events of the stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum SignInLink {
    /// The stream has no events.
    #[default]
    Unknown,
    /// The link was issued and not used. It may have expired.
    Active(Active),
    /// The link has been used.
    Used,
}

/// A sign-in link that was issued and not used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Active {
    /// The user who can sign in with the link.
    pub user: UserId,
    /// When the link expires.
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
