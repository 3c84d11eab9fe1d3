//! How the relay is set.

use std::str::FromStr;
use std::time::Duration;

/// How the relay is set.
#[derive(Clone, Debug)]
pub struct RelaySettings {
    /// Whether this node relays.
    pub is_on: bool,
    /// From where a stream begins, if there is none that can go on.
    pub from: Option<RelayFrom>,
    /// Types of foreign aggregates whose payloads, identifiers included, may be seen by all who may read the events.
    pub public_foreign: Vec<String>,
    /// How long events stay in the stream; `None` for ever.
    pub max_age: Option<Duration>,
    /// How many bytes of events stay in the stream; `None` without a limit.
    pub max_bytes: Option<i64>,
}

impl RelaySettings {
    /// The shortest time that events have to stay in the stream.
    pub const MIN_AGE: Duration = Duration::from_mins(1);
    /// The fewest bytes that the stream has to hold.
    pub const MIN_BYTES: i64 = 1024 * 1024;
}

impl Default for RelaySettings {
    fn default() -> Self {
        Self { is_on: true, from: None, public_foreign: Vec::new(), max_age: None, max_bytes: None }
    }
}

/// From where a stream begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayFrom {
    /// After the newest event.
    Head,
    /// At this position.
    Position(i64),
}

/// The text does not say from where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("say `head`, or a position from 1 on")]
pub struct MalformedFrom;

impl FromStr for RelayFrom {
    type Err = MalformedFrom;

    fn from_str(text: &str) -> Result<Self, MalformedFrom> {
        let digits = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_digit());
        match text {
            "head" => Ok(Self::Head),
            _ if digits => match text.parse() {
                Ok(position) if position > 0 => Ok(Self::Position(position)),
                _ => Err(MalformedFrom),
            },
            _ => Err(MalformedFrom),
        }
    }
}

impl std::fmt::Display for RelayFrom {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Head => f.write_str("head"),
            Self::Position(position) => write!(f, "{position}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_is_head_or_a_position() {
        assert_eq!("head".parse(), Ok(RelayFrom::Head));
        assert_eq!("12".parse(), Ok(RelayFrom::Position(12)));
        for text in ["", "0", "-1", "+1", "Head", " 1", "1.0", "99999999999999999999"] {
            assert_eq!(text.parse::<RelayFrom>(), Err(MalformedFrom), "{text}");
        }
    }
}
