//! What the log promises, each promise a sentence, on real PostgreSQL.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use tenure::Tenure;
use tenure::clock::{Clock, SystemClock, Timestamp};
use tenure::entropy::{OsEntropy, uuid_v7};
use tenure::event_log::claim::{Claim, ClaimChange, ClaimKey};
use tenure::event_log::read::Filter;
use tenure::event_log::rows::{Change, RowChange, Value};
use tenure::event_log::snapshot::Snapshot;
use tenure::event_log::unit::{Appended, StreamRead};
use tenure::event_log::{AppendError, NewEvent, Premises, ReadError, StreamId, Unit};
use tenure::ids::EventId;
use tenure::projections;

use crate::support::{TestDatabase, history, rows, user};

fn fresh() -> uuid::Uuid {
    uuid_v7(SystemClock.now(), &OsEntropy::default())
}

fn stream() -> StreamId {
    StreamId::new("thing", fresh())
}

/// A unit that appends one event behind a version.
fn unit(stream: &StreamId, behind: i64) -> Unit {
    let event = NewEvent {
        id: EventId::from_uuid(fresh()),
        stream: stream.clone(),
        version: behind + 1,
        event_type: "thing.done".into(),
        event_version: "1".into(),
        account_id: None,
        payload: Bytes::from_static(b"{ \"kept\" :  1 }"),
        metadata: Bytes::from_static(b"{}"),
        sealed: None,
    };
    Unit {
        at: SystemClock.now(),
        premises: Premises::of_stream(stream.clone(), behind),
        events: vec![event],
        ..Unit::default()
    }
}

/// What a node has written itself its follower need not read; what other nodes write comes between.
#[tokio::test(flavor = "multi_thread")]
async fn a_follower_of_headers_gets_own_and_foreign_appends_and_bulk_once_and_in_order() {
    let database = TestDatabase::new().await;
    let (one, other) = (database.open().await, database.open().await);
    let mut follower = one.log().follow_headers();
    let from = follower.position();
    let writing = async |tenure: &Tenure| {
        for _ in 0..200 {
            tenure.log().append(unit(&stream(), 0)).await.unwrap();
        }
    };
    let seeding = async || tenure::seed::generate(&one, 6_000, 1, |_| {}).await.unwrap().events;
    let written = async {
        let ((), (), (), seeded) = tokio::join!(writing(&one), writing(&one), writing(&other), seeding());
        from + 600 + i64::try_from(seeded).unwrap()
    };
    let following = async {
        let mut got = Vec::new();
        // The least that there will be; the rest is counted below.
        while got.len() < 6_600 {
            got.extend(follower.next().await.unwrap());
        }
        got
    };
    let limit = Duration::from_secs(60);
    let (last, mut got) =
        tokio::time::timeout(limit, async { tokio::join!(written, following) }).await.unwrap();
    while follower.position() < last {
        got.extend(tokio::time::timeout(limit, follower.next()).await.unwrap().unwrap());
    }
    assert!(got.iter().map(|header| header.position).eq(from + 1..=last), "each once and in order");
    let sql = "select position, event_id, stream_id, version, event_type, account_id from log.event
               where position > $1 order by position";
    let stored = database.connect(None).await.query(sql, &[&from]).await.unwrap();
    assert_eq!(stored.len(), got.len());
    for (row, header) in stored.iter().zip(&got) {
        assert_eq!(row.get::<_, i64>(0), header.position);
        assert_eq!(row.get::<_, uuid::Uuid>(1), header.id.as_uuid());
        assert_eq!(row.get::<_, &str>(2), &*header.stream.id);
        assert_eq!(row.get::<_, i64>(3), header.version);
        assert_eq!(row.get::<_, &str>(4), &*header.event_type);
        assert_eq!(row.get::<_, Option<uuid::Uuid>>(5), header.account_id);
    }
}

fn claiming(kind: &'static str, key: u8, free_after: Option<Timestamp>) -> Unit {
    let stream = stream();
    let claim = Claim {
        free_after,
        ..Claim::until_released(ClaimKey { kind, key: [key; 32] }, stream.id.to_string())
    };
    Unit { claims: vec![(0, ClaimChange::Take(claim))], ..unit(&stream, 0) }
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_are_contiguous_however_many_write() {
    let database = TestDatabase::new().await;
    let (one, two) = tokio::join!(database.open(), database.open());
    let from = one.log().newest().await.unwrap();
    let appends = (0..400).map(|number| {
        let log = if number % 2 == 0 { one.log() } else { two.log() };
        async move { log.append(unit(&stream(), 0)).await.unwrap() }
    });
    let mut positions: Vec<i64> =
        join_all(appends).await.iter().map(|appended| appended.last.position).collect();
    positions.sort_unstable();
    assert_eq!(positions, (from + 1..=from + 400).collect::<Vec<_>>());
    assert_eq!(history(&one).await.len() as i64, from + 400);
}

/// A unit that begins a stream of this account.
fn unit_of(account: uuid::Uuid) -> Unit {
    let mut unit = unit(&stream(), 0);
    unit.events[0].account_id = Some(account);
    unit
}

/// The node leaves out what was read at this position: a version that the stream does not have is not looked up, and so stored.
async fn assert_leaves_out(tenure: &Tenure, seen: i64) {
    let mut trusted = unit(&stream(), 0);
    trusted.premises.streams.push(StreamRead { stream: stream(), version: 7, seen });
    tenure.log().append(trusted).await.unwrap();
}

/// Appends so many batches that the node leaves out what it knows.
async fn append_alone(tenure: &Tenure) {
    let mut newest = 0;
    for _ in 0..10 {
        newest = tenure.log().append(unit(&stream(), 0)).await.unwrap().last.position;
    }
    assert_leaves_out(tenure, newest).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_is_stored_whole_or_not_at_all() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let (first, second) = (stream(), stream());
    tenure.log().append(unit(&second, 0)).await.unwrap();
    let mut both = unit(&first, 0);
    let stale = unit(&second, 0);
    both.premises.streams.extend(stale.premises.streams);
    both.events.extend(stale.events);
    let error = tenure.log().append(both).await.unwrap_err();
    assert_eq!(error, AppendError::Conflict { stream: second });
    assert_eq!(tenure.log().read_stream(&first, 0).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_was_only_read_is_checked_too() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let read = stream();
    let mut decision = unit(&stream(), 0);
    decision.premises.streams.push(StreamRead { stream: read.clone(), version: 0, seen: 0 });
    tenure.log().append(unit(&read, 0)).await.unwrap();
    assert_eq!(tenure.log().append(decision).await.unwrap_err(), AppendError::Conflict { stream: read });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_on_a_set_that_has_changed_is_refused() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let bump = || Unit { bumps: vec!["set".to_owned()], ..unit(&stream(), 0) };
    tenure.log().append(bump()).await.unwrap();
    let version = tenure.log().guard_version("set").await.unwrap();
    let decision = || {
        let mut unit = unit(&stream(), 0);
        unit.premises.guards.push(("set".to_owned(), version));
        unit
    };
    tenure.log().append(decision()).await.unwrap();
    tenure.log().append(bump()).await.unwrap();
    let error = tenure.log().append(decision()).await.unwrap_err();
    assert_eq!(error, AppendError::GuardMoved { guard: "set".to_owned() });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_on_the_contents_of_an_account_is_refused_after_an_event_of_it() {
    let database = TestDatabase::new().await;
    let (tenure, other) = tokio::join!(database.open(), database.open());
    let account = fresh();
    let of_account = || unit_of(account);
    let read_at = |position| {
        let mut unit = of_account();
        unit.premises.accounts.push((account, position));
        unit
    };
    let seen = other.log().append(of_account()).await.unwrap().last.position;
    other.log().append(unit(&stream(), 0)).await.unwrap();
    let premises = read_at(seen).premises;
    assert!(tenure.log().confirm(&premises).await.unwrap().is_some(), "another's events are no matter");
    let stored = tenure.log().append(read_at(seen)).await.unwrap().last.position;
    let refused = tenure.log().append(read_at(seen)).await.unwrap_err();
    assert_eq!(refused, AppendError::AccountMoved { account });
    assert!(tenure.log().confirm(&premises).await.unwrap().is_none());
    tenure.log().append(read_at(stored)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_node_wrote_is_never_taken_for_known() {
    let database = TestDatabase::new().await;
    let (tenure, other) = tokio::join!(database.open(), database.open());
    let shared = stream();
    let seen = tenure.log().append(unit(&shared, 0)).await.unwrap().last.position;
    let reading = |version, seen| {
        let mut unit = unit(&stream(), 0);
        unit.premises.streams.push(StreamRead { stream: shared.clone(), version, seen });
        unit
    };
    append_alone(&tenure).await;
    tenure.log().append(reading(1, seen)).await.unwrap();
    let moved = other.log().append(unit(&shared, 1)).await.unwrap().last.position;
    let conflict = AppendError::Conflict { stream: shared.clone() };
    assert_eq!(tenure.log().append(reading(1, seen)).await.unwrap_err(), conflict);
    // Having written since makes nothing known that was seen before.
    append_alone(&tenure).await;
    assert_eq!(tenure.log().append(reading(1, seen)).await.unwrap_err(), conflict);
    tenure.log().append(reading(2, moved)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_has_new_events_of_this_node_or_another_is_never_taken_for_unchanged() {
    let database = TestDatabase::new().await;
    let (tenure, other) = tokio::join!(database.open(), database.open());
    let account = fresh();
    let of_account = || unit_of(account);
    let reading = |seen| {
        let mut unit = unit(&stream(), 0);
        unit.premises.accounts.push((account, seen));
        unit
    };
    let moved = AppendError::AccountMoved { account };
    append_alone(&tenure).await;
    let first = tenure.log().append(of_account()).await.unwrap().last.position;
    tenure.log().append(reading(first)).await.unwrap();
    let own = tenure.log().append(of_account()).await.unwrap().last.position;
    assert_eq!(tenure.log().append(reading(first)).await.unwrap_err(), moved);
    tenure.log().append(reading(own)).await.unwrap();

    let foreign = other.log().append(of_account()).await.unwrap().last.position;
    assert_eq!(tenure.log().append(reading(own)).await.unwrap_err(), moved);
    // Having written since makes nothing known that was seen before.
    append_alone(&tenure).await;
    assert_eq!(tenure.log().append(reading(own)).await.unwrap_err(), moved);
    tenure.log().append(reading(foreign)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_known_is_looked_up_beside_what_is_known() {
    let database = TestDatabase::new().await;
    let (tenure, other) = tokio::join!(database.open(), database.open());
    let (known, moved) = (fresh(), fresh());
    let shared = stream();
    let before = tenure.log().append(unit(&shared, 0)).await.unwrap().last.position;
    other.log().append(unit_of(moved)).await.unwrap();
    other.log().append(unit(&shared, 1)).await.unwrap();
    append_alone(&tenure).await;
    let since = tenure.log().append(unit_of(known)).await.unwrap().last.position;

    let mut accounts = unit(&stream(), 0);
    accounts.premises.accounts = vec![(known, since), (moved, before)];
    let refused = tenure.log().append(accounts).await.unwrap_err();
    assert_eq!(refused, AppendError::AccountMoved { account: moved });

    let mut streams = unit(&stream(), 0);
    let read = |stream: StreamId, version, seen| StreamRead { stream, version, seen };
    streams.premises.streams.extend([read(stream(), 0, since), read(shared.clone(), 1, before)]);
    assert_eq!(tenure.log().append(streams).await.unwrap_err(), AppendError::Conflict { stream: shared });
}

/// With the right event at another position, a batch of another process may have come between; with another event at the right
/// position, a batch of this one was not stored.
#[tokio::test(flavor = "multi_thread")]
async fn an_append_is_refused_unless_the_event_that_it_names_is_the_newest_at_its_position() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let client = database.connect(None).await;
    let sql = "select a.base from log.head h, log.append(
                   h.epoch, h.fence, h.projection_set, now(), null, false, false, $1, $2, null, null, null, null, null,
                   null, null, null, null, null) a";
    let append = async |newest: Option<uuid::Uuid>, base: Option<i64>| {
        let appended = client.query_one(sql, &[&newest, &base]).await;
        appended.map(|row| row.get::<_, i64>(0)).map_err(|error| error.code().unwrap().code().to_owned())
    };
    let refused = || Err("TN008".to_owned());
    let stored = tenure.log().append(unit(&stream(), 0)).await.unwrap().last;
    let (newest, base) = (stored.event_id.as_uuid(), stored.position);
    assert_eq!(append(Some(newest), Some(base)).await, Ok(base));
    assert_eq!(append(None, None).await, Ok(base));
    assert_eq!(append(Some(newest), Some(base - 1)).await, refused());
    assert_eq!(append(Some(newest), Some(base + 1)).await, refused());
    assert_eq!(append(Some(fresh()), Some(base)).await, refused());
    assert_eq!(append(None, Some(base)).await, refused());

    let lose = "set session_replication_role = replica; delete from log.event";
    client.batch_execute(lose).await.unwrap();
    assert_eq!(append(None, None).await, Ok(0));
    assert_eq!(append(Some(newest), Some(0)).await, refused());
}

/// Nodes of the release before say how many of the accounts they do not know; the others are looked up behind another event.
#[tokio::test(flavor = "multi_thread")]
async fn the_function_of_the_release_before_still_looks_up_accounts() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let account = fresh();
    let of_account = || unit_of(account);
    let seen = tenure.log().append(of_account()).await.unwrap().last.position;
    let client = database.connect(None).await;
    let sql = "select a.base from log.head h, log.event e, log.append(
                   h.epoch, h.fence, h.projection_set, now(), null, false, false, e.event_id, e.position, 0, $3, null, null,
                   array[(0, $1, $2)::log.account_read], null, null, null, null, null, null, null) a
               where e.position = $4";
    let append = async |unconfirmed: i32, newest: i64| {
        client.query_one(sql, &[&account, &seen, &unconfirmed, &newest]).await
    };
    assert_eq!(append(1, seen).await.unwrap().get::<_, i64>(0), seen);
    let newest = tenure.log().append(of_account()).await.unwrap().last.position;
    assert_eq!(append(1, newest).await.unwrap_err().code().unwrap().code(), "TN001");
    assert_eq!(append(0, seen).await.unwrap_err().code().unwrap().code(), "TN001");
    assert_eq!(append(0, newest).await.unwrap().get::<_, i64>(0), newest);
}

/// Takes the lock of the head row, for which every append waits.
async fn hold_head(holder: &tokio_postgres::Client) {
    holder.batch_execute("begin; select from log.head for update").await.unwrap();
}

/// Waits until so many committers wait for a lock.
async fn wait_for_committers(client: &tokio_postgres::Client, wanted: i64) {
    let sql = "select count(*) from pg_stat_activity where application_name = 'tenure committer'
               and datname = current_database() and wait_event_type = 'Lock'";
    while client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) < wanted {
        tokio::task::yield_now().await;
    }
}

fn append_in_background(
    tenure: &Tenure,
    unit: Unit,
) -> tokio::task::JoinHandle<Result<Appended, AppendError>> {
    let log = tenure.log().clone();
    tokio::spawn(async move { log.append(unit).await })
}

/// Lets the committers send what has been submitted.
async fn give_way() {
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_node_wrote_before_the_batch_ahead_is_not_taken_for_known() {
    let database = TestDatabase::new().await;
    let (tenure, other) = tokio::join!(database.open(), database.open());
    let shared = stream();
    let seen = tenure.log().append(unit(&shared, 0)).await.unwrap().last.position;
    other.log().append(unit(&stream(), 0)).await.unwrap();
    append_alone(&tenure).await;
    let seen = tenure.log().append(unit(&shared, 1)).await.unwrap().last.position.max(seen);

    let holder = database.connect(None).await;
    hold_head(&holder).await;
    let before = append_in_background(&other, unit(&shared, 2));
    wait_for_committers(&holder, 1).await;
    let ahead = append_in_background(&tenure, unit(&stream(), 0));
    wait_for_committers(&holder, 2).await;
    let behind: Vec<_> = (0..16)
        .map(|_| {
            let mut unit = unit(&stream(), 0);
            unit.premises.streams.push(StreamRead { stream: shared.clone(), version: 2, seen });
            append_in_background(&tenure, unit)
        })
        .collect();
    // They go out behind the one that waits for the lock.
    wait_for_committers(&holder, 2).await;
    give_way().await;
    holder.batch_execute("commit").await.unwrap();
    before.await.unwrap().unwrap();
    ahead.await.unwrap().unwrap();
    for refused in behind {
        let conflict = AppendError::Conflict { stream: shared.clone() };
        assert_eq!(refused.await.unwrap().unwrap_err(), conflict);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_behind_a_batch_that_is_refused_is_stored_all_the_same() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    append_alone(&tenure).await;
    let known = stream();
    let seen = tenure.log().append(unit(&known, 0)).await.unwrap().last.position;
    let version = tenure.log().guard_version("set").await.unwrap();
    tenure.log().append(Unit { bumps: vec!["set".to_owned()], ..unit(&stream(), 0) }).await.unwrap();

    let holder = database.connect(None).await;
    hold_head(&holder).await;
    let mut stale = unit(&stream(), 0);
    stale.premises.guards.push(("set".to_owned(), version));
    let ahead = append_in_background(&tenure, stale);
    wait_for_committers(&holder, 1).await;
    let behind: Vec<_> = (0..16)
        .map(|_| {
            let mut unit = unit(&stream(), 0);
            unit.premises.streams.push(StreamRead { stream: known.clone(), version: 1, seen });
            append_in_background(&tenure, unit)
        })
        .collect();
    give_way().await;
    holder.batch_execute("commit").await.unwrap();
    let error = ahead.await.unwrap().unwrap_err();
    assert_eq!(error, AppendError::GuardMoved { guard: "set".to_owned() });
    for stored in behind {
        stored.await.unwrap().unwrap();
    }
    // The node is still alone: nothing but its own batch ahead was in the way.
    assert_leaves_out(&tenure, seen).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_does_not_write_where_an_event_that_it_acknowledged_is_gone() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let position = tenure.log().append(unit(&stream(), 0)).await.unwrap().last.position;
    let admin = database.connect(None).await;
    let lose =
        format!("set session_replication_role = replica; delete from log.event where position = {position}");
    admin.batch_execute(&lose).await.unwrap();
    let cut =
        "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'tenure committer'
               and datname = current_database()";
    admin.execute(cut, &[]).await.unwrap();
    // Whether this one was stored cannot be found out there; when nobody waits for it any more, others are answered.
    let unknown = tokio::time::timeout(Duration::from_millis(200), tenure.log().append(unit(&stream(), 0)));
    assert!(unknown.await.is_err());
    let refused = tenure.log().append(unit(&stream(), 0)).await.unwrap_err().to_string();
    let unread = tenure.log().newest().await.unwrap_err().to_string();
    for said in [refused, unread] {
        let lost = format!("at position {position}, which this node has seen, is missing");
        assert!(said.contains(&lost) && said.contains("tenure log new-epoch"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_guard_that_was_lost_and_made_again_is_another() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let version = tenure.log().guard_version("set").await.unwrap();
    database.connect(None).await.batch_execute("delete from log.guard").await.unwrap();
    assert_ne!(tenure.log().guard_version("set").await.unwrap(), version);
    let stale = {
        let mut unit = unit(&stream(), 0);
        unit.premises.guards.push(("set".to_owned(), version));
        unit
    };
    let refused = tenure.log().append(stale).await.unwrap_err();
    assert_eq!(refused, AppendError::GuardMoved { guard: "set".to_owned() });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loser_never_fails_the_others_of_its_batch() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let taken = stream();
    tenure.log().append(unit(&taken, 0)).await.unwrap();
    let appends = (0..64).map(|number| {
        let unit = if number % 2 == 0 { unit(&stream(), 0) } else { unit(&taken, 0) };
        tenure.log().append(unit)
    });
    for (number, result) in join_all(appends).await.into_iter().enumerate() {
        assert_eq!(result.is_ok(), number % 2 == 0, "{result:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn data_that_the_database_refuses_fail_their_own_unit_alone() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let appends = (0..33).map(|number| {
        let mut unit = unit(&stream(), 0);
        if number == 17 {
            // PostgreSQL has no text with a zero octet.
            unit.events[0].event_type = "thing\0done".into();
        }
        tenure.log().append(unit)
    });
    for (number, result) in join_all(appends).await.into_iter().enumerate() {
        match result {
            Ok(_) => assert_ne!(number, 17),
            Err(AppendError::Refused { code }) => assert_eq!((number, code.as_str()), (17, "22021")),
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_change_that_meets_no_row_stores_nothing() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let stream = stream();
    let change = RowChange {
        table: &projections::users::TABLE,
        key: vec![Value::Uuid(fresh())],
        change: Change::Patch(vec![(projections::users::TABLE.column("operator"), Value::Bool(true))]),
    };
    let broken = Unit { rows: vec![(0, change)], ..unit(&stream, 0) };
    assert_eq!(
        tenure.log().append(broken).await.unwrap_err(),
        AppendError::Refused { code: "TN003".to_owned() }
    );
    assert_eq!(tenure.log().read_stream(&stream, 0).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_a_trigger_of_others_keeps_out_stores_nothing() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    database
        .connect(None)
        .await
        .batch_execute(
            "create function public.keep_out() returns trigger language plpgsql as $$ begin return null; end $$;
             create trigger keep_out before insert on view.name_keys for each row execute function public.keep_out()",
        )
        .await
        .unwrap();
    let stream = stream();
    let row = vec![Value::Uuid(fresh()), Value::Null, Value::Position];
    let change = RowChange::insert(&projections::name_keys::TABLE, row);
    let broken = Unit { rows: vec![(0, change)], ..unit(&stream, 0) };
    assert_eq!(
        tenure.log().append(broken).await.unwrap_err(),
        AppendError::Refused { code: "TN003".to_owned() }
    );
    assert_eq!(tenure.log().read_stream(&stream, 0).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parameter_that_does_not_encode_stores_nothing_and_stops_no_other_unit() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let change = RowChange::insert(
        &projections::members::TABLE,
        vec![
            Value::Text("not a uuid".to_owned()),
            Value::Uuid(fresh()),
            Value::Time(SystemClock.now()),
            Value::Position,
        ],
    );
    let stream = stream();
    let broken = Unit { rows: vec![(0, change)], ..unit(&stream, 0) };
    assert!(matches!(tenure.log().append(broken).await, Err(AppendError::Refused { .. })));
    assert_eq!(tenure.log().read_stream(&stream, 0).await.unwrap(), []);
    tenure.log().append(unit(&stream, 0)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_has_one_holder_and_the_loser_learns_who() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let results = join_all((0..32).map(|_| tenure.log().append(claiming("name", 1, None)))).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    let holders: Vec<String> = results
        .into_iter()
        .filter_map(|result| match result {
            Err(AppendError::ClaimTaken { holder, .. }) => Some(holder),
            _ => None,
        })
        .collect();
    assert_eq!(holders.len(), 31);
    assert!(holders.iter().all(|holder| *holder == holders[0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_claim_is_taken_over_and_a_late_release_frees_no_other_holders() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let now = SystemClock.now();
    let dead = claiming("code", 1, Some(now));
    let first_holder = dead.events[0].stream.id.to_string();
    tenure.log().append(Unit { at: Timestamp::from_micros(now.as_micros() - 1), ..dead }).await.unwrap();
    let active = claiming("code", 1, Some(now));
    let early = Timestamp::from_micros(now.as_micros() - 1);
    let refused = tenure.log().append(Unit { at: early, ..active.clone() }).await;
    assert!(matches!(refused, Err(AppendError::ClaimTaken { .. })));
    let second_holder = active.events[0].stream.id.to_string();
    tenure.log().append(Unit { at: now, ..active }).await.unwrap();

    let release = ClaimChange::Release { key: ClaimKey { kind: "code", key: [1; 32] }, holder: first_holder };
    tenure.log().append(Unit { claims: vec![(0, release)], ..unit(&stream(), 0) }).await.unwrap();
    let client = database.connect(None).await;
    let row =
        client.query_one("select holder from view.unique_claims where kind = 'code'", &[]).await.unwrap();
    assert_eq!(row.get::<_, String>(0), second_holder);
}

#[tokio::test(flavor = "multi_thread")]
async fn payloads_are_stored_byte_for_byte() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let stream = stream();
    tenure.log().append(unit(&stream, 0)).await.unwrap();
    let read = tenure.log().read_stream(&stream, 0).await.unwrap();
    assert_eq!(&*read[0].payload, b"{ \"kept\" :  1 }");
}

#[tokio::test(flavor = "multi_thread")]
async fn recorded_times_increase_strictly_with_the_position() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    join_all((0..200).map(|_| tenure.log().append(unit(&stream(), 0)))).await;
    let times: Vec<Timestamp> = history(&tenure).await.iter().map(|event| event.recorded_at).collect();
    assert!(times.is_sorted_by(|earlier, later| earlier < later));
}

#[tokio::test(flavor = "multi_thread")]
async fn followers_and_pollers_see_every_position_once_in_order_while_others_write() {
    let database = TestDatabase::new().await;
    let (writer, reader) = tokio::join!(database.open(), database.open());
    let target = writer.log().newest().await.unwrap() + 1_500;
    let follow = async {
        let mut follower = reader.log().follow(0);
        let mut seen = Vec::new();
        while seen.last().is_none_or(|last| *last < target) {
            seen.extend(follower.next().await.unwrap().iter().map(|event| event.position));
        }
        seen
    };
    let poll = async {
        let mut seen: Vec<i64> = Vec::new();
        while seen.last().is_none_or(|last| *last < target) {
            let after = seen.last().copied().unwrap_or(0);
            let page = reader.log().read_page(after, &Filter::default(), 50).await.unwrap().events;
            seen.extend(page.iter().map(|event| event.position));
        }
        seen
    };
    let write = async {
        for _ in 0..15 {
            join_all((0..100).map(|_| writer.log().append(unit(&stream(), 0)))).await;
        }
    };
    let (followed, polled, ()) = tokio::join!(follow, poll, write);
    assert_eq!(followed, (1..=target).collect::<Vec<_>>());
    assert_eq!(polled, (1..=target).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_notices_another_log_and_a_missing_event() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    tenure.log().append(unit(&stream(), 0)).await.unwrap();
    let mut follower = tenure.log().follow(0);
    follower.next().await.unwrap();
    let owner = database.connect(None).await;
    owner.batch_execute("update log.head set epoch = epoch + 1").await.unwrap();
    let replaced = follower.next().await.unwrap_err();
    assert!(matches!(replaced, ReadError::LogReplaced { from, .. } if from.position == 2), "{replaced}");

    tenure.log().append(unit(&stream(), 0)).await.unwrap();
    tenure.log().append(unit(&stream(), 0)).await.unwrap();
    owner
        .batch_execute("set session_replication_role = replica; delete from log.event where position = 3")
        .await
        .unwrap();
    assert!(matches!(tenure.log().follow(0).next().await, Err(ReadError::Gap { after: 2, found: 4 })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_busy_and_loses_nothing() {
    let database = TestDatabase::new().await;
    let tenure = crate::support::open_with(tenure::Settings { queue: 8, ..database.settings() }).await;
    let holder = database.connect(None).await;
    holder.batch_execute("begin; select from log.head for update").await.unwrap();
    let appends: Vec<_> = (0..1_200)
        .map(|_| {
            let log = tenure.log().clone();
            tokio::spawn(async move { log.append(unit(&stream(), 0)).await })
        })
        .collect();
    // One batch waits for the lock, the queue fills, and the rest is told at once.
    while appends.iter().filter(|append| append.is_finished()).count() == 0 {
        tokio::task::yield_now().await;
    }
    holder.batch_execute("commit").await.unwrap();
    let (mut stored, mut refused) = (0, 0);
    for append in appends {
        match append.await.unwrap() {
            Ok(_) => stored += 1,
            Err(AppendError::Busy) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(refused > 0, "the queue was never full");
    assert_eq!(history(&tenure).await.len(), stored + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_and_oversized_units_are_refused_before_they_wait() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let log = tenure.log();
    assert!(matches!(log.append(Unit::default()).await, Err(AppendError::Malformed(_))));
    let mut gap = unit(&stream(), 0);
    gap.events[0].version = 2;
    assert!(matches!(log.append(gap).await, Err(AppendError::Malformed(_))));
    let mut unread = unit(&stream(), 0);
    unread.premises.streams.clear();
    assert!(matches!(log.append(unread).await, Err(AppendError::Malformed(_))));
    let mut large = unit(&stream(), 0);
    large.events[0].payload = Bytes::from(vec![b' '; 17 * 1024 * 1024]);
    assert_eq!(log.append(large).await.unwrap_err(), AppendError::TooLarge);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_without_events_is_confirmed_against_what_it_read() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let stream = stream();
    let position = tenure.log().append(unit(&stream, 0)).await.unwrap().last.position;
    assert_eq!(
        tenure.log().confirm(&Premises::of_stream(stream.clone(), 1)).await.unwrap().unwrap().position,
        position
    );
    assert_eq!(tenure.log().confirm(&Premises::of_stream(stream, 0)).await.unwrap(), None);
    let unread = Premises { guards: vec![("set".to_owned(), 1)], ..Premises::default() };
    assert_eq!(tenure.log().confirm(&unread).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_superseded_node_stores_nothing_more() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let owner = database.connect(None).await;
    owner.batch_execute("update log.head set projection_set = 'users:2'").await.unwrap();
    let error = tenure.log().append(unit(&stream(), 0)).await.unwrap_err();
    assert_eq!(error, AppendError::Superseded("users:2".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_snapshot_never_replaces_a_newer_one() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let stream = stream();
    let snapshot =
        |version| Snapshot { version, state_version: 1, payload: Bytes::from_static(b"{}"), sealed: None };
    let epoch = tenure.log().seen().get().epoch;
    for (version, epoch) in [(5, epoch), (3, epoch), (7, epoch - 1)] {
        tenure.log().save_snapshot(&stream, &snapshot(version), epoch).await.unwrap();
    }
    // The last one was made of events of another epoch, which may be gone.
    assert_eq!(tenure.log().load_snapshot(&stream, 1).await.unwrap().unwrap().version, 5);
    assert!(tenure.log().load_snapshot(&stream, 2).await.unwrap().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_read_by_account_type_and_time() {
    let database = TestDatabase::new().await;
    let tenure = database.open().await;
    let ada = user(&tenure, "ada").await;
    let acme = crate::support::account(&tenure, "acme", ada).await;
    crate::support::account(&tenure, "other", ada).await;
    let filter = Filter { account: Some(acme.as_uuid()), ..Filter::default() };
    let found = tenure.log().read_page(0, &filter, 10).await.unwrap().events;
    assert_eq!(found.iter().map(|event| event.event_type.as_str()).collect::<Vec<_>>(), ["account.opened"]);
    let filter = Filter { types: vec!["user.registered".to_owned()], ..Filter::default() };
    assert_eq!(tenure.log().read_page(0, &filter, 10).await.unwrap().events.len(), 2);
    let filter = Filter { since: Some(found[0].recorded_at), ..Filter::default() };
    assert_eq!(tenure.log().read_page(0, &filter, 10).await.unwrap().events.len(), 2);
    let filter = Filter { until: Some(found[0].recorded_at), ..Filter::default() };
    assert_eq!(tenure.log().read_page(0, &filter, 10).await.unwrap().events.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_stores_everything_that_was_accepted() {
    let database = TestDatabase::new().await;
    let tenure = Arc::new(database.open().await);
    let log = tenure.log().clone();
    let appends: Vec<_> = (0..500)
        .map(|_| {
            let log = log.clone();
            tokio::spawn(async move { log.append(unit(&stream(), 0)).await })
        })
        .collect();
    let results = join_all(appends).await;
    assert!(results.iter().all(|result| matches!(result, Ok(Ok(_)))));
    drop(log);
    Arc::into_inner(tenure).unwrap().close().await;
    let client = database.connect(None).await;
    assert_eq!(rows(&client, "log.event").await.len(), 501);
}
