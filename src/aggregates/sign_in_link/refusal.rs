//! Why a command to a sign-in link is refused.

use crate::aggregates::sentences::{self, Resource};

/// A rule of the sign-in link that forbids the command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SignInLinkRefusal {
    /// There is no sign-in link with this ID, or it was used, or it has expired.
    #[error("{}", sentences::no_such(Resource::SignInLink))]
    NotFound,
    /// The ID is taken by another sign-in link.
    #[error("{}", sentences::IDENTIFIER_IN_USE)]
    IdentifierInUse,
}
