//! How long to wait before the next try. Pure: the random number comes in from outside.

use std::time::Duration;

/// The first wait.
const FIRST: Duration = Duration::from_secs(1);
/// The longest wait of our own choice.
const LONGEST: Duration = Duration::from_secs(60);
/// The longest wait that a service may ask for: a day in a broken `Retry-After` must not stop the uploads for a day.
const LONGEST_REQUESTED: Duration = Duration::from_secs(15 * 60);

/// The wait after so many failures in a row (1 or more): it doubles from a second to a minute. The `random` number (0 to 1) takes off
/// up to a half, so that many instances don't come back at once. Never shorter than what the service `requested`.
pub(crate) fn wait(failures: u32, random: f64, requested: Option<Duration>) -> Duration {
    let doubled = FIRST.saturating_mul(2u32.saturating_pow(failures.saturating_sub(1)));
    let jittered = doubled.min(LONGEST).mul_f64(1.0 - random.clamp(0.0, 1.0) / 2.0);
    // Whole milliseconds are easier to read in the log.
    let jittered = Duration::from_millis(u64::try_from(jittered.as_millis()).unwrap_or(u64::MAX));
    jittered.max(requested.unwrap_or_default().min(LONGEST_REQUESTED))
}

/// A random number from 0 to 1.
pub(crate) fn random() -> f64 {
    let mut random = [0u8; 2];
    // Without a random number the wait is as good, only not spread.
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
        fn a_wait_is_within_its_bounds_whatever_the_random_number_is(failures in 1u32.., random in 0.0..=1.0f64) {
            let wait = wait(failures, random, None);
            prop_assert!(wait >= Duration::from_millis(500) && wait <= LONGEST);
        }

        #[test]
        fn a_requested_wait_is_honoured_up_to_a_quarter_of_an_hour(failures in 1u32..20, requested in 0u64..100_000) {
            let requested = Duration::from_secs(requested);
            let wait = wait(failures, 0.5, Some(requested));
            prop_assert!(wait >= requested.min(LONGEST_REQUESTED) && wait <= LONGEST_REQUESTED);
        }
    }
}
