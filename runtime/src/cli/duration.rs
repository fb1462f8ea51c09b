//! Times on the command line, as Go programs and people write them.

use std::time::Duration;

/// What may be written: nanoseconds per unit.
const UNITS: &[(&str, u64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000), // U+00B5, the micro sign
    ("μs", 1_000), // U+03BC, the Greek letter
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("h", 3600 * 1_000_000_000),
];

/// Reads a duration: numbers with units one after the other (`1m30s`, `1.5h`, `500ms`), or a whole number of
/// seconds.
///
/// # Errors
/// A sentence that quotes `text`: no unit is known by that name, a number is missing, it is negative or above
/// 292 years, which is where Go's type ends.
pub fn parse(text: &str) -> Result<Duration, String> {
    let bad = || format!("invalid duration {text:?}; write it as 5s, 1m30s or 500ms");
    let body = text.strip_prefix('+').unwrap_or(text);
    if body.is_empty() {
        return Err(bad());
    }
    if body.bytes().all(|byte| byte.is_ascii_digit()) {
        return body.parse().ok().and_then(in_range).ok_or_else(bad);
    }
    let mut rest = body;
    let mut sum = 0_u64;
    while !rest.is_empty() {
        let (part, after) = first_part(rest).ok_or_else(bad)?;
        sum = sum.checked_add(part).ok_or_else(bad)?;
        rest = after;
    }
    i64::try_from(sum).map(|_| Duration::from_nanos(sum)).map_err(|_| bad())
}

fn in_range(seconds: u64) -> Option<Duration> {
    seconds.checked_mul(1_000_000_000).filter(|nanos| i64::try_from(*nanos).is_ok()).map(Duration::from_nanos)
}

/// The nanoseconds of the first number and its unit, and what follows them.
fn first_part(text: &str) -> Option<(u64, &str)> {
    let (whole, rest) = digits(text);
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => digits(rest),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let end = rest.find(|letter: char| letter.is_ascii_digit() || letter == '.').unwrap_or(rest.len());
    let (name, rest) = rest.split_at_checked(end)?;
    let unit = UNITS.iter().find(|unit| unit.0 == name)?.1;
    let whole = if whole.is_empty() { 0 } else { whole.parse::<u64>().ok()? };
    let nanos = whole.checked_mul(unit)?.checked_add(share(fraction, unit))?;
    Some((nanos, rest))
}

fn digits(text: &str) -> (&str, &str) {
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// The digits after the point as a share of `unit`, cut off below a nanosecond.
fn share(fraction: &str, unit: u64) -> u64 {
    let mut place = u128::from(unit) * 1_000_000;
    let mut sum = 0_u128;
    for digit in fraction.bytes() {
        place /= 10;
        sum += place * u128::from(digit.wrapping_sub(b'0'));
    }
    u64::try_from(sum / 1_000_000).unwrap_or(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_go_and_plain_seconds_are_understood() {
        let table = [
            ("5s", 5_000_000_000),
            ("1m30s", 90_000_000_000),
            ("500ms", 500_000_000),
            ("1h", 3_600_000_000_000),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("5.s", 5_000_000_000),
            ("0", 0),
            ("0s", 0),
            ("30", 30_000_000_000),
            ("+2s", 2_000_000_000),
            ("1h2m3.004005006s", 3_723_004_005_006),
            ("7us", 7_000),
            ("7µs", 7_000),
            ("7μs", 7_000),
            ("9ns", 9),
            ("0.0000000019s", 1),
            ("9223372036", 9_223_372_036_000_000_000),
        ];
        for (text, nanos) in table {
            assert_eq!(parse(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_quoted_back() {
        let huge = format!("1{}s", "0".repeat(40));
        for text in [
            "",
            "-5s",
            "s",
            "5x",
            "5 s",
            "1m30",
            ".s",
            ".",
            "5s5",
            "+",
            "9223372037",
            "18446744073709551616",
            "1e3s",
            &huge,
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(&format!("{text:?}")), "{error}");
        }
    }

    #[test]
    fn a_long_fraction_neither_overflows_nor_rounds_up() {
        assert_eq!(parse(&format!("0.{}h", "9".repeat(200))), Ok(Duration::from_nanos(3_599_999_999_999)));
    }
}
