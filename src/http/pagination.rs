//! Paging through lists: each page has the cursor of the next one.

use std::str::FromStr;

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::error::ApiError;

/// The most items on a page.
pub const MAX_PAGE: u32 = 200;

/// How many items a page holds when the request has no limit.
const DEFAULT_PAGE: u32 = 50;

/// How keys are encoded as cursors: base64url (RFC 4648 §5) without padding; trailing bits are accepted, so that every
/// text that matches the documented pattern decodes.
const CURSOR: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// The longest cursor that is accepted, in bytes.
const MAX_CURSOR: usize = 1_024;

/// Which page of a list to return.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct Paging {
    /// How many items to return at most [default: 50].
    #[param(minimum = 1, maximum = 200)]
    pub limit: Option<u32>,
    /// The `next_cursor` of the previous page; omit it for the first page.
    #[param(pattern = "^([A-Za-z0-9_-]{4}){0,255}([A-Za-z0-9_-]{2,3})?$")]
    pub cursor: Option<String>,
}

/// A page of a list.
#[derive(Serialize, ToSchema)]
pub struct Page<T> {
    /// The items, in the order of the list.
    pub items: Vec<T>,
    /// The cursor of the next page; absent on the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

impl Paging {
    /// How many items the page may hold.
    ///
    /// # Errors
    /// [`ApiError::Malformed`] if the limit is not 1 to [`MAX_PAGE`].
    pub fn size(&self) -> Result<usize, ApiError> {
        let limit = self.limit.unwrap_or(DEFAULT_PAGE);
        if (1..=MAX_PAGE).contains(&limit) {
            Ok(limit as usize)
        } else {
            Err(ApiError::field("limit", "must be 1 to 200"))
        }
    }

    /// The key after which the page begins; none for the first page.
    ///
    /// # Errors
    /// [`ApiError::Malformed`] if the cursor is too long or not base64url.
    pub fn after(&self) -> Result<Option<String>, ApiError> {
        let malformed = || ApiError::field("cursor", "must be the `next_cursor` of the previous page");
        let Some(cursor) = &self.cursor else { return Ok(None) };
        if cursor.len() > MAX_CURSOR {
            return Err(malformed());
        }
        let octets = CURSOR.decode(cursor).map_err(|_| malformed())?;
        // Any key is a valid position, even one that no row has. It is cut at NUL, which PostgreSQL text cannot hold.
        let key = String::from_utf8_lossy(&octets).into_owned();
        Ok(Some(key.split('\0').next().unwrap_or_default().to_owned()))
    }

    /// The same for a list whose keys have a type.
    ///
    /// # Errors
    /// Those of [`Paging::after`], and [`ApiError::Malformed`] if the key cannot be parsed.
    pub fn after_key<K: FromStr>(&self) -> Result<Option<K>, ApiError> {
        let malformed = |_| ApiError::field("cursor", "must be the `next_cursor` of the previous page");
        self.after()?.map(|key| key.parse().map_err(malformed)).transpose()
    }
}

impl<T> Page<T> {
    /// Builds a page from the rows after its cursor. The caller reads up to `size + 1` rows: the extra row only shows
    /// that there is a next page.
    pub fn of<R>(mut rows: Vec<R>, size: usize, key: impl Fn(&R) -> String, record: impl Fn(R) -> T) -> Self {
        let more = rows.len() > size;
        rows.truncate(size);
        let next_cursor = rows.last().filter(|_| more).map(|last| cursor(&key(last)));
        Self { items: rows.into_iter().map(record).collect(), next_cursor }
    }
}

/// The cursor for this key.
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
