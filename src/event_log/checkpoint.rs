//! Checkpoints: places in the log that can be kept, as a value with log and event or as opaque text.

use std::fmt;
use std::str::FromStr;

use crate::ids::{EventId, LogId};

/// A place in a log: the event there, and the epoch in which the position names that event.
///
/// `Display` gives the opaque text that HTTP and the command line use: `<epoch>-<position>`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Checkpoint {
    /// The identity of the log.
    pub log_id: LogId,
    /// The epoch to which the position belongs.
    pub epoch: i64,
    /// The position of the last event before this place; 0 before the first event.
    pub position: i64,
    /// The event at that position; nil before the first event.
    pub event_id: EventId,
}

impl Checkpoint {
    /// The same place as a position token, without log and event.
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

/// A position with its epoch, as clients send it back.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct PositionToken {
    /// The epoch to which the position belongs.
    pub epoch: i64,
    /// The position; 0 before the first event.
    pub position: i64,
}

/// The text is not a position token.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a position: use one that a write, a page or an event list returned")]
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
            // `parse` alone would accept a sign.
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
