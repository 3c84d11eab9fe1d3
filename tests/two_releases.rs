//! Upgrades with two binaries: the one under test, and a stand-in for the next release (`src/projections/next_release.rs`).

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use tenure::clock::Stopwatch;
use tenure::replay::{Progress, RebuildOptions};
use tokio::sync::OnceCell;

use crate::replay::assert_tables_are_a_fold_of_the_log;
use crate::support::node::{Release, address, client};
use crate::support::{TestDatabase, account, operator, user};

const PATIENCE: Duration = Duration::from_secs(120);

/// How many callers write through a node.
const WRITERS: usize = 8;

/// The binary of the next release, built from the same sources.
async fn next_release() -> PathBuf {
    static BUILT: OnceCell<PathBuf> = OnceCell::const_new();
    let build = || async {
        let output = tokio::process::Command::new(env!("CARGO"))
            .args([
                "build",
                "--locked",
                "--offline",
                "--features",
                "next-release",
                "--example",
                "tenure-next",
            ])
            .arg("--message-format=json")
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stderr(Stdio::inherit())
            .output()
            .await
            .unwrap();
        assert!(output.status.success());
        // What the linker wrote goes to the disk now, not half a minute later in front of the nodes' commits: a node that gets no
        // answer for four seconds while it starts ends.
        nix::unistd::sync();
        let messages = String::from_utf8(output.stdout).unwrap();
        let executable = messages
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|message| message["target"]["name"] == "tenure-next")
            .find_map(|message| Some(PathBuf::from(message["executable"].as_str()?)));
        executable.expect("the path of the binary")
    };
    BUILT.get_or_init(build).await.clone()
}

/// What the callers of a node were told.
#[derive(Default)]
struct Told {
    acknowledged: Vec<String>,
    /// When a write was first refused with 503 for another reason than a stop.
    first_refused: Option<Duration>,
}

async fn until(client: &tokio_postgres::Client, question: &str) {
    let waited = Stopwatch::start();
    while !client.query_one(question, &[]).await.unwrap().get::<_, bool>(0) {
        assert!(waited.elapsed() < PATIENCE, "never true: {question}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_the_next_release_takes_over_while_this_one_writes_and_gives_back() {
    let binary = next_release().await;
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    tenure::seed::generate(&tenure, 5_000, 1, |_| ()).await.unwrap();
    let ada = user(&tenure, "ada").await;
    account(&tenure, "acme", ada).await;
    tenure.set_operator(&operator(), ada, true).await.unwrap();
    let issued = tenure.issue_bearer_token(&operator(), ada, Duration::from_secs(3_600)).await.unwrap();
    let token = issued.answer.1.expect("a secret").expose_secret().to_owned();
    tenure.close().await;

    let (this, next) =
        (Release::new(env!("CARGO_BIN_EXE_tenure"), &database), Release::new(binary, &database));
    let (client, at) = (client(), address());
    let mut before = this.serve(at);
    before.until_ready(&client).await;
    let (stop, restarting) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let began = Stopwatch::start();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let (client, token, base) = (client.clone(), token.clone(), before.base.clone());
            let (stop, restarting) = (stop.clone(), restarting.clone());
            tokio::spawn(async move {
                let mut told = Told::default();
                for number in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let name = format!("w{writer}-{number}");
                    let body = json!({"username": name, "email": "x@example.org"});
                    let sent =
                        client.post(format!("{base}/api/v1/users")).bearer_auth(&token).json(&body).send();
                    match sent.await.map(|answer| answer.status().as_u16()) {
                        Ok(201) => told.acknowledged.push(name),
                        Ok(503) if !restarting.load(Ordering::SeqCst) => {
                            told.first_refused.get_or_insert(began.elapsed());
                        }
                        Ok(503) | Err(_) => {}
                        Ok(other) => panic!("{name}: {other}"),
                    }
                }
                told
            })
        })
        .collect();

    // A customer's transaction holds the swap up, so that the restart comes in the middle of the upgrade.
    let customer = database.connect(None).await;
    customer.batch_execute("begin; select from view.users limit 1").await.unwrap();
    let after = next.serve(address());
    let admin = database.connect(None).await;
    until(&admin, "select exists (select from pg_namespace where nspname like 'view\\_next\\_%')").await;
    restarting.store(true, Ordering::SeqCst);
    before.end();
    before = this.serve(at);
    before.until_ready(&client).await;
    restarting.store(false, Ordering::SeqCst);
    customer.batch_execute("commit").await.unwrap();
    while before.is_ready(&client).await {
        tokio::task::yield_now().await;
    }
    let not_ready = began.elapsed();
    after.until_ready(&client).await;
    stop.store(true, Ordering::SeqCst);
    let mut acknowledged = Vec::new();
    for writer in writers {
        let told = writer.await.unwrap();
        let refused = told.first_refused.expect("the node before refuses in the end");
        assert!(not_ready < refused, "refused after {refused:?}, not ready only after {not_ready:?}");
        acknowledged.extend(told.acknowledged);
    }
    assert!(acknowledged.len() > WRITERS, "{}", acknowledged.len());
    println!("{} acknowledged on the way", acknowledged.len());
    for name in &acknowledged {
        let url = format!("{}/api/v1/users/{name}", after.base);
        assert_eq!(client.get(url).bearer_auth(&token).send().await.unwrap().status(), 200, "{name}");
    }
    let diff = next.run(&["audit", "diff", "--json"]);
    assert_eq!((diff.0, &diff.1["differences"]), (Some(0), &0.into()), "{diff:?}");
    let is_new = "select to_regclass('view.sign_in_links') is null and to_regproc('log.append_next') is not null
                  and (select count(*) = 1 from log.node where not is_drained and projection_set like '%members:3%')";
    until(&admin, is_new).await;

    // Going back is asked for, and takes the tables of the next release away only once its nodes have stopped.
    let refused = this.run(&["audit", "diff"]);
    assert!(refused.0 == Some(1) && refused.2.contains("members:3"), "{refused:?}");
    let back = this.run(&["projections", "rebuild", "--json"]);
    assert_eq!(back.0, Some(0), "{back:?}");
    before.end();
    let mut before = this.serve(at);
    before.until_ready(&client).await;
    let body = json!({"username": "back-again", "email": "x@example.org"});
    let write =
        |base: &str| client.post(format!("{base}/api/v1/users")).bearer_auth(&token).json(&body).send();
    assert_eq!(write(&after.base).await.unwrap().status(), 503, "the next release does not write any more");
    assert_eq!(write(&before.base).await.unwrap().status(), 201);
    before.end();
    drop(after);
    let tenure = database.open().await;
    assert_tables_are_a_fold_of_the_log(&tenure).await;
    for name in &acknowledged {
        assert!(tenure.reader().user_by_username(name).await.is_ok(), "{name}");
    }
}

/// The node that upgrades is killed at any moment: either the release before goes on, or the next one can.
#[tokio::test(flavor = "multi_thread")]
async fn fault_a_node_killed_in_the_middle_of_an_upgrade_leaves_whole_tables_of_one_release() {
    let rounds: u32 =
        std::env::var("TENURE_FAULT_ROUNDS").ok().and_then(|count| count.parse().ok()).unwrap_or(3);
    let database = TestDatabase::new().await;
    let mut tenure = database.open().await;
    tenure::seed::generate(&tenure, 5_000, 1, |_| ()).await.unwrap();
    let (this, next) = (
        Release::new(env!("CARGO_BIN_EXE_tenure"), &database),
        Release::new(next_release().await, &database),
    );
    let (client, admin) = (client(), database.connect(None).await);
    let go_back = async || {
        let back = this.run(&["projections", "rebuild", "--json"]);
        assert_eq!(back.0, Some(0), "{back:?}");
        database.open().await
    };
    let whole = Stopwatch::start();
    let mut upgrading = next.serve(address());
    upgrading.until_ready(&client).await;
    let whole = whole.elapsed();
    upgrading.end();
    tenure.close().await;
    tenure = go_back().await;
    let mut replaced = 0;
    for round in 0..rounds {
        let upgrading = next.serve(address());
        tokio::time::sleep(whole * (2 * round + 1) / (2 * rounds)).await;
        drop(upgrading);
        // Its lock and its announcement go with its connections.
        let alone = "select count(*) = 0 from pg_stat_activity where datname = current_database()
                     and application_name in ('tenure rebuild', 'tenure replay', 'tenure migrate')";
        until(&admin, alone).await;
        let set: String = admin.query_one("select projection_set from log.head", &[]).await.unwrap().get(0);
        if set == tenure::projections::set_name() {
            while tenure.ready().await.is_err() {
                tokio::task::yield_now().await;
            }
        } else {
            replaced += 1;
            let diff = next.run(&["audit", "diff", "--json"]);
            assert_eq!((diff.0, &diff.1["differences"]), (Some(0), &0.into()), "round {round}: {diff:?}");
            tenure.close().await;
            tenure = go_back().await;
        }
        user(&tenure, &format!("after-{round}")).await;
        let diff = tenure.replay().diff(None, &Progress::none()).await.unwrap();
        assert_eq!(diff.differences.count, 0, "round {round}");
    }
    println!("{rounds} upgrades killed, {replaced} of them after the swap");
    tenure.close().await;
    let tenure = database.open().await;
    let leftovers = "select count(*) = 0 from pg_namespace where nspname like 'view\\_%'";
    assert!(admin.query_one(leftovers, &[]).await.unwrap().get::<_, bool>(0));
    assert_tables_are_a_fold_of_the_log(&tenure).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projection_that_panics_on_one_event_ends_the_upgrade_with_its_position_and_nodes_before_go_on() {
    let binary = next_release().await;
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    user(&tenure, "ada").await;
    let stored = tenure
        .insert_user(&operator(), "panics-in-the-next-release", "x@example.org", "internal")
        .await
        .unwrap();
    user(&tenure, "bob").await;
    let next = Release::new(binary, &database);
    let event = format!("event {}", stored.checkpoint.position);
    for arguments in
        [["serve", "--listen=127.0.0.1:0"], ["projections", "rebuild"], ["projections", "rebuild"]]
    {
        let (code, _, said) = next.run(&arguments);
        assert!(
            code == Some(1) && said.contains(&event) && !said.contains("x@example.org"),
            "{code:?} {said}"
        );
    }
    tenure.ready().await.unwrap();
    user(&tenure, "carol").await;
    let options = RebuildOptions::default();
    assert_eq!(tenure.replay().rebuild(&options, &Progress::none()).await.unwrap().differences.count, 0);
    assert_tables_are_a_fold_of_the_log(&tenure).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_has_changed_is_compared_in_the_columns_that_have_not() {
    let binary = next_release().await;
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let (ada, bob) = (user(&tenure, "ada").await, user(&tenure, "bob").await);
    let acme = account(&tenure, "acme", ada).await;
    tenure.add_member(&operator(), acme, bob).await.unwrap();
    let client = database.connect(None).await;
    let change = "update view.members set added_at = added_at + interval '1 day'";
    client.batch_execute(change).await.unwrap();
    let next = Release::new(binary, &database);
    let (code, _, errors) = next.run(&["serve", "--listen=127.0.0.1:0"]);
    assert!(code == Some(6) && errors.contains("differs in added_at"), "{code:?} {errors}");
    let (code, said, _) = next.run(&["projections", "rebuild", "--json"]);
    assert_eq!((code, &said["diff_rows"]), (Some(6), &json!(1)), "{said}");
    tenure.ready().await.unwrap();
    let (code, said, errors) = next.run(&["projections", "rebuild", "--accept-differences", "--json"]);
    assert_eq!(code, Some(0), "{errors}");
    assert_eq!(said["diff_rows"], 1, "{said}");
    let shared = json!({"members": ["user_id", "account_id", "added_at", "position"]});
    assert_eq!((&said["compared_in_part"], &said["not_compared"]), (&shared, &json!([])));
}
