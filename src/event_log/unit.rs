//! The unit of work: what one decision read and what it writes, stored whole or not at all.

use std::sync::OnceLock;

use bytes::Bytes;
use foldhash::HashSet;
use uuid::Uuid;

use super::checkpoint::Checkpoint;
use super::claim::{Claim, ClaimChange, ClaimKey};
use super::error::AppendError;
use super::event::{NewEvent, StreamId};
use super::limits::MAX_EVENT_BYTES;
use super::rows::RowChange;
use crate::clock::Timestamp;

/// A new data key, stored together with the first event of its subject.
#[derive(Clone, Debug)]
pub struct NewDataKey {
    /// The subject of the key, for example `user:…`.
    pub subject: String,
    /// The identifier of the master key that wraps it.
    pub key_id: String,
    /// The data key, wrapped by the master key.
    pub wrapped: Bytes,
}

/// The record that a request with an idempotency key was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyRecord {
    /// Identifies the request: an HMAC of the caller, the operation and the idempotency key.
    pub request: [u8; 32],
    /// An HMAC of the request body.
    pub body: [u8; 32],
    /// The response as JSON: identifiers, never a secret.
    pub answer: Bytes,
}

/// A stream at the version that a decision read.
#[derive(Clone, Debug)]
pub struct StreamRead {
    /// The stream that was read.
    pub stream: StreamId,
    /// Its version; 0 if it had no events.
    pub version: i64,
    /// A position of the log at which the stream had that version; 0 if none is known.
    pub seen: i64,
}

/// What a decision rests on, each at the version or position at which it was read.
#[derive(Clone, Debug, Default)]
pub struct Premises {
    /// Streams that were read, with their versions.
    pub streams: Vec<StreamRead>,
    /// Guards of sets that were read, with their versions.
    pub guards: Vec<(String, i64)>,
    /// Accounts whose resources (everything with events of that account) were read, with a position of the log that the
    /// read included: no later event of the account may have been stored.
    pub accounts: Vec<(Uuid, i64)>,
    /// The epoch in which all of this was read; `None` if it was not recorded, and is not compared.
    pub epoch: Option<i64>,
}

impl Premises {
    /// One stream at this version, with no position known.
    #[must_use]
    pub fn of_stream(stream: StreamId, version: i64) -> Self {
        Self { streams: vec![StreamRead { stream, version, seen: 0 }], ..Self::default() }
    }
}

/// What one decision read and everything that it writes.
#[derive(Clone, Debug, Default)]
pub struct Unit {
    /// The time of the command: claims that expired by then may be taken over.
    pub at: Timestamp,
    /// What the decision rests on, including the streams that it writes.
    pub premises: Premises,
    /// Guards of the sets that this unit changes.
    pub bumps: Vec<String>,
    /// The request that this unit carries out, if it has an idempotency key.
    pub idempotency: Option<IdempotencyRecord>,
    /// The events to append, in order.
    pub events: Vec<NewEvent>,
    /// What the events do to the claims, in order, each with the index of its event in this unit.
    pub claims: Vec<(usize, ClaimChange)>,
    /// What the events do to the projections, in order, each with the index of its event in this unit.
    pub rows: Vec<(usize, RowChange)>,
    /// Data keys of subjects that are new with this unit.
    pub new_keys: Vec<NewDataKey>,
    /// Subjects whose data key this unit destroys.
    pub destroyed_keys: Vec<String>,
    /// A cache, filled on first use.
    pub firsts: Firsts,
}

/// The indices of a unit's events that are the first of their stream in it; a cache, filled on first use.
#[derive(Debug, Default)]
pub struct Firsts(OnceLock<Vec<usize>>);

impl Clone for Firsts {
    /// Empty: a copy may be given other events.
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Unit {
    /// About how many bytes this unit takes on the wire.
    pub(super) fn size_bytes(&self) -> usize {
        let rows: usize = self.rows.iter().map(|(_, row)| row.size_bytes()).sum();
        self.events.iter().map(NewEvent::size_bytes).sum::<usize>() + rows
    }

    /// Refuses events larger than [`MAX_EVENT_BYTES`].
    pub(super) fn check_events(&self) -> Result<(), AppendError> {
        match self.events.iter().map(NewEvent::content_bytes).max() {
            Some(bytes) if bytes > MAX_EVENT_BYTES => Err(AppendError::EventTooLarge { bytes }),
            _ => Ok(()),
        }
    }

    /// The claims that this unit takes.
    pub fn claims_taken(&self) -> impl Iterator<Item = &Claim> {
        self.claims.iter().filter_map(|(_, change)| match change {
            ClaimChange::Take(claim) => Some(claim),
            ClaimChange::Release { .. } => None,
        })
    }

    /// Whether this unit releases this claim of this holder.
    #[must_use]
    pub fn releases(&self, key: &ClaimKey, holder: &str) -> bool {
        self.claims.iter().any(|(_, change)| match change {
            ClaimChange::Release { key: released, holder: former } => released == key && former == holder,
            ClaimChange::Take(_) => false,
        })
    }

    /// The streams that this unit appends to.
    pub(super) fn streams_written(&self) -> impl Iterator<Item = &StreamId> {
        self.firsts().iter().filter_map(|place| self.events.get(*place)).map(|event| &event.stream)
    }

    /// Cached, because the committer needs it each time it considers a queued unit.
    fn firsts(&self) -> &[usize] {
        self.firsts.0.get_or_init(|| {
            let mut seen: HashSet<&StreamId> = HashSet::default();
            let events = self.events.iter().enumerate();
            events.filter(|(_, event)| seen.insert(&event.stream)).map(|(place, _)| place).collect()
        })
    }

    /// The account of each event, where it has one; may repeat.
    pub(super) fn accounts_written(&self) -> impl Iterator<Item = Uuid> {
        self.events.iter().filter_map(|event| event.account_id)
    }

    /// The claims that result from this unit: the last change of each key wins. A release before a later take of the
    /// same key is kept too, because the claim stored in the database has to be deleted first.
    pub(super) fn coalesced_claims(&self) -> CoalescedClaims<'_> {
        let mut taken: Vec<(usize, &Claim)> = Vec::new();
        let mut released: Vec<(&ClaimKey, &str)> = Vec::new();
        for (index, change) in &self.claims {
            match change {
                ClaimChange::Take(claim) => {
                    taken.retain(|(_, earlier)| earlier.key != claim.key);
                    taken.push((*index, claim));
                }
                ClaimChange::Release { key, holder } => {
                    // Kept even if this unit took the claim: the holder may have had it before.
                    taken.retain(|(_, earlier)| !(earlier.key == *key && earlier.holder == *holder));
                    released.push((key, holder));
                }
            }
        }
        CoalescedClaims { taken, released }
    }
}

/// The places of a unit's events in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The position of the first event.
    pub first: i64,
    /// The place of the last event: the unit's position token.
    pub last: Checkpoint,
    /// When the first event was recorded; each later event follows one microsecond after.
    pub recorded_from: Timestamp,
}

/// What a unit does to the claims, with its own changes coalesced.
pub(super) struct CoalescedClaims<'a> {
    /// Claims taken, each with the index of the event that takes it.
    pub taken: Vec<(usize, &'a Claim)>,
    /// Claims released, each only if the named holder still has it.
    pub released: Vec<(&'a ClaimKey, &'a str)>,
}
