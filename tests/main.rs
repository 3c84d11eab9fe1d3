//! Every integration test, in one binary, against real PostgreSQL.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_errors_doc,
    clippy::must_use_candidate,
    clippy::too_many_lines,
    clippy::cast_possible_wrap,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::duration_suboptimal_units,
    clippy::format_collect,
    clippy::format_push_string,
    clippy::unnecessary_wraps,
    clippy::needless_pass_by_value,
    clippy::assigning_clones,
    clippy::similar_names
)]

mod architecture;
mod argon2;
mod as_of;
mod clearing;
mod clocks;
mod command_line;
mod conformance;
mod drain;
mod event_descriptions;
mod faults;
mod fixtures;
mod foreign;
mod forgotten_meanwhile;
mod guides;
mod http;
mod logging;
mod model;
mod nats;
mod newcomer;
mod operations;
mod plans;
mod plans_of_empty_tables;
mod primary;
mod private_postgres;
mod privileges;
mod promises;
mod put_on_fresh_tables;
mod races;
mod rebuild;
mod replay;
mod restored;
mod rotation;
mod sealing;
mod start;
mod subscriptions;
mod support;
mod tls;
mod torn_dumps;
mod two_releases;
mod unusable;
mod upgrade;
mod verify_forgotten;
