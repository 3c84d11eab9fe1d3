//! The descriptions of the events: committed, complete, and true of every event that was ever stored.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tenure::aggregates::catalogue;
use tenure::event_description::{HEADERS, asyncapi, event_schemas};

fn path(below: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(below)
}

/// The payload of the frozen event.
fn example(event_type: &str, version: &str) -> Option<Value> {
    let text = std::fs::read_to_string(path(&format!("tests/fixtures/{event_type}.v{version}.json"))).ok()?;
    let fixture: Value = serde_json::from_str(&text).ok()?;
    serde_json::from_str(fixture["payload"].as_str()?).ok()
}

/// What is committed, written if that is asked for.
fn is_committed(file: &Path, made: &Value) {
    let made = format!("{made:#}\n");
    if std::env::var_os("TENURE_WRITE_FIXTURES").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, &made).unwrap();
    }
    let committed = std::fs::read_to_string(file).unwrap_or_default();
    let shown = file.display();
    assert!(
        committed == made,
        "{shown} is out of date: TENURE_WRITE_FIXTURES=1 cargo test event_descriptions"
    );
}

#[test]
fn every_event_has_a_committed_schema_and_a_channel() {
    let directory = path("docs/schemas");
    let mut expected = BTreeSet::new();
    for schema in event_schemas() {
        let name = format!("{}.v{}.json", schema.event_type, schema.version);
        let document = schema.document();
        assert!(document["properties"].is_object(), "{name}: the registry knows its payload");
        assert!(!schema.description.is_empty(), "{name} says what happened");
        is_committed(&directory.join(&name), &document);
        expected.insert(name);
    }
    assert_eq!(expected.len(), catalogue().len());
    let names = std::fs::read_dir(&directory).unwrap().flatten();
    let found: BTreeSet<String> =
        names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    assert_eq!(found, expected, "no schema of an event that does not exist");
    let document = asyncapi(example);
    is_committed(&path("docs/asyncapi.json"), &document);
    for (_, event_type, version) in catalogue() {
        assert!(document["channels"][event_type]["messages"][format!("{event_type}.v{version}")].is_object());
    }
}

#[test]
fn a_stock_parser_finds_no_fault_and_stock_validators_take_every_frozen_event() {
    let program = path("target/node/event_descriptions.mjs");
    // Beside its packages, where Node.js finds them.
    std::fs::copy(path("tests/clients/event_descriptions.mjs"), &program).expect("target/node");
    let output = Command::new("node").arg(program).arg(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
    let expected = format!("{} events", catalogue().len());
    assert!(text(&output.stdout).contains(&expected), "{}", text(&output.stdout));
}

#[test]
fn the_page_of_events_lists_the_headers() {
    let page = include_str!("../docs/guides/relay.md");
    for (name, ..) in HEADERS {
        assert!(page.contains(&format!("`{name}`")), "{name}");
    }
}
