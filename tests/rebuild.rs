//! Rebuilding while nodes work, and comparing the live tables with the log.

use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tenure::Tenure;
use tenure::clock::Stopwatch;
use tenure::projections::{invites, users};
use tenure::replay::{
    Diff, Kind, Phase, Progress, RebuildError, RebuildOptions, Rebuilt, ReplayError, Step, Verification,
};

use crate::replay::assert_tables_are_a_fold_of_the_log;
use crate::support::{TestDatabase, account, as_user, operator, user};

pub async fn diff(tenure: &Tenure) -> Diff {
    tenure.replay().diff(None, &Progress::none()).await.unwrap()
}

pub async fn rebuild(tenure: &Tenure, options: RebuildOptions) -> Result<Rebuilt, RebuildError> {
    tenure.replay().rebuild(&options, &Progress::none()).await
}

pub fn quick() -> RebuildOptions {
    RebuildOptions { swap_wait: Duration::from_secs(1), ..RebuildOptions::default() }
}

/// The schemas of projections other than the live one.
pub async fn leftovers(client: &tokio_postgres::Client) -> Vec<String> {
    let sql = "select nspname::text from pg_namespace where nspname like 'view\\_%' order by 1";
    client.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

/// Writers and readers on two nodes for the whole length of many rebuilds: nothing is refused, and nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn fault_swaps_under_writers_and_readers_refuse_nobody() {
    let number = |name: &str| std::env::var(name).ok().and_then(|count| count.parse::<usize>().ok());
    let (swaps, writers) = (number("TENURE_SWAPS").unwrap_or(6), number("TENURE_WRITERS").unwrap_or(16));
    // Unbounded unless it is given: the log grows while it is rebuilt, and each of many rebuilds takes longer.
    let pause =
        number("TENURE_WRITES_PER_SECOND").map(|rate| Duration::from_millis((1_000 * writers / rate) as u64));
    let database = TestDatabase::new().await;
    let nodes = [database.open().await, database.open().await];
    let owner = user(&nodes[0], "owner").await;
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut tasks = Vec::new();
    for number in 0..writers {
        let (node, stop, done) = (nodes[number % 2].clone(), stop.clone(), done.clone());
        tasks.push(tokio::spawn(async move {
            let mut made = Vec::new();
            while !stop.load(Ordering::SeqCst) {
                let name = format!("w{number}-{}", made.len());
                let opened = account(&node, &name, owner).await;
                // What was acknowledged can be read, on the other side of a swap too.
                assert_eq!(node.reader().account_by_slug(&name).await.unwrap().id, opened);
                if made.len() % 3 == 1 {
                    node.close_account(&as_user(owner), opened).await.unwrap();
                } else {
                    made.push(opened);
                }
                made.push(opened);
                done.fetch_add(1, Ordering::SeqCst);
                if let Some(pause) = pause {
                    tokio::time::sleep(pause).await;
                }
            }
        }));
    }
    let mut held: f64 = 0.0;
    for _ in 0..swaps {
        let rebuilt = rebuild(&nodes[0], quick()).await.unwrap();
        held = held.max(rebuilt.swap_seconds);
    }
    stop.store(true, Ordering::SeqCst);
    for task in tasks {
        task.await.unwrap();
    }
    println!(
        "{swaps} swaps, {} rounds of writers, head lock held {held:.3} s at most",
        done.load(Ordering::SeqCst)
    );
    assert!(done.load(Ordering::SeqCst) > 100);
    assert_tables_are_a_fold_of_the_log(&nodes[1]).await;
    let client = database.connect(None).await;
    nodes[0].log().drop_leftover_schemas().await.unwrap();
    assert_eq!(leftovers(&client).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_changed_by_hand_are_named_with_their_columns_and_stop_the_swap() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let (ada, bob) = (user(&tenure, "ada").await, user(&tenure, "bob").await);
    let acme = account(&tenure, "acme", ada).await;
    let other = account(&tenure, "other", bob).await;
    tenure.add_member(&operator(), acme, bob).await.unwrap();
    assert_eq!(diff(&tenure).await.differences.count, 0);
    let client = database.connect(None).await;
    client
        .batch_execute(&format!(
            "update view.users set email = 'eve@example.org', operator = true where id = '{ada}';
             delete from view.members where user_id = '{bob}';
             insert into view.sources select '{bob}', '{other}', '{bob}', 'stray', 'message', now(), 1;
             update view.unique_claims set holder = '{bob}' where holder = '{acme}'"
        ))
        .await
        .unwrap();
    let found = diff(&tenure).await.differences;
    let mut said: Vec<(&str, Kind, Vec<&str>)> =
        found.first.iter().map(|one| (one.table, one.kind, one.columns.clone())).collect();
    said.sort_by_key(|(table, ..)| *table);
    assert_eq!(
        said,
        [
            ("members", Kind::Missing, vec![]),
            ("sources", Kind::Unexpected, vec![]),
            ("unique_claims", Kind::Changed, vec!["holder"]),
            ("users", Kind::Changed, vec!["email", "operator"]),
        ]
    );
    let text =
        format!("{:?}{}", found.first, found.first.iter().map(ToString::to_string).collect::<String>());
    assert!(text.contains(&ada.to_string()) && !text.contains("eve@example.org"), "{text}");

    // By account: what is another's is left out.
    let of = async |account: tenure::ids::AccountId| {
        let diff =
            tenure.replay().diff(Some(account.as_uuid()), &Progress::none()).await.unwrap().differences;
        let mut tables: Vec<&str> = diff.first.iter().map(|one| one.table).collect();
        tables.sort_unstable();
        tables
    };
    assert_eq!(of(acme).await, ["members", "unique_claims"]);
    assert_eq!(of(other).await, ["sources"]);

    let refused = rebuild(&tenure, quick()).await.unwrap_err();
    assert!(
        matches!(&refused, RebuildError::Differs { differences, .. } if differences.count == 4),
        "{refused}"
    );
    assert_eq!(diff(&tenure).await.differences.count, 4, "the live tables are untouched");
    assert_eq!(leftovers(&client).await, [""; 0]);
    // A table that is as the log says can be rebuilt by itself.
    let one = RebuildOptions { tables: vec![&invites::TABLE], ..quick() };
    assert_eq!(rebuild(&tenure, one).await.unwrap().tables, ["invites"]);
    let accepted = RebuildOptions { verification: Verification::Report, ..quick() };
    assert_eq!(rebuild(&tenure, accepted).await.unwrap().differences.count, 4);
    assert_tables_are_a_fold_of_the_log(&tenure).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_makes_in_the_schema_during_a_swap_is_waited_for_and_never_dropped() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let client = database.connect(None).await;
    client
        .batch_execute(
            "set application_name = 'the analyst'; begin; create table view.notes as select 'mine' as text",
        )
        .await
        .unwrap();
    let rebuilt = rebuild(&tenure, RebuildOptions { swap_wait: Duration::from_millis(100), ..quick() }).await;
    let rebuilt = rebuilt.unwrap();
    assert!(rebuilt.not_waited_for.iter().any(|who| who.contains("the analyst")), "{rebuilt:?}");
    client.batch_execute("commit").await.unwrap();
    let stays = tenure.log().drop_leftover_schemas().await.unwrap();
    let (schema, reason) = &stays[0];
    assert!(reason.contains("others have objects in it"), "{stays:?}");
    let kept = client.query(&format!("select text from {schema}.notes"), &[]).await.unwrap();
    assert_eq!(kept[0].get::<_, &str>(0), "mine");
    // Nothing of ours is left in it.
    let tables =
        "select count(*) from pg_class where relnamespace = $1::text::regnamespace and relkind = 'r'";
    assert_eq!(client.query_one(tables, &[schema]).await.unwrap().get::<_, i64>(0), 1);
    client.batch_execute(&format!("alter table {schema}.notes set schema public")).await.unwrap();
    assert!(tenure.log().drop_leftover_schemas().await.unwrap().is_empty());
    assert_eq!(leftovers(&client).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_of_those_who_have_ended_and_rows_moved_into_an_account_are_found() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let (ada, bob) = (user(&tenure, "ada").await, user(&tenure, "bob").await);
    let (acme, other) = (account(&tenure, "acme", ada).await, account(&tenure, "other", ada).await);
    tenure.create_source(&operator(), other, Some(ada), "moved", None).await.unwrap();
    tenure.forget_user(&operator(), bob).await.unwrap();
    let client = database.connect(None).await;
    let insert = "insert into view.unique_claims (kind, key, holder, free_after, position)
                  select kind, '\\x00', $1, null, 1 from view.unique_claims where holder = $2 limit 1";
    client.execute(insert, &[&bob.to_string(), &ada.to_string()]).await.unwrap();
    let found = diff(&tenure).await.differences;
    assert_eq!((found.count, found.first[0].kind), (1, Kind::Unexpected), "{found:?}");
    client.batch_execute("delete from view.unique_claims where key = '\\x00'").await.unwrap();
    client.execute("update view.sources set account_id = $1", &[&acme.as_uuid()]).await.unwrap();
    for account in [acme, other] {
        let found =
            tenure.replay().diff(Some(account.as_uuid()), &Progress::none()).await.unwrap().differences;
        assert_eq!((found.count, found.first[0].table), (1, "sources"), "{found:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_others_that_would_be_lost_are_named_or_kept() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let client = database.connect(None).await;
    for (made, named, gone) in [
        (
            "create table people (id uuid not null, username text collate \"C\");
             alter table view.users inherit people",
            "people",
            "alter table view.users no inherit people; drop table people",
        ),
        (
            "create table orders (); create function noticed() returns trigger language plpgsql as 'begin return null; end';
             create constraint trigger watch after insert on orders from view.users for each row execute function noticed()",
            "watch",
            "drop table orders; drop function noticed",
        ),
        (
            "alter table view.users alter column avatar_url set default 'none'",
            "avatar_url",
            "alter table view.users alter column avatar_url drop default",
        ),
        (
            "create view people as select id, avatar_url from view.users;
             create rule write_through as on update to people do instead
             update view.users set avatar_url = new.avatar_url where id = old.id",
            "write_through",
            "drop view people",
        ),
        ("create domain person as view.users", "person", "drop domain person"),
    ] {
        client.batch_execute(made).await.unwrap();
        let refused = rebuild(&tenure, quick()).await.unwrap_err();
        assert!(
            matches!(&refused, RebuildError::InUse(objects) if objects.iter().any(|object| object.contains(named))),
            "{refused}"
        );
        client.batch_execute(gone).await.unwrap();
    }
    // An index whose name ends with a date, one that could not be built, statistics of a table of others, and privileges of functions.
    client
        .batch_execute(
            "create index members_20260131 on view.members (added_at);
             create table view.moods (a int, b int); create statistics view.of_moods on a, b from view.moods;
             create view view_of_build as select build from view.view_build;
             create schema util;
             create function util.norm(text) returns text immutable language sql as 'select lower($1)';
             create function view.norm(text) returns text immutable language plpgsql as 'begin return shorter($1); end';
             create function shorter(text) returns text immutable language sql as 'select left($1, 3)';
             create index by_util on view.users (util.norm(username));
             create index by_view on view.users (view.norm(username));
             alter default privileges for role tenure_owner revoke execute on functions from public",
        )
        .await
        .unwrap();
    let (ada, bob) = (user(&tenure, "ada").await, user(&tenure, "bob").await);
    let broken = "create unique index concurrently broken on view.users (mode)";
    client.batch_execute(broken).await.unwrap_err();
    rebuild(&tenure, quick()).await.unwrap();
    let acme = account(&tenure, "acme", ada).await;
    tenure.add_member(&operator(), acme, bob).await.unwrap();
    tenure.ready().await.unwrap();
    let kept = "select to_regclass('view.members_20260131') is not null
                       and exists (select from pg_statistic_ext where stxnamespace = 'view'::regnamespace)
                       and to_regclass('view.by_util') is not null and to_regclass('view.by_view') is not null
                       and (select build from view_of_build) = (select view_build from log.head)";
    assert!(client.query_one(kept, &[]).await.unwrap().get::<_, bool>(0));
    assert_eq!(leftovers(&client).await, [""; 0]);
    client
        .batch_execute("alter default privileges for role tenure_owner grant execute on functions to public")
        .await
        .unwrap();
    assert_tables_are_a_fold_of_the_log(&tenure).await;
}

/// It would be built on the table that is replaced.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_replaced_while_an_index_is_being_built() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let (client, old) = (database.connect(None).await, database.connect(None).await);
    // An index that is built concurrently waits for its snapshot.
    old.batch_execute("begin isolation level repeatable read; select from log.head").await.unwrap();
    client.batch_execute("set application_name = 'the analyst'").await.unwrap();
    // Within a transaction, what sessions do is looked up once.
    let watch = database.connect(None).await;
    let build = client.batch_execute("create index concurrently theirs on view.users (mode)");
    let rebuilds = async {
        let waits =
            "select exists (select from pg_stat_progress_create_index where datname = current_database())";
        while !watch.query_one(waits, &[]).await.unwrap().get::<_, bool>(0) {
            tokio::task::yield_now().await;
        }
        assert_names(rebuild(&tenure, hasty()).await, "the analyst");
        old.batch_execute("commit").await.unwrap();
    };
    let (built, ()) = tokio::join!(build, rebuilds);
    built.unwrap();
    rebuild(&tenure, quick()).await.unwrap();
    let kept = "select i.indisvalid from pg_index i where i.indexrelid = 'view.theirs'::regclass";
    assert!(client.query_one(kept, &[]).await.unwrap().get::<_, bool>(0));
}

/// They would be put on the table that is replaced.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_replaced_while_others_change_a_table() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let client = database.connect(None).await;
    client
        .batch_execute(
            "set application_name = 'the analyst';
             create function public.nothing() returns trigger language plpgsql as 'begin return null; end'",
        )
        .await
        .unwrap();
    for change in [
        "create trigger theirs after insert on view.users for each statement execute function public.nothing()",
        "create index theirs on view.users (mode)",
        "create statistics public.theirs on mode, operator from view.users",
        "comment on table view.users is 'theirs'",
        "alter table view.users replica identity full",
    ] {
        client.batch_execute(&format!("begin; {change}")).await.unwrap();
        assert_names(rebuild(&tenure, hasty()).await, "the analyst");
        client.batch_execute("commit").await.unwrap();
        user(&tenure, &format!("after{}", change.len())).await;
    }
    rebuild(&tenure, quick()).await.unwrap();
    let kept = "select exists (select from pg_trigger where tgname = 'theirs' and tgrelid = 'view.users'::regclass)
                   and to_regclass('view.theirs') is not null
                   and exists (select from pg_statistic_ext where stxname = 'theirs' and stxrelid = 'view.users'::regclass)
                   and obj_description('view.users'::regclass) = 'theirs'
                   and (select relreplident = 'f' from pg_class where oid = 'view.users'::regclass)";
    assert!(client.query_one(kept, &[]).await.unwrap().get::<_, bool>(0));
    assert_tables_are_a_fold_of_the_log(&tenure).await;
}

/// Whoever waits for a lock in vain is told who has it.
#[tokio::test(flavor = "multi_thread")]
async fn a_comparison_of_locked_tables_names_the_holder() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let client = database.connect(None).await;
    client
        .batch_execute(
            "set application_name = 'the analyst'; begin; lock table view.users in access exclusive mode",
        )
        .await
        .unwrap();
    let error = tenure.replay().diff(None, &Progress::none()).await.unwrap_err();
    assert!(matches!(&error, ReplayError::Locked(who) if who.contains("the analyst")), "{error:?}");
    assert!(error.may_succeed_later());
    client.batch_execute("commit").await.unwrap();
    assert_eq!(diff(&tenure).await.differences.count, 0);
}

/// Waits for nobody.
fn hasty() -> RebuildOptions {
    RebuildOptions {
        swap_wait: Duration::from_millis(200),
        lock_wait: Duration::from_millis(500),
        ..RebuildOptions::default()
    }
}

fn assert_names(rebuilt: Result<Rebuilt, RebuildError>, who: &str) {
    let blocked = matches!(&rebuilt, Err(RebuildError::Blocked(holders)) if holders.contains(who));
    assert!(blocked, "{rebuilt:?}");
}

/// Such as a rule for masking, which would be gone.
#[tokio::test(flavor = "multi_thread")]
async fn security_labels_are_named_before_the_log_is_read() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let client = database.connect(None).await;
    client.batch_execute("set allow_system_table_mods = on").await.unwrap();
    for (class, object) in [
        ("pg_class", "'view.users'::regclass"),
        ("pg_namespace", "'view'::regnamespace"),
        ("pg_proc", "'view.users_apply'::regproc"),
    ] {
        // As `security label` stores it; no provider of labels comes with PostgreSQL.
        let label = format!(
            "insert into pg_seclabel (objoid, classoid, objsubid, provider, label)
             values ({object}, '{class}'::regclass, 0, 'masking', 'hidden')"
        );
        client.batch_execute(&label).await.unwrap();
        match rebuild(&tenure, quick()).await {
            Err(RebuildError::InUse(named)) => {
                assert!(named.iter().any(|name| name.contains("security label of masking")), "{named:?}");
            }
            rebuilt => panic!("{class}: {rebuilt:?}"),
        }
        client.batch_execute("delete from pg_seclabel where provider = 'masking'").await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn single_tables_are_not_put_among_those_of_another_release() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    user(&tenure, "ada").await;
    let client = database.connect(None).await;
    // It came while the command was starting.
    client.batch_execute("update log.head set projection_set = 'users:0'").await.unwrap();
    let one = RebuildOptions { tables: vec![&users::TABLE], ..quick() };
    let refused = rebuild(&tenure, one).await.unwrap_err();
    assert!(
        matches!(&refused, RebuildError::Replay(ReplayError::SetChanged(set)) if set == "users:0"),
        "{refused}"
    );
    assert_eq!(leftovers(&client).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_key_that_no_event_destroyed_is_named_and_stops_the_swap() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let (ada, bob) = (user(&tenure, "ada").await, user(&tenure, "bob").await);
    tenure.forget_user(&operator(), bob).await.unwrap();
    assert_eq!(diff(&tenure).await.differences.count, 0, "a key that an event destroyed is no fault");
    let client = database.connect(None).await;
    client.execute("delete from log.data_key where subject = $1", &[&format!("user:{ada}")]).await.unwrap();
    let lost = tenure.replay().diff(None, &Progress::none()).await.unwrap_err();
    assert!(matches!(&lost, ReplayError::LostKey { subject } if *subject == format!("user:{ada}")), "{lost}");
    let lost = rebuild(&tenure, quick()).await.unwrap_err();
    assert!(matches!(&lost, RebuildError::Replay(ReplayError::LostKey { .. })), "{lost}");
    assert!(tenure.reader().user(ada).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_rebuild_and_a_reader_that_stays_are_named() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let client = database.connect(None).await;
    client
        .batch_execute("set application_name = 'the analyst'; begin; select from view.users")
        .await
        .unwrap();
    let (waiting, is_waiting) = tokio::sync::oneshot::channel();
    let waiting = std::sync::Mutex::new(Some(waiting));
    let progress = Progress::new(move |step| {
        if let Step::WaitingFor(holders) = step
            && let Some(waiting) = waiting.lock().unwrap().take()
        {
            waiting.send(holders.to_vec()).unwrap();
        }
    });
    let other = tenure.clone();
    let first = tokio::spawn(async move {
        let options = RebuildOptions { swap_wait: Duration::from_secs(3), ..RebuildOptions::default() };
        other.replay().rebuild(&options, &progress).await
    });
    let holders = is_waiting.await.unwrap();
    assert!(holders.len() == 1 && holders[0].contains("the analyst"), "{holders:?}");
    let refused = rebuild(&tenure, quick()).await.unwrap_err();
    assert!(matches!(&refused, RebuildError::Running(who) if who.contains("tenure rebuild")), "{refused}");
    let rebuilt = first.await.unwrap().unwrap();
    assert!(rebuilt.not_waited_for[0].contains("the analyst"));
    // Its transaction reads the retired table on, which stays until it ends.
    client.batch_execute("commit").await.unwrap();
    tenure.log().drop_leftover_schemas().await.unwrap();
    assert_eq!(leftovers(&client).await, [""; 0]);

    // One table is swapped under an exclusive lock, which a reader keeps.
    client.batch_execute("begin; select from view.users").await.unwrap();
    let one = RebuildOptions {
        tables: vec![&users::TABLE],
        swap_wait: Duration::from_millis(100),
        lock_wait: Duration::from_millis(500),
        ..RebuildOptions::default()
    };
    let blocked = rebuild(&tenure, one).await.unwrap_err();
    assert!(matches!(&blocked, RebuildError::Blocked(who) if who.contains("the analyst")), "{blocked}");
    client.batch_execute("commit").await.unwrap();
    assert_tables_are_a_fold_of_the_log(&tenure).await;
    assert_eq!(leftovers(&client).await, [""; 0]);
}

/// The process is killed at random moments; the live tables stay whole, and the next rebuild succeeds.
#[tokio::test(flavor = "multi_thread")]
async fn fault_a_killed_rebuild_leaves_the_live_tables_whole_and_nothing_else() {
    let rounds: u32 =
        std::env::var("TENURE_FAULT_ROUNDS").ok().and_then(|count| count.parse().ok()).unwrap_or(3);
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    tenure::seed::generate(&tenure, 10_000, 1, |_| ()).await.unwrap();
    let key = std::fs::read_to_string(crate::support::master_key().default_file).unwrap();
    let start = || {
        crate::support::process::tenure()
            .args(["projections", "rebuild", "--json"])
            .env("DATABASE_URL", database.url())
            .env("TENURE_MASTER_KEY", key.trim())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let whole = Stopwatch::start();
    assert!(start().wait().unwrap().success());
    let whole = whole.elapsed();
    for round in 0..rounds {
        let mut rebuilding = start();
        tokio::time::sleep(whole * (2 * round + 1) / (2 * rounds)).await;
        let _ = rebuilding.kill();
        rebuilding.wait().unwrap();
        user(&tenure, &format!("after-{round}")).await;
        assert_eq!(diff(&tenure).await.differences.count, 0, "round {round}");
    }
    // The server notices the end of a client that it is working for only at its next message.
    let client = database.connect(None).await;
    let others = "select count(*) from pg_stat_activity where datname = current_database()
                  and application_name in ('tenure rebuild', 'tenure replay')";
    while client.query_one(others, &[]).await.unwrap().get::<_, i64>(0) > 0 {
        tokio::task::yield_now().await;
    }
    tenure.close().await;
    let tenure = database.open().await;
    assert_eq!(leftovers(&client).await, [""; 0]);
    assert_tables_are_a_fold_of_the_log(&tenure).await;
}

/// PostgreSQL is killed at random moments while a rebuild runs and callers write.
#[tokio::test(flavor = "multi_thread")]
async fn fault_a_rebuild_whose_postgresql_is_killed_ends_with_an_error_and_loses_nothing() {
    let rounds: u32 =
        std::env::var("TENURE_FAULT_ROUNDS").ok().and_then(|count| count.parse().ok()).unwrap_or(3);
    let mut server = crate::support::server::Server::primary().await;
    let address = server.conninfo("tenure").parse().unwrap();
    let settings =
        tenure::Settings { connections: 8, ..tenure::Settings::new(address, crate::support::master_key()) };
    let tenure = crate::support::open_with(settings).await;
    tenure::seed::generate(&tenure, 10_000, 1, |_| ()).await.unwrap();
    let whole = Stopwatch::start();
    rebuild(&tenure, quick()).await.unwrap();
    let whole = whole.elapsed();
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let (tenure, stop) = (tenure.clone(), stop.clone());
            tokio::spawn(async move {
                let mut acknowledged = Vec::new();
                for number in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let name = format!("w{writer}-{number}");
                    match tenure.insert_user(&operator(), &name, "x@example.org", "internal").await {
                        Ok(_) => acknowledged.push(name),
                        Err(_) => tokio::task::yield_now().await,
                    }
                }
                acknowledged
            })
        })
        .collect();
    let mut killed = 0;
    for round in 0..rounds {
        let rebuilding = tokio::spawn({
            let tenure = tenure.clone();
            async move { rebuild(&tenure, quick()).await }
        });
        tokio::time::sleep(whole * (2 * round + 1) / (2 * rounds)).await;
        server.kill();
        server.start().await;
        let ended = rebuilding.await.unwrap();
        if let Err(error) = &ended {
            killed += 1;
            assert!(matches!(error, RebuildError::Replay(failed) if failed.may_succeed_later()), "{error:?}");
        }
        while tenure.ready().await.is_err() {
            tokio::task::yield_now().await;
        }
        assert_eq!(diff(&tenure).await.differences.count, 0, "round {round}");
    }
    stop.store(true, Ordering::SeqCst);
    let mut count = 0;
    for writer in writers {
        for name in writer.await.unwrap() {
            assert!(tenure.reader().user_by_username(&name).await.is_ok(), "{name} was acknowledged");
            count += 1;
        }
    }
    println!("{rounds} kills, {killed} in the middle of a rebuild; {count} acknowledged, none missing");
    assert!(killed > 0 && count > 0);
    rebuild(&tenure, quick()).await.unwrap();
    let client = server.connect_to("tenure").await;
    tenure.log().drop_leftover_schemas().await.unwrap();
    assert_eq!(leftovers(&client).await, [""; 0]);
    assert_tables_are_a_fold_of_the_log(&tenure).await;
}

#[tokio::test]
async fn an_event_that_cannot_be_read_is_named_and_nothing_is_replaced() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let ada = user(&tenure, "ada").await;
    let client = database.connect(None).await;
    client
        .batch_execute(&format!(
            "alter table log.event disable trigger refuse_change;
             update log.event set payload = '{{\"mode\":1}}' where stream_id = '{ada}';
             alter table log.event enable trigger refuse_change"
        ))
        .await
        .unwrap();
    let failed = rebuild(&tenure, quick()).await.unwrap_err();
    assert!(failed.to_string().contains("event 2 "), "{failed}");
    client
        .batch_execute(&format!(
            "alter table log.event disable trigger refuse_change; delete from log.event where stream_id = '{ada}';
             insert into log.event select 4, gen_random_uuid(), 'foreign', 'x', 1, 'x', '1', null, now(), '{{}}', '{{}}', null;
             alter table log.event enable trigger refuse_change"
        ))
        .await
        .unwrap();
    // A process without memory of the event.
    tenure.close().await;
    let tenure = database.open().await;
    let failed = rebuild(&tenure, quick()).await.unwrap_err();
    assert!(matches!(failed, RebuildError::Replay(ReplayError::Gap { position: 2 })), "{failed}");
    assert_eq!(leftovers(&client).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_reports_what_scripts_need() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    user(&tenure, "ada").await;
    let key = std::fs::read_to_string(crate::support::master_key().default_file).unwrap();
    let run = |arguments: &[&str]| {
        let output = crate::support::process::tenure()
            .args(arguments)
            .env("DATABASE_URL", database.url())
            .env("TENURE_MASTER_KEY", key.trim())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        let last = if said.is_empty() { format!("{errors:?}") } else { said };
        let last = last.lines().last().unwrap_or_default().to_owned();
        (output.status.code(), serde_json::from_str::<serde_json::Value>(&last).unwrap_or_default())
    };
    let (code, said) = run(&["projections", "rebuild", "--json"]);
    assert_eq!(code, Some(0));
    assert!(said["events"].as_u64() >= Some(2) && said["diff_rows"] == 0, "{said}");
    for number in ["seconds", "events_per_second", "peak_memory_bytes"] {
        assert!(said[number].as_f64().is_some(), "{number} of {said}");
    }
    let (code, said) = run(&["audit", "diff", "--json"]);
    assert_eq!((code, &said["differences"]), (Some(0), &0.into()), "{said}");
    assert!(said["rows"].as_u64() >= Some(2), "{said}");
    let client = database.connect(None).await;
    client.batch_execute("update view.users set mode = 'github' where username = 'ada'").await.unwrap();
    let (code, said) = run(&["audit", "diff", "--json"]);
    assert_eq!((code, &said["differences"]), (Some(1), &1.into()), "{said}");
    assert_eq!(said["first"][0]["columns"], serde_json::json!(["mode"]));
    let unread = |arguments: &[&str]| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = crate::support::process::tenure();
        command.args(arguments).env("DATABASE_URL", database.url()).env("TENURE_MASTER_KEY", key.trim());
        command.stdout(writer).status().unwrap().code()
    };
    assert_eq!(unread(&["audit", "diff"]), Some(1), "although nobody reads the output");
    assert_eq!(unread(&["projections", "rebuild"]), Some(6), "although nobody reads the output");
    let (code, said) = run(&["projections", "rebuild", "--json"]);
    assert_eq!((code, &said["diff_rows"]), (Some(6), &1.into()), "{said}");
    for number in ["events", "seconds", "events_per_second", "peak_memory_bytes"] {
        assert!(said[number].as_f64().is_some(), "{number} of {said}");
    }
    assert_eq!(run(&["projections", "rebuild", "--accept-differences", "--json"]).0, Some(0));
    assert_eq!(run(&["projections", "rebuild", "nonsense"]).0, Some(3));

    // Where there is no terminal, a line says who is waited for.
    client.batch_execute("set application_name = 'a report'; begin; select from view.users").await.unwrap();
    let mut waits = crate::support::process::tenure();
    waits.args(["projections", "rebuild", "--swap-wait", "2s"]);
    let waited =
        waits.env("DATABASE_URL", database.url()).env("TENURE_MASTER_KEY", key.trim()).output().unwrap();
    let said = String::from_utf8_lossy(&waited.stderr);
    assert!(said.contains("waiting for other transactions") && said.contains("a report"), "{said}");
    client.batch_execute("commit").await.unwrap();

    // What PostgreSQL says of rows is not passed on.
    for name in ["bob", "carol"] {
        tenure.insert_user(&operator(), name, "shared@people.example", "internal").await.unwrap();
    }
    client
        .batch_execute(
            "delete from view.users where username = 'carol'; create unique index theirs on view.users (email)",
        )
        .await
        .unwrap();
    let (code, said) = run(&["projections", "rebuild", "--accept-differences"]);
    let said = said.as_str().unwrap();
    assert!(code == Some(1) && said.contains("23505") && !said.contains("shared@"), "{code:?} {said}");
    client.batch_execute("drop index view.theirs").await.unwrap();
    assert_eq!(run(&["projections", "rebuild", "--accept-differences", "--json"]).0, Some(0));
}

/// A snapshot that was taken before a swap finds the fresh tables by name, but none of their rows.
#[tokio::test(flavor = "multi_thread")]
async fn a_swap_in_the_middle_of_a_comparison_is_no_difference() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    user(&tenure, "ada").await;
    let (other, swapped) = (tenure.clone(), AtomicBool::new(false));
    let progress = Progress::new(move |step| {
        let is_first = matches!(step, Step::Begun(tenure::replay::Phase::ReadingTables, _))
            && !swapped.swap(true, Ordering::SeqCst);
        if is_first {
            tokio::task::block_in_place(|| {
                tokio::runtime::Handle::current().block_on(async { rebuild(&other, quick()).await.unwrap() })
            });
        }
    });
    let diff = tenure.replay().diff(None, &progress).await.unwrap();
    assert_eq!(diff.differences.count, 0, "{:?}", diff.differences.first);
}

/// Several nodes start, or sweep, at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_drop_what_rebuilds_have_left_at_the_same_time_do_not_fail() {
    let database = TestDatabase::new().await;
    let owner = database.connect(None).await;
    let mut sweepers = Vec::new();
    for _ in 0..4 {
        sweepers.push(database.connect(Some("tenure_app")).await);
    }
    for round in 0..20 {
        let schema = format!("view_retired_{round}");
        let left = format!(
            "create schema {schema} authorization tenure_owner; set role tenure_owner;
             create table {schema}.users (id int); create table {schema}.members (id int);
             create function {schema}.users_apply({schema}.users[]) returns void language sql as '';
             create function {schema}.members_apply({schema}.members[]) returns void language sql as '';
             reset role"
        );
        owner.batch_execute(&left).await.unwrap();
        let sweeps = sweepers.iter().map(|node| node.query("select * from log.drop_leftover_schemas()", &[]));
        for swept in futures::future::join_all(sweeps).await {
            swept.unwrap();
        }
        while !leftovers(&owner).await.is_empty() {
            owner.query("select * from log.drop_leftover_schemas()", &[]).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announcement_of_a_killed_upgrade_stops_nobody_in_a_later_rebuild() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let client = database.connect(None).await;
    let announce = "update log.head set next_projection_set = 'users:999'";
    let announced = "select next_projection_set is not null from log.head";
    // By any node's sweep, and by a rebuild before it reads anything.
    client.batch_execute(announce).await.unwrap();
    tenure.log().drop_leftover_schemas().await.unwrap();
    assert!(!client.query_one(announced, &[]).await.unwrap().get::<_, bool>(0));
    client.batch_execute(announce).await.unwrap();
    let (writes, handle) = (tenure.clone(), tokio::runtime::Handle::current());
    let progress = Progress::new(move |step| {
        if let Step::Begun(phase, _) = step {
            let asked = async {
                assert!(!client.query_one(announced, &[]).await.unwrap().get::<_, bool>(0), "{phase:?}");
                user(&writes, &phase.as_str().replace(' ', "-")).await;
            };
            tokio::task::block_in_place(|| handle.block_on(asked));
        }
    });
    tenure.replay().rebuild(&quick(), &progress).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sweep_that_has_the_lock_for_a_moment_is_waited_for() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let client = database.connect(None).await;
    let lock = tenure::event_log::drain::REBUILD_LOCK;
    client.batch_execute(&format!("select pg_advisory_lock({lock})")).await.unwrap();
    let swept = client.batch_execute("select pg_sleep(0.3), pg_advisory_unlock_all()");
    let (swept, rebuilt) = tokio::join!(swept, rebuild(&tenure, quick()));
    swept.unwrap();
    rebuilt.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_has_waited_for_another_ones_rebuild_does_not_repeat_it() {
    let tenure = TestDatabase::new().await.open().await;
    let unless_current = RebuildOptions { unless_current: true, ..quick() };
    let overtaken = rebuild(&tenure, unless_current).await;
    assert!(matches!(overtaken, Err(RebuildError::Overtaken)), "{overtaken:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_begins_while_others_are_waited_for_is_waited_for_too_and_named() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let (first, second) = (database.connect(None).await, database.connect(None).await);
    first.batch_execute("begin; select from view.users").await.unwrap();
    second.batch_execute("set application_name = 'the second dump'").await.unwrap();
    let (handle, first) = (tokio::runtime::Handle::current(), std::sync::Mutex::new(Some(first)));
    let begins = std::sync::Mutex::new(Some((second, None::<Stopwatch>)));
    let progress = Progress::new(move |step| {
        let Step::WaitingFor(_) = step else { return };
        let (mut first, mut begins) = (first.lock().unwrap(), begins.lock().unwrap());
        let (second, since) = begins.as_mut().unwrap();
        let begun = since.is_some();
        let since = since.get_or_insert_with(Stopwatch::start);
        let act = async {
            if !begun {
                second.batch_execute("begin; select from view.members").await.unwrap();
            } else if since.elapsed() > Duration::from_millis(1_500)
                && let Some(first) = first.take()
            {
                // By now the second one can be told from a query of a node.
                first.batch_execute("commit").await.unwrap();
            }
        };
        tokio::task::block_in_place(|| handle.block_on(act));
    });
    let options = RebuildOptions { swap_wait: Duration::from_secs(5), ..RebuildOptions::default() };
    let rebuilt = tenure.replay().rebuild(&options, &progress).await.unwrap();
    assert!(rebuilt.not_waited_for.iter().any(|who| who.contains("the second dump")), "{rebuilt:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_compares_soon_after_its_start_and_again_and_says_when_it_did() {
    let metrics = metrics_exporter_prometheus::PrometheusBuilder::new().install_recorder().unwrap();
    let database = TestDatabase::new().await;
    let mut settings = database.settings();
    settings.audit_every = Some(Duration::from_millis(20));
    let tenure = crate::support::open_with(settings).await;
    user(&tenure, "ada").await;
    let says = async |line: &str| {
        let look = async {
            while !metrics.render().lines().any(|said| said == line) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), look).await.unwrap_or_else(|_| panic!("{line}"));
    };
    says("tenure_projection_differences 0").await;
    let client = database.connect(None).await;
    client.batch_execute("update view.users set mode = 'external' where username = 'ada'").await.unwrap();
    says("tenure_projection_differences 1").await;
    let rendered = metrics.render();
    let at =
        rendered.lines().find_map(|line| line.strip_prefix("tenure_projection_audit_timestamp_seconds "));
    let at: f64 = at.unwrap().parse().unwrap();
    let now = tenure.clock().now().seconds_since(tenure::clock::Timestamp::default());
    assert!((0.0..60.0).contains(&(now - at)), "{at} {now}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fresh_tables_have_room_for_new_versions_of_their_rows() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    tenure::seed::generate(&tenure, 20_000, 1, |_| {}).await.unwrap();
    rebuild(&tenure, quick()).await.unwrap();
    let client = database.connect(None).await;
    // A row that stays on its page needs no new entries in the indexes.
    let sql = "create temporary table former as select id, (ctid::text::point)[0] as page from view.invites";
    client.batch_execute(sql).await.unwrap();
    client.batch_execute("update view.invites set position = position").await.unwrap();
    let sql = "select count(*) from view.invites i join former f using (id) where (i.ctid::text::point)[0] <> f.page";
    let moved: i64 = client.query_one(sql, &[]).await.unwrap().get(0);
    let all: i64 = client.query_one("select count(*) from former", &[]).await.unwrap().get(0);
    assert!(all > 100 && moved * 10 < all, "{moved} of {all} rows have moved to other pages");
}

/// Half a gigabyte of events, each far larger than any of today.
#[tokio::test(flavor = "multi_thread")]
async fn large_events_need_no_more_memory_than_small_ones() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    tenure::seed::generate(&tenure, 2_500, 1, |_| ()).await.unwrap();
    tenure.close().await;
    let client = database.connect(None).await;
    client
        .batch_execute(
            "alter table log.event disable trigger refuse_change;
             update log.event set metadata = metadata || convert_to(repeat(' ', 200000), 'UTF8');
             alter table log.event enable trigger refuse_change",
        )
        .await
        .unwrap();
    let key = std::fs::read_to_string(crate::support::master_key().default_file).unwrap();
    let output = crate::support::process::tenure()
        .args(["projections", "rebuild", "--json"])
        .env("DATABASE_URL", database.url())
        .env("TENURE_MASTER_KEY", key.trim())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let last: serde_json::Value = serde_json::from_str(said.lines().last().unwrap_or_default()).unwrap();
    assert!(last["events"].as_u64() >= Some(2_500), "{last}");
    let peak = last["peak_memory_bytes"].as_u64().unwrap();
    assert!(peak < 256 << 20, "{} MB", peak >> 20);
}

/// Such as `pg_dump`, which takes a lock on every table that it finds.
#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_the_fresh_tables_is_waited_for_and_named() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    user(&tenure, "ada").await;
    let handle = tokio::runtime::Handle::current();
    for is_patient in [false, true] {
        let dump = database.connect(None).await;
        dump.batch_execute("set application_name = 'a dump'").await.unwrap();
        let dump = Arc::new(std::sync::Mutex::new((dump, None::<Stopwatch>)));
        let (reader, handle) = (dump.clone(), handle.clone());
        let progress = Progress::new(move |step| {
            let mut reader = reader.lock().unwrap();
            let (dump, waited_for) = &mut *reader;
            let act = async {
                match step {
                    Step::Begun(Phase::Loading, _) => {
                        let sql =
                            "select nspname::text from pg_namespace where nspname like 'view\\_next\\_%'";
                        let schema: String = dump.query_one(sql, &[]).await.unwrap().get(0);
                        dump.batch_execute(&format!("begin; select from {schema}.users")).await.unwrap();
                    }
                    Step::WaitingFor(holders) => {
                        assert!(holders[0].contains("a dump"), "{holders:?}");
                        // Longer than any lock of a rebuild is waited for.
                        let since = waited_for.get_or_insert_with(Stopwatch::start);
                        if is_patient && since.elapsed() > Duration::from_secs(6) {
                            dump.batch_execute("commit").await.unwrap();
                        }
                    }
                    _ => {}
                }
            };
            tokio::task::block_in_place(|| handle.block_on(act));
        });
        let swap_wait = Duration::from_secs(if is_patient { 60 } else { 1 });
        let options = RebuildOptions { swap_wait, ..quick() };
        let rebuilt = tenure.replay().rebuild(&options, &progress).await;
        if is_patient {
            rebuilt.unwrap();
        } else {
            let named = matches!(&rebuilt, Err(RebuildError::FreshInUse(who)) if who.contains("a dump"));
            assert!(named, "{rebuilt:?}");
        }
    }
    assert_eq!(diff(&tenure).await.differences.count, 0);
}

/// An index of others that takes long, made while a rebuild waits, is not built while appends wait for the swap.
#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_others_make_meanwhile_is_built_before_the_swap() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    for number in 0..20 {
        user(&tenure, &format!("user-{number}")).await;
    }
    let client = database.connect(None).await;
    client
        .batch_execute(
            "create function public.slowly(text) returns text language plpgsql immutable as
             $$ begin perform pg_catalog.pg_sleep(0.1); return $1; end $$",
        )
        .await
        .unwrap();
    let handle = tokio::runtime::Handle::current();
    let progress = Progress::new(move |step| {
        if matches!(step, Step::Begun(Phase::Waiting, _)) {
            let index = client.batch_execute("create index slow on view.users (public.slowly(username))");
            tokio::task::block_in_place(|| handle.block_on(index)).unwrap();
        }
    });
    let rebuilt = tenure.replay().rebuild(&quick(), &progress).await.unwrap();
    // The index takes two seconds.
    assert!(rebuilt.swap_seconds < 1.0, "{rebuilt:?}");
    let client = database.connect(None).await;
    let is_there =
        "select exists (select from pg_index where indexrelid = to_regclass('view.slow') and indisvalid)";
    assert!(client.query_one(is_there, &[]).await.unwrap().get::<_, bool>(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_others_whose_name_begins_like_one_of_a_rebuild_stays() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let client = database.connect(Some("tenure_owner")).await;
    client
        .batch_execute(
            "create schema view_retired_archive; create table view_retired_archive.users ();
             create schema view_next_c0ffee_of_ours; create schema view_retired_c0ffee",
        )
        .await
        .unwrap();
    rebuild(&tenure, quick()).await.unwrap();
    assert_eq!(leftovers(&client).await, ["view_next_c0ffee_of_ours", "view_retired_archive"]);
    let is_there = "select to_regclass('view_retired_archive.users') is not null";
    assert!(client.query_one(is_there, &[]).await.unwrap().get::<_, bool>(0));
}
