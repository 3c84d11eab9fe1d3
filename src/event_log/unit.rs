//! A unit of work: what one decision read and what it writes, stored together or not at all.

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

/// A data key that is stored with the first event of its subject.
#[derive(Clone, Debug)]
pub struct NewDataKey {
    /// Whose key it is, for example `user:…`.
    pub subject: String,
    /// The master key that wraps it.
    pub key_id: String,
    /// The wrapped key.
    pub wrapped: Bytes,
}

/// That a request with an idempotency key was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyRecord {
    /// Which request: an HMAC over who asked, what for, and the key.
    pub request: [u8; 32],
    /// An HMAC of the body.
    pub body: [u8; 32],
    /// The answer as JSON: identifiers, never a secret.
    pub answer: Bytes,
}

/// A stream as a decision has read it.
#[derive(Clone, Debug)]
pub struct StreamRead {
    /// The stream.
    pub stream: StreamId,
    /// Its version; 0: no events.
    pub version: i64,
    /// A position at which, or behind which, it had that version; 0 if nothing is known of that.
    pub seen: i64,
}

/// What a decision rests on: each at the version or position at which it was read.
#[derive(Clone, Debug, Default)]
pub struct Premises {
    /// Streams, with their versions.
    pub streams: Vec<StreamRead>,
    /// Guards of sets, with their versions.
    pub guards: Vec<(String, i64)>,
    /// Accounts whose things (whatever has events with that account) were read, with a position that the reading saw:
    /// no later event of the account may have been stored.
    pub accounts: Vec<(Uuid, i64)>,
    /// The epoch in which all of this was read; `None` if nobody took note of it.
    pub epoch: Option<i64>,
}

impl Premises {
    /// Whether any set was read.
    pub(super) const fn reads_sets(&self) -> bool {
        !self.guards.is_empty() || !self.accounts.is_empty()
    }

    /// One stream, read at this version some time ago.
    #[must_use]
    pub fn of_stream(stream: StreamId, version: i64) -> Self {
        Self { streams: vec![StreamRead { stream, version, seen: 0 }], ..Self::default() }
    }
}

/// What one decision read, and everything that it writes.
#[derive(Clone, Debug, Default)]
pub struct Unit {
    /// The command's own time: claims that died before it are free.
    pub at: Timestamp,
    /// What the decision rests on, the streams that it writes among it.
    pub premises: Premises,
    /// Guards of the sets that this unit changes.
    pub bumps: Vec<String>,
    /// The request that this unit carries out, if it may come again.
    pub idempotency: Option<IdempotencyRecord>,
    /// The events, in order.
    pub events: Vec<NewEvent>,
    /// What the events do to the claims, in order, each with the index of its event in this unit.
    pub claims: Vec<(usize, ClaimChange)>,
    /// What the events do to the projections, in order, each with the index of its event in this unit.
    pub rows: Vec<(usize, RowChange)>,
    /// Data keys of subjects that begin with this unit.
    pub new_keys: Vec<NewDataKey>,
    /// Subjects whose data key is destroyed by this unit.
    pub destroyed_keys: Vec<String>,
    /// Found when it is asked for.
    pub firsts: Firsts,
}

/// The places of a unit's events that are the first of their streams in it, once somebody has asked.
#[derive(Debug, Default)]
pub struct Firsts(OnceLock<Vec<usize>>);

impl Clone for Firsts {
    /// What is made from a copy may have other events.
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

    /// Refuses events that are larger than any may be.
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

    /// Whether this unit releases a claim of this holder.
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

    /// Found once: the committer asks each time it looks at a unit that waits.
    fn firsts(&self) -> &[usize] {
        self.firsts.0.get_or_init(|| {
            let mut seen: HashSet<&StreamId> = HashSet::default();
            let events = self.events.iter().enumerate();
            events.filter(|(_, event)| seen.insert(&event.stream)).map(|(place, _)| place).collect()
        })
    }

    /// The accounts that this unit has events of.
    pub(super) fn accounts_written(&self) -> impl Iterator<Item = Uuid> {
        self.events.iter().filter_map(|event| event.account_id)
    }

    /// The claims as they stand after this unit: the last change of each key wins, and a release
    /// that precedes a taking of the same key is kept beside it.
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
                    taken.retain(|(_, earlier)| !(earlier.key == *key && earlier.holder == *holder));
                    released.push((key, holder));
                }
            }
        }
        CoalescedClaims { taken, released }
    }
}

/// Where a unit's events are in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The position of the first event.
    pub first: i64,
    /// The place of the last: the unit's position token.
    pub last: Checkpoint,
    /// When the first event was recorded; each later one a microsecond after.
    pub recorded_from: Timestamp,
}

/// What a unit does to the claims once its own changes have been brought together.
pub(super) struct CoalescedClaims<'a> {
    /// Taken, each with the index of the event that takes it.
    pub taken: Vec<(usize, &'a Claim)>,
    /// Released, if the holder named still holds them.
    pub released: Vec<(&'a ClaimKey, &'a str)>,
}
