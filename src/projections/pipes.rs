//! `view.pipes`: one row per pipe that a user created; the built-in pipes of a source follow from its kind.

use futures::Stream;
use tokio_postgres::Row;
use uuid::Uuid;

use super::page;
use super::query::{QueryError, Reader};
use crate::aggregates::AnyEvent;
use crate::aggregates::ending::EndingEvent;
use crate::aggregates::source::{PipeName, Retention, SourceEvent};
use crate::clock::Timestamp;
use crate::event_log::rows::ColumnType::{BigInt, Position, Text, Timestamptz, Uuid as UuidType};
use crate::event_log::rows::{Column, RowChange, Table, Value};
use crate::ids::{AccountId, PipeId, SourceId, UserId};

/// The table definition. The retention columns are null where the server's default applies.
pub static TABLE: Table = Table {
    name: "pipes",
    version: 1,
    columns: &[
        Column::required("id", UuidType),
        Column::required("source_id", UuidType),
        Column::required("created_by_user_id", UuidType),
        Column::required("name", Text),
        Column::optional("ttl_seconds", BigInt).changing(),
        Column::optional("max_msgs", BigInt).changing(),
        Column::optional("max_bytes", BigInt).changing(),
        Column::required("created_at", Timestamptz),
        Column::required("position", Position),
    ],
    key_columns: 1,
    fillfactor: 90,
    // Look-ups by name, and pages of a source's pipes.
    indexes: &["(source_id, name)"],
};

const COLUMNS: &str =
    "p.id, p.source_id, p.created_by_user_id, p.name, p.ttl_seconds, p.max_msgs, p.max_bytes, p.created_at";
/// The alias that [`COLUMNS`] and [`OF_OPEN_ACCOUNT`] use.
const FROM: &str = "from view.pipes p";
/// Whether the account of pipe `p` is open: pipes of a closed account are cleared away later.
const OF_OPEN_ACCOUNT: &str = "exists (select from view.sources s join view.accounts a on a.id = s.account_id
                                       where s.id = p.source_id)";

/// A pipe that a user created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pipe {
    /// The identifier of the pipe.
    pub id: PipeId,
    /// The source that the pipe belongs to.
    pub source_id: SourceId,
    /// The user who created the pipe.
    pub created_by_user_id: UserId,
    /// The name, unique within the source.
    pub name: String,
    /// The retention; values that are not set use the server's defaults.
    pub retention: Retention,
    /// When the pipe was created.
    pub created_at: Timestamp,
}

impl Pipe {
    /// The pipe that this event creates; none for any other event.
    #[must_use]
    pub fn made(_: i64, stream: Uuid, event: &AnyEvent) -> Option<Self> {
        let AnyEvent::Source(SourceEvent::PipeCreated { pipe, created_by, name, retention, at, .. }) = event
        else {
            return None;
        };
        Some(Self {
            id: *pipe,
            source_id: SourceId::from_uuid(stream),
            created_by_user_id: *created_by,
            name: name.as_str().to_owned(),
            retention: *retention,
            created_at: *at,
        })
    }
}

/// The row changes that an event causes in the table.
pub(super) fn changes(stream: Uuid, event: &AnyEvent) -> Vec<RowChange> {
    let event = match event {
        AnyEvent::Source(event) => event,
        AnyEvent::Ending(EndingEvent::AccountRowsRemoved(rows)) => {
            let gone = |pipe: &PipeId| RowChange::delete(&TABLE, vec![pipe.as_uuid().into()]);
            return rows.pipes.iter().map(gone).collect();
        }
        _ => return Vec::new(),
    };
    match event {
        SourceEvent::PipeCreated { pipe, created_by, name, retention, at, .. } => vec![RowChange::insert(
            &TABLE,
            vec![
                pipe.as_uuid().into(),
                stream.into(),
                created_by.as_uuid().into(),
                name.as_str().into(),
                retention.ttl_seconds.into(),
                retention.max_msgs.into(),
                retention.max_bytes.into(),
                (*at).into(),
                Value::Position,
            ],
        )],
        SourceEvent::PipeRetentionChanged { pipe, retention, .. } => vec![RowChange::patch(
            &TABLE,
            vec![pipe.as_uuid().into()],
            [
                ("ttl_seconds", retention.ttl_seconds.into()),
                ("max_msgs", retention.max_msgs.into()),
                ("max_bytes", retention.max_bytes.into()),
            ],
        )],
        SourceEvent::PipeDeleted { pipe, .. } => {
            vec![RowChange::delete(&TABLE, vec![pipe.as_uuid().into()])]
        }
        SourceEvent::Created { .. } | SourceEvent::Deleted { .. } => Vec::new(),
    }
}

fn read(row: &Row) -> Result<Pipe, tokio_postgres::Error> {
    Ok(Pipe {
        id: row.try_get(0)?,
        source_id: row.try_get(1)?,
        created_by_user_id: row.try_get(2)?,
        name: row.try_get(3)?,
        retention: Retention {
            ttl_seconds: row.try_get(4)?,
            max_msgs: row.try_get(5)?,
            max_bytes: row.try_get(6)?,
        },
        created_at: row.try_get(7)?,
    })
}

impl Reader {
    /// The pipe with this name that a user created.
    ///
    /// # Errors
    /// [`QueryError::NotFound`], also for the built-in pipes of a source.
    pub async fn pipe_by_name(&self, source: SourceId, name: &str) -> Result<Pipe, QueryError> {
        // No pipe has a malformed name: skip the query.
        let Ok(name) = PipeName::parse(name) else { return Err(QueryError::NotFound) };
        let name = name.as_str();
        let sql =
            format!("select {COLUMNS} {FROM} where p.source_id = $1 and p.name = $2 and {OF_OPEN_ACCOUNT}");
        self.one(&sql, &[&source, &name], read).await
    }

    /// The pipes of a source that users created, by name; none for an unknown source.
    ///
    /// # Errors
    /// An item: the database cannot be read.
    pub fn pipes_for_source(&self, source: SourceId) -> impl Stream<Item = Result<Pipe, QueryError>> + use<> {
        let reader = self.clone();
        let read = move |after: String| {
            let reader = reader.clone();
            async move { reader.pipes_after(source, &after, page::PAGE).await }
        };
        page::all(String::new(), read, |pipe| pipe.name.clone())
    }

    /// The pipes of a source whose names come after this one, by name, at most `limit`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn pipes_after(
        &self,
        source: SourceId,
        name: &str,
        limit: usize,
    ) -> Result<Vec<Pipe>, QueryError> {
        let sql = format!(
            "select {COLUMNS} {FROM} where p.source_id = $1 and p.name > $2 and {OF_OPEN_ACCOUNT}
             order by p.name limit $3"
        );
        self.list(&sql, &[&source, &name, &page::limit(limit)], read).await
    }

    /// The pipes that users created in these sources, by source and name.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn pipes_of_sources(&self, sources: &[SourceId]) -> Result<Vec<Pipe>, QueryError> {
        let sql = format!(
            "select {COLUMNS} {FROM} where p.source_id = any ($1) and {OF_OPEN_ACCOUNT} order by p.source_id, p.name"
        );
        self.list(&sql, &[&sources], read).await
    }

    /// How many pipes users have created in an account.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn count_of_pipes(&self, account: AccountId) -> Result<u32, QueryError> {
        let sql = "select count(*) from view.pipes p join view.sources s on s.id = p.source_id where s.account_id = $1";
        self.count(sql, &[&account]).await
    }

    /// The pipe with this identifier.
    ///
    /// # Errors
    /// [`QueryError::NotFound`]
    pub async fn pipe(&self, id: PipeId) -> Result<Pipe, QueryError> {
        self.one(&format!("select {COLUMNS} {FROM} where p.id = $1 and {OF_OPEN_ACCOUNT}"), &[&id], read)
            .await
    }
}
