//! How fast all uploads together may send: one rate, or one for each part of the day. Pure.

use jiff::civil::Time;

use super::values;

/// The lowest rate, in bytes a second. With a lower one, each of many uploads would send nothing for so long that the service takes it
/// for broken.
const LEAST: u64 = 10 << 10;

/// A limit for the rate of all uploads together. The default is no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RateLimit(Vec<Period>);

/// From this time of the day on, and until the next period begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Period {
    from: Time,
    /// In bytes a second.
    rate: Option<u64>,
}

impl RateLimit {
    /// Reads one rate for the whole day: `off`, or a size, which is for each second.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        Ok(Self(vec![Period { from: Time::midnight(), rate: rate(text)? }]))
    }

    /// Reads times of the day, each with the rate from then on.
    pub(super) fn of_day<'a>(periods: impl Iterator<Item = (&'a str, &'a str)>) -> Result<Self, String> {
        let period = |(from, text)| Ok(Period { from: time_of_day(from)?, rate: rate(text)? });
        let mut periods: Vec<Period> = periods.map(period).collect::<Result<_, String>>()?;
        periods.sort();
        match periods.windows(2).find(|pair| pair[0].from == pair[1].from) {
            Some(pair) => Err(format!("has {} twice", pair[0].from.strftime("%H:%M"))),
            None if periods.is_empty() => {
                Err("has no time of day: write { \"08:00\" = \"2MiB\", \"18:00\" = \"off\" }".into())
            }
            None => Ok(Self(periods)),
        }
    }

    /// Whether there is no limit at any time of the day.
    pub(crate) fn is_off(&self) -> bool {
        self.0.iter().all(|period| period.rate.is_none())
    }

    /// The limit at a time of the day, in bytes a second. Before the first period of a day, the last one of the day before goes on.
    pub(crate) fn at(&self, time: Time) -> Option<u64> {
        let current = self.0.iter().rfind(|period| period.from <= time).or(self.0.last());
        current.and_then(|period| period.rate)
    }
}

fn rate(text: &str) -> Result<Option<u64>, String> {
    if text == "off" {
        return Ok(None);
    }
    match values::size(text)? {
        low if low < LEAST => Err(format!(
            "`{text}` is less than 10KiB a second, the lowest rate: write \"off\", or a rate such as 10MiB"
        )),
        rate => Ok(Some(rate)),
    }
}

fn time_of_day(text: &str) -> Result<Time, String> {
    Time::strptime("%H:%M", text).map_err(|_| format!("`{text}` is no time of day: write it like 08:00"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(periods: &[(&str, &str)]) -> Result<RateLimit, String> {
        RateLimit::of_day(periods.iter().copied())
    }

    fn at(limit: &RateLimit, time: &str) -> Option<u64> {
        limit.at(time_of_day(time).unwrap())
    }

    #[test]
    fn a_period_lasts_until_the_next_one_also_over_midnight() {
        let limit = day(&[("18:00", "10MiB"), ("08:00", "1MiB"), ("12:30", "off")]).unwrap();
        for (time, mib) in
            [("00:00", Some(10)), ("07:59", Some(10)), ("08:00", Some(1)), ("12:29", Some(1)), ("18:00", Some(10))]
        {
            assert_eq!(at(&limit, time), mib.map(|mib: u64| mib << 20), "{time}");
        }
        assert_eq!(at(&limit, "13:00"), None);
        assert!(!limit.is_off());
    }

    #[test]
    fn one_rate_holds_all_day_and_off_is_no_limit() {
        let limit = RateLimit::parse("10MiB").unwrap();
        assert_eq!([at(&limit, "00:00"), at(&limit, "23:59")], [Some(10 << 20); 2]);
        for off in [RateLimit::default(), RateLimit::parse("off").unwrap(), day(&[("08:00", "off")]).unwrap()] {
            assert!(off.is_off() && at(&off, "09:00").is_none());
        }
    }

    #[test]
    fn what_is_no_rate_is_refused_with_the_way_to_write_it() {
        for (text, why) in [("10", "lacks a unit"), ("fast", "no size"), ("1KiB", "lowest rate"), ("0B", "lowest rate")]
        {
            let error = RateLimit::parse(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
        for (periods, why) in [
            (&[][..], "no time of day"),
            (&[("8", "off")], "like 08:00"),
            (&[("25:00", "off")], "like 08:00"),
            (&[("08:00", "off"), ("8:00", "1MiB")], "twice"),
        ] {
            let error = day(periods).unwrap_err();
            assert!(error.contains(why), "{periods:?}: {error}");
        }
    }
}
