//! Stock clients of NATS, from `PyPI` and npm.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use crate::support::nats::Tenancy;
use crate::support::operator;

fn path(below: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(below)
}

/// Runs a client to its end, which must be a good one, as a tenant beside another one.
async fn run(mut client: Command) {
    let tenancy = Tenancy::with(|settings| settings.user_ttl = Duration::from_secs(7)).await;
    let server = &tenancy.node.server;
    let (account, owner, key) = tenancy.tenant("acme").await;
    let (other, other_owner, _) = tenancy.tenant("other").await;
    server.tenure.create_source(&operator(), other, Some(other_owner), "robot", None).await.unwrap();
    let (revoked_id, revoked_key) = server.key(account, owner).await;
    let arguments = [
        server.base.clone(),
        account.to_string(),
        key,
        other.to_string(),
        server.token(owner).await,
        revoked_id.to_string(),
        revoked_key,
    ];
    let running = client.args(arguments).kill_on_drop(true).output();
    let output = tokio::time::timeout(Duration::from_secs(120), running).await;
    let output = output.expect("an end in time").expect("a client: `make test` installs them");
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_client_of_pypi_works_within_its_account_is_cut_off_and_goes_on() {
    let mut client = Command::new(path("target/python/bin/python"));
    client.arg(path("tests/clients/nats_tenancy.py"));
    run(client).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_client_of_npm_works_within_its_account_is_cut_off_and_goes_on() {
    let mut client = Command::new("node");
    let program = path("target/node/nats_tenancy.mjs");
    // Beside its packages, where Node.js finds them.
    std::fs::copy(path("tests/clients/nats_tenancy.mjs"), &program).expect("target/node");
    client.arg(program);
    run(client).await;
}
