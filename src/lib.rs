//! Tenure is an event-sourced identity and tenancy engine: users, accounts (tenants), memberships, invites, API keys,
//! bearer tokens, device codes, sessions, sources and pipes.
//!
//! Every change is an event in an append-only log in PostgreSQL. Tables for queries (projections) are pure functions of
//! these events and are committed in the same transaction, so an acknowledged command can be read at once on any node.
//! Personal data is sealed under a key per subject; destroying that key forgets the user.
//!
//! Start with [`Tenure::open`], which takes [`Settings`], a [`clock`] and a source of [`entropy`]. HTTP and the CLI are
//! interfaces to the same engine. `docs/architecture.md` describes how a command and a query run through the modules.
//!
//! The modules, in reading order:
//!
//! | module | what it is for |
//! | --- | --- |
//! | [`ids`], [`context`] | typed identifiers; who sends a command, and on whose behalf |
//! | [`clock`], [`entropy`] | injected time and randomness |
//! | [`aggregates`] | the business rules: state + command → events; pure |
//! | [`operations`] | what callers can ask for: units of work over one or several aggregates |
//! | [`dispatch`] | load, decide, append, and decide again after a conflict |
//! | [`event_log`] | the event log: one committer per node, contiguous positions, followers |
//! | [`projections`] | the tables for queries, as pure functions of events |
//! | [`replay`] | rebuilds the projections from the log |
//! | [`codec`] | converts typed events to stored ones and back: seal, open, upcast |
//! | [`sealing`] | sealed fields: values that are stored only as ciphertext |
//! | [`credentials`] | the key ring; API keys, tokens and codes; hashing of secrets |
//! | [`coarse`] | frequent, unimportant writes outside the log |
//! | [`postgres`] | connections and migrations |
//! | [`history`], [`explain`] | events as JSON for readers; the story of one thing |
//! | [`rotate_keys`] | changes the master key while nodes serve |
//! | [`verify_forgotten`] | searches everywhere for what is left of a forgotten person |
//! | [`engine`], [`genesis`] | [`Tenure`]: all of it on one database; event 1 of every log |
//! | [`http`], [`cli`] | the interfaces; they contain no SQL |
//! | [`config`], [`telemetry`] | settings of the binary; logs and metrics |
//! | [`seed`] | generated users and accounts for measurements |

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
pub mod event_description;
pub mod event_log;
pub mod explain;
pub mod genesis;
pub mod history;
pub mod http;
pub mod ids;
pub mod nats;
pub mod operations;
pub mod postgres;
pub mod projections;
pub mod replay;
pub mod rotate_keys;
mod schema;
pub mod sealing;
pub mod seed;
pub mod subscribers;
pub mod telemetry;
pub mod trace_context;
pub mod verify_forgotten;

pub use engine::{Settings, Tenure};
pub use operations::Rules;
