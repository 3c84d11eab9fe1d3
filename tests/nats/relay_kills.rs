//! The relay while its publishers and its server are killed, again and again, and another publisher fights with them.

use std::net::SocketAddr;
use std::time::Duration;

use cqrs_es::{AggregateError, EventStore};
use tenure::Tenure;
use tenure::clock::Stopwatch;
use tenure::nats::RelayFrom;

use crate::foreign::example::{Nameless, Visits, VisitsEvent, store};
use crate::support::node::{Node, Release};
use crate::support::operator;
use crate::support::relay::{Relayed, blocks, until};
use crate::support::server::free_port;

/// How many events are stored together.
const PER_BATCH: u64 = 500;

/// `TENURE_RELAY_EVENTS=1000000` and so on for a long run by hand.
fn at_least(variable: &str, usual: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Stores so many events: of users, and many at once of a foreign aggregate.
async fn write(tenure: Tenure, events: u64) {
    let store = store(&tenure);
    for batch in 0..events.div_ceil(PER_BATCH) {
        let (name, email) = (format!("u{batch}"), format!("u{batch}@example.org"));
        tenure.insert_user(&operator(), &name, &email, "internal").await.unwrap();
        let context = EventStore::<Visits>::load_aggregate(&store, &name).await.unwrap();
        let entered = |number: u64| VisitsEvent::Entered { visitor: format!("visitor {number}") };
        let commit = store.commit((1..PER_BATCH).map(entered).collect(), context, [].into());
        let stored: Result<_, AggregateError<Nameless>> = commit.await;
        stored.unwrap();
    }
}

/// A serving process that uses this NATS.
fn serve(relayed: &Relayed, release: &Release<'_>) -> Node {
    let listen = SocketAddr::from(([127, 0, 0, 1], free_port()));
    release.serve_with(listen, &[("NATS_URL", relayed.server.url.as_str()), ("TENURE_NO_NATS", "0")])
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_publishers_and_servers_are_killed_and_every_position_is_there_once() {
    let events = at_least("TENURE_RELAY_EVENTS", 12_000);
    let (kills, server_kills) = (at_least("TENURE_RELAY_KILLS", 4), at_least("TENURE_RELAY_SERVER_KILLS", 2));
    let mut relayed = Relayed::new().await;
    let database = relayed.database.clone();
    // One that never minds a lease, and says where the stream begins.
    let zombie = relayed
        .node_with(|settings| {
            settings.relay.from = Some(RelayFrom::Position(1));
            settings.pauses.outlives_leases = true;
        })
        .await;
    let release = Release::new(env!("CARGO_BIN_EXE_tenure"), &database);
    let mut nodes = [serve(&relayed, &release), serve(&relayed, &release)];
    let writing = tokio::spawn(write(relayed.tenure.clone(), events));
    let begun = Stopwatch::start();
    let rounds = kills.max(server_kills);
    for round in 0..rounds {
        // Spread over the time that the writing takes: a kill for each part of the events.
        let due = i64::try_from(events * (round + 1) / (rounds + 1)).unwrap();
        until(&zombie, "so many are relayed", |relay| relay.tail.is_some_and(|tail| tail >= due)).await;
        if round < kills {
            let which = usize::try_from(round % 2).unwrap();
            // One of them holds the lease: the other publisher never takes it.
            until(&zombie, "a process that relays", |relay| relay.node.is_some()).await;
            assert!(nodes[which].child.try_wait().unwrap().is_none(), "it runs until it is killed");
            nodes[which].child.kill().unwrap();
            nodes[which].child.wait().unwrap();
            nodes[which] = serve(&relayed, &release);
        }
        if round < server_kills {
            relayed.server.kill();
            if round == 0 {
                let (files, index) = blocks(relayed.dir.path(), &relayed.stream());
                let newest = files.last().unwrap();
                let length = std::fs::metadata(newest).unwrap().len();
                assert!(length > 20_000, "there is something to lose");
                let file = std::fs::File::options().write(true).open(newest).unwrap();
                file.set_len(length / 2).unwrap();
                if let Some(index) = index {
                    std::fs::remove_file(index).unwrap();
                }
            }
            relayed.server.run();
        }
    }
    writing.await.unwrap();
    relayed.check(&zombie, 1).await;
    let status = until(&zombie, "nothing behind", |relay| relay.lag == Some(0)).await;
    eprintln!(
        "{} positions, {kills} publishers and {server_kills} servers killed, {} repairs, in {:.1} s",
        status.head,
        status.repairs,
        begun.elapsed().as_secs_f64()
    );
    for mut node in nodes {
        node.child.kill().unwrap();
        node.child.wait().unwrap();
    }
    drop(zombie);
    tokio::time::timeout(Duration::from_secs(10), relayed.tenure.close()).await.expect("an end");
}
