//! OpenAPI schemas of the engine's identifiers and timestamps.

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};

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
);
