//! Claims: names that have at most one holder in their set, taken and released by events.

use crate::clock::Timestamp;

/// The key of a claim: a name within a set in which each name has at most one holder.
#[derive(Clone, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct ClaimKey {
    /// The set, for example `username`.
    pub kind: &'static str,
    /// A keyed or plain hash of the name within the set; never the name in clear.
    pub key: [u8; 32],
}

/// A claim that an event takes for its holder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    /// The name that is claimed.
    pub key: ClaimKey,
    /// The new holder; never empty.
    pub holder: String,
    /// The time from which the claim counts as expired; `None` if it holds until it is released.
    pub free_after: Option<Timestamp>,
    /// Whose expired claim it may take over.
    pub takeover: Takeover,
}

/// Whose expired claim a new claim may take over. A holder can always take over its own claim.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Takeover {
    /// That of any holder.
    #[default]
    Any,
    /// That of no other holder: an expired claim refuses like a live one, with an empty holder. The claimant thus
    /// learns of a tombstone and decides again: invites may be waiting for the name.
    Never,
    /// Only that of this holder, which the claimant has seen before it decided.
    Only(String),
}

impl Claim {
    /// A claim that is held until it is released.
    #[must_use]
    pub const fn until_released(key: ClaimKey, holder: String) -> Self {
        Self { key, holder, free_after: None, takeover: Takeover::Any }
    }

    /// A claim that expires at `free_after`.
    #[must_use]
    pub const fn until(key: ClaimKey, holder: String, free_after: Timestamp) -> Self {
        Self { key, holder, free_after: Some(free_after), takeover: Takeover::Any }
    }

    /// A tombstone: it reserves nothing, but records its holder.
    #[must_use]
    pub const fn tombstone(key: ClaimKey, holder: String) -> Self {
        // Expired in 1970: with "now" it would still be live for a command whose clock is a little behind.
        Self::until(key, holder, Timestamp::from_micros(0))
    }

    /// The same claim, but it takes over no claim of another holder ([`Takeover::Never`]).
    #[must_use]
    pub fn never_taking_over(self) -> Self {
        Self { takeover: Takeover::Never, ..self }
    }
}

/// What an event does to a claim.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClaimChange {
    /// The holder takes the claim.
    Take(Claim),
    /// The claim is released, if this holder still has it.
    Release {
        /// The name that was claimed.
        key: ClaimKey,
        /// The holder that releases it.
        holder: String,
    },
}

/// The claims that result from a sequence of events, each with the position of the event that took it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims(std::collections::BTreeMap<ClaimKey, (Claim, i64)>);

impl Claims {
    /// Applies what the event at this position does to the claims.
    pub fn apply(&mut self, position: i64, change: ClaimChange) {
        match change {
            ClaimChange::Take(claim) => {
                // Overwrites: whether a claim may be taken over is decided when its event is appended.
                self.0.insert(claim.key.clone(), (claim, position));
            }
            ClaimChange::Release { key, holder } => {
                // Another holder may have taken over the claim since it expired.
                if self.0.get(&key).is_some_and(|(claim, _)| claim.holder == holder) {
                    self.0.remove(&key);
                }
            }
        }
    }

    /// Every claim with the position of the event that took it, ordered by key.
    pub fn iter(&self) -> impl Iterator<Item = (&Claim, i64)> {
        self.0.values().map(|(claim, position)| (claim, *position))
    }
}
