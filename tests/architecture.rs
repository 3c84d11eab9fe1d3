//! The layering, held as text: what a layer may not even mention.

use std::fs;
use std::path::{Path, PathBuf};

fn sources(directory: &str) -> Vec<(PathBuf, String)> {
    fn walk(directory: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push((path.clone(), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut found = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join(directory), &mut found);
    assert!(!found.is_empty(), "{directory} has no sources");
    found
}

fn never_mentions(directory: &str, words: &[&str]) {
    for (path, text) in sources(directory) {
        for word in words {
            assert!(!text.contains(word), "{} mentions `{word}`", path.display());
        }
    }
}

#[test]
fn aggregates_know_no_io_clock_sql_or_http() {
    never_mentions(
        "src/aggregates",
        &[
            "tokio",
            "axum",
            "select ",
            "crate::postgres",
            "crate::dispatch",
            "crate::http",
            "crate::projections",
            "dyn Clock",
            "std::fs",
        ],
    );
}

#[test]
fn only_the_primary_is_asked() {
    // Connections of their own have only the starts, the committer and the bulk writer, which are checked by the epoch that
    // they name under the head lock.
    for directory in
        ["src/aggregates", "src/projections", "src/operations", "src/dispatch", "src/http", "src/cli"]
    {
        never_mentions(directory, &["tokio_postgres::Client", "deadpool", ".connect("]);
    }
    for (path, text) in sources("src") {
        let asks = ["primary.rs", "Cargo.toml"].iter().any(|name| path.ends_with(name));
        assert!(asks || !text.contains("deadpool"), "{} has a pool of its own", path.display());
    }
    let coarse = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/coarse.rs")).unwrap();
    assert!(!coarse.contains("Client"), "coarse rows are written through the primary");
}

#[test]
fn the_event_log_knows_no_aggregate_and_no_projection() {
    never_mentions(
        "src/event_log",
        &[
            "crate::aggregates",
            "crate::projections",
            "crate::operations",
            "crate::dispatch",
            "crate::http",
            "crate::cli",
            "crate::codec",
        ],
    );
}

#[test]
fn the_doors_know_no_sql() {
    for door in ["src/http", "src/cli"] {
        never_mentions(
            door,
            &["tokio_postgres", "deadpool", "select *", "insert into", "update log", "delete from"],
        );
    }
}

#[test]
fn operations_and_dispatch_know_no_sql() {
    for layer in ["src/operations", "src/dispatch"] {
        never_mentions(layer, &["tokio_postgres", "select ", "insert into"]);
    }
}

#[test]
fn only_two_files_read_the_clock_or_randomness() {
    for (path, text) in sources("src") {
        let allowed = ["clock.rs", "entropy.rs"].iter().any(|name| path.ends_with(format!("src/{name}")));
        assert!(allowed || !text.contains("disallowed_methods"), "{}", path.display());
    }
}

#[test]
fn every_migration_is_embedded() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let files = fs::read_dir(directory).unwrap().count();
    assert_eq!(tenure::postgres::migrate::count(), files);
}

#[test]
fn every_file_begins_with_what_it_is_for() {
    for (path, text) in sources("src").into_iter().chain(sources("tests")) {
        assert!(text.starts_with("//! "), "{}", path.display());
    }
}
