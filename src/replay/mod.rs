//! Making the projections again from the log.

pub mod fold;
