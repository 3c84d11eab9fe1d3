//! Races on real PostgreSQL: two processes, 32 callers each; one wins, the others learn why, the log stays whole.

use std::io::{BufRead as _, BufReader, Write as _};
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt as _;
use futures::future::join_all;
use secrecy::ExposeSecret as _;
use tenure::aggregates::source::Retention;
use tenure::context::{Actor, Context};
use tenure::dispatch::{DispatchError, Dispatched};
use tenure::event_log::read::Filter;
use tenure::operations::Refusal;
use tenure::{Rules, Settings, Tenure};

use crate::replay::assert_tables_are_a_fold_of_the_log;
use crate::support::{TestDatabase, account, as_user, history, open_with, operator, process, user};

const CALLERS: usize = 32;

/// What became of one call: `won`, `nothing`, or the code of the refusal.
fn told<T>(outcome: Result<Dispatched<T>, DispatchError<Refusal>>) -> String {
    match outcome {
        Ok(done) if done.events.is_empty() => "nothing".to_owned(),
        Ok(_) => "won".to_owned(),
        Err(DispatchError::Refused(refusal)) => refusal.code().to_owned(),
        Err(error) => format!("failed: {error}"),
    }
}

async fn attempt(tenure: &Tenure, scenario: &str, caller: usize) -> String {
    let (operator, system) = (operator(), Context::of(Actor::System));
    let even = caller.is_multiple_of(2);
    let (scenario, given) = scenario.split_once('=').unwrap_or((scenario, ""));
    let acme = || async { tenure.reader().account_by_name("acme").await.unwrap().id };
    let bob = || async { tenure.reader().user_by_username("bob").await.map(|bob| bob.id) };
    match scenario {
        "device_code" => told(tenure.consume_device_code(&system, &given.to_owned().into()).await),
        "invite" => {
            let (invite, bob) = (given.parse().unwrap(), bob().await.unwrap());
            if even {
                told(tenure.accept_invite(&as_user(bob), invite, bob).await)
            } else {
                told(tenure.revoke_invite(&operator, None, invite).await)
            }
        }
        "reinvite" => {
            let ada = tenure.reader().user_by_username("ada").await.unwrap().id;
            told(tenure.create_invite(&operator, acme().await, given, Some(ada)).await)
        }
        "sign_up" => {
            let ada = tenure.reader().user_by_username("ada").await.unwrap().id;
            if caller < 2 {
                told(tenure.sign_in_with_github(&system, 42, "octocat", None, None).await)
            } else {
                told(tenure.create_invite(&operator, acme().await, "octocat", Some(ada)).await)
            }
        }
        "mint" => {
            let (acme, bob) = (acme().await, bob().await.unwrap());
            if caller == 7 {
                told(tenure.remove_member(&operator, acme, bob).await)
            } else {
                told(tenure.mint_api_key(&operator, acme, "l", None, Some(bob)).await)
            }
        }
        "token" => {
            let bob = given.parse().unwrap();
            if caller == 7 {
                told(tenure.forget_user(&operator, bob).await)
            } else {
                told(tenure.issue_bearer_token(&system, bob, Duration::from_hours(1)).await)
            }
        }
        "handle" => {
            let ada = tenure.reader().user_by_username("ada").await.unwrap().id;
            told(tenure.create_source(&operator, acme().await, Some(ada), "robot", None).await)
        }
        "pipe" => {
            let ada = tenure.reader().user_by_username("ada").await.unwrap().id;
            let (acme, kept) = (acme().await, Retention::default());
            told(tenure.create_pipe(&operator, acme, Some(ada), "robot", "events", kept).await)
        }
        "username" => {
            let name = if caller.is_multiple_of(2) { "Wanted" } else { "wanted" };
            told(tenure.insert_user(&operator, name, "w@example.org", "internal").await)
        }
        "account_name" => told(tenure.open_account(&operator, "wanted", None).await),
        "github" => {
            told(tenure.sign_in_with_github(&Context::of(Actor::System), 42, "octocat", None, None).await)
        }
        "membership" => {
            let acme = tenure.reader().account_by_name("acme").await.unwrap().id;
            let bob = tenure.reader().user_by_username("bob").await.unwrap().id;
            if caller.is_multiple_of(2) {
                told(tenure.remove_member(&operator, acme, bob).await)
            } else {
                told(tenure.transfer_ownership(&operator, acme, bob).await)
            }
        }
        other => panic!("no scenario {other}"),
    }
}

async fn attempts(tenure: &Tenure, scenario: &str) -> Vec<String> {
    join_all((0..CALLERS).map(|caller| attempt(tenure, scenario, caller))).await
}

/// The part of the second process; as a test of its own it has nothing to do.
#[tokio::test(flavor = "multi_thread")]
async fn second_process() {
    let Some(argument) = process::part("racer") else { return };
    let (scenario, address) = argument.split_once('|').unwrap();
    let settings = tenure::Settings::new(address.parse().unwrap(), crate::support::master_key());
    let tenure = crate::support::open_with(settings).await;
    println!("\nready");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    let outcomes = attempts(&tenure, scenario).await;
    println!("\noutcomes {}", serde_json::to_string(&outcomes).unwrap());
    tenure.close().await;
}

/// Lets both processes loose on a scenario while a follower and a poller watch; gives everybody's outcome and the
/// names of the events.
async fn race(
    scenario: &str,
    prepare: impl AsyncFnOnce(&Tenure, &TestDatabase) -> String,
) -> (Vec<String>, Vec<String>, TestDatabase) {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let scenario = format!("{scenario}={}", prepare(&tenure, &database).await);
    let scenario = scenario.as_str();
    let from = tenure.log().newest().await.unwrap();

    let argument = format!("{scenario}|{}", database.url());
    let mut child = process::play("races::second_process", "racer", &argument);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    lines.find(|line| line == "ready").expect("the second process is ready");

    let watching = tenure.log().clone();
    let watcher = tokio::spawn(async move {
        let mut follower = watching.follow(0);
        let mut polled: Vec<i64> = Vec::new();
        let mut followed: Vec<i64> = Vec::new();
        loop {
            let events = follower.next().await.unwrap();
            followed.extend(events.iter().map(|event| event.position));
            let after = polled.last().copied().unwrap_or(0);
            let page = watching.read_page(after, &Filter::default(), 1_000).await.unwrap();
            polled.extend(page.events.iter().map(|event| event.position));
            if events.iter().any(|event| event.event_type == "user.operator_granted") {
                return (followed, polled);
            }
        }
    });
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let mut outcomes = attempts(&tenure, scenario).await;
    let line = lines.find(|line| line.starts_with("outcomes ")).expect("the second process answers");
    outcomes.extend(serde_json::from_str::<Vec<String>>(&line["outcomes ".len()..]).unwrap());
    assert!(child.wait().unwrap().success());

    let end = user(&tenure, "the-end").await;
    tenure.set_operator(&operator(), end, true).await.unwrap();
    let events = history(&tenure).await;
    let (followed, polled) = watcher.await.unwrap();
    let all: Vec<i64> = (1..=events.len() as i64).collect();
    assert_eq!(followed, all, "the follower");
    assert_eq!(polled, all, "the poller");
    let names =
        events[from as usize..events.len() - 2].iter().map(|event| event.event_type.clone()).collect();
    (outcomes, names, database)
}

fn count(outcomes: &[String], what: &str) -> usize {
    outcomes.iter().filter(|outcome| *outcome == what).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_caller_gets_a_username() {
    let (outcomes, events, _) = race("username", async |_, _| String::new()).await;
    assert_eq!((count(&outcomes, "won"), count(&outcomes, "user.username_taken")), (1, 63), "{outcomes:?}");
    assert_eq!(events, ["user.registered"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_caller_gets_an_account_name() {
    let (outcomes, events, _) = race("account_name", async |_, _| String::new()).await;
    assert_eq!((count(&outcomes, "won"), count(&outcomes, "account.name_taken")), (1, 63), "{outcomes:?}");
    assert_eq!(events, ["account.opened"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_first_sign_ins_make_one_person_and_all_succeed() {
    let (outcomes, events, _) = race("github", async |_, _| String::new()).await;
    assert_eq!((count(&outcomes, "won"), count(&outcomes, "nothing")), (1, 63), "{outcomes:?}");
    assert_eq!(events, ["user.registered", "account.opened"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_membership_is_removed_or_made_an_ownership_and_never_both() {
    for _ in 0..3 {
        let (outcomes, events, _) = race("membership", async |tenure, _| {
            let (ada, bob) = (user(tenure, "ada").await, user(tenure, "bob").await);
            let acme = account(tenure, "acme", ada).await;
            tenure.add_member(&operator(), acme, bob).await.unwrap();
            String::new()
        })
        .await;
        assert_eq!(count(&outcomes, "won"), 1, "{outcomes:?}");
        if events == ["account.member_removed"] {
            assert_eq!(count(&outcomes, "member.not_found"), 63, "{outcomes:?}");
        } else {
            assert_eq!(events, ["account.ownership_transferred"]);
            let refused = count(&outcomes, "account.cannot_remove_owner");
            assert_eq!((refused, count(&outcomes, "nothing")), (32, 31), "{outcomes:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_nodes_start_at_once_on_an_empty_database() {
    let database = TestDatabase::empty().await;
    let nodes = join_all((0..6).map(|_| database.open())).await;
    let first = nodes[0].log().log_id();
    assert!(nodes.iter().all(|node| node.log().log_id() == first));
    assert_eq!(history(&nodes[0]).await.len(), 1);
    let context = operator();
    let names =
        join_all(nodes.iter().map(|node| node.insert_user(&context, "ada", "a@example.org", "internal")));
    assert_eq!(names.await.iter().filter(|outcome| outcome.is_ok()).count(), 1);
}

/// An owner, an account, a member.
async fn acme(tenure: &Tenure) -> (tenure::ids::UserId, tenure::ids::AccountId, tenure::ids::UserId) {
    let (ada, bob) = (user(tenure, "ada").await, user(tenure, "bob").await);
    let acme = account(tenure, "acme", ada).await;
    tenure.add_member(&operator(), acme, bob).await.unwrap();
    (ada, acme, bob)
}

async fn folded(database: &TestDatabase) -> Tenure {
    let fresh = database.open().await;
    fresh.clear_away().await.unwrap();
    assert_tables_are_a_fold_of_the_log(&fresh).await;
    fresh
}

#[tokio::test(flavor = "multi_thread")]
async fn one_poll_takes_a_device_code() {
    let (outcomes, events, _) = race("device_code", async |tenure, _| {
        let (ada, _, _) = acme(tenure).await;
        let system = Context::of(Actor::System);
        let code = tenure.create_device_code(&system, Duration::from_hours(1), "").await.unwrap().answer;
        tenure.approve_device_code(&as_user(ada), &code.user_code, ada).await.unwrap();
        code.device_code.expose_secret().to_owned()
    })
    .await;
    assert_eq!((count(&outcomes, "won"), count(&outcomes, "device_code.not_found")), (1, 63), "{outcomes:?}");
    assert_eq!(events, ["device_code.consumed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invite_is_accepted_or_revoked_and_never_both() {
    for _ in 0..3 {
        let (outcomes, events, database) = race("invite", async |tenure, _| {
            let (ada, bob) = (user(tenure, "ada").await, user(tenure, "bob").await);
            let acme = account(tenure, "acme", ada).await;
            let _ = bob;
            tenure.create_invite(&as_user(ada), acme, "bob", None).await.unwrap().answer.to_string()
        })
        .await;
        assert_eq!(
            (count(&outcomes, "won"), count(&outcomes, "invite.not_pending")),
            (1, 63),
            "{outcomes:?}"
        );
        let accepted = ["invite.accepted", "account.member_added"];
        assert!(events == accepted || events == ["invite.revoked"], "{events:?}");
        folded(&database).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_invite_takes_the_place_of_an_expired_one() {
    for name in ["bob", "nobody-yet"] {
        let (outcomes, events, database) = race("reinvite", async |tenure, database| {
            let (ada, _) = (user(tenure, "ada").await, user(tenure, "bob").await);
            let acme = account(tenure, "acme", ada).await;
            let rules = Rules { invite_ttl: Duration::from_micros(1), ..Rules::default() };
            let brief = open_with(Settings { rules, ..database.settings() }).await;
            brief.create_invite(&as_user(ada), acme, name, None).await.unwrap();
            name.to_owned()
        })
        .await;
        let duplicates = count(&outcomes, "invite.duplicate_pending");
        assert_eq!((count(&outcomes, "won"), duplicates), (1, 63), "{outcomes:?}");
        assert_eq!(events, ["invite.created"]);
        folded(&database).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invite_finds_the_user_who_signs_up_at_that_moment() {
    for _ in 0..3 {
        let (outcomes, _, database) = race("sign_up", async |tenure, _| {
            let ada = user(tenure, "ada").await;
            account(tenure, "acme", ada).await;
            String::new()
        })
        .await;
        assert_eq!(count(&outcomes, "won"), 2, "{outcomes:?}");
        assert_eq!(count(&outcomes, "invite.duplicate_pending"), 59, "{outcomes:?}");
        let tenure = folded(&database).await;
        let octocat = tenure.reader().user_by_username("octocat").await.unwrap().id;
        let acme = tenure.reader().account_by_name("acme").await.unwrap().id;
        let invites = tenure.reader().invites_for_account(acme).try_collect::<Vec<_>>().await.unwrap();
        assert_eq!(invites.len(), 1);
        assert_eq!(invites[0].invitee_user_id, Some(octocat), "bound, whichever came first");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_key_outlives_the_membership_of_its_minter() {
    let (outcomes, _, database) = race("mint", async |tenure, _| {
        acme(tenure).await;
        String::new()
    })
    .await;
    let (won, gone) = (count(&outcomes, "won"), count(&outcomes, "member.not_found"));
    assert!(won >= 1 && won + gone == 64, "{outcomes:?}");
    folded(&database).await;
    let client = database.connect(None).await;
    let active = "select count(*) from view.api_keys where revoked_at is null";
    assert_eq!(client.query_one(active, &[]).await.unwrap().get::<_, i64>(0), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_token_outlives_its_person() {
    let (outcomes, _, database) = race("token", async |tenure, _| acme(tenure).await.2.to_string()).await;
    let (won, gone) = (count(&outcomes, "won"), count(&outcomes, "user.not_found"));
    assert!(won >= 1 && won + gone + count(&outcomes, "nothing") == 64, "{outcomes:?}");
    folded(&database).await;
    let client = database.connect(None).await;
    let active = "select count(*) from view.bearer_tokens where revoked_at is null or digest is not null";
    assert_eq!(client.query_one(active, &[]).await.unwrap().get::<_, i64>(0), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_source_gets_a_handle_and_one_pipe_a_name() {
    let (outcomes, events, _) = race("handle", async |tenure, _| {
        acme(tenure).await;
        String::new()
    })
    .await;
    assert_eq!((count(&outcomes, "won"), count(&outcomes, "source.handle_taken")), (1, 63), "{outcomes:?}");
    assert_eq!(events, ["source.created"]);
    let (outcomes, events, _) = race("pipe", async |tenure, _| {
        let (ada, acme, _) = acme(tenure).await;
        tenure.create_source(&as_user(ada), acme, None, "robot", None).await.unwrap();
        String::new()
    })
    .await;
    assert_eq!((count(&outcomes, "won"), count(&outcomes, "pipe.name_taken")), (1, 63), "{outcomes:?}");
    assert_eq!(events, ["pipe.created"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn bounds_hold_however_many_ask_at_once_on_two_nodes() {
    let database = TestDatabase::new().await;
    let open = async |bound: u32| {
        let mut settings = database.settings();
        settings.rules.limits.sources_per_account = bound;
        settings.rules.limits.tokens_per_user = bound;
        Arc::new(open_with(settings).await)
    };
    for bound in [1, 20, 60] {
        let nodes = [open(bound).await, open(bound).await];
        let owner = user(&nodes[0], &format!("owner-{bound}")).await;
        let acme = account(&nodes[0], &format!("acme-{bound}"), owner).await;
        let asked: Vec<_> = (0..96)
            .map(|number| {
                let node = nodes[number % 2].clone();
                tokio::spawn(async move {
                    let handle = format!("h{number}");
                    let source = node.create_source(&as_user(owner), acme, None, &handle, None).await;
                    let token =
                        node.issue_bearer_token(&as_user(owner), owner, Duration::from_hours(1)).await;
                    (told(source), told(token))
                })
            })
            .collect();
        let mut outcomes = (Vec::new(), Vec::new());
        for task in asked {
            let (source, token) = task.await.unwrap();
            outcomes.0.push(source);
            outcomes.1.push(token);
        }
        for outcomes in [outcomes.0, outcomes.1] {
            let won = count(&outcomes, "won");
            assert_eq!(won, bound as usize, "{outcomes:?}");
            assert_eq!(won + count(&outcomes, "limit_reached"), 96, "{outcomes:?}");
        }
    }
}
