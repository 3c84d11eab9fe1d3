//! The streams that an account should have.
//!
//! Every pipe is one stream. Its metadata says which pipe, or of which source an automatic pipe is: a stream of another pipe
//! that had the name before is deleted with its messages, and only streams with such metadata are ever deleted.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy, RetentionPolicy, StorageType};
use futures::TryStreamExt as _;
use tokio::time::Instant;

use super::system::ReportedStream;
use crate::Tenure;
use crate::aggregates::source::{Retention, SourceKind};
use crate::ids::{AccountId, PipeId, SourceId};
use crate::projections::QueryError;

/// The metadata that says whose stream it is.
const OF_PIPE: &str = "tenure_pipe";
const OF_SOURCE: &str = "tenure_source";

/// The longest time within which a repeated message is recognised.
const DUPLICATE_WINDOW: Duration = Duration::from_mins(2);

/// How many sources share one query for their pipes.
const SOURCES: usize = 200;

/// The name of a pipe's stream. Clients compute it themselves, so the format is fixed. Accounts that were opened in the same
/// minute share the digits: the name is unique within an account only.
#[must_use]
pub fn stream_name(account: AccountId, handle: &str, pipe: &str) -> String {
    let id = account.as_uuid().simple().to_string();
    format!("source_{}_{handle}_{pipe}", &id[..8])
}

/// The subject of a pipe's messages. Clients compute it themselves.
#[must_use]
pub fn pipe_subject(account: AccountId, handle: &str, pipe: &str) -> String {
    format!("{account}.{handle}.{pipe}")
}

/// Whose stream it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamOf {
    /// A pipe that was created.
    Pipe(PipeId),
    /// An automatic pipe of this source.
    Source(SourceId),
}

impl StreamOf {
    fn metadata(self) -> (&'static str, String) {
        match self {
            Self::Pipe(id) => (OF_PIPE, id.to_string()),
            Self::Source(id) => (OF_SOURCE, id.to_string()),
        }
    }

    /// Whose stream this is; `None` if it is not one that Tenure has made.
    pub(super) fn read(metadata: &HashMap<String, String>) -> Option<Self> {
        if let Some(id) = metadata.get(OF_PIPE) {
            return id.parse().ok().map(Self::Pipe);
        }
        metadata.get(OF_SOURCE)?.parse().ok().map(Self::Source)
    }

    /// Whether a reported stream is this one's.
    pub(super) fn owns(self, stream: &ReportedStream) -> bool {
        stream.config.as_ref().and_then(|config| Self::read(&config.metadata)) == Some(self)
    }
}

/// A stream that should be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DesiredStream {
    pub(super) name: String,
    subject: String,
    pub(super) of: StreamOf,
    retention: Retention,
}

impl DesiredStream {
    fn max_age(&self) -> Duration {
        Duration::from_secs(self.retention.ttl_seconds.unwrap_or_default().unsigned_abs())
    }

    /// Its configuration, made from another one, of which only what is managed here is changed.
    pub(super) fn config(&self, from: Config, replicas: usize) -> Config {
        let (key, id) = self.of.metadata();
        let mut metadata = from.metadata.clone();
        metadata.retain(|name, _| name != OF_PIPE && name != OF_SOURCE);
        metadata.insert(key.to_owned(), id);
        Config {
            name: self.name.clone(),
            subjects: vec![self.subject.clone()],
            retention: RetentionPolicy::Limits,
            storage: StorageType::File,
            discard: DiscardPolicy::Old,
            discard_new_per_subject: false,
            max_age: self.max_age(),
            max_messages: self.retention.max_msgs.unwrap_or_default(),
            max_bytes: self.retention.max_bytes.unwrap_or_default(),
            max_messages_per_subject: -1,
            duplicate_window: DUPLICATE_WINDOW.min(self.max_age()),
            num_replicas: replicas,
            allow_direct: false,
            metadata,
            ..from
        }
    }

    /// Whether a stream with this configuration is as it should be.
    pub(super) fn is_met_by(&self, found: &Config, replicas: usize) -> bool {
        // Zero and −1 both mean unlimited, and the server tells either.
        let wanted = self.config(found.clone(), replicas);
        let unlimited = |value: i64| if value <= 0 { -1 } else { value };
        let mut same = wanted.clone();
        same.max_messages_per_subject = found.max_messages_per_subject;
        same == *found && unlimited(found.max_messages_per_subject) == -1
    }
}

/// The streams that an account should have, by name.
pub(super) async fn desired(
    tenure: &Tenure,
    account: AccountId,
) -> Result<BTreeMap<String, DesiredStream>, QueryError> {
    let reader = tenure.reader();
    let defaults = tenure.rules().retention;
    let mut found = BTreeMap::new();
    let mut add = |handle: &str, pipe: &str, of: StreamOf, retention: Retention| {
        let stream = DesiredStream {
            name: stream_name(account, handle, pipe),
            subject: pipe_subject(account, handle, pipe),
            of,
            retention: retention.resolved(&defaults),
        };
        found.insert(stream.name.clone(), stream);
    };
    let mut pages = std::pin::pin!(reader.sources_for_account(account).try_chunks(SOURCES));
    while let Some(sources) = pages.try_next().await.map_err(|error| error.1)? {
        let ids: Vec<SourceId> = sources.iter().map(|source| source.id).collect();
        let handles: HashMap<SourceId, (&str, SourceKind)> =
            sources.iter().map(|source| (source.id, (source.handle.as_str(), source.kind))).collect();
        for source in &sources {
            for pipe in source.kind.auto_pipes() {
                add(&source.handle, pipe, StreamOf::Source(source.id), Retention::default());
            }
        }
        for pipe in reader.pipes_of_sources(&ids).await? {
            if let Some((handle, _)) = handles.get(&pipe.source_id) {
                add(handle, &pipe.name, StreamOf::Pipe(pipe.id), pipe.retention);
            }
        }
    }
    Ok(found)
}

/// Whether the streams that the servers report are those that should be there.
pub(super) fn is_converged(
    desired: &BTreeMap<String, DesiredStream>,
    found: &BTreeMap<String, ReportedStream>,
    replicas: usize,
) -> bool {
    let config = |stream: &ReportedStream| stream.config.clone();
    let all_there = desired.values().all(|wanted| {
        found.get(&wanted.name).and_then(config).is_some_and(|found| wanted.is_met_by(&found, replicas))
    });
    let mut ours = found.values().filter(|stream| config(stream).is_some_and(|config| is_ours(&config)));
    all_there && ours.all(|stream| desired.contains_key(&stream.name))
}

/// Whether Tenure has made a stream with this configuration.
pub(super) fn is_ours(config: &Config) -> bool {
    StreamOf::read(&config.metadata).is_some()
}

/// What was done to the streams of an account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Converged {
    pub(super) created: usize,
    pub(super) changed: usize,
    pub(super) deleted: usize,
    /// The names of streams that could not be made as they should be, and why.
    pub(super) failed: BTreeMap<String, String>,
}

/// What the last change within this node came to, for those who waited for it.
#[derive(Debug, Default)]
pub(super) struct Last {
    /// When the last comparison of streams began, and what it did.
    pub(super) converged: Option<(Instant, Converged)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> DesiredStream {
        let account = AccountId::from_uuid(uuid::Uuid::from_u128(7));
        DesiredStream {
            name: stream_name(account, "robot", "inbox"),
            subject: pipe_subject(account, "robot", "inbox"),
            of: StreamOf::Source(SourceId::from_uuid(uuid::Uuid::from_u128(9))),
            retention: Retention { ttl_seconds: Some(60), max_msgs: Some(5), max_bytes: Some(1_000) },
        }
    }

    #[test]
    fn a_stream_is_compared_by_what_is_managed_alone() {
        let wanted = wanted();
        let mut found = wanted.config(Config::default(), 1);
        assert_eq!(found.duplicate_window, Duration::from_mins(1), "no longer than messages are kept");
        found.metadata.insert("_nats.ver".to_owned(), "2.15.1".to_owned());
        found.max_consumers = -1;
        found.max_messages_per_subject = -1;
        assert!(wanted.is_met_by(&found, 1));
        assert!(!wanted.is_met_by(&found, 3), "replicas");
        for change in [
            |config: &mut Config| config.max_age = Duration::from_secs(61),
            |config: &mut Config| config.max_messages = 6,
            |config: &mut Config| config.max_bytes = -1,
            |config: &mut Config| config.subjects.push("x".to_owned()),
            |config: &mut Config| config.allow_direct = true,
            |config: &mut Config| config.storage = StorageType::Memory,
            |config: &mut Config| config.metadata.clear(),
            |config: &mut Config| config.max_messages_per_subject = 1,
        ] {
            let mut other = found.clone();
            change(&mut other);
            assert!(!wanted.is_met_by(&other, 1), "{other:?}");
        }
    }

    #[test]
    fn names_and_subjects_are_those_that_clients_compute() {
        let account = "0190f5a2-1111-7000-8000-000000000001".parse().unwrap();
        assert_eq!(stream_name(account, "robot", "inbox"), "source_0190f5a2_robot_inbox");
        assert_eq!(pipe_subject(account, "r", "p"), "0190f5a2-1111-7000-8000-000000000001.r.p");
    }
}
