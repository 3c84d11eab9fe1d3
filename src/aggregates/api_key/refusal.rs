//! Why a command to an API key is refused.

use crate::aggregates::sentences::{self, Resource};

/// A rule of the API key that forbids the command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ApiKeyRefusal {
    /// There is no API key with this ID; for a rotation also: it was revoked or has expired.
    #[error("{}", sentences::no_such(Resource::ApiKey))]
    NotFound,
    /// The ID is taken by another API key, valid or revoked.
    #[error("{}", sentences::IDENTIFIER_IN_USE)]
    AlreadyMinted,
}
