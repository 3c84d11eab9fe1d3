//! How often and how much: typed refusals, and what callers are told.

use serde_json::json;
use tenure::http::Rate;

use super::{Server, answer};
use crate::support::TestDatabase;

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_over_the_rate_limit_is_told_when_to_retry() {
    let tenure = std::sync::Arc::new(TestDatabase::new().await.open().await);
    let server = Server::with(tenure, |settings| {
        settings.rates.anonymous = Rate { burst: 5, per_second: 1 };
        settings.rates.commands = Rate { burst: 3, per_second: 1 };
    })
    .await;
    let first = answer(server.get("/sign-in")).await.is(200);
    assert_eq!((first.header("ratelimit-limit"), first.header("ratelimit-remaining")), ("5", "4"));
    let mut last = first;
    for _ in 0..9 {
        last = answer(server.get("/api/v1/users/me")).await;
    }
    let refused = last.fails(429, "too_many_requests");
    assert!(refused.header("retry-after").parse::<u64>().unwrap() >= 1);
    // A device that polls is told in the one word that it knows, and never by 429.
    server.form("/oauth/device/token", &[("device_code", "x")]).await.fails(400, "slow_down");

    let ada = server.user("ada").await;
    let token = server.token(ada).await;
    let mut statuses = Vec::new();
    for number in 0..6 {
        let open =
            server.post("/api/v1/accounts", json!({"name": format!("a-{number}")})).bearer_auth(&token);
        statuses.push(answer(open).await.status.as_u16());
    }
    assert!(statuses.starts_with(&[201, 201, 201]) && statuses.contains(&429), "{statuses:?}");
    answer(server.get("/api/v1/users/me").bearer_auth(&token)).await.is(200);
    // A question is none of them, though it is asked by POST.
    for _ in 0..6 {
        answer(server.post("/api/v1/keys/verify", json!({"key": "x"})).bearer_auth(&token)).await.is(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_cannot_flood_the_log_with_device_codes() {
    let server = Server::with_settings(|settings| {
        settings.rules.limits.device_codes_per_address = 5;
    })
    .await;
    let ask = || server.form("/oauth/device/code", &[("client_name", "flood")]);
    let answers = futures::future::join_all((0..30).map(|_| ask())).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 5);
    let refused = answers.into_iter().find(|answer| answer.status != 200).unwrap();
    let refused = refused.fails(429, "temporarily_unavailable");
    assert!(!refused.header("retry-after").is_empty());
    assert_eq!(server.tenure.log().newest().await.unwrap(), 6, "genesis and five codes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_used_up_or_denied_device_code_makes_room() {
    let server = Server::with_settings(|settings| {
        settings.rules.limits.device_codes_per_address = 1;
    })
    .await;
    let ada = server.user("ada").await;
    let context = crate::support::as_user(ada);
    for approve in [false, true, true] {
        let codes = server.form("/oauth/device/code", &[]).await.is(200).json();
        server.form("/oauth/device/code", &[]).await.is(429);
        let (user_code, device_code) =
            (codes["user_code"].as_str().unwrap(), codes["device_code"].as_str().unwrap());
        if approve {
            server.tenure.approve_device_code(&context, user_code, ada).await.unwrap();
            server.form("/oauth/device/token", &[("device_code", device_code)]).await.is(200);
        } else {
            server.tenure.deny_device_code(&context, user_code, ada).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn user_codes_cannot_be_guessed_and_a_success_does_not_reset_the_count() {
    let server = Server::new().await;
    let ada = server.user("ada").await;
    let session = server.session(ada).await;
    let show =
        |code: &str| server.get(&format!("/oauth/device/verify?user_code={code}")).header("cookie", &session);
    let codes = server.form("/oauth/device/code", &[("client_name", "tv")]).await.is(200).json();
    let right = codes["user_code"].as_str().unwrap();
    for _ in 0..20 {
        answer(show(right)).await.is(200);
    }
    // As phones type it: an en dash, a no-break space, full-width letters, a zero-width space.
    let wide: String =
        right.chars().filter_map(|letter| char::from_u32(u32::from(letter) + 0xfee0)).collect();
    for typed in
        [right.replace('-', "–"), right.replace('-', "\u{a0}"), wide, format!("\u{200b}{right}\u{200b}")]
    {
        answer(show(&typed)).await.is(200);
    }
    // What cannot be a code is no guess.
    for _ in 0..20 {
        answer(show("12345678")).await.is(404);
    }
    for _ in 0..9 {
        answer(show("BBBB-BBBB")).await.is(404);
    }
    let page = answer(show(right)).await.is(200);
    let fields = [("user_code", right), ("action", "approve"), ("csrf_token", &page.field("csrf_token"))];
    let decide = server
        .request(reqwest::Method::POST, "/oauth/device/verify")
        .header("cookie", &session)
        .form(&fields);
    answer(decide).await.is(200);
    answer(show("BBBB-BBBB")).await.is(404);
    let refused = answer(show("CCCC-CCCC")).await.is(429);
    assert_eq!(refused.header("retry-after"), "600");
    // Another session from the same address fares no better.
    let other = server.session(ada).await;
    answer(server.get("/oauth/device/verify?user_code=BBBB-BBBB").header("cookie", other)).await.is(429);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_keys_are_counted_by_address_and_prefix_never_by_prefix_alone() {
    let tenure = std::sync::Arc::new(TestDatabase::new().await.open().await);
    let server = Server::with(tenure, |settings| {
        settings.rates.key_failures = 3;
        settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    let ada = server.user("ada").await;
    let acme = server.account("acme", ada).await;
    let key = server.key(acme, ada).await.1;
    let guess = format!("{}{}", &key[..12], "0".repeat(18));
    let call = |key: &str, from: &str| {
        server.get("/api/v1/sources").bearer_auth(key).header("x-forwarded-for", from)
    };
    for _ in 0..3 {
        answer(call(&guess, "203.0.113.7")).await.is(401);
    }
    answer(call(&guess, "203.0.113.7")).await.fails(429, "E_RATE_LIMITED");
    answer(call(&key, "198.51.100.9")).await.is(200);
    answer(call(&guess, "198.51.100.9")).await.is(401);
}

#[tokio::test(flavor = "multi_thread")]
async fn tenants_hold_only_so_much_however_many_ask_at_once() {
    let server = Server::with_settings(|settings| {
        let limits = &mut settings.rules.limits;
        limits.sources_per_account = 3;
        limits.pipes_per_account = 3;
        limits.keys_per_account = 2;
        limits.pending_invites_per_account = 2;
        limits.accounts_per_owner = 2;
    })
    .await;
    let ada = server.user("ada").await;
    server.account("acme", ada).await;
    let token = server.token(ada).await;
    for (path, field, most) in [
        ("/api/v1/accounts/acme/sources", "handle", 3),
        ("/api/v1/accounts/acme/invites", "username", 2),
        ("/api/v1/accounts/acme/keys", "label", 2),
        ("/api/v1/accounts", "name", 1),
        ("/api/v1/accounts/acme/sources/x0/pipes", "name", 3),
    ] {
        let ask = |number: usize| {
            answer(server.post(path, json!({field: format!("x{number}")})).bearer_auth(&token))
        };
        let answers = if path.ends_with("/sources") {
            // The pipes need the first.
            let first = ask(0).await;
            let mut rest = futures::future::join_all((1..12).map(ask)).await;
            rest.push(first);
            rest
        } else {
            futures::future::join_all((0..12).map(ask)).await
        };
        let made = answers.iter().filter(|answer| answer.status == 201).count();
        assert_eq!(
            made,
            most,
            "{path}: {:?}",
            answers.iter().map(|answer| answer.status).collect::<Vec<_>>()
        );
        for answer in answers.into_iter().filter(|answer| answer.status != 201) {
            answer.fails(403, "limit_reached");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_header_changes_who_the_caller_is() {
    let tenure = std::sync::Arc::new(TestDatabase::new().await.open().await);
    let server = Server::with(tenure, |settings| {
        settings.rates.anonymous = Rate { burst: 10, per_second: 1 };
        settings.rates.commands = Rate { burst: 5, per_second: 1 };
    })
    .await;
    let ada = server.user("ada").await;
    let mut statuses = Vec::new();
    for number in 0..8 {
        // One person, by another token and another spelling each time.
        let token = server.token(ada).await;
        let spelling = if number % 2 == 0 { "bEaReR" } else { "Bearer " };
        let open = server.post("/api/v1/accounts", json!({"name": format!("a-{number}")}));
        statuses
            .push(answer(open.header("authorization", format!("{spelling} {token}"))).await.status.as_u16());
    }
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 5, "{statuses:?}");
    let mut refused = 0;
    for number in 0..20 {
        let guess =
            server.request(reqwest::Method::POST, "/oauth/device/token").form(&[("device_code", "x")]);
        let guess = guess.header("cookie", format!("x={number}"));
        refused += usize::from(answer(guess).await.text.contains("slow_down"));
    }
    assert!(refused >= 8, "{refused}");
    let bad = server.get("/api/v1/users/me").bearer_auth("ppz_oauth_nobodys");
    answer(bad).await.fails(429, "too_many_requests");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_guessing_caller_is_locked_out() {
    let server = Server::with_settings(|settings| {
        settings.rules.limits.user_code_failures_in_all = 15;
    })
    .await;
    let (mallory, bob) = (server.user("mallory").await, server.user("bob").await);
    let session = server.session(mallory).await;
    for _ in 0..40 {
        let guess = server.get("/oauth/device/verify?user_code=BBBB-BBBB").header("cookie", &session);
        answer(guess).await;
    }
    let count = "select count from coarse.attempt where bucket = 'user_code:all'";
    let row = server.tenure.log().primary().row(count, &[]).await.unwrap().unwrap();
    assert_eq!(row.get::<_, i64>(0), 10, "refused tries count for nobody");
    // Bob is elsewhere; his key, too, is his own whatever others say of its prefix.
    let acme = server.account("acme", bob).await;
    let key = server.key(acme, bob).await.1;
    let token = server.token(mallory).await;
    for number in 0..15 {
        let guess = json!({"key": format!("{}{number:018}", &key[..12]), "address": "127.0.0.1"});
        answer(server.post("/api/v1/keys/verify", guess).bearer_auth(&token)).await;
    }
    answer(server.get("/api/v1/sources").bearer_auth(&key)).await.is(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_more_rows_than_a_step_removes_is_forgotten_at_once() {
    let server = Server::with_settings(|settings| settings.rules.limits.tokens_per_user = 20_000).await;
    let ada = server.user("ada").await;
    let token = server.token(ada).await;
    let (context, ttl) = (crate::support::operator(), std::time::Duration::from_secs(3_600));
    let issue = |_| server.tenure.issue_bearer_token(&context, ada, ttl);
    for _ in 0..40 {
        for issued in futures::future::join_all((0..256).map(issue)).await {
            issued.unwrap();
        }
    }
    let before = server.tenure.log().newest().await.unwrap();
    let me = server.request(reqwest::Method::DELETE, "/api/v1/users/me").bearer_auth(&token);
    answer(me).await.is(200);
    assert_eq!(server.tenure.log().newest().await.unwrap(), before + 1);
    answer(server.get("/api/v1/users/me").bearer_auth(&token)).await.is(401);
    server.tenure.clear_away().await.unwrap();
    let sql = "select count(*) from view.bearer_tokens where revoked_at is null or digest is not null";
    let row = server.tenure.log().primary().row(sql, &[]).await.unwrap().unwrap();
    assert_eq!(row.get::<_, i64>(0), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_oldest_session_makes_room_and_a_member_leaves_by_their_own_name() {
    let server = Server::with_settings(|settings| settings.rules.limits.sessions_per_user = 2).await;
    let (ada, bob) = (server.user("ada").await, server.user("bob").await);
    let acme = server.account("acme", ada).await;
    server.tenure.add_member(&crate::support::operator(), acme, bob).await.unwrap();
    let mut sessions = Vec::new();
    for _ in 0..3 {
        sessions.push(server.session(bob).await);
    }
    for (session, status) in sessions.iter().zip([303, 200, 200]) {
        answer(server.get("/").header("cookie", session)).await.is(status);
    }
    let leave = server.request(reqwest::Method::DELETE, "/api/v1/accounts/acme/members/BOB");
    answer(leave.bearer_auth(server.token(bob).await)).await.is(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_keep_no_other_user_from_approving() {
    let mut settings = TestDatabase::new().await.settings();
    settings.rules.limits.user_code_failures_in_all = 15;
    let tenure = std::sync::Arc::new(crate::support::open_with(settings).await);
    let server = Server::with(tenure, |settings| {
        settings.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    let guess = |session: String, from: String, code: String| {
        let path = format!("/oauth/device/verify?user_code={code}");
        answer(server.get(&path).header("cookie", session).header("x-forwarded-for", from))
    };
    // One person with a session for each /64 of one /48 has as many wrong codes as anybody else.
    let mallory = server.user("mallory").await;
    let mut wrong = 0;
    for number in 0..20 {
        let from = format!("2001:db8:1:{number:x}::1");
        let tried = guess(server.session(mallory).await, from, "BBBB-BBBB".to_owned()).await;
        wrong += usize::from(tried.status == 404);
    }
    assert_eq!(wrong, 10);
    // Many people use up what all may try.
    for number in 0..8 {
        let user = server.user(&format!("m{number}")).await;
        guess(server.session(user).await, format!("192.0.2.{number}"), "BBBB-BBBB".to_owned()).await;
    }
    let bob = server.user("bob").await;
    let session = server.session(bob).await;
    let codes = server.form("/oauth/device/code", &[("client_name", "tv")]).await.is(200).json();
    let right = codes["user_code"].as_str().unwrap().to_owned();
    let from = || "198.51.100.7".to_owned();
    for _ in 0..3 {
        guess(session.clone(), from(), right.clone()).await.is(200);
    }
    guess(session.clone(), from(), "BBBB-BBBB".to_owned()).await.is(404);
    guess(session.clone(), from(), right).await.is(429);
}

#[tokio::test(flavor = "multi_thread")]
async fn made_up_credentials_are_refused_before_the_database_is_asked() {
    let database = TestDatabase::new().await;
    let tenure = std::sync::Arc::new(database.open().await);
    let server = Server::with(tenure, |settings| {
        settings.rates.anonymous = Rate { burst: 20, per_second: 1 };
    })
    .await;
    let ada = server.user("ada").await;
    let (token, session) = (server.token(ada).await, server.session(ada).await);
    let me = || server.get("/api/v1/users/me");
    answer(me().bearer_auth(&token)).await.is(200);
    answer(me().header("cookie", &session)).await.is(200);
    for number in 0..30 {
        answer(me().bearer_auth(format!("ppz_oauth_{number}"))).await;
    }
    // What was good here goes on.
    answer(me().bearer_auth(&token)).await.is(200);
    answer(me().header("cookie", &session)).await.is(200);
    let holder = database.connect(None).await;
    holder.batch_execute("begin; lock table view.bearer_tokens, view.sessions, view.api_keys").await.unwrap();
    let made_up = [
        me().bearer_auth("ppz_oauth_x"),
        me().header("cookie", "tenure_session=x"),
        server.get("/api/v1/sources").bearer_auth("ppz_0123456789abcdef0123456789"),
    ];
    for request in made_up {
        let refused = tokio::time::timeout(std::time::Duration::from_secs(3), answer(request)).await;
        refused.expect("the database was asked").is(429);
    }
}
