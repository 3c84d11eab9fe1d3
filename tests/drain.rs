//! An upgrade replaces the projections only once the nodes of the release before have stopped writing.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tenure::clock::{Stopwatch, SystemClock};
use tenure::dispatch::{DispatchError, Failure};
use tenure::engine::OpenError;
use tenure::entropy::OsEntropy;
use tenure::event_log::AppendError;
use tenure::event_log::drain::REBUILD_LOCK;
use tenure::event_log::probe::NotReady;
use tenure::postgres::migrate::{MigrateError, Replacing};
use tenure::projections;
use tenure::replay::{Phase, Progress, RebuildError, RebuildOptions, Step};
use tenure::{Settings, Tenure};

use crate::replay::assert_tables_are_a_fold_of_the_log;
use crate::support::{TestDatabase, operator, user};

/// Waits until the first column of the first row of a query is true.
async fn until(client: &tokio_postgres::Client, question: &str) {
    while !client.query_one(question, &[]).await.unwrap().get::<_, bool>(0) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_says_that_it_is_not_ready_before_it_refuses_and_goes_on_if_the_upgrade_does_not_come() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let client = database.connect(None).await;
    until(&client, "select count(*) = 1 from log.node").await;
    client.execute("select pg_advisory_lock($1)", &[&REBUILD_LOCK]).await.unwrap();
    let announced = Stopwatch::start();
    client.batch_execute("update log.head set next_projection_set = 'users:2'").await.unwrap();
    while tenure.ready().await.is_ok() {
        tokio::task::yield_now().await;
    }
    let noticed = announced.elapsed();
    assert!(noticed < Duration::from_millis(500), "{noticed:?}");
    assert!(matches!(tenure.ready().await, Err(NotReady::Draining(set)) if set == "users:2"));
    // What reaches the node in the meantime is still carried out.
    let mut made = 0;
    let refused = loop {
        match tenure.insert_user(&operator(), &format!("u{made}"), "x@example.org", "internal").await {
            Ok(_) => made += 1,
            Err(error) => break error,
        }
    };
    assert!(
        made > 0 && announced.elapsed() > Duration::from_secs(1),
        "{made} after {:?}",
        announced.elapsed()
    );
    assert!(
        matches!(&refused, DispatchError::Failed(Failure::Append(AppendError::Superseded(set))) if set == "users:2"),
        "{refused}"
    );
    until(&client, "select bool_and(is_drained) from log.node").await;
    // The release that announced it dies: its lock is gone.
    client.execute("select pg_advisory_unlock($1)", &[&REBUILD_LOCK]).await.unwrap();
    while tenure.ready().await.is_err() {
        tokio::task::yield_now().await;
    }
    user(&tenure, "after").await;
    until(&client, "select count(*) = 1 and not bool_or(is_drained) from log.node").await;
    tenure.close().await;
    assert_eq!(client.query_one("select count(*) from log.node", &[]).await.unwrap().get::<_, i64>(0), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_goes_on_if_the_release_that_announced_freezes() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let client = database.connect(None).await;
    until(&client, "select count(*) = 1 from log.node").await;
    // A frozen process keeps its lock, and no longer renews what it has announced.
    client.execute("select pg_advisory_lock($1)", &[&REBUILD_LOCK]).await.unwrap();
    let announce = "update log.head set next_projection_set = 'users:2', next_set_until = clock_timestamp() + interval '3 s'";
    client.batch_execute(announce).await.unwrap();
    until(&client, "select bool_and(is_drained) from log.node").await;
    assert!(tenure.ready().await.is_err());
    let goes_on = async {
        while tenure.ready().await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), goes_on).await.expect("the node goes on");
    user(&tenure, "ada").await;
    tenure.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swap_whose_announcement_has_expired_asks_the_nodes_once_more() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let client = database.connect(None).await;
    client
        .batch_execute("update log.head set projection_set = replace(projection_set, 'users:1', 'users:0')")
        .await
        .unwrap();
    let begun = Arc::new(Mutex::new(Vec::new()));
    let progress = {
        let (begun, handle, client) = (begun.clone(), tokio::runtime::Handle::current(), Arc::new(client));
        Progress::new(move |step| {
            let Step::Begun(phase, _) = step else { return };
            let is_first = phase == Phase::Swapping && !begun.lock().unwrap().contains(&Phase::Swapping);
            begun.lock().unwrap().push(phase);
            if is_first {
                // The process has been frozen for longer than its announcement lasts.
                let expire = client.batch_execute("update log.head set next_set_until = clock_timestamp()");
                tokio::task::block_in_place(|| handle.block_on(expire)).unwrap();
            }
        })
    };
    let options = RebuildOptions { drain_timeout: Duration::from_millis(300), ..RebuildOptions::default() };
    tenure.replay().rebuild(&options, &progress).await.unwrap();
    let begun = begun.lock().unwrap();
    let count = |phase| begun.iter().filter(|begun| **begun == phase).count();
    assert_eq!((count(Phase::Draining), count(Phase::Swapping)), (2, 2), "{begun:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_row_cannot_be_renewed_says_at_once_that_it_is_not_ready() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let client = database.connect(None).await;
    until(&client, "select count(*) = 1 from log.node").await;
    client.execute("select pg_advisory_lock($1)", &[&REBUILD_LOCK]).await.unwrap();
    let mut other = database.connect(None).await;
    let locking = other.transaction().await.unwrap();
    locking.batch_execute("lock table log.node in access exclusive mode").await.unwrap();
    until(
        &client,
        "select exists (select from pg_locks where relation = 'log.node'::regclass and not granted)",
    )
    .await;
    let announced = Stopwatch::start();
    client.batch_execute("update log.head set next_projection_set = 'users:2'").await.unwrap();
    while tenure.ready().await.is_ok() {
        tokio::task::yield_now().await;
    }
    let noticed = announced.elapsed();
    assert!(noticed < Duration::from_millis(500), "{noticed:?}");
    assert!(matches!(tenure.ready().await, Err(NotReady::Draining(set)) if set == "users:2"));
    locking.rollback().await.unwrap();
    tenure.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_waits_for_nodes_of_the_release_before_and_not_for_dead_ones() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    user(&tenure, "ada").await;
    tenure.close().await;
    let client = database.connect(None).await;
    client
        .batch_execute(
            "update log.head set projection_set = replace(projection_set, 'users:1', 'users:0');
             insert into log.node (id, projection_set, expires_at) values
                 ('00000000-0000-0000-0000-00000000000a', 'before', 'infinity'),
                 ('00000000-0000-0000-0000-00000000000b', 'before', now() - interval '1 second')",
        )
        .await
        .unwrap();
    let settings = database.settings();
    let opening = tokio::spawn(crate::support::open_with(settings));
    let set = projections::set_name();
    until(&client, &format!("select next_projection_set = '{set}' from log.head where next_projection_set is not null union all select false limit 1")).await;
    // Nothing is replaced while that node may write.
    let replaced = "select projection_set = $1 from log.head";
    for _ in 0..20 {
        assert!(!client.query_one(replaced, &[&set]).await.unwrap().get::<_, bool>(0));
    }
    client.batch_execute("delete from log.node where expires_at = 'infinity'").await.unwrap();
    let tenure = opening.await.unwrap();
    assert!(client.query_one(replaced, &[&set]).await.unwrap().get::<_, bool>(0));
    until(&client, "select next_projection_set is null from log.head").await;
    assert_tables_are_a_fold_of_the_log(&tenure).await;

    // One that does not answer in time is not waited for: its appends are refused from the swap on.
    tenure.close().await;
    client
        .batch_execute(
            "update log.head set projection_set = replace(projection_set, 'users:1', 'users:0');
             insert into log.node (id, projection_set, expires_at) values
                 ('00000000-0000-0000-0000-00000000000a', 'before', 'infinity')",
        )
        .await
        .unwrap();
    let settings = tenure::Settings { drain_timeout: Duration::from_millis(300), ..database.settings() };
    let tenure = crate::support::open_with(settings).await;
    assert_tables_are_a_fold_of_the_log(&tenure).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_several_new_nodes_one_rebuilds_and_the_others_wait() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    tenure::seed::generate(&tenure, 2_000, 1, |_| ()).await.unwrap();
    tenure.close().await;
    let client = database.connect(None).await;
    client
        .batch_execute("update log.head set projection_set = replace(projection_set, 'users:1', 'users:0')")
        .await
        .unwrap();
    let opening = [(); 3].map(|()| tokio::spawn(crate::support::open_with(database.settings())));
    for opened in opening {
        let node = opened.await.unwrap();
        assert_eq!(
            node.replay().diff(None, &tenure::replay::Progress::none()).await.unwrap().differences.count,
            0
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_difference_that_an_upgrade_finds_ends_the_start_and_the_nodes_before_go_on() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let ada = user(&tenure, "ada").await;
    tenure.close().await;
    let client = database.connect(None).await;
    client
        .batch_execute(&format!(
            "update log.head set projection_set = replace(projection_set, 'members:2', 'members:1');
             update view.users set operator = true where id = '{ada}'"
        ))
        .await
        .unwrap();
    let opened =
        Tenure::open(database.settings(), Arc::new(SystemClock), Arc::new(OsEntropy::default())).await;
    let error = opened.err().unwrap();
    assert!(
        matches!(&error, OpenError::Rebuild(RebuildError::Differs { differences: found, .. }) if found.first[0].columns == ["operator"]),
        "{error}"
    );
    let untouched = "select projection_set like '%members:1%' and next_projection_set is null
                            and not exists (select from pg_namespace where nspname like 'view\\_%') from log.head";
    assert!(client.query_one(untouched, &[]).await.unwrap().get::<_, bool>(0));
}

/// Without a version to tell by: the next release has one table fewer, and no migration.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_projections_were_replaced_does_not_take_them_back_when_it_restarts_unless_it_is_asked_to()
 {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    user(&tenure, "ada").await;
    tenure.close().await;
    let client = database.connect(None).await;
    let (ours, open) = (projections::set_name(), |settings| {
        Tenure::open(settings, Arc::new(SystemClock), Arc::new(OsEntropy::default()))
    });
    let become_set = async |set: &str| {
        client.execute("update log.head set projection_set = $1", &[&set]).await.unwrap();
    };
    let replaced = async || {
        let sql = "select coalesce(array_agg(projection_set order by number), '{}') from log.replaced_projection_set";
        client.query_one(sql, &[]).await.unwrap().get::<_, Vec<String>>(0)
    };
    // An upgrade from this set notes it.
    become_set("accounts:1").await;
    open(database.settings()).await.unwrap().close().await;
    assert_eq!(replaced().await, ["accounts:1"]);

    // As a later release leaves it that replaces this one.
    client
        .execute(
            "insert into log.replaced_projection_set (projection_set) values ($1), ('between')",
            &[&ours],
        )
        .await
        .unwrap();
    become_set("accounts:1,users:1").await;
    for replacing in [Replacing::Earlier, Replacing::IfUnused] {
        let refused = open(Settings { replacing, ..database.settings() }).await.err().unwrap();
        assert!(
            matches!(&refused, OpenError::Migrate(MigrateError::NewerProjections { database }) if database == "accounts:1,users:1"),
            "{refused}"
        );
    }
    let back = open(Settings { replacing: Replacing::Always, ..database.settings() }).await.unwrap();
    assert_tables_are_a_fold_of_the_log(&back).await;
    back.close().await;
    // The releases after this one may upgrade again.
    assert_eq!(replaced().await, ["accounts:1"]);

    // A later release that the log began with, or that went past this one, may upgrade again, too.
    let later = ours.replace("users:1", "users:9");
    client
        .execute("insert into log.replaced_projection_set (projection_set) values ($1)", &[&later])
        .await
        .unwrap();
    become_set(&later).await;
    open(Settings { replacing: Replacing::Always, ..database.settings() }).await.unwrap().close().await;
    assert_eq!(replaced().await, ["accounts:1"]);
}

/// What the swap of an upgrade needs is looked at before any node is asked to stop.
#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_that_cannot_have_its_locks_ends_before_it_asks_a_node_to_stop() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    user(&tenure, "ada").await;
    let client = database.connect(None).await;
    client
        .batch_execute(
            "create view public.people as select username from view.users;
             update log.head set projection_set = replace(projection_set, 'users:1', 'users:0')",
        )
        .await
        .unwrap();
    let reader = database.connect(None).await;
    reader
        .batch_execute("set application_name = 'a long report'; begin; select from public.people")
        .await
        .unwrap();
    let options = RebuildOptions {
        swap_wait: Duration::ZERO,
        lock_wait: Duration::from_millis(300),
        ..RebuildOptions::default()
    };
    let phases = Arc::new(Mutex::new(Vec::new()));
    let seen = phases.clone();
    let progress = Progress::new(move |step| {
        if let Step::Begun(phase, _) = step {
            seen.lock().unwrap().push(phase);
        }
    });
    let ended = tenure.replay().rebuild(&options, &progress).await;
    assert!(matches!(&ended, Err(RebuildError::Blocked(who)) if who.contains("a long report")), "{ended:?}");
    let phases = phases.lock().unwrap().clone();
    assert!(phases.contains(&Phase::Waiting) && !phases.contains(&Phase::Draining), "{phases:?}");
    reader.batch_execute("commit").await.unwrap();
    tenure.replay().rebuild(&options, &Progress::none()).await.unwrap();
}

/// Somebody comes between the rehearsal and the swap, and stays: nodes stop for moments, not for as long as the swap is tried.
#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_lets_nodes_go_on_while_somebody_holds_what_it_needs() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    user(&tenure, "ada").await;
    let client = database.connect(None).await;
    client
        .batch_execute(
            "create view public.people as select username from view.users;
             update log.head set projection_set = replace(projection_set, 'users:1', 'users:0')",
        )
        .await
        .unwrap();
    let reader = Arc::new(Mutex::new(Some(database.connect(None).await)));
    let (drains, taken) = (Arc::new(Mutex::new(0_u32)), reader.clone());
    let seen = drains.clone();
    let handle = tokio::runtime::Handle::current();
    let progress = Progress::new(move |step| {
        if matches!(step, Step::Begun(Phase::Draining, _)) {
            *seen.lock().unwrap() += 1;
            let first = taken.lock().unwrap().take();
            if let Some(reader) = first {
                tokio::task::block_in_place(|| {
                    handle.block_on(async {
                        let late = "set application_name = 'a late report'; begin; select from public.people";
                        reader.batch_execute(late).await.unwrap();
                    });
                });
                // Stays open.
                std::mem::forget(reader);
            }
        }
    });
    let options = RebuildOptions {
        swap_wait: Duration::ZERO,
        lock_wait: Duration::from_secs(4),
        ..RebuildOptions::default()
    };
    let ended = tenure.replay().rebuild(&options, &progress).await;
    assert!(matches!(&ended, Err(RebuildError::Blocked(who)) if who.contains("a late report")), "{ended:?}");
    assert_eq!(*drains.lock().unwrap(), 1, "nodes are asked again only when the locks are free");
    let announced = "select next_projection_set is not null from log.head";
    assert!(!client.query_one(announced, &[]).await.unwrap().get::<_, bool>(0));
}
