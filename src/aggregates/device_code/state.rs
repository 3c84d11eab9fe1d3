//! What decisions about a device code need to know.

use cqrs_es::Aggregate;
use serde::{Deserialize, Serialize};

use super::commands::DeviceCodeCommand;
use super::events::{DeviceCodeEvent, STREAM_TYPE};
use super::refusal::DeviceCodeRefusal;
use super::values::UserCode;
use crate::aggregates::handle_by_decide;
use crate::clock::Timestamp;
use crate::ids::UserId;
use crate::sealing::{FieldVisitor, SealError, Sealed, SealedFields, Subject};

/// A device code, as far as the log knows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum DeviceCode {
    /// Not created yet.
    #[default]
    Unknown,
    /// Handed out, and not used up.
    Created {
        /// From when on it is dead.
        expires_at: Timestamp,
        /// What people have said of it.
        status: Status,
        /// The code to type.
        #[serde(skip)]
        user_code: Sealed<UserCode>,
    },
    /// Used up.
    Consumed,
}

/// What people have said of a device code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// Nothing.
    Pending,
    /// This person lets the device act for them.
    Approved(UserId),
    /// A person does not.
    Denied,
}

impl Aggregate for DeviceCode {
    const TYPE: &'static str = STREAM_TYPE;
    type Command = DeviceCodeCommand;
    type Event = DeviceCodeEvent;
    type Error = DeviceCodeRefusal;
    type Services = ();

    handle_by_decide!();

    fn apply(&mut self, event: DeviceCodeEvent) {
        match (&mut *self, event) {
            (_, DeviceCodeEvent::Created { expires_at, user_code, .. }) => {
                *self = Self::Created { expires_at, status: Status::Pending, user_code };
            }
            (Self::Created { status, .. }, DeviceCodeEvent::Approved { user, .. }) => {
                *status = Status::Approved(user);
            }
            (Self::Created { status, .. }, DeviceCodeEvent::Denied { .. }) => {
                *status = Status::Denied;
            }
            (_, DeviceCodeEvent::Consumed { .. }) => *self = Self::Consumed,
            (Self::Unknown | Self::Consumed, _) => {}
        }
    }
}

impl SealedFields for DeviceCode {
    fn visit_sealed(&mut self, owner: Subject, visitor: &mut dyn FieldVisitor) -> Result<(), SealError> {
        match self {
            Self::Created { user_code, .. } => visitor.field("user_code", owner, user_code),
            Self::Unknown | Self::Consumed => Ok(()),
        }
    }
}
