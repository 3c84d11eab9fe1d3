//! The device flow: RFC 8628 in the order of the contract, by form and by JSON.

use futures::TryStreamExt as _;
use std::time::Duration;

use serde_json::{Value, json};
use tenure::clock::ManualClock;

use super::{Answer, Server, answer};

const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

async fn codes(server: &Server) -> Value {
    server
        .form("/oauth/device/code", &[("client_id", "tv"), ("client_name", "A television")])
        .await
        .is(200)
        .json()
}

async fn poll(server: &Server, codes: &Value) -> Answer {
    let device_code = codes["device_code"].as_str().unwrap();
    server
        .form(
            "/oauth/device/token",
            &[("grant_type", GRANT), ("device_code", device_code), ("client_id", "tv")],
        )
        .await
}

/// A person decides on the page.
async fn decide(server: &Server, session: &str, codes: &Value, action: &str) -> Answer {
    let complete =
        codes["verification_uri_complete"].as_str().unwrap().trim_start_matches(&server.base).to_owned();
    let page = answer(server.get(&complete).header("cookie", session)).await.is(200);
    assert!(page.text.contains("A television") && page.text.contains("127.0.0.1"), "{}", page.text);
    let (user_code, csrf) = (page.field("user_code"), page.field("csrf_token"));
    let fields = [("user_code", user_code.as_str()), ("action", action), ("csrf_token", csrf.as_str())];
    answer(
        server.request(reqwest::Method::POST, "/oauth/device/verify").header("cookie", session).form(&fields),
    )
    .await
}

fn moves(clock: &ManualClock, seconds: u64) {
    clock.advance(Duration::from_secs(seconds));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_gets_one_token_after_a_person_has_approved() {
    let (server, clock) = Server::with_clock(|_| {}).await;
    let ada = server.user("ada").await;
    server.account("acme", ada).await;
    let session = server.session(ada).await;
    let codes = codes(&server).await;
    assert_eq!((codes["interval"].as_u64(), codes["expires_in"].as_u64()), (Some(5), Some(600)));
    assert_eq!(codes["verification_uri"], format!("{}/oauth/device/verify", server.base));
    poll(&server, &codes).await.fails(400, "authorization_pending");
    moves(&clock, 5);
    poll(&server, &codes).await.fails(400, "authorization_pending");
    decide(&server, &session, &codes, "approve").await.is(200);
    let token = poll(&server, &codes).await.is(200);
    assert_eq!(token.header("cache-control"), "no-store");
    let token = token.json();
    assert_eq!(
        (token["token_type"].as_str(), token["expires_in"].as_u64()),
        (Some("bearer"), Some(2_592_000))
    );
    let access = token["access_token"].as_str().unwrap();
    assert_eq!(
        answer(server.get("/api/v1/users/me").bearer_auth(access)).await.is(200).json()["username"],
        "ada"
    );
    poll(&server, &codes).await.fails(400, "invalid_grant");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_down_does_not_accumulate_and_moves_nothing() {
    let (server, clock) = Server::with_clock(|_| {}).await;
    let ada = server.user("ada").await;
    let codes = codes(&server).await;
    poll(&server, &codes).await.fails(400, "authorization_pending");
    for _ in 0..3 {
        moves(&clock, 1);
        poll(&server, &codes).await.fails(400, "slow_down");
    }
    // Four seconds after the last that was accepted, whatever was rejected meanwhile.
    moves(&clock, 1);
    poll(&server, &codes).await.fails(400, "authorization_pending");
    let context = crate::support::as_user(ada);
    server.tenure.approve_device_code(&context, codes["user_code"].as_str().unwrap(), ada).await.unwrap();
    poll(&server, &codes).await.is(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn denial_expiry_and_nonsense_are_told_apart() {
    let (server, clock) = Server::with_clock(|_| {}).await;
    let ada = server.user("ada").await;
    let session = server.session(ada).await;
    let (denied, approved, waiting) = (codes(&server).await, codes(&server).await, codes(&server).await);
    decide(&server, &session, &denied, "deny").await.is(200);
    poll(&server, &denied).await.fails(400, "access_denied");
    let again = format!("?user_code={}", denied["user_code"].as_str().unwrap());
    decide_page(&server, &session, &again).await.is(404);
    decide(&server, &session, &approved, "approve").await.is(200);
    moves(&clock, 600);
    poll(&server, &approved).await.fails(400, "expired_token");
    poll(&server, &waiting).await.fails(400, "expired_token");
    poll(&server, &json!({"device_code": "unknown"})).await.fails(400, "invalid_grant");
    server.form("/oauth/device/token", &[]).await.fails(400, "invalid_request");
    let other = [("grant_type", "password"), ("device_code", "x")];
    server.form("/oauth/device/token", &other).await.fails(400, "unsupported_grant_type");
    let twice = server.request(reqwest::Method::POST, "/oauth/device/token");
    let twice =
        twice.header("content-type", "application/x-www-form-urlencoded").body("device_code=a&device_code=b");
    answer(twice).await.fails(400, "invalid_request");
    answer(server.get("/oauth/device/token")).await.is(405);
}

async fn decide_page(server: &Server, session: &str, query: &str) -> Answer {
    answer(server.get(&format!("/oauth/device/verify{query}")).header("cookie", session)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn json_is_as_good_as_a_form_and_user_codes_are_read_as_people_type_them() {
    let server = Server::new().await;
    let ada = server.user("ada").await;
    let session = server.session(ada).await;
    answer(server.post("/oauth/device/code", json!({"client_id": 1}))).await.fails(400, "invalid_request");
    let unknown_too = json!({"client_id": "cli", "other": 1});
    let codes = answer(server.post("/oauth/device/code", unknown_too)).await.is(200).json();
    let typed = codes["user_code"].as_str().unwrap().to_lowercase().replace('-', "%20");
    let page = decide_page(&server, &session, &format!("?user_code={typed}")).await.is(200);
    assert!(page.text.contains("cli"), "the client's identifier stands in for its name");
    let fields = [
        ("user_code", codes["user_code"].as_str().unwrap().replace('-', "")),
        ("action", "approve".to_owned()),
        ("csrf_token", page.field("csrf_token")),
    ];
    let approve = server.request(reqwest::Method::POST, "/oauth/device/verify").header("cookie", &session);
    answer(approve.form(&fields)).await.is(200);
    let device_code = codes["device_code"].as_str().unwrap();
    answer(server.post("/oauth/device/token", json!({"device_code": device_code}))).await.is(200);
    answer(server.post("/oauth/device/code", json!({}))).await.is(200);
    answer(server.request(reqwest::Method::POST, "/oauth/device/code")).await.is(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_pollers_race_and_one_gets_the_token() {
    let server = Server::new().await;
    let ada = server.user("ada").await;
    for _ in 0..5 {
        let codes = codes(&server).await;
        let context = crate::support::as_user(ada);
        server.tenure.approve_device_code(&context, codes["user_code"].as_str().unwrap(), ada).await.unwrap();
        let answers = futures::future::join_all((0..10).map(|_| poll(&server, &codes))).await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1);
        for answer in answers.into_iter().filter(|answer| answer.status != 200) {
            answer.fails(400, "invalid_grant");
        }
    }
    assert_eq!(
        server.tenure.reader().bearer_tokens_for_user(ada).try_collect::<Vec<_>>().await.unwrap().len(),
        5
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_takes_only_signed_in_users_and_only_its_own_forms() {
    let server = Server::new().await;
    let ada = server.user("ada").await;
    let session = server.session(ada).await;
    let codes = codes(&server).await;
    let user_code = codes["user_code"].as_str().unwrap();
    let away = answer(server.get(&format!("/oauth/device/verify?user_code={user_code}"))).await.is(303);
    assert_eq!(
        away.header("location"),
        format!("/sign-in?next=%2Foauth%2Fdevice%2Fverify%3Fuser_code%3D{user_code}")
    );
    assert!(decide_page(&server, &session, "").await.is(200).text.contains("user_code"));
    decide_page(&server, &session, "?user_code=BBBB-BBBB").await.is(404);
    let page = decide_page(&server, &session, &format!("?user_code={user_code}")).await.is(200);
    assert!(page.header("content-security-policy").contains("frame-ancestors 'none'"));
    let post = |fields: &[(&str, &str)]| {
        server.request(reqwest::Method::POST, "/oauth/device/verify").header("cookie", &session).form(fields)
    };
    let csrf = page.field("csrf_token");
    answer(post(&[("user_code", user_code), ("action", "approve")])).await.is(403);
    answer(post(&[("user_code", user_code), ("action", "approve"), ("csrf_token", "x")])).await.is(403);
    let right = [("user_code", user_code), ("action", "approve"), ("csrf_token", csrf.as_str())];
    answer(post(&right).header("origin", "https://evil.example")).await.is(403);
    answer(post(&right).header("sec-fetch-site", "cross-site")).await.is(403);
    answer(post(&[("action", "approve"), ("csrf_token", csrf.as_str())])).await.is(400);
    answer(post(&[("user_code", user_code), ("action", "dance"), ("csrf_token", csrf.as_str())]))
        .await
        .is(400);
    poll(&server, &codes).await.fails(400, "authorization_pending");
    answer(post(&right).header("origin", &server.base)).await.is(200);
    poll(&server, &codes).await.is(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_introspected_by_callers_who_may_see_them_and_revoked_by_their_holders() {
    let server = Server::new().await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let acme = server.account("acme", ada).await;
    let runs = server
        .tenure
        .insert_operator(&crate::support::operator(), "runs", "r@example.org")
        .await
        .unwrap()
        .answer;
    let (token, others, operator) =
        (server.token(ada).await, server.token(bob).await, server.token(runs).await);
    let key = server.key(acme, ada).await.1;
    let look = |at: &str, by: &str| {
        let request = server.request(reqwest::Method::POST, "/oauth/introspect").bearer_auth(by);
        answer(request.form(&[("token", at)]))
    };
    server.form("/oauth/introspect", &[("token", &token)]).await.fails(401, "invalid_client");
    for by in [&token, &operator] {
        let seen = look(&token, by).await.is(200).json();
        assert_eq!((seen["active"].as_bool(), seen["username"].as_str()), (Some(true), Some("ada")));
        assert_eq!(seen["sub"], ada.to_string());
        assert!(seen["exp"].as_i64().unwrap() > seen["iat"].as_i64().unwrap());
    }
    for (at, by) in [(&token, &others), (&token, &key), (&key, &others)] {
        assert_eq!(look(at, by).await.is(200).json(), json!({"active": false}));
    }
    for by in [&token, &operator, &key] {
        assert_eq!(look(&key, by).await.is(200).json()["token_type"], "api_key");
    }
    assert_eq!(look("nonsense", &token).await.is(200).json(), json!({"active": false}));
    let basic = server.request(reqwest::Method::POST, "/oauth/introspect").basic_auth("any", Some(&token));
    assert_eq!(answer(basic.form(&[("token", &token)])).await.is(200).json()["active"], true);

    server.form("/oauth/revoke", &[("token", &key)]).await.fails(400, "unsupported_token_type");
    server.form("/oauth/revoke", &[]).await.fails(400, "invalid_request");
    server.form("/oauth/revoke", &[("token", "nonsense")]).await.is(200);
    for _ in 0..2 {
        server.form("/oauth/revoke", &[("token", &token), ("token_type_hint", "access_token")]).await.is(200);
    }
    answer(server.get("/api/v1/users/me").bearer_auth(&token)).await.fails(401, "credential_bad");
    assert_eq!(look(&token, &operator).await.is(200).json(), json!({"active": false}));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_metadata_names_only_what_the_settings_say() {
    let tenure = std::sync::Arc::new(crate::support::TestDatabase::new().await.open().await);
    let server =
        Server::with(tenure, |settings| settings.public_url = "https://tenure.example.org".to_owned()).await;
    let request = server.get("/.well-known/oauth-authorization-server").header("host", "evil.example");
    let metadata = answer(request).await.is(200).json();
    assert_eq!(metadata["issuer"], "https://tenure.example.org");
    assert_eq!(metadata["grant_types_supported"], json!([GRANT]));
    for name in
        ["device_authorization_endpoint", "token_endpoint", "introspection_endpoint", "revocation_endpoint"]
    {
        assert!(metadata[name].as_str().unwrap().starts_with("https://tenure.example.org/"), "{name}");
    }
    let codes = server.form("/oauth/device/code", &[]).await.is(200).json();
    assert!(codes["verification_uri"].as_str().unwrap().starts_with("https://tenure.example.org/"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_at_the_limit_of_tokens_is_told_so_and_the_code_stays_valid() {
    let server = Server::with_settings(|settings| settings.rules.limits.tokens_per_user = 1).await;
    let ada = server.user("ada").await;
    let ttl = Duration::from_hours(1);
    let (taken, _) =
        server.tenure.issue_bearer_token(&crate::support::operator(), ada, ttl).await.unwrap().answer;
    let session = server.session(ada).await;
    let codes = codes(&server).await;
    decide(&server, &session, &codes, "approve").await.is(200);
    let refused = poll(&server, &codes).await.fails(400, "access_denied").json();
    let said = refused["error_description"].as_str().unwrap();
    assert!(said.contains("bearer tokens per user") && said.contains("revoke one"), "{said}");
    server.tenure.revoke_bearer_token(&crate::support::operator(), taken).await.unwrap();
    poll(&server, &codes).await.is(200);
}
