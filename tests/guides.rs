//! The guides, followed as they stand.

use std::path::Path;
use std::process::Command;

/// Runs a program in a directory and expects it to succeed.
fn run(directory: &Path, program: &str, arguments: &[&str]) {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .env("CARGO_TARGET_DIR", Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("a target directory"))
        .output()
        .expect(program);
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A copy of everything that the library is built from.
fn copy_of_the_tree() -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for part in [
        "src",
        "migrations",
        "scripts",
        "Cargo.toml",
        "Cargo.lock",
        "askama.toml",
        "build.rs",
        "README.md",
        "benches",
        "tests",
    ] {
        run(root, "cp", &["-r", part, copy.path().to_str().unwrap()]);
    }
    copy
}

fn check(copy: &Path) {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    run(copy, &cargo, &["check", "--lib", "--offline", "--locked"]);
}

#[test]
fn an_aggregate_begun_by_the_script_compiles_beside_the_others() {
    let copy = copy_of_the_tree();
    run(copy.path(), "scripts/add-aggregate", &["badge"]);
    assert!(copy.path().join("src/aggregates/badge/decide.rs").is_file());
    check(copy.path());
    let again = Command::new("scripts/add-aggregate").arg("badge").current_dir(copy.path()).output().unwrap();
    assert!(!again.status.success(), "what is there is left alone");
    let wrong =
        Command::new("scripts/add-aggregate").arg("Bad Ge").current_dir(copy.path()).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn the_operation_of_the_guide_compiles_as_it_is_written() {
    let copy = copy_of_the_tree();
    let page = include_str!("../docs/guides/add-an-operation.md");
    let (mut made, mut changed) = (0, 0);
    for block in page.split("```rust\n").skip(1) {
        let (header, code) = block.split("```").next().unwrap().split_once('\n').unwrap();
        if let Some(path) = header.strip_prefix("// new file: ") {
            std::fs::write(copy.path().join(path), code).unwrap();
            made += 1;
        } else if let Some((path, anchor)) =
            header.strip_prefix("// ").and_then(|header| header.split_once(", below: "))
        {
            let path = copy.path().join(path);
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.contains(anchor), "{}: no line `{anchor}`", path.display());
            let place = text.find(anchor).unwrap() + anchor.len();
            let line = place + text[place..].find('\n').unwrap() + 1;
            std::fs::write(&path, format!("{}{code}{}", &text[..line], &text[line..])).unwrap();
            changed += 1;
        }
    }
    assert_eq!((made, changed), (2, 3), "files of the example, and lists that it is added to");
    check(copy.path());
}

/// The pieces of a page: what is run, and what its last line of output must hold.
fn pieces(page: &str) -> Vec<(String, Option<serde_json::Value>)> {
    let mut pieces: Vec<(String, Option<serde_json::Value>)> = Vec::new();
    for block in page.split("```").skip(1).step_by(2) {
        match block.split_once('\n') {
            Some(("sh", script)) => pieces.push((script.to_owned(), None)),
            Some(("json", expected)) => {
                let expected =
                    serde_json::from_str(expected).unwrap_or_else(|error| panic!("{error}: {expected}"));
                pieces.last_mut().expect("something that is run").1 = Some(expected);
            }
            _ => {}
        }
    }
    pieces
}

#[tokio::test(flavor = "multi_thread")]
async fn every_session_of_curl_runs_as_it_stands() {
    let server = crate::http::Server::new().await;
    let runs = server
        .tenure
        .insert_operator(&crate::support::operator(), "runs", "r@example.org")
        .await
        .unwrap()
        .answer;
    let token = server.token(runs).await;
    let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guides/api");
    let mut sessions = 0;
    for page in std::fs::read_dir(pages).unwrap() {
        let path = page.unwrap().path();
        let pieces = pieces(&std::fs::read_to_string(&path).unwrap());
        if pieces.is_empty() {
            continue;
        }
        sessions += 1;
        let mark = "---- the next piece ----";
        let script: String =
            pieces.iter().map(|(script, _)| format!("{script}\necho; echo '{mark}'\n")).collect();
        let output = tokio::process::Command::new("bash")
            .args(["-euo", "pipefail", "-c", &script])
            .env("SERVER", &server.base)
            .env("TOKEN", &token)
            .output()
            .await
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success(),
            "{}: {text}{}",
            path.display(),
            String::from_utf8_lossy(&output.stderr)
        );
        for ((script, expected), said) in pieces.iter().zip(text.split(mark)) {
            let Some(expected) = expected else { continue };
            let last = said.trim().lines().last().unwrap_or_default();
            let found: serde_json::Value =
                serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {script}{said}"));
            for (name, value) in expected.as_object().unwrap() {
                assert_eq!(&found[name], value, "{}: {script}{said}", path.display());
            }
        }
    }
    assert_eq!(sessions, 10, "a page for each noun, and one for the past");
}
