//! A name means one thing: whatever is written where a person or an account is named, nobody's but its own thing is
//! meant.

use reqwest::Method;
use serde_json::{Value, json};
use tenure::aggregates::user::{Email, User, UserEvent, UserMode, Username};
use tenure::aggregates::{EventSourced as _, account};
use tenure::ids::{AccountId, UserId};
use uuid::Uuid;

use super::{Server, answer};
use crate::refused;
use crate::replay::assert_tables_are_a_fold_of_the_log;
use crate::support::{TestDatabase, history, operator, store};

/// An identifier in all the ways in which routes read it.
fn spellings(id: Uuid) -> Vec<String> {
    let plain = id.to_string();
    vec![
        plain.clone(),
        plain.to_uppercase(),
        id.simple().to_string(),
        id.simple().to_string().to_uppercase(),
        format!("%7B{plain}%7D"),
        format!("urn:uuid:{plain}"),
    ]
}

/// What is nobody's name and nobody's identifier.
const NOTHING: [&str; 10] =
    ["ME", "Me", "%4DE", ".", "..", "%2E", "%2e%2E", "me%20", "%20", "0190f5a27c3b7d4e8f60123456789abc"];

/// The paths of the description with their methods.
fn routes() -> Vec<(String, Method)> {
    let description: Value = serde_json::from_str(include_str!("../../docs/openapi.json")).unwrap();
    let paths = description["paths"].as_object().unwrap();
    paths
        .iter()
        .flat_map(|(path, methods)| {
            let methods: Vec<_> = methods.as_object().unwrap().keys().cloned().collect();
            methods.into_iter().map(move |method| (path.clone(), method.to_uppercase().parse().unwrap()))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_user_or_account_can_be_named_like_an_identifier() {
    let server = Server::new().await;
    let (victim, attacker) = (server.user("victim").await, server.user("attacker").await);
    let acme = server.account("acme", victim).await;
    let id = victim.as_uuid();
    for name in
        [id.to_string(), id.to_string().to_uppercase(), id.simple().to_string(), "me".into(), "ME".into()]
    {
        refused!(
            server.tenure.insert_user(&operator(), &name, "x@example.org", "internal").await,
            tenure::operations::Refusal::Invalid(_)
        );
    }
    let token = server.token(attacker).await;
    let id = acme.as_uuid();
    for name in
        [&id.to_string(), &id.to_string().to_uppercase(), &id.simple().to_string(), "me", "Me", ".", ".."]
    {
        let opened = server.post("/api/v1/accounts", json!({"name": name})).bearer_auth(&token);
        answer(opened).await.is(400);
    }
    for (number, login) in ["me", "ME", &id.simple().to_string(), ".", ".."].iter().enumerate() {
        let number = i64::try_from(number).unwrap() + 1;
        let signed_in =
            server.tenure.sign_in_with_github(&operator(), number, login, None, None).await.unwrap();
        let user = server.tenure.reader().user(signed_in.answer.user).await.unwrap();
        let account = server.tenure.reader().account(signed_in.answer.first_account.unwrap()).await.unwrap();
        assert!(
            user.username.to_lowercase().starts_with(&format!("{}~", login.to_lowercase())),
            "{}",
            user.username
        );
        assert!(
            account.name.to_lowercase().starts_with(&format!("{}-", login.to_lowercase())),
            "{}",
            account.name
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_every_route_a_stranger_reaches_nothing_of_others_however_it_is_spelled() {
    let server = Server::new().await;
    let (victim, attacker) = (server.user("victim").await, server.user("attacker").await);
    let acme = server.account("acme", victim).await;
    server.account("own", attacker).await;
    let token = server.token(attacker).await;
    let before = history(&server.tenure).await.len();
    let mut asked = 0;
    let mut segments = spellings(victim.as_uuid());
    segments.extend(spellings(acme.as_uuid()));
    segments.extend(NOTHING.map(str::to_owned));
    for (path, method) in routes() {
        let Some(place) = ["{user}", "{account}", "{slug}"].into_iter().find(|place| path.contains(place))
        else {
            continue;
        };
        for segment in &segments {
            let path = path.replacen(place, segment, 1).replace("{user}", segment);
            let path = path.replace("{handle}", "robot").replace("{name}", "events");
            let path = path.replace("{id}", &victim.to_string());
            let mut request = server.request(method.clone(), &path).bearer_auth(&token);
            if matches!(method, Method::POST | Method::PUT) {
                request = request.json(&json!({}));
            }
            let answer = answer(request).await;
            let status = answer.status.as_u16();
            // `/users/..` is `/`, which shows nobody's things; other dots leave paths that are not there.
            let dots = segment.contains('.') || segment.to_lowercase().contains("%2e");
            assert!(
                (dots && status < 500) || matches!(status, 400 | 403 | 404 | 405 | 422),
                "{method} {path}: {answer:?}"
            );
            assert!(!answer.text.contains("victim@"), "{method} {path}: {answer:?}");
            asked += 1;
        }
    }
    assert!(asked > 400, "{asked}");
    assert_eq!(history(&server.tenure).await.len(), before, "nothing happened to anybody");
    let user = server.tenure.reader().user(victim).await.unwrap();
    assert!(user.forgotten_at.is_none() && user.username == "victim");
}

#[tokio::test(flavor = "multi_thread")]
async fn me_is_the_caller_and_an_identifier_names_one_user_in_every_spelling() {
    let server = Server::new().await;
    let ada = server.user("ada").await;
    let token = server.token(ada).await;
    let get = async |segment: &str| {
        answer(server.get(&format!("/api/v1/users/{segment}")).bearer_auth(&token)).await
    };
    for segment in
        spellings(ada.as_uuid()).into_iter().chain(["me", "%6De", "ada", "ADA", "%61da"].map(str::to_owned))
    {
        assert_eq!(get(&segment).await.is(200).json()["id"], ada.to_string(), "{segment}");
    }
}

/// Puts an event into the log as a release stored it that still allowed the name.
#[tokio::test(flavor = "multi_thread")]
async fn ambiguous_names_of_an_earlier_release_are_changed_at_the_first_start() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let ada = crate::support::user(&tenure, "ada").await;
    let at = tenure.clock().now();
    let mut people = Vec::new();
    for name in ["me", "..", &ada.to_string(), &ada.as_uuid().simple().to_string().to_uppercase()] {
        let id = UserId::new(at, &*tenure.entropy());
        let username: Username = serde_json::from_value(name.into()).unwrap();
        let event = UserEvent::Registered {
            mode: UserMode::Internal,
            at,
            username: username.into(),
            email: Some(Email::parse("x@example.org").unwrap()).into(),
            github_id: None.into(),
            github_login: None.into(),
            avatar_url: None.into(),
        };
        store(&tenure, User::stream(id.as_uuid()), 1, event.into()).await;
        people.push((id, name.to_owned()));
    }
    let account = AccountId::new(at, &*tenure.entropy());
    let name: account::AccountName = serde_json::from_value("Me".into()).unwrap();
    let opened = account::AccountEvent::Opened { owner: ada, at, name: name.into() };
    store(&tenure, account::Account::stream(account.as_uuid()), 1, opened.into()).await;
    database.connect(None).await.batch_execute("update log.head set names_checked = false").await.unwrap();
    tenure.close().await;

    let tenure = database.open().await;
    for (id, name) in people {
        assert_eq!(tenure.reader().user(id).await.unwrap().username, format!("{name}~2"));
    }
    assert_eq!(tenure.reader().account(account).await.unwrap().name, "Me-2");
    assert_eq!(tenure.reader().user(ada).await.unwrap().username, "ada");
    let events = history(&tenure).await;
    let renamed = events.iter().filter(|event| event.event_type.ends_with(".renamed"));
    assert!(renamed.clone().all(|event| event.metadata.starts_with(b"{\"actor\":\"system\"")));
    assert_eq!(renamed.count(), 5);
    assert_tables_are_a_fold_of_the_log(&tenure).await;
    tenure.close().await;
    let again = database.open().await;
    assert_eq!(history(&again).await.len(), events.len(), "once");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_description_allows_exactly_the_names_that_are_taken() {
    let description = tenure::http::description();
    let client = TestDatabase::new().await.connect(None).await;
    let id = Uuid::from_u128(0x0190_f5a2_7c3b_7d4e_8f60_1234_5678_9abc);
    let long = "x".repeat(40);
    let (plain, simple, upper) = (id.to_string(), id.simple().to_string(), id.to_string().to_uppercase());
    let almost = format!("{simple}0");
    for name in [
        "ada",
        "A.b_c-9",
        "...",
        ".a",
        "..a",
        "me.",
        "mee",
        "m",
        ".",
        "..",
        "me",
        "ME",
        "Me",
        "mE",
        &plain,
        &simple,
        &upper,
        &almost,
        &plain[1..],
        &long,
        &long[1..],
        "",
        "a b",
        "a~2",
        "\u{e4}",
    ] {
        for (schema, field, is_good) in [
            ("InsertUser", "username", Username::chosen(name).is_ok()),
            ("CreateInvite", "username", Username::chosen(name).is_ok()),
            ("PpzNewInvite", "username", Username::chosen(name).is_ok()),
            ("OpenAccount", "name", account::AccountName::parse(name).is_ok()),
        ] {
            let pattern = &description["components"]["schemas"][schema]["properties"][field]["pattern"];
            let sql = "select $1::text ~ $2::text";
            let allowed: bool =
                client.query_one(sql, &[&name, &pattern.as_str().unwrap()]).await.unwrap().get(0);
            assert_eq!(allowed, is_good, "{schema}.{field}: {name:?} and {pattern}");
        }
    }
}
