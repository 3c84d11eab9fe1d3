//! Integers as JSON Schema defines them: `5.0` is one.

use serde::{Deserialize, Deserializer, de};

/// 2^53: up to here a floating-point number represents every integer exactly.
const EXACT: f64 = 9_007_199_254_740_992.0;

#[derive(Deserialize)]
#[serde(untagged)]
enum JsonInteger {
    Unsigned(u64),
    Signed(i64),
    Floating(f64),
}

/// Deserializes an integer of this type; none for `null`.
///
/// # Errors
/// The value is not an integer, or out of the range of the type.
pub fn whole<'de, D: Deserializer<'de>, T: TryFrom<i128>>(deserializer: D) -> Result<Option<T>, D::Error> {
    let expected = || de::Error::custom("expected an integer within the documented range");
    let number = Option::<JsonInteger>::deserialize(deserializer).map_err(|_| expected())?;
    let whole = match number {
        None => return Ok(None),
        Some(JsonInteger::Unsigned(number)) => i128::from(number),
        Some(JsonInteger::Signed(number)) => i128::from(number),
        #[allow(clippy::cast_possible_truncation)]
        Some(JsonInteger::Floating(number)) if number.fract() == 0.0 && number.abs() <= EXACT => {
            number as i128
        }
        Some(JsonInteger::Floating(_)) => return Err(expected()),
    };
    T::try_from(whole).map(Some).map_err(|_| expected())
}

#[cfg(test)]
mod tests {
    #[derive(serde::Deserialize)]
    struct Example {
        #[serde(default, deserialize_with = "super::whole")]
        count: Option<u64>,
    }

    #[test]
    fn whole_numbers_are_whole_however_they_are_written() {
        let read = |json: &str| serde_json::from_str::<Example>(json).map(|example| example.count).ok();
        for (json, count) in [("5", Some(5)), ("5.0", Some(5)), ("5e0", Some(5)), ("null", None)] {
            assert_eq!(read(&format!("{{\"count\": {json}}}")), Some(count), "{json}");
        }
        assert_eq!(read("{}"), Some(None));
        for json in ["5.5", "-1", "\"5\"", "1e300", "18446744073709551616", "[]", "true"] {
            assert_eq!(read(&format!("{{\"count\": {json}}}")), None, "{json}");
        }
    }
}
