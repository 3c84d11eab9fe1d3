//! What others have put on and into schema `view`: it is on the tables of a rebuild too, or the rebuild is refused by name
//! before the log is read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tenure::Tenure;
use tenure::replay::{Phase, Progress, RebuildError, RebuildOptions, Step};

use crate::support::{TestDatabase, user};

/// Expects that a rebuild is refused because of this, and that it has not read the log.
async fn assert_refused(tenure: &Tenure, because_of: &str) {
    let has_read = Arc::new(AtomicBool::new(false));
    let reads = has_read.clone();
    let progress = Progress::new(move |step| {
        if matches!(step, Step::Begun(Phase::ReadingTables | Phase::ReadingLog, _)) {
            reads.store(true, Ordering::SeqCst);
        }
    });
    let refused = tenure.replay().rebuild(&RebuildOptions::default(), &progress).await;
    let Err(RebuildError::InUse(objects)) = refused else { panic!("{because_of}: {refused:?}") };
    assert!(objects.iter().any(|object| object.contains(because_of)), "{because_of}: {objects:?}");
    assert!(!has_read.load(Ordering::SeqCst), "{because_of} is found before the log is read");
}

#[tokio::test(flavor = "multi_thread")]
async fn types_triggers_indexes_and_replica_identities_are_on_the_fresh_tables() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    user(&tenure, "ada").await;
    let client = database.connect(None).await;
    client
        .batch_execute(
            "create type view.mood as enum ('well'); create domain view.word as text;
             create type view.pair as (one int, other int);
             create table view.moods (mood view.mood, word view.word, pair view.pair);
             create function view.a(view.mood, view.moods) returns int language sql return 1;
             create table view.parted (at serial, note text) partition by range (at);
             create table view.parted_1 partition of view.parted for values from (0) to (10);
             insert into view.parted (note) values ('theirs');
             create statistics public.outside on mode, username from view.users;
             create statistics view.inside on mode, operator from view.users;
             alter table view.accounts replica identity using index accounts_pkey;
             create function view.f() returns trigger language plpgsql as 'begin return null; end';
             create trigger theirs after insert on view.users for each row execute function view.f();
             create trigger resting after insert on view.users for each row execute function view.f();
             alter table view.users disable trigger resting;
             alter table view.pipes enable row level security;
             grant select (username) on view.users to pg_monitor with grant option;
             create index \"My index\" on view.users (mode);
             create unique index theirs_too on view.members (account_id, user_id);
             alter table view.users replica identity full;
             alter table view.members replica identity using index theirs_too;
             alter default privileges for role tenure_owner in schema view grant select on tables to pg_monitor;
             alter default privileges in schema view grant execute on functions to pg_monitor",
        )
        .await
        .unwrap();
    let stands = "select to_regtype('view.mood') is not null and to_regtype('view.word') is not null
                    and to_regtype('view.pair') is not null and to_regclass('view.moods') is not null
                    and to_regprocedure('view.a(view.mood, view.moods)') is not null
                    and (select array_agg(tableoid::regclass::text || note) = '{view.parted_1theirs}' from view.parted)
                    and (select count(*) = 2 from pg_statistic_ext where stxrelid = 'view.users'::regclass
                         and stxname = case stxnamespace when 'view'::regnamespace then 'inside' else 'outside' end)
                    and (select relreplident = 'i' from pg_class where oid = 'view.accounts'::regclass)
                    and (select count(*) = 1 from pg_trigger where tgname = 'theirs' and tgrelid = 'view.users'::regclass)
                    and (select tgenabled = 'D' from pg_trigger where tgname = 'resting' and tgrelid = 'view.users'::regclass)
                    and (select relrowsecurity from pg_class where oid = 'view.pipes'::regclass)
                    and has_column_privilege('pg_monitor', 'view.users', 'username', 'select with grant option')
                    and to_regclass('view.\"My index\"') is not null
                    and (select relreplident = 'f' from pg_class where oid = 'view.users'::regclass)
                    and (select x.indisreplident from pg_index x where x.indexrelid = 'view.theirs_too'::regclass)
                    and (select count(*) = 2 from pg_default_acl where defaclnamespace = 'view'::regnamespace
                         and (defaclrole = 'tenure_owner'::regrole) = (defaclobjtype = 'r'))
                    and not exists (select from pg_namespace where nspname like 'view\\_%')";
    for tables in [Vec::new(), vec![&tenure::projections::users::TABLE], Vec::new()] {
        assert!(client.query_one(stands, &[]).await.unwrap().get::<_, bool>(0));
        let options = RebuildOptions { tables, ..RebuildOptions::default() };
        tenure.replay().rebuild(&options, &Progress::none()).await.unwrap();
    }
    assert!(client.query_one(stands, &[]).await.unwrap().get::<_, bool>(0));
    user(&tenure, "bob").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_put_on_fresh_tables_is_named_before_the_log_is_read() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let client = database.connect(None).await;
    for (made, dropped, because_of) in [
        ("create temporary view mine as select id from view.users", "drop view mine", "mine"),
        ("create collation view.theirs from \"C\"", "drop collation view.theirs", "theirs"),
        ("create type view.span as range (subtype = float8)", "drop type view.span", "span"),
        ("create view public.whole as select u from view.users u", "drop view public.whole", "whole"),
        (
            // Of a release before, which had one table more.
            "create table view.legacy (id int); create view public.old as select * from view.legacy;
             alter table view.legacy owner to tenure_owner;
             update log.head set projection_set = projection_set || ',legacy:1'",
            "drop view public.old; drop table view.legacy;
             update log.head set projection_set = replace(projection_set, ',legacy:1', '')",
            "old",
        ),
    ] {
        client.batch_execute(made).await.unwrap();
        assert_refused(&tenure, because_of).await;
        client.batch_execute(dropped).await.unwrap();
    }
    // A reader of another table is no reason to refuse the rebuild of one.
    client
        .batch_execute("create materialized view public.seen as select id from view.accounts")
        .await
        .unwrap();
    let one =
        RebuildOptions { tables: vec![&tenure::projections::users::TABLE], ..RebuildOptions::default() };
    tenure.replay().rebuild(&one, &Progress::none()).await.unwrap();
    assert_refused(&tenure, "seen").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_view_that_the_login_may_not_replace_is_named_before_the_log_is_read() {
    let database = TestDatabase::empty().await;
    let admin = database.connect(None).await;
    let name = format!("plain_{}", database.name);
    let create = format!("create role {name} login; grant create on database {} to {name}", database.name);
    admin.batch_execute(&create).await.unwrap();
    let mut address = database.address.clone();
    address.config.user(&name);
    let tenure = crate::support::open_with(tenure::Settings { address, ..database.settings() }).await;
    admin.batch_execute("create view public.people as select id from view.users").await.unwrap();
    assert_refused(&tenure, "people").await;
    admin.batch_execute("drop view public.people").await.unwrap();
    tenure.replay().rebuild(&RebuildOptions::default(), &Progress::none()).await.unwrap();
    tenure.close().await;
    admin.batch_execute(&format!("drop owned by {name} cascade; drop role {name}")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_have_put_into_a_schema_that_a_rebuild_has_left_keeps_no_row_of_ours() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let client = database.connect(None).await;
    client
        .batch_execute(
            "create schema view_retired_1 authorization tenure_owner;
             create table view_retired_1.users (username text); alter table view_retired_1.users owner to tenure_owner;
             create function view_retired_1.users_apply() returns void language sql as '';
             alter function view_retired_1.users_apply owner to tenure_owner;
             create type view_retired_1.mood as enum ('well')",
        )
        .await
        .unwrap();
    let stays = tenure.log().drop_leftover_schemas().await.unwrap();
    assert_eq!(stays.len(), 1, "{stays:?}");
    let sql = "select to_regclass('view_retired_1.users') is null and to_regnamespace('view_retired_1') is not null";
    assert!(client.query_one(sql, &[]).await.unwrap().get::<_, bool>(0), "the rows are gone");
    client.batch_execute("drop type view_retired_1.mood").await.unwrap();
    assert_eq!(tenure.log().drop_leftover_schemas().await.unwrap(), []);
    let sql = "select to_regnamespace('view_retired_1') is null";
    assert!(client.query_one(sql, &[]).await.unwrap().get::<_, bool>(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_rebuilt_under_another_release_of_the_same_set_is_mended_at_the_next_start() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let client = database.connect(None).await;
    let definition = "select view_definition from log.head";
    let ours: String = client.query_one(definition, &[]).await.unwrap().get(0);
    let one =
        RebuildOptions { tables: vec![&tenure::projections::users::TABLE], ..RebuildOptions::default() };
    tenure.replay().rebuild(&one, &Progress::none()).await.unwrap();
    assert_eq!(client.query_one(definition, &[]).await.unwrap().get::<_, String>(0), ours);
    client.batch_execute("update log.head set view_definition = 'of the other release'").await.unwrap();
    tenure.replay().rebuild(&one, &Progress::none()).await.unwrap();
    assert_eq!(client.query_one(definition, &[]).await.unwrap().get::<_, String>(0), "");
    database.open().await.close().await;
    assert_eq!(client.query_one(definition, &[]).await.unwrap().get::<_, String>(0), ours);
}

#[tokio::test(flavor = "multi_thread")]
async fn grants_to_a_role_whose_name_needs_quotes_are_on_the_fresh_tables() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let client = database.connect(None).await;
    let role = format!("Role-of {}", database.name);
    let grant = format!(
        "create role \"{role}\"; grant usage on schema view to \"{role}\"; grant select on view.users to \"{role}\";
         grant select (user_id) on view.members to \"{role}\"; alter default privileges in schema view grant select on tables to \"{role}\";
         alter default privileges for role tenure_owner grant select on tables to \"{role}\""
    );
    client.batch_execute(&grant).await.unwrap();
    tenure.replay().rebuild(&RebuildOptions::default(), &Progress::none()).await.unwrap();
    let sql =
        "select has_schema_privilege($1, 'view', 'usage') and has_table_privilege($1, 'view.users', 'select')
                  and has_column_privilege($1, 'view.members', 'user_id', 'select')
                  and not has_table_privilege($1, 'view.members', 'select')
                  and exists (select from pg_default_acl where defaclnamespace = 'view'::regnamespace)";
    assert!(client.query_one(sql, &[&role]).await.unwrap().get::<_, bool>(0));
    client.batch_execute(&format!("drop owned by \"{role}\"; drop role \"{role}\"")).await.unwrap();
}
