//! Tenure: an event-sourced identity and tenancy engine.
//!
//! The map, in reading order:
//!
//! | module | what it is for |
//! | --- | --- |
//! | [`aggregates`] | the rules: state + command → events; pure |
//! | [`operations`] | what can be asked: units of work over one or several aggregates |
//! | [`dispatch`] | load, decide, append, and decide again when somebody else was faster |
//! | [`event_log`] | the truth: one committer, contiguous positions, following |
//! | [`projections`] | the tables that people query, as pure functions of events |
//! | [`replay`] | the tables again, from the log |
//! | [`codec`] | between typed events and stored ones: seal, open, upcast |
//! | [`credentials`] | the key ring |
//! | [`postgres`] | connections and migrations |
//! | [`history`] | events as they are shown |
//! | [`engine`] | [`Tenure`]: all of it on one database |
//! | [`http`], [`cli`] | the doors; they know no SQL |

#![forbid(unsafe_code)]

pub mod aggregates;
pub mod cli;
pub mod clock;
pub mod coarse;
pub mod codec;
pub mod config;
pub mod context;
pub mod credentials;
pub mod dispatch;
pub mod engine;
pub mod entropy;
pub mod event_log;
pub mod genesis;
pub mod history;
pub mod http;
pub mod ids;
pub mod operations;
pub mod postgres;
pub mod projections;
pub mod replay;
pub mod sealing;
pub mod seed;
pub mod telemetry;

pub use engine::{Settings, Tenure};
pub use operations::Rules;
