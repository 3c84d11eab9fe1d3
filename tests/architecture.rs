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
fn the_interfaces_know_no_sql() {
    for interface in ["src/http", "src/cli"] {
        never_mentions(
            interface,
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

/// Which files of `src` name things of which others. Paths that lead through a re-export count for the file that defines
/// the thing; the re-export itself counts for nothing.
mod imports {
    use std::collections::{BTreeMap, BTreeSet};
    use std::path::Path;

    use super::sources;

    type Module = Vec<String>;

    fn module_of(path: &Path) -> Module {
        let path = path.strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
        let mut module: Module =
            path.with_extension("").iter().map(|step| step.to_str().unwrap().to_owned()).collect();
        if matches!(module.last().map(String::as_str), Some("mod" | "lib")) {
            module.pop();
        }
        module
    }

    /// The code without comments, visibilities and the tests at the end of a file.
    fn code(text: &str) -> String {
        let text = text.split("#[cfg(test)]").next().unwrap();
        let lines = text.lines().map(|line| line.split("//").next().unwrap());
        lines.collect::<Vec<_>>().join("\n").replace("pub(in crate::", "pub(in_crate_")
    }

    fn steps(path: &str) -> Module {
        let path = path.split(" as ").next().unwrap();
        path.split("::").map(str::trim).filter(|step| !step.is_empty()).map(str::to_owned).collect()
    }

    /// All paths of a `use` tree.
    fn expand(before: &Module, tree: &str, paths: &mut Vec<Module>) {
        let Some((path, group)) = tree.split_once('{') else {
            paths.push([before.clone(), steps(tree)].concat());
            return;
        };
        let before = [before.clone(), steps(path)].concat();
        let (mut depth, mut item) = (0, String::new());
        for letter in group.trim().trim_end_matches('}').chars().chain([',']) {
            depth += i32::from(letter == '{') - i32::from(letter == '}');
            if letter == ',' && depth == 0 {
                if !item.trim().is_empty() {
                    expand(&before, &item, paths);
                }
                item.clear();
            } else {
                item.push(letter);
            }
        }
    }

    /// Every path that a file names, and whether it only re-exports it.
    fn paths(text: &str, children: &BTreeSet<String>) -> Vec<(bool, Module)> {
        let mut found = Vec::new();
        let mut body = String::new();
        for statement in text.split("\nuse ").enumerate() {
            match statement {
                (0, first) => body.push_str(first),
                (_, rest) => {
                    let (tree, rest) = rest.split_once(';').unwrap();
                    let mut expanded = Vec::new();
                    expand(&Module::new(), tree, &mut expanded);
                    found.extend(expanded.into_iter().map(|path| (false, path)));
                    body.push_str(rest);
                }
            }
        }
        let mut inline = String::new();
        for (number, part) in body.split("pub use ").enumerate() {
            if number == 0 {
                inline.push_str(part);
                continue;
            }
            let (tree, rest) = part.split_once(';').unwrap();
            let mut expanded = Vec::new();
            expand(&Module::new(), tree, &mut expanded);
            found.extend(expanded.into_iter().map(|path| (true, path)));
            inline.push_str(rest);
        }
        let letters = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == ':';
        for word in inline.split(|letter| !letters(letter)).filter(|word| word.contains("::")) {
            let path = steps(word);
            let first = path.first().map_or("", String::as_str);
            if ["crate", "super", "self"].contains(&first) || children.contains(first) {
                found.push((false, path));
            }
        }
        found
    }

    pub fn graph() -> BTreeMap<Module, BTreeSet<Module>> {
        let files: BTreeMap<Module, String> = sources("src")
            .into_iter()
            .filter(|(path, _)| !path.ends_with("main.rs") && !path.ends_with("tests.rs"))
            .map(|(path, text)| (module_of(&path), code(&text)))
            .collect();
        let mut named: BTreeMap<Module, Vec<(bool, Module)>> = BTreeMap::new();
        for (module, text) in &files {
            let below =
                files.keys().filter(|other| other.len() == module.len() + 1 && other.starts_with(module));
            let children = below.map(|child| child[module.len()].clone()).collect();
            let absolute = paths(text, &children).into_iter().filter_map(|(exports, path)| {
                let mut path = path.into_iter().peekable();
                let mut start = module.clone();
                match path.peek()?.as_str() {
                    "crate" => {
                        path.next();
                        start.clear();
                    }
                    "self" => drop(path.next()),
                    "super" => {
                        while path.next_if(|step| step == "super").is_some() {
                            start.pop();
                        }
                    }
                    child if children.contains(child) => {}
                    _ => return None,
                }
                start.extend(path);
                Some((exports, start))
            });
            named.insert(module.clone(), absolute.collect());
        }
        let mut exported: BTreeMap<Module, Module> = BTreeMap::new();
        for (module, paths) in &named {
            for (_, path) in paths.iter().filter(|(exports, _)| *exports) {
                let name = path.last().unwrap().clone();
                exported.insert([module.clone(), vec![name]].concat(), path.clone());
            }
        }
        let file_of = |path: &Module| {
            let mut path = path.clone();
            for _ in 0..10 {
                let known =
                    (0..=path.len()).rev().find(|length| files.contains_key(&path[..*length])).unwrap();
                match exported.get(&path[..path.len().min(known + 1)]) {
                    Some(target) if path.len() > known && *target != path => {
                        path = [target.clone(), path[known + 1..].to_vec()].concat();
                    }
                    _ => return path[..known].to_vec(),
                }
            }
            panic!("{path:?} is re-exported in a circle");
        };
        let edges = |module: &Module| {
            let used = named[module].iter().filter(|(exports, _)| !exports).map(|(_, path)| file_of(path));
            used.filter(|other| other != module && !other.is_empty()).collect()
        };
        files
            .keys()
            .filter(|module| !module.is_empty())
            .map(|module| (module.clone(), edges(module)))
            .collect()
    }
}

#[test]
fn no_file_imports_from_one_that_imports_from_it_directly_or_through_others() {
    let mut graph = imports::graph();
    let edges: usize = graph.values().map(std::collections::BTreeSet::len).sum();
    assert!(
        graph.len() > 200 && edges > 1_000,
        "{} files, {edges} imports: they are not read right",
        graph.len()
    );
    // What imports nothing that is left cannot be part of a circle.
    loop {
        let leaves: Vec<_> = graph
            .iter()
            .filter(|(_, imported)| !imported.iter().any(|other| graph.contains_key(other)))
            .map(|(module, _)| module.clone())
            .collect();
        if leaves.is_empty() {
            break;
        }
        graph.retain(|module, _| !leaves.contains(module));
    }
    let left: Vec<String> = graph.keys().map(|module| module.join("::")).collect();
    assert!(left.is_empty(), "in a circle of imports, or importing from one: {left:?}");
}

#[test]
fn every_file_begins_with_what_it_is_for() {
    for (path, text) in sources("src").into_iter().chain(sources("tests")) {
        assert!(text.starts_with("//! "), "{}", path.display());
    }
}
