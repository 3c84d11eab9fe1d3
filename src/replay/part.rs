//! Reads the part of the log that says how the rows of one account were: its own events, and those of the people in it.

use foldhash::HashSet;
use tokio_postgres::Client;
use uuid::Uuid;

use super::error::ReplayError;
use super::fold::{Effects, Folder, Keys, Records};
use super::log_reader::{Events, RANGE};
use super::progress::Progress;
use super::snapshot;
use super::spill::Spill;
use crate::event_log::RecordedEvent;
use crate::event_log::rows::{Change, ColumnType, RowChange, Value};
use crate::postgres::Connection;
use crate::projections::{invites, name_keys};

/// How many people's events one statement reads.
const PEOPLE: usize = 1_000;

/// What was read of the log.
#[derive(Default)]
pub(super) struct Part {
    /// What is known of data keys.
    pub(super) keys: Keys,
    /// How many events were read.
    pub(super) events: u64,
    /// The people in it.
    pub(super) people: Vec<Uuid>,
    /// The keys of invited names that have a row. A key can have been begun by an invite to another account.
    name_keys: HashSet<Uuid>,
}

/// Reads the events of an account up to a position, and of the people that they mention, at most so many, into the spill, in no
/// order. `None` if there are more.
pub(super) async fn read_part(
    folder: &Folder,
    connection: &Connection,
    (account, position): (Uuid, i64),
    most: u64,
    spill: &mut Spill<'_>,
    progress: &Progress,
) -> Result<Option<Part>, ReplayError> {
    let (mut part, mut people) = (Part::default(), HashSet::default());
    let (mut after, mut first) = (0, None);
    loop {
        let of_account = format!(
            "where account_id = '{account}' and position > {after} and position <= {position}
             order by position limit {RANGE}"
        );
        let (begun_at, mut range) = (after, Events::that_meet(connection, &of_account).await?);
        while let Some(events) = range.next().await? {
            after = events.last().map_or(after, |last| last.position);
            first = first.or(events.first().map(|event| event.position));
            let effects = part.take(folder, events, spill, progress).await?;
            people.extend(effects.iter().flat_map(|effects| effects.rows.iter().flat_map(people_in)));
        }
        if part.events > most {
            return Ok(None);
        }
        if after == begun_at {
            break;
        }
    }
    let name_keys = part.name_keys.iter().copied().collect();
    people.extend(takers(&connection.client, name_keys, first.unwrap_or_default()).await?);
    let people: Vec<Uuid> = people.into_iter().collect();
    for some in people.chunks(PEOPLE) {
        let ids: Vec<String> = some.iter().map(|id| format!("'{id}'")).collect();
        let mut after = 0;
        loop {
            // The endings of people have their identifiers.
            let of_people = format!(
                "where stream_type in ('user', 'ending') and stream_id in ({}) and position > {after} and position <= {position}
                 order by position limit {RANGE}",
                ids.join(", ")
            );
            let (begun_at, mut range) = (after, Events::that_meet(connection, &of_people).await?);
            while let Some(events) = range.next().await? {
                after = events.last().map_or(after, |last| last.position);
                part.take(folder, events, spill, progress).await?;
            }
            if part.events > most {
                return Ok(None);
            }
            if after == begun_at {
                break;
            }
        }
    }
    part.people = people;
    Ok(Some(part))
}

impl Part {
    async fn take(
        &mut self,
        folder: &Folder,
        events: Vec<RecordedEvent>,
        spill: &mut Spill<'_>,
        progress: &Progress,
    ) -> Result<Vec<Effects>, ReplayError> {
        self.events += events.len() as u64;
        progress.advance(events.len() as u64);
        let (mut effects, keys) = folder.effects(&events).await?;
        self.keys.extend(keys);
        for Effects { rows, .. } in &mut effects {
            self.name_keys.extend(rows.iter().filter_map(begun_key));
            let named: Vec<Uuid> = rows.iter().filter_map(named_key).collect();
            let elsewhere = named.into_iter().filter(|key| self.name_keys.insert(*key));
            rows.extend(elsewhere.map(name_keys::begun).collect::<Vec<_>>());
        }
        let mut records = Records::new();
        records.extend(&effects)?;
        snapshot::add(spill, &mut records)?;
        Ok(effects)
    }
}

/// Those who have taken these invited names since a position: they end the invites when they are forgotten.
async fn takers(client: &Client, name_keys: Vec<Uuid>, since: i64) -> Result<Vec<Uuid>, ReplayError> {
    let sql = "select user_id from view.name_keys where id = any ($1) and user_id is not null";
    let known = client.query(sql, &[&name_keys]).await?;
    // Once their rows have been cleared away, the last event of a forgotten person says which names they had taken.
    let sql = "select n.name::text from unnest($1::uuid[]) n (name)
               where not exists (select from log.data_key d where d.subject = 'name:' || n.name)
                 and not exists (select from view.name_keys k where k.id = n.name and k.user_id is not null)";
    let lost = client.query(sql, &[&name_keys]).await?;
    let lost: Vec<String> = lost.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
    let sql = "select u.id from view.users u
               cross join lateral (select e.payload from log.event e
                                   where e.stream_type = 'user' and e.stream_id = u.id::text
                                   order by e.stream_id desc, e.stream_type desc, e.version desc limit 1) e
               where u.forgotten_at is not null and u.position > $2
                 and exists (select from unnest($1::text[]) n (name) where position(convert_to(n.name, 'UTF8') in e.payload) > 0)";
    let forgotten = if lost.is_empty() { Vec::new() } else { client.query(sql, &[&lost, &since]).await? };
    Ok(known.iter().chain(&forgotten).map(|row| row.try_get(0)).collect::<Result<_, _>>()?)
}

/// The key of an invited name that a change begins.
fn begun_key(RowChange { table, key, change }: &RowChange) -> Option<Uuid> {
    let begins = table.name == name_keys::TABLE.name && matches!(change, Change::Insert(_));
    key.first().filter(|_| begins).and_then(uuid)
}

/// The key of the name in an invite that a change sets.
fn named_key(RowChange { table, change, .. }: &RowChange) -> Option<Uuid> {
    if table.name != invites::TABLE.name {
        return None;
    }
    let wanted = table.columns.iter().position(|column| column.name == "name_key")?;
    match change {
        Change::Insert(values) => uuid(values.get(wanted)?),
        Change::Patch(columns) => {
            columns.iter().find(|(column, _)| *column == wanted).and_then(|(_, value)| uuid(value))
        }
        Change::Delete => None,
    }
}

const fn uuid(value: &Value) -> Option<Uuid> {
    if let Value::Uuid(id) = value { Some(*id) } else { None }
}

/// The users that a change of a row mentions.
fn people_in(RowChange { table, key, change }: &RowChange) -> Vec<Uuid> {
    let id = |(column, value): (usize, &Value)| match value {
        Value::Uuid(id) => {
            let column = &table.columns[column];
            (column.column_type == ColumnType::Uuid && column.name.ends_with("user_id")).then_some(*id)
        }
        _ => None,
    };
    match change {
        Change::Insert(values) => values.iter().enumerate().filter_map(id).collect(),
        Change::Patch(columns) => {
            columns.iter().map(|(column, value)| (*column, value)).filter_map(id).collect()
        }
        Change::Delete => key.iter().enumerate().filter_map(id).collect(),
    }
}
