//! Why a command to a device code is refused.

use crate::aggregates::sentences::{self, Resource};

/// A rule of the device code that forbids the command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DeviceCodeRefusal {
    /// There is no device code with this ID, or it was consumed. For an approval or a denial also: it has expired, was
    /// denied, or was approved by another user.
    #[error("{}", sentences::no_such(Resource::DeviceCode))]
    NotFound,
    /// The ID is taken by another device code.
    #[error("{}", sentences::IDENTIFIER_IN_USE)]
    AlreadyCreated,
    /// No user has approved or denied it yet.
    #[error("{}", sentences::DEVICE_CODE_PENDING)]
    Pending,
    /// The device code has expired.
    #[error("{}", sentences::DEVICE_CODE_EXPIRED)]
    Expired,
    /// A user denied it.
    #[error("{}", sentences::DEVICE_CODE_DENIED)]
    Denied,
}
