//! Who asks, on whose behalf, and as a consequence of what: the metadata of every event.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::ids::{ApiKeyId, BearerTokenId, CorrelationId, EventId, UserId};

/// Who dispatches a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// Tenure itself, at genesis.
    System,
    /// Whoever holds the database: the command line.
    Operator,
    /// A person.
    User(UserId),
    /// A key of an account.
    ApiKey(ApiKeyId),
    /// An access token of a person.
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

/// The circumstances of one command, kept with each event that it leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// Who asks.
    pub actor: Actor,
    /// The person for whom the actor acts: a token's user, a key's minter.
    pub on_behalf_of: Option<UserId>,
    /// What belongs together across commands and services.
    pub correlation: Option<CorrelationId>,
    /// The event in reaction to which the command was made.
    pub causation: Option<EventId>,
    /// The request, if it may come again and must be carried out once.
    pub idempotency: Option<IdempotencyKey>,
}

/// What tells a request that comes again from another one; made by [`crate::Tenure::idempotency_key`].
///
/// It covers each operation by itself: several operations under one key are all carried out, and all answered from memory
/// when the request comes again. The same operation twice under one key is the same request twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// An HMAC over who asks, what for, and the caller's key.
    pub request: [u8; 32],
    /// An HMAC of the request's body.
    pub body: [u8; 32],
}

impl IdempotencyKey {
    /// The part of the request that is this operation.
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
    /// A command of this actor, in reaction to nothing else.
    #[must_use]
    pub const fn of(actor: Actor) -> Self {
        Self { actor, on_behalf_of: None, correlation: None, causation: None, idempotency: None }
    }

    /// The metadata of the events: a flat JSON object of strings, as cqrs-es needs it.
    #[must_use]
    pub fn metadata(&self) -> Vec<u8> {
        use std::io::Write as _;

        let mut json = Vec::with_capacity(160);
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
        let context = Context { on_behalf_of: Some(id), ..Context::of(Actor::User(id)) };
        let read: std::collections::HashMap<String, String> =
            serde_json::from_slice(&context.metadata()).unwrap();
        assert_eq!(read["actor"], "user");
        assert_eq!(read["actor_id"], id.to_string());
        assert_eq!(read["on_behalf_of"], id.to_string());
        assert_eq!(read.len(), 3);
    }
}
