//! How long a token lives, and when it is time for the next. Pure: the time is an argument.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use reqwest::header::HeaderValue;
use tokio::time::Instant;

use crate::astran::diagnostics::{Lives, Renewal};

/// A moment by both clocks: the monotonic one stands still while a machine is suspended, the wall clock can be set.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    pub(super) instant: Instant,
    pub(super) wall: SystemTime,
}

impl Now {
    pub(super) fn read() -> Self {
        Self { instant: Instant::now(), wall: SystemTime::now() }
    }

    /// The time since then, by whichever clock says more: a token held too short costs a refresh, one held too long a 401.
    fn since(&self, then: &Self) -> Duration {
        let wall = self.wall.duration_since(then.wall).unwrap_or(Duration::ZERO);
        self.instant.saturating_duration_since(then.instant).max(wall)
    }
}

/// A life that began at a moment; `None` where its length is unknown, so that only a refusal tells its end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lifetime {
    from: Now,
    length: Option<Duration>,
}

impl Lifetime {
    /// `from` is taken before the request was sent: the server's count can't have begun earlier.
    pub(super) fn new(from: Now, length: Option<Duration>) -> Self {
        Self { from, length }
    }

    pub(super) fn length(&self) -> Option<Duration> {
        self.length
    }

    pub(super) fn age(&self, now: &Now) -> Duration {
        now.since(&self.from)
    }

    fn left(&self, now: &Now) -> Duration {
        self.length.map_or(Duration::MAX, |l| l.saturating_sub(self.age(now)))
    }

    pub(super) fn lives(&self, now: &Now) -> bool {
        self.left(now) > Duration::ZERO
    }

    /// Whether it is so near its end that the next should be fetched: 30 s or a fifth of its life, whichever is less.
    pub(super) fn due(&self, now: &Now) -> bool {
        self.length.is_some_and(|l| self.left(now) <= (l / 5).min(Duration::from_secs(30)))
    }

    /// Whether at least half of it remains.
    pub(super) fn good_part_left(&self, now: &Now) -> bool {
        self.length.is_none_or(|l| self.left(now) >= l / 2)
    }
}

/// An access token, ready to be sent.
#[derive(Debug)]
pub(in crate::astran) struct Token {
    pub(super) serial: u64,
    /// Marked sensitive, so that its `Debug` shows nothing.
    pub(super) header: HeaderValue,
    pub(super) life: Lifetime,
    /// It came in place of one that the service refused.
    pub(super) replacement: bool,
    /// The session nears its end: its tokens live less than half as long as usual.
    pub(super) shrunk: bool,
    /// How the session goes on after it.
    pub(super) renewal: Renewal,
    accepted: AtomicBool,
}

impl Token {
    pub(super) fn new(serial: u64, header: HeaderValue, life: Lifetime, replacement: bool, shrunk: bool) -> Self {
        let renewal = Renewal::Login;
        Self { serial, header, life, replacement, shrunk, renewal, accepted: AtomicBool::new(false) }
    }

    /// How long it and its session live.
    pub(in crate::astran) fn lives(&self) -> Lives {
        Lives { access: self.life.length(), refresh: self.renewal }
    }

    /// The value of the `Authorization` header.
    pub(in crate::astran) fn header(&self) -> HeaderValue {
        self.header.clone()
    }

    /// Whether its life is over by now: a refusal then says nothing about the login.
    pub(in crate::astran) fn is_over(&self) -> bool {
        !self.life.lives(&Now::read())
    }

    /// The service answered a call with it otherwise than with 401.
    pub(in crate::astran) fn accept(&self) {
        if !self.accepted.load(Ordering::Relaxed) {
            self.accepted.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn accepted(&self) -> bool {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Whether a call that wants it can take it without a look at anything else.
    pub(super) fn fits(&self, need: Need, now: &Now) -> bool {
        let fresh = self.life.lives(now) && !self.life.due(now) && !self.shrunk;
        match need {
            Need::Short => fresh,
            Need::Long => fresh && self.life.good_part_left(now),
            Need::Instead(refused) => self.serial != refused && self.life.lives(now),
        }
    }

    /// Whether a call can go on with it if there is nothing better.
    pub(super) fn serves(&self, need: Need, now: &Now) -> bool {
        self.life.lives(now) && need != Need::Instead(self.serial)
    }
}

/// What a token is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::astran) enum Need {
    /// A call that is over soon.
    Short,
    /// A call whose end may be minutes away, where the token may be looked at again.
    Long,
    /// A call that was refused with the token of this serial number.
    Instead(u64),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn later(now: Now, instant: u64, wall: u64) -> Now {
        Now { instant: now.instant + Duration::from_millis(instant), wall: now.wall + Duration::from_millis(wall) }
    }

    #[test]
    fn the_next_is_due_a_fifth_or_thirty_seconds_ahead() {
        let now = Now::read();
        for (length, due) in [(5_000, 4_000), (300_000, 270_000), (100_000, 80_000)] {
            let life = Lifetime::new(now, Some(Duration::from_millis(length)));
            assert!(!life.due(&later(now, due - 1, due - 1)) && life.due(&later(now, due, due)), "{length}");
            assert!(life.lives(&later(now, length - 1, 0)) && !life.lives(&later(now, length, 0)));
            assert!(life.good_part_left(&later(now, length / 2, 0)));
            assert!(!life.good_part_left(&later(now, length / 2 + 1, 0)));
        }
    }

    #[test]
    fn a_suspended_machine_is_noticed_by_the_wall_clock() {
        let now = Now::read();
        let life = Lifetime::new(now, Some(Duration::from_secs(300)));
        assert!(!life.lives(&later(now, 1, 300_000)));
        let set_back = Now { instant: now.instant, wall: now.wall - Duration::from_secs(3600) };
        assert!(life.lives(&set_back));
    }

    #[test]
    fn an_unknown_life_ends_only_by_a_refusal() {
        let now = Now::read();
        let life = Lifetime::new(now, None);
        let late = later(now, 1 << 40, 1 << 40);
        assert!(life.lives(&late) && !life.due(&late) && life.good_part_left(&late));
    }

    #[test]
    fn a_token_shows_nothing() {
        let mut header = HeaderValue::from_static("Bearer hidden");
        header.set_sensitive(true);
        let token = Token::new(1, header, Lifetime::new(Now::read(), None), false, false);
        assert!(!format!("{token:?}").contains("hidden"));
    }
}
