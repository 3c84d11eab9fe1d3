//! Backups: a process without memory on a restored log refuses every position from before, whichever way it was restored.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use tenure::credentials::master_key::MasterKeySource;
use tenure::event_log::{Checkpoint, ReadError};
use tenure::postgres::Address;
use tenure::{Settings, Tenure};

use crate::http::{Server as Node, answer};
use crate::sealing::program;
use crate::support::server::Server;
use crate::support::{operator, user};

fn settings(server: &Server, database: &str, keys: &Path) -> Settings {
    let address: Address = server.conninfo(database).parse().unwrap();
    let key = MasterKeySource { default_file: keys.join("master.key"), ..MasterKeySource::default() };
    Settings { connections: 4, ..Settings::new(address, key) }
}

pub fn run(program_name: &str, arguments: &[&str]) {
    let output = Command::new(program(program_name)).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Every way of bringing back a place from before is refused by name, and the log goes on.
async fn assert_positions_from_before_are_refused(tenure: Tenure, before: &[Checkpoint]) {
    let node = Node::with(Arc::new(tenure), |_| {}).await;
    let runs = node.tenure.reader().user_by_username("runs").await.unwrap().id;
    let bearer = node.token(runs).await;
    for place in before {
        let refused = node.tenure.log().resume(place).await.err().unwrap();
        assert!(matches!(refused, ReadError::LogReplaced { from, .. } if from == *place), "{refused}");
        let read = node.get("/api/v1/users/runs").bearer_auth(&bearer);
        answer(read.header("tenure-min-position", place.to_string())).await.fails(409, "log_replaced");
        for order in ["asc", "desc"] {
            let path = format!("/api/v1/events?order={order}&cursor={place}");
            answer(node.get(&path).bearer_auth(&bearer)).await.fails(409, "log_replaced");
        }
    }
    let body = serde_json::json!({"username": "after", "email": "a@example.org"});
    let made = answer(node.post("/api/v1/users", body).bearer_auth(&bearer)).await.is(201);
    let read = node.get("/api/v1/users/after").bearer_auth(&bearer);
    answer(read.header("tenure-min-position", made.header("tenure-position"))).await.is(200);
    let beyond = format!("{}-999999", node.tenure.log().seen().get().epoch);
    let read = node.get("/api/v1/users/after").bearer_auth(&bearer);
    answer(read.header("tenure-min-position", beyond)).await.fails(400, "invalid");
    for malformed in ["12", "-1", "x-1", ""] {
        let read = node.get("/api/v1/users/after").bearer_auth(&bearer);
        answer(read.header("tenure-min-position", malformed)).await.fails(400, "invalid");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_a_restored_backup_refuses_every_position_from_before() {
    let (server, elsewhere) = (Server::primary().await, Server::primary().await);
    let keys = tempfile::tempdir().unwrap();
    let tenure = crate::support::open_with(settings(&server, "tenure", keys.path())).await;
    tenure.insert_operator(&operator(), "runs", "r@example.org").await.unwrap();
    let mut before = vec![tenure.log().seen().checkpoint()];
    // The backups are older than the last places that were given out.
    let dump = keys.path().join("dump");
    let url = format!("postgres://tenure@127.0.0.1:{}/tenure", server.port);
    run("pg_dump", &["--format=custom", "--file", dump.to_str().unwrap(), "--dbname", &url]);
    let base = server.base_backup();
    user(&tenure, "later").await;
    before.push(tenure.log().seen().checkpoint());
    tenure.close().await;

    // A restart of the same server changes nothing.
    let tenure = crate::support::open_with(settings(&server, "tenure", keys.path())).await;
    assert_eq!(tenure.log().resume(&before[1]).await.unwrap().position(), before[1].position);
    tenure.close().await;

    // Into the same cluster.
    server.connect_to("postgres").await.batch_execute("create database second").await.unwrap();
    let second = format!("postgres://tenure@127.0.0.1:{}/second", server.port);
    run("pg_restore", &["--exit-on-error", "--dbname", &second, dump.to_str().unwrap()]);
    let tenure = crate::support::open_with(settings(&server, "second", keys.path())).await;
    assert_positions_from_before_are_refused(tenure, &before).await;

    // Into another one.
    let admin = elsewhere.connect_to("postgres").await;
    admin.batch_execute("create role tenure_owner nologin; create role tenure_app nologin").await.unwrap();
    let other = format!("postgres://tenure@127.0.0.1:{}/tenure", elsewhere.port);
    run("pg_restore", &["--exit-on-error", "--dbname", &other, dump.to_str().unwrap()]);
    let tenure = crate::support::open_with(settings(&elsewhere, "tenure", keys.path())).await;
    assert_positions_from_before_are_refused(tenure, &before).await;

    // By point-in-time recovery of the files: the same cluster by its identifier, on another timeline.
    let recovered = Server::recovered(base).await;
    let tenure = crate::support::open_with(settings(&recovered, "tenure", keys.path())).await;
    assert_positions_from_before_are_refused(tenure, &before).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_gives_positions_a_new_epoch_and_running_nodes_follow() {
    let database = crate::support::TestDatabase::new().await;
    let tenure = Arc::new(database.open().await);
    let node = Node::with(tenure.clone(), |_| {}).await;
    let runs = tenure.insert_operator(&operator(), "runs", "r@example.org").await.unwrap().answer;
    let bearer = node.token(runs).await;
    let before = tenure.log().seen().checkpoint();
    let new_epoch = |arguments: &[&str]| {
        let output = crate::support::process::tenure()
            .args(["log", "new-epoch", "--json"])
            .args(arguments)
            .env("DATABASE_URL", database.url())
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(new_epoch(&[]).0, Some(3), "not without --yes");
    let (code, said) = new_epoch(&["--yes"]);
    assert_eq!(code, Some(0), "{said}");
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    let newest: tenure::event_log::PositionToken = said["position"].as_str().unwrap().parse().unwrap();
    assert_eq!(newest.position, before.position);
    let read = node.get("/api/v1/users/runs").bearer_auth(&bearer);
    answer(read.header("tenure-min-position", before.to_string())).await.fails(409, "log_replaced");
    let read = node.get("/api/v1/users/runs").bearer_auth(&bearer);
    answer(read.header("tenure-min-position", newest.to_string())).await.is(200);
    assert_eq!(tenure.log().seen().get().epoch, newest.epoch);
    user(&tenure, "ada").await;
}
