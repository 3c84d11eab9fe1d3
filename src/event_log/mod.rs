//! The event log: the truth that all other data is derived from. It knows no aggregate.
//!
//! Writing goes through one committer per process ([`EventLog::append`]); reading is by stream, account or position
//! ([`read`]); following wakes on every commit and never skips a position ([`follow`]).

pub mod batch;
pub mod bulk;
mod bulk_batch;
mod bulk_error;
pub mod checkpoint;
pub mod claim;
mod committer;
pub(crate) mod copy_in;
pub mod drain;
pub mod error;
pub mod event;
pub mod follow;
pub mod foreign;
mod growth;
pub mod limits;
mod listen;
mod log;
pub mod merkle;
pub mod node;
mod own_appends;
pub mod page;
mod parameters;
pub mod plans;
pub mod primary;
pub mod probe;
pub mod read;
mod recent_writes;
pub mod row_sql;
pub mod rows;
pub mod seen;
mod session;
pub mod shared_reader;
pub mod snapshot;
mod transaction;
pub mod unit;
pub mod upcast;
mod wire;

pub use bulk_batch::BulkBatch;
pub use bulk_error::BulkError;
pub use checkpoint::{Checkpoint, PositionToken};
pub use error::{AppendError, PrimaryError, ReadError};
pub use event::{EventHeader, FromLog, NewEvent, RecordedEvent, StreamId};
pub use log::{ANSWER_TIMEOUT, EventLog, Options, UpgradesDone};
pub use primary::Primary;
pub use unit::{Appended, Premises, Unit};
