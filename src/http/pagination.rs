//! Lists, a page at a time: each page says where the next begins.

use std::str::FromStr;

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::error::ApiError;

/// How many things a page holds at most.
pub const MAX_PAGE: u32 = 200;

/// How many things a page holds when nothing is said.
const DEFAULT_PAGE: u32 = 50;

/// How keys become cursors: base64url (RFC 4648 §5) without padding, and no text of that form refused.
const CURSOR: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// The longest cursor that is read.
const MAX_CURSOR: usize = 1_024;

/// Which page.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Paging {
    /// How many things at most [default: 50].
    #[param(minimum = 1, maximum = 200)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[param(pattern = "^([A-Za-z0-9_-]{4}){0,255}([A-Za-z0-9_-]{2,3})?$")]
    pub cursor: Option<String>,
}

/// A page of a list.
#[derive(Serialize, ToSchema)]
pub struct Page<T> {
    /// The things, in the order of the list.
    pub items: Vec<T>,
    /// Where the next page begins; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

impl Paging {
    /// How many things the page may hold.
    pub fn size(&self) -> Result<usize, ApiError> {
        let limit = self.limit.unwrap_or(DEFAULT_PAGE);
        if (1..=MAX_PAGE).contains(&limit) {
            Ok(limit as usize)
        } else {
            Err(ApiError::field("limit", "1 to 200"))
        }
    }

    /// The key behind which the page begins.
    pub fn after(&self) -> Result<Option<String>, ApiError> {
        let malformed = || ApiError::field("cursor", "`next_cursor` of the page before");
        let Some(cursor) = &self.cursor else { return Ok(None) };
        if cursor.len() > MAX_CURSOR {
            return Err(malformed());
        }
        let octets = CURSOR.decode(cursor).map_err(|_| malformed())?;
        // A key that no list has ever given names a place all the same. Keys hold no NUL.
        let key = String::from_utf8_lossy(&octets).into_owned();
        Ok(Some(key.split('\0').next().unwrap_or_default().to_owned()))
    }

    /// The key behind which the page begins, in a list whose keys have a form.
    pub fn after_key<K: FromStr>(&self) -> Result<Option<K>, ApiError> {
        let malformed = |_| ApiError::field("cursor", "`next_cursor` of the page before");
        self.after()?.map(|key| key.parse().map_err(malformed)).transpose()
    }
}

impl<T> Page<T> {
    /// A page of rows that were read from behind its cursor, one more than it holds if there is one.
    pub fn of<R>(mut rows: Vec<R>, size: usize, key: impl Fn(&R) -> String, record: impl Fn(R) -> T) -> Self {
        let more = rows.len() > size;
        rows.truncate(size);
        let next_cursor = rows.last().filter(|_| more).map(|last| cursor(&key(last)));
        Self { items: rows.into_iter().map(record).collect(), next_cursor }
    }
}

/// A cursor that names this key.
fn cursor(key: &str) -> String {
    CURSOR.encode(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(limit: u32, cursor: Option<String>) -> Paging {
        Paging { limit: Some(limit), cursor }
    }

    #[test]
    fn pages_follow_each_other_and_outlive_what_ended_one() {
        let read = |paging: &Paging, missing: &str| {
            let (size, after) = (paging.size().unwrap(), paging.after().unwrap().unwrap_or_default());
            let rows =
                ["a", "b", "c", "d"].into_iter().filter(|row| *row > after.as_str() && *row != missing);
            Page::of(rows.take(size + 1).collect(), size, |row: &&str| (*row).to_owned(), |row| row)
        };
        let first = read(&ask(2, None), "");
        assert_eq!(first.items, ["a", "b"]);
        for missing in ["", "b"] {
            let second = read(&ask(2, first.next_cursor.clone()), missing);
            assert_eq!((second.items, second.next_cursor), (vec!["c", "d"], None));
        }
        assert!(ask(0, None).size().is_err() && ask(201, None).size().is_err());
        assert!(ask(2, Some("%".to_owned())).after().is_err());
    }
}
