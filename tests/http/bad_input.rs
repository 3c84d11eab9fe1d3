//! Input that is wrong: a documented answer in the route's shape, never a 5xx, never a secret echoed.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{Server, answer};

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bodies_are_refused_by_name_and_never_quoted() {
    let server = Server::new().await;
    let ada = server.user("ada").await;
    server.account("acme", ada).await;
    let token = server.token(ada).await;
    let post = |kind: &str, body: Vec<u8>| {
        let request = server.request(Method::POST, "/api/v1/accounts").bearer_auth(&token);
        request.header("content-type", kind).body(body)
    };
    let json = |body: &str| post("application/json", body.as_bytes().to_vec());
    answer(json("{")).await.fails(400, "invalid");
    let unknown = answer(json(r#"{"name": "x", "colour": "ppz_secret"}"#)).await.fails(400, "invalid").text;
    assert!(unknown.contains("colour") && !unknown.contains("ppz_secret"), "{unknown}");
    let wrong = answer(json(r#"{"name": ["ppz_secret"]}"#)).await.fails(400, "invalid");
    assert_eq!(wrong.json()["field"], "name");
    assert!(!wrong.text.contains("ppz_secret"));
    answer(json(r#"{"name": "a", "name": "b"}"#)).await.is(400);
    answer(json("[]")).await.is(400);
    answer(json(r#"{"name": "x"} trailing"#)).await.is(400);
    answer(post("application/json", b"{\"name\": \"\xff\"}".to_vec())).await.is(400);
    answer(post("text/plain", b"{\"name\": \"x\"}".to_vec())).await.fails(415, "unsupported_media_type");
    answer(server.request(Method::POST, "/api/v1/accounts").bearer_auth(&token).body("{}")).await.is(415);
    answer(json(&format!("{{\"name\": \"{}\"}}", "x".repeat(600_000)))).await.fails(413, "body_too_large");
    answer(json(&"[".repeat(8_000))).await.is(400);
    let ppz = server.request(Method::POST, "/api/v1/sources").bearer_auth(&token);
    answer(ppz.header("content-type", "application/json").body("{")).await.fails(400, "E_INVALID_HANDLE");
    for kind in ["application/json", "application/x-www-form-urlencoded", "text/plain"] {
        let oauth = server.request(Method::POST, "/oauth/device/token").header("content-type", kind);
        answer(oauth.body("{\u{0}")).await.fails(400, "invalid_request");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_identifier_belongs_to_nothing() {
    let server = Server::new().await;
    let ada = server.user("ada").await;
    server.account("acme", ada).await;
    let token = server.token(ada).await;
    for path in [
        "/api/v1/accounts/acme/keys/not-a-uuid",
        "/api/v1/accounts/acme/invites/%F0%9F%92%A9",
        "/api/v1/accounts/no%00where",
        "/api/v1/accounts/acme/sources/..%2f..",
        "/api/v1/users/%00",
        "/api/v1/nothing/here",
    ] {
        answer(server.get(path).bearer_auth(&token)).await.is(404);
    }
    for path in ["/api/v1/sources/a%00b", "/api/v1/accounts/acme/sources/a%00b/pipes"] {
        answer(server.get(path).bearer_auth(&token)).await.is(404);
    }
    let nul = server.post("/api/v1/keys/verify", json!({"key": "ppz_\u{0}0123456789"})).bearer_auth(&token);
    assert_eq!(answer(nul).await.is(200).json()["valid"], false);
    answer(server.get("/api/v1/accounts/%ff").bearer_auth(&token)).await.fails(404, "account.not_found");
    answer(server.get("/api/v1/accounts/%ff")).await.fails(401, "credential_missing");
    answer(server.request(Method::PATCH, "/api/v1/accounts").bearer_auth(&token))
        .await
        .fails(405, "method_not_allowed");
    for query in
        ["?limit=0", "?limit=-1", "?limit=99999999999999999999", "?limit=x", "?cursor=%00", "?colour=red"]
    {
        answer(server.get(&format!("/api/v1/users/me/accounts{query}")).bearer_auth(&token))
            .await
            .fails(400, "invalid");
    }
    for query in ["?cursor=-1", "?order=up", "?limit=1001"] {
        answer(server.get(&format!("/api/v1/accounts/acme/events{query}")).bearer_auth(&token)).await.is(400);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_are_read_from_one_place_once() {
    let server = Server::new().await;
    let ada = server.user("ada").await;
    let acme = server.account("acme", ada).await;
    let (token, key) = (server.token(ada).await, server.key(acme, ada).await.1);
    for (name, secret) in [("access_token", &token), ("api_key", &key), ("x", &key), ("x", &token)] {
        let misplaced = answer(server.get(&format!("/api/v1/users/me?{name}={secret}"))).await;
        let misplaced = misplaced.fails(400, "credential_misplaced");
        assert!(!misplaced.text.contains(secret.as_str()));
    }
    let twice = server.get("/api/v1/users/me").bearer_auth(&token).header("authorization", "Bearer x");
    answer(twice).await.fails(400, "credential_misplaced");
    for bad in ["Basic abc", "Bearer", "Bearer ", "Bearer \u{e9}", "bearer ppz_x", "ppz_x"] {
        let request = server.get("/api/v1/users/me").header("authorization", bad);
        let refused = answer(request).await.fails(401, "credential_bad");
        assert!(refused.header("www-authenticate").contains("invalid_token"));
    }
    let missing = answer(server.get("/api/v1/users/me")).await.fails(401, "credential_missing");
    assert_eq!(missing.header("www-authenticate"), "Bearer realm=\"tenure\"");
    let forbidden = answer(server.get("/api/v1/users").bearer_auth(&token)).await.fails(403, "forbidden");
    assert!(forbidden.header("www-authenticate").contains("insufficient_scope"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_says_whose_it_is_and_how_it_may_be_kept() {
    let server = Server::new().await;
    let id = "01890a5d-ac96-774b-bcce-b302099a8057";
    let answered = answer(server.get("/api/v1/users/me").header("x-request-id", id)).await.is(401);
    assert_eq!((answered.header("x-request-id"), answered.json()["request_id"].as_str()), (id, Some(id)));
    let replaced = answer(server.get("/healthz").header("x-request-id", "<script>")).await.is(200);
    assert_eq!(replaced.header("x-request-id").len(), 36);
    assert_eq!(replaced.header("x-content-type-options"), "nosniff");
    let ada = server.user("ada").await;
    let token = server.token(ada).await;
    let open = server.post("/api/v1/accounts", json!({"name": "acme"})).bearer_auth(&token);
    answer(open.header("x-request-id", id)).await.is(201);
    let events = answer(server.get("/api/v1/accounts/acme/events").bearer_auth(&token)).await.is(200).json();
    let metadata = &events["items"][0]["metadata"];
    assert_eq!((metadata["correlation"].as_str(), metadata["actor"].as_str()), (Some(id), Some("token")));
    assert_eq!(metadata["on_behalf_of"], ada.to_string());
}

/// What a socket answers to these bytes, until it is closed.
async fn raw(server: &Server, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.base.trim_start_matches("http://")).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut text = Vec::new();
    tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut text))
        .await
        .expect("an end")
        .unwrap();
    String::from_utf8_lossy(&text).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_and_huge_requests_are_cut_off() {
    let server = Server::new().await;
    let ada = server.user("ada").await;
    let token = server.token(ada).await;
    let head = format!(
        "POST /api/v1/accounts HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\
         content-type: application/json\r\ncontent-length: 100\r\nconnection: close\r\n\r\n{{"
    );
    let huge = format!("GET /healthz HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(100_000));
    let many = format!("GET /healthz HTTP/1.1\r\nhost: x\r\n{}\r\n", "x: y\r\n".repeat(200));
    let (slow_body, slow_head, huge, many) = tokio::join!(
        raw(&server, head.as_bytes()),
        raw(&server, b"GET /healthz HTTP/1.1\r\nhost:"),
        raw(&server, huge.as_bytes()),
        raw(&server, many.as_bytes()),
    );
    assert!(slow_body.starts_with("HTTP/1.1 408") && slow_body.contains("body_too_slow"), "{slow_body}");
    assert!(slow_head.is_empty() || slow_head.starts_with("HTTP/1.1 4"), "{slow_head}");
    assert!(huge.starts_with("HTTP/1.1 431"), "{huge}");
    assert!(many.starts_with("HTTP/1.1 431"), "{many}");
    answer(server.get("/healthz")).await.is(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_as_long_as_their_route_needs() {
    let server = Server::new().await;
    let ada = server.user("ada").await;
    server.account("acme", ada).await;
    let token = server.token(ada).await;
    let sources = "/api/v1/accounts/acme/sources";
    answer(server.post(sources, json!({"handle": "robot"})).bearer_auth(&token)).await.is(201);
    let long = |octets: usize| "x".repeat(octets);
    // OAuth knows one status for whatever is wrong with a request.
    for (path, status) in [
        ("/oauth/device/code", 400),
        ("/oauth/device/token", 400),
        ("/oauth/revoke", 400),
        ("/sign-out", 413),
    ] {
        let form =
            server.request(Method::POST, path).header("content-type", "application/x-www-form-urlencoded");
        let refused = answer(form.body(format!("x={}", long(9_000)))).await.is(status);
        assert!(refused.text.contains("this route reads at most 8192 bytes"), "{path}: {}", refused.text);
    }
    let open = server.post("/api/v1/accounts", json!({"name": "a", "owner": long(9_000)}));
    answer(open.bearer_auth(&token)).await.fails(413, "body_too_large");
    // A length that is promised is refused before the body has come.
    let promised = format!(
        "POST /oauth/device/code HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        10_000_000
    );
    let refused = raw(&server, promised.as_bytes()).await;
    assert!(refused.starts_with("HTTP/1.1 400") && refused.contains("reads at most 8192 bytes"), "{refused}");
    let broadcast = json!({"at": "2026-01-01T00:00:00Z", "payload": long(60_000)});
    let path = format!("{sources}/robot/broadcast");
    answer(server.request(Method::PUT, &path).json(&broadcast).bearer_auth(&token)).await.is(204);
    let ids: Vec<String> = (0..10_000).map(|_| ada.to_string()).collect();
    // Only operators may look up usernames; the permission is checked after the body has been read.
    let names = server.post("/api/v1/usernames", json!({"ids": ids})).bearer_auth(&token);
    answer(names).await.fails(403, "forbidden");
}
