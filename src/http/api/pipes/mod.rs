//! Sub-channels of a source: those that it has by itself, and those that people make.

pub mod change;
pub mod create;
pub mod delete;
pub mod list;
pub mod show;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::aggregates::source::Retention;
use crate::clock::Timestamp;
use crate::http::error::{ApiError, or_not_found};
use crate::http::state::AppState;
use crate::ids::{AccountId, PipeId, UserId};
use crate::operations::Resource;
use crate::projections::pipes::Pipe;
use crate::projections::sources::Source;

/// A pipe.
#[derive(Serialize, ToSchema)]
pub struct PipeRecord {
    /// The identifier; pipes that a source has by itself have none.
    pub id: Option<PipeId>,
    /// What it is called.
    pub name: String,
    /// Whether the source has it by itself.
    pub automatic: bool,
    /// Who made it.
    pub created_by_user_id: UserId,
    /// When.
    pub created_at: Timestamp,
    /// The subject of its messages at NATS.
    pub subject: String,
    /// The name of its JetStream stream.
    pub stream_name: String,
    /// For how many seconds a message is kept.
    pub ttl_seconds: i64,
    /// How many messages are kept.
    pub max_msgs: i64,
    /// How many bytes are kept.
    pub max_bytes: i64,
}

/// What a pipe keeps; what is not said is left to the server.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Keeps {
    /// For how many seconds a message is kept.
    #[schema(minimum = 1, maximum = 31_536_000)]
    #[serde(default, deserialize_with = "crate::http::json_integer::whole")]
    pub ttl_seconds: Option<i64>,
    /// How many messages are kept.
    #[schema(minimum = 1, maximum = 10_000_000)]
    #[serde(default, deserialize_with = "crate::http::json_integer::whole")]
    pub max_msgs: Option<i64>,
    /// How many bytes are kept.
    #[schema(minimum = 1, maximum = 8_589_934_592_i64)]
    #[serde(default, deserialize_with = "crate::http::json_integer::whole")]
    pub max_bytes: Option<i64>,
}

impl From<Keeps> for Retention {
    fn from(keeps: Keeps) -> Self {
        Self { ttl_seconds: keeps.ttl_seconds, max_msgs: keeps.max_msgs, max_bytes: keeps.max_bytes }
    }
}

/// The name of a pipe's JetStream stream; clients compute it too.
pub fn stream_name(account: AccountId, handle: &str, pipe: &str) -> String {
    let id = account.as_uuid().simple().to_string();
    format!("source_{}_{handle}_{pipe}", &id[..8])
}

impl AppState {
    /// What a pipe keeps, with the server's defaults where nothing is said.
    pub(in crate::http) fn resolved(&self, retention: Retention) -> (i64, i64, i64) {
        let all = retention.resolved(&self.tenure.rules().retention);
        (
            all.ttl_seconds.unwrap_or_default(),
            all.max_msgs.unwrap_or_default(),
            all.max_bytes.unwrap_or_default(),
        )
    }

    /// The record of a pipe that people have made.
    fn pipe_record(&self, account: AccountId, handle: &str, pipe: Pipe) -> PipeRecord {
        let (ttl_seconds, max_msgs, max_bytes) = self.resolved(pipe.retention);
        PipeRecord {
            id: Some(pipe.id),
            automatic: false,
            created_by_user_id: pipe.created_by_user_id,
            created_at: pipe.created_at,
            subject: format!("{account}.{handle}.{}", pipe.name),
            stream_name: stream_name(account, handle, &pipe.name),
            name: pipe.name,
            ttl_seconds,
            max_msgs,
            max_bytes,
        }
    }

    /// The record of a pipe that a source has by itself.
    fn auto_pipe_record(&self, source: &Source, name: &str) -> PipeRecord {
        let (ttl_seconds, max_msgs, max_bytes) = self.resolved(Retention::default());
        PipeRecord {
            id: None,
            automatic: true,
            created_by_user_id: source.created_by_user_id,
            created_at: source.created_at,
            subject: format!("{}.{}.{name}", source.account_id, source.handle),
            stream_name: stream_name(source.account_id, &source.handle, name),
            name: name.to_owned(),
            ttl_seconds,
            max_msgs,
            max_bytes,
        }
    }

    /// The record of the pipe of this name that people have made.
    async fn pipe(&self, account: AccountId, handle: &str, name: &str) -> Result<PipeRecord, ApiError> {
        let source = self.source(account, handle).await?;
        let pipe = or_not_found(self.tenure.reader().pipe_by_name(source.id, name).await, Resource::Pipe)?;
        Ok(self.pipe_record(account, handle, pipe))
    }
}
