//! Requests as existing clients, curl and scripts send them, on the routes that have such clients; and strictness elsewhere.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tenure::clock::Stopwatch;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Server, answer};
use crate::support::{history, operator};

struct Acme {
    server: Server,
    token: String,
    key: String,
}

async fn acme() -> Acme {
    let server = Server::new().await;
    let ada = server.user("ada").await;
    let account = server.account("acme", ada).await;
    let (token, key) = (server.token(ada).await, server.key(account, ada).await.1);
    Acme { server, token, key }
}

impl Acme {
    /// A POST with this body and, if it has one, this media type, with the API key.
    fn post(&self, path: &str, kind: &str, body: &str) -> RequestBuilder {
        self.post_as(path, kind, body, &self.key)
    }

    fn post_as(&self, path: &str, kind: &str, body: &str, credential: &str) -> RequestBuilder {
        let request = self.server.request(Method::POST, path).bearer_auth(credential).body(body.to_owned());
        if kind.is_empty() { request } else { request.header("content-type", kind) }
    }
}

/// The media types that scripts send, the one of `curl -d` among them; "" is none.
const KINDS: [&str; 5] =
    ["", "application/json", "application/x-www-form-urlencoded", "text/plain", "nonsense"];

#[tokio::test(flavor = "multi_thread")]
async fn the_media_type_does_not_matter_with_a_key_or_a_token() {
    let acme = acme().await;
    for (number, kind) in KINDS.into_iter().enumerate() {
        let handle = format!("s{number}");
        let made = acme.post("/api/v1/sources", kind, &json!({"handle": handle}).to_string());
        answer(made).await.is(201);
        let pipes = format!("/api/v1/sources/{handle}/pipes");
        answer(acme.post(&pipes, kind, r#"{"name": "logs"}"#)).await.is(201);
        let body = json!({"username": format!("u{number}")}).to_string();
        answer(acme.post_as("/api/v1/orgs/acme/invites", kind, &body, &acme.token)).await.is(201);
    }
    for (kind, body) in [
        ("", r#"{"client_name": "cli"}"#),
        ("", " \n {\"client_name\": \"cli\"}"),
        ("application/x-www-form-urlencoded", r#"{"client_name": "cli"}"#),
        ("text/plain", r#"{"client_name": "cli"}"#),
        ("application/json", r#"{"client_name": "x", "client_name": "cli", "client_id": null, "more": [1]}"#),
        ("", "client_name=cli"),
        ("text/plain", "client_name=cli"),
        ("application/x-www-form-urlencoded", "client_name=cli&more=1"),
        ("", ""),
        ("application/json", ""),
        ("application/json", "{}"),
    ] {
        let request = acme.server.request(Method::POST, "/oauth/device/code").body(body);
        let request = if kind.is_empty() { request } else { request.header("content-type", kind) };
        let codes = answer(request).await.is(200).json();
        let poll = json!({"device_code": codes["device_code"]}).to_string();
        let request = acme.server.request(Method::POST, "/oauth/device/token").body(poll);
        let request = if kind.is_empty() { request } else { request.header("content-type", kind) };
        answer(request).await.fails(400, "authorization_pending");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_are_read_as_the_first_server_read_them() {
    let acme = acme().await;
    let source = |body: &str| acme.post("/api/v1/sources", "application/json", body);
    for body in [
        "",
        "{}",
        "null",
        "[]",
        "\"robot\"",
        "5",
        "{",
        "{} trailing",
        r#"{"handle": "ok"} {}"#,
        r#"["ok"]"#,
        r#"{"handle": null}"#,
        r#"{"handle": 5}"#,
        r#"{"handle": ["ok"]}"#,
        r#"{"handle": ""}"#,
        r#"{"handle": " ok"}"#,
        r#"{"handle": "Ok"}"#,
        r#"{"handle": "inbox"}"#,
        r#"{"handle": "ok", "kind": 5}"#,
        "handle=ok",
    ] {
        answer(source(body)).await.fails(400, "E_INVALID_HANDLE");
    }
    answer(source(r#"{"handle": "ok", "kind": "cat"}"#)).await.fails(400, "E_INVALID_KIND");
    for (body, handle, kind) in [
        (r#"{"handle": "a", "kind": ""}"#, "a", "message"),
        (r#"{"handle": "b", "kind": null}"#, "b", "message"),
        (r#"{"handle": "x", "handle": "c", "kind": "pty"}"#, "c", "pty"),
        (r#"{"handle": "d", "unknown": {"a": 1}, "org": 5}"#, "d", "message"),
        (r#"{"zzz": "\ud800", "handle": "e", "yyy": 1e400}"#, "e", "message"),
    ] {
        let made = answer(source(body)).await.is(201).json();
        assert_eq!((made["handle"].as_str(), made["kind"].as_str()), (Some(handle), Some(kind)), "{body}");
    }

    let pipe = |body: &str| acme.post("/api/v1/sources/a/pipes", "", body);
    for body in [
        "",
        "{}",
        "[]",
        "{} x",
        r#"{"name": 5}"#,
        r#"{"name": null}"#,
        r#"{"name": "System"}"#,
        r#"{"name": "db"}"#,
        r#"{"name": "system"}"#,
        r#"{"name": "ok", "ttl_seconds": "60"}"#,
        r#"{"name": "ok", "max_bytes": 1.5}"#,
    ] {
        answer(pipe(body)).await.fails(400, "E_INVALID_PIPE");
    }
    answer(pipe(r#"{"name": "ok", "ttl_seconds": -1}"#)).await.fails(400, "E_INVALID_REQUEST");
    let made =
        pipe(r#"{"handle": "other", "name": "x", "name": "logs", "ttl_seconds": null, "max_msgs": 5.0}"#);
    let made = answer(made).await.is(201).json();
    let wanted = [&json!("a"), &json!("logs"), &json!(86_400), &json!(5)];
    assert_eq!([&made["handle"], &made["name"], &made["ttl_seconds"], &made["max_msgs"]], wanted);

    let invite = |body: &str| acme.post_as("/api/v1/orgs/acme/invites", "", body, &acme.token);
    for body in
        ["", "{}", "[]", r#"{"username": 5}"#, r#"{"username": "  "}"#, r#"{"username": "a b"}"#, "{} x"]
    {
        answer(invite(body)).await.fails(400, "E_INVALID_REQUEST");
    }
    let made = answer(invite(r#"{"username": " bob\t", "role": "admin"}"#)).await.is(201).json();
    let invite = &made["invite"];
    assert_eq!((&invite["invitee_username"], &invite["account_name"]), (&json!("bob"), &json!("acme")));

    for body in ["[]", "{} x", "{", r#"{"device_code": 5}"#, r#"{"device_code": null}"#, "", "{}", "x"] {
        let poll = acme.server.request(Method::POST, "/oauth/device/token").body(body);
        answer(poll).await.fails(400, "invalid_request");
    }
    for grant in ["password", "refresh_token", "authorization_code"] {
        let body = json!({"device_code": "x", "grant_type": grant}).to_string();
        let poll = acme.server.request(Method::POST, "/oauth/device/token").body(body);
        answer(poll).await.fails(400, "unsupported_grant_type");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_no_row_asks_for_are_ignored() {
    let acme = acme().await;
    let bob = acme.server.user("bob").await;
    let token = acme.server.token(bob).await;
    let account = acme.server.tenure.reader().account_by_name("acme").await.unwrap().id;
    for (what, body) in [("decline", "not json"), ("accept", "{\"a\": 1} trailing")] {
        let owner = acme.server.tenure.reader().user_by_username("ada").await.unwrap().id;
        let created = acme.server.tenure.create_invite(&operator(), account, "bob", Some(owner)).await;
        let id = created.unwrap().answer;
        answer(acme.post_as(&format!("/api/v1/invites/{id}/{what}"), "text/plain", body, &token))
            .await
            .is(204);
    }
    answer(acme.post("/api/v1/sources", "", r#"{"handle": "robot"}"#)).await.is(201);
    let delete =
        acme.server.request(Method::DELETE, "/api/v1/sources/robot").bearer_auth(&acme.key).body("x");
    answer(delete.header("content-type", "text/plain")).await.is(204);
}

#[tokio::test(flavor = "multi_thread")]
async fn pipes_have_the_names_that_the_kind_of_their_source_leaves_free() {
    let acme = acme().await;
    for (handle, kind) in [("box", "message"), ("term", "pty")] {
        answer(acme.post("/api/v1/sources", "", &json!({"handle": handle, "kind": kind}).to_string()))
            .await
            .is(201);
    }
    let pipe = async |handle: &str, name: &str| {
        answer(acme.post(&format!("/api/v1/sources/{handle}/pipes"), "", &json!({"name": name}).to_string()))
            .await
    };
    for name in ["stdin", "stdout", "stdctrl", "inbox"] {
        pipe("term", name).await.fails(409, "E_PIPE_TAKEN");
    }
    pipe("box", "inbox").await.fails(409, "E_PIPE_TAKEN");
    for name in ["stdin", "stdout", "stdctrl", "broadcast"] {
        pipe("box", name).await.is(201);
    }
    pipe("term", "broadcast").await.is(201);
    let list = answer(acme.server.get("/api/v1/sources").bearer_auth(&acme.key)).await.is(200).json();
    let stored = ["broadcast", "stdctrl", "stdin", "stdout"];
    assert_eq!(list["sources"][0]["pipes"], json!(stored));
    assert_eq!(list["sources"][1]["pipes"], json!(["broadcast"]));
    let delete = |handle: &str, name: &str| {
        let path = format!("/api/v1/sources/{handle}/pipes/{name}");
        acme.server.request(Method::DELETE, &path).bearer_auth(&acme.key)
    };
    answer(delete("term", "stdin")).await.fails(404, "E_PIPE_NOT_FOUND");
    answer(delete("box", "stdin")).await.is(204);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_name_what_they_are_about() {
    let acme = acme().await;
    let message = |answered: &super::Answer| answered.json()["error"]["message"].as_str().unwrap().to_owned();
    answer(acme.post("/api/v1/sources", "", r#"{"handle": "robot"}"#)).await.is(201);
    answer(acme.post("/api/v1/sources/robot/pipes", "", r#"{"name": "logs"}"#)).await.is(201);
    answer(acme.post_as("/api/v1/orgs/acme/invites", "", r#"{"username": "zoe"}"#, &acme.token))
        .await
        .is(201);
    let get = |path: &str| acme.server.get(path).bearer_auth(&acme.key);
    let delete = |path: &str| acme.server.request(Method::DELETE, path).bearer_auth(&acme.key);
    let absent = "0190a5d0-0000-7000-8000-000000000000";
    let as_owner = |path: &str| acme.server.request(Method::POST, path).bearer_auth(&acme.token);
    for (request, code, names) in [
        (acme.post("/api/v1/sources", "", r#"{"handle": "robot"}"#), "E_SOURCE_TAKEN", vec!["'robot'"]),
        (get("/api/v1/sources/gone"), "E_SOURCE_NOT_FOUND", vec!["'gone'"]),
        (delete("/api/v1/sources/gone"), "E_SOURCE_NOT_FOUND", vec!["'gone'"]),
        (
            acme.post("/api/v1/sources/gone/pipes", "", r#"{"name": "x"}"#),
            "E_SOURCE_NOT_FOUND",
            vec!["'gone'"],
        ),
        (
            acme.post("/api/v1/sources/robot/pipes", "", r#"{"name": "logs"}"#),
            "E_PIPE_TAKEN",
            vec!["'logs'", "'robot'"],
        ),
        (delete("/api/v1/sources/robot/pipes/gone"), "E_PIPE_NOT_FOUND", vec!["'gone'", "'robot'"]),
        (delete("/api/v1/sources/gone/pipes/logs"), "E_SOURCE_NOT_FOUND", vec!["'gone'"]),
        (
            acme.post_as("/api/v1/orgs/acme/invites", "", r#"{"username": "zoe"}"#, &acme.token),
            "E_DUPLICATE_INVITE",
            vec!["'zoe'", "'acme'"],
        ),
        (
            acme.post_as("/api/v1/orgs/none/invites", "", r#"{"username": "z"}"#, &acme.token),
            "E_NOT_FOUND",
            vec!["'none'"],
        ),
        (as_owner(&format!("/api/v1/invites/{absent}/accept")), "E_NOT_FOUND", vec![absent]),
        (as_owner(&format!("/api/v1/invites/{absent}/decline")), "E_NOT_FOUND", vec![absent]),
        (as_owner(&format!("/api/v1/orgs/acme/invites/{absent}/revoke")), "E_NOT_FOUND", vec![absent]),
        (as_owner(&format!("/api/v1/keys/{absent}/revoke")), "E_NOT_FOUND", vec![absent]),
        (
            acme.server.get("/api/v1/sources").bearer_auth("ppz_0000"),
            "E_INVALID_API_KEY",
            vec!["invalid", "API key"],
        ),
    ] {
        let answered = answer(request).await;
        let said = message(&answered);
        assert_eq!(answered.json()["error"]["code"], code, "{said}");
        for name in names {
            assert!(said.contains(name), "{name}: {said}");
        }
    }
    // What a path holds is shown shortened and harmless.
    let strange = answer(get(&format!("/api/v1/sources/%1b[31m{}", "x".repeat(300)))).await;
    let said = message(&strange.fails(404, "E_SOURCE_NOT_FOUND"));
    assert!(!said.contains('\u{1b}') && said.len() < 200, "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_path_cannot_name_is_simply_not_there() {
    let acme = acme().await;
    answer(acme.post("/api/v1/sources", "", r#"{"handle": "robot"}"#)).await.is(201);
    for handle in ["Robot", "inbox", "system", "a%20b", "%ff", "%00", "a.b", "-a", &"x".repeat(200)] {
        for method in [Method::GET, Method::DELETE] {
            let request = acme.server.request(method, &format!("/api/v1/sources/{handle}"));
            answer(request.bearer_auth(&acme.key)).await.fails(404, "E_SOURCE_NOT_FOUND");
        }
        let path = format!("/api/v1/sources/robot/pipes/{handle}");
        let request = acme.server.request(Method::DELETE, &path).bearer_auth(&acme.key);
        answer(request).await.fails(404, "E_PIPE_NOT_FOUND");
    }
    // Nobody learns anything without a credential, and a name of the source comes before that of the pipe.
    for path in ["/api/v1/sources/%ff", "/api/v1/sources/%ff/pipes/%ff", "/api/v1/sources/robot/pipes/%ff"] {
        answer(acme.server.request(Method::DELETE, path)).await.fails(401, "E_INVALID_API_KEY");
    }
    let pipes = acme.post("/api/v1/sources/%ff/pipes", "", r#"{"name": "x"}"#);
    answer(pipes).await.fails(404, "E_SOURCE_NOT_FOUND");
    for id in ["x", "%ff", "0190a5d0"] {
        for what in ["accept", "decline"] {
            let request = acme.server.request(Method::POST, &format!("/api/v1/invites/{id}/{what}"));
            answer(request.bearer_auth(&acme.token)).await.fails(404, "E_NOT_FOUND");
        }
        let revoke = acme.server.request(Method::POST, &format!("/api/v1/keys/{id}/revoke"));
        answer(revoke.bearer_auth(&acme.token)).await.fails(404, "E_NOT_FOUND");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_org_is_absent_and_unknown_parameters_are_ignored() {
    let acme = acme().await;
    let account = acme.server.tenure.reader().account_by_name("acme").await.unwrap().id;
    for query in ["?org=", "?org", "?verbose=1", "?org=&limit=5&x=y&x=z", &format!("?x=%ff&org={account}")] {
        for credential in [&acme.key, &acme.token] {
            let list = acme.server.get(&format!("/api/v1/sources{query}")).bearer_auth(credential);
            answer(list).await.is(200);
        }
        let made = acme.post(&format!("/api/v1/sources{query}"), "", r#"{"handle": "robot"}"#);
        answer(made).await.is(201);
        let path = format!("/api/v1/sources/robot{query}");
        answer(acme.server.get(&path).bearer_auth(&acme.key)).await.is(200);
        answer(acme.server.request(Method::DELETE, &path).bearer_auth(&acme.key)).await.is(204);
        let invites = format!("/api/v1/invites{query}");
        answer(acme.server.get(&invites).bearer_auth(&acme.token)).await.is(200);
    }
    for org in ["nonsense", "%ff", "00000000-0000-0000-0000-000000000000"] {
        let list = acme.server.get(&format!("/api/v1/sources?org={org}")).bearer_auth(&acme.key);
        let refused = answer(list).await.fails(403, "E_INVALID_ORG");
        assert!(refused.text.contains(&format!("'{}'", org.replace("%ff", "\u{fffd}"))), "{}", refused.text);
    }
    let homeless = acme.server.user("homeless").await;
    let token = acme.server.token(homeless).await;
    let refused =
        answer(acme.server.get("/api/v1/sources").bearer_auth(token)).await.fails(403, "E_INVALID_ORG");
    assert!(refused.text.contains("no account"), "{}", refused.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_paths_answer_in_the_shape_of_whom_they_are_meant_for() {
    let acme = acme().await;
    for path in
        ["/api/v1/sources/", "/api/v1/orgs", "/api/v1/orgs/acme/members", "/api/v1/whoami", "/api/v1/auth/x"]
    {
        for method in [Method::GET, Method::POST] {
            let answered = answer(acme.server.request(method, path)).await.fails(404, "E_NOT_FOUND");
            assert!(answered.json()["error"]["message"].is_string());
        }
    }
    for path in ["/api/v1/accounts/acme/nothing", "/api/v1/users/me/nothing", "/nothing", "/api/v2/sources"] {
        let answered = answer(acme.server.get(path)).await.fails(404, "no_such_route");
        assert_eq!(answered.header("content-type"), "application/problem+json");
    }
    answer(acme.server.get("/oauth/nothing")).await.fails(404, "invalid_request");
    answer(acme.server.request(Method::PATCH, "/api/v1/sources").bearer_auth(&acme.key)).await.is(405);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_nats_the_exchange_is_unavailable_at_once_and_never_401() {
    let acme = acme().await;
    for body in [json!({"api_key": acme.key}), json!({"api_key": "ppz_bad"}), json!({}), Value::Null] {
        let asked = Stopwatch::start();
        let request = acme.server.request(Method::POST, "/api/v1/auth/exchange").body(body.to_string());
        let answered = answer(request).await.fails(503, "E_UNAVAILABLE");
        assert!(!answered.header("retry-after").is_empty());
        assert!(asked.elapsed().as_secs_f64() < 1.0 && !answered.text.contains("ppz_"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_browsers_session_nothing_but_json_changes_state() {
    let acme = acme().await;
    let ada = acme.server.tenure.reader().user_by_username("ada").await.unwrap().id;
    let session = acme.server.session(ada).await;
    let me = answer(acme.server.get("/api/v1/users/me").header("cookie", &session)).await.is(200).json();
    let csrf = me["csrf_token"].as_str().unwrap().to_owned();
    answer(acme.post("/api/v1/sources", "", r#"{"handle": "here"}"#)).await.is(201);
    let browser = |method: Method, path: &str, kind: &str, body: &str| {
        let request =
            acme.server.request(method, path).header("cookie", &session).header("x-csrf-token", &csrf);
        let request = request.body(body.to_owned());
        if kind.is_empty() { request } else { request.header("content-type", kind) }
    };
    let before = history(&acme.server.tenure).await.len();
    for kind in KINDS.into_iter().filter(|kind| *kind != "application/json") {
        for (method, path, body) in [
            (Method::POST, "/api/v1/sources", r#"{"handle": "robot"}"#),
            (Method::POST, "/api/v1/sources/here/pipes", r#"{"name": "logs"}"#),
            (Method::POST, "/api/v1/orgs/acme/invites", r#"{"username": "bob"}"#),
            (Method::POST, "/api/v1/accounts", r#"{"name": "more"}"#),
            (Method::DELETE, "/api/v1/sources/here", "x"),
            (Method::DELETE, "/api/v1/accounts/acme/sources/here", "x"),
            (Method::POST, "/api/v1/accounts/acme/keys/x/rotate", "x"),
        ] {
            answer(browser(method, path, kind, body)).await.is(415);
        }
    }
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        answer(browser(Method::DELETE, "/api/v1/sources/here", kind, "")).await.is(415);
    }
    assert_eq!(history(&acme.server.tenure).await.len(), before);
    let json = "application/json; charset=utf-8";
    answer(browser(Method::POST, "/api/v1/sources", json, r#"{"handle": "robot"}"#)).await.is(201);
    answer(browser(Method::DELETE, "/api/v1/sources/here", "", "")).await.is(204);
    // Without the token, JSON is not enough either.
    let forged = acme.server.request(Method::POST, "/api/v1/sources").header("cookie", &session);
    let forged = answer(forged.json(&json!({"handle": "forged"}))).await.fails(403, "E_FORBIDDEN");
    assert!(forged.text.contains("X-CSRF-Token"), "{}", forged.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_routes_stay_strict() {
    let acme = acme().await;
    let path = "/api/v1/accounts/acme/sources";
    for kind in KINDS.into_iter().filter(|kind| *kind != "application/json") {
        answer(acme.post(path, kind, r#"{"handle": "robot"}"#)).await.fails(415, "unsupported_media_type");
    }
    for body in [
        "",
        "null",
        "[]",
        "{} x",
        r#"{"handle": null}"#,
        r#"{"handle": "a", "handle": "b"}"#,
        r#"{"handle": "a", "unknown": 1}"#,
        r#"{"handle": "a", "kind": ""}"#,
        r#"{"handle": 5}"#,
    ] {
        answer(acme.post(path, "application/json", body)).await.fails(400, "invalid");
    }
    answer(acme.server.get(&format!("{path}?unknown=1")).bearer_auth(&acme.key)).await.fails(400, "invalid");
    let introspect = |body: &str| {
        let request = acme.server.request(Method::POST, "/oauth/introspect").bearer_auth(&acme.token);
        request.header("content-type", "application/json").body(body.to_owned())
    };
    answer(introspect(r#"{"token": "a", "token": "b"}"#)).await.fails(400, "invalid_request");
}

/// Sends octets and takes the status line of the answer, with the body.
async fn raw(server: &Server, text: &str) -> (u16, String) {
    let address = server.base.trim_start_matches("http://");
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answered = String::new();
    stream.read_to_string(&mut answered).await.unwrap();
    let status = answered.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("{text:?}: {answered:?}")), answered)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_has_exactly_one_host() {
    let server = Server::new().await;
    let get = |path: &str, version: &str, hosts: &[&str]| {
        let hosts: String = hosts.iter().map(|host| format!("host: {host}\r\n")).collect();
        format!("GET {path} HTTP/{version}\r\n{hosts}connection: close\r\n\r\n")
    };
    for (hosts, version, status) in [
        (&["x"][..], "1.1", 200),
        (&["example.org:8080"], "1.1", 200),
        (&["[::1]:1"], "1.1", 200),
        (&[""], "1.1", 200),
        (&[], "1.0", 200),
        (&["x"], "1.0", 200),
        (&[], "1.1", 400),
        (&["x", "x"], "1.1", 400),
        (&["x", "y"], "1.1", 400),
        (&["x", "y"], "1.0", 400),
        (&["a b"], "1.1", 400),
        (&["user@x"], "1.1", 400),
        (&["x, y"], "1.1", 400),
    ] {
        let (found, answered) = raw(&server, &get("/healthz", version, hosts)).await;
        assert_eq!(found, status, "{hosts:?} {version}: {answered}");
    }
    for (path, shape) in [
        ("/api/v1/accounts", "\"field\":\"host\""),
        ("/api/v1/sources", "\"code\":\"E_INVALID_REQUEST\""),
        ("/oauth/device/code", "\"error\":\"invalid_request\""),
        ("http://elsewhere/api/v1/accounts", "\"field\":\"host\""),
    ] {
        let (status, answered) = raw(&server, &get(path, "1.1", &[])).await;
        assert!(status == 400 && answered.contains(shape), "{path}: {answered}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_behind_a_proxy_have_limits_of_their_own_however_it_names_them() {
    let tenure = std::sync::Arc::new(crate::support::TestDatabase::new().await.open().await);
    let server = Server::with(tenure, |settings| {
        settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
        settings.rates.anonymous = tenure::http::Rate { burst: 2, per_second: 1 };
    })
    .await;
    for (name, values) in [
        (
            "x-forwarded-for",
            ["198.51.100.1:4711", "198.51.100.2:4711", "[2001:db8:1::1]:443", "[2001:db8:2::1]"],
        ),
        (
            "forwarded",
            [
                "for=198.51.100.3",
                "For=\"198.51.100.4:80\";proto=https",
                "for=\"[2001:db8:3::1]:4711\"",
                "for=\"[2001:db8:4::1]\"",
            ],
        ),
    ] {
        for value in values {
            let ask = || server.request(Method::POST, "/oauth/device/code").header(name, value);
            for _ in 0..2 {
                answer(ask()).await.is(200);
            }
            answer(ask()).await.is(429);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_goes_with_a_request_into_its_events() {
    let acme = acme().await;
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let id = "01890a5d-ac96-774b-bcce-b302099a8057";
    let newest = async || {
        let events = history(&acme.server.tenure).await;
        let metadata: Value = serde_json::from_slice(&events.last().unwrap().metadata).unwrap();
        (metadata["traceparent"].clone(), metadata["correlation"].clone())
    };
    let made = acme.post("/api/v1/sources", "", r#"{"handle": "robot"}"#).header("x-request-id", id);
    answer(made.header("traceparent", parent)).await.is(201);
    assert_eq!(newest().await, (json!(parent), json!(id)));
    // The routes without a caller, too.
    let code = acme.server.request(Method::POST, "/oauth/device/code").header("x-request-id", id);
    answer(code.header("traceparent", parent)).await.is(200);
    assert_eq!(newest().await, (json!(parent), json!(id)));
    let revoke = acme.server.request(Method::POST, "/oauth/revoke").form(&[("token", &acme.token)]);
    answer(revoke.header("traceparent", parent).header("x-request-id", id)).await.is(200);
    assert_eq!(newest().await, (json!(parent), json!(id)));
    for (number, bad) in [
        "",
        "x",
        "00-0-0-0",
        &parent.to_uppercase(),
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
    ]
    .into_iter()
    .enumerate()
    {
        let made = acme.post("/api/v1/sources", "", &json!({"handle": format!("s{number}")}).to_string());
        answer(made.header("traceparent", bad)).await.is(201);
        assert_eq!(newest().await.0, Value::Null, "{bad}");
    }
    let twice = acme.post("/api/v1/sources", "", r#"{"handle": "twice"}"#).header("traceparent", parent);
    answer(twice.header("traceparent", parent)).await.is(201);
    assert_eq!(newest().await.0, Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn optional_headers_that_are_malformed_are_named_or_ignored() {
    let acme = acme().await;
    for (number, (name, value, status)) in [
        ("idempotency-key", "", 400),
        ("idempotency-key", "\u{e9}", 400),
        ("idempotency-key", "a b", 400),
        ("idempotency-key", &*"x".repeat(256), 400),
        ("if-none-match", "", 201),
        ("if-none-match", "nonsense", 201),
        ("x-request-id", "", 201),
        ("x-request-id", "nonsense", 201),
        ("x-csrf-token", "", 201),
        ("traceparent", "nonsense", 201),
        ("tracestate", "", 201),
        ("x-forwarded-for", "nonsense", 201),
        ("forwarded", "\"", 201),
        ("cookie", "", 201),
        ("cookie", "tenure_session", 201),
        ("cookie", "tenure_session=\u{e9}", 201),
        ("origin", "nonsense", 201),
        ("accept", "nonsense", 201),
        ("accept-language", "", 201),
        ("range", "nonsense", 201),
    ]
    .into_iter()
    .enumerate()
    {
        for (path, letter) in [("/api/v1/sources", "s"), ("/api/v1/accounts/acme/sources", "t")] {
            let body = json!({"handle": format!("{letter}{number}")}).to_string();
            let request = acme.post(path, "application/json", &body).header(name, value);
            let answered = answer(request).await.is(status);
            if status == 400 {
                assert!(answered.text.contains(name), "{}", answered.text);
            }
        }
        if status == 201 {
            let read = acme
                .server
                .get("/api/v1/accounts/acme/sources?limit=1")
                .bearer_auth(&acme.key)
                .header(name, value);
            answer(read).await.is(200);
        }
    }
    for value in ["", "nonsense", "\u{e9}"] {
        let read = acme.server.get("/api/v1/accounts/acme/sources").bearer_auth(&acme.key);
        let answered = answer(read.header("tenure-min-position", value)).await.fails(400, "invalid");
        assert_eq!(answered.json()["field"], "tenure-min-position");
        let read = acme.server.get("/api/v1/sources").bearer_auth(&acme.key);
        let answered =
            answer(read.header("tenure-min-position", value)).await.fails(400, "E_INVALID_REQUEST");
        assert!(answered.text.contains("tenure-min-position"));
    }
}
