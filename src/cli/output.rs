//! Prints tables and JSON to standard output.

use std::io::Write as _;

use comfy_table::{ContentArrangement, Table};
use serde_json::Value;

use crate::dispatch::Dispatched;

/// The reader of standard output has closed the pipe, as `| head` does. Not a failure: it has what it wanted.
///
/// A type of its own, because a connection to a database can break in the same way.
#[derive(Debug, thiserror::Error)]
#[error("the reader of standard output has closed the pipe")]
pub(super) struct ReaderGone;

/// Prints one line.
pub(super) fn line(text: &str) -> anyhow::Result<()> {
    bytes(format!("{text}\n").as_bytes())
}

/// Prints octets as they are.
pub(super) fn bytes(octets: &[u8]) -> anyhow::Result<()> {
    // Not `println!`, which panics when the pipe is closed.
    let mut out = std::io::stdout().lock();
    match out.write_all(octets).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Err(ReaderGone.into()),
        Err(error) => Err(anyhow::Error::new(error).context("cannot write to standard output")),
        Ok(()) => Ok(()),
    }
}

/// Ignores that the reader is gone, where something is left to be done or reported.
pub(super) fn unless_reader_gone(printed: anyhow::Result<()>) -> anyhow::Result<()> {
    match printed {
        Err(error) if error.is::<ReaderGone>() => Ok(()),
        printed => printed,
    }
}

/// Prints a JSON document on one line.
pub(super) fn json(value: &Value) -> anyhow::Result<()> {
    line(&value.to_string())
}

/// Prints rows under headings.
pub(super) fn table(headings: &[&str], rows: Vec<Vec<String>>) -> anyhow::Result<()> {
    line(&render(headings, rows))
}

/// Renders rows under headings as text, fitted to the width of the terminal.
pub(super) fn render(headings: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(headings.to_vec());
    for row in rows {
        table.add_row(row);
    }
    table.to_string()
}

/// Prints the outcome of a command: its answer with the position as JSON, or one line of text.
pub(super) fn done<T>(as_json: bool, done: &Dispatched<T>, mut answer: Value) -> anyhow::Result<()> {
    if as_json {
        answer["position"] = done.checkpoint.to_string().into();
        answer["events"] = done.events.len().into();
        return json(&answer);
    }
    match answer.get("id").and_then(Value::as_str) {
        Some(id) => line(&format!("{id}: {}", outcome(done))),
        None => line(&outcome(done)),
    }
}

/// Prints records: complete as JSON under `name`, or as a table of these columns.
pub(super) fn list(as_json: bool, name: &str, columns: &[&str], records: &[Value]) -> anyhow::Result<()> {
    if as_json {
        return json(&serde_json::json!({ name: records }));
    }
    let cell = |value: Option<&Value>| match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
        Some(other) => other.to_string(),
    };
    let rows = records.iter().map(|record| columns.iter().map(|column| cell(record.get(*column))).collect());
    table(columns, rows.collect())
}

/// Reads a secret of at most 4,096 bytes from standard input, without its line ending.
pub(super) fn secret_from_stdin() -> anyhow::Result<secrecy::SecretString> {
    use std::io::Read as _;
    let mut text = zeroize::Zeroizing::new(String::new());
    std::io::stdin().take(4_096).read_to_string(&mut text)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned().into())
}

/// Summarizes a command: how many events it stored, and the position of the last one.
pub(super) fn outcome<T>(done: &Dispatched<T>) -> String {
    match done.events.len() {
        0 => "no change needed".to_owned(),
        1 => format!("1 event, at position {}", done.checkpoint.position),
        count => format!("{count} events, up to position {}", done.checkpoint.position),
    }
}
