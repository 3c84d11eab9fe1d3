//! The projections of a stand-in for the next release, which tests upgrade to: `members` has a column more (and so another
//! function that applies changes), `sign_in_links` is gone, and one event makes a projection panic.

use super::{members, sign_in_links, users};
use crate::event_log::rows::ColumnType::{Position, Text, Timestamptz, Uuid};
use crate::event_log::rows::{Change, Column, RowChange, Table, Value};

/// `view.members` of the next release.
pub(super) static MEMBERS: Table = Table {
    name: "members",
    version: 3,
    columns: &[
        Column::required("user_id", Uuid),
        Column::required("account_id", Uuid),
        Column::required("added_at", Timestamptz),
        Column::required("position", Position),
        Column::required("note", Text).since(3),
    ],
    key_columns: 2,
    fillfactor: 90,
    indexes: &["(account_id, added_at, position)", "(note)"],
};

/// A user of this name makes the projections panic.
const PANICS: &str = "panics-in-the-next-release";

/// What the next release makes of a change.
pub(super) fn altered(mut change: RowChange) -> Option<RowChange> {
    if change.table.name == sign_in_links::TABLE.name {
        return None;
    }
    if let Change::Insert(row) = &mut change.change {
        if change.table.name == users::TABLE.name {
            assert!(!row.iter().any(|value| *value == Value::from(PANICS)), "a projection with a bug");
        }
        if change.table.name == members::TABLE.name {
            row.push("by the next release".into());
        }
    }
    if change.table.name == members::TABLE.name {
        change.table = &MEMBERS;
    }
    Some(change)
}
