//! Dumps that are taken while a rebuild replaces the tables: each is noticed when it is restored.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};
use std::sync::Arc;

use tenure::Tenure;
use tenure::replay::{Phase, Progress, Step};

use crate::rebuild::{diff, leftovers, quick, rebuild};
use crate::sealing::program;
use crate::support::{TestDatabase, account, operator, user};

/// Restores a dump into a database of its own and opens an engine on it.
async fn restored(dump: &str) -> (TestDatabase, Tenure) {
    let database = TestDatabase::empty().await;
    crate::upgrade::load(&database, dump);
    let tenure = database.open().await;
    (database, tenure)
}

/// A dump that is taken while the schema is swapped finds the fresh tables, but none of their rows. It is noticed when the
/// dump is restored.
#[tokio::test(flavor = "multi_thread")]
async fn a_dump_across_a_swap_is_rebuilt_when_it_is_restored() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    // More than the pipe of a dump holds, so that the dump stands still in the middle of this table.
    tenure::seed::generate(&tenure, 15_000, 1, |_| ()).await.unwrap();
    let ada = user(&tenure, "ada").await;
    let mut dumping = Command::new(program("pg_dump"))
        .args(["--dbname", &database.url()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::with_capacity(512, dumping.stdout.take().unwrap());
    let mut dump = String::new();
    let mut line = String::new();
    while !line.starts_with("COPY view.accounts ") {
        line.clear();
        assert_ne!(lines.read_line(&mut line).unwrap(), 0, "the dump has accounts");
        dump.push_str(&line);
    }
    let rebuilt = rebuild(&tenure, quick()).await.unwrap();
    assert_eq!(rebuilt.not_waited_for.len(), 1, "the dump is named: {:?}", rebuilt.not_waited_for);
    assert!(rebuilt.not_waited_for[0].contains("pg_dump"));
    lines.read_to_string(&mut dump).unwrap();
    assert!(dumping.wait().unwrap().success(), "pg_dump does not notice");
    let (copy, other) = restored(&dump).await;
    assert_eq!(diff(&other).await.differences.count, 0);
    assert_eq!(other.reader().user(ada).await.unwrap().username, "ada");
    assert!(
        other.insert_user(&operator(), "ada", "x@example.org", "internal").await.is_err(),
        "the name is taken"
    );
    let client = copy.connect(None).await;
    assert_eq!(leftovers(&client).await, [""; 0]);

    // One that was taken while the fresh tables were there, but not live.
    let whole = Arc::new(std::sync::Mutex::new(String::new()));
    let (taken, of) = (whole.clone(), database.url());
    let progress = Progress::new(move |step| {
        if matches!(step, Step::Begun(Phase::Waiting, _)) {
            let output = Command::new(program("pg_dump")).args(["--dbname", &of]).output().unwrap();
            assert!(output.status.success());
            *taken.lock().unwrap() = String::from_utf8(output.stdout).unwrap();
        }
    });
    tenure.replay().rebuild(&quick(), &progress).await.unwrap();
    let dump = whole.lock().unwrap().clone();
    assert!(dump.contains("view_next_"), "the dump has the fresh tables too");
    let (copy, other) = restored(&dump).await;
    assert_eq!(diff(&other).await.differences.count, 0);
    let client = copy.connect(None).await;
    assert_eq!(leftovers(&client).await, [""; 0]);
}

/// Its tables may be those of the release that was about to replace them, or lack rows, or be missing.
#[tokio::test(flavor = "multi_thread")]
async fn a_torn_dump_is_rebuilt_under_another_release_too() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let ada = user(&tenure, "ada").await;
    account(&tenure, "acme", ada).await;
    tenure.close().await;
    let client = database.connect(None).await;
    client
        .batch_execute(
            "update log.head set projection_set = replace(projection_set, 'users:1', 'users:0');
             update view.view_build set build = build + 1;
             truncate view.users, view.unique_claims; drop table view.members cascade",
        )
        .await
        .unwrap();
    let tenure = database.open().await;
    assert_eq!(diff(&tenure).await.differences.count, 0);
    assert_eq!(tenure.reader().user(ada).await.unwrap().username, "ada");
}

/// A parallel dump may read the build before the swap, and a table after it.
#[tokio::test(flavor = "multi_thread")]
async fn an_empty_table_of_a_restored_dump_is_not_trusted() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let ada = user(&tenure, "ada").await;
    account(&tenure, "acme", ada).await;
    let dump = crate::sealing::dump(&database, &[]);
    let copy = TestDatabase::empty().await;
    crate::upgrade::load(&copy, &dump);
    let client = copy.connect(None).await;
    client
        .batch_execute("truncate view.users; update view.accounts set nats_account_pub = 'changed'")
        .await
        .unwrap();
    let other = copy.open().await;
    // What may be a trace of something else than a torn dump is said before it is gone.
    let differences = &other.rebuilt_at_start().unwrap().differences;
    let first: Vec<String> = differences.first.iter().map(ToString::to_string).collect();
    assert!(first.iter().any(|difference| difference.contains("nats_account_pub")), "{first:?}");
    assert_eq!(diff(&other).await.differences.count, 0);
    assert_eq!(other.reader().user(ada).await.unwrap().username, "ada");
    other.close().await;
    // The database is no new dump any more: what happens to its tables is for the comparison to find.
    let build = "select view_build from log.head";
    let before: i64 = client.query_one(build, &[]).await.unwrap().get(0);
    client.batch_execute("truncate view.users").await.unwrap();
    let other = copy.open().await;
    assert_eq!(client.query_one(build, &[]).await.unwrap().get::<_, i64>(0), before);
    assert!(diff(&other).await.differences.count > 0);
}
