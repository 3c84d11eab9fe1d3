//! The context of a command: who sends it, on whose behalf and in reaction to what. Stored as the metadata of every
//! event.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::ids::{ApiKeyId, BearerTokenId, CorrelationId, EventId, UserId};
use crate::trace_context::TraceParent;

/// Who sends a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// Tenure itself: genesis, upgrades, background work, and requests without a signed-in user, such as a sign-in.
    System,
    /// An operator of the instance; the command line acts as this.
    Operator,
    /// A user, signed in with a session.
    User(UserId),
    /// An API key of an account.
    ApiKey(ApiKeyId),
    /// A bearer token of a user.
    Token(BearerTokenId),
}

impl Actor {
    /// The stored name of this kind of actor.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Operator => "operator",
            Self::User(_) => "user",
            Self::ApiKey(_) => "api_key",
            Self::Token(_) => "token",
        }
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System | Self::Operator => f.write_str(self.kind()),
            Self::User(id) => write!(f, "user:{id}"),
            Self::ApiKey(id) => write!(f, "api_key:{id}"),
            Self::Token(id) => write!(f, "token:{id}"),
        }
    }
}

/// The circumstances of one command, stored with each event that results from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// Who sends the command.
    pub actor: Actor,
    /// The user on whose behalf the actor acts: the token's user, or the user who minted the API key.
    pub on_behalf_of: Option<UserId>,
    /// Ties commands together across requests and services; `None` if the caller gave none.
    pub correlation: Option<CorrelationId>,
    /// The event that caused this command; `None` if no event did.
    pub causation: Option<EventId>,
    /// The trace that the command belongs to; `None` if the caller traces nothing.
    pub trace: Option<TraceParent>,
    /// The request's idempotency key; `None` if a repeated request is carried out again.
    pub idempotency: Option<IdempotencyKey>,
}

/// Recognises a repeated request; made by [`crate::Tenure::idempotency_key`].
///
/// It covers each operation separately: several operations under one key are all carried out, and a repeated request
/// gets the stored answer of each. The same operation twice under one key counts as a repeated request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// An HMAC over the actor, the route and the client's idempotency key.
    pub request: [u8; 32],
    /// An HMAC of the request body, to detect a key that is reused with another body.
    pub body: [u8; 32],
}

impl IdempotencyKey {
    /// The key of one operation within the request.
    #[must_use]
    pub fn of_operation(self, name: &str) -> Self {
        let request = Sha256::new()
            .chain_update(b"tenure idempotency key of an operation\0")
            .chain_update(self.request)
            .chain_update(name)
            .finalize()
            .into();
        Self { request, ..self }
    }
}

impl Context {
    /// The context of a command sent by this actor, with everything else unset.
    #[must_use]
    pub const fn of(actor: Actor) -> Self {
        Self { actor, on_behalf_of: None, correlation: None, causation: None, trace: None, idempotency: None }
    }

    /// The metadata of the events: a flat JSON object of strings, as cqrs-es needs it.
    #[must_use]
    pub fn metadata(&self) -> Vec<u8> {
        use std::io::Write as _;

        let mut json = Vec::with_capacity(240);
        let mut write = |text: fmt::Arguments<'_>| {
            // Writing to a vector cannot fail, and none of these values needs escaping.
            let _ = json.write_fmt(text);
        };
        write(format_args!("{{\"actor\":\"{}\"", self.actor.kind()));
        match self.actor {
            Actor::System | Actor::Operator => {}
            Actor::User(id) => write(format_args!(",\"actor_id\":\"{id}\"")),
            Actor::ApiKey(id) => write(format_args!(",\"actor_id\":\"{id}\"")),
            Actor::Token(id) => write(format_args!(",\"actor_id\":\"{id}\"")),
        }
        if let Some(id) = self.on_behalf_of {
            write(format_args!(",\"on_behalf_of\":\"{id}\""));
        }
        if let Some(id) = self.correlation {
            write(format_args!(",\"correlation\":\"{id}\""));
        }
        if let Some(id) = self.causation {
            write(format_args!(",\"causation\":\"{id}\""));
        }
        if let Some(trace) = self.trace {
            write(format_args!(",\"traceparent\":\"{trace}\""));
        }
        write(format_args!("}}"));
        json
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_a_flat_object_of_strings() {
        let id = UserId::UNAUTHENTICATED;
        let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let trace = parent.parse().ok();
        let context = Context { on_behalf_of: Some(id), trace, ..Context::of(Actor::User(id)) };
        let read: std::collections::HashMap<String, String> =
            serde_json::from_slice(&context.metadata()).unwrap();
        assert_eq!(read["actor"], "user");
        assert_eq!(read["actor_id"], id.to_string());
        assert_eq!(read["on_behalf_of"], id.to_string());
        assert_eq!(read["traceparent"], parent);
        assert_eq!(read.len(), 4);
    }
}
