//! The state of a device code that decisions need.

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

/// A device code, folded from the events of the stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum DeviceCode {
    /// The stream has no events.
    #[default]
    Unknown,
    /// The codes were created and the device has not redeemed them. They may have expired.
    Created {
        /// When both codes expire.
        expires_at: Timestamp,
        /// Whether a user has approved or denied the request.
        status: Status,
        /// The user code, for the user to type.
        #[serde(skip)]
        user_code: Sealed<UserCode>,
    },
    /// The device has redeemed the code.
    Consumed,
}

/// The decision of a user about a device code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// No user has decided yet.
    Pending,
    /// This user allowed the device to act for them.
    Approved(UserId),
    /// A user denied the request.
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
