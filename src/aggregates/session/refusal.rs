//! Why a command to a session is refused.

use crate::aggregates::sentences::{self, Resource};

/// A rule of the session that forbids the command.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SessionRefusal {
    /// There is no session with this ID.
    #[error("{}", sentences::no_such(Resource::Session))]
    NotFound,
    /// The ID is taken by another session.
    #[error("{}", sentences::IDENTIFIER_IN_USE)]
    IdentifierInUse,
}
