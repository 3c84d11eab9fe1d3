//! Why things are as they are: the story of one thing as a timeline, and what caused an event and what it caused.
//!
//! Each entry is an event with what happened in words, who did it with which credential and on whose behalf, and because of which
//! event. Nothing here checks who may see it.

mod chain;
mod names;
mod related;
mod story;
mod strands;
mod tell;

pub use chain::{Chain, SEARCHED};
pub use story::{Because, Entry, ExplainError, Person, Story, Thing, Viewer, Who};
