//! Claims: names in sets in which each has at most one holder, taken and released by events.

use crate::clock::Timestamp;

/// A name in a set in which each name has at most one holder.
#[derive(Clone, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct ClaimKey {
    /// Which set, for example `username`.
    pub kind: &'static str,
    /// The name within the set, keyed or hashed; never in clear.
    pub key: [u8; 32],
}

/// A claim that an event takes for its holder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Claim {
    /// What is claimed.
    pub key: ClaimKey,
    /// Who holds it from now on.
    pub holder: String,
    /// From when on it counts as free without being released.
    pub free_after: Option<Timestamp>,
    /// Whose dead claim it may take the place of.
    pub takeover: Takeover,
}

/// Whose claim, dead by the clock, another may take the place of.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Takeover {
    /// Anybody's.
    #[default]
    Any,
    /// Nobody's: a dead claim refuses like a living one (with nobody as its holder), so that the claimant learns of it.
    Never,
    /// Only this holder's.
    Only(String),
}

impl Claim {
    /// A claim that holds until it is released.
    #[must_use]
    pub const fn until_released(key: ClaimKey, holder: String) -> Self {
        Self { key, holder, free_after: None, takeover: Takeover::Any }
    }

    /// A claim that dies by the clock.
    #[must_use]
    pub const fn until(key: ClaimKey, holder: String, free_after: Timestamp) -> Self {
        Self { key, holder, free_after: Some(free_after), takeover: Takeover::Any }
    }

    /// A claim that holds nothing and leaves word of its holder: dead for every command, however its clock goes.
    #[must_use]
    pub const fn tombstone(key: ClaimKey, holder: String) -> Self {
        Self::until(key, holder, Timestamp::from_micros(0))
    }

    /// The same claim, which takes the place of no other.
    #[must_use]
    pub fn never_taking_over(self) -> Self {
        Self { takeover: Takeover::Never, ..self }
    }
}

/// A change of the set of claims, as events cause it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ClaimChange {
    /// The claim is held by the holder from now on.
    Take(Claim),
    /// The claim is free again, if this holder still holds it.
    Release {
        /// What was claimed.
        key: ClaimKey,
        /// Who gives it up.
        holder: String,
    },
}

/// The claims as they stand after some events, with the position that took each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims(std::collections::BTreeMap<ClaimKey, (Claim, i64)>);

impl Claims {
    /// Takes in what the event at this position does to the claims.
    pub fn apply(&mut self, position: i64, change: ClaimChange) {
        match change {
            ClaimChange::Take(claim) => {
                self.0.insert(claim.key.clone(), (claim, position));
            }
            ClaimChange::Release { key, holder } => {
                if self.0.get(&key).is_some_and(|(claim, _)| claim.holder == holder) {
                    self.0.remove(&key);
                }
            }
        }
    }

    /// Every claim with the position that took it, in order of its key.
    pub fn iter(&self) -> impl Iterator<Item = (&Claim, i64)> {
        self.0.values().map(|(claim, position)| (claim, *position))
    }
}
