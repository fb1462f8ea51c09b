//! The time of day as the state and the log write it.

use std::time::{SystemTime, UNIX_EPOCH};

/// Now in UTC: RFC 3339 with nanoseconds.
pub fn now() -> String {
    rfc3339(SystemTime::now())
}

/// `time` in UTC with nanoseconds, as in `2026-11-20T21:33:00.000000001Z`. A time before 1970 is given as 1970.
pub fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    format(since.as_secs(), since.subsec_nanos())
}

fn format(seconds: u64, nanoseconds: u32) -> String {
    let (year, month, day) = civil(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanoseconds:09}Z")
}

/// The date of a day since 1970-01-01 in the Gregorian calendar. Years are counted from March, so that the leap day is the
/// last of its year, in eras of 400 years, which all have the same number of days.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_around_leap_days_are_right() {
        assert_eq!(format(0, 0), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(format(951_782_400, 5), "2000-02-29T00:00:00.000000005Z");
        assert_eq!(format(1_709_251_199, 0), "2024-02-29T23:59:59.000000000Z");
        assert_eq!(format(4_107_542_400, 0), "2100-03-01T00:00:00.000000000Z");
    }
}
