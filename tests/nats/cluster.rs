//! A cluster of NATS servers.

use std::time::Duration;

use async_nats::jetstream;
use tenure::Tenure;
use tenure::nats::{PlatformRights, RelayFrom, relay_stream_name};

use crate::support::nats::{Node, RawServer, connect, is_cut_off};
use crate::support::relay::{check, reader, until, write};
use crate::support::server::free_port;
use crate::support::{TestDatabase, operator};

/// Three servers of one cluster, their URL, and their directories.
async fn three_servers(tenure: &Tenure) -> (Vec<RawServer>, String, Vec<tempfile::TempDir>) {
    let routes: Vec<u16> = (0..3).map(|_| free_port()).collect();
    let all = routes.iter().map(|port| format!("nats://127.0.0.1:{port}")).collect::<Vec<_>>().join(", ");
    let dirs: Vec<tempfile::TempDir> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let mut servers: Vec<RawServer> = Vec::new();
    for (number, (port, dir)) in routes.iter().zip(&dirs).enumerate() {
        let more = format!(
            "server_name: n{number}\ncluster {{\n  name: c\n  listen: 127.0.0.1:{port}\n  routes: [{all}]\n}}\n"
        );
        servers.push(RawServer::start(tenure, dir.path(), &more).await);
    }
    let url = servers.iter().map(|server| server.url.clone()).collect::<Vec<_>>().join(",");
    (servers, url, dirs)
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_a_cluster_that_loses_a_server_goes_on_with_its_replicas() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let (mut servers, url, _dirs) = three_servers(&tenure).await;
    let node = Node::on(tenure.clone(), &url, |settings| settings.replicas = 3).await;
    let owner = node.server.user("owner").await;
    let acme = node.server.account("acme", owner).await;
    let key = node.server.key(acme, owner).await.1;
    node.server.tenure.create_source(&operator(), acme, Some(owner), "robot", None).await.unwrap();
    node.until("three servers", |status| status.servers.len() == 3).await;
    node.until_converged(1).await;
    let exchanged = node.exchange(&key, 200).await;
    assert_eq!(exchanged["nats_url"], url, "clients are told all of them");
    let subject = format!("{acme}.robot.inbox");
    let context = jetstream::new(connect(&exchanged).await.unwrap());
    for number in 0..10 {
        context.publish(subject.clone(), format!("{number}").into()).await.unwrap().await.unwrap();
    }
    let inbox = tenure::nats::streams::stream_name(acme, "robot", "inbox");
    let found = context.get_stream(&inbox).await.unwrap();
    assert_eq!(found.cached_info().config.num_replicas, 3);

    servers[1].kill();
    // Exchange, publish and read go on, and so do revocations.
    let (id, other) = node.server.key(acme, owner).await;
    let going_on = async {
        loop {
            let body = serde_json::json!({"api_key": other});
            let answer = crate::http::answer(node.server.post("/api/v1/auth/exchange", body)).await;
            if answer.status == 200
                && let Ok(client) = connect(&answer.json()).await
            {
                break (answer.json(), client);
            }
        }
    };
    let (exchanged, client) =
        tokio::time::timeout(Duration::from_secs(15), going_on).await.expect("an exchange");
    let context = jetstream::new(client.clone());
    let publishing = async {
        loop {
            if let Ok(sent) = context.publish(subject.clone(), "10".into()).await
                && sent.await.is_ok()
            {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), publishing).await.expect("a publication");
    let last =
        context.get_stream(&inbox).await.unwrap().get_last_raw_message_by_subject(&subject).await.unwrap();
    assert_eq!(last.payload, "10");
    node.until("two servers", |status| status.servers.len() == 2).await;
    node.server.tenure.revoke_api_key(&operator(), Some(acme), id).await.unwrap();
    assert!(is_cut_off(&client, &exchanged, Duration::from_secs(2)).await);
    // The server that comes back learns what it has missed.
    servers[1].run();
    node.until("three servers", |status| status.servers.len() == 3 && status.accounts_missing == 0).await;
    node.until_converged(1).await;
    let mut only = exchanged.clone();
    only["nats_url"] = servers[1].url.clone().into();
    let out = async { while connect(&only).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(6), out)
        .await
        .expect("revoked there too, soon after it came back");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_the_relay_goes_on_when_the_leader_of_its_replicated_stream_is_killed_under_load() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let (mut servers, url, _dirs) = three_servers(&tenure).await;
    let change = |settings: &mut tenure::nats::NatsSettings| {
        settings.replicas = 3;
        settings.relay.from = Some(RelayFrom::Position(1));
    };
    let node = Node::on(tenure.clone(), &url, change).await;
    node.until("three servers", |status| status.servers.len() == 3).await;
    until(&node, "a stream", |relay| relay.lag == Some(0)).await;
    let name = relay_stream_name(tenure.log().seen().get().epoch);
    let writer = tenure.clone();
    let stop = tokio_util::sync::CancellationToken::new();
    let stopped = stop.clone();
    let writing = tokio::spawn(async move {
        let mut number = 0;
        // A pace that leaves the servers of a small machine time for their elections.
        let mut pace = tokio::time::interval(Duration::from_millis(5));
        while !stopped.is_cancelled() {
            pace.tick().await;
            let (name, email) = (format!("u{number}"), format!("u{number}@example.org"));
            writer.insert_user(&operator(), &name, &email, "internal").await.unwrap();
            number += 1;
        }
    });
    for _ in 0..2 {
        let context = jetstream::new(reader(&tenure, &url, PlatformRights::Subscribe).await);
        let leading = async {
            loop {
                let info = context.get_stream(&name).await.ok().map(|stream| stream.cached_info().clone());
                if let Some(leader) = info.and_then(|info| info.cluster).and_then(|cluster| cluster.leader) {
                    return leader;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let leader = tokio::time::timeout(Duration::from_secs(60), leading).await.expect("a leader");
        let killed: usize = leader.strip_prefix('n').and_then(|number| number.parse().ok()).unwrap();
        servers[killed].kill();
        let before = tenure.log().seen().get().position;
        until(&node, "the relay goes on", |relay| relay.tail > Some(before + 20)).await;
        servers[killed].run();
        node.until("three servers", |status| status.servers.len() == 3).await;
    }
    stop.cancel();
    writing.await.unwrap();
    let head = tenure.log().newest().await.unwrap();
    until(&node, "all relayed", |relay| relay.tail == Some(head)).await;
    check(&tenure, &url, &name, 1).await;
    for server in &servers {
        let log = std::fs::read_to_string(server.dir.join("log")).unwrap();
        assert!(!log.contains("critical write error"), "a replica has stopped: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn someone_elses_message_among_those_under_way_to_replicas_is_found() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let (_servers, url, _dirs) = three_servers(&tenure).await;
    let change = |settings: &mut tenure::nats::NatsSettings| {
        settings.replicas = 3;
        settings.relay.from = Some(RelayFrom::Position(1));
    };
    let node = Node::on(tenure.clone(), &url, change).await;
    node.until("three servers", |status| status.servers.len() == 3).await;
    until(&node, "a stream", |relay| relay.lag == Some(0)).await;
    let name = relay_stream_name(tenure.log().seen().get().epoch);
    let client = reader(&tenure, &url, PlatformRights::Subscribe).await;
    let disturbing = async {
        for _ in 0..400 {
            client.publish_with_reply("$JS.API.INFO", "tenure.events.x.y.z", "".into()).await.unwrap();
            client.flush().await.unwrap();
        }
    };
    tokio::join!(write(&tenure, 0..1_500), disturbing);
    let stopped = until(&node, "stopped", |relay| relay.stopped.is_some()).await.stopped.unwrap();
    let stream = jetstream::new(client).get_stream(&name).await.unwrap();
    let mut sequence = 1;
    // Every sequence is a position up to the first such message, which is named.
    loop {
        let message = stream.get_raw_message(sequence).await.unwrap();
        let Some(position) = message.headers.get("ce-position") else { break };
        assert_eq!(position.to_string(), sequence.to_string());
        sequence += 1;
    }
    let other = format!("holds at sequence {sequence} a message that is not the log's event");
    assert!(stopped.contains(&other), "{stopped}");
    tenure::nats::tell_relay(&tenure, RelayFrom::Position(1)).await.unwrap();
    let head = tenure.log().newest().await.unwrap();
    until(&node, "all relayed", |relay| relay.tail == Some(head)).await;
    check(&tenure, &url, &name, 1).await;
}
