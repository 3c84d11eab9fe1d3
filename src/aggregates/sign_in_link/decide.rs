//! The rules of a sign-in link.

use super::commands::SignInLinkCommand;
use super::events::SignInLinkEvent;
use super::refusal::SignInLinkRefusal;
use super::state::SignInLink;
use crate::aggregates::EventSourced;

impl EventSourced for SignInLink {
    const STATE_VERSION: i32 = 2;

    fn decide(&self, command: SignInLinkCommand) -> Result<Vec<SignInLinkEvent>, SignInLinkRefusal> {
        match (self, command) {
            (Self::Unknown, SignInLinkCommand::Issue(new)) => Ok(vec![SignInLinkEvent::Issued {
                user: new.user,
                at: new.at,
                expires_at: new.expires_at,
                digest: new.digest.into(),
            }]),
            (_, SignInLinkCommand::Issue(_)) => Err(SignInLinkRefusal::IdentifierInUse),
            (Self::Active(active), SignInLinkCommand::Use { at }) if at < active.expires_at => {
                Ok(vec![SignInLinkEvent::Used { user: active.user, at }])
            }
            (_, SignInLinkCommand::Use { .. }) => Err(SignInLinkRefusal::NotFound),
        }
    }
}
