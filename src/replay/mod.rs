//! Rebuilds the projections from the log.

pub mod fold;
