//! The names of those whom events mention, and events in words.

use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::story::{Because, Entry, ExplainError, Person, Viewer, Who};
use crate::Tenure;
use crate::event_description::event_schemas;
use crate::history::EventRecord;
use crate::ids::{ApiKeyId, BearerTokenId, EventId, UserId};

/// What each event says, by its stored name.
static SENTENCES: LazyLock<HashMap<&'static str, String>> = LazyLock::new(|| {
    event_schemas().into_iter().map(|schema| (schema.event_type, schema.description)).collect()
});

/// How many users' names are looked up for one part of a story.
const MOST_NAMES: usize = 10_000;

/// The names of those whom events mention.
pub(super) struct Names {
    users: HashMap<UserId, String>,
    keys: HashMap<Uuid, String>,
    tokens: HashMap<Uuid, String>,
    /// Also those that were looked for in vain, and those that the viewer may not see.
    causes: HashMap<EventId, Option<(i64, String)>>,
}

fn text<'r>(record: &'r EventRecord, name: &str) -> Option<&'r str> {
    record.metadata.get(name)?.as_str()
}

fn id(record: &EventRecord, name: &str) -> Option<Uuid> {
    text(record, name)?.parse().ok()
}

/// An identifier as events have it, with hyphens: 36 characters, which no handle and no name of a pipe can have.
fn user_id(text: &str) -> Option<UserId> {
    (text.len() == 36).then(|| text.parse().ok()).flatten()
}

/// The identifiers in a value.
fn ids_in(value: &Value, found: &mut Vec<UserId>) {
    match value {
        Value::String(text) => found.extend(user_id(text)),
        Value::Array(all) => all.iter().for_each(|value| ids_in(value, found)),
        Value::Object(all) => all.values().for_each(|value| ids_in(value, found)),
        _ => {}
    }
}

/// A value as text.
fn plain(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

impl Names {
    pub(super) async fn load(
        tenure: &Tenure,
        records: &[EventRecord],
        viewer: Viewer,
    ) -> Result<Self, ExplainError> {
        let (mut users, mut keys, mut tokens) = (Vec::new(), Vec::new(), Vec::new());
        for record in records {
            users.extend(id(record, "on_behalf_of").map(UserId::from_uuid));
            ids_in(&record.payload, &mut users);
            match (text(record, "actor"), id(record, "actor_id")) {
                (Some("user"), Some(id)) => users.push(UserId::from_uuid(id)),
                (Some("api_key"), Some(id)) => keys.push(ApiKeyId::from_uuid(id)),
                (Some("token"), Some(id)) => tokens.push(BearerTokenId::from_uuid(id)),
                _ => {}
            }
        }
        users.sort_unstable();
        users.dedup();
        users.truncate(MOST_NAMES);
        let reader = tenure.reader();
        let names = async {
            match viewer {
                Viewer::Operator => reader.usernames_by_ids(&users).await,
                Viewer::Account(account) => reader.usernames_of_members_among(account, &users).await,
                Viewer::User(user) => reader.usernames_by_ids(&[user]).await,
            }
        };
        // The beginning of a token is for its owner and operators, the label of a key for its account.
        let tokens = if viewer == Viewer::Operator { tokens } else { Vec::new() };
        let keys = if matches!(viewer, Viewer::User(_)) { Vec::new() } else { keys };
        let (users, keys, tokens) = tokio::try_join!(
            names,
            reader.labels_of_api_keys(&keys),
            reader.prefixes_of_bearer_tokens(&tokens),
        )?;
        let mut causes = HashMap::new();
        for cause in records.iter().filter_map(|record| id(record, "causation")).map(EventId::from_uuid) {
            if let std::collections::hash_map::Entry::Vacant(entry) = causes.entry(cause) {
                let found = tenure.find_event(cause).await?;
                let shown = found.filter(|event| match viewer {
                    Viewer::Account(account) => event.account_id == Some(account.as_uuid()),
                    Viewer::Operator | Viewer::User(_) => true,
                });
                entry.insert(shown.map(|event| (event.position, event.event_type)));
            }
        }
        Ok(Self { users, keys, tokens, causes })
    }

    /// An event in words.
    pub(super) fn entry(&self, event: EventRecord) -> Entry {
        let what = SENTENCES.get(&*event.event_type).cloned();
        let because = id(&event, "causation").map(EventId::from_uuid).map(|event_id| {
            let (position, event_type) = self.causes.get(&event_id).cloned().flatten().unzip();
            Because { event_id, position, event_type }
        });
        Entry {
            what: what.unwrap_or_else(|| event.event_type.replace(['.', '_'], " ")),
            facts: self.facts(&event),
            who: self.who(&event),
            because,
            event,
        }
    }

    fn who(&self, event: &EventRecord) -> Who {
        let kind = text(event, "actor").unwrap_or("system").to_owned();
        let id_of_actor = id(event, "actor_id");
        let name = id_of_actor.and_then(|id| match &*kind {
            "user" => self.users.get(&UserId::from_uuid(id)),
            "api_key" => self.keys.get(&id),
            "token" => self.tokens.get(&id),
            _ => None,
        });
        let person = |id| Person { id, username: self.users.get(&UserId::from_uuid(id)).cloned() };
        Who {
            name: name.cloned(),
            id: id_of_actor,
            on_behalf_of: id(event, "on_behalf_of").map(person),
            kind,
        }
    }

    /// What an event says, sealed fields included, with the names of users in place of their identifiers.
    fn facts(&self, event: &EventRecord) -> BTreeMap<String, String> {
        let none = Map::new();
        let fields = payload_of(event).unwrap_or(&none).iter().map(|(name, value)| (name, self.say(value)));
        // What people have written is shown as it is, whatever it looks like.
        let sealed = event.sealed.iter().map(|(name, value)| (name, plain(value)));
        // When it happened is said already.
        let all = fields.chain(sealed).filter(|(name, _)| *name != "at");
        all.map(|(name, value)| (name.clone(), value)).collect()
    }

    fn say(&self, value: &Value) -> String {
        let user = value.as_str().and_then(user_id).and_then(|id| self.users.get(&id));
        user.map_or_else(|| plain(value), |name| format!("{name} ({})", plain(value)))
    }
}

/// The members of an event's payload; it is an object with one member, that says what happened.
fn payload_of(record: &EventRecord) -> Option<&Map<String, Value>> {
    let payload = record.payload.as_object()?;
    match payload.values().next() {
        Some(Value::Object(inner)) if payload.len() == 1 => Some(inner),
        _ => Some(payload),
    }
}
