//! What can have happened to a device code.

use cqrs_es::DomainEvent;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::values::{ClientName, UserCode};
use crate::aggregates::StoredEvent;
use crate::aggregates::secret::SecretDigest;
use crate::clock::Timestamp;
use crate::ids::{AccountId, UserId};
use crate::sealing::{FieldVisitor, SealError, Sealed, SealedFields, Subject};

/// The kind of stream that these events belong to.
pub const STREAM_TYPE: &str = "device_code";

/// An event of a device code. Fields of type [`Sealed`] are not part of the payload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceCodeEvent {
    /// The pair of codes was handed out.
    Created {
        /// When.
        at: Timestamp,
        /// From when on it is dead.
        expires_at: Timestamp,
        /// What is kept of the device code.
        #[serde(skip)]
        digest: Sealed<SecretDigest>,
        /// The code to type.
        #[serde(skip)]
        user_code: Sealed<UserCode>,
        /// What the device calls itself.
        #[serde(skip)]
        client_name: Sealed<ClientName>,
    },
    /// A person lets the device act for them.
    Approved {
        /// Who.
        user: UserId,
        /// When.
        at: Timestamp,
    },
    /// A person does not.
    Denied {
        /// Who.
        user: UserId,
        /// When.
        at: Timestamp,
        /// The code that is given up.
        #[serde(skip)]
        user_code: Sealed<UserCode>,
    },
    /// The device has taken what was approved, once.
    Consumed {
        /// For whom it acts.
        user: UserId,
        /// When.
        at: Timestamp,
        /// The code that is given up.
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
