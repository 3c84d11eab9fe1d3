//! W3C Trace Context: the `traceparent` that ties what Tenure does to a trace of its caller.

use std::fmt;
use std::str::FromStr;

/// A valid `traceparent` (W3C Trace Context, §3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TraceParent {
    trace: u128,
    parent: u64,
    flags: u8,
}

impl TraceParent {
    /// The identifier of the trace: 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(self) -> String {
        format!("{:032x}", self.trace)
    }
}

/// A `traceparent` that is malformed. The standard wants it to be ignored, not refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a traceparent is 00-<32 hexadecimal digits>-<16 hexadecimal digits>-<2 hexadecimal digits>")]
pub struct MalformedTraceParent;

impl FromStr for TraceParent {
    type Err = MalformedTraceParent;

    fn from_str(text: &str) -> Result<Self, MalformedTraceParent> {
        let is_hex = |text: &str| text.bytes().all(|octet| matches!(octet, b'0'..=b'9' | b'a'..=b'f'));
        let mut parts = text.splitn(5, '-');
        let mut next = |digits| {
            parts.next().filter(|part| part.len() == digits && is_hex(part)).ok_or(MalformedTraceParent)
        };
        let (version, trace, parent, flags) = (next(2)?, next(32)?, next(16)?, next(2)?);
        // A later version may have more parts, and begins with these.
        if version == "ff" || version == "00" && parts.next().is_some() {
            return Err(MalformedTraceParent);
        }
        let malformed = |_| MalformedTraceParent;
        let trace = u128::from_str_radix(trace, 16).map_err(malformed)?;
        let parent = u64::from_str_radix(parent, 16).map_err(malformed)?;
        let flags = u8::from_str_radix(flags, 16).map_err(malformed)?;
        if trace == 0 || parent == 0 { Err(MalformedTraceParent) } else { Ok(Self { trace, parent, flags }) }
    }
}

/// As version 00 writes it.
impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.parent, self.flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn trace_parents_are_read_as_the_standard_says() {
        let parsed: TraceParent = EXAMPLE.parse().unwrap();
        assert_eq!(
            (parsed.to_string(), parsed.trace_id()),
            (EXAMPLE.into(), "0af7651916cd43dd8448eb211c80319c".into())
        );
        for later in [EXAMPLE.replacen("00", "cc", 1), EXAMPLE.replacen("00", "cc", 1) + "-what-may-come"] {
            assert_eq!(later.parse::<TraceParent>().unwrap().to_string(), EXAMPLE);
        }
        for bad in [
            "",
            "00",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.x",
            "00_0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331_01",
            "+0-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            assert_eq!(bad.parse::<TraceParent>(), Err(MalformedTraceParent), "{bad}");
        }
    }
}
