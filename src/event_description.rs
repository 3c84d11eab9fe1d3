//! Descriptions of the events for those who read them: a JSON Schema of each payload, and an `AsyncAPI` document of the relay.
//!
//! Both are made from the registry of events, so they cannot lack one. A payload may gain members: readers ignore those that they
//! do not know.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::aggregates::{catalogue, payload_schemas};
use crate::nats::SUBJECTS;

/// The schema of one event's payload.
#[derive(Clone, Debug)]
pub struct EventSchema {
    /// The stored name of the event, for example `account.opened`.
    pub event_type: &'static str,
    /// The version of the payload's shape.
    pub version: &'static str,
    /// What the event says.
    pub description: String,
    /// The payload, with references to `#/components/schemas/…`.
    payload: Value,
}

/// Where schemas refer to each other in the description of an API.
const COMPONENTS: &str = "#/components/schemas/";

/// The schemas that others refer to, by name.
fn named() -> BTreeMap<String, Value> {
    let all = payload_schemas().into_iter().flat_map(|schema| schema.named);
    all.map(|(name, schema)| (name, json!(schema))).collect()
}

/// The name by which a payload says what it is.
fn tag(stream_type: &str, event_type: &str) -> String {
    match event_type.split_once('.') {
        Some((aggregate, event)) if aggregate == stream_type => event.to_owned(),
        Some((aggregate, event)) => format!("{aggregate}_{event}"),
        None => event_type.to_owned(),
    }
}

/// The schemas of all events, in the order of the registry.
#[must_use]
pub fn event_schemas() -> Vec<EventSchema> {
    let streams: BTreeMap<&str, Value> =
        payload_schemas().into_iter().map(|schema| (schema.stream_type, json!(schema.schema))).collect();
    let of = |stream_type: &str, event_type: &str| {
        let tag = tag(stream_type, event_type);
        let alternatives = streams.get(stream_type)?.get("oneOf")?.as_array()?;
        alternatives.iter().find(|schema| !schema["properties"][&tag].is_null()).cloned()
    };
    let schema = |(stream_type, event_type, version): (&'static str, &'static str, &'static str)| {
        let mut payload = of(stream_type, event_type).unwrap_or_default();
        let description = payload["description"].as_str().unwrap_or_default().to_owned();
        if let Some(payload) = payload.as_object_mut() {
            payload.remove("description");
        }
        EventSchema { event_type, version, description, payload }
    };
    catalogue().into_iter().map(schema).collect()
}

impl EventSchema {
    /// The identifier of the schema, which messages carry as `ce-dataschema`.
    #[must_use]
    pub fn id(&self) -> String {
        format!("urn:tenure:event:{}:{}", self.event_type, self.version)
    }

    /// A JSON Schema (draft 2020-12) that stands for itself.
    #[must_use]
    pub fn document(&self) -> Value {
        let named = named();
        let mut definitions = Map::new();
        let mut payload = self.payload.clone();
        refer(&mut payload, &named, &mut definitions);
        let mut document = json!({
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "$id": self.id(),
            "title": format!("{}, version {}", self.event_type, self.version),
            "description": self.description,
        });
        if let (Some(document), Value::Object(payload)) = (document.as_object_mut(), payload) {
            document.extend(payload);
            if !definitions.is_empty() {
                document.insert("$defs".to_owned(), Value::Object(definitions));
            }
        }
        document
    }
}

/// Points references at definitions within the same document, and collects these.
fn refer(schema: &mut Value, named: &BTreeMap<String, Value>, definitions: &mut Map<String, Value>) {
    match schema {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get_mut("$ref")
                && let Some(name) = reference.strip_prefix(COMPONENTS).map(str::to_owned)
            {
                *reference = format!("#/$defs/{name}");
                if !definitions.contains_key(&name) {
                    // First a place, so that schemas which refer to each other end.
                    definitions.insert(name.clone(), Value::Null);
                    let mut definition = named.get(&name).cloned().unwrap_or_default();
                    refer(&mut definition, named, definitions);
                    definitions.insert(name, definition);
                }
            }
            members.values_mut().for_each(|member| refer(member, named, definitions));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| refer(item, named, definitions)),
        _ => {}
    }
}

/// The headers of a relayed message, each with what it says and whether it is always there.
pub const HEADERS: [(&str, &str, bool); 20] = [
    ("ce-specversion", "The version of CloudEvents: 1.0", true),
    ("ce-id", "The identifier of the event, a UUID", true),
    ("ce-source", "The log: `urn:uuid:` and its identifier", true),
    ("ce-type", "The stored name of the event, for example `account.opened`", true),
    ("ce-time", "When the event was recorded, RFC 3339; strictly increasing with the position", true),
    ("ce-position", "The position in the log, which is the sequence in the stream", true),
    ("ce-epoch", "The epoch of the log; the stream is named after it", true),
    ("ce-version", "The version of the event in its aggregate's stream, from 1", true),
    ("ce-typeversion", "The version of the payload's shape", true),
    ("ce-subject", "The aggregate, `<type>/<identifier>`", false),
    ("ce-datacontenttype", "`application/json`", false),
    ("ce-dataschema", "The identifier of the payload's schema: `urn:tenure:event:<name>:<version>`", false),
    ("ce-account", "The account that the event concerns, a UUID", false),
    ("ce-actor", "Who did it: `system`, `operator`, `user`, `api_key` or `token`", false),
    ("ce-actorid", "The identifier of the user, API key or token", false),
    ("ce-onbehalfof", "The user on whose behalf an API key or a token acted", false),
    ("ce-correlation", "Ties events together across requests and services, a UUID", false),
    ("ce-causation", "The identifier of the event that caused this one", false),
    ("ce-traceparent", "The trace of the request (W3C Trace Context)", false),
    ("Nats-Msg-Id", "The identifier of the event again", true),
];

/// An `AsyncAPI` 3.0 document of what the relay publishes. `example` gives the payload of an event and version as an example.
#[must_use]
pub fn asyncapi(example: impl Fn(&str, &str) -> Option<Value>) -> Value {
    let schemas = event_schemas();
    let (mut channels, mut operations, mut messages) = (Map::new(), Map::new(), Map::new());
    for schema in &schemas {
        let EventSchema { event_type, version, description, payload, .. } = schema;
        let name = format!("{event_type}.v{version}");
        let mut message = json!({
            "name": event_type,
            "title": format!("{event_type}, version {version}"),
            "summary": description,
            "contentType": "application/json",
            "headers": {"$ref": "#/components/schemas/Headers"},
            "payload": payload,
        });
        if let Some(payload) = example(event_type, version) {
            message["examples"] = json!([{"name": "frozen", "payload": payload}]);
        }
        messages.insert(name.clone(), message);
        let channel = channels.entry(*event_type).or_insert_with(|| {
            json!({
                "address": format!("{SUBJECTS}.{{account}}.{event_type}"),
                "description": description,
                "parameters": {"account": {
                    "description": "The account that the event concerns, or `_` if it concerns none"
                }},
                "messages": {},
            })
        });
        channel["messages"][&name] = json!({"$ref": format!("#/components/messages/{name}")});
        operations.entry(*event_type).or_insert_with(
            || json!({"action": "send", "channel": {"$ref": format!("#/channels/{event_type}")}}),
        );
    }
    let mut components: Map<String, Value> = named().into_iter().collect();
    components.insert("Headers".to_owned(), headers());
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Tenure",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Every event of the log, on the JetStream stream `tenure_events_<epoch>` of the NATS account `tenure`, as a \
                            CloudEvent in binary mode. A message's sequence is the position of its event. Sealed fields are not \
                            part of a payload. After a repair a consumer may get positions again: keep your last position.",
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {"nats": {
            "host": "localhost:4222",
            "protocol": "nats",
            "description": "With a credential that `tenure nats user --subscribe` issues",
        }},
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": components},
    })
}

fn headers() -> Value {
    let mut properties = Map::new();
    for (name, description, _) in HEADERS {
        properties.insert(name.to_owned(), json!({"type": "string", "description": description}));
    }
    let required: Vec<&str> = HEADERS.iter().filter(|header| header.2).map(|header| header.0).collect();
    json!({"type": "object", "properties": properties, "required": required})
}
