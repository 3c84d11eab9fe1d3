//! Reads the log by stream, account and position: in pages, each a short statement, fetched as the reader asks.

use futures::Stream;
use futures::stream::try_unfold;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::checkpoint::Checkpoint;
use super::error::ReadError;
use super::event::{FromLog, RecordedEvent, StreamId};
use super::log::EventLog;
use super::page::{PAGE, contiguous};
use crate::clock::Timestamp;
use crate::ids::EventId;

/// How many events one statement scans when it filters by type, for which there is no index.
const SCAN: i64 = 10_000;

/// How many events a filtered page may scan before it is returned as it is, perhaps empty.
const MAX_SCANNED: i64 = 200_000;

/// Selects events; an event must match every field that is set.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only events of this account.
    pub account: Option<Uuid>,
    /// Only events of this stream.
    pub stream: Option<StreamId>,
    /// Only events with one of these stored names, for example `account.opened`; empty: all names.
    pub types: Vec<String>,
    /// Only events recorded at or after this time.
    pub since: Option<Timestamp>,
    /// Only events recorded before this time.
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

    /// Whether an event matches the filter.
    #[must_use]
    pub fn matches(&self, event: &RecordedEvent) -> bool {
        self.account.is_none_or(|account| event.account_id == Some(account))
            && self.stream.as_ref().is_none_or(|stream| event.stream == *stream)
            && (self.types.is_empty() || self.types.contains(&event.event_type))
            && self.since.is_none_or(|since| event.recorded_at >= since)
            && self.until.is_none_or(|until| event.recorded_at < until)
    }
}

/// A page of matching events.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The events, in the requested order.
    pub events: Vec<RecordedEvent>,
    /// The epoch of the positions and of `next`; 0 if no statement was needed.
    pub epoch: i64,
    /// The position to continue from, which is not itself on the next page; `None` at the end.
    pub next: Option<i64>,
    /// How far a search by type in the order of the log has come, if it has reached the end: the next one can begin there, so that
    /// nothing is searched twice.
    pub searched_to: Option<i64>,
}

/// The order of the events on a page.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    OldestFirst,
    NewestFirst,
}

impl EventLog {
    /// The newest position; 0 if the log is empty.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`]
    pub async fn newest(&self) -> Result<i64, ReadError> {
        Ok(self.primary().query("select true", &[]).await?.position)
    }

    /// The identifier of the event at a position; `None` if there is none.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`]
    pub async fn event_id_at(&self, position: i64) -> Result<Option<EventId>, ReadError> {
        let row =
            self.primary().row("select event_id from log.event where position = $1", &[&position]).await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }

    /// All events of a stream after a version, in order.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`]
    pub async fn read_stream(&self, stream: &StreamId, after: i64) -> Result<Vec<RecordedEvent>, ReadError> {
        let sql = select_events(
            "where stream_type = $1 and stream_id = $2 and version > $3 order by version limit $4",
        );
        let mut events: Vec<RecordedEvent> = Vec::new();
        loop {
            let after = events.last().map_or(after, |event| event.version);
            let parameters: [&(dyn ToSql + Sync); 4] = [&&*stream.stream_type, &&*stream.id, &after, &PAGE];
            let rows = self.primary().rows(&sql, &parameters).await?;
            for row in &rows {
                events.push(RecordedEvent::from_row(row)?);
            }
            if i64::try_from(rows.len()).unwrap_or(PAGE) < PAGE {
                return Ok(events);
            }
        }
    }

    /// The matching events after a position up to the end of the log, one page at a time; the next page is read when
    /// the previous one has been taken. Ends with [`ReadError::LogReplaced`] if the epoch changes in between.
    pub fn read(
        &self,
        after: i64,
        filter: Filter,
    ) -> impl Stream<Item = Result<Vec<RecordedEvent>, ReadError>> + use<> {
        let log = self.clone();
        // Positions are comparable only within one epoch: the stream ends when the log gets another.
        let begin = Checkpoint { position: after, ..self.seen().checkpoint() };
        try_unfold(Some(begin), move |place| {
            let (log, filter) = (log.clone(), filter.clone());
            async move {
                let mut next = place;
                while let Some(place) = next {
                    let page = log.read_page(place.position, &filter, PAGE).await?;
                    if page.epoch != place.epoch && page.epoch != 0 {
                        return Err(ReadError::LogReplaced { from: place, epoch: page.epoch });
                    }
                    next = page.next.map(|position| Checkpoint { position, ..place });
                    // A search may return an empty page that is not the last.
                    if !page.events.is_empty() {
                        return Ok(Some((page.events, next)));
                    }
                }
                Ok(None)
            }
        })
    }

    /// The first matching events after a position, at most `limit`. A search by type may return fewer before the end is
    /// reached; then [`Page::next`] says where to continue.
    ///
    /// # Errors
    /// [`ReadError::Unavailable`], or [`ReadError::Gap`] if an unfiltered page lacks positions.
    pub async fn read_page(&self, after: i64, filter: &Filter, limit: i64) -> Result<Page, ReadError> {
        let page = self.page(Order::OldestFirst, after, filter, limit).await?;
        if filter.is_all() {
            contiguous(after, &page.events)?;
        }
        Ok(page)
    }

    /// The last matching events before a position, newest first, at most `limit`; otherwise like
    /// [`EventLog::read_page`].
    ///
    /// # Errors
    /// [`ReadError::Unavailable`]
    pub async fn read_page_back(&self, before: i64, filter: &Filter, limit: i64) -> Result<Page, ReadError> {
        self.page(Order::NewestFirst, before, filter, limit).await
    }

    async fn page(&self, order: Order, from: i64, filter: &Filter, limit: i64) -> Result<Page, ReadError> {
        let Some((epoch, low, high)) = self.bounds(order, from, filter).await? else {
            return Ok(Page::default());
        };
        let mut page = Page { epoch, ..Page::default() };
        let is_search = order == Order::OldestFirst && !filter.types.is_empty() && filter.until.is_none();
        let end = is_search.then_some(high);
        let (mut low, mut high, mut scanned) = (low, high, 0);
        while low < high {
            let wanted = limit - i64::try_from(page.events.len()).unwrap_or(limit);
            // Indexes find events by account, stream and position. A search by type is cut into windows, so that no
            // statement scans without a limit.
            let window = if filter.types.is_empty() {
                (low, high)
            } else {
                self.window(order, low, high, filter).await?
            };
            let (epoch, events) = self.select(order, window, filter, wanted).await?;
            if page.epoch != 0 && page.epoch != epoch {
                // Events of two epochs must not share a page: the reader sees the new epoch and starts again.
                return Ok(Page { epoch, ..Page::default() });
            }
            page.epoch = epoch;
            let is_full = i64::try_from(events.len()).unwrap_or(wanted) == wanted;
            page.events.extend(events);
            if is_full {
                page.next = page.events.last().map(|event| event.position);
                return Ok(page);
            }
            match order {
                Order::OldestFirst => low = window.1,
                Order::NewestFirst => high = window.0,
            }
            scanned += SCAN;
            if scanned >= MAX_SCANNED && low < high {
                // `from` is exclusive in both orders, but the upper bound of the range is inclusive.
                page.next = Some(if order == Order::OldestFirst { low } else { high + 1 });
                return Ok(page);
            }
        }
        page.searched_to = end;
        Ok(page)
    }

    /// The range of positions that can match: after the first, up to and including the second, with their epoch, which is 0 if no
    /// statement was needed. `None` if it is empty.
    async fn bounds(
        &self,
        order: Order,
        from: i64,
        filter: &Filter,
    ) -> Result<Option<(i64, i64, i64)>, ReadError> {
        if filter.since.is_none() && filter.until.is_none() && filter.types.is_empty() {
            return Ok(match order {
                Order::OldestFirst => Some((0, from, i64::MAX)),
                Order::NewestFirst => Some((0, 0, from.saturating_sub(1))),
            });
        }
        // Recorded times grow with positions, so a range of times is a range of positions.
        let sql = "select log.position_at($1), log.position_at($2)";
        let answer = self.primary().query(sql, &[&filter.since.unwrap_or_default(), &filter.until]).await?;
        let Some(row) = answer.rows.first() else { return Ok(None) };
        let (since, until): (i64, Option<i64>) = (row.try_get(0)?, row.try_get(1)?);
        let (mut low, mut high) = (since - 1, answer.position);
        if filter.until.is_some() {
            high = high.min(until.unwrap_or(i64::MAX) - 1);
        }
        match order {
            Order::OldestFirst => low = low.max(from),
            Order::NewestFirst => high = high.min(from.saturating_sub(1)),
        }
        Ok((low < high).then_some((answer.epoch, low, high)))
    }

    /// The part of a range that one statement may scan.
    async fn window(
        &self,
        order: Order,
        low: i64,
        high: i64,
        filter: &Filter,
    ) -> Result<(i64, i64), ReadError> {
        let Some(account) = &filter.account else {
            return Ok(match order {
                Order::OldestFirst => (low, high.min(low + SCAN)),
                Order::NewestFirst => (low.max(high - SCAN), high),
            });
        };
        // The index on the account finds its events, so the window is counted in these.
        let sql = match order {
            Order::OldestFirst => {
                "select position from log.event where account_id = $1 and position > $2 and position <= $3
                 order by position offset $4 limit 1"
            }
            Order::NewestFirst => {
                "select position from log.event where account_id = $1 and position > $2 and position <= $3
                 order by position desc offset $4 limit 1"
            }
        };
        let row = self.primary().row(sql, &[account, &low, &high, &SCAN]).await?;
        let end: Option<i64> = row.map(|row| row.try_get(0)).transpose()?;
        Ok(match (order, end) {
            (_, None) => (low, high),
            (Order::OldestFirst, Some(end)) => (low, end),
            (Order::NewestFirst, Some(end)) => (end - 1, high),
        })
    }

    async fn select(
        &self,
        order: Order,
        (low, high): (i64, i64),
        filter: &Filter,
        limit: i64,
    ) -> Result<(i64, Vec<RecordedEvent>), ReadError> {
        let mut conditions = "where position > $1 and position <= $2".to_owned();
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![&low, &high];
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
        // Versions of a stream grow with positions, and the index of the stream has them in order.
        let key = if filter.stream.is_some() { "version" } else { "position" };
        let direction = if order == Order::OldestFirst { "asc" } else { "desc" };
        restrict(&format!(" order by {key} {direction} limit ?"), &limit);
        let answer = self.primary().query(&select_events(&conditions), &parameters).await?;
        Ok((answer.epoch, answer.rows.iter().map(RecordedEvent::from_row).collect::<Result<_, _>>()?))
    }
}

fn select_events(conditions: &str) -> String {
    format!("select {} from log.event {conditions}", RecordedEvent::COLUMNS)
}
