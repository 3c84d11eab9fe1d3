//! What replays need of an engine, and how strict they are.

use std::sync::Arc;

use super::fold::Folder;
use super::turns::Turns;
use crate::clock::Clock;
use crate::codec::Codec;
use crate::entropy::Entropy;
use crate::event_log::EventLog;
use crate::event_log::rows::Table;
use crate::projections::{self, unique_claims};

/// What replays need of an engine.
pub struct Replay {
    pub(super) log: EventLog,
    pub(super) codec: Codec,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) turns: Turns,
}

/// Whether the live tables are compared with what the log says, before they are replaced. Tables of an earlier version
/// are compared in the columns that mean the same, those of a later version are not.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Verification {
    /// A difference stops the swap.
    #[default]
    Strict,
    /// Differences are reported, and the swap goes on.
    Report,
    /// The live tables are known to be wrong, and are not read.
    Skip,
}

impl Replay {
    /// Replays this log; claims have expired or not by this clock.
    #[must_use]
    pub fn new(log: EventLog, codec: Codec, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self { log, codec, clock, entropy, turns: Turns::default() }
    }

    /// For the tables as they were. Who holds a name depends on all accounts, so the part of one has no claims.
    pub(super) fn folder_of_past(&self, is_part: bool) -> Folder {
        let is_wanted = |table: &&Table| !is_part || table.name != unique_claims::TABLE.name;
        self.folder(projections::TABLES.iter().map(is_wanted).collect())
    }

    pub(super) fn folder(&self, wanted: Arc<[bool]>) -> Folder {
        Folder { codec: self.codec.clone(), primary: self.log.primary().clone(), wanted }
    }
}
