//! What comes out: a table for people, and one line of JSON a measure.

use std::io::Write as _;

use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use crate::measure::Sample;

/// One comparison.
#[derive(Serialize)]
pub struct Comparison {
    pub measure: &'static str,
    pub in_flight: usize,
    pub ours: f64,
    pub peer: &'static str,
    pub theirs: f64,
    /// Ours ÷ theirs.
    pub ratio: f64,
    pub unit: &'static str,
    /// Of ours.
    pub p50_ms: f64,
    pub p99_ms: f64,
}

impl Comparison {
    /// Compares two figures; the latencies are those of our own sample.
    pub fn new(
        (measure, unit): (&'static str, &'static str),
        in_flight: usize,
        peer: &'static str,
        (ours, theirs): (f64, f64),
        our_sample: Sample,
    ) -> Self {
        let Sample { p50_ms, p99_ms, .. } = our_sample;
        let ratio = rounded(ours / theirs);
        let (ours, theirs) = (rounded(ours), rounded(theirs));
        let (p50_ms, p99_ms) = (rounded(p50_ms), rounded(p99_ms));
        Self { measure, in_flight, ours, peer, theirs, ratio, unit, p50_ms, p99_ms }
    }
}

fn rounded(figure: f64) -> f64 {
    (figure * 10_000.0).round() / 10_000.0
}

/// Rows of `in flight, contestant, sample, commands/s of ours ÷ theirs, p50 of ours ÷ theirs`.
pub type Row = (usize, &'static str, Sample, Option<(f64, f64)>);

/// Prints all.
pub fn print(rows: &[Row], comparisons: &[Comparison]) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.set_header([
        "in flight",
        "",
        "commands/s",
        "p50 ms",
        "p99 ms",
        "ours ÷ theirs",
        "p50 ours ÷ theirs",
    ]);
    for (in_flight, name, sample, ratios) in rows {
        let ratio = |pick: fn(&(f64, f64)) -> f64| {
            ratios.as_ref().map_or_else(String::new, |ratios| format!("{:.2}", pick(ratios)))
        };
        table.add_row([
            in_flight.to_string(),
            (*name).to_owned(),
            format!("{:.0}", sample.commands_per_second),
            format!("{:.2}", sample.p50_ms),
            format!("{:.2}", sample.p99_ms),
            ratio(|ratios| ratios.0),
            ratio(|ratios| ratios.1),
        ]);
    }
    for column in [0, 2, 3, 4, 5, 6] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "{table}")?;
    for comparison in comparisons {
        writeln!(out, "{}", serde_json::to_string(comparison)?)?;
    }
    Ok(out.flush()?)
}

/// Prints what replays took.
pub fn print_replays(all: &[crate::replay::Compared]) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.set_header(["", "events", "seconds", "events/s", "against", "its seconds", "theirs ÷ ours"]);
    let mut out = std::io::stdout().lock();
    for one in all {
        table.add_row([
            one.measure.to_owned(),
            one.events.to_string(),
            format!("{:.2}", one.seconds),
            format!("{:.0}", one.events_per_second),
            one.peer.to_owned(),
            format!("{:.2}", one.peer_seconds),
            format!("{:.2}", one.ratio),
        ]);
    }
    writeln!(out, "{table}")?;
    for one in all {
        writeln!(out, "{}", serde_json::to_string(one)?)?;
    }
    Ok(())
}

/// Prints what subscribers reach and cost.
pub fn print_lines(all: &[crate::subscribers::Line]) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.set_header(["", "figure", "", "target"]);
    let mut out = std::io::stdout().lock();
    for one in all {
        table.add_row([one.measure, &one.figure.to_string(), one.unit, one.target]);
    }
    writeln!(out, "{table}")?;
    for one in all {
        writeln!(out, "{}", serde_json::to_string(one)?)?;
    }
    Ok(())
}
