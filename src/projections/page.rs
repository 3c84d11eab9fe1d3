//! Lists in pages: each begins behind the key of the last row of the page before, so that no row is read twice and none is
//! left out that was there all the time. Nothing is held between two pages.

use std::fmt;
use std::str::FromStr;

use futures::stream::{Stream, TryStreamExt as _, iter, try_unfold};

use super::query::QueryError;
use crate::clock::Timestamp;

/// How many rows of a list are read at once when all of it is wanted.
pub const PAGE: usize = 200;

/// The key of a row in a list in the order of time: when it came about, and with which event.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TimeKey {
    /// When.
    pub at: Timestamp,
    /// The position of the event.
    pub position: i64,
}

impl TimeKey {
    /// Before every row, where a list begins that gives the oldest first.
    pub const OLDEST: Self = Self { at: Timestamp::from_micros(0), position: -1 };

    /// Behind every row, where a list begins that gives the newest first.
    pub const NEWEST: Self = Self { at: Timestamp::from_micros(i64::MAX), position: i64::MAX };
}

impl fmt::Display for TimeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.at.as_micros(), self.position)
    }
}

/// A place in a list that holds what was there when it was begun: what goes and comes back meanwhile is not given twice.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The newest position when the list was begun.
    pub newest: i64,
    /// Where in the list.
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

/// A text is no key of a list in the order of time.
#[derive(Debug, thiserror::Error)]
#[error("not microseconds and a position")]
pub struct NoTimeKey;

impl FromStr for TimeKey {
    type Err = NoTimeKey;

    fn from_str(text: &str) -> Result<Self, NoTimeKey> {
        let (at, position) = text.split_once('.').ok_or(NoTimeKey)?;
        let number = |text: &str| text.parse().map_err(|_| NoTimeKey);
        Ok(Self { at: Timestamp::from_micros(number(at)?), position: number(position)? })
    }
}

/// All rows of a list: `read` gives at most [`PAGE`] of those behind a key, `key` the key of a row.
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
            let next = page.last().filter(|_| page.len() >= PAGE).map(key);
            Ok::<_, QueryError>((!page.is_empty()).then(|| (iter(page.into_iter().map(Ok)), next)))
        }
    })
    .try_flatten()
}

/// How many rows a statement may give.
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
