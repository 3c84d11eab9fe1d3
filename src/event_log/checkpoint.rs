//! Places in the log that outlive a process: as a value with the log and the event they were taken at, and as opaque
//! text.

use std::fmt;
use std::str::FromStr;

use crate::ids::{EventId, LogId};

/// A place in a log: the event there, and the epoch in which the position names that event.
///
/// `Display` gives the opaque text that HTTP and the command line use: `<epoch>-<position>`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Checkpoint {
    /// Which log.
    pub log_id: LogId,
    /// The epoch of its positions.
    pub epoch: i64,
    /// The position of the newest event that is behind this place; 0 before the first.
    pub position: i64,
    /// The event at that position; nil before the first.
    pub event_id: EventId,
}

impl Checkpoint {
    /// The same place as a token.
    #[must_use]
    pub const fn token(&self) -> PositionToken {
        PositionToken { epoch: self.epoch, position: self.position }
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.token().fmt(f)
    }
}

/// A position with its epoch, as callers bring it back.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PositionToken {
    /// The epoch that the position was given in.
    pub epoch: i64,
    /// The position; 0 before the first event.
    pub position: i64,
}

/// The text is no position that was ever given.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a position: use the text that a write, a page or an event list has answered with")]
pub struct MalformedPosition;

impl fmt::Display for PositionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.epoch, self.position)
    }
}

impl FromStr for PositionToken {
    type Err = MalformedPosition;

    fn from_str(text: &str) -> Result<Self, MalformedPosition> {
        let number = |digits: &str| {
            let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
            if plain { digits.parse().map_err(|_| MalformedPosition) } else { Err(MalformedPosition) }
        };
        let (epoch, position) = text.split_once('-').ok_or(MalformedPosition)?;
        Ok(Self { epoch: number(epoch)?, position: number(position)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_survives_its_text_and_nothing_else_is_taken_for_one() {
        let token = PositionToken { epoch: i64::MAX, position: 12 };
        assert_eq!(token.to_string().parse(), Ok(token));
        for text in [
            "",
            "12",
            "-",
            "1-",
            "-1",
            "1--2",
            "1-2-3",
            "+1-2",
            " 1-2",
            "1-2 ",
            "a-b",
            "9223372036854775808-1",
        ] {
            assert_eq!(text.parse::<PositionToken>(), Err(MalformedPosition), "{text}");
        }
    }
}
