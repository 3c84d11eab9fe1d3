//! Why a command to a bearer token is refused.

use crate::aggregates::sentences::{self, Resource};

/// A rule of the bearer token that forbids the command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BearerTokenRefusal {
    /// There is no bearer token with this ID.
    #[error("{}", sentences::no_such(Resource::BearerToken))]
    NotFound,
    /// The ID is taken by another bearer token.
    #[error("{}", sentences::IDENTIFIER_IN_USE)]
    IdentifierInUse,
}
