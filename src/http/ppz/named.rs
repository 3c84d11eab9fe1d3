//! Messages that name what they are about: ppz's clients print them as they come.

use crate::http::error::ApiError;
use crate::operations::{Refusal, Resource};

/// The longest name that is repeated, in characters: a path may hold anything.
const LONGEST: usize = 64;

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

/// The name in quotes, shortened, and without characters that would disturb a terminal.
fn quoted(name: &str) -> String {
    let shown: String = name.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    let more = if name.chars().nth(LONGEST).is_some() { "…" } else { "" };
    format!("'{shown}{more}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_shortened_and_harmless() {
        let named = Named { source: "robot", pipe: "logs", ..Named::default() };
        assert_eq!(
            named.in_error(Refusal::PipeNameTaken).sentence(),
            "a pipe 'logs' already exists on source 'robot'"
        );
        assert_eq!(quoted("\u{1b}[31m\u{202e}"), "'\\u{1b}[31m\\u{202e}'");
        assert_eq!(quoted(&"a".repeat(70)).chars().count(), LONGEST + 3);
        assert_eq!(named.in_error(Refusal::Forbidden).sentence(), Refusal::Forbidden.to_string());
    }
}
