//! Points in time and spans of time, for people and for files.

use std::time::{SystemTime, UNIX_EPOCH};

pub use crate::config::duration::span;

/// UTC as RFC 3339, to the second: `2026-01-02T03:04:05Z`.
#[must_use]
pub fn rfc3339(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

/// For people: `2026-01-02 03:04 UTC`.
#[must_use]
pub fn minute(time: SystemTime) -> String {
    format!("{} UTC", rfc3339(time)[..16].replace('T', " "))
}

/// Year, month and day of a day counted from 1970-01-01, by eras of 400 years that start in March
/// (H. Hinnant, "chrono-Compatible Low-Level Date Algorithms").
const fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + if month <= 2 { 1 } else { 0 };
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn calendar() {
        let at = |seconds| rfc3339(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_827_696), "2000-02-29T12:34:56Z");
        assert_eq!(at(1_767_225_599), "2025-12-31T23:59:59Z");
        assert_eq!(minute(UNIX_EPOCH + Duration::from_secs(951_827_696)), "2000-02-29 12:34 UTC");
    }

    #[test]
    fn spans() {
        let spans = [40, 3000, 119_000, 1_080_000, 7_500_000, 259_200_000].map(|ms| span(Duration::from_millis(ms)));
        assert_eq!(spans, ["40 ms", "3 s", "119 s", "18 min", "2 h 5 min", "3 days"]);
    }
}
