//! Readers that follow the log.

pub mod live;
