//! How long to wait before the next try. Pure: chance comes in as a number.

use std::time::Duration;

/// The first wait.
const FIRST: Duration = Duration::from_secs(1);
/// The longest wait that is ours to choose.
const LONGEST: Duration = Duration::from_secs(60);
/// The longest wait that a service may ask for: a day in a broken `Retry-After` must not stop us for a day.
const LONGEST_ASKED: Duration = Duration::from_secs(15 * 60);

/// The wait after so many failures in a row (1 or more): doubling from a second to a minute, of which `chance` (0 to 1)
/// takes off up to a half, so that many instances don't come back at once. Never shorter than what the service asked for.
pub(crate) fn wait(failures: u32, chance: f64, forced: Option<Duration>) -> Duration {
    let doubled = FIRST.saturating_mul(2u32.saturating_pow(failures.saturating_sub(1)));
    let jittered = doubled.min(LONGEST).mul_f64(1.0 - chance.clamp(0.0, 1.0) / 2.0);
    // Whole milliseconds are what people can read.
    let jittered = Duration::from_millis(u64::try_from(jittered.as_millis()).unwrap_or(u64::MAX));
    jittered.max(forced.unwrap_or_default().min(LONGEST_ASKED))
}

/// A number from 0 to 1 by chance.
pub(crate) fn chance() -> f64 {
    let mut random = [0u8; 2];
    // Without chance the wait is as good, only not spread.
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::NONBLOCK).ok();
    f64::from(u16::from_ne_bytes(random)) / f64::from(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn waits_double_from_a_second_to_a_minute() {
        let waits: Vec<u64> = (1..=9).map(|failures| wait(failures, 0.0, None).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }

    proptest! {
        #[test]
        fn a_wait_is_within_its_bounds_whatever_chance_says(failures in 1u32.., chance in 0.0..=1.0f64) {
            let wait = wait(failures, chance, None);
            prop_assert!(wait >= Duration::from_millis(500) && wait <= LONGEST);
        }

        #[test]
        fn what_the_service_asks_for_is_honoured_up_to_a_quarter_of_an_hour(failures in 1u32..20, forced in 0u64..100_000) {
            let forced = Duration::from_secs(forced);
            let wait = wait(failures, 0.5, Some(forced));
            prop_assert!(wait >= forced.min(LONGEST_ASKED) && wait <= LONGEST_ASKED);
        }
    }
}
