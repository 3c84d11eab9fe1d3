//! Signing in: by link, through GitHub (a stand-in that speaks like it), for development; sessions and their end.

use futures::TryStreamExt as _;
use std::sync::{Arc, Mutex};

use axum::extract::{Form, State};
use axum::http::HeaderMap;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tenure::http::GithubSettings;

use super::{Answer, Server, answer};
use crate::support::{TestDatabase, operator};

/// What speaks like GitHub: one person at a time, codes that are good once, PKCE checked.
#[derive(Default)]
struct Standin {
    person: Mutex<Value>,
    challenge: Mutex<String>,
    used: Mutex<Vec<String>>,
}

async fn token(
    State(standin): State<Arc<Standin>>,
    Form(form): Form<std::collections::HashMap<String, String>>,
) -> (axum::http::StatusCode, Json<Value>) {
    use base64::Engine as _;
    let digest = Sha256::digest(form["code_verifier"].as_bytes());
    let challenge = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(digest);
    let mut used = standin.used.lock().unwrap();
    let code = form["code"].clone();
    if challenge != *standin.challenge.lock().unwrap() || used.contains(&code) || code == "bad" {
        return (axum::http::StatusCode::BAD_REQUEST, Json(json!({"error": "bad_verification_code"})));
    }
    used.push(code);
    (axum::http::StatusCode::OK, Json(json!({"access_token": "gho_x", "token_type": "bearer", "scope": ""})))
}

async fn me(State(standin): State<Arc<Standin>>, headers: HeaderMap) -> Json<Value> {
    assert_eq!(headers["authorization"], "Bearer gho_x");
    Json(standin.person.lock().unwrap().clone())
}

async fn emails() -> Json<Value> {
    Json(json!([
        {"email": "other@example.org", "primary": false, "verified": true},
        {"email": "primary@example.org", "primary": true, "verified": true},
    ]))
}

struct Github {
    standin: Arc<Standin>,
    server: Server,
}

impl Github {
    async fn new() -> Self {
        let standin = Arc::new(Standin::default());
        let router = Router::new()
            .route("/login/oauth/access_token", post(token))
            .route("/user", get(me))
            .route("/user/emails", get(emails))
            .with_state(standin.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let tenure = Arc::new(TestDatabase::new().await.open().await);
        let server = Server::with(tenure, |settings| {
            settings.github = Some(GithubSettings {
                client_id: "app".to_owned(),
                client_secret: "hush".to_owned().into(),
                url: url.clone(),
                api_url: url.clone(),
            });
        })
        .await;
        Self { standin, server }
    }

    /// The browser is sent away: what it keeps, and the state that GitHub gives back.
    async fn begin(&self, next: &str) -> (String, String) {
        let away = answer(self.server.get(&format!("/sign-in/github?next={next}"))).await.is(303);
        let location = away.header("location");
        let query: std::collections::HashMap<String, String> =
            form_urlencoded::parse(location.split_once('?').unwrap().1.as_bytes()).into_owned().collect();
        assert_eq!(
            (query["response_type"].as_str(), query["code_challenge_method"].as_str()),
            ("code", "S256")
        );
        assert_eq!(query["redirect_uri"], format!("{}/sign-in/github/callback", self.server.base));
        assert!(!location.contains("hush"));
        *self.standin.challenge.lock().unwrap() = query["code_challenge"].clone();
        (away.cookie("tenure_github").unwrap(), query["state"].clone())
    }

    async fn back(&self, cookie: &str, state: &str, code: &str) -> Answer {
        let path = format!("/sign-in/github/callback?code={code}&state={state}");
        answer(self.server.get(&path).header("cookie", cookie)).await
    }

    async fn sign_in(&self, person: Value, code: &str) -> Value {
        *self.standin.person.lock().unwrap() = person;
        let (cookie, state) = self.begin("/").await;
        let back = self.back(&cookie, &state, code).await.is(303);
        let session = back.cookie("tenure_session").unwrap();
        answer(self.server.get("/api/v1/users/me").header("cookie", session)).await.is(200).json()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_sign_in_through_github_and_keep_their_identity_through_renames() {
    let github = Github::new().await;
    let server = &github.server;
    let octo =
        json!({"id": 42, "login": "octo", "email": "octo@example.org", "avatar_url": "https://a.example/1"});
    let first = github.sign_in(octo.clone(), "c1").await;
    assert_eq!((first["username"].as_str(), first["mode"].as_str()), (Some("octo"), Some("github")));
    assert_eq!(
        (first["github_id"].as_i64(), first["avatar_url"].as_str()),
        (Some(42), Some("https://a.example/1"))
    );
    let accounts = server.tenure.reader().accounts().try_collect::<Vec<_>>().await.unwrap();
    assert_eq!(accounts.iter().map(|account| account.name.as_str()).collect::<Vec<_>>(), ["octo"]);
    let before = server.tenure.log().newest().await.unwrap();
    assert_eq!(github.sign_in(octo, "c2").await["id"], first["id"]);
    assert_eq!(server.tenure.log().newest().await.unwrap(), before + 1, "only the session is new");
    let renamed = github
        .sign_in(json!({"id": 42, "login": "octocat", "email": null, "avatar_url": "http://plain"}), "c3")
        .await;
    assert_eq!(
        (renamed["id"].as_str(), renamed["username"].as_str()),
        (first["id"].as_str(), Some("octocat"))
    );
    assert_eq!(renamed["email"], "primary@example.org", "found among the verified ones");
    server.user("taken").await;
    let clash = github.sign_in(json!({"id": 7, "login": "taken", "email": null}), "c4").await;
    assert_eq!(clash["username"], "taken~2");
    let clash = github.sign_in(json!({"id": 42, "login": "TAKEN", "email": null}), "c5").await;
    assert_eq!(clash["username"], "octocat", "a name that is taken is not taken over");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_browser_that_was_sent_away_comes_back_and_once() {
    let github = Github::new().await;
    *github.standin.person.lock().unwrap() = json!({"id": 1, "login": "octo"});
    let (cookie, state) = github.begin("/").await;
    let (foreign, foreign_state) = github.begin("/").await;
    for (cookie, state, code) in [
        ("", state.as_str(), "a"),
        (foreign.as_str(), state.as_str(), "a"),
        (cookie.as_str(), foreign_state.as_str(), "a"),
        (cookie.as_str(), "", "a"),
        ("tenure_github=nonsense.nonsense", state.as_str(), "a"),
    ] {
        github.back(cookie, state, code).await.is(400);
    }
    let (cookie, state) = github.begin("/").await;
    let in_here = github.back(&cookie, &state, "a").await.is(303);
    assert_eq!(in_here.header("location"), "/");
    assert!(
        in_here
            .headers
            .get_all("set-cookie")
            .iter()
            .any(|set| set.to_str().unwrap().starts_with("tenure_github=;"))
    );
    assert!(github.back(&cookie, &state, "b").await.is(400).cookie("tenure_session").is_none(), "replayed");
    let (cookie, state) = github.begin("/").await;
    github.back(&cookie, &state, "bad").await.is(400);
    let (cookie, state) = github.begin("/").await;
    let denied = github.server.get(&format!("/sign-in/github/callback?error=access_denied&state={state}"));
    answer(denied.header("cookie", cookie)).await.is(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_leads_to_a_path_of_this_site_and_nowhere_else() {
    let github = Github::new().await;
    *github.standin.person.lock().unwrap() = json!({"id": 1, "login": "octo"});
    for (place, (next, to)) in [
        ("%2Foauth%2Fdevice%2Fverify%3Fuser_code%3DX", "/oauth/device/verify?user_code=X"),
        ("https%3A%2F%2Fevil.example", "/"),
        ("%2F%2Fevil.example", "/"),
        ("%2F%5Cevil.example", "/"),
        ("%2F%09%2Fevil.example", "/"),
    ]
    .into_iter()
    .enumerate()
    {
        let (cookie, state) = github.begin(next).await;
        let back = github.back(&cookie, &state, &format!("n{place}")).await.is(303);
        assert_eq!(back.header("location"), to);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_link_works_once_by_post_within_ten_minutes() {
    let (server, clock) = Server::with_clock(|_| {}).await;
    let runs = server.tenure.insert_operator(&operator(), "runs", "r@example.org").await.unwrap().answer;
    let ada = server.user("ada").await;
    let token = server.token(runs).await;
    let link = || async {
        let made = answer(
            server.request(reqwest::Method::POST, "/api/v1/users/ada/sign-in-links").bearer_auth(&token),
        );
        let url = made.await.is(201).json()["url"].as_str().unwrap().to_owned();
        url.trim_start_matches(&server.base).to_owned()
    };
    let path = link().await;
    for _ in 0..3 {
        let page = answer(server.get(&path)).await.is(200);
        assert!(page.header("cache-control").contains("no-store") && page.cookie("tenure_session").is_none());
    }
    let page = answer(server.get(&path)).await.is(200);
    let form = page.cookie("tenure_form").unwrap();
    let consume = |path: &str, token: &str| {
        let request = server
            .request(reqwest::Method::POST, path)
            .header("cookie", &form)
            .header("origin", &server.base);
        request.form(&[("csrf_token", token)])
    };
    answer(consume(&path, "wrong")).await.is(403);
    let csrf = page.field("csrf_token");
    let foreign = server
        .request(reqwest::Method::POST, &path)
        .header("cookie", &form)
        .header("origin", "https://evil.example");
    answer(foreign.form(&[("csrf_token", &csrf)])).await.is(403);
    let racing = futures::future::join_all((0..8).map(|_| answer(consume(&path, &csrf)))).await;
    let won: Vec<&Answer> = racing.iter().filter(|answer| answer.status == 303).collect();
    assert_eq!(won.len(), 1, "{racing:?}");
    let set = won[0].headers.get_all("set-cookie").iter().map(|set| set.to_str().unwrap());
    let set = set.filter(|set| set.starts_with("tenure_session=")).collect::<Vec<_>>().concat();
    assert!(set.contains("HttpOnly") && set.contains("SameSite=Lax"), "{set}");
    let session = won[0].cookie("tenure_session").unwrap();
    let me = answer(server.get("/api/v1/users/me").header("cookie", &session)).await.is(200).json();
    assert_eq!(me["id"], ada.to_string());
    answer(server.get(&path)).await.is(404);
    let late = link().await;
    clock.advance(std::time::Duration::from_secs(600));
    answer(server.get(&late)).await.is(404);
    answer(server.request(reqwest::Method::POST, &late)).await.is(404);
    let events = crate::support::history(&server.tenure).await;
    let types: Vec<&str> = events.iter().map(|event| event.event_type.as_str()).collect();
    assert_eq!(types.iter().filter(|kind| kind.starts_with("sign_in_link.")).count(), 3);
    let secret = path.rsplit('/').next().unwrap();
    assert!(events.iter().all(|event| !String::from_utf8_lossy(&event.payload).contains(secret)));
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_in_links_are_for_internal_users_and_made_by_operators() {
    let server = Server::new().await;
    let ada = server.user("ada").await;
    let hub =
        server.tenure.upsert_user_by_github_id(&operator(), 9, "hub", None, None).await.unwrap().answer.user;
    crate::refused!(
        server.tenure.issue_sign_in_link(&operator(), hub).await,
        tenure::operations::Refusal::NotAnInternalUser
    );
    let context = crate::support::as_user(ada);
    crate::refused!(
        server.tenure.issue_sign_in_link(&context, ada).await,
        tenure::operations::Refusal::Forbidden
    );
    let link = server.tenure.issue_sign_in_link(&operator(), ada).await.unwrap().answer;
    server.tenure.forget_user(&operator(), ada).await.unwrap();
    let ttl = std::time::Duration::from_secs(60);
    crate::refused!(
        server.tenure.sign_in_by_link(&operator(), &link, ttl).await,
        tenure::operations::Refusal::NotFound(_)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn development_sign_in_must_be_switched_on() {
    let server = Server::new().await;
    server.form("/sign-in/dev", &[("username", "ada")]).await.is(404);
    assert!(!answer(server.get("/sign-in")).await.is(200).text.contains("/sign-in/dev"));
    let tenure = Arc::new(TestDatabase::new().await.open().await);
    let server = Server::with(tenure, |settings| settings.dev_sign_in = true).await;
    let page = answer(server.get("/sign-in?next=/oauth/device/verify")).await.is(200);
    let form = page.cookie("tenure_form").unwrap();
    let sign_in = |csrf: &str| {
        let fields = [("username", "ada"), ("next", "/oauth/device/verify"), ("csrf_token", csrf)];
        server.request(reqwest::Method::POST, "/sign-in/dev").header("cookie", &form).form(&fields)
    };
    answer(sign_in("wrong")).await.is(403);
    let in_here = answer(sign_in(&page.field("csrf_token"))).await.is(303);
    assert_eq!(in_here.header("location"), "/oauth/device/verify");
    let session = in_here.cookie("tenure_session").unwrap();
    let home = answer(server.get("/").header("cookie", &session)).await.is(200);
    assert!(home.text.contains("Signed in as ada"));
    answer(server.get("/sign-in").header("cookie", &session)).await.is(303);
    let sign_out = |csrf: &str| {
        server
            .request(reqwest::Method::POST, "/sign-out")
            .header("cookie", &session)
            .form(&[("csrf_token", csrf)])
    };
    answer(sign_out("wrong")).await.is(403);
    answer(sign_out(&home.field("csrf_token"))).await.is(303);
    answer(server.get("/").header("cookie", &session)).await.is(303);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_changes_things_only_with_its_token_and_from_this_site() {
    let server = Server::new().await;
    let ada = server.user("ada").await;
    let session = server.session(ada).await;
    let me = answer(server.get("/api/v1/users/me").header("cookie", &session)).await.is(200).json();
    let csrf = me["csrf_token"].as_str().unwrap();
    let open = |name: &str| server.post("/api/v1/accounts", json!({"name": name})).header("cookie", &session);
    answer(open("a")).await.fails(403, "forbidden");
    answer(open("a").header("x-csrf-token", "x")).await.fails(403, "forbidden");
    let foreign = open("a").header("x-csrf-token", csrf).header("origin", "https://evil.example");
    answer(foreign).await.fails(403, "forbidden");
    answer(open("a").header("x-csrf-token", csrf).header("origin", &server.base)).await.is(201);
    let planted = format!("{session}; {session}");
    answer(server.get("/api/v1/users/me").header("cookie", planted)).await.fails(401, "credential_missing");
    let other = server.session(ada).await;
    answer(server.get("/api/v1/users/me").header("cookie", &other)).await.is(200);
    let sessions =
        answer(server.get("/api/v1/users/me/sessions").header("cookie", &session)).await.is(200).json();
    assert_eq!(sessions["items"].as_array().unwrap().len(), 2);
    let second = sessions["items"][1]["id"].as_str().unwrap();
    let end = server.request(reqwest::Method::DELETE, &format!("/api/v1/users/me/sessions/{second}"));
    answer(end.header("cookie", &session).header("x-csrf-token", csrf)).await.is(204);
    answer(server.get("/api/v1/users/me").header("cookie", &other)).await.is(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_github_says_oddly_is_understood_or_refused_with_a_page() {
    let github = Github::new().await;
    for (number, email) in ["\"\"", "\" \"", "null"].into_iter().enumerate() {
        let email: Value = serde_json::from_str(email).unwrap();
        let person = json!({"id": number + 1, "login": format!("octo{number}"), "email": email});
        let signed_in = github.sign_in(person, &format!("e{number}")).await;
        assert_eq!(signed_in["email"], "primary@example.org", "as if none were public: {email}");
    }
    let before = github.server.tenure.log().newest().await.unwrap();
    for (number, person) in [
        json!({"id": 0, "login": "zero", "email": null}),
        json!({"id": -1, "login": "minus", "email": null}),
        json!({"id": 77, "login": "dependabot[bot]", "email": null}),
        json!({"id": 77, "login": "", "email": null}),
        json!({"id": 77, "login": "a".repeat(60), "email": null}),
        json!({"id": "77", "login": "text", "email": null}),
        json!({"id": null, "login": "none", "email": null}),
        json!({"login": "none"}),
        json!([]),
    ]
    .into_iter()
    .enumerate()
    {
        *github.standin.person.lock().unwrap() = person.clone();
        let (cookie, state) = github.begin("/").await;
        let back = github.back(&cookie, &state, &format!("o{number}")).await.is(400);
        assert!(back.text.contains("Sign-in failed") && back.cookie("tenure_session").is_none(), "{person}");
    }
    assert_eq!(github.server.tenure.log().newest().await.unwrap(), before, "nothing was registered");
}
