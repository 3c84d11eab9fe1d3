//! Every integration test, in one binary, against real PostgreSQL.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::too_many_lines
)]

mod architecture;
mod command_line;
mod conformance;
mod faults;
mod foreign;
mod operations;
mod private_postgres;
mod privileges;
mod races;
mod replay;
mod sealing;
mod start;
mod support;
