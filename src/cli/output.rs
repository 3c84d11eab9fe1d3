//! Printing: one way for tables, one for JSON, and a closed pipe is an error like any other.

use std::io::Write as _;

use comfy_table::{ContentArrangement, Table};
use serde_json::Value;

use crate::dispatch::Dispatched;

/// Prints one line.
pub(super) fn line(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()?;
    Ok(())
}

/// Prints a JSON document on one line.
pub(super) fn json(value: &Value) -> anyhow::Result<()> {
    line(&value.to_string())
}

/// Prints rows under headings.
pub(super) fn table(headings: &[&str], rows: Vec<Vec<String>>) -> anyhow::Result<()> {
    line(&render(headings, rows))
}

/// Rows under headings, as text.
pub(super) fn render(headings: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(headings.to_vec());
    for row in rows {
        table.add_row(row);
    }
    table.to_string()
}

/// What a command did: nothing, or events at positions.
pub(super) fn outcome<T>(done: &Dispatched<T>) -> String {
    match done.events.len() {
        0 => "nothing had to change".to_owned(),
        1 => format!("1 event, at position {}", done.position),
        count => format!("{count} events, up to position {}", done.position),
    }
}
