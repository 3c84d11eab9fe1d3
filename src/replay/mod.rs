//! Replays the log: rebuilds the projections while nodes run, and compares them with what the log says.
//!
//! Both begin with a scan ([`scan`]): a snapshot of the live tables at one position, and everything that the log says up to
//! it, as records by slice of the key, in bounded memory ([`spill`]). Then each slice is folded into its rows ([`fold`]) and
//! compared ([`compare`]). A rebuild also loads the rows into fresh tables ([`fresh`]), applies what was stored in the
//! meantime ([`catch_up`]), and swaps ([`swap`]).

mod account_past;
mod as_of;
mod catch_up;
mod changes;
mod compare;
mod diff;
mod drain;
pub mod error;
mod fold;
mod fresh;
mod locks;
mod log_reader;
mod moment;
mod others;
mod others_rebuild;
mod pace;
mod part;
mod parts;
mod progress;
mod rebuild;
mod scan;
mod session;
mod snapshot;
mod spill;
mod swap;
mod tuple;
mod turns;

pub use account_past::{AccountPast, AccountPastError, MOST_EVENTS};
pub use as_of::{AsOf, AsOfError, AsOfOptions, AsOfSchema, LONGEST_KEPT};
pub use changes::{ChangeKind, Changes, ColumnChange, RowChanged};
pub use compare::{Coverage, Difference, Differences, Kind, LOGGED};
pub use diff::Diff;
pub use error::ReplayError;
pub use moment::{MalformedMoment, Moment, MomentError, Resolved};
pub use parts::{Replay, Verification};
pub use progress::{Phase, Progress, Step};
pub use rebuild::{RebuildError, RebuildOptions, Rebuilt};
pub(crate) use session::{connect as connect_as_owner, while_server_answers};
