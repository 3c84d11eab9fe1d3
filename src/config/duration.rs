//! Durations as people write them.

use std::time::Duration;

/// Parses a duration: a whole number followed by `s`, `m`, `h` or `d`; seconds if the unit is missing.
///
/// # Errors
/// The rule that the text breaks.
pub fn duration(text: &str) -> Result<Duration, String> {
    let rule = || "must be a whole number followed by s, m, h or d, for example 10m".to_owned();
    let (digits, unit) = match text.char_indices().find(|(_, character)| !character.is_ascii_digit()) {
        Some((place, _)) => text.split_at(place),
        None => (text, "s"),
    };
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err(rule()),
    };
    let count: u64 = digits.parse().map_err(|_| rule())?;
    // A large count of days would overflow.
    count.checked_mul(seconds).map(Duration::from_secs).ok_or_else(rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_unit() {
        for (text, seconds) in
            [("90", 90), ("90s", 90), ("10m", 600), ("24h", 86_400), ("2d", 172_800), ("0", 0)]
        {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for bad in ["", "m", "-1", "1w", "1.5h", "99999999999999999999", "18446744073709551615d"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
