//! Reading the log by stream, by account and by position: streamed, back-pressured, in short transactions.

use futures::Stream;
use futures::stream::try_unfold;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::error::ReadError;
use super::event::{RecordedEvent, StreamId};
use super::log::EventLog;
use crate::clock::Timestamp;

/// How many events one statement reads.
pub const PAGE: i64 = 1_000;

/// Which events are wanted; everything that is set must hold.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this tenant.
    pub account: Option<Uuid>,
    /// Of this stream.
    pub stream: Option<StreamId>,
    /// Of these stored names, for example `account.opened`; empty: all.
    pub types: Vec<String>,
    /// Recorded at or after.
    pub since: Option<Timestamp>,
    /// Recorded before.
    pub until: Option<Timestamp>,
}

impl Filter {
    fn is_all(&self) -> bool {
        self.account.is_none()
            && self.stream.is_none()
            && self.types.is_empty()
            && self.since.is_none()
            && self.until.is_none()
    }

    /// Whether an event is wanted.
    #[must_use]
    pub fn matches(&self, event: &RecordedEvent) -> bool {
        self.account.is_none_or(|account| event.account_id == Some(account))
            && self.stream.as_ref().is_none_or(|stream| event.stream == *stream)
            && (self.types.is_empty() || self.types.contains(&event.event_type))
            && self.since.is_none_or(|since| event.recorded_at >= since)
            && self.until.is_none_or(|until| event.recorded_at < until)
    }
}

impl EventLog {
    /// The newest position; 0 if the log is empty.
    ///
    /// # Errors
    /// The log cannot be read.
    pub async fn newest(&self) -> Result<i64, ReadError> {
        let client = self.pool().get().await?;
        let sql = "select coalesce((select position from log.event order by position desc limit 1), 0)";
        let statement = client.prepare_cached(sql).await?;
        Ok(client.query_one(&statement, &[]).await?.try_get(0)?)
    }

    /// All events of a stream after a version, in order.
    ///
    /// # Errors
    /// The log cannot be read.
    pub async fn read_stream(&self, stream: &StreamId, after: i64) -> Result<Vec<RecordedEvent>, ReadError> {
        let client = self.pool().get().await?;
        let sql = select_events(
            "where stream_type = $1 and stream_id = $2 and version > $3 order by version limit $4",
        );
        let statement = client.prepare_cached(&sql).await?;
        let mut events: Vec<RecordedEvent> = Vec::new();
        loop {
            let after = events.last().map_or(after, |event| event.version);
            let parameters: [&(dyn ToSql + Sync); 4] = [&&*stream.stream_type, &&*stream.id, &after, &PAGE];
            let rows = client.query(&statement, &parameters).await?;
            for row in &rows {
                events.push(RecordedEvent::from_row(row)?);
            }
            if i64::try_from(rows.len()).unwrap_or(PAGE) < PAGE {
                return Ok(events);
            }
        }
    }

    /// The wanted events after a position up to the newest of this moment, a page at a time; the next page is read
    /// when the last has been taken.
    pub fn read(
        &self,
        after: i64,
        filter: Filter,
    ) -> impl Stream<Item = Result<Vec<RecordedEvent>, ReadError>> + use<> {
        let log = self.clone();
        try_unfold(Some(after), move |after| {
            let (log, filter) = (log.clone(), filter.clone());
            async move {
                let Some(after) = after else { return Ok(None) };
                let page = log.read_page(after, &filter, PAGE).await?;
                let Some(last) = page.last().map(|event| event.position) else {
                    return Ok(None);
                };
                let more = page.len() == usize::try_from(PAGE).unwrap_or(usize::MAX);
                Ok(Some((page, more.then_some(last))))
            }
        })
    }

    /// The first wanted events after a position, at most `limit`.
    ///
    /// # Errors
    /// The log cannot be read, or (unfiltered) positions are missing.
    pub async fn read_page(
        &self,
        after: i64,
        filter: &Filter,
        limit: i64,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        let events = self.select(("position > $1", "asc"), after, filter, limit).await?;
        if filter.is_all() {
            contiguous(after, &events)?;
        }
        Ok(events)
    }

    /// The last wanted events before a position, newest first, at most `limit`.
    ///
    /// # Errors
    /// The log cannot be read.
    pub async fn read_page_back(
        &self,
        before: i64,
        filter: &Filter,
        limit: i64,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        self.select(("position < $1", "desc"), before, filter, limit).await
    }

    async fn select(
        &self,
        (side, direction): (&str, &str),
        position: i64,
        filter: &Filter,
        limit: i64,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        let mut conditions = format!("where {side}");
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&position];
        let (stream_type, stream_id) =
            filter.stream.as_ref().map_or(("", ""), |stream| (&*stream.stream_type, &*stream.id));
        let mut restrict = |condition: &str, parameter| {
            parameters.push(parameter);
            conditions.push_str(&condition.replace('?', &format!("${}", parameters.len())));
        };
        if let Some(account) = &filter.account {
            restrict(" and account_id = ?", account);
        }
        if filter.stream.is_some() {
            restrict(" and stream_type = ?", &stream_type);
            restrict(" and stream_id = ?", &stream_id);
        }
        if !filter.types.is_empty() {
            restrict(" and event_type = any (?)", &filter.types);
        }
        if let Some(since) = &filter.since {
            restrict(" and recorded_at >= ?", since);
        }
        if let Some(until) = &filter.until {
            restrict(" and recorded_at < ?", until);
        }
        restrict(&format!(" order by position {direction} limit ?"), &limit);

        let client = self.pool().get().await?;
        let statement = client.prepare_cached(&select_events(&conditions)).await?;
        let rows = client.query(&statement, &parameters).await?;
        Ok(rows.iter().map(RecordedEvent::from_row).collect::<Result<_, _>>()?)
    }
}

/// Refuses a page in which a position is missing.
pub(super) fn contiguous(after: i64, events: &[RecordedEvent]) -> Result<(), ReadError> {
    let mut last = after;
    for event in events {
        if event.position != last + 1 {
            return Err(ReadError::Gap { after: last, found: event.position });
        }
        last = event.position;
    }
    Ok(())
}

fn select_events(conditions: &str) -> String {
    format!("select {} from log.event {conditions}", RecordedEvent::COLUMNS)
}
