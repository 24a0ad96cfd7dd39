//! Decides when an account is locked. Pure: the time is an argument.

use std::time::{Duration, Instant};

use crate::sandbox::options::BruteForce;

/// The failed logins of one account.
#[derive(Debug, Default)]
pub(super) struct Lockout {
    failures: u32,
    last: Option<Instant>,
    until: Option<Instant>,
}

impl Lockout {
    pub(super) fn is_locked(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// Locks the account, whatever happened before.
    pub(super) fn lock(&mut self, until: Instant) {
        self.until = Some(until);
    }

    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// Counts a failure of an account that is not locked.
    pub(super) fn failed(&mut self, now: Instant, rule: &BruteForce) {
        self.failures += 1;
        let quick = self.last.is_some_and(|last| now.duration_since(last) < rule.quick);
        let wait = match (self.failures >= rule.failures, quick) {
            (true, _) => rule.lock,
            (false, true) => rule.quick_lock,
            (false, false) => Duration::ZERO,
        };
        self.last = Some(now);
        if !wait.is_zero() {
            self.until = Some(now + wait);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn two_failures_within_a_second_lock_for_a_minute() {
        let (mut account, start) = (Lockout::default(), Instant::now());
        account.failed(start, &BruteForce::default());
        assert!(!account.is_locked(start));
        let again = start + Duration::from_millis(999);
        account.failed(again, &BruteForce::default());
        assert!(account.is_locked(again + second(59)));
        assert!(!account.is_locked(again + second(60)));
    }

    #[test]
    fn thirty_slow_failures_lock_and_a_success_forgets_them() {
        let (mut account, start) = (Lockout::default(), Instant::now());
        for n in 0..29 {
            account.failed(start + second(n * 2), &BruteForce::default());
        }
        assert!(!account.is_locked(start + second(56)));
        account.failed(start + second(58), &BruteForce::default());
        assert!(account.is_locked(start + second(58 + 899)));
        account.succeeded();
        assert!(!account.is_locked(start + second(59)));
    }
}
