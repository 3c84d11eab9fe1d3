//! Moments in the log's history, as people give them: a time or a position.

use std::fmt;
use std::str::FromStr;

use super::parts::Replay;
use crate::clock::Timestamp;
use crate::event_log::{PositionToken, ReadError};

/// A moment: after the last event that was recorded by then.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moment {
    /// A time.
    At(Timestamp),
    /// A position of the present epoch.
    Position(i64),
    /// A position with its epoch, as writes and lists return it.
    Token(PositionToken),
}

/// A moment in this log.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
pub struct Resolved {
    /// The last event that is taken into account.
    pub position: i64,
    /// The epoch of the position.
    pub epoch: i64,
    /// The time by which things have expired or not: the one that was given, or that of the event.
    pub at: Timestamp,
}

impl Resolved {
    /// The position with its epoch, to ask for the same moment again.
    #[must_use]
    pub const fn token(&self) -> PositionToken {
        PositionToken { epoch: self.epoch, position: self.position }
    }
}

/// The text is not a moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MalformedMoment {
    /// A time without `Z` or an offset.
    #[error("the time has no offset: end it with Z or an offset such as +01:00 (in a URL, %2B01:00)")]
    NoOffset,
    /// A time with the name of a zone.
    #[error("times have an offset, not the name of a zone: end it with Z or an offset such as +01:00")]
    ZoneName,
    /// A leap second, which the log's clock does not have.
    #[error(
        "there is no such second: the log's clock has no leap seconds; give second 59 or the next minute"
    )]
    LeapSecond,
    /// Positions begin at 1.
    #[error("positions begin at 1")]
    NoPosition,
    /// Anything else.
    #[error(
        "must be a time with an offset, for example 2026-01-31T12:00:00Z or 2026-01-31T13:00:00+01:00, or a position, for example \
         1200 or one that a write or a list returned"
    )]
    Neither,
}

/// Why a moment cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum MomentError {
    /// It has not come yet.
    #[error("the time is in the future: it is {now} now")]
    Future {
        /// The present time.
        now: Timestamp,
    },
    /// It was before the log began.
    #[error("the log begins at {first}: there was nothing before that")]
    BeforeFirst {
        /// When the first event was recorded.
        first: Timestamp,
    },
    /// The log could not be read, or does not have the position.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl FromStr for Moment {
    type Err = MalformedMoment;

    fn from_str(text: &str) -> Result<Self, MalformedMoment> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return match text.parse() {
                Ok(0) => Err(MalformedMoment::NoPosition),
                Ok(position) => Ok(Self::Position(position)),
                Err(_) => Err(MalformedMoment::Neither),
            };
        }
        let is_month = text.len() == 7 && text.as_bytes()[4] == b'-';
        if let Ok(token) = text.parse::<PositionToken>()
            && !is_month
        {
            return if token.position == 0 {
                Err(MalformedMoment::NoPosition)
            } else {
                Ok(Self::Token(token))
            };
        }
        // The parser of times takes a leap second for the second before it.
        if text.get(16..19) == Some(":60") {
            return Err(MalformedMoment::LeapSecond);
        }
        // It also takes anything between date and time.
        if text.as_bytes().get(10).is_some_and(|between| !b"Tt ".contains(between)) {
            return Err(MalformedMoment::Neither);
        }
        match Timestamp::parse(text) {
            Ok(at) => Ok(Self::At(at)),
            // A plus that was not escaped in a URL arrives as a blank.
            Err(_)
                if Timestamp::parse(&format!("{text}Z")).is_ok()
                    || Timestamp::parse(&text.replacen(' ', "+", 1)).is_ok() =>
            {
                Err(MalformedMoment::NoOffset)
            }
            Err(_) if names_a_zone(text) => Err(MalformedMoment::ZoneName),
            Err(_) => Err(MalformedMoment::Neither),
        }
    }
}

/// Whether a time is followed by something that may be the name of a zone, such as `CET` or `[Europe/Berlin]`.
fn names_a_zone(text: &str) -> bool {
    let is_of_time = |character: char| character.is_ascii_digit() || ":.,".contains(character);
    let Some((date, rest)) = text.split_once(['T', 't', ' ']) else { return false };
    let zone = rest.trim_start_matches(is_of_time);
    let time = &rest[..rest.len() - zone.len()];
    let names =
        zone.trim_start_matches(|character: char| !character.is_ascii_alphabetic() && character != '[');
    Timestamp::parse(&format!("{date}T{time}Z")).is_ok() && !names.is_empty()
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(at) => at.fmt(f),
            Self::Position(position) => position.fmt(f),
            Self::Token(token) => token.fmt(f),
        }
    }
}

impl Replay {
    /// Finds a moment in the log.
    ///
    /// # Errors
    /// [`MomentError`]
    pub async fn resolve(&self, moment: Moment) -> Result<Resolved, MomentError> {
        match moment {
            Moment::At(at) => {
                let now = self.clock.now();
                let sql =
                    "select log.position_at($1) - 1, (select recorded_at from log.event where position = 1),
                                  (select recorded_at from log.event order by position desc limit 1)";
                let next = Timestamp::from_micros(at.as_micros() + 1);
                let answer = self.log.primary().query(sql, &[&next]).await?;
                let row = answer.rows.first();
                // The clock of another node may be ahead.
                let newest: Option<Timestamp> = row.and_then(|row| row.try_get(2).ok());
                if at > now && newest.is_none_or(|newest| at > newest) {
                    return Err(MomentError::Future { now });
                }
                let position: i64 = row.map_or(Ok(0), |row| row.try_get(0)).map_err(ReadError::from)?;
                if position < 1 {
                    let first = row.and_then(|row| row.try_get(1).ok());
                    return Err(MomentError::BeforeFirst { first: first.unwrap_or(now) });
                }
                Ok(Resolved { position, epoch: answer.epoch, at })
            }
            Moment::Position(position) => {
                let epoch = self.log.seen().get().epoch;
                self.at_position(PositionToken { epoch, position }).await
            }
            Moment::Token(token) => self.at_position(token).await,
        }
    }

    async fn at_position(&self, token: PositionToken) -> Result<Resolved, MomentError> {
        let place = self.log.place(token).await?;
        let sql = "select recorded_at from log.event where position = $1";
        let row = self.log.primary().row(sql, &[&place.position]).await?;
        let at = row.map(|row| row.try_get(0)).transpose().map_err(ReadError::from)?;
        Ok(Resolved { position: place.position, epoch: place.epoch, at: at.unwrap_or_default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_time_with_an_offset_or_a_position() {
        for (text, moment) in [
            ("12", Moment::Position(12)),
            ("7-12", Moment::Token(PositionToken { epoch: 7, position: 12 })),
            ("2026-01-31T12:00:00Z", Moment::At(Timestamp::parse("2026-01-31T12:00:00Z").unwrap())),
            ("2026-01-31T13:00:00.5+01:00", Moment::At(Timestamp::parse("2026-01-31T12:00:00.5Z").unwrap())),
        ] {
            assert_eq!(text.parse(), Ok(moment), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_moment_is_said() {
        use MalformedMoment::{LeapSecond, Neither, NoOffset, NoPosition, ZoneName};
        for (text, error) in [
            ("", Neither),
            ("0", NoPosition),
            ("7-0", NoPosition),
            ("-1", Neither),
            ("99999999999999999999", Neither),
            ("2026-01-31", Neither),
            ("yesterday", Neither),
            ("2026-02-30T12:00:00Z", Neither),
            ("2026-01-31T12:00:00", NoOffset),
            ("2026-01-31T12:00:00 01:00", NoOffset),
            ("2026-01-31T12:00:00 CET", ZoneName),
            ("2026-01-31T12:00:00CET", ZoneName),
            ("2026-01-31T12:00:00+01:00[Europe/Berlin]", ZoneName),
            ("2026-01-31T12:00:00Europe/Berlin", ZoneName),
            ("2016-12-31T23:59:60Z", LeapSecond),
            ("2016-12-31T23:59:60.5+00:00", LeapSecond),
            ("2016-12-31 23:59:60Z", LeapSecond),
            ("2016-12-31_23:59:60Z", LeapSecond),
            ("2026-01-31x12:00:00Z", Neither),
            ("2026-01", Neither),
            ("2026-01-31T12:00:00,5Z", Neither),
            ("2026-01-31T12:00:61Z", Neither),
        ] {
            assert_eq!(text.parse::<Moment>(), Err(error), "{text}");
        }
    }
}
