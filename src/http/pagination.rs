//! Paging through lists: each page has the cursor of the next one.
//!
//! A cursor holds the epoch of the log and the key of the last row: in another epoch it may mean something else, and is refused.

use std::str::FromStr;

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::error::ApiError;
use super::state::AppState;
use crate::dispatch::Failure;
use crate::event_log::PositionToken;

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

/// How many items a page holds at most, and the epoch of the log in which it is read.
#[derive(Clone, Copy)]
pub struct Bounds {
    /// The number of items.
    pub size: usize,
    epoch: i64,
    has_cursor: bool,
}

/// A page of a list to return: its bounds, and the key after which it begins.
pub struct Wanted<K> {
    /// Its size, and the epoch of its cursor.
    pub bounds: Bounds,
    /// The key of the last item of the page before; `None` for the first page.
    pub after: Option<K>,
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
    /// Which page this asks for.
    ///
    /// # Errors
    /// [`ApiError::Malformed`] if the limit is not 1 to [`MAX_PAGE`], or the cursor is none of this list;
    /// [`ApiError::LogReplaced`] if it is of another epoch.
    pub async fn wanted<K: FromStr>(&self, state: &AppState) -> Result<Wanted<K>, ApiError> {
        let size = self.size()?;
        let log = state.tenure.log();
        // Before the page is read: if the epoch changes meanwhile, its cursor is refused.
        let epoch = log.seen().get().epoch;
        let Some(cursor) = self.cursor.as_deref().filter(|cursor| !cursor.is_empty()) else {
            return Ok(Wanted { bounds: Bounds { size, epoch, has_cursor: false }, after: None });
        };
        let malformed = || ApiError::field("cursor", "must be the `next_cursor` of the previous page");
        let (of, key) = parse(cursor).ok_or_else(malformed)?;
        let after = key.parse().map_err(|_| malformed())?;
        if of != epoch {
            // This node may not have noticed a new epoch yet.
            log.place(PositionToken { epoch: of, position: 0 }).await.map_err(Failure::Read)?;
        }
        Ok(Wanted { bounds: Bounds { size, epoch: of, has_cursor: true }, after: Some(after) })
    }

    fn size(&self) -> Result<usize, ApiError> {
        let limit = self.limit.unwrap_or(DEFAULT_PAGE);
        if (1..=MAX_PAGE).contains(&limit) {
            Ok(limit as usize)
        } else {
            Err(ApiError::field("limit", "must be 1 to 200"))
        }
    }
}

impl<T> Page<T> {
    /// Builds a page from the rows after its cursor. The caller reads up to `size + 1` rows: the extra row only shows
    /// that there is a next page.
    ///
    /// # Errors
    /// [`ApiError::LogReplaced`] if the rows may have been read in another epoch than the cursor's.
    pub fn of<R>(
        state: &AppState,
        rows: Vec<R>,
        bounds: Bounds,
        key: impl Fn(&R) -> String,
        record: impl Fn(R) -> T,
    ) -> Result<Self, ApiError> {
        // A query in a new epoch tells this node of it before it returns.
        if bounds.has_cursor && state.tenure.log().seen().get().epoch != bounds.epoch {
            return Err(ApiError::LogReplaced);
        }
        Ok(Self::cut(rows, bounds, key, record))
    }

    fn cut<R>(mut rows: Vec<R>, bounds: Bounds, key: impl Fn(&R) -> String, record: impl Fn(R) -> T) -> Self {
        let more = rows.len() > bounds.size;
        rows.truncate(bounds.size);
        let next_cursor = rows.last().filter(|_| more).map(|last| cursor(bounds.epoch, &key(last)));
        Self { items: rows.into_iter().map(record).collect(), next_cursor }
    }
}

/// The cursor for this key.
fn cursor(epoch: i64, key: &str) -> String {
    CURSOR.encode(format!("{epoch}:{key}"))
}

/// The epoch and the key of a cursor.
fn parse(cursor: &str) -> Option<(i64, String)> {
    if cursor.len() > MAX_CURSOR {
        return None;
    }
    let octets = CURSOR.decode(cursor).ok()?;
    let text = String::from_utf8(octets).ok()?;
    let (epoch, key) = text.split_once(':')?;
    // PostgreSQL text cannot hold NUL.
    (!key.contains('\0')).then_some((epoch.parse().ok()?, key.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_and_outlive_what_ended_one() {
        let read = |after: &str, missing: &str| {
            let rows = ["a", "b", "c", "d"].into_iter().filter(|row| *row > after && *row != missing);
            let bounds = Bounds { size: 2, epoch: 7, has_cursor: false };
            Page::cut(rows.take(bounds.size + 1).collect(), bounds, |row: &&str| (*row).to_owned(), |row| row)
        };
        let first = read("", "");
        assert_eq!(first.items, ["a", "b"]);
        let (epoch, after) = parse(&first.next_cursor.unwrap()).unwrap();
        assert_eq!(epoch, 7);
        for missing in ["", "b"] {
            let second = read(&after, missing);
            assert_eq!((second.items, second.next_cursor), (vec!["c", "d"], None));
        }
    }

    #[test]
    fn limits_and_cursors_have_bounds() {
        let size = |limit| Paging { limit: Some(limit), cursor: None }.size();
        assert!(size(0).is_err() && size(201).is_err() && size(200).is_ok());
        let long = cursor(1, &"x".repeat(MAX_CURSOR));
        for text in ["%", "YQ", &CURSOR.encode("x:a"), &CURSOR.encode("1:\0"), &long] {
            assert!(parse(text).is_none(), "{text}");
        }
        assert_eq!(parse(&cursor(-1, "a:b")), Some((-1, "a:b".to_owned())));
    }
}
