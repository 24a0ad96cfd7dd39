//! Sizes, lengths of time and points in time as text: one way in the whole program. Pure.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A size: `512 bytes`, `61 MiB`, `1.2 GiB`. Below ten of a unit there is one decimal.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes == 1 {
        return "1 byte".to_owned();
    }
    if bytes < 1024 {
        return format!("{bytes} bytes");
    }
    #[allow(clippy::cast_precision_loss)]
    let mut number = bytes as f64 / 1024.0;
    let mut units = UNITS.into_iter().peekable();
    let mut unit = units.next().unwrap_or_default();
    // What would be rounded to 1024 of a unit is 1.0 of the next one.
    while number >= 1023.5
        && let Some(next) = units.next()
    {
        (number, unit) = (number / 1024.0, next);
    }
    if number < 9.95 { format!("{number:.1} {unit}") } else { format!("{number:.0} {unit}") }
}

/// A length of time in one unit, rounded down: `0.4 s`, `45 s`, `3 min`, `5 h`, `12 days`.
pub(crate) fn span(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..10 if span.subsec_millis() >= 100 || seconds == 0 => format!("{seconds}.{} s", span.subsec_millis() / 100),
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A point in time in UTC, to the second. This form has no years before 1970, so an earlier time is shown as 1970.
pub(crate) fn utc(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time.max(SystemTime::UNIX_EPOCH)).to_string()
}

/// A point in time in a time zone, to the second: `2026-11-25 09:00:00`. In UTC where this calendar does not have the time.
pub(crate) fn local(time: SystemTime, zone: &TimeZone) -> String {
    let local = Timestamp::try_from(time).map(|time| time.to_zoned_datetime(zone.clone()));
    local.map_or_else(|_| utc(time), |local| local.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

/// A number with its thousands set apart: `4,998`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_unit_and_two_or_three_digits() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1, "1 byte"),
            (1023, "1023 bytes"),
            (1024, "1.0 KiB"),
            (1_048_000, "1023 KiB"),
            (1_048_575, "1.0 MiB"),
            (61 << 20, "61 MiB"),
            (1_288_490_189, "1.2 GiB"),
            (u64::MAX, "16384 PiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }

    #[test]
    fn lengths_of_time_have_one_unit() {
        for (ms, text) in [
            (0, "0.0 s"),
            (450, "0.4 s"),
            (2_000, "2 s"),
            (2_130, "2.1 s"),
            (45_900, "45 s"),
            (119_000, "119 s"),
            (185_000, "3 min"),
            (7_200_000, "2 h"),
            (200_000_000, "2 days"),
        ] {
            assert_eq!(span(Duration::from_millis(ms)), text);
        }
    }

    #[test]
    fn times_are_utc_and_none_is_before_1970() {
        let start = SystemTime::UNIX_EPOCH;
        assert_eq!(utc(start + Duration::from_millis(86_399_900)), "1970-01-01T23:59:59Z");
        assert_eq!(utc(start - Duration::from_secs(1)), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn local_times_are_those_of_the_zone() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(86_399);
        assert_eq!(local(time, &TimeZone::fixed(jiff::tz::offset(2))), "1970-01-02 01:59:59");
        assert_eq!(local(time, &TimeZone::UTC), "1970-01-01 23:59:59");
    }

    #[test]
    fn thousands_are_set_apart() {
        for (number, text) in [(0, "0"), (999, "999"), (4998, "4,998"), (1_000_000, "1,000,000")] {
            assert_eq!(count(number), text);
        }
    }
}
