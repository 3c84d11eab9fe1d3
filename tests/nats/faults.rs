//! NATS that is wrong, gone, slow, full or without memory; nodes that are suspended or killed.

use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::stream::Config;
use nix::sys::signal::Signal;
use serde_json::json;
use tenure::aggregates::source::Retention;
use tenure::clock::Stopwatch;
use tenure::nats::streams::stream_name;
use tokio::net::TcpListener;
use tokio::sync::Notify;

use crate::http::answer;
use crate::support::nats::{Node, PATIENCE, RawServer, Tenancy, connect, is_cut_off};
use crate::support::{TestDatabase, operator};

/// A node without NATS yet: its database, a directory, an account with its owner and key.
struct Bare {
    _database: TestDatabase,
    tenure: tenure::Tenure,
    dir: tempfile::TempDir,
}

impl Bare {
    async fn new() -> Self {
        let database = TestDatabase::new().await;
        let tenure = database.open().await;
        Self { _database: database, tenure, dir: tempfile::tempdir().unwrap() }
    }

    async fn tenant(&self, node: &Node) -> (tenure::ids::AccountId, tenure::ids::UserId, String) {
        let owner = node.server.user("owner").await;
        let account = node.server.account("acme", owner).await;
        (account, owner, node.server.key(account, owner).await.1)
    }
}

/// Waits until the reason why NATS cannot be used holds this text.
async fn until_unusable(node: &Node, text: &str) {
    node.until(text, |status| {
        !status.usable && status.reason.as_deref().is_some_and(|reason| reason.contains(text))
    })
    .await;
}

/// Waits until this node has noticed that its server is silent. What is exchanged before is of use once the server goes on.
async fn until_noticed(node: &Node, key: &str) {
    let noticing = async {
        let body = json!({"api_key": key});
        while answer(node.server.post("/api/v1/auth/exchange", body.clone())).await.status != 503 {}
    };
    tokio::time::timeout(Duration::from_secs(10), noticing).await.expect("a silent server is noticed");
}

/// An exchange fails in time, with an answer after which clients ask again; a pipe is made all the same.
async fn assert_refused_softly(node: &Node, key: &str, pipe: &str) {
    let asked = Stopwatch::start();
    let body = json!({"api_key": key});
    answer(node.server.post("/api/v1/auth/exchange", body)).await.fails(503, "E_UNAVAILABLE");
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    let path = "/api/v1/sources/robot/pipes";
    let asked = Stopwatch::start();
    let made = answer(node.server.post(path, json!({"name": pipe})).bearer_auth(key)).await.is(201).json();
    assert_eq!(made["provisioned"], false, "{made}");
    assert!(asked.elapsed() < Duration::from_secs(4), "{:?}", asked.elapsed());
    let listed = answer(node.server.get("/api/v1/sources").bearer_auth(key)).await.is(200).json();
    for info in listed["sources"][0]["pipe_infos"].as_array().unwrap() {
        assert!(info["provisioned"] == false && info["reason"].is_string(), "{info}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_trust_another_operator_are_named_and_nothing_is_lost() {
    let (ours, theirs) = (Bare::new().await, Bare::new().await);
    let mut server = RawServer::start(&theirs.tenure, theirs.dir.path(), "").await;
    let files = tenure::nats::ServerFiles {
        dir: ours.dir.path().to_owned(),
        listen: server.url.trim_start_matches("nats://").to_owned(),
        is_alone: false,
    };
    tenure::nats::bootstrap(&ours.tenure, &files, false).await.unwrap();
    let node = Node::on(ours.tenure.clone(), &server.url, |_| {}).await;
    let (acme, owner, key) = ours.tenant(&node).await;
    node.server.tenure.create_source(&operator(), acme, Some(owner), "robot", None).await.unwrap();
    until_unusable(&node, "no connection to NATS").await;
    assert_refused_softly(&node, &key, "logs").await;
    // With the right configuration everything comes.
    server.stop();
    server.dir = ours.dir.path().to_owned();
    server.run();
    node.until_converged(2).await;
    node.client(&key).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_gone_silent_or_never_speaks_costs_a_bounded_wait() {
    let bare = Bare::new().await;
    let mut server = RawServer::start(&bare.tenure, bare.dir.path(), "").await;
    let node = Node::on(bare.tenure.clone(), &server.url, |_| {}).await;
    let (acme, owner, key) = bare.tenant(&node).await;
    node.server.tenure.create_source(&operator(), acme, Some(owner), "robot", None).await.unwrap();
    node.until_converged(1).await;
    // Frozen: the connection stands, and nothing answers.
    server.signal(Signal::SIGSTOP);
    until_noticed(&node, &key).await;
    assert_refused_softly(&node, &key, "a").await;
    server.signal(Signal::SIGCONT);
    node.until_converged(2).await;
    // Gone.
    server.kill();
    until_unusable(&node, "no connection to NATS").await;
    assert_refused_softly(&node, &key, "b").await;
    // Half open: something accepts and says nothing.
    let address = server.url.trim_start_matches("nats://").to_owned();
    let mute = TcpListener::bind(&address).await.unwrap();
    let holding = tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            held.push(mute.accept().await.unwrap());
        }
    });
    until_noticed(&node, &key).await;
    assert_refused_softly(&node, &key, "c").await;
    holding.abort();
    let _ = holding.await;
    server.run();
    node.until_converged(4).await;
    node.client(&key).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_jetstream_is_a_reason_and_works_once_it_has_it() {
    let bare = Bare::new().await;
    let mut server = RawServer::configure(&bare.tenure, bare.dir.path(), "").await;
    let whole = std::fs::read_to_string(server.dir.join("nats-server.conf")).unwrap();
    server.change(|text| text[..text.find("jetstream {").unwrap()].to_owned());
    server.run();
    let node = Node::on(bare.tenure.clone(), &server.url, |_| {}).await;
    let (acme, owner, key) = bare.tenant(&node).await;
    node.server.tenure.create_source(&operator(), acme, Some(owner), "robot", None).await.unwrap();
    assert_refused_softly(&node, &key, "logs").await;
    server.stop();
    server.change(|_| whole);
    server.run();
    node.until_converged(2).await;
    node.client(&key).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn full_storage_is_shown_with_its_reason_and_tried_again() {
    let bare = Bare::new().await;
    let mut server = RawServer::configure(&bare.tenure, bare.dir.path(), "").await;
    let whole = std::fs::read_to_string(server.dir.join("nats-server.conf")).unwrap();
    server.change(|text| text.replace("max_file: 10T", "max_file: 100M"));
    server.run();
    let node = Node::on(bare.tenure.clone(), &server.url, |_| {}).await;
    let (acme, owner, key) = bare.tenant(&node).await;
    // 64 MiB are reserved for the inbox: a second pipe does not fit.
    node.server.tenure.create_source(&operator(), acme, Some(owner), "robot", None).await.unwrap();
    node.until_converged(1).await;
    let path = "/api/v1/sources/robot/pipes";
    let made = answer(node.server.post(path, json!({"name": "logs"})).bearer_auth(&key)).await.is(201).json();
    assert_eq!(made["provisioned"], false);
    let shown = answer(node.server.get("/api/v1/accounts/acme/sources/robot/pipes/logs").bearer_auth(&key));
    let shown = shown.await.is(200).json();
    assert!(shown["reason"].as_str().unwrap().contains("insufficient storage"), "{shown}");
    assert_eq!(shown["provisioned"], false);
    node.client(&key).await;
    server.stop();
    server.change(|_| whole);
    server.run();
    node.until_converged(2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_made_by_hand_with_other_settings_is_taken_over_or_named() {
    let bare = Bare::new().await;
    let server = RawServer::start(&bare.tenure, bare.dir.path(), "").await;
    let node = Node::on(bare.tenure.clone(), &server.url, |_| {}).await;
    let (acme, owner, key) = bare.tenant(&node).await;
    node.exchange(&key, 200).await;
    let by_hand = |pipe: &str, storage| Config {
        name: stream_name(acme, "robot", pipe),
        subjects: vec![format!("{acme}.robot.{pipe}")],
        max_bytes: 1_000,
        storage,
        ..Config::default()
    };
    let context = manager(&bare, &server, acme).await;
    context.create_stream(by_hand("inbox", jetstream::stream::StorageType::File)).await.unwrap();
    context.publish(format!("{acme}.robot.inbox"), "kept".into()).await.unwrap().await.unwrap();
    context.create_stream(by_hand("logs", jetstream::stream::StorageType::Memory)).await.unwrap();
    let other = Config {
        name: "other".to_owned(),
        max_bytes: 1_000,
        subjects: vec!["y".to_owned()],
        ..Config::default()
    };
    context.create_stream(other).await.unwrap();

    let tenure = &node.server.tenure;
    tenure.create_source(&operator(), acme, Some(owner), "robot", None).await.unwrap();
    tenure.create_pipe(&operator(), acme, Some(owner), "robot", "logs", Retention::default()).await.unwrap();
    node.until("the conflict is named", |status| {
        status.drift.len() == 1 && status.drift[0].reason.contains("storage")
    })
    .await;
    let status = node.nats.status().await.unwrap();
    assert_eq!(status.orphans.len(), 1, "{status:?}");
    assert_eq!(status.orphans[0].stream, "other");
    let inbox = context.get_stream(stream_name(acme, "robot", "inbox")).await.unwrap();
    assert_eq!(inbox.cached_info().config.max_bytes, 64 << 20, "what had no owner is taken over");
    assert_eq!(inbox.cached_info().state.messages, 1, "with what is in it");

    // Drift: somebody changes and deletes what is managed.
    context.delete_stream(stream_name(acme, "robot", "logs")).await.unwrap();
    let mut changed = inbox.cached_info().config.clone();
    changed.max_messages = 7;
    context.update_stream(changed).await.unwrap();
    tenure.create_source(&operator(), acme, Some(owner), "second", None).await.unwrap();
    node.until("repaired", |status| status.usable && status.drift.is_empty() && status.streams == 3).await;
    context.get_stream("other").await.expect("what others made is left alone");
}

/// A connection that may do everything in an account, as somebody who works by hand would have.
async fn manager(bare: &Bare, server: &RawServer, account: tenure::ids::AccountId) -> jetstream::Context {
    use tenure::context::Context;
    let context = Context::of(tenure::context::Actor::Operator);
    let seed = nkeys::KeyPair::new_account().seed().unwrap();
    let public = nkeys::KeyPair::new_account().public_key();
    let keys = bare.tenure.ensure_nats_account(&context, account, &public, &seed.into()).await.unwrap();
    let signing = secrecy::ExposeSecret::expose_secret(&keys.signing_seed.unwrap()).to_owned();
    let signing = nkeys::KeyPair::from_seed(&signing).unwrap();
    let user = Arc::new(nkeys::KeyPair::new_user());
    let claims = json!({
        "jti": "by-hand", "iat": 4_000_000_000_i64, "iss": signing.public_key(), "name": "by-hand", "sub": user.public_key(),
        "nats": {"pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1, "issuer_account": keys.public_key,
                 "type": "user", "version": 2}
    });
    let encode = |bytes: &[u8]| data_encoding::BASE64URL_NOPAD.encode(bytes);
    let signed = format!(
        "{}.{}",
        encode(br#"{"typ":"JWT","alg":"ed25519-nkey"}"#),
        encode(claims.to_string().as_bytes())
    );
    let token = format!("{signed}.{}", encode(&signing.sign(signed.as_bytes()).unwrap()));
    let client = async_nats::ConnectOptions::with_jwt(token, move |nonce| {
        let user = user.clone();
        async move { user.sign(&nonce).map_err(async_nats::AuthError::new) }
    })
    .connect(&server.url)
    .await
    .expect("a connection by hand");
    jetstream::new(client)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_forgets_its_accounts_gets_them_again_with_their_revocations() {
    let bare = Bare::new().await;
    let mut server = RawServer::start(&bare.tenure, bare.dir.path(), "").await;
    let node = Node::on(bare.tenure.clone(), &server.url, |_| {}).await;
    let (acme, owner, key) = bare.tenant(&node).await;
    let tenure = &node.server.tenure;
    tenure.create_source(&operator(), acme, Some(owner), "robot", None).await.unwrap();
    node.until_converged(1).await;
    let (id, other) = node.server.key(acme, owner).await;
    let revoked = node.exchange(&other, 200).await;
    let client = connect(&revoked).await.unwrap();
    let own = jetstream::new(node.client(&key).await);
    own.publish(format!("{acme}.robot.inbox"), "kept".into()).await.unwrap().await.unwrap();
    tenure.revoke_api_key(&operator(), Some(acme), id).await.unwrap();
    assert!(is_cut_off(&client, &revoked, Duration::from_secs(1)).await);
    server.stop();
    std::fs::remove_dir_all(server.dir.join("accounts")).unwrap();
    server.run();
    node.until_converged(1).await;
    assert!(connect(&revoked).await.is_err(), "a revocation survives");
    let again = jetstream::new(node.client(&key).await);
    let inbox = again.get_stream(stream_name(acme, "robot", "inbox")).await.unwrap();
    assert_eq!(inbox.cached_info().state.messages, 1, "and so do messages");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_operator_signs_the_same_accounts_and_messages_stay() {
    let bare = Bare::new().await;
    let mut server = RawServer::start(&bare.tenure, bare.dir.path(), "").await;
    let node = Node::on(bare.tenure.clone(), &server.url, |_| {}).await;
    let (acme, owner, key) = bare.tenant(&node).await;
    node.server.tenure.create_source(&operator(), acme, Some(owner), "robot", None).await.unwrap();
    node.until_converged(1).await;
    let own = jetstream::new(node.client(&key).await);
    own.publish(format!("{acme}.robot.inbox"), "kept".into()).await.unwrap().await.unwrap();
    let before = node.nats.status().await.unwrap();
    let public = node.server.tenure.reader().account(acme).await.unwrap().nats_account_pub;
    let files = tenure::nats::ServerFiles {
        dir: server.dir.clone(),
        listen: server.url.trim_start_matches("nats://").to_owned(),
        is_alone: false,
    };
    let made = tenure::nats::bootstrap(&bare.tenure, &files, true).await.unwrap();
    assert!(made.has_identity && Some(&made.operator) != before.operator.as_ref());
    // Until the servers are started with the new configuration, the former operator goes on.
    node.client(&key).await;
    server.stop();
    server.run();
    node.until("signed by the new operator", |status| status.operator.as_ref() == Some(&made.operator)).await;
    node.until_converged(1).await;
    let again = jetstream::new(node.client(&key).await);
    let inbox = again.get_stream(stream_name(acme, "robot", "inbox")).await.unwrap();
    assert_eq!(inbox.cached_info().state.messages, 1);
    assert_eq!(node.server.tenure.reader().account(acme).await.unwrap().nats_account_pub, public);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_suspended_before_it_gives_a_token_cannot_take_a_revocation_back() {
    let (reached, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let armed = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (reaching, going, arming) = (reached.clone(), go_on.clone(), armed.clone());
    let tenancy = Tenancy::with(move |settings| {
        settings.pauses.before_push = Some(Arc::new(move || {
            let (reaching, going) = (reaching.clone(), going.clone());
            let is_armed = arming.swap(false, std::sync::atomic::Ordering::SeqCst);
            Box::pin(async move {
                if is_armed {
                    reaching.notify_one();
                    going.notified().await;
                }
            })
        }));
        settings.pauses.outlives_leases = true;
    })
    .await;
    let (acme, owner, key) = tenancy.tenant("acme").await;
    let server = &tenancy.node.server;
    tenancy.node.exchange(&key, 200).await;
    let (first, first_key) = server.key(acme, owner).await;
    let (second, second_key) = server.key(acme, owner).await;
    let one = tenancy.node.exchange(&first_key, 200).await;
    let two = tenancy.node.exchange(&second_key, 200).await;
    let (one_client, two_client) = (connect(&one).await.unwrap(), connect(&two).await.unwrap());
    // This node holds a token that revokes the first key alone, and the lease with it.
    armed.store(true, std::sync::atomic::Ordering::SeqCst);
    server.tenure.revoke_api_key(&operator(), Some(acme), first).await.unwrap();
    tokio::time::timeout(PATIENCE, reached.notified()).await.expect("it is about to give the token");
    // Another one revokes the second key.
    let other = tenancy.second(|_| {}).await;
    other.server.tenure.revoke_api_key(&operator(), Some(acme), second).await.unwrap();
    assert!(is_cut_off(&two_client, &two, Duration::from_secs(8)).await, "once the lease is over");
    assert!(is_cut_off(&one_client, &one, Duration::from_secs(1)).await);
    go_on.notify_one();
    // The older token arrives now. A user whom the newer one revoked may get in for a moment, until the newer one is given again.
    let until = tokio::time::Instant::now() + Duration::from_secs(2);
    while tokio::time::Instant::now() < until {
        if let Ok(client) = connect(&two).await {
            assert!(is_cut_off(&client, &two, Duration::from_secs(3)).await, "revoked and in again");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_life_of_seconds_ends_connections_and_the_next_exchange_goes_on() {
    let tenancy = Tenancy::with(|settings| settings.user_ttl = Duration::from_secs(5)).await;
    let (_, _, key) = tenancy.tenant("acme").await;
    let exchanged = tenancy.node.exchange(&key, 200).await;
    let expires = exchanged["expires_at"].as_str().unwrap();
    assert!(expires.ends_with(".000000Z"), "{expires}: to the second, as the token says");
    let client = connect(&exchanged).await.unwrap();
    let state = async {
        while client.connection_state() == async_nats::connection::State::Connected {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(7), state).await.expect("cut off at its end");
    // Servers count the last second whole.
    let out = async { while connect(&exchanged).await.is_ok() {} };
    tokio::time::timeout(Duration::from_secs(2), out).await.expect("and no way in");
    tenancy.node.client(&key).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_too_old_to_keep_tenants_apart_is_not_used() {
    // As Debian's is, which `PATH` may lead to: a program that tells such a version is passed over.
    let dir = tempfile::tempdir().unwrap();
    let old = dir.path().join("nats-server");
    crate::support::process::write_program(&old, b"#!/bin/sh\necho 'nats-server: v2.9.10'\n");
    let mut serving = crate::support::process::tenure();
    let database = TestDatabase::new().await;
    serving
        .args(["serve", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", "--json", "--data-dir"])
        .arg(dir.path().join("data"))
        .env("DATABASE_URL", database.url())
        .env("TENURE_MASTER_KEY_FILE", crate::support::master_key().default_file)
        .env("NATS_SERVER_BIN", &old)
        .env_remove("TENURE_NO_NATS")
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null());
    let mut child = serving.spawn().unwrap();
    let mut line = String::new();
    let mut said = std::io::BufReader::new(child.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut said, &mut line).unwrap();
    let said: serde_json::Value = serde_json::from_str(&line).unwrap();
    let nats = said["nats"].as_str().unwrap();
    assert!(nats.contains("2.9.10") && nats.contains("2.12.7"), "{nats}");
    let base = format!("http://{}", said["listen"].as_str().unwrap());
    tenure::http::tls_provider::install_crypto_provider();
    let asked = reqwest::Client::new().post(format!("{base}/api/v1/auth/exchange")).body("{}");
    answer(asked).await.fails(503, "E_UNAVAILABLE");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_a_node_killed_right_after_its_answer_leaves_no_revoked_connection_behind() {
    use crate::support::node::{Release, address, client};
    let tenancy = Tenancy::new().await;
    let (acme, owner, _) = tenancy.tenant("acme").await;
    let (node, server) = (&tenancy.node, &tenancy.node.server);
    let runs = server.tenure.insert_operator(&operator(), "runs", "r@example.org").await.unwrap().answer;
    let bearer = server.token(runs).await;
    let release = Release::new(env!("CARGO_BIN_EXE_tenure"), &tenancy.database);
    let http = client();
    for _ in 0..2 {
        let (id, key) = server.key(acme, owner).await;
        let exchanged = node.exchange(&key, 200).await;
        let connected = connect(&exchanged).await.unwrap();
        let mut command = release.command(&["serve", "--metrics-listen", "127.0.0.1:0"]);
        let listen = address();
        command.args(["--listen", &listen.to_string()]).env("NATS_URL", tenancy.private.url());
        command
            .env_remove("TENURE_NO_NATS")
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        let mut other = command.spawn().unwrap();
        let base = format!("http://{listen}");
        let waited = Stopwatch::start();
        while !http.get(format!("{base}/readyz")).send().await.is_ok_and(|answer| answer.status() == 200) {
            assert!(waited.elapsed() < PATIENCE, "the other node is never ready");
            tokio::task::yield_now().await;
        }
        let revoke = http.delete(format!("{base}/api/v1/accounts/{acme}/keys/{id}")).bearer_auth(&bearer);
        answer(revoke).await.is(204);
        other.kill().unwrap();
        other.wait().unwrap();
        assert!(
            is_cut_off(&connected, &exchanged, Duration::from_secs(6)).await,
            "within its lease and a second"
        );
    }
}
