//! The routes of ppz's clients: their exact shapes, and each failure.

use serde_json::{Value, json};
use tenure::ids::{AccountId, UserId};

use super::{Server, answer};
use crate::support::operator;

struct Acme {
    server: Server,
    owner: UserId,
    owner_token: String,
    account: AccountId,
    key: String,
}

impl Acme {
    async fn new() -> Self {
        let server = Server::new().await;
        let owner = server.user("ada").await;
        let account = server.account("acme", owner).await;
        let key = server.key(account, owner).await.1;
        let owner_token = server.token(owner).await;
        Self { server, owner, owner_token, account, key }
    }
}

/// The names of an object's members.
fn members(json: &Value) -> Vec<&str> {
    let mut names: Vec<&str> = json.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn health_names_the_release() {
    let server = Server::new().await;
    let health = answer(server.get("/healthz")).await.is(200).json();
    assert_eq!(health, json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")}));
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_are_made_listed_shown_and_deleted() {
    let Acme { server, account, key, owner, .. } = Acme::new().await;
    let made =
        answer(server.post("/api/v1/sources", json!({"handle": "robot", "kind": "pty"})).bearer_auth(&key))
            .await
            .is(201);
    assert!(!made.header("tenure-position").is_empty());
    let made = made.json();
    assert_eq!(members(&made), ["created_at", "handle", "id", "kind", "subject"]);
    assert_eq!(
        (made["kind"].as_str(), made["subject"].as_str()),
        (Some("pty"), Some(format!("{account}.robot.inbox").as_str()))
    );
    let plain =
        answer(server.post("/api/v1/sources", json!({"handle": "box"})).bearer_auth(&key)).await.is(201);
    assert_eq!(plain.json()["kind"], "message");

    let pipe = json!({"handle": "robot", "name": "logs", "ttl_seconds": 60});
    let pipe =
        answer(server.post("/api/v1/sources/robot/pipes", pipe).bearer_auth(&key)).await.is(201).json();
    let stream = format!("source_{}_robot_logs", &account.to_string()[..8]);
    let wanted = json!({"handle": "robot", "name": "logs", "stream_name": stream, "ttl_seconds": 60,
        "max_msgs": 1_000, "max_bytes": 64 << 20});
    assert_eq!(pipe, wanted);

    let at = tenure::clock::Timestamp::parse("2026-01-01T00:00:00Z").unwrap();
    server.tenure.update_last_broadcast(&operator(), account, "robot", at, "hello").await.unwrap();
    let list = answer(server.get("/api/v1/sources").bearer_auth(&key)).await.is(200).json();
    let sources = list["sources"].as_array().unwrap();
    assert_eq!(
        sources.iter().map(|source| source["handle"].as_str().unwrap()).collect::<Vec<_>>(),
        ["box", "robot"]
    );
    assert_eq!(members(&sources[0]), ["created_by", "handle", "kind", "pipe_infos", "pipes"]);
    assert_eq!(sources[1]["pipes"], json!(["logs"]));
    assert_eq!(sources[1]["created_by"], "ada");
    let infos = sources[1]["pipe_infos"].as_array().unwrap();
    assert_eq!(
        infos.iter().map(|info| info["pipe"].as_str().unwrap()).collect::<Vec<_>>(),
        ["stdin", "stdout", "stdctrl", "inbox", "logs"]
    );
    assert_eq!(infos[4], json!({"pipe": "logs", "total": 0, "unread": 0, "created_by": "ada"}));
    assert_eq!(sources[1]["last_broadcast_payload"], "hello");

    let one = answer(server.get("/api/v1/sources/robot").bearer_auth(&key)).await.is(200).json();
    assert_eq!(members(&one), ["handle", "kind", "last_broadcast_at", "last_broadcast_payload"]);
    let one = answer(server.get("/api/v1/sources/box").bearer_auth(&key)).await.is(200).json();
    assert_eq!(one, json!({"handle": "box", "kind": "message"}));

    let delete = |path: &str| server.request(reqwest::Method::DELETE, path).bearer_auth(&key);
    answer(delete("/api/v1/sources/robot/pipes/inbox")).await.fails(404, "E_PIPE_NOT_FOUND");
    assert_eq!(answer(delete("/api/v1/sources/robot/pipes/logs")).await.is(204).text, "");
    answer(delete("/api/v1/sources/robot/pipes/logs")).await.fails(404, "E_PIPE_NOT_FOUND");
    answer(delete("/api/v1/sources/robot")).await.is(204);
    answer(delete("/api/v1/sources/robot")).await.fails(404, "E_SOURCE_NOT_FOUND");
    answer(server.get("/api/v1/sources/robot").bearer_auth(&key)).await.fails(404, "E_SOURCE_NOT_FOUND");
    assert_eq!(owner, server.tenure.reader().user_by_username("ada").await.unwrap().id);
}

#[tokio::test(flavor = "multi_thread")]
async fn sources_are_refused_by_their_codes() {
    let Acme { server, account, key, owner_token, .. } = Acme::new().await;
    let create = |body: Value| server.post("/api/v1/sources", body).bearer_auth(&key);
    answer(create(json!({"handle": "robot"}))).await.is(201);
    answer(create(json!({"handle": "robot"}))).await.fails(409, "E_SOURCE_TAKEN");
    answer(create(json!({"handle": "Robot"}))).await.fails(400, "E_INVALID_HANDLE");
    answer(create(json!({"handle": "inbox"}))).await.fails(400, "E_INVALID_HANDLE");
    answer(create(json!({"handle": "x", "kind": "cat"}))).await.fails(400, "E_INVALID_KIND");
    answer(create(json!({}))).await.fails(400, "E_INVALID_HANDLE");
    let pipe = |body: Value| server.post("/api/v1/sources/robot/pipes", body).bearer_auth(&key);
    answer(pipe(json!({"name": "logs"}))).await.is(201);
    answer(pipe(json!({"name": "logs"}))).await.fails(409, "E_PIPE_TAKEN");
    answer(pipe(json!({"name": "stdin"}))).await.is(201);
    answer(pipe(json!({"name": "inbox"}))).await.fails(409, "E_PIPE_TAKEN");
    answer(pipe(json!({"name": "x", "ttl_seconds": 0}))).await.fails(400, "E_INVALID_REQUEST");
    answer(pipe(json!({"name": "y", "handle": "other"}))).await.is(201);
    let elsewhere = server.post("/api/v1/sources/nowhere/pipes", json!({"name": "x"})).bearer_auth(&key);
    answer(elsewhere).await.fails(404, "E_SOURCE_NOT_FOUND");

    let list = |org: &str| server.get(&format!("/api/v1/sources{org}"));
    answer(list("")).await.fails(401, "E_INVALID_API_KEY");
    answer(list("").bearer_auth("ppz_00000000000000000000000000")).await.fails(401, "E_INVALID_API_KEY");
    answer(list("").bearer_auth("nonsense")).await.fails(401, "E_INVALID_API_KEY");
    answer(list(&format!("?org={account}")).bearer_auth(&key)).await.is(200);
    answer(list(&format!("?org={account}")).bearer_auth(&owner_token)).await.is(200);
    let stranger = server.user("stranger").await;
    let other = server.account("other", stranger).await;
    for credential in [&key, &owner_token] {
        answer(list(&format!("?org={other}")).bearer_auth(credential)).await.fails(403, "E_INVALID_ORG");
        answer(list("?org=nonsense").bearer_auth(credential)).await.fails(403, "E_INVALID_ORG");
    }
    let homeless = server.user("homeless").await;
    answer(list("").bearer_auth(server.token(homeless).await)).await.fails(403, "E_INVALID_ORG");
}

#[tokio::test(flavor = "multi_thread")]
async fn invites_are_sent_listed_and_revoked_by_the_owner() {
    let Acme { server, account, owner, owner_token, key } = Acme::new().await;
    let (bob, member) = (server.user("bob").await, server.user("member").await);
    server.tenure.add_member(&operator(), account, member).await.unwrap();
    let path = "/api/v1/orgs/acme/invites";
    let invite =
        |who: &str, credential: &str| server.post(path, json!({"username": who})).bearer_auth(credential);
    let sent = answer(invite("BOB", &owner_token)).await.is(201).json();
    let wanted = [
        "account_id",
        "account_name",
        "created_at",
        "expires_at",
        "id",
        "invitee_username",
        "inviter_user_id",
        "status",
    ];
    assert_eq!(members(&sent["invite"]), wanted);
    assert_eq!(sent["invite"]["status"], "pending");
    assert_eq!(sent["invite"]["inviter_user_id"], owner.to_string());

    answer(invite("bob", &owner_token)).await.fails(409, "E_DUPLICATE_INVITE");
    answer(invite("member", &owner_token)).await.fails(409, "E_ALREADY_MEMBER");
    answer(invite("ada", &owner_token)).await.fails(400, "E_INVALID_REQUEST");
    answer(invite("a b", &owner_token)).await.fails(400, "E_INVALID_REQUEST");
    answer(server.post(path, json!({"username": "x"}))).await.fails(401, "E_INVALID_API_KEY");
    answer(invite("x", &key)).await.fails(403, "E_FORBIDDEN");
    answer(invite("x", &server.token(member).await)).await.fails(403, "E_FORBIDDEN");
    answer(invite("x", &server.token(bob).await)).await.fails(404, "E_NOT_FOUND");
    let nowhere =
        server.post("/api/v1/orgs/nowhere/invites", json!({"username": "x"})).bearer_auth(&owner_token);
    answer(nowhere).await.fails(404, "E_NOT_FOUND");

    let by_id = format!("/api/v1/orgs/{account}/invites");
    let list = answer(server.get(&by_id).bearer_auth(&owner_token)).await.is(200).json();
    assert_eq!(list["invites"].as_array().unwrap().len(), 1);
    assert_eq!(list["invites"][0], sent["invite"]);

    let id = sent["invite"]["id"].as_str().unwrap();
    let revoke = |path: &str| server.request(reqwest::Method::POST, path).bearer_auth(&owner_token);
    server.account("mine-too", owner).await;
    answer(revoke(&format!("/api/v1/orgs/mine-too/invites/{id}/revoke"))).await.fails(404, "E_NOT_FOUND");
    answer(revoke("/api/v1/orgs/acme/invites/nonsense/revoke")).await.fails(404, "E_NOT_FOUND");
    let path = format!("/api/v1/orgs/acme/invites/{id}/revoke");
    answer(revoke(&path)).await.is(204);
    answer(revoke(&path)).await.fails(409, "E_INVITE_NOT_PENDING");
}

#[tokio::test(flavor = "multi_thread")]
async fn invites_are_accepted_and_declined_by_their_person() {
    let Acme { server, account, owner, owner_token, key } = Acme::new().await;
    let bob = server.user("bob").await;
    let token = server.token(bob).await;
    let invite = || async {
        server.tenure.create_invite(&operator(), account, "bob", Some(owner)).await.unwrap().answer
    };
    let first = invite().await;
    let list = answer(server.get("/api/v1/invites").bearer_auth(&token)).await.is(200).json();
    assert_eq!(list["invites"][0]["account_name"], "acme");
    assert_eq!(list["invites"][0]["id"], first.to_string());
    answer(server.get("/api/v1/invites")).await.fails(401, "E_INVALID_API_KEY");
    answer(server.get("/api/v1/invites").bearer_auth(&key)).await.fails(403, "E_FORBIDDEN");

    let decide = |id: &str, what: &str, credential: &str| {
        server.request(reqwest::Method::POST, &format!("/api/v1/invites/{id}/{what}")).bearer_auth(credential)
    };
    for what in ["accept", "decline"] {
        answer(decide("nonsense", what, &token)).await.fails(404, "E_NOT_FOUND");
        answer(decide(&account.to_string(), what, &token)).await.fails(404, "E_NOT_FOUND");
        answer(decide(&first.to_string(), what, &owner_token)).await.fails(403, "E_FORBIDDEN");
    }
    answer(decide(&first.to_string(), "decline", &token)).await.is(204);
    answer(decide(&first.to_string(), "accept", &token)).await.fails(409, "E_INVITE_NOT_PENDING");
    let second = invite().await.to_string();
    answer(decide(&second, "accept", &token)).await.is(204);
    assert!(server.tenure.reader().membership(account, bob).await.unwrap());
    let list = answer(server.get("/api/v1/invites").bearer_auth(&token)).await.is(200).json();
    assert_eq!(list, json!({"invites": []}));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_owner_revokes_a_key() {
    let Acme { server, account, owner, owner_token, key } = Acme::new().await;
    let (id, plaintext) = server.key(account, owner).await;
    let member = server.user("member").await;
    server.tenure.add_member(&operator(), account, member).await.unwrap();
    let stranger = server.user("stranger").await;
    let path = format!("/api/v1/keys/{id}/revoke");
    let revoke = |path: &str| server.request(reqwest::Method::POST, path);
    answer(revoke(&path)).await.fails(401, "E_INVALID_API_KEY");
    answer(revoke(&path).bearer_auth(&key)).await.fails(403, "E_FORBIDDEN");
    answer(revoke(&path).bearer_auth(server.token(member).await)).await.fails(403, "E_FORBIDDEN");
    answer(revoke(&path).bearer_auth(server.token(stranger).await)).await.fails(404, "E_NOT_FOUND");
    answer(revoke("/api/v1/keys/nonsense/revoke").bearer_auth(&owner_token)).await.fails(404, "E_NOT_FOUND");
    answer(server.get("/api/v1/sources").bearer_auth(&plaintext)).await.is(200);
    let first = answer(revoke(&path).bearer_auth(&owner_token)).await.is(200).json();
    assert!(first["revoked_at"].is_string());
    let again = answer(revoke(&path).bearer_auth(&owner_token)).await.is(200).json();
    assert_eq!(again["revoked_at"], first["revoked_at"]);
    answer(server.get("/api/v1/sources").bearer_auth(&plaintext)).await.fails(401, "E_INVALID_API_KEY");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_post_with_an_idempotency_key_is_carried_out_once() {
    let Acme { server, owner_token, key, .. } = Acme::new().await;
    let create = |body: Value, idempotency: &str| {
        server.post("/api/v1/sources", body).bearer_auth(&key).header("idempotency-key", idempotency)
    };
    let first = answer(create(json!({"handle": "robot"}), "k1")).await.is(201);
    let again = answer(create(json!({"handle": "robot"}), "k1")).await.is(201);
    assert_eq!(
        (first.json(), first.header("tenure-position")),
        (again.json(), again.header("tenure-position"))
    );
    answer(create(json!({"handle": "other"}), "k1")).await.is(422);
    answer(create(json!({"handle": "robot"}), "k2")).await.fails(409, "E_SOURCE_TAKEN");
    // A refusal is not remembered: once the handle is free the same request goes through.
    answer(server.request(reqwest::Method::DELETE, "/api/v1/sources/robot").bearer_auth(&key)).await.is(204);
    answer(create(json!({"handle": "robot"}), "k2")).await.is(201);
    answer(create(json!({"handle": "robot"}), "")).await.is(400);
    answer(create(json!({"handle": "x"}), "k3").header("idempotency-key", "k4")).await.is(400);

    let mint = || {
        let request = server.post("/api/v1/accounts/acme/keys", json!({"label": "ci"}));
        request.bearer_auth(&owner_token).header("idempotency-key", "m1")
    };
    let minted = answer(mint()).await.is(201).json();
    let again = answer(mint()).await.fails(409, "secret_given_once").json();
    assert_eq!(again["record"]["id"], minted["id"]);
    assert!(!again.to_string().contains(minted["plaintext"].as_str().unwrap()));
    let keys =
        answer(server.get("/api/v1/accounts/acme/keys").bearer_auth(&owner_token)).await.is(200).json();
    assert_eq!(keys["items"].as_array().unwrap().len(), 2, "one of the test, one of the request");
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_have_tags_and_positions_and_lists_have_pages() {
    let Acme { server, account, owner_token, key, .. } = Acme::new().await;
    let path = format!("/api/v1/accounts/{account}");
    let first = answer(server.get(&path).bearer_auth(&owner_token)).await.is(200);
    let tag = first.header("etag").to_owned();
    let same =
        answer(server.get(&path).bearer_auth(&owner_token).header("if-none-match", &tag)).await.is(304);
    assert_eq!((same.text.as_str(), same.header("etag")), ("", tag.as_str()));
    answer(server.get(&path).bearer_auth(&owner_token).header("if-none-match", "\"other\"")).await.is(200);

    let mut position = String::new();
    for handle in ["c", "a", "b"] {
        let made =
            answer(server.post("/api/v1/sources", json!({"handle": handle})).bearer_auth(&key)).await.is(201);
        position = made.header("tenure-position").to_owned();
    }
    let list = |query: &str| server.get(&format!("{path}/sources{query}")).bearer_auth(&key);
    answer(list("").header("tenure-min-position", &position)).await.is(200);
    answer(list("").header("tenure-min-position", "999999")).await.is(400);
    answer(list("").header("tenure-min-position", "x")).await.is(400);
    let page = answer(list("?limit=2")).await.is(200).json();
    let handles = |page: &Value| -> Vec<String> {
        page["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["handle"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(handles(&page), ["a", "b"]);
    let next = answer(list(&format!("?limit=2&cursor={}", page["next_cursor"].as_str().unwrap())))
        .await
        .is(200)
        .json();
    assert_eq!((handles(&next), next.get("next_cursor")), (vec!["c".to_owned()], None));

    let events = |query: &str| server.get(&format!("{path}/events{query}")).bearer_auth(&owner_token);
    let newest = answer(events("?limit=2")).await.is(200).json();
    let positions = |page: &Value| -> Vec<i64> {
        page["items"].as_array().unwrap().iter().map(|event| event["position"].as_i64().unwrap()).collect()
    };
    let top = position.parse::<tenure::event_log::PositionToken>().unwrap().position;
    assert_eq!(positions(&newest), [top, top - 1]);
    let mut all = positions(&newest);
    let mut cursor = newest["next_cursor"].as_str().map(str::to_owned);
    while let Some(before) = cursor {
        let page = answer(events(&format!("?limit=2&cursor={before}"))).await.is(200).json();
        all.extend(positions(&page));
        cursor = page["next_cursor"].as_str().map(str::to_owned);
    }
    all.reverse();
    let oldest = answer(events("?order=asc")).await.is(200).json();
    assert_eq!(positions(&oldest), all);
    assert_eq!(oldest["items"][0]["sealed"]["name"], "acme");
    let minted =
        oldest["items"].as_array().unwrap().iter().find(|event| event["event_type"] == "api_key.minted");
    assert_eq!(minted.unwrap()["sealed"]["hash"], "(hidden)");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_covers_one_request_of_one_caller() {
    let Acme { server, account, owner, owner_token, .. } = Acme::new().await;
    let bob = server.user("bob").await;
    server.tenure.add_member(&operator(), account, bob).await.unwrap();
    let transfer = || {
        let request = server.post("/api/v1/accounts/acme/transfer", json!({"to": "bob"}));
        request.bearer_auth(&owner_token).header("idempotency-key", "t1")
    };
    let first = answer(transfer()).await.is(200);
    let again = answer(transfer()).await.is(200);
    assert_eq!(first.header("tenure-position"), again.header("tenure-position"));
    let plain = server.post("/api/v1/accounts/acme/transfer", json!({"to": "bob"})).bearer_auth(&owner_token);
    answer(plain).await.fails(403, "forbidden");
    let unknown =
        server.post("/api/v1/accounts/acme/transfer", json!({"to": "nobody"})).bearer_auth(&owner_token);
    answer(unknown).await.fails(403, "forbidden");
    // A member who leaves leaves no key behind.
    let leave = server.request(reqwest::Method::DELETE, "/api/v1/accounts/acme/members/me?keep_keys=true");
    answer(leave.bearer_auth(&owner_token)).await.fails(403, "forbidden");
    // The account that is meant is part of the request.
    let (one, two) = (server.account("one", owner).await, server.account("two", owner).await);
    let create = |org: AccountId| {
        let request = server.post(&format!("/api/v1/sources?org={org}"), json!({"handle": "robot"}));
        request.bearer_auth(&owner_token).header("idempotency-key", "s1")
    };
    let (first, second) =
        (answer(create(one)).await.is(201).json(), answer(create(two)).await.is(201).json());
    assert_ne!(first["id"], second["id"]);
    let delete = server.request(reqwest::Method::DELETE, &format!("/api/v1/sources/robot?org={one}"));
    answer(delete.bearer_auth(&owner_token)).await.is(204);
    let anew = server.post(&format!("/api/v1/sources?org={one}"), json!({"handle": "robot", "kind": "pty"}));
    answer(anew.bearer_auth(&owner_token)).await.is(201);
    answer(create(one)).await.fails(404, "E_SOURCE_NOT_FOUND");
}
