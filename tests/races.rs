//! Races on real PostgreSQL: two processes, 32 callers each; one wins, the others learn why, the log stays whole.

use std::io::{BufRead as _, BufReader, Write as _};

use futures::future::join_all;
use tenure::Tenure;
use tenure::context::{Actor, Context};
use tenure::dispatch::{DispatchError, Dispatched};
use tenure::event_log::read::Filter;
use tenure::operations::Refusal;

use crate::support::{TestDatabase, account, history, operator, process, user};

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
    let operator = operator();
    match scenario {
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
async fn race(scenario: &str, prepare: impl AsyncFnOnce(&Tenure)) -> (Vec<String>, Vec<String>) {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    prepare(&tenure).await;
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
            polled.extend(page.iter().map(|event| event.position));
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
    (outcomes, names)
}

fn count(outcomes: &[String], what: &str) -> usize {
    outcomes.iter().filter(|outcome| *outcome == what).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_caller_gets_a_username() {
    let (outcomes, events) = race("username", async |_| ()).await;
    assert_eq!((count(&outcomes, "won"), count(&outcomes, "user.username_taken")), (1, 63), "{outcomes:?}");
    assert_eq!(events, ["user.registered"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_caller_gets_an_account_name() {
    let (outcomes, events) = race("account_name", async |_| ()).await;
    assert_eq!((count(&outcomes, "won"), count(&outcomes, "account.name_taken")), (1, 63), "{outcomes:?}");
    assert_eq!(events, ["account.opened"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_first_sign_ins_make_one_person_and_all_succeed() {
    let (outcomes, events) = race("github", async |_| ()).await;
    assert_eq!((count(&outcomes, "won"), count(&outcomes, "nothing")), (1, 63), "{outcomes:?}");
    assert_eq!(events, ["user.registered", "account.opened"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_membership_is_removed_or_made_an_ownership_and_never_both() {
    for _ in 0..3 {
        let (outcomes, events) = race("membership", async |tenure| {
            let (ada, bob) = (user(tenure, "ada").await, user(tenure, "bob").await);
            let acme = account(tenure, "acme", ada).await;
            tenure.add_member(&operator(), acme, bob).await.unwrap();
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
    let first = nodes[0].log().identity().log_id;
    assert!(nodes.iter().all(|node| node.log().identity().log_id == first));
    assert_eq!(history(&nodes[0]).await.len(), 1);
    let context = operator();
    let names =
        join_all(nodes.iter().map(|node| node.insert_user(&context, "ada", "a@example.org", "internal")));
    assert_eq!(names.await.iter().filter(|outcome| outcome.is_ok()).count(), 1);
}
