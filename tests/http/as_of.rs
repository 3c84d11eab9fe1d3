//! `?as_of=`: the past of an account, for who may see it today.

use std::time::Duration;

use serde_json::{Value, json};
use tenure::ids::{AccountId, UserId};
use tenure::projections::page::PAGE;

use super::{Answer, Server, answer};
use crate::support::many_events::add_members;
use crate::support::{TestDatabase, as_user, operator};

/// Everything that can be asked of the past of an account with a source `robot`, a pipe `logs`, this key and this invite.
fn paths(account: AccountId, key: &str, invite: &str) -> Vec<String> {
    let of = |rest: &str| format!("/api/v1/accounts/{account}{rest}");
    vec![
        of(""),
        of("/members"),
        of("/invites"),
        of(&format!("/invites/{invite}")),
        of("/keys"),
        of(&format!("/keys/{key}")),
        of("/sources"),
        of("/sources/robot"),
        of("/sources/robot/pipes"),
        of("/sources/robot/pipes/logs"),
    ]
}

async fn get(server: &Server, token: &str, path: &str) -> Answer {
    answer(server.get(path).bearer_auth(token)).await
}

async fn as_of(server: &Server, token: &str, path: &str, moment: &str) -> Answer {
    answer(server.get(path).query(&[("as_of", moment)]).bearer_auth(token)).await
}

/// What is not in the log is not known of the past.
fn without_coarse(mut body: Value) -> Value {
    fn blank(value: &mut Value) {
        match value {
            Value::Array(all) => all.iter_mut().for_each(blank),
            Value::Object(all) => {
                for (name, value) in all.iter_mut() {
                    if ["last_used_at", "last_broadcast_at", "last_broadcast_payload"].contains(&&**name) {
                        *value = Value::Null;
                    }
                    blank(value);
                }
            }
            _ => {}
        }
    }
    blank(&mut body);
    body
}

struct World {
    database: TestDatabase,
    server: Server,
    owner: UserId,
    member: UserId,
    guest: UserId,
    account: AccountId,
    token: String,
    key: String,
    invite: String,
}

impl World {
    async fn new() -> Self {
        let database = TestDatabase::new().await;
        let server = Server::on(&database).await;
        let (owner, member) = (server.user("owner").await, server.user("member").await);
        let guest = server.user("guest").await;
        let account = server.account("acme", owner).await;
        let tenure = server.tenure.clone();
        tenure.add_member(&operator(), account, member).await.unwrap();
        tenure.create_source(&operator(), account, Some(owner), "robot", None).await.unwrap();
        let keeps = tenure::aggregates::source::Retention::default();
        tenure.create_pipe(&operator(), account, Some(owner), "robot", "logs", keeps).await.unwrap();
        let (key, _) = server.key(account, member).await;
        let invite = tenure.create_invite(&operator(), account, "guest", Some(owner)).await.unwrap().answer;
        let token = server.token(owner).await;
        let (key, invite) = (key.to_string(), invite.to_string());
        Self { database, server, owner, member, guest, account, token, key, invite }
    }

    /// The present position, as clients get it.
    async fn now(&self) -> String {
        let epoch = self.server.tenure.log().seen().get().epoch;
        format!("{epoch}-{}", self.server.tenure.log().newest().await.unwrap())
    }

    /// The answers to everything.
    async fn all(&self) -> Vec<Value> {
        let mut all = Vec::new();
        for path in paths(self.account, &self.key, &self.invite) {
            all.push(without_coarse(get(&self.server, &self.token, &path).await.is(200).json()));
        }
        all
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_past_of_an_account_is_what_was_answered_then() {
    let world = World::new().await;
    let tenure = world.server.tenure.clone();
    let (then, was) = (world.now().await, world.all().await);
    // Everything changes.
    let guest = world.guest;
    tenure.accept_invite(&as_user(guest), world.invite.parse().unwrap(), guest).await.unwrap();
    tenure.remove_member(&operator(), world.account, world.member).await.unwrap();
    tenure.transfer_ownership(&operator(), world.account, guest).await.unwrap();
    tenure.create_source(&operator(), world.account, Some(guest), "second", None).await.unwrap();
    let keeps = tenure::aggregates::source::Retention { ttl_seconds: Some(5), ..Default::default() };
    tenure.change_pipe_retention(&operator(), world.account, "robot", "logs", keeps).await.unwrap();
    let (between, middle) = (world.now().await, {
        let token = world.server.token(guest).await;
        let mut all = Vec::new();
        for path in paths(world.account, &world.key, &world.invite) {
            all.push(without_coarse(get(&world.server, &token, &path).await.is(200).json()));
        }
        all
    });
    assert_ne!(was, middle);
    tenure.forget_user(&operator(), world.member).await.unwrap();
    tenure.clear_away().await.unwrap();
    let token = world.server.token(guest).await;
    for ((path, was), middle) in paths(world.account, &world.key, &world.invite).iter().zip(&was).zip(&middle)
    {
        for (moment, expected) in [(&then, was), (&between, middle)] {
            let found = as_of(&world.server, &token, path, moment).await.is(200);
            assert_eq!(found.header("tenure-as-of"), moment);
            let found = found.json();
            // The former member is forgotten since: the name is blank.
            let expected = if path.ends_with("/members") {
                let mut expected = expected.clone();
                for item in expected["items"].as_array_mut().unwrap() {
                    if item["user_id"] == json!(world.member) {
                        item["username"] = "".into();
                    }
                }
                expected
            } else {
                expected.clone()
            };
            assert_eq!(found, expected, "{path} as of {moment}");
        }
    }
    // Deleted things are in the lists of then, and their names mean nothing now.
    let of = |rest: &str| format!("/api/v1/accounts/{}{rest}", world.account);
    tenure.delete_source(&operator(), world.account, "robot").await.unwrap();
    as_of(&world.server, &token, &of("/sources/robot"), &then).await.is(404);
    let sources = as_of(&world.server, &token, &of("/sources"), &then).await.is(200).json();
    assert_eq!(sources["items"][0]["handle"], "robot");
    tenure.create_source(&operator(), world.account, Some(guest), "robot", None).await.unwrap();
    as_of(&world.server, &token, &of("/sources/robot"), &then).await.is(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn todays_rights_decide_for_the_whole_past() {
    let world = World::new().await;
    let (server, tenure) = (&world.server, world.server.tenure.clone());
    let then = world.now().await;
    let member = server.token(world.member).await;
    let (_, plaintext) = server.key(world.account, world.owner).await;
    let of = |rest: &str| format!("/api/v1/accounts/{}{rest}", world.account);
    let path = of("/members");
    as_of(server, &member, &path, &then).await.is(200);
    as_of(server, &member, &of("/keys"), &then).await.is(403);
    for path in ["", "/sources", "/sources/robot", "/sources/robot/pipes", "/sources/robot/pipes/logs"] {
        as_of(server, &plaintext, &of(path), &then).await.is(403);
    }
    // A member who was removed, with a token that lives.
    tenure.remove_member(&operator(), world.account, world.member).await.unwrap();
    let refused = as_of(server, &member, &path, &then).await.is(404);
    assert!(!refused.text.contains("owner@") && !refused.text.contains("acme"));
    // The next owner of a name sees nothing of the account that had it.
    tenure.close_account(&operator(), world.account).await.unwrap();
    let next = server.user("next").await;
    let second = server.account("acme", next).await;
    let token = server.token(next).await;
    for rest in ["", "/members", "/sources", "/keys", "/invites", "/sources/robot"] {
        for named in ["acme".to_owned(), second.to_string()] {
            let refused =
                as_of(server, &token, &format!("/api/v1/accounts/{named}{rest}"), &then).await.is(404);
            for field in
                ["owner", "member", "guest", "robot", &world.account.to_string(), &world.owner.to_string()]
            {
                assert!(!refused.text.contains(field) || rest.contains(field), "{rest}: {}", refused.text);
            }
        }
        as_of(server, &world.token, &of(rest), &then).await.is(404);
    }
    let runs = tenure.insert_operator(&operator(), "runs", "r@example.org").await.unwrap().answer;
    let runs = server.token(runs).await;
    as_of(server, &runs, &of(""), &then).await.is(404);
    as_of(server, &runs, &format!("/api/v1/accounts/{second}"), &world.now().await).await.is(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_moment_is_answered() {
    let world = World::new().await;
    let path = format!("/api/v1/accounts/{}", world.account);
    let epoch = world.server.tenure.log().seen().get().epoch;
    let stranger = world.server.token(world.server.user("stranger").await).await;
    for (moment, says) in [
        ("1999-01-01T00:00:00Z", "the log begins at"),
        ("2999-01-01T00:00:00Z", "in the future"),
        ("2026-01-31T12:00:00", "%2B01:00"),
        ("2026-01-31T12:00:00 01:00", "%2B01:00"),
        ("2026-01-31T12:00:00Europe/Berlin", "name of a zone"),
        ("2016-12-31T23:59:60Z", "leap seconds"),
        ("yesterday", "must be a time"),
        ("", "must be a time"),
        ("0", "begin at 1"),
        ("99999", "ends at position"),
        (&format!("{epoch}-99999"), "ends at position"),
    ] {
        let refused = as_of(&world.server, &world.token, &path, moment).await.is(400).json();
        assert_eq!(refused["field"], "as_of", "{moment}: {refused}");
        assert!(refused["detail"].as_str().unwrap().contains(says), "{moment}: {refused}");
        // A stranger learns nothing, not even that the question is wrong.
        as_of(&world.server, &stranger, &path, moment).await.is(404);
    }
    as_of(&world.server, &world.token, &path, "7-3").await.is(409);
    // What is wrong with a page is said before the past is read.
    let members = format!("{path}/members?limit=0");
    let refused = world.server.get(&format!("{members}&as_of=7-3")).bearer_auth(&world.token);
    assert_eq!(answer(refused).await.is(400).json()["field"], "limit");
    // One request at a time looks at the past of an account.
    let client = world.database.connect(None).await;
    let lock =
        format!("begin; select pg_advisory_xact_lock(hashtextextended('tenure as-of {}', 0))", world.account);
    client.batch_execute(&lock).await.unwrap();
    let busy = as_of(&world.server, &world.token, &path, &world.now().await).await.is(422).json();
    assert_eq!(busy["code"], "as_of_busy");
    assert!(busy["detail"].as_str().unwrap().contains("tenure audit as-of"));
    client.batch_execute("commit").await.unwrap();
    as_of(&world.server, &world.token, &path, &world.now().await).await.is(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_the_past_are_paged_and_expiry_is_that_of_then() {
    let (server, clock) = Server::with_clock(|_| {}).await;
    let tenure = server.tenure.clone();
    let owner = server.user("owner").await;
    let account = server.account("acme", owner).await;
    let invite = tenure.create_invite(&operator(), account, "guest", Some(owner)).await.unwrap().answer;
    for number in 0..=PAGE {
        let handle = format!("s{number:04}");
        tenure.create_source(&operator(), account, Some(owner), &handle, None).await.unwrap();
    }
    let newest = tenure.log().newest().await.unwrap();
    let then =
        tenure.replay().resolve(tenure::replay::Moment::Position(newest)).await.unwrap().at.to_string();
    clock.advance(Duration::from_hours(24 * 15));
    let token = server.token(owner).await;
    let path = format!("/api/v1/accounts/{account}/invites/{invite}");
    assert_eq!(get(&server, &token, &path).await.is(200).json()["status"], "expired");
    assert_eq!(as_of(&server, &token, &path, &then).await.is(200).json()["status"], "pending");
    for number in 0..3 {
        tenure.delete_source(&operator(), account, &format!("s{number:04}")).await.unwrap();
    }
    let (mut cursor, mut handles) = (None::<String>, Vec::new());
    loop {
        let mut query = vec![("as_of", then.clone()), ("limit", "100".to_owned())];
        query.extend(cursor.clone().map(|cursor| ("cursor", cursor)));
        let path = format!("/api/v1/accounts/{account}/sources");
        let page = answer(server.get(&path).query(&query).bearer_auth(&token)).await.is(200).json();
        handles.extend(page["items"].as_array().unwrap().iter().map(|item| item["handle"].to_string()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    let expected: Vec<String> = (0..=PAGE).map(|number| format!("\"s{number:04}\"")).collect();
    assert_eq!(handles, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_person_with_many_accounts_keeps_nobody_else_from_the_past() {
    let database = TestDatabase::new().await;
    let server = Server::on(&database).await;
    let (greedy, other) = (server.user("greedy").await, server.user("other").await);
    let mut accounts = Vec::new();
    for number in 0..4 {
        accounts.push(server.account(&format!("a{number}"), greedy).await);
    }
    let theirs = server.account("theirs", other).await;
    let (greedy, other) = (server.token(greedy).await, server.token(other).await);
    let epoch = server.tenure.log().seen().get().epoch;
    let now = format!("{epoch}-{}", server.tenure.log().newest().await.unwrap());
    // Each of the requests waits for this.
    let client = database.connect(None).await;
    client.batch_execute("begin").await.unwrap();
    for account in &accounts {
        let lock = format!("select pg_advisory_xact_lock(hashtextextended('tenure as-of {account}', 0))");
        client.batch_execute(&lock).await.unwrap();
    }
    let paths: Vec<String> = accounts.iter().map(|account| format!("/api/v1/accounts/{account}")).collect();
    let all = futures::future::join_all(paths.iter().map(|path| as_of(&server, &greedy, path, &now)));
    let watching = database.connect(None).await;
    let others = async {
        let is_waiting = "select exists (select from pg_stat_activity
                          where datname = current_database() and application_name = 'tenure as-of' and wait_event_type = 'Lock')";
        let one_waits = async {
            while !watching.query_one(is_waiting, &[]).await.unwrap().get::<_, bool>(0) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), one_waits).await.expect("a request waits");
        as_of(&server, &other, &format!("/api/v1/accounts/{theirs}"), &now).await.is(200);
        let among = "select count(*) from pg_stat_activity
                     where datname = current_database() and application_name = 'tenure as-of' and wait_event_type = 'Lock'";
        watching.query_one(among, &[]).await.unwrap().get::<_, i64>(0)
    };
    let (refused, at_once) = tokio::join!(all, others);
    assert!(at_once <= 1, "one of each person at a time");
    for answer in refused {
        assert_eq!(answer.is(422).json()["code"], "as_of_busy");
    }
    client.batch_execute("commit").await.unwrap();
    for path in &paths {
        as_of(&server, &greedy, path, &now).await.is(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_with_very_many_events_is_for_operators_at_the_database() {
    let World { database, server, account, token, .. } = World::new().await;
    let path = format!("/api/v1/accounts/{account}/members");
    let epoch = server.tenure.log().seen().get().epoch;
    let early = format!("{epoch}-{}", server.tenure.log().newest().await.unwrap());
    add_members(&database.connect(None).await, account, 100_001).await;
    let late = format!("{epoch}-{}", server.tenure.log().newest().await.unwrap());
    let refused = as_of(&server, &token, &path, &late).await.is(422).json();
    assert_eq!(refused["code"], "as_of_too_large");
    assert!(refused["detail"].as_str().unwrap().contains("tenure audit as-of"), "{refused}");
    // What the account was before stays within reach, and nobody is kept from theirs.
    as_of(&server, &token, &path, &early).await.is(200);
}
