//! Replays the log: rebuilds the projections while nodes run, and compares them with what the log says.
//!
//! Both begin with a scan ([`scan`]): a snapshot of the live tables at one position, and everything that the log says up to
//! it, as records by slice of the key, in bounded memory ([`spill`]). Then each slice is folded into its rows ([`fold`]) and
//! compared ([`compare`]). A rebuild also loads the rows into fresh tables ([`fresh`]), applies what was stored in the
//! meantime ([`catch_up`]), and swaps ([`swap`]).

mod catch_up;
mod compare;
mod diff;
mod drain;
pub mod error;
mod fold;
mod fresh;
mod log_reader;
mod others;
mod pace;
mod parts;
mod progress;
mod rebuild;
mod scan;
mod session;
mod snapshot;
mod spill;
mod swap;
mod tuple;

pub use compare::{Coverage, Difference, Differences, Kind, LOGGED};
pub use diff::Diff;
pub use error::ReplayError;
pub use parts::{Replay, Verification};
pub use progress::{Phase, Progress, Step};
pub use rebuild::{RebuildError, RebuildOptions, Rebuilt};
