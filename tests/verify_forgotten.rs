//! What is searched for a person who was forgotten: also what PostgreSQL itself keeps of names, and what others have made.

use std::time::Duration;

use tenure::event_log::drain::REBUILD_LOCK;
use tenure::replay::{AsOfOptions, Moment, Progress, RebuildOptions};
use tenure::verify_forgotten::ForgottenReport;

use crate::support::{TestDatabase, account, operator, user};

fn found(report: &ForgottenReport) -> Vec<&str> {
    report.searched.iter().filter(|searched| searched.found > 0).map(|searched| &*searched.place).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_planner_keeps_no_names_and_what_it_kept_in_an_earlier_release_is_found_and_removed() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let (owner, ghost) = (user(&tenure, "owner").await, user(&tenure, "ghostly").await);
    let acme = account(&tenure, "acme", owner).await;
    for name in ["ghostly", "phantom", "shadow"] {
        tenure.create_invite(&operator(), acme, name, Some(owner)).await.unwrap();
    }
    let client = database.connect(None).await;
    let shown = async || -> Vec<String> {
        let sql = "select concat_ws(' ', tablename, attname) from pg_stats
                   where concat_ws(' ', most_common_vals, histogram_bounds) ~ 'ghostly|phantom' order by 1";
        client.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    };
    let head = Moment::Position(tenure.log().newest().await.unwrap());
    let then = AsOfOptions {
        moment: head,
        schema: "earlier".to_owned(),
        account: None,
        keep: Duration::from_hours(1),
    };
    tenure.replay().as_of(&then, &Progress::none()).await.unwrap();
    client.batch_execute("analyze").await.unwrap();
    assert_eq!(shown().await, Vec::<String>::new());

    // As an earlier release had it.
    let index: String = client
        .query_one(
            "select indexrelid::regclass::text from pg_index
             where indrelid = 'view.invites'::regclass and pg_get_indexdef(indexrelid, 1, false) ~ 'lower'",
            &[],
        )
        .await
        .unwrap()
        .get(0);
    let earlier = format!(
        "alter table view.users alter username set statistics -1, alter email set statistics -1;
         alter table view.invites alter invitee_username set statistics -1;
         alter index {index} alter column 1 set statistics -1;
         update log.head set view_definition = 'of an earlier release'"
    );
    client.batch_execute(&earlier).await.unwrap();
    // A session that knows an index does not notice that its target has changed.
    database.connect(None).await.batch_execute("analyze").await.unwrap();
    assert_eq!(shown().await.len(), 4, "{:?}", shown().await);
    tenure.replay().drop_as_of_schema("earlier").await.unwrap();
    tenure.forget_user(&operator(), ghost).await.unwrap();
    tenure.clear_away().await.unwrap();
    let report = tenure.verify_forgotten(ghost, &["GHOSTLY".to_owned()], &|_| {}).await.unwrap();
    assert_eq!(found(&report), ["statistics of view.users", "statistics of view.invites", "pg_stats"]);

    let again = database.open().await;
    assert_eq!(shown().await, Vec::<String>::new());
    client.batch_execute("analyze").await.unwrap();
    let report = again.verify_forgotten(ghost, &["GHOSTLY".to_owned()], &|_| {}).await.unwrap();
    assert!(report.is_clean(), "{report:#?}");
    // A view that reads the column stands in the way; a rebuild does not mind it.
    user(&again, "ghostly-too").await;
    client.batch_execute(&earlier).await.unwrap();
    // A session that knows an index does not notice that its target has changed.
    database.connect(None).await.batch_execute("analyze").await.unwrap();
    client.batch_execute("create view public.names as select username from view.users").await.unwrap();
    let again = database.open().await;
    assert!(shown().await.contains(&"users username".to_owned()));
    // Each start tries it again.
    client.batch_execute("drop view public.names").await.unwrap();
    let again_without = database.open().await;
    assert_eq!(shown().await, Vec::<String>::new());
    client.batch_execute(&earlier).await.unwrap();
    database.connect(None).await.batch_execute("analyze").await.unwrap();
    // Nor is it done while somebody reads the table, and nobody waits behind it.
    client.batch_execute("begin; select from view.users").await.unwrap();
    let opened = database.open().await;
    client.batch_execute("commit").await.unwrap();
    assert!(shown().await.contains(&"users username".to_owned()));
    drop((again_without, opened));
    again.replay().rebuild(&RebuildOptions::default(), &Progress::none()).await.unwrap();
    assert_eq!(shown().await, Vec::<String>::new());
    // What the rebuild of a single table has left has that table alone. No node drops it while another rebuild runs.
    client.execute("select pg_advisory_lock($1)", &[&REBUILD_LOCK]).await.unwrap();
    let haunted = user(&again, "haunted").await;
    client
        .batch_execute(
            "set role tenure_owner; create schema view_next_1f;
             create table view_next_1f.users as select * from view.users; reset role",
        )
        .await
        .unwrap();
    again.forget_user(&operator(), haunted).await.unwrap();
    again.clear_away().await.unwrap();
    let report = again.verify_forgotten(haunted, &[], &|_| {}).await.unwrap();
    assert_eq!(found(&report), ["view_next_1f.users"]);
}

/// A sample of the values of these columns may outlive their rows: what is public, kept for good, sealed, or a keyed hash.
const KEPT: &str = "
        coarse.nats_account.failure coarse.nats_account.public_key coarse.nats_account.signing_key coarse.nats_lease.part coarse.nats_private.url
        coarse.nats_relay.consumers coarse.nats_relay.failure coarse.nats_relay.refusal coarse.nats_relay_user.issued_by
        coarse.nats_relay_user.name coarse.nats_relay_user.public_key coarse.nats_relay_user.revoked_by coarse.nats_stream.name
        coarse.nats_stream.reason coarse.nats_user.public_key coarse.served_at.public_url coarse.used_once.digest
        log.as_of_schema.ends_because log.as_of_schema.name log.data_key.key_id log.data_key.subject log.event.event_type
        log.event.event_version log.event.metadata log.event.payload log.event.sealed log.event.stream_id log.event.stream_type
        log.guard.name log.head.next_projection_set log.head.privileges log.head.projection_set log.head.view_definition
        log.idempotency.answer log.idempotency.body log.idempotency.request log.key_ring.check_value log.key_ring.key_id
        log.key_ring.state log.node.knows_key log.node.listens_as log.node.projection_set log.node.wraps_with log.parked_stream.stream_id
        log.parked_stream.stream_type log.parked_stream.subscription log.replaced_projection_set.projection_set log.snapshot.payload log.snapshot.sealed
        log.snapshot.stream_id log.snapshot.stream_type log.subscriber.subscription log.subscription.definition
        log.subscription.handled log.subscription.name log.subscription_act.act log.subscription_act.actor
        log.subscription_act.reason log.subscription_act.stream log.subscription_act.subscription
        log.subscription_slice.subscription";

#[tokio::test(flavor = "multi_thread")]
async fn the_planner_keeps_no_keys_that_were_destroyed_and_nothing_that_is_deleted_after_a_while() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let ghost = user(&tenure, "ghostly").await;
    let client = database.connect(None).await;
    let sql = "select array_agg(concat_ws('.', n.nspname, c.relname, a.attname)
                                order by concat_ws('.', n.nspname, c.relname, a.attname) collate \"C\")
               from pg_attribute a join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace
               where n.nspname in ('log', 'coarse') and c.relkind = 'r' and a.attnum > 0 and not a.attisdropped
                 and a.atttypid in ('text'::regtype, 'bytea'::regtype, 'json'::regtype, 'jsonb'::regtype)
                 and coalesce(a.attstattarget, -1) <> 0";
    let kept: Vec<String> = client.query_one(sql, &[]).await.unwrap().get(0);
    assert_eq!(kept, KEPT.split_whitespace().collect::<Vec<_>>());

    client
        .batch_execute(
            "alter table log.data_key alter column wrapped set statistics -1; analyze log.data_key",
        )
        .await
        .unwrap();
    tenure.forget_user(&operator(), ghost).await.unwrap();
    tenure.clear_away().await.unwrap();
    let report = tenure.verify_forgotten(ghost, &[], &|_| {}).await.unwrap();
    assert_eq!(found(&report), ["statistics of log.data_key"]);
}

/// A dump keeps a lock on every table until it ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_start_beside_a_dump_leaves_statistics_to_the_next_one() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    user(&tenure, "somebody").await;
    let client = database.connect(None).await;
    client
        .batch_execute(
            "alter table log.data_key alter column wrapped set statistics -1;
             alter table log.key_ring alter column lookup_key set statistics -1;
             analyze log.data_key, log.key_ring;
             alter table log.data_key alter column wrapped set statistics 0;
             alter table log.key_ring alter column lookup_key set statistics 0",
        )
        .await
        .unwrap();
    let kept = async || -> i64 {
        let sql =
            "select count(*) from pg_stats where schemaname = 'log' and attname in ('wrapped', 'lookup_key')";
        database.connect(None).await.query_one(sql, &[]).await.unwrap().get(0)
    };
    assert_eq!(kept().await, 2);
    client.batch_execute("begin; select from log.data_key; select from log.key_ring").await.unwrap();
    database.open().await.close().await;
    assert_eq!(kept().await, 2);
    client.batch_execute("commit").await.unwrap();
    database.open().await.close().await;
    assert_eq!(kept().await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_are_found_in_any_case_and_tables_that_may_not_be_read_are_named() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let (ghost, client) = (user(&tenure, "ghostly").await, database.connect(None).await);
    tenure.forget_user(&operator(), ghost).await.unwrap();
    tenure.clear_away().await.unwrap();
    client
        .batch_execute(
            "create schema view_of_theirs; create table view_of_theirs.people (name text);
             insert into view_of_theirs.people values ('ghostly');
             create table view.notes (note text, octets bytea); grant select on view.notes to tenure_owner;
             insert into view.notes values ('Bei J\u{d6}RG', null), (null, convert_to('\u{c4}rzte', 'UTF8'))",
        )
        .await
        .unwrap();
    for (text, rows) in
        [("j\u{f6}rg", 1), ("J\u{f6}rg", 1), ("\u{c4}rzte", 1), ("\u{e4}rzt", 1), ("bei", 1), ("ghostly", 0)]
    {
        let report = tenure.verify_forgotten(ghost, &[text.to_owned()], &|_| {}).await.unwrap();
        let notes = report.searched.iter().find(|searched| searched.place == "view.notes").unwrap();
        assert_eq!((notes.found, report.is_clean()), (rows, rows == 0), "{text}: {report:#?}");
    }
    client.batch_execute("revoke select on view.notes from tenure_owner").await.unwrap();
    let report = tenure.verify_forgotten(ghost, &["ghostly".to_owned()], &|_| {}).await.unwrap();
    let denied: Vec<&str> = report
        .searched
        .iter()
        .filter(|searched| searched.is_denied)
        .map(|searched| &*searched.place)
        .collect();
    assert_eq!((denied, report.is_clean()), (vec!["view.notes"], false));
}
