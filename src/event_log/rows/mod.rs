//! Projected tables and the changes that events make to their rows, free of SQL.

mod change;
mod table;
mod value;

pub use change::{Change, Coalesced, CoalescedRow, RowChange, coalesce};
pub use table::{Column, ColumnType, Table};
pub use value::Value;
