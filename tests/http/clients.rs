//! Stock clients, which know nothing of Tenure, against a served instance: OAuth clients from npm and `PyPI`, and a
//! property-based API tester.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tenure::http::Rate;
use tokio::process::Command;

use super::Server;
use crate::support::{TestDatabase, operator};

fn path(below: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(below)
}

/// Runs a client to its end, which must be a good one.
async fn run(command: &mut Command) {
    let output = tokio::time::timeout(Duration::from_secs(900), command.kill_on_drop(true).output());
    let output = output.await.expect("an end in time").expect("a client: `make test` installs them");
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
}

/// A server with these lives of codes, and a session of the person who decides.
async fn server(ttl: u64, interval: u64) -> (Server, String) {
    let tenure = Arc::new(TestDatabase::new().await.open().await);
    let server = Server::with(tenure, |settings| {
        settings.device_code_ttl = Duration::from_secs(ttl);
        settings.poll_interval = Duration::from_secs(interval);
    })
    .await;
    let ada = server.user("ada").await;
    let session = server.session(ada).await;
    (server, session)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_client_of_npm_goes_through_the_device_flow() {
    let ((long, session), (short, its)) = tokio::join!(server(600, 2), server(2, 1));
    std::fs::copy(path("tests/clients/device_flow.mjs"), path("target/node/device_flow.mjs"))
        .expect("target/node");
    let arguments = [long.base.as_str(), &session, &short.base, &its];
    run(Command::new("node").arg(path("target/node/device_flow.mjs")).args(arguments)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_client_of_pypi_goes_through_the_device_flow() {
    let ((long, session), (short, its)) = tokio::join!(server(600, 2), server(2, 1));
    let arguments = [long.base.as_str(), &session, &short.base, &its];
    let mut python = Command::new(path("target/python/bin/python"));
    run(python.arg(path("tests/clients/device_flow.py")).args(arguments)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_property_based_tester_finds_nothing_that_the_description_does_not_say() {
    let mut settings = TestDatabase::new().await.settings();
    settings.rules.limits.device_codes_per_address = 1_000_000;
    settings.rules.limits.device_codes = 1_000_000;
    let tenure = Arc::new(crate::support::open_with(settings).await);
    let plenty = Rate { burst: 10_000_000, per_second: 1_000_000 };
    let server = Server::with(tenure, |settings| {
        settings.rates.anonymous = plenty;
        settings.rates.commands = plenty;
    })
    .await;
    let runs = server.tenure.insert_operator(&operator(), "runs", "r@example.org").await.unwrap().answer;
    let acme = server.account("acme", runs).await;
    server.tenure.create_source(&operator(), acme, Some(runs), "robot", None).await.unwrap();
    let token = server.token(runs).await;
    let seed = std::env::var("TENURE_API_SEED").unwrap_or_else(|_| "1".to_owned());
    let examples = std::env::var("TENURE_API_EXAMPLES").unwrap_or_else(|_| "10".to_owned());
    let mut tester = Command::new(path("target/python/bin/schemathesis"));
    tester
        // What it keeps between runs stays out of the tree.
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .arg("--config-file")
        .arg(path("tests/clients/schemathesis.toml"))
        .args([
            "run",
            &format!("{}/openapi.json", server.base),
            "--header",
            &format!("Authorization: Bearer {token}"),
        ])
        .args(["--seed", &seed, "--max-examples", &examples, "--request-timeout", "10"])
        .args(["--continue-on-failure", "--suppress-health-check", "all", "--no-color"]);
    run(&mut tester).await;
}

/// Runs a program of the Node.js packages of the tests.
async fn node_program(directory: &Path, program: &str, arguments: &[&str]) {
    let program = path("target/node/node_modules/.bin").join(program);
    run(Command::new(program).args(arguments).current_dir(directory)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_generated_client_lists_creates_pages_and_knows_errors_by_their_type() {
    let server = Server::new().await;
    let ada = server.user("ada").await;
    server.account("acme", ada).await;
    let token = server.token(ada).await;
    // Below the packages, where the compiler and Node.js find them.
    let directory = tempfile::Builder::new().prefix("generated").tempdir_in(path("target/node")).unwrap();
    for name in ["generated.ts", "tsconfig.json", "package.json"] {
        std::fs::copy(path("tests/clients").join(name), directory.path().join(name)).unwrap();
    }
    let description = path("docs/openapi.json");
    let description = description.to_str().unwrap();
    node_program(directory.path(), "openapi-typescript", &[description, "--output", "api.ts"]).await;
    node_program(directory.path(), "tsc", &["--project", "."]).await;
    let program = directory.path().join("generated.js");
    run(Command::new("node").arg(program).args([server.base.as_str(), &token])).await;
}

#[tokio::test]
async fn the_description_has_nothing_that_a_linter_finds_fault_with() {
    let description = path("docs/openapi.json");
    let output = Command::new(path("target/node/node_modules/.bin/redocly"))
        .args(["lint", "--extends=recommended", "--format=json", description.to_str().unwrap()])
        .env("REDOCLY_TELEMETRY", "off")
        .env("REDOCLY_SUPPRESS_UPDATE_NOTICE", "true")
        .output()
        .await
        .expect("a linter: `make test` installs it");
    let said = String::from_utf8(output.stdout).unwrap();
    let found: serde_json::Value = serde_json::from_str(&said[said.find('{').unwrap_or_default()..])
        .unwrap_or_else(|error| panic!("{error}: {said}"));
    assert_eq!(
        found["totals"],
        serde_json::json!({"errors": 0, "warnings": 0, "ignored": 0}),
        "{}",
        found["problems"]
    );
}
