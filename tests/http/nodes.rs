//! Two servers on one database, and a server without one.

use serde_json::json;

use super::{Server, answer};
use crate::support::TestDatabase;

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
