//! The limit for the rate of all uploads together: each upload asks here before it sends a share of its file.
//!
//! The shares are small and are given out in the order in which the uploads ask, so a large file leaves room for the others.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::ZonedDateTime;
use jiff::civil::Time;
use tokio::time::Instant;

use crate::config::RateLimit;

/// A share takes this part of a second, so that a low rate is not sent in bursts.
const SHARES_A_SECOND: u64 = 20;
/// Smaller shares would cost more than they smooth, in bytes.
const LEAST_SHARE: u64 = 1024;

/// Gives out shares, no more of them than the limit allows.
#[derive(Debug)]
pub struct RateLimiter {
    /// Whether there is a limit at any time of the day; without one nothing below is looked at.
    is_on: AtomicBool,
    limit: Mutex<RateLimit>,
    spent: Mutex<Spent>,
    time_of_day: fn() -> Time,
}

/// Until when the bytes that were given out are paid for. Pure: the time is an argument.
#[derive(Debug, Default)]
struct Spent {
    until: Option<Instant>,
}

impl Spent {
    /// Spends so many bytes at this rate. Returns how long to wait before they are sent.
    fn spend(&mut self, bytes: u64, rate: u64, now: Instant) -> Duration {
        // Time in which nothing was sent is not made up for: the line is used by others too.
        let start = self.until.map_or(now, |until| until.max(now));
        #[allow(clippy::cast_precision_loss)]
        let takes = Duration::from_secs_f64(bytes as f64 / rate as f64);
        self.until = Some(start + takes);
        start - now
    }
}

impl Default for RateLimiter {
    fn default() -> Self {
        Self::with_clock(|| ZonedDateTime::now().time())
    }
}

impl RateLimiter {
    /// No limit yet; `time_of_day` is the local time.
    fn with_clock(time_of_day: fn() -> Time) -> Self {
        Self { is_on: AtomicBool::new(false), limit: Mutex::default(), spent: Mutex::default(), time_of_day }
    }

    /// Sets another limit. It holds from the next share on, for uploads in flight too.
    pub fn set(&self, limit: RateLimit) {
        self.is_on.store(!limit.is_off(), Ordering::Relaxed);
        *locked(&self.limit) = limit;
    }

    /// The limit at this moment, in bytes a second.
    pub fn current(&self) -> Option<u64> {
        if !self.is_on.load(Ordering::Relaxed) {
            return None;
        }
        locked(&self.limit).at((self.time_of_day)())
    }

    /// Gives out a share of `wanted` bytes at most: its size in bytes, and how long the upload waits before it sends them. What an upload
    /// that is cut off does not send is lost for the others; it is one share.
    pub(super) fn share(&self, wanted: u64) -> (u64, Duration) {
        let Some(rate) = self.current() else { return (wanted, Duration::ZERO) };
        let share = wanted.min((rate / SHARES_A_SECOND).max(LEAST_SHARE));
        (share, locked(&self.spent).spend(share, rate, Instant::now()))
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::sleep;

    use super::*;
    use proptest::prelude::*;

    const MIB: u64 = 1 << 20;

    fn limiter(text: &str) -> Arc<RateLimiter> {
        let limiter = RateLimiter::with_clock(Time::midnight);
        limiter.set(RateLimit::parse(text).unwrap());
        Arc::new(limiter)
    }

    async fn send(limiter: &RateLimiter, mut bytes: u64) -> Duration {
        let start = Instant::now();
        while bytes > 0 {
            let (share, wait) = limiter.share(bytes.min(256 << 10));
            sleep(wait).await;
            bytes -= share;
        }
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn two_uploads_together_send_no_more_than_the_rate() {
        let limiter = limiter("1MiB");
        let start = Instant::now();
        tokio::join!(send(&limiter, 5 * MIB), send(&limiter, 5 * MIB));
        let took = start.elapsed().as_secs_f64();
        assert!((9.9..10.2).contains(&took), "{took}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_small_file_does_not_wait_for_a_large_one() {
        let limiter = limiter("1MiB");
        let large = tokio::spawn({
            let limiter = Arc::clone(&limiter);
            async move { send(&limiter, 1000 * MIB).await }
        });
        sleep(Duration::from_secs(1)).await;
        assert!(send(&limiter, 4096).await < Duration::from_millis(200));
        large.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn another_limit_holds_at_once_for_uploads_in_flight() {
        let limiter = limiter("10KiB");
        let upload = tokio::spawn({
            let limiter = Arc::clone(&limiter);
            async move { send(&limiter, 100 * MIB).await }
        });
        sleep(Duration::from_secs(60)).await;
        limiter.set(RateLimit::parse("100MiB").unwrap());
        let took = upload.await.unwrap();
        assert!(took < Duration::from_secs(62), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_nothing_waits() {
        let limiter = RateLimiter::default();
        assert_eq!(send(&limiter, 1000 * MIB).await, Duration::ZERO);
        limiter.set(RateLimit::parse("1MiB").unwrap());
        limiter.set(RateLimit::parse("off").unwrap());
        assert_eq!(send(&limiter, 1000 * MIB).await, Duration::ZERO);
    }

    proptest! {
        /// In every window of time no more is sent than its length allows, and one share.
        #[test]
        fn no_window_has_more_than_its_bytes(
            asked in proptest::collection::vec((0u64..3_000, 1u64..300_000), 1..60),
            rate in 10_240u64..10_000_000,
        ) {
            let (mut spent, mut now, mut sent) = (Spent::default(), Instant::now(), Vec::new());
            for (pause, bytes) in asked {
                now += Duration::from_millis(pause);
                now += spent.spend(bytes, rate, now);
                sent.push((now, bytes));
            }
            for (first, (begin, _)) in sent.iter().enumerate() {
                let mut total = 0u64;
                for (end, bytes) in &sent[first..] {
                    // In bytes times nanoseconds, without rounding. Each wait is rounded to a nanosecond.
                    let allowed = ((*end - *begin).as_nanos() + sent.len() as u128) * u128::from(rate);
                    prop_assert!(u128::from(total) * 1_000_000_000 <= allowed, "{total} bytes");
                    total += bytes;
                }
            }
        }
    }
}
