//! The events of a device code.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::values::{ClientName, UserCode};
use crate::aggregates::StoredEvent;
use crate::aggregates::secret::SecretDigest;
use crate::clock::Timestamp;
use crate::ids::{AccountId, UserId};
use crate::sealing::{FieldVisitor, SealError, Sealed, SealedFields, Subject};

/// The stream type of device codes.
pub const STREAM_TYPE: &str = "device_code";

/// An event of a device code. [`Sealed`] fields are stored encrypted, outside the payload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeviceCodeEvent {
    /// The device code and its user code were created.
    Created {
        /// When the codes were created.
        at: Timestamp,
        /// When both codes expire.
        expires_at: Timestamp,
        /// The SHA-256 of the device code.
        #[serde(skip)]
        digest: Sealed<SecretDigest>,
        /// The user code, for the user to type.
        #[serde(skip)]
        user_code: Sealed<UserCode>,
        /// The name that the device gives itself.
        #[serde(skip)]
        client_name: Sealed<ClientName>,
    },
    /// A user allowed the device to act for them.
    Approved {
        /// The user who approved.
        user: UserId,
        /// When the user approved.
        at: Timestamp,
    },
    /// A user denied the request, or withdrew their own approval.
    Denied {
        /// The user who denied.
        user: UserId,
        /// When the user denied.
        at: Timestamp,
        /// The user code, which is free again.
        #[serde(skip)]
        user_code: Sealed<UserCode>,
    },
    /// The device redeemed the approved code. This happens at most once.
    Consumed {
        /// The user whom the device acts for.
        user: UserId,
        /// When the device redeemed the code.
        at: Timestamp,
        /// The user code, which is free again.
        #[serde(skip)]
        user_code: Sealed<UserCode>,
    },
}

impl DomainEvent for DeviceCodeEvent {
    fn event_type(&self) -> String {
        self.kind().0.to_owned()
    }

    fn event_version(&self) -> String {
        self.kind().1.to_owned()
    }
}

impl StoredEvent for DeviceCodeEvent {
    const KINDS: &'static [(&'static str, &'static str)] = &[
        ("device_code.created", "1"),
        ("device_code.approved", "1"),
        ("device_code.denied", "1"),
        ("device_code.consumed", "1"),
    ];

    fn kind(&self) -> (&'static str, &'static str) {
        match self {
            Self::Created { .. } => ("device_code.created", "1"),
            Self::Approved { .. } => ("device_code.approved", "1"),
            Self::Denied { .. } => ("device_code.denied", "1"),
            Self::Consumed { .. } => ("device_code.consumed", "1"),
        }
    }

    fn account(&self, _: Uuid) -> Option<AccountId> {
        None
    }

    fn begins_subject(&self, stream: Uuid) -> Option<Subject> {
        matches!(self, Self::Created { .. }).then_some(Subject { kind: STREAM_TYPE, id: stream })
    }
}

impl SealedFields for DeviceCodeEvent {
    fn visit_sealed(&mut self, owner: Subject, visitor: &mut dyn FieldVisitor) -> Result<(), SealError> {
        match self {
            Self::Created { digest, user_code, client_name, .. } => {
                visitor.field("digest", owner, digest)?;
                visitor.field("user_code", owner, user_code)?;
                visitor.field("client_name", owner, client_name)
            }
            Self::Denied { user_code, .. } | Self::Consumed { user_code, .. } => {
                visitor.field("user_code", owner, user_code)
            }
            Self::Approved { .. } => Ok(()),
        }
    }
}
