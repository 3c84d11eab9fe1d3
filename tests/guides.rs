//! The guides, followed as they stand.

use std::path::Path;
use std::process::Command;

/// Runs a program in a directory and expects it to succeed.
fn run(directory: &Path, program: &str, arguments: &[&str]) {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .env("CARGO_TARGET_DIR", concat!(env!("CARGO_MANIFEST_DIR"), "/target"))
        .output()
        .expect(program);
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn an_aggregate_begun_by_the_script_compiles_beside_the_others() {
    let copy = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for part in [
        "src",
        "migrations",
        "scripts",
        "Cargo.toml",
        "Cargo.lock",
        "build.rs",
        "README.md",
        "benches",
        "tests",
    ] {
        run(root, "cp", &["-r", part, copy.path().to_str().unwrap()]);
    }
    run(copy.path(), "scripts/add-aggregate", &["badge"]);
    assert!(copy.path().join("src/aggregates/badge/decide.rs").is_file());
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    run(copy.path(), &cargo, &["check", "--lib", "--offline", "--locked"]);
    let again = Command::new("scripts/add-aggregate").arg("badge").current_dir(copy.path()).output().unwrap();
    assert!(!again.status.success(), "what is there is left alone");
    let wrong =
        Command::new("scripts/add-aggregate").arg("Bad Ge").current_dir(copy.path()).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2));
}
