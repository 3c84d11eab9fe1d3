//! Schemas of identifiers, timestamps and names, for the descriptions of the API and of the events.

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};

use crate::aggregates::account::NatsPublicKey;
use crate::aggregates::api_key::KeyPrefix;
use crate::aggregates::source::{Handle, PipeName};
use crate::clock::Timestamp;
use crate::ids;

macro_rules! formatted_text {
    ($format:ident: $($type:ty),+ $(,)?) => {
        $(impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                ObjectBuilder::new()
                    .schema_type(Type::String)
                    .format(Some(SchemaFormat::KnownFormat(KnownFormat::$format)))
                    .into()
            }
        }

        impl ToSchema for $type {})+
    };
}

formatted_text!(DateTime: Timestamp);
formatted_text!(
    Uuid: ids::UserId,
    ids::AccountId,
    ids::ApiKeyId,
    ids::BearerTokenId,
    ids::InviteId,
    ids::SessionId,
    ids::SourceId,
    ids::PipeId,
    ids::EventId,
    ids::NameKeyId,
    ids::SignInLinkId,
);

macro_rules! text {
    ($($type:ty),+ $(,)?) => {
        $(impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                ObjectBuilder::new().schema_type(Type::String).into()
            }
        }

        impl ToSchema for $type {})+
    };
}

text!(Handle, PipeName, KeyPrefix, NatsPublicKey);
