//! `view.sources`: one row per active source; the rows of a closed account are cleared away.

use futures::Stream;
use tokio_postgres::Row;
use uuid::Uuid;

use super::page;
use super::query::{QueryError, Reader};
use crate::aggregates::AnyEvent;
use crate::aggregates::ending::{EndingEvent, SourceLeft};
use crate::aggregates::source::{Handle, SourceEvent, SourceKind};
use crate::clock::Timestamp;
use crate::event_log::rows::ColumnType::{Position, Text, Timestamptz, Uuid as UuidType};
use crate::event_log::rows::{Column, RowChange, Table, Value};
use crate::ids::{AccountId, SourceId, UserId};

/// The table definition.
pub static TABLE: Table = Table {
    name: "sources",
    version: 1,
    columns: &[
        Column::required("id", UuidType),
        Column::required("account_id", UuidType),
        Column::required("created_by_user_id", UuidType),
        Column::required("handle", Text),
        Column::required("kind", Text),
        Column::required("created_at", Timestamptz),
        Column::required("position", Position),
    ],
    key_columns: 1,
    fillfactor: 90,
    // Look-ups by handle, and pages of an account's sources.
    indexes: &["(account_id, handle)"],
};

const COLUMNS: &str =
    "s.id, s.account_id, s.created_by_user_id, s.handle, s.kind, s.created_at, b.at, b.payload";
/// Sources joined with their accounts: closing an account ends its sources before their rows are cleared away.
const FROM: &str = "from view.sources s join view.accounts a on a.id = s.account_id
                    left join coarse.last_broadcast b on b.source_id = s.id";

/// An active source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The identifier of the source.
    pub id: SourceId,
    /// The account that the source belongs to.
    pub account_id: AccountId,
    /// The user who created the source.
    pub created_by_user_id: UserId,
    /// The handle, unique within the account.
    pub handle: String,
    /// The kind, which decides the built-in pipes.
    pub kind: SourceKind,
    /// When the source was created.
    pub created_at: Timestamp,
    /// When the source sent its last broadcast; none if it has sent none.
    pub last_broadcast_at: Option<Timestamp>,
    /// The payload of the last broadcast; none if the source has sent none.
    pub last_broadcast_payload: Option<String>,
}

impl Source {
    /// The source that this event creates; none for any other event.
    #[must_use]
    pub fn made(_: i64, stream: Uuid, event: &AnyEvent) -> Option<Self> {
        let AnyEvent::Source(SourceEvent::Created { account, created_by, handle, kind, at }) = event else {
            return None;
        };
        Some(Self {
            id: SourceId::from_uuid(stream),
            account_id: *account,
            created_by_user_id: *created_by,
            handle: handle.as_str().to_owned(),
            kind: *kind,
            created_at: *at,
            last_broadcast_at: None,
            last_broadcast_payload: None,
        })
    }
}

/// The row changes that an event causes in the table.
pub(super) fn changes(stream: Uuid, event: &AnyEvent) -> Vec<RowChange> {
    let event = match event {
        AnyEvent::Source(event) => event,
        AnyEvent::Ending(EndingEvent::AccountRowsRemoved(rows)) => {
            let gone = |source: &SourceLeft| RowChange::delete(&TABLE, vec![source.id.as_uuid().into()]);
            return rows.sources.iter().map(gone).collect();
        }
        _ => return Vec::new(),
    };
    match event {
        SourceEvent::Created { account, created_by, handle, kind, at } => vec![RowChange::insert(
            &TABLE,
            vec![
                stream.into(),
                account.as_uuid().into(),
                created_by.as_uuid().into(),
                handle.as_str().into(),
                kind.as_str().into(),
                (*at).into(),
                Value::Position,
            ],
        )],
        SourceEvent::Deleted { .. } => vec![RowChange::delete(&TABLE, vec![Value::Uuid(stream)])],
        SourceEvent::PipeCreated { .. }
        | SourceEvent::PipeRetentionChanged { .. }
        | SourceEvent::PipeDeleted { .. } => Vec::new(),
    }
}

fn read(row: &Row) -> Result<Source, tokio_postgres::Error> {
    Ok(Source {
        id: row.try_get(0)?,
        account_id: row.try_get(1)?,
        created_by_user_id: row.try_get(2)?,
        handle: row.try_get(3)?,
        kind: row.try_get::<_, &str>(4)?.parse().unwrap_or_default(),
        created_at: row.try_get(5)?,
        last_broadcast_at: row.try_get(6)?,
        last_broadcast_payload: row.try_get(7)?,
    })
}

impl Reader {
    /// The active source with this handle.
    ///
    /// # Errors
    /// [`QueryError::NotFound`]
    pub async fn source_by_handle(&self, account: AccountId, handle: &str) -> Result<Source, QueryError> {
        // No source has a malformed handle: skip the query.
        let Ok(handle) = Handle::parse(handle) else { return Err(QueryError::NotFound) };
        let handle = handle.as_str();
        let sql = format!("select {COLUMNS} {FROM} where s.account_id = $1 and s.handle = $2");
        self.one(&sql, &[&account, &handle], read).await
    }

    /// The active sources of an account, by handle; none for an unknown or closed account.
    ///
    /// # Errors
    /// An item: the database cannot be read.
    pub fn sources_for_account(
        &self,
        account: AccountId,
    ) -> impl Stream<Item = Result<Source, QueryError>> + use<> {
        let reader = self.clone();
        let read = move |after: String| {
            let reader = reader.clone();
            async move { reader.sources_after(account, &after, page::PAGE).await }
        };
        page::all(String::new(), read, |source| source.handle.clone())
    }

    /// How many active sources an account has.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn count_of_sources(&self, account: AccountId) -> Result<u32, QueryError> {
        let sql = "select count(*) from view.sources where account_id = $1";
        self.count(sql, &[&account]).await
    }

    /// The active source with this identifier.
    ///
    /// # Errors
    /// [`QueryError::NotFound`]
    pub async fn source(&self, id: SourceId) -> Result<Source, QueryError> {
        self.one(&format!("select {COLUMNS} {FROM} where s.id = $1"), &[&id], read).await
    }

    /// The active sources of an account whose handles come after this one, by handle, at most `limit`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn sources_after(
        &self,
        account: AccountId,
        handle: &str,
        limit: usize,
    ) -> Result<Vec<Source>, QueryError> {
        let sql = format!(
            "select {COLUMNS} {FROM} where s.account_id = $1 and s.handle > $2 order by s.handle limit $3"
        );
        self.list(&sql, &[&account, &handle, &i64::try_from(limit).unwrap_or(i64::MAX)], read).await
    }
}
