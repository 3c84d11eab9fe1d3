//! What a subscription is: its name and version, which events it wants, from where, and how they are handed out.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::filter::{EventFilter, InvalidFilter};
use super::slices::MAX_SLICES;
use crate::event_log::{Checkpoint, ReadError};

/// The most events that are handed out together, and the most positions between two checkpoints.
pub(super) const MAX_RANGE: u32 = 1_000;

/// Where a subscription begins that does not exist yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Start {
    /// With the first event of the log.
    #[default]
    Beginning,
    /// After the newest event at the time of its registration.
    Newest,
    /// After a place that was kept.
    After(Checkpoint),
}

/// A named, durable subscription. Its checkpoints are in the database of the log.
///
/// Several processes can start the same subscription; each takes its share of the slices. A new version takes over from the
/// one before, which then stops.
#[derive(Clone, Debug)]
pub struct Subscription {
    pub(super) name: String,
    pub(super) version: u32,
    pub(super) definition: Definition,
    pub(super) start: Start,
    pub(super) wants_all: bool,
    pub(super) limits: Limits,
}

/// What may change only together with the version; stored as JSON.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Definition {
    pub(super) slices: u32,
    #[serde(default)]
    pub(super) filter: EventFilter,
}

/// The times and counts of this process, which other processes need not share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) lease: Duration,
    pub(super) handler_timeout: Duration,
    pub(super) max_deliveries: u32,
    pub(super) checkpoint_every: u32,
}

/// Why a subscription was not started.
#[derive(Debug, thiserror::Error)]
pub enum SubscribeError {
    /// The name is not allowed.
    #[error(
        "{0:?} is not a name for a subscription: use 1 to 63 characters of a-z, 0-9, _ and -, beginning with a letter"
    )]
    InvalidName(String),
    /// The version is not allowed.
    #[error("a version must be between 1 and {}", i32::MAX)]
    InvalidVersion,
    /// A setting is out of its range.
    #[error("{setting} must be between {least} and {most}")]
    OutOfRange {
        /// The name of the setting.
        setting: &'static str,
        /// The least value.
        least: String,
        /// The greatest value.
        most: String,
    },
    /// The filter names something that does not exist.
    #[error(transparent)]
    Filter(#[from] InvalidFilter),
    /// A later version has taken over.
    #[error(
        "version {found} of subscription {name} has taken over from version {wanted}; give this code a later version"
    )]
    Superseded {
        /// The name of the subscription.
        name: String,
        /// The version that was to be started.
        wanted: u32,
        /// The version that is registered.
        found: i32,
    },
    /// The filter or the number of slices is not what it was when this version was registered. Events that were passed over
    /// would never be handled.
    #[error(
        "version {version} of subscription {name} is registered with another filter or number of slices ({registered}); \
         give the changed subscription a new version"
    )]
    Changed {
        /// The name of the subscription.
        name: String,
        /// The version.
        version: u32,
        /// The definition that is registered, as JSON.
        registered: String,
    },
    /// The log has a new epoch, so the predecessor's checkpoints may be wrong.
    #[error(
        "the log was restored or has lost events since subscription {0} stored its checkpoints: run `tenure \
         subscriptions resume` to continue, or `rewind` to go back"
    )]
    EpochChanged(String),
    /// A later release of Tenure has written the subscription.
    #[error("subscription {0} was written by a later release of Tenure; run that release")]
    NewerRelease(String),
    /// The log cannot be read or written, or the start is not a place in it.
    #[error(transparent)]
    Log(#[from] ReadError),
}

impl Subscription {
    /// A subscription to all events, from the beginning, in one slice. The version is raised whenever the meaning of the
    /// handler changes.
    ///
    /// # Errors
    /// [`SubscribeError::InvalidName`] or [`SubscribeError::InvalidVersion`].
    pub fn new(name: &str, version: u32) -> Result<Self, SubscribeError> {
        let is_plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
        let begins_well = name.as_bytes().first().is_some_and(u8::is_ascii_lowercase);
        if !begins_well || name.len() > 63 || !name.bytes().all(is_plain) {
            return Err(SubscribeError::InvalidName(name.chars().take(64).collect()));
        }
        if version == 0 || i32::try_from(version).is_err() {
            return Err(SubscribeError::InvalidVersion);
        }
        Ok(Self {
            name: name.to_owned(),
            version,
            definition: Definition { slices: 1, filter: EventFilter::default() },
            start: Start::default(),
            wants_all: false,
            limits: Limits {
                lease: Duration::from_secs(10),
                handler_timeout: Duration::from_secs(30),
                max_deliveries: 3,
                checkpoint_every: 1,
            },
        })
    }

    /// Only the events that a filter selects.
    #[must_use]
    pub fn filter(mut self, filter: EventFilter) -> Self {
        self.definition.filter = filter;
        self
    }

    /// In how many slices the events are handled side by side, 1 to 256. The events of a stream are always in the same
    /// slice, in order.
    #[must_use]
    pub const fn slices(mut self, slices: u32) -> Self {
        self.definition.slices = slices;
        self
    }

    /// Where the subscription begins if it does not exist yet.
    #[must_use]
    pub const fn starting_at(mut self, start: Start) -> Self {
        self.start = start;
        self
    }

    /// If this version is new, it handles the whole log again instead of going on where its predecessor was.
    #[must_use]
    pub const fn replaying_the_whole_log(mut self) -> Self {
        self.wants_all = true;
        self
    }

    /// How long after a process has died its slices wait before another process takes them, 1 s to 10 min; 10 s by
    /// default.
    #[must_use]
    pub const fn lease(mut self, lease: Duration) -> Self {
        self.limits.lease = lease;
        self
    }

    /// How long a handler may take for what it is given, 10 ms to 1 h; 30 s by default. Then it is cancelled, and the
    /// delivery has failed.
    #[must_use]
    pub const fn handler_timeout(mut self, timeout: Duration) -> Self {
        self.limits.handler_timeout = timeout;
        self
    }

    /// How many deliveries of an event may end in a panic, in a timeout or with the process before its stream is parked, 1
    /// to 100; 3 by default.
    #[must_use]
    pub const fn max_deliveries(mut self, deliveries: u32) -> Self {
        self.limits.max_deliveries = deliveries;
        self
    }

    /// How many events an [`EffectHandler`](super::EffectHandler) may handle before the checkpoint is stored, 1 to
    /// 1,000; 1 by default. After a crash so many effects may be repeated; a greater number is faster.
    #[must_use]
    pub const fn checkpoint_every(mut self, events: u32) -> Self {
        self.limits.checkpoint_every = events;
        self
    }

    /// Checks everything that can be checked without the log.
    pub(super) fn check(&self) -> Result<(), SubscribeError> {
        let Limits { lease, handler_timeout, max_deliveries, checkpoint_every } = self.limits;
        in_range("slices", &self.definition.slices, &1, &MAX_SLICES)?;
        in_range("max_deliveries", &max_deliveries, &1, &100)?;
        in_range("checkpoint_every", &checkpoint_every, &1, &MAX_RANGE)?;
        in_range("lease", &Shown(lease), &Shown(Duration::from_secs(1)), &Shown(Duration::from_mins(10)))?;
        let (least, most) = (Shown(Duration::from_millis(10)), Shown(Duration::from_hours(1)));
        in_range("handler_timeout", &Shown(handler_timeout), &least, &most)?;
        self.definition.filter.check()?;
        Ok(())
    }

    /// The definition as it is stored and compared.
    pub(super) fn definition_json(&self) -> String {
        // A definition has string keys alone, so it always has a form in JSON.
        serde_json::to_string(&self.definition).unwrap_or_default()
    }
}

/// A duration in the form of an error message.
#[derive(PartialEq, PartialOrd)]
struct Shown(Duration);

impl std::fmt::Display for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

fn in_range<T: PartialOrd + ToString>(
    setting: &'static str,
    value: &T,
    least: &T,
    most: &T,
) -> Result<(), SubscribeError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(SubscribeError::OutOfRange { setting, least: least.to_string(), most: most.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_versions_and_settings_out_of_range_are_refused() {
        for bad in ["", "Mailer", "1st", "-x", "a b", "ä", "a/b", &"a".repeat(64)] {
            assert!(matches!(Subscription::new(bad, 1), Err(SubscribeError::InvalidName(_))), "{bad}");
        }
        assert!(matches!(Subscription::new("a", 0), Err(SubscribeError::InvalidVersion)));
        assert!(matches!(Subscription::new("a", u32::MAX), Err(SubscribeError::InvalidVersion)));
        let mailer = || Subscription::new("welcome_mailer-2", 1).unwrap();
        assert!(mailer().check().is_ok());
        for bad in [
            mailer().slices(0),
            mailer().slices(257),
            mailer().max_deliveries(0),
            mailer().checkpoint_every(1_001),
            mailer().lease(Duration::from_millis(999)),
            mailer().handler_timeout(Duration::ZERO),
        ] {
            assert!(matches!(bad.check(), Err(SubscribeError::OutOfRange { .. })), "{bad:?}");
        }
        let error = mailer().lease(Duration::ZERO).check().unwrap_err();
        assert_eq!(error.to_string(), "lease must be between 1s and 600s");
    }
}
