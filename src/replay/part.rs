//! Reads the part of the log that says how the rows of one account were: its own events, and those of the people in it.

use foldhash::HashSet;
use uuid::Uuid;

use super::error::ReplayError;
use super::fold::{Effects, Folder, Keys, Records};
use super::log_reader::{RANGE, read_where};
use super::progress::Progress;
use super::snapshot;
use super::spill::Spill;
use crate::event_log::RecordedEvent;
use crate::event_log::rows::{Change, ColumnType, RowChange, Value};
use crate::postgres::Connection;

/// How many people's events one statement reads.
const PEOPLE: usize = 1_000;

/// What was read of the log.
#[derive(Default)]
pub(super) struct Part {
    /// What is known of data keys.
    pub(super) keys: Keys,
    /// How many events were read.
    pub(super) events: u64,
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
    let mut after = 0;
    loop {
        let of_account = format!(
            "where account_id = '{account}' and position > {after} and position <= {position}
             order by position limit {RANGE}"
        );
        let events = read_where(connection, &of_account).await?;
        let Some(last) = events.last() else { break };
        after = last.position;
        let effects = part.take(folder, events, spill, progress).await?;
        people.extend(effects.iter().flat_map(|effects| effects.rows.iter().flat_map(people_in)));
        if part.events > most {
            return Ok(None);
        }
    }
    // Whoever has taken an invited name ends the invite when they are forgotten.
    let takers = "select user_id from view.name_keys k join view.invites i on i.name_key = k.id
                  where i.account_id = $1 and k.user_id is not null";
    for row in connection.client.query(takers, &[&account]).await? {
        people.insert(row.try_get::<_, Uuid>(0)?);
    }
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
            let events = read_where(connection, &of_people).await?;
            let Some(last) = events.last() else { break };
            after = last.position;
            part.take(folder, events, spill, progress).await?;
            if part.events > most {
                return Ok(None);
            }
        }
    }
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
        let (effects, keys) = folder.effects(&events).await?;
        self.keys.extend(keys);
        let mut records = Records::new();
        records.extend(&effects)?;
        snapshot::add(spill, &mut records)?;
        Ok(effects)
    }
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
