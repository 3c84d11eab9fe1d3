//! Two servers on one database, and a server without one.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Server, answer};
use crate::support::{TestDatabase, operator};

#[tokio::test(flavor = "multi_thread")]
async fn what_one_server_writes_the_other_reads_and_what_one_revokes_the_other_refuses_at_once() {
    let database = TestDatabase::new().await;
    let (one, two) = (Server::on(&database).await, Server::on(&database).await);
    let ada = one.user("ada").await;
    let acme = one.account("acme", ada).await;
    let token = one.token(ada).await;
    for round in 0..20 {
        let handle = format!("robot-{round}");
        let made = one.post("/api/v1/sources", json!({"handle": handle})).bearer_auth(&token);
        let position = answer(made).await.is(201).header("tenure-position").to_owned();
        let read = two.get(&format!("/api/v1/accounts/acme/sources/{handle}")).bearer_auth(&token);
        answer(read.header("tenure-min-position", position)).await.is(200);
    }
    for round in 0..5 {
        let (id, key) = one.key(acme, ada).await;
        answer(two.get("/api/v1/sources").bearer_auth(&key)).await.is(200);
        let revoke = one.request(reqwest::Method::POST, &format!("/api/v1/keys/{id}/revoke"));
        answer(revoke.bearer_auth(&token)).await.is(200);
        answer(two.get("/api/v1/sources").bearer_auth(&key)).await.fails(401, "E_INVALID_API_KEY");
        let session = one.session(ada).await;
        let home = two.get("/").header("cookie", &session);
        answer(home).await.is(200);
        let sessions = one.get("/api/v1/users/me/sessions?limit=200").bearer_auth(&token);
        let sessions = answer(sessions).await.is(200).json();
        let id = sessions["items"][round]["id"].as_str().unwrap().to_owned();
        let end = one.request(reqwest::Method::DELETE, &format!("/api/v1/users/me/sessions/{id}"));
        answer(end.bearer_auth(&token)).await.is(204);
        answer(two.get("/").header("cookie", &session)).await.is(303);
    }
    let gone = one.token(ada).await;
    answer(two.get("/api/v1/users/me").bearer_auth(&gone)).await.is(200);
    one.form("/oauth/revoke", &[("token", &gone)]).await.is(200);
    answer(two.get("/api/v1/users/me").bearer_auth(&gone)).await.fails(401, "credential_bad");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_down_is_never_taken_for_a_bad_credential() {
    let database = TestDatabase::new().await;
    let server = Server::on(&database).await;
    let ada = server.user("ada").await;
    let acme = server.account("acme", ada).await;
    let (token, key) = (server.token(ada).await, server.key(acme, ada).await.1);
    let session = server.session(ada).await;
    let mut elsewhere = database.address.clone();
    elsewhere.config.dbname("postgres");
    let admin = crate::support::connect(&elsewhere, None).await;
    let name = &database.name;
    admin.batch_execute(&format!("alter database {name} allow_connections false")).await.unwrap();
    let others = "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1 and pid <> pg_backend_pid()";
    admin.query(others, &[&name]).await.unwrap();
    for credential in [&token, &key] {
        let down =
            answer(server.get("/api/v1/sources").bearer_auth(credential)).await.fails(503, "E_UNAVAILABLE");
        assert!(!down.header("retry-after").is_empty());
        answer(server.get("/api/v1/accounts/acme").bearer_auth(credential)).await.fails(503, "unavailable");
        answer(server.get("/api/v1/accounts/acme/members").bearer_auth(credential)).await.is(503);
    }
    answer(server.get("/").header("cookie", &session)).await.is(503);
    server.form("/oauth/introspect", &[("token", &token), ("client_secret", &token)]).await.is(503);
    answer(server.get("/readyz")).await.is(503);
    answer(server.get("/healthz")).await.is(200);
    admin.batch_execute(&format!("alter database {name} allow_connections true")).await.unwrap();
    answer(server.get("/api/v1/users/me").bearer_auth(&token)).await.is(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_told_to_stop_finishes_what_it_has_accepted() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    let server = Server::new().await;
    let ada = server.user("ada").await;
    let token = server.token(ada).await;
    let address = server.base.trim_start_matches("http://").to_owned();
    let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
    let body = r#"{"name": "accepted"}"#;
    let head = format!(
        "POST /api/v1/accounts HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body.as_bytes()[..5]).await.unwrap();
    // The server has taken the request when it has answered another on the same listener after it.
    answer(server.get("/healthz")).await.is(200);
    server.stop.cancel();
    while tokio::net::TcpStream::connect(&address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    stream.write_all(&body.as_bytes()[5..]).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 201"), "{text}");
    assert!(server.tenure.reader().account_by_name("accepted").await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_write_answers_is_what_it_committed_and_a_page_of_events_is_one_look_at_the_keys() {
    let postgres = crate::support::server::Server::explaining().await;
    let keys = tempfile::tempdir().unwrap();
    let key = tenure::credentials::master_key::MasterKeySource {
        default_file: keys.path().join("master.key"),
        ..Default::default()
    };
    let settings = tenure::Settings::new(postgres.conninfo("tenure").parse().unwrap(), key);
    let server = Server::with(std::sync::Arc::new(crate::support::open_with(settings).await), |_| {}).await;
    let ada = server.tenure.insert_operator(&operator(), "ada", "a@example.org").await.unwrap().answer;
    let token = server.token(ada).await;
    let call = async |method: Method, path: &str, body: Value| -> (Value, String) {
        let before = postgres.log().len();
        let request = server.request(method, path).bearer_auth(&token).json(&body);
        let answer = answer(request).await;
        assert!(answer.status.is_success(), "{path}: {answer:?}");
        (answer.json(), postgres.log()[before..].to_owned())
    };
    let (post, put) = (Method::POST, Method::PUT);
    let mut records = Vec::new();
    for (method, path, body, show, of) in [
        (
            &post,
            "/api/v1/users",
            json!({"username": "bob", "email": "b@example.org"}),
            "/api/v1/users/bob",
            "users",
        ),
        (
            &post,
            "/api/v1/accounts",
            json!({"name": "acme"}),
            "/api/v1/accounts/acme",
            "accounts a where a.id",
        ),
        (
            &post,
            "/api/v1/accounts/acme/keys",
            json!({"label": "ci"}),
            "/api/v1/accounts/acme/keys/{}",
            "k.id = $1",
        ),
        (
            &post,
            "/api/v1/accounts/acme/invites",
            json!({"username": "eve"}),
            "/api/v1/accounts/acme/invites/{}",
            "i.id = $1",
        ),
        (
            &post,
            "/api/v1/accounts/acme/sources",
            json!({"handle": "robot"}),
            "/api/v1/accounts/acme/sources/robot",
            "s.id = $1",
        ),
        (
            &post,
            "/api/v1/accounts/acme/sources/robot/pipes",
            json!({"name": "events", "max_msgs": 7}),
            "/api/v1/accounts/acme/sources/robot/pipes/events",
            "p.id = $1",
        ),
        (
            &put,
            "/api/v1/accounts/acme/sources/robot/pipes/events/retention",
            json!({"ttl_seconds": 60}),
            "/api/v1/accounts/acme/sources/robot/pipes/events",
            "p.id = $1",
        ),
        (&post, "/api/v1/users/me/tokens", json!({}), "", "t.id = $1"),
    ] {
        let (written, log) = call(method.clone(), path, body).await;
        let after_commit = log.rsplit("log.append").next().unwrap();
        assert!(!after_commit.contains(of), "{path} reads back what it has written: {after_commit}");
        if !show.is_empty() {
            let path = show.replace("{}", written["id"].as_str().unwrap_or_default());
            let shown = answer(server.get(&path).bearer_auth(&token)).await.is(200).json();
            for (field, value) in shown.as_object().unwrap() {
                assert_eq!(&written[field], value, "{path}: {field}");
            }
        }
        records.push(written);
    }
    let id = records[2]["id"].as_str().unwrap();
    let (rotated, log) =
        call(post.clone(), &format!("/api/v1/accounts/acme/keys/{id}/rotate"), json!({})).await;
    assert!(!log.rsplit("log.append").next().unwrap().contains("k.id = $1"));
    let shown =
        answer(server.get(&format!("/api/v1/accounts/acme/keys/{id}")).bearer_auth(&token)).await.json();
    assert_eq!(rotated["key_prefix"], shown["key_prefix"]);
    assert_ne!(rotated["key_prefix"], records[2]["key_prefix"]);

    let before = postgres.log().len();
    let events = answer(server.get("/api/v1/events?limit=50").bearer_auth(&token)).await.is(200).json();
    assert!(events["items"].as_array().unwrap().len() > 8);
    let looks = postgres.log()[before..].matches("from log.data_key").count();
    // Once in the statement and once in its plan at most.
    assert!((1..=2).contains(&looks), "{looks} looks at the keys for one page");
}
