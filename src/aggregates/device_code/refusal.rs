//! Why a command to a device code is refused.

/// What is true of the device code, so that the command cannot be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DeviceCodeRefusal {
    /// There is no such code, or it is good for nothing.
    #[error("there is no such device code")]
    NotFound,
    /// The identifier belongs to a device code already.
    #[error("the identifier is in use already")]
    AlreadyCreated,
    /// Nobody has approved or denied it yet.
    #[error("the device code has not been approved yet")]
    Pending,
    /// Its time is over.
    #[error("the device code has expired")]
    Expired,
    /// A person has denied it.
    #[error("the device code was denied")]
    Denied,
}
