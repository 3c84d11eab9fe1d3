//! Why a command to a device code is refused.

/// A rule of the device code that forbids the command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DeviceCodeRefusal {
    /// There is no device code with this ID, or it was consumed. For an approval or a denial also: it has expired, was
    /// denied, or was approved by another user.
    #[error("there is no such device code")]
    NotFound,
    /// The ID is taken by another device code.
    #[error("the identifier is already in use")]
    AlreadyCreated,
    /// No user has approved or denied it yet.
    #[error("the device code has not been approved yet")]
    Pending,
    /// The device code has expired.
    #[error("the device code has expired")]
    Expired,
    /// A user denied it.
    #[error("the device code was denied")]
    Denied,
}
