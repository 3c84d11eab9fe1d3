//! Keyset pagination: each page starts after the key of the row before it.
//!
//! So no row is read twice, no row that exists throughout is missed, and no connection or snapshot is held between two
//! pages.

use std::fmt;
use std::str::FromStr;

use futures::stream::{Stream, TryStreamExt as _, iter, try_unfold};

use super::query::QueryError;
use crate::clock::Timestamp;

/// How many rows are read at a time when a whole list is streamed.
pub const PAGE: usize = 200;

/// The cursor of a row in a list ordered by time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TimeKey {
    /// When the row's resource was created.
    pub at: Timestamp,
    /// The position of the event that created it; orders rows of the same time.
    pub position: i64,
}

impl TimeKey {
    /// Before every row: the start of a list with the oldest row first.
    pub const OLDEST: Self = Self { at: Timestamp::from_micros(0), position: -1 };

    /// After every row: the start of a list with the newest row first.
    pub const NEWEST: Self = Self { at: Timestamp::from_micros(i64::MAX), position: i64::MAX };
}

impl fmt::Display for TimeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.at.as_micros(), self.position)
    }
}

/// A cursor in a list of the rows that existed when the list began, so that a row that is removed and added again
/// meanwhile does not appear twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The newest position when the list began.
    pub newest: i64,
    /// The cursor of the last row that was read.
    pub key: TimeKey,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.newest, self.key)
    }
}

impl FromStr for Place {
    type Err = NoTimeKey;

    fn from_str(text: &str) -> Result<Self, NoTimeKey> {
        let (newest, key) = text.split_once('.').ok_or(NoTimeKey)?;
        Ok(Self { newest: newest.parse().map_err(|_| NoTimeKey)?, key: key.parse()? })
    }
}

/// The text is not a list cursor: numbers separated by dots, the last two being microseconds and a position.
#[derive(Debug, thiserror::Error)]
#[error("malformed list cursor; use the one from the last page")]
pub struct NoTimeKey;

impl FromStr for TimeKey {
    type Err = NoTimeKey;

    fn from_str(text: &str) -> Result<Self, NoTimeKey> {
        let (at, position) = text.split_once('.').ok_or(NoTimeKey)?;
        let number = |text: &str| text.parse().map_err(|_| NoTimeKey);
        Ok(Self { at: Timestamp::from_micros(number(at)?), position: number(position)? })
    }
}

/// Streams all rows of a list. `read` returns at most [`PAGE`] rows after a key; `key` returns the key of a row.
pub(super) fn all<T, K, F>(
    first: K,
    read: impl Fn(K) -> F,
    key: fn(&T) -> K,
) -> impl Stream<Item = Result<T, QueryError>>
where
    F: Future<Output = Result<Vec<T>, QueryError>>,
{
    try_unfold(Some(first), move |after| {
        let reading = after.map(&read);
        async move {
            let Some(reading) = reading else { return Ok(None) };
            let page = reading.await?;
            // A page that is not full is the last one; this saves a query for an empty page.
            let next = page.last().filter(|_| page.len() >= PAGE).map(key);
            Ok::<_, QueryError>((!page.is_empty()).then(|| (iter(page.into_iter().map(Ok)), next)))
        }
    })
    .try_flatten()
}

/// A row limit as a parameter of a statement.
pub(super) fn limit(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn pages_follow_each_other_until_one_is_not_full() {
        for count in [0, 1, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE] {
            let read = |after: usize| async move { Ok((after + 1..=count).take(PAGE).collect()) };
            let given: Vec<usize> = all(0, read, |row| *row).try_collect().await.unwrap();
            assert_eq!(given, (1..=count).collect::<Vec<_>>());
        }
        let broken = |_| async { Err::<Vec<usize>, _>(QueryError::NotFound) };
        assert!(all(0, broken, |row| *row).try_collect::<Vec<_>>().await.is_err());
    }

    #[test]
    fn keys_are_read_as_they_are_written() {
        let key = TimeKey { at: Timestamp::from_micros(-5), position: 7 };
        assert_eq!(key.to_string().parse::<TimeKey>().unwrap(), key);
        for bad in ["", "1", "1.", ".1", "1.x", "99999999999999999999.1"] {
            assert!(bad.parse::<TimeKey>().is_err(), "{bad}");
        }
    }
}
