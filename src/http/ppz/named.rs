//! Messages that name what they are about: ppz's clients print them as they come.

use crate::http::error::ApiError;
use crate::http::quoted::quoted;
use crate::operations::{Refusal, Resource};

/// What a request is about; empty for what it does not name.
#[derive(Clone, Copy, Default)]
pub struct Named<'a> {
    /// The slug of an account.
    pub account: &'a str,
    /// The handle of a source.
    pub source: &'a str,
    /// The name of a pipe.
    pub pipe: &'a str,
    /// The identifier of an invite.
    pub invite: &'a str,
    /// The username of an invitee.
    pub user: &'a str,
    /// The identifier of an API key.
    pub key: &'a str,
}

impl Named<'_> {
    /// The error, with a message that says what the request was about.
    pub fn in_error(self, error: impl Into<ApiError>) -> ApiError {
        let error = error.into();
        let ApiError::Refused(refusal) = error else { return error };
        let [account, source, pipe, invite, user, key] =
            [self.account, self.source, self.pipe, self.invite, self.user, self.key].map(quoted);
        let text = match refusal {
            Refusal::NotFound(Resource::Account) => format!("account {account} was not found"),
            Refusal::NotFound(Resource::Source) => format!("source {source} was not found in this account"),
            Refusal::NotFound(Resource::Pipe) => format!("pipe {pipe} was not found on source {source}"),
            Refusal::NotFound(Resource::Invite) => format!("invite {invite} was not found"),
            Refusal::NotFound(Resource::ApiKey) => format!("API key {key} was not found"),
            Refusal::HandleTaken => format!("a source {source} already exists in this account"),
            Refusal::PipeNameTaken => format!("a pipe {pipe} already exists on source {source}"),
            Refusal::AlreadyMember => format!("user {user} already belongs to account {account}"),
            Refusal::DuplicatePendingInvite => {
                format!("user {user} already has a pending invite to account {account}; revoke it first")
            }
            Refusal::InviteNotPending => format!("invite {invite} is no longer pending"),
            _ => return error,
        };
        ApiError::Told { refusal, text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_say_what_they_are_about() {
        let named = Named { source: "robot", pipe: "logs", ..Named::default() };
        assert_eq!(
            named.in_error(Refusal::PipeNameTaken).sentence(),
            "a pipe 'logs' already exists on source 'robot'"
        );
        assert_eq!(named.in_error(Refusal::Forbidden).sentence(), Refusal::Forbidden.to_string());
    }
}
