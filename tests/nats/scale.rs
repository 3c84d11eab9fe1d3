//! Many tenants.

use futures::StreamExt as _;
use futures::stream;
use tenure::clock::Stopwatch;

use crate::support::nats::{Node, RawServer};
use crate::support::{TestDatabase, operator};

/// By hand: `TENURE_NATS_ACCOUNTS=500`.
#[tokio::test(flavor = "multi_thread")]
async fn many_accounts_are_made_by_themselves_and_again_when_the_server_has_lost_them() {
    let accounts: usize = std::env::var("TENURE_NATS_ACCOUNTS").map_or(12, |count| count.parse().unwrap());
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let dir = tempfile::tempdir().unwrap();
    let mut server = RawServer::configure(&tenure, dir.path(), "").await;
    // As a private server has it: without its tokens, a server looks for each of them in turn before it listens.
    server.change(|text| text.replace("250ms", "50ms"));
    server.run();
    let node = Node::on(tenure.clone(), &server.url, |_| {}).await;
    let begun = Stopwatch::start();
    stream::iter(0..accounts)
        .for_each_concurrent(8, |number| {
            let tenure = &tenure;
            async move {
                let name = format!("tenant-{number}");
                let owner = crate::support::user(tenure, &name).await;
                let account = crate::support::account(tenure, &name, owner).await;
                tenure.create_source(&operator(), account, Some(owner), "robot", Some("pty")).await.unwrap();
            }
        })
        .await;
    let commands = begun.elapsed();
    node.until_converged(accounts * 4).await;
    let provisioned = begun.elapsed();
    server.stop();
    std::fs::remove_dir_all(server.dir.join("accounts")).unwrap();
    server.run();
    let lost = Stopwatch::start();
    node.until_converged(accounts * 4).await;
    let found = lost.elapsed();
    server.stop();
    std::fs::remove_dir_all(server.dir.join("accounts")).unwrap();
    std::fs::remove_dir_all(server.dir.join("jetstream")).unwrap();
    server.run();
    let lost = Stopwatch::start();
    node.until_converged(accounts * 4).await;
    println!(
        "{accounts} accounts of 4 pipes: commands {commands:?}, all streams there after {provisioned:?}; tokens lost: {found:?}; \
         tokens and streams lost: {:?}",
        lost.elapsed()
    );
}
