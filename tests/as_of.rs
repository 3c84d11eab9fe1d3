//! The tables as they were: what they show, who may ask, and what is left of it once somebody is forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use tenure::Tenure;
use tenure::projections::TABLES;
use tenure::replay::{AsOfError, AsOfOptions, ChangeKind, Moment, Phase, Progress, Step};
use tokio_postgres::Client;
use uuid::Uuid;

use crate::model::random_history;
use crate::sealing::dump;
use crate::support::process::tenure as binary;
use crate::support::{TestDatabase, account, master_key, operator, user};

/// The rows of each table, by table and key.
type Rows = BTreeMap<(&'static str, String), Value>;

fn options(moment: Moment, schema: &str) -> AsOfOptions {
    AsOfOptions { moment, schema: schema.to_owned(), account: None, keep: Duration::from_hours(1) }
}

/// All rows of a schema, as JSON.
async fn rows_of(client: &Client, schema: &str) -> Rows {
    let mut all = Rows::new();
    for table in TABLES {
        let keys: Vec<&str> = table.columns[..table.key_columns].iter().map(|column| column.name).collect();
        let sql = format!("select to_jsonb(t)::text from {schema}.{} t", table.name);
        for row in client.query(&sql, &[]).await.unwrap() {
            let row: Value = serde_json::from_str(row.get(0)).unwrap();
            let key: Vec<String> = keys.iter().map(|key| row[*key].to_string()).collect();
            all.insert((table.name, key.join(" ")), row);
        }
    }
    all
}

/// The live tables, and the position that they are at.
async fn live(client: &Client) -> (i64, Rows) {
    client.batch_execute("begin isolation level repeatable read").await.unwrap();
    let row = client.query_one("select max(position) from log.event", &[]).await.unwrap();
    let rows = rows_of(client, "view").await;
    client.batch_execute("commit").await.unwrap();
    (row.get(0), rows)
}

/// The identifiers in a row of what has no data key any more.
fn subjects(row: &Value) -> Vec<Uuid> {
    row.as_object().unwrap().values().filter_map(|value| value.as_str()?.parse().ok()).collect()
}

/// Checks that rows are those of the live tables at that time, with nothing but what was forgotten since blank.
fn assert_as_they_were(was: &Rows, found: &Rows, ended: &BTreeSet<Uuid>, at: &str) {
    let is_of_ended = |row: &Value| subjects(row).iter().any(|id| ended.contains(id));
    for (key, was) in was {
        let Some(found) = found.get(key) else {
            // Names of what has ended cannot be told from the log, and claims that had expired are nobody's.
            let has_expired = was["free_after"].as_str().is_some_and(|end| end <= at);
            assert!(
                key.0 == "unique_claims" && (is_of_ended(was) || has_expired),
                "{key:?}: {was} is missing"
            );
            continue;
        };
        for (column, was_value) in was.as_object().unwrap() {
            let found_value = &found[column];
            let is_blank = found_value.is_null() && is_of_ended(was);
            assert!(found_value == was_value || is_blank, "{key:?} {column}: {found_value}, was {was_value}");
        }
        if key.0 == "users" && is_of_ended(was) && was["forgotten_at"].is_null() {
            assert!(found["email"].is_null() && found["username"].is_null(), "{found} is forgotten");
        }
        if key.0 == "accounts" && is_of_ended(was) {
            assert!(
                found["name"].is_null() || !ended.contains(&was["id"].as_str().unwrap().parse().unwrap())
            );
        }
    }
    for (key, row) in found {
        assert!(was.contains_key(key), "{key:?}: {row} was not there");
    }
}

async fn ended(client: &Client) -> BTreeSet<Uuid> {
    let sql = "select distinct substring(s.id from '[0-9a-f-]{36}')::uuid
               from (select stream_id as id from log.event
                     union select id::text from view.name_keys
                     union select convert_from(payload, 'UTF8') from log.event where payload::text like '%6e616d65%') s
               where s.id ~ '[0-9a-f-]{36}'
                 and not exists (select from log.data_key k where k.subject like '%:' || substring(s.id from '[0-9a-f-]{36}'))";
    client.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tables_as_of_any_position_are_what_they_were_then() {
    for seed in 1..=2 {
        let database = TestDatabase::new().await;
        let client = database.connect(None).await;
        let mut seen: Vec<(i64, Rows)> = Vec::new();
        let nodes = random_history(&database, (seed, 900, 90), async || seen.push(live(&client).await)).await;
        let replay = nodes[0].replay();
        let gone = ended(&client).await;
        let mut before: Option<(i64, Rows)> = None;
        for (number, (position, was)) in seen.iter().enumerate() {
            let (schema, moment) = (format!("then_{number}"), Moment::Position(*position));
            let made = replay.as_of(&options(moment, &schema), &Progress::none()).await.unwrap();
            assert_eq!(made.moment.position, *position);
            let found = rows_of(&client, &schema).await;
            assert_eq!(u64::try_from(found.len()).unwrap(), made.rows);
            assert_as_they_were(was, &found, &gone, &made.moment.at.to_string());
            // A moment between two events is after the first of them.
            let resolved = replay.resolve(Moment::At(made.moment.at)).await.unwrap();
            assert_eq!((resolved.position, resolved.epoch), (*position, made.moment.epoch));
            if let Some((from, before)) = &before {
                assert_changes_are_the_difference(&nodes[0], (*from, before), (*position, &found)).await;
            }
            assert_accounts_alone_are_as_in_the_whole(&nodes[0], &client, *position, &found).await;
            replay.drop_as_of_schema(&schema).await.unwrap();
            before = Some((*position, found));
        }
        for node in nodes {
            node.close().await;
        }
    }
}

async fn assert_changes_are_the_difference(
    tenure: &Tenure,
    (from, before): (i64, &Rows),
    (to, after): (i64, &Rows),
) {
    let replay = tenure.replay();
    let from = replay.resolve(Moment::Position(from)).await.unwrap();
    let to = replay.resolve(Moment::Position(to)).await.unwrap();
    let found = replay.changes((from, to), None, &Progress::none()).await.unwrap();
    let keys: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let differing: BTreeSet<_> = keys
        .into_iter()
        .filter(|key| before.get(*key) != after.get(*key))
        .map(|key| (key.0, before.contains_key(key), after.contains_key(key)))
        .fold(BTreeMap::<_, u64>::new(), |mut counts, kind| {
            *counts.entry(kind).or_default() += 1;
            counts
        })
        .into_iter()
        .collect();
    let told: BTreeSet<_> = found
        .changes
        .iter()
        .map(|change| match change.kind {
            ChangeKind::Added => (change.table, false, true),
            ChangeKind::Changed => (change.table, true, true),
            ChangeKind::Removed => (change.table, true, false),
        })
        .fold(BTreeMap::<_, u64>::new(), |mut counts, kind| {
            *counts.entry(kind).or_default() += 1;
            counts
        })
        .into_iter()
        .collect();
    assert_eq!(told, differing);
    for change in found.changes.iter().filter(|change| change.key.len() == 1) {
        let id = change.key.values().next().unwrap();
        let row = |rows: &Rows| rows.get(&(change.table, format!("\"{id}\""))).cloned().unwrap_or_default();
        let (old, new) = (row(before), row(after));
        let columns: BTreeSet<&str> = change.columns.keys().copied().collect();
        let expected: BTreeSet<&str> = new
            .as_object()
            .or(old.as_object())
            .unwrap()
            .keys()
            .map(String::as_str)
            .filter(|column| *column != "id" && old[column] != new[column])
            .collect();
        assert_eq!(columns, expected, "{change}");
    }
}

/// What is made for one account alone is what the tables of all have of it.
async fn assert_accounts_alone_are_as_in_the_whole(
    tenure: &Tenure,
    client: &Client,
    position: i64,
    whole: &Rows,
) {
    let accounts: Vec<Uuid> = whole
        .iter()
        .filter(|((table, _), _)| *table == "accounts")
        .map(|(_, row)| row["id"].as_str().unwrap().parse().unwrap())
        .collect();
    for id in accounts.into_iter().take(4) {
        let moment = Moment::Position(position);
        let options = AsOfOptions { account: Some(id), ..options(moment, "alone") };
        tenure.replay().as_of(&options, &Progress::none()).await.unwrap();
        let alone = rows_of(client, "alone").await;
        for (key, row) in &alone {
            let mut expected = whole.get(key).cloned().unwrap_or_default();
            if key.0 == "name_keys" {
                // Its key may have been begun by an invite to another account, before that to this one.
                expected["position"] = row["position"].clone();
            }
            assert_eq!(&expected, row, "{key:?}");
        }
        let sources: Vec<&Value> =
            whole.iter().filter(|(key, _)| key.0 == "sources").map(|(_, row)| row).collect();
        for (key, row) in whole {
            let of = match key.0 {
                "accounts" => &row["id"],
                "members" | "invites" | "api_keys" | "sources" => &row["account_id"],
                "pipes" => {
                    let source = sources.iter().find(|source| source["id"] == row["source_id"]);
                    source.map_or(&Value::Null, |source| &source["account_id"])
                }
                _ => continue,
            };
            if *of == Value::String(id.to_string()) {
                assert_eq!(alone.get(key), Some(row), "{key:?} of {id}");
            }
        }
        tenure.replay().drop_as_of_schema("alone").await.unwrap();
    }
}

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let looking = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), looking).await.unwrap_or_else(|_| panic!("never {what}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forgotten_is_purged_from_tables_as_they_were_once_nobody_reads_them() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let (owner, ghost) = (user(&tenure, "owner").await, user(&tenure, "ghostly").await);
    let acme = account(&tenure, "acme", owner).await;
    let other = account(&tenure, "elsewhere", owner).await;
    tenure.create_invite(&operator(), acme, "ghostly", Some(owner)).await.unwrap();
    tenure.create_invite(&operator(), acme, "phantom", Some(owner)).await.unwrap();
    let head = Moment::Position(tenure.log().newest().await.unwrap());
    let replay = tenure.replay();
    let of = |id: tenure::ids::AccountId| Some(id.as_uuid());
    replay.as_of(&options(head, "whole"), &Progress::none()).await.unwrap();
    replay
        .as_of(&AsOfOptions { account: of(acme), ..options(head, "acme_then") }, &Progress::none())
        .await
        .unwrap();
    replay
        .as_of(&AsOfOptions { account: of(other), ..options(head, "other_then") }, &Progress::none())
        .await
        .unwrap();
    let client = database.connect(None).await;
    let exists = async |schema: &str| -> bool {
        let sql = "select exists (select from pg_namespace where nspname = $1)";
        client.query_one(sql, &[&schema]).await.unwrap().get(0)
    };
    assert!(dump(&database, &[]).contains("ghostly@people.example"));

    // Somebody reads one of them when the person is forgotten.
    let reader = database.connect(None).await;
    reader.batch_execute("begin; select * from whole.users").await.unwrap();
    tenure.forget_user(&operator(), ghost).await.unwrap();
    until("the other one is gone", async || !exists("acme_then").await).await;
    assert!(exists("whole").await && exists("other_then").await);
    let report = tenure.verify_forgotten(ghost, &["ghostly".to_owned()], &|_| {}).await.unwrap();
    let left: Vec<&str> =
        report.searched.iter().filter(|found| found.found > 0).map(|found| &*found.place).collect();
    assert!(left.contains(&"whole.users"), "{report:?}");
    reader.batch_execute("commit").await.unwrap();
    until("it is gone", async || !exists("whole").await).await;
    assert!(exists("other_then").await, "nobody in it was forgotten");
    let why = replay.as_of_schemas().await.unwrap();
    let why = why.iter().find(|made| made.schema == "whole").unwrap();
    assert_eq!(why.ends_because.as_deref(), Some("what is in it was forgotten"));

    // A name that nobody had yet when the tables were made, and whose owner is forgotten.
    replay
        .as_of(&AsOfOptions { account: of(acme), ..options(head, "again") }, &Progress::none())
        .await
        .unwrap();
    let phantom = user(&tenure, "phantom").await;
    tenure.forget_user(&operator(), phantom).await.unwrap();
    until("that is gone, too", async || !exists("again").await).await;
    tenure.clear_away().await.unwrap();
    for (person, name) in [(ghost, "ghostly"), (phantom, "phantom")] {
        let texts = [name.to_owned(), format!("{name}@people.example")];
        let report = tenure.verify_forgotten(person, &texts, &|_| {}).await.unwrap();
        assert!(report.is_clean() && !report.is_being_cleared, "{report:#?}");
        assert!(!dump(&database, &[]).contains(name));
    }
    // What is made anew shows nothing of them.
    replay.as_of(&options(head, "anew"), &Progress::none()).await.unwrap();
    let dumped = dump(&database, &[]);
    assert!(!dumped.contains("ghostly") && !dumped.contains("phantom"));
    let report = tenure.verify_forgotten(ghost, &["ghostly".to_owned()], &|_| {}).await.unwrap();
    assert!(report.is_clean() && report.searched.iter().any(|place| place.place == "anew.users"));
    // One that cannot be dropped does not keep the others.
    let later = user(&tenure, "later").await;
    let head = Moment::Position(tenure.log().newest().await.unwrap());
    for schema in ["a_renamed", "b_stuck", "c_last"] {
        replay.as_of(&options(head, schema), &Progress::none()).await.unwrap();
    }
    let change = "alter schema a_renamed rename to somewhere_else; create schema a_renamed;
                  create function public.refuse() returns event_trigger language plpgsql as $$
                  begin
                      if exists (select from pg_event_trigger_dropped_objects() where schema_name = 'b_stuck') then
                          raise exception 'no';
                      end if;
                  end $$;
                  create event trigger refuse on sql_drop execute function public.refuse()";
    client.batch_execute(change).await.unwrap();
    tenure.forget_user(&operator(), later).await.unwrap();
    until("the others are gone", async || !exists("somewhere_else").await && !exists("c_last").await).await;
    assert!(
        exists("a_renamed").await && exists("b_stuck").await,
        "somebody else's, and the one that is stuck"
    );
    client.batch_execute("drop event trigger refuse").await.unwrap();
    until("it goes, too", async || !exists("b_stuck").await).await;
    // Closed accounts are forgotten as well.
    tenure.close_account(&operator(), other).await.unwrap();
    until("the account is gone", async || !exists("other_then").await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn schemas_expire_and_what_was_never_finished_goes() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    user(&tenure, "somebody").await;
    let client = database.connect(None).await;
    let replay = tenure.replay();
    let head = Moment::Position(tenure.log().newest().await.unwrap());
    for schema in ["expired", "unfinished", "kept"] {
        replay.as_of(&options(head, schema), &Progress::none()).await.unwrap();
    }
    let change = "update log.as_of_schema set expires_at = now() where name = 'expired';
                  update log.as_of_schema set is_ready = false where name = 'unfinished';
                  drop schema kept cascade";
    client.batch_execute(change).await.unwrap();
    tenure.log().sweep_as_of_schemas().await.unwrap();
    let schemas = replay.as_of_schemas().await.unwrap();
    let why = |name: &str| {
        let made = schemas.iter().find(|made| made.schema == name).unwrap();
        assert!(made.ended_at.is_some());
        made.ends_because.clone().unwrap()
    };
    assert_eq!(why("expired"), "expired");
    assert_eq!(why("unfinished"), "never finished");
    assert_eq!(why("kept"), "dropped by hand");
    // A name can be used again.
    replay.as_of(&options(head, "expired"), &Progress::none()).await.unwrap();
    assert!(matches!(
        replay.as_of(&options(head, "expired"), &Progress::none()).await,
        Err(AsOfError::SchemaExists(_))
    ));
    // Another one is being made.
    client.batch_execute("select pg_advisory_lock(8387231331756892527)").await.unwrap();
    assert!(matches!(
        replay.as_of(&options(head, "second"), &Progress::none()).await,
        Err(AsOfError::Running(_))
    ));
    // The serving role can neither read nor drop what was made.
    let app = database.connect(Some("tenure_app")).await;
    assert!(app.query("select * from expired.users", &[]).await.is_err());
    assert!(app.batch_execute("drop schema expired cascade").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_another_database_or_under_another_name_is_not_mistaken() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    user(&tenure, "somebody").await;
    let client = database.connect(None).await;
    let head = Moment::Position(tenure.log().newest().await.unwrap());
    // In a restored database anything can have the OID that the schema had.
    client
        .batch_execute(
            "insert into log.as_of_schema (name, schema_oid, epoch, position, as_of, expires_at, is_ready, checked)
             select v.name, v.name::regnamespace, v.epoch, 1, now(), now(), true, 1
             from (select 'view', 1 union all select 'coarse', epoch from log.head) v (name, epoch)",
        )
        .await
        .unwrap();
    tenure.log().sweep_as_of_schemas().await.unwrap();
    user(&tenure, "somebody-else").await;
    // One that was renamed by hand is still known by its former name.
    let replay = tenure.replay();
    replay.as_of(&options(head, "friday"), &Progress::none()).await.unwrap();
    client.batch_execute("alter schema friday rename to saturday").await.unwrap();
    let refused = replay.as_of(&options(head, "friday"), &Progress::none()).await;
    assert!(matches!(refused, Err(AsOfError::SchemaExists(_))), "{refused:?}");
    client.batch_execute("update log.as_of_schema set expires_at = now()").await.unwrap();
    tenure.log().sweep_as_of_schemas().await.unwrap();
    let left = "select count(*) from pg_namespace where nspname in ('friday', 'saturday')";
    assert_eq!(client.query_one(left, &[]).await.unwrap().get::<_, i64>(0), 0);
    replay.as_of(&options(head, "friday"), &Progress::none()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forgotten_is_purged_from_tables_that_are_still_being_made() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let ghost = user(&tenure, "ghostly").await;
    let head = Moment::Position(tenure.log().newest().await.unwrap());
    let (forgetting, handle) = (tenure.clone(), tokio::runtime::Handle::current());
    let client = std::sync::Arc::new(database.connect(None).await);
    // Everything is stored, and the maker stands still.
    let looking = client.clone();
    let progress = Progress::new(move |step| {
        if matches!(step, Step::Begun(Phase::Indexing, _)) {
            tokio::task::block_in_place(|| {
                handle.block_on(async {
                    forgetting.forget_user(&operator(), ghost).await.unwrap();
                    until("it is gone", async || {
                        forgetting.log().sweep_as_of_schemas().await.unwrap();
                        let sql = "select exists (select from pg_namespace where nspname = 'unready')";
                        !looking.query_one(sql, &[]).await.unwrap().get::<_, bool>(0)
                    })
                    .await;
                });
            });
        }
    });
    let made = tenure.replay().as_of(&options(head, "unready"), &progress).await;
    assert!(
        matches!(&made, Err(AsOfError::Dropped { because, .. }) if because.contains("forgotten")),
        "{made:?}"
    );
    assert!(!dump(&database, &[]).contains("ghostly"));
}

/// The invites of an account as they were, and as they are, with what decided them.
#[tokio::test(flavor = "multi_thread")]
async fn an_invite_whose_person_was_forgotten_has_ended_in_the_part_of_its_account_too() {
    let database = TestDatabase::new().await;
    let (tenure, clock) = database.open_with_clock().await;
    let (owner, other) = (user(&tenure, "owner").await, user(&tenure, "other").await);
    let (acme, elsewhere) =
        (account(&tenure, "acme", owner).await, account(&tenure, "elsewhere", other).await);
    // The key of the name is begun by another account; the invites expire before anybody has the name.
    tenure.create_invite(&operator(), elsewhere, "phantom", Some(other)).await.unwrap();
    tenure.create_invite(&operator(), acme, "phantom", Some(owner)).await.unwrap();
    tenure.create_invite(&operator(), acme, "spectre", Some(owner)).await.unwrap();
    clock.advance(Duration::from_hours(24 * 400));
    let phantom = user(&tenure, "phantom").await;
    user(&tenure, "spectre").await;
    let client = database.connect(None).await;
    tenure.forget_user(&operator(), phantom).await.unwrap();
    tenure.clear_away().await.unwrap();
    let head = Moment::Position(tenure.log().newest().await.unwrap());
    let alone = AsOfOptions { account: Some(acme.as_uuid()), ..options(head, "alone") };
    tenure.replay().as_of(&alone, &Progress::none()).await.unwrap();
    tenure.replay().as_of(&options(head, "whole"), &Progress::none()).await.unwrap();
    let [alone, whole] = [rows_of(&client, "alone").await, rows_of(&client, "whole").await];
    let invites: Vec<_> = alone.iter().filter(|((table, _), _)| *table == "invites").collect();
    assert_eq!(invites.len(), 2);
    for (key, row) in invites {
        assert_eq!(whole.get(key), Some(row));
    }
}

/// Does something when everything was read and nothing is stored yet.
fn in_between(act: impl Fn() + Send + Sync + 'static) -> Progress {
    Progress::new(move |step| {
        if matches!(step, Step::Begun(Phase::Loading, _)) {
            act();
        }
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forgotten_while_its_tables_are_made_is_purged_as_well() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let ghost = user(&tenure, "ghostly").await;
    let (forgetting, handle) = (tenure.clone(), tokio::runtime::Handle::current());
    let progress = in_between(move || {
        tokio::task::block_in_place(|| handle.block_on(forgetting.forget_user(&operator(), ghost))).unwrap();
    });
    let head = Moment::Position(tenure.log().newest().await.unwrap());
    // It is made, unless a node has looked at it meanwhile.
    let made = tenure.replay().as_of(&options(head, "meanwhile"), &progress).await;
    assert!(matches!(made, Ok(_) | Err(AsOfError::Dropped { .. })), "{made:?}");
    let client = database.connect(None).await;
    until("it is gone", async || {
        let sql = "select exists (select from pg_namespace where nspname = 'meanwhile')";
        !client.query_one(sql, &[]).await.unwrap().get::<_, bool>(0)
    })
    .await;
    assert!(!dump(&database, &[]).contains("ghostly"));
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_tables_whose_connection_is_lost_while_they_are_made_leave_nothing() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    user(&tenure, "somebody").await;
    let client = database.connect(None).await;
    let (ending, handle) = (database.connect(None).await, tokio::runtime::Handle::current());
    let progress = in_between(move || {
        let sql = "select pg_terminate_backend(pid) from pg_stat_activity
                   where application_name like 'tenure as-of%' and datname = current_database()";
        tokio::task::block_in_place(|| handle.block_on(ending.batch_execute(sql))).unwrap();
    });
    let head = Moment::Position(tenure.log().newest().await.unwrap());
    let lost = tenure.replay().as_of(&options(head, "unfinished"), &progress).await;
    assert!(matches!(lost, Err(AsOfError::Replay(_))), "{lost:?}");
    // Both nodes look, and one of them drops it.
    let other = database.open().await;
    until("it is gone", async || {
        let (one, two) = tokio::join!(tenure.log().sweep_as_of_schemas(), other.log().sweep_as_of_schemas());
        one.unwrap();
        two.unwrap();
        let sql = "select exists (select from pg_namespace where nspname = 'unfinished')";
        !client.query_one(sql, &[]).await.unwrap().get::<_, bool>(0)
    })
    .await;
    tenure.replay().as_of(&options(head, "unfinished"), &Progress::none()).await.unwrap();
}

/// Runs the binary; gives the exit code, what it printed, and its error.
fn run(database: &TestDatabase, arguments: &[&str]) -> (i32, String, String) {
    let output = binary()
        .args(arguments)
        .env("DATABASE_URL", database.url())
        .env("TENURE_MASTER_KEY_FILE", master_key().default_file)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_line_says_what_is_wrong_with_a_question() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let ada = user(&tenure, "ada").await;
    let acme = account(&tenure, "acme", ada).await;
    let gone = user(&tenure, "gone").await;
    tenure.forget_user(&operator(), gone).await.unwrap();
    let ids = (ada.to_string(), acme.to_string(), gone.to_string());
    for (arguments, code, says) in [
        (vec!["audit", "as-of", "1999-01-01T00:00:00Z", "--schema", "a"], 3, "the log begins at"),
        (vec!["audit", "as-of", "2999-01-01T00:00:00Z", "--schema", "a"], 3, "in the future"),
        (vec!["audit", "as-of", "2026-01-31T12:00:00", "--schema", "a"], 2, "no offset"),
        (vec!["audit", "as-of", "2026-01-31T12:00:00 CET", "--schema", "a"], 2, "name of a zone"),
        (vec!["audit", "as-of", "2016-12-31T23:59:60Z", "--schema", "a"], 2, "leap second"),
        (vec!["audit", "as-of", "0", "--schema", "a"], 2, "begin at 1"),
        (vec!["audit", "as-of", "99999", "--schema", "a"], 3, "99999"),
        (vec!["audit", "as-of", "2", "--schema", "view"], 3, "none of PostgreSQL's or Tenure's own"),
        (vec!["audit", "as-of", "2", "--schema", "Fri day"], 3, "a-z"),
        (vec!["audit", "as-of", "2", "--schema", "select"], 3, "word of SQL"),
        (vec!["audit", "as-of", "2", "--schema", "a", "--keep", "31d"], 3, "30d"),
        (vec!["audit", "as-of", "2", "--schema", "a", "--account", "nobody"], 4, "no such account"),
        (vec!["audit", "drop-schema", "view"], 4, "as-of"),
        (vec!["audit", "diff", "--from", "4", "--to", "2"], 3, "before"),
        (vec!["audit", "explain", "key", &ids.1], 4, "identifies something else: account"),
        (vec!["audit", "explain", "user", &ids.1], 4, "identifies something else: account"),
        (vec!["audit", "explain", "invite", "nonsense"], 4, "no such invite"),
        (vec!["audit", "explain", "user", &ids.2], 4, "was forgotten at"),
        (vec!["audit", "explain", "event", "99999"], 4, "no event 99999"),
        (vec!["audit", "verify-forgotten", &ids.0], 3, "was not forgotten"),
        (vec!["audit", "verify-forgotten", &ids.1], 4, "no such user"),
    ] {
        let (found, out, error) = run(&database, &arguments);
        assert!(found == code && error.contains(says), "{arguments:?}: {found} {out} {error}");
    }
    let (code, out, error) = run(&database, &["audit", "as-of", "4", "--schema", "once", "--json"]);
    let made: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{code} {error}"));
    assert_eq!((made["schema"].as_str(), made["position"].as_i64()), (Some("once"), Some(4)));
    let client = database.connect(None).await;
    let name: String = client.query_one("select name from once.accounts", &[]).await.unwrap().get(0);
    assert_eq!(name, "acme");
    let (code, _, error) = run(&database, &["audit", "as-of", "4", "--schema", "once"]);
    assert!(code == 3 && error.contains("there is a schema `once` already"), "{error}");
    let (code, out, _) = run(&database, &["audit", "diff", "--from", "2", "--to", "4", "--account", "acme"]);
    assert!(code == 0 && out.contains("+ accounts") && out.contains("name: acme"), "{out}");
    let (code, out, _) = run(&database, &["audit", "schemas", "--json"]);
    assert!(code == 0 && out.contains("\"schema\":\"once\""), "{out}");
    let (code, out, _) = run(&database, &["audit", "explain", "account", "acme"]);
    assert!(code == 0 && out.contains("The account was opened.") && out.contains("name acme"), "{out}");
    let (code, out, _) = run(&database, &["audit", "verify-forgotten", &ids.2, "--json"]);
    let report: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    assert!(code == 0 && report["is_clean"] == true, "{out}");
}
