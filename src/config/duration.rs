//! Spans of time as people write them: `500us`, `500ms`, `2s`, `15m`, `24h`, `7d`.

use std::time::Duration;

/// Units, the longest suffix first where one ends another, with their microseconds.
const UNITS: [(&str, u64); 6] = [("us", 1), ("ms", 1000), ("s", 1_000_000), ("m", 60_000_000), ("h", 3_600_000_000), ("d", 86_400_000_000)];

/// What a duration looks like, for help texts.
pub const FORM: &str = "a number and a unit: `500ms`, `2s`, `15m`, `24h`, `7d`";

/// Reads one number with one unit.
///
/// # Errors
/// [`FORM`], as the text of an error, when it is not one.
pub fn parse(text: &str) -> Result<Duration, String> {
    let bad = || format!("`{text}` is no duration: write {FORM}");
    let (suffix, unit) = UNITS.into_iter().find(|(suffix, _)| text.ends_with(suffix)).ok_or_else(bad)?;
    let digits = &text[..text.len() - suffix.len()];
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(bad());
    }
    let count: u64 = digits.parse().map_err(|_| bad())?;
    count.checked_mul(unit).map(Duration::from_micros).ok_or_else(bad)
}

/// The shortest text that [`parse`] reads back as `duration` (whole microseconds).
#[must_use]
pub fn format(duration: Duration) -> String {
    let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
    let (suffix, unit) = UNITS.into_iter().rev().find(|(_, unit)| micros > 0 && micros.is_multiple_of(*unit)).unwrap_or(("s", 1_000_000));
    format!("{}{suffix}", micros / unit)
}

/// A span of time as people say it: `40 ms`, `3 s`, `18 min`, `2 h 5 min`, `3 days`.
#[must_use]
pub fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways() {
        for text in ["250us", "500ms", "2s", "15m", "25h", "7d", "0s", "90s"] {
            assert_eq!(format(parse(text).expect(text)), text);
        }
        assert_eq!(parse("24h"), Ok(Duration::from_hours(24)));
        for bad in ["", "2", "s", "-1s", "1.5h", "1 s", "2 weeks", "999999999999999999d", "+5s"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
