//! Databases that an earlier release made: brought up to this one, with the same objects, privileges and data as a fresh
//! one has.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tenure::aggregates::EventSourced as _;
use tenure::aggregates::invite::{Invite, InviteEnd, InviteEvent};
use tenure::aggregates::user::{UserMode, Username};
use tenure::clock::SystemClock;
use tenure::credentials::master_key::MasterKeySource;
use tenure::engine::OpenError;
use tenure::entropy::OsEntropy;
use tenure::ids::{AccountId, InviteId, UserId};
use tenure::projections::invites::InviteStatus;
use tenure::replay::{Progress, RebuildError, RebuildOptions};
use tenure::{Settings, Tenure};

use crate::replay::assert_tables_are_a_fold_of_the_log;
use crate::sealing::{dump, program};
use crate::support::node::{self, Release};
use crate::support::{TestDatabase, account, as_user, history, operator, rows, store, user};

/// Made by the release before schema version 4, with something of everything in it.
const SCHEMA_V3: &str = include_str!("databases/schema_v3.sql");

/// The API keys in it: one that is good, and one that was revoked.
const KEYS: [&str; 2] = ["ppz_0f8053408ed2a5112882c269a0", "ppz_e0df08d5fbfd893ef97520f92b"];

pub fn master_key() -> MasterKeySource {
    let text = include_str!("databases/master.key").trim();
    MasterKeySource { value: Some(SecretString::from(text)), ..MasterKeySource::default() }
}

/// Runs a script as the superuser.
pub fn load(database: &TestDatabase, script: &str) {
    let mut psql = Command::new(program("psql"))
        .args(["--quiet", "--no-psqlrc", "--set", "ON_ERROR_STOP=1", "--dbname", &database.url()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    psql.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    assert!(psql.wait().unwrap().success());
}

async fn v3() -> TestDatabase {
    // The roles belong to the server, and its first database has made them.
    drop(TestDatabase::new().await);
    let database = TestDatabase::empty().await;
    load(&database, SCHEMA_V3);
    database
}

async fn open(database: &TestDatabase) -> Result<Tenure, OpenError> {
    let settings = Settings { master_key: master_key(), ..database.settings() };
    Tenure::open(settings, Arc::new(SystemClock), Arc::new(OsEntropy::default())).await
}

/// What `pg_dump` says of a database's objects and privileges.
fn schema(database: &TestDatabase) -> String {
    let text = dump(database, &["--schema-only"]);
    // Newer clients write a random word around the dump.
    text.lines()
        .filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"))
        .collect::<Vec<_>>()
        .join("\n")
}

async fn assert_is_as_good_as_fresh(database: &TestDatabase) {
    let fresh = TestDatabase::new().await;
    assert_eq!(schema(database), schema(&fresh));
    let tenure = open(database).await.unwrap();
    let [good, revoked] = KEYS;
    let found = tenure.lookup_api_key(&SecretString::from(good)).await.unwrap();
    assert_eq!(tenure.reader().account(found.account_id).await.unwrap().name, "acme");
    assert!(tenure.lookup_api_key(&SecretString::from(revoked)).await.is_err());
    let events = history(&tenure).await;
    let decoded = tenure.codec().decode(&events, tenure.log().primary()).await.unwrap();
    assert_eq!(decoded.len(), events.len());
    let dave = tenure.reader().forgotten_users_after(0, 10).await.unwrap();
    assert_eq!(dave.len(), 1);
    let owner = tenure.reader().user_by_username("carol").await.unwrap().id;
    tenure.create_source(&operator(), found.account_id, Some(owner), "newer", None).await.unwrap();
    user(&tenure, "after-the-upgrade").await;
    assert_tables_are_a_fold_of_the_log(&tenure).await;
    tenure.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_the_release_before_becomes_one_like_a_fresh_one() {
    let database = v3().await;
    let tenure = open(&database).await.unwrap();
    assert_ne!(tenure.log().seen().get().epoch, 1, "positions from before mean nothing on another server");
    tenure.close().await;
    assert_is_as_good_as_fresh(&database).await;
}

/// Stores an invite as version 1 did, and how it ended.
async fn invite_v1(
    tenure: &Tenure,
    to: AccountId,
    by: UserId,
    name: &str,
    bound: Option<UserId>,
    ended: bool,
) -> InviteId {
    let at = tenure.clock().now();
    let id = InviteId::new(at, &*tenure.entropy());
    let invitee = Username::parse(name).unwrap();
    let created = InviteEvent::Created {
        account: to,
        inviter: by,
        bound,
        mode: UserMode::Github,
        at,
        expires_at: at.after(Duration::from_secs(3_600)),
        invitee_key: None,
        invitee: invitee.clone().into(),
    };
    store(tenure, Invite::stream(id.as_uuid()), 1, created.into()).await;
    if ended {
        let end = InviteEnd {
            account: to,
            user: bound,
            at,
            was_pending: true,
            was_bound: bound.is_some(),
            invitee_key: None,
            invitee: invitee.into(),
        };
        store(tenure, Invite::stream(id.as_uuid()), 2, InviteEvent::Revoked(end).into()).await;
    }
    id
}

#[tokio::test(flavor = "multi_thread")]
async fn invites_of_version_1_are_forgotten_with_their_users_pending_or_ended_bound_or_not() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let owner = user(&tenure, "owner").await;
    let (acme, globex) = (account(&tenure, "acme", owner).await, account(&tenure, "globex", owner).await);
    // Ended before anybody had the name; pending for another way of signing in; bound, pending and ended.
    invite_v1(&tenure, acme, owner, "zed", None, true).await;
    let doubled = invite_v1(&tenure, acme, owner, "zed", None, false).await;
    let of_name = invite_v1(&tenure, globex, owner, "zed", None, false).await;
    let zed = user(&tenure, "zed").await;
    let bound = invite_v1(&tenure, acme, owner, "zed", Some(zed), false).await;
    invite_v1(&tenure, globex, owner, "zed", Some(zed), true).await;
    // No user has this name yet: two of the same name, ended and pending.
    invite_v1(&tenure, acme, owner, "yara", None, true).await;
    let waits = invite_v1(&tenure, globex, owner, "yara", None, false).await;
    let client = database.connect(None).await;
    client.batch_execute("update log.head set invites_resealed = false").await.unwrap();
    tenure.close().await;

    let tenure = database.open().await;
    let keys = "select count(*) from log.data_key where subject like 'invite:%'";
    assert_eq!(client.query_one(keys, &[]).await.unwrap().get::<_, i64>(0), 0, "no key that no person has");
    let events = history(&tenure).await.len();
    for (invite, status) in [
        (bound, InviteStatus::Pending),
        (doubled, InviteStatus::Revoked),
        (of_name, InviteStatus::Pending),
        (waits, InviteStatus::Pending),
    ] {
        let shown = tenure.reader().invite(invite).await.unwrap();
        assert_eq!(shown.status, status);
        assert!(["zed", "yara"].contains(&shown.invitee_username.as_str()));
    }
    // Each stands as before.
    let again = tenure.create_invite(&as_user(owner), globex, "yara", None).await;
    assert!(again.is_err(), "one is pending");
    let yara = tenure.insert_user(&operator(), "yara", "yara@example.org", "github").await.unwrap().answer;
    tenure.accept_invite(&as_user(yara), waits, yara).await.unwrap();
    tenure.accept_invite(&as_user(zed), of_name, zed).await.unwrap();
    tenure.close().await;
    let tenure = database.open().await;
    assert!(history(&tenure).await.len() < events + 10, "once");

    let described = tenure.describe(&history(&tenure).await).await.unwrap();
    assert!(serde_json::to_string(&described).unwrap().contains("\"zed\""));
    for person in [zed, yara] {
        tenure.forget_user(&operator(), person).await.unwrap();
        let described = tenure.describe(&history(&tenure).await).await.unwrap();
        let name = if person == zed { "zed" } else { "yara" };
        let text = serde_json::to_string(&described).unwrap();
        assert!(!text.contains(&format!("\"{name}\"")), "{text}");
    }
    tenure.clear_away().await.unwrap();
    let shown = rows(&client, "view.invites").await.join("\n");
    assert!(!shown.contains("zed") && !shown.contains("yara"), "{shown}");
    assert_tables_are_a_fold_of_the_log(&tenure).await;
    tenure.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn projections_with_one_column_fewer_are_folded_from_the_log_again() {
    let database = v3().await;
    let client = database.connect(None).await;
    client
        .batch_execute(
            "set role tenure_owner;
             drop function view.users_apply; alter table view.users drop column avatar_url;
             create function view.users_apply(base bigint, ended view.users[]) returns void language sql as '';
             drop function view.pipes_apply; drop table view.pipes;
             create table view.gadgets (id uuid primary key);
             create function view.gadgets_apply(base bigint, ended view.gadgets[]) returns void language sql as '';
             update log.head set projection_set =
                 'users:0,accounts:1,members:1,invites:1,api_keys:1,device_codes:1,bearer_tokens:1,sessions:1,'
                 'sign_in_links:1,sources:1,gadgets:3,unique_claims:1'",
        )
        .await
        .unwrap();
    open(&database).await.unwrap().close().await;
    assert_is_as_good_as_fresh(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn projections_that_others_build_on_are_not_taken_away_from_under_them() {
    let database = v3().await;
    let client = database.connect(None).await;
    client
        .batch_execute(
            "create schema reporting; create materialized view reporting.people as select id, username from view.users;
             update log.head set projection_set = 'users:0'",
        )
        .await
        .unwrap();
    let error = open(&database).await.err().unwrap();
    assert!(
        matches!(&error, OpenError::Rebuild(RebuildError::InUse(what)) if what.join("").contains("reporting.people")),
        "{error}"
    );
    client.batch_execute("drop schema reporting cascade").await.unwrap();
    let others = "select count(*) from pg_stat_activity
                  where datname = current_database() and application_name like 'tenure%'";
    while client.query_one(others, &[]).await.unwrap().get::<_, i64>(0) > 0 {
        tokio::task::yield_now().await;
    }
    open(&database).await.unwrap().close().await;
    assert_is_as_good_as_fresh(&database).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_have_put_on_the_projections_is_on_the_new_ones_too() {
    let database = v3().await;
    let client = database.connect(None).await;
    let reader = format!("bi_{}", database.name);
    client
        .batch_execute(&format!(
            "create role {reader}; grant usage on schema view to {reader}; grant select on view.users to {reader};
             alter default privileges for role tenure_owner in schema view grant select on tables to {reader};
             create index \"Mine\" on view.users (mode);
             create view public.people with (security_barrier) as select id, username from view.users;
             create view view.of_theirs as select id from public.people; grant select on public.people to {reader};
             create table view.mine (x int); create table log.mine (x int); create materialized view view.seen as select 1;
             create function public.nothing() returns trigger language plpgsql as 'begin return null; end';
             create trigger theirs after insert on view.users for each statement execute function public.nothing();
             update log.head set projection_set = 'users:0'"
        ))
        .await
        .unwrap();
    open(&database).await.unwrap().close().await;
    let kept = "select has_table_privilege($1, 'view.users', 'select')
                   and has_table_privilege($1, 'view.endings', 'select') and not has_table_privilege($1, 'view.accounts', 'select')
                   and to_regclass('view.\"Mine\"') is not null
                   and exists (select from pg_trigger where tgname = 'theirs' and tgrelid = 'view.users'::regclass)
                   and has_table_privilege($1, 'public.people', 'select')
                   and (select reloptions::text = '{security_barrier=true}' from pg_class where relname = 'people')
                   and (select count(*) from public.people) = (select count(*) from view.users)
                   and (select count(*) from view.of_theirs) > 0
                   and not exists (select from pg_namespace where nspname like 'view\\_%')
                   and to_regclass('view.seen') is not null and to_regclass('view.mine') is not null";
    assert!(client.query_one(kept, &[&reader]).await.unwrap().get::<_, bool>(0));
    // Nor do they hinder a later start, or what it mends.
    client.batch_execute("update log.head set view_definition = 'another', privileges = ''").await.unwrap();
    open(&database).await.unwrap().close().await;
    assert!(client.query_one(kept, &[&reader]).await.unwrap().get::<_, bool>(0));
    client.batch_execute(&format!("drop owned by {reader}; drop role {reader}")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_without_privileges_is_given_them_before_its_projections_are_replaced() {
    let database = v3().await;
    let client = database.connect(None).await;
    client
        .batch_execute(
            "revoke all on schema log, view, coarse from tenure_app;
             revoke all on all tables in schema log, view, coarse from tenure_app;
             update log.head set projection_set = 'users:0'",
        )
        .await
        .unwrap();
    open(&database).await.unwrap().close().await;
    assert_is_as_good_as_fresh(&database).await;
}

/// Drops the indexes of a table.
const WITHOUT_INDEXES: &str = "
    do $$ declare name text; begin
        for name in select indexrelid::regclass::text from pg_index
            where indrelid = 'view.invites'::regclass and not indisprimary
        loop execute 'drop index ' || name; end loop; end $$";

/// The next start finds that the tables are not as its release makes them.
const OF_AN_EARLIER_RELEASE: &str = "update log.head set view_definition = 'of an earlier release'";

/// A snapshot whose end an index that is built concurrently waits for.
const OLD_SNAPSHOT: &str = "begin isolation level repeatable read; select from view.invites limit 1";

#[tokio::test(flavor = "multi_thread")]
async fn what_a_later_release_adds_reaches_a_database_that_exists() {
    let database = TestDatabase::new().await;
    let expected = schema(&database);
    let client = database.connect(None).await;
    // As an earlier release of the same set would have left it, or an operator who tried things out.
    for damage in [
        "create or replace function view.users_apply(base bigint, ended view.users[], begun view.users[],
             changed view.users[], masks bigint[]) returns void language plpgsql as 'begin end'",
        WITHOUT_INDEXES,
        "create index invites_1 on view.invites (account_id)",
        "create index invites_deadbeef on view.invites (mode)",
        "create function view.users_apply(base bigint) returns void language sql as ''",
        "alter table view.users set (fillfactor = 50)",
    ] {
        client.batch_execute(damage).await.unwrap();
    }
    client.batch_execute(OF_AN_EARLIER_RELEASE).await.unwrap();
    database.open().await.close().await;
    assert_eq!(schema(&database), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_builds_an_index_says_whose_transaction_it_waits_for() {
    let database = TestDatabase::new().await;
    let expected = schema(&database);
    let client = database.connect(None).await;
    client.batch_execute(WITHOUT_INDEXES).await.unwrap();
    client.batch_execute(OF_AN_EARLIER_RELEASE).await.unwrap();
    let dump = database.connect(None).await;
    dump.batch_execute("set application_name = 'a dump'").await.unwrap();
    dump.batch_execute(OLD_SNAPSHOT).await.unwrap();
    let release = Release::new(env!("CARGO_BIN_EXE_tenure"), &database);
    let mut node = release.serve(node::address());
    node.until_said("a dump").await;
    dump.batch_execute("commit").await.unwrap();
    node.until_ready(&node::client()).await;
    node.end();
    assert_eq!(schema(&database), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_mends_the_tables_that_a_rebuild_has_put_in_the_place_of_those_that_it_was_mending() {
    let database = TestDatabase::new().await;
    let expected = schema(&database);
    let tenure = database.open().await;
    let client = database.connect(None).await;
    client.batch_execute(WITHOUT_INDEXES).await.unwrap();
    client.batch_execute(OF_AN_EARLIER_RELEASE).await.unwrap();
    let dump = database.connect(None).await;
    dump.batch_execute(OLD_SNAPSHOT).await.unwrap();
    let starting = tokio::spawn(crate::support::open_with(database.settings()));
    let waits = "select exists (select from pg_stat_activity
                                where query like 'create index concurrently%' and wait_event_type = 'Lock')";
    while !client.query_one(waits, &[]).await.unwrap().get::<_, bool>(0) {
        tokio::task::yield_now().await;
    }
    let options = RebuildOptions { swap_wait: Duration::from_millis(100), ..RebuildOptions::default() };
    tenure.replay().rebuild(&options, &Progress::none()).await.unwrap();
    // The rebuild was of a release that has no such indexes.
    client.batch_execute(WITHOUT_INDEXES).await.unwrap();
    dump.batch_execute("commit").await.unwrap();
    starting.await.unwrap().close().await;
    tenure.log().drop_leftover_schemas().await.unwrap();
    tenure.close().await;
    assert_eq!(schema(&database), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn privileges_that_are_missing_are_granted_at_the_next_start() {
    let database = TestDatabase::new().await;
    let expected = schema(&database);
    let client = database.connect(None).await;
    for lost in [
        "revoke insert on log.event from tenure_app",
        "revoke update (epoch) on log.head from tenure_app",
        "revoke update on log.idempotency from tenure_app",
        "revoke select on view.sources from tenure_app",
        "revoke usage on schema coarse from tenure_app",
        "revoke delete on coarse.attempt from tenure_app",
        "revoke insert on log.data_key from tenure_app",
    ] {
        client.batch_execute(lost).await.unwrap();
        let tenure = database.open().await;
        tenure.close().await;
        assert_eq!(schema(&database), expected, "{lost}");
    }
}
