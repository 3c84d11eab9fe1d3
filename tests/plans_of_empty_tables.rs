//! Plans that were made while the tables were empty, and known to be: a connection keeps them, and the tables grow.

use std::path::Path;
use std::time::Duration;

use tenure::Tenure;
use tenure::ids::UserId;
use tokio_postgres::Client;

use crate::plans::{ask_everything, fill, judged, open};
use crate::support::server::Server;

/// How many rows the tables of the log get.
const ROWS: u32 = 100_000;

/// A log, guards and requests that have been answered, written past the functions of the log.
const FILL: &str = "
    insert into log.event (position, event_id, stream_type, stream_id, version, event_type, event_version, account_id,
                           recorded_at, payload, metadata)
        select h.newest + n, gen_random_uuid(), 'filler', n::text, 1, 'filler.made', '1',
               lpad((n % 8)::text, 32, '0')::uuid, now(), '', ''
        from generate_series(1, $ROWS) n, (select max(position) as newest from log.event) h;
    insert into log.guard (name, version) select 'guard' || n, 1 from generate_series(1, $ROWS) n;
    insert into log.data_key (subject, key_id, wrapped)
        select 'user:' || gen_random_uuid(), key_id, '' from generate_series(1, $ROWS) n, (select key_id from log.key_ring limit 1) k;
    insert into view.unique_claims (kind, key, holder, free_after, position)
        select 'name', sha256(n::text::bytea), 'x', null, n + 100 from generate_series(1, $ROWS) n;
    insert into log.idempotency (request, body, answer, position, recorded_at)
        select sha256(n::text::bytea), '', '', 1, now() - case when n % 2 = 0 then interval '0' else interval '2 days' end
        from generate_series(1, $ROWS) n;";

/// The settings of the connection that appends, as the source has them.
fn settings_of_the_committer() -> &'static str {
    let source = include_str!("../src/event_log/session.rs");
    let settings = source.split("const SETTINGS: &str = \"").nth(1).unwrap();
    settings.split("\";").next().unwrap()
}

/// Runs every statement that `log.append` can run, with a claim that is new and with one that is held, and stores nothing.
async fn append_everything(committer: &Client, held: &str) {
    let sql = "select position from log.event order by position desc limit 1";
    let newest: i64 = committer.query_one(sql, &[]).await.unwrap().get(0);
    let append = |full_checks: bool, claims: &str| {
        format!(
            "begin;
             select a.base from log.head h, log.append(
                 h.epoch, h.fence, h.projection_set, now(), null, false, {full_checks}, null, null,
                 array[(0, 'user', 'nobody', 0)::log.stream_read], array[(0, 'nothing', 0)::log.guard_read],
                 array[(0, gen_random_uuid(), {newest} - 10)::log.account_read], array['nothing'], {claims},
                 array[(0, 'username', sha256('free'), 'nobody', null, null, now(), 1)::log.claim],
                 (select array[('user:' || gen_random_uuid(), key_id, '')::log.data_key] from log.key_ring limit 1),
                 array['user:nobody'],
                 array[(1, gen_random_uuid(), 'test', gen_random_uuid()::text, 1, 'test.made', '1', null, now(), '', '',
                        null)::log.event],
                 array[(0, sha256('request'), '', '', 1)::log.request]) a;
             rollback"
        )
    };
    let new = "array[(0, 'username', sha256('new'), 'me', null, null, now(), 1)::log.claim]";
    for (full_checks, claims) in [(false, new), (true, new), (true, held)] {
        committer.batch_execute(&append(full_checks, claims)).await.unwrap();
    }
}

/// Runs every statement that changes the tables of the projections, and changes nothing: the rows are not there.
async fn change_every_table(committer: &Client) -> usize {
    let sql = "select relname::text from pg_class where relnamespace = 'view'::regnamespace and relkind = 'r'
               and exists (select from pg_proc where pronamespace = 'view'::regnamespace and proname = relname || '_apply')";
    let tables = committer.query(sql, &[]).await.unwrap();
    for table in &tables {
        let table: &str = table.get(0);
        let row = format!("array[null::view.{table}]");
        for rows in [format!("{row}, null, null, null"), format!("null, null, {row}, array[-1]")] {
            let changed = committer.batch_execute(&format!("select view.{table}_apply(0, {rows})")).await;
            let code = changed.map_err(|error| error.code().unwrap().code().to_owned());
            assert!(code.is_ok() || code == Err("TN003".to_owned()), "{table}: {code:?}");
        }
    }
    tables.len()
}

/// Commands that change and remove rows of tables.
async fn change_tables(tenure: &Tenure, name: &str, rare: UserId) {
    let operator = crate::support::operator();
    let owner = crate::support::user(tenure, &format!("owner-of-{name}")).await;
    let account = crate::support::account(tenure, name, owner).await;
    tenure.add_member(&operator, account, rare).await.unwrap();
    tenure.remove_member(&operator, account, rare).await.unwrap();
    let (token, _) = tenure.issue_bearer_token(&operator, rare, Duration::from_mins(5)).await.unwrap().answer;
    tenure.revoke_bearer_token(&operator, token).await.unwrap();
    tenure.add_member(&operator, account, rare).await.unwrap();
    tenure.transfer_ownership(&operator, account, rare).await.unwrap();
    tenure.close_account(&operator, account).await.unwrap();
}

/// What is wrong with the plans that the server has logged since it had written so much.
fn wrong_since(server: &Server, before: usize) -> (String, usize) {
    let (wrong, plans) = judged(&server.log()[before..]);
    (wrong.into_iter().collect::<Vec<_>>().join("\n"), plans)
}

/// A server that never has new statistics, which would have plans made again, and a log whose tables are known to be empty.
async fn known_to_be_empty(keys: &Path) -> (Server, Client, UserId) {
    let server = Server::explaining().await;
    let admin = server.connect_to("tenure").await;
    admin.batch_execute("alter system set autovacuum = off").await.unwrap();
    admin.batch_execute("select pg_reload_conf()").await.unwrap();
    let tenure = open(&server, keys).await;
    let rare = crate::support::user(&tenure, "rare").await;
    tenure.set_operator(&crate::support::operator(), rare, true).await.unwrap();
    tenure.close().await;
    admin.batch_execute("set auto_explain.log_min_duration = -1; analyze").await.unwrap();
    (server, admin, rare)
}

/// It holds the lock of the head row, so it looks rows up whatever the statistics are.
#[tokio::test(flavor = "multi_thread")]
async fn an_append_that_was_planned_while_the_tables_were_empty_looks_rows_up() {
    let keys = tempfile::tempdir().unwrap();
    let (server, admin, _) = known_to_be_empty(keys.path()).await;
    let committer = server.connect_to("tenure").await;
    committer.batch_execute(settings_of_the_committer()).await.unwrap();
    let sql =
        "select format('array[(0, %L, %L::bytea, %L, null, null, now(), 1)::log.claim]', kind, key, holder)
               from view.unique_claims order by position limit 1";
    let held: String = committer.query_one(sql, &[]).await.unwrap().get(0);
    append_everything(&committer, &held).await;
    assert!(change_every_table(&committer).await > 10);
    let tenure = open(&server, keys.path()).await;
    fill(&tenure, &admin).await;
    tenure.close().await;
    admin.batch_execute(&FILL.replace("$ROWS", &ROWS.to_string())).await.unwrap();

    let before = server.log().len();
    append_everything(&committer, &held).await;
    change_every_table(&committer).await;
    let (wrong, plans) = wrong_since(&server, before);
    assert!(plans > 60, "{plans} plans");
    assert_eq!(wrong, "");

    // Planned with the statistics of a log of few accounts, which no vacuum has visited.
    admin.batch_execute("analyze").await.unwrap();
    let before = server.log().len();
    append_everything(&committer, &held).await;
    change_every_table(&committer).await;
    assert_eq!(wrong_since(&server, before).0, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_plans_its_queries_again_once_tables_have_grown() {
    let keys = tempfile::tempdir().unwrap();
    let (server, admin, rare) = known_to_be_empty(keys.path()).await;
    let tenure = open(&server, keys.path()).await;
    change_tables(&tenure, "before", rare).await;
    // On each connection of the pool.
    for _ in 0..4 {
        ask_everything(&tenure, rare).await;
    }
    let plans = tenure.log().seen().plans();
    let planned = plans.generation();
    fill(&tenure, &admin).await;
    admin.batch_execute(&FILL.replace("$ROWS", &ROWS.to_string())).await.unwrap();
    let grown = async {
        while plans.generation() == planned {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), grown).await.expect("it looks every second");

    let before = server.log().len();
    change_tables(&tenure, "after", rare).await;
    let asked = ask_everything(&tenure, rare).await;
    assert_eq!(asked.full_pages, 6);
    tenure.close().await;
    let (wrong, plans) = wrong_since(&server, before);
    assert!(plans > asked.questions, "{plans} plans");
    assert_eq!(wrong, "");
}
