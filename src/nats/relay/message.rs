//! An event of the log as a NATS message: a `CloudEvent` in binary mode.
//!
//! Attributes are headers with the prefix `ce-`, percent-encoded as the NATS binding of `CloudEvents` says (§3.1.3.2); the body is
//! the public payload. What is sealed in the event never gets here, and of events of foreign aggregates neither the
//! payload nor the aggregate's identifier nor the metadata, unless their type was opted in.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write as _;

use async_nats::HeaderMap;
use bytes::Bytes;
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use crate::aggregates::catalogue;
use crate::event_log::RecordedEvent;
use crate::ids::{EventId, LogId};

/// Everything that the relay publishes is below this subject.
pub const SUBJECTS: &str = "tenure.events";

/// The header that repeats the event's identifier, by which the stream's messages are told from others.
pub(super) const MESSAGE_ID: &str = "Nats-Msg-Id";

/// The characters of a header that are written as `%XX`, besides those outside of ASCII.
const HEADER: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'%');

/// The characters of a subject's token that are written as they are.
const TOKEN: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// The longest token of a subject, and the longest value of a header, that are written as they are, in bytes.
const MAX_TOKEN: usize = 200;
const MAX_VALUE: usize = 2_048;

/// What the relay publishes for one event.
#[derive(Debug)]
pub(super) struct RelayMessage {
    pub(super) subject: String,
    pub(super) headers: HeaderMap,
    pub(super) payload: Bytes,
}

impl RelayMessage {
    /// About how many bytes it takes.
    pub(super) fn size(&self) -> usize {
        self.payload.len() + 1_024
    }
}

/// Makes the messages of a log's events.
#[derive(Clone, Debug)]
pub(super) struct Envelope {
    source: String,
    epoch: String,
    stream: String,
    own_types: &'static [&'static str],
    /// What the names of our own events begin with.
    own_names: BTreeSet<&'static str>,
    /// Types of foreign aggregates whose events are public.
    public_foreign: Vec<String>,
}

/// What is read of an event's metadata. Other members are not relayed.
#[derive(Default, Deserialize)]
struct Metadata<'a> {
    #[serde(borrow)]
    actor: Option<Cow<'a, str>>,
    #[serde(borrow)]
    actor_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    on_behalf_of: Option<Cow<'a, str>>,
    #[serde(borrow)]
    correlation: Option<Cow<'a, str>>,
    #[serde(borrow)]
    causation: Option<Cow<'a, str>>,
    #[serde(borrow)]
    traceparent: Option<Cow<'a, str>>,
}

impl Envelope {
    pub(super) fn new(
        log_id: LogId,
        epoch: i64,
        stream: &str,
        own_types: &'static [&'static str],
        public_foreign: &[String],
    ) -> Self {
        Self {
            source: format!("urn:uuid:{log_id}"),
            epoch: epoch.to_string(),
            stream: stream.to_owned(),
            own_types,
            own_names: catalogue().iter().filter_map(|(_, name, _)| name.split('.').next()).collect(),
            public_foreign: public_foreign.to_vec(),
        }
    }

    /// The message of an event. The stream takes it only right after the position before it, and after the event that was there, if
    /// that is given: the sequence alone could be that of someone else's message.
    pub(super) fn message(&self, event: &RecordedEvent, previous: Option<EventId>) -> RelayMessage {
        let stream_type = &*event.stream.stream_type;
        let is_own = self.own_types.contains(&stream_type);
        let is_public = is_own || self.public_foreign.iter().any(|public| public == stream_type);
        let mut headers = HeaderMap::new();
        let mut add = |name: &'static str, value: std::fmt::Arguments<'_>| {
            let mut text = String::with_capacity(40);
            // Writing to a string cannot fail.
            let _ = text.write_fmt(value);
            headers.insert(name, header_value(text));
        };
        let id = event.id;
        add(MESSAGE_ID, format_args!("{id}"));
        add("Nats-Expected-Stream", format_args!("{}", self.stream));
        add("Nats-Expected-Last-Sequence", format_args!("{}", event.position - 1));
        if let Some(previous) = previous {
            add("Nats-Expected-Last-Msg-Id", format_args!("{previous}"));
        }
        add("ce-specversion", format_args!("1.0"));
        add("ce-id", format_args!("{id}"));
        add("ce-source", format_args!("{}", self.source));
        add("ce-type", format_args!("{}", event.event_type));
        add("ce-time", format_args!("{}", event.recorded_at));
        add("ce-position", format_args!("{}", event.position));
        add("ce-epoch", format_args!("{}", self.epoch));
        add("ce-version", format_args!("{}", event.version));
        add("ce-typeversion", format_args!("{}", event.event_version));
        if let Some(account) = event.account_id {
            add("ce-account", format_args!("{account}"));
        }
        if is_own {
            let schema = (&event.event_type, &event.event_version);
            add("ce-dataschema", format_args!("urn:tenure:event:{}:{}", schema.0, schema.1));
        }
        let mut payload = Bytes::new();
        if is_public {
            add("ce-subject", format_args!("{}", event.stream));
            add("ce-datacontenttype", format_args!("application/json"));
            payload = event.payload.clone();
        }
        // Foreign metadata may hold anything.
        let metadata: Metadata<'_> = if is_own {
            serde_json::from_slice(&event.metadata).unwrap_or_default()
        } else {
            Metadata::default()
        };
        for (name, value) in [
            ("ce-actor", metadata.actor),
            ("ce-actorid", metadata.actor_id),
            ("ce-onbehalfof", metadata.on_behalf_of),
            ("ce-correlation", metadata.correlation),
            ("ce-causation", metadata.causation),
            ("ce-traceparent", metadata.traceparent),
        ] {
            if let Some(value) = value {
                add(name, format_args!("{value}"));
            }
        }
        RelayMessage { subject: self.subject(event, is_own), headers, payload }
    }

    /// `tenure.events.<account>.<aggregate>.<event>`, with `_` where there is no account.
    fn subject(&self, event: &RecordedEvent, is_own: bool) -> String {
        let mut subject = String::with_capacity(96);
        subject.push_str(SUBJECTS);
        subject.push('.');
        // Writing to a string cannot fail.
        let _ = match event.account_id {
            Some(account) => write!(subject, "{account}."),
            None => write!(subject, "_."),
        };
        if is_own {
            // Its name is `<aggregate>.<event>`, in characters that need no encoding.
            subject.push_str(&event.event_type);
        } else {
            let name = &*event.stream.stream_type;
            // A foreign type may have the name of a part of ours.
            let kind = token(name);
            if self.own_names.contains(name) {
                let _ = write!(subject, "%{:02X}{}", name.as_bytes()[0], &kind[1..]);
            } else {
                subject.push_str(&kind);
            }
            subject.push('.');
            subject.push_str(&token(&event.event_type));
        }
        subject
    }
}

/// Any text as one token of a subject. What would be too long is cut, and told apart by its hash.
fn token(text: &str) -> String {
    let encoded = utf8_percent_encode(text, TOKEN).to_string();
    match encoded.len() {
        0 => "_".to_owned(),
        1..=MAX_TOKEN => encoded,
        _ => {
            let hash = data_encoding::HEXLOWER.encode(&Sha256::digest(text)[..16]);
            format!("{}~{hash}", &encoded[..64])
        }
    }
}

/// Any text as the value of a header. What is too long is cut.
fn header_value(text: String) -> String {
    let is_plain = |octet: u8| octet.is_ascii_graphic() && octet != b'"' && octet != b'%';
    if text.len() <= MAX_VALUE && text.bytes().all(is_plain) {
        return text;
    }
    let mut end = text.len().min(MAX_VALUE);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    utf8_percent_encode(&text[..end], HEADER).to_string()
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::clock::Timestamp;
    use crate::event_log::StreamId;

    fn event(stream_type: &'static str, id: &str, event_type: &str) -> RecordedEvent {
        RecordedEvent {
            position: 12,
            id: EventId::from_uuid(Uuid::from_u128(0xe1)),
            stream: StreamId { stream_type: stream_type.into(), id: id.into() },
            version: 3,
            event_type: event_type.to_owned(),
            event_version: "1".to_owned(),
            account_id: None,
            recorded_at: Timestamp::parse("2026-01-31T12:00:00.000001Z").unwrap(),
            payload: Bytes::from_static(br#"{"secret":"of others"}"#),
            metadata: Bytes::from_static(
                br#"{"actor":"user","traceparent":"00-a-b-01","mail":"ada@example.org"}"#,
            ),
            sealed: Some(Bytes::from_static(b"ciphertext")),
        }
    }

    fn envelope(public: &[&str]) -> Envelope {
        let public: Vec<String> = public.iter().map(|&name| name.to_owned()).collect();
        let log_id = LogId::from_uuid(Uuid::from_u128(7));
        Envelope::new(log_id, 5, "tenure_events_5", crate::aggregates::STREAM_TYPES, &public)
    }

    fn header<'a>(message: &'a RelayMessage, name: &str) -> Option<&'a str> {
        message.headers.get(name).map(async_nats::HeaderValue::as_str)
    }

    #[test]
    fn an_event_is_a_cloud_event_with_its_public_payload() {
        let mut own = event("account", "a1", "account.opened");
        own.account_id = Some(Uuid::from_u128(0xa1));
        let message = envelope(&[]).message(&own, Some(EventId::from_uuid(Uuid::from_u128(0xe0))));
        assert_eq!(message.subject, "tenure.events.00000000-0000-0000-0000-0000000000a1.account.opened");
        assert_eq!(message.payload, own.payload);
        for (name, value) in [
            ("Nats-Expected-Last-Sequence", "11"),
            ("Nats-Expected-Stream", "tenure_events_5"),
            ("Nats-Expected-Last-Msg-Id", "00000000-0000-0000-0000-0000000000e0"),
            ("Nats-Msg-Id", "00000000-0000-0000-0000-0000000000e1"),
            ("ce-specversion", "1.0"),
            ("ce-id", "00000000-0000-0000-0000-0000000000e1"),
            ("ce-source", "urn:uuid:00000000-0000-0000-0000-000000000007"),
            ("ce-type", "account.opened"),
            ("ce-subject", "account/a1"),
            ("ce-time", "2026-01-31T12:00:00.000001Z"),
            ("ce-datacontenttype", "application/json"),
            ("ce-dataschema", "urn:tenure:event:account.opened:1"),
            ("ce-position", "12"),
            ("ce-epoch", "5"),
            ("ce-version", "3"),
            ("ce-typeversion", "1"),
            ("ce-actor", "user"),
            ("ce-traceparent", "00-a-b-01"),
        ] {
            assert_eq!(header(&message, name), Some(value), "{name}");
        }
        assert!(!format!("{message:?}").contains("ada@example.org"));
    }

    #[test]
    fn a_foreign_event_shows_its_names_alone_until_its_type_is_opted_in() {
        let foreign = event("shop order", "ada@example.org", "Paid 100%");
        let hidden = envelope(&[]).message(&foreign, None);
        assert_eq!(hidden.subject, "tenure.events._.shop%20order.Paid%20100%25");
        assert_eq!(header(&hidden, "ce-type"), Some("Paid%20100%25"));
        assert!(hidden.payload.is_empty());
        let told = format!("{hidden:?}");
        assert!(
            !told.contains("ada") && !told.contains("traceparent") && !told.contains("ce-subject"),
            "{told}"
        );
        let shown = envelope(&["shop order"]).message(&foreign, None);
        assert_eq!(shown.payload, foreign.payload);
        assert_eq!(header(&shown, "ce-subject"), Some("shop%20order/ada@example.org"));
        assert_eq!(header(&shown, "ce-actor"), None, "foreign metadata may hold anything");
    }

    #[test]
    fn any_name_of_a_foreign_event_becomes_a_subject() {
        for (stream_type, name, expected) in [
            ("pipe", "created", "tenure.events._.%70ipe.created"),
            ("a.b", "x>y*", "tenure.events._.a%2Eb.x%3Ey%2A"),
            ("", "", "tenure.events._._._"),
            ("é", "\n", "tenure.events._.%C3%A9.%0A"),
        ] {
            assert_eq!(envelope(&[]).message(&event(stream_type, "1", name), None).subject, expected);
        }
        let long = "é".repeat(5_000);
        let message = envelope(&[]).message(&event("t", "1", &long), None);
        assert!(message.subject.len() < 300, "{}", message.subject.len());
        assert!(header(&message, "ce-type").unwrap().len() <= 3 * MAX_VALUE);
    }
}
