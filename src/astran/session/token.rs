//! A token, how long it lives, and when it is time for the next one. Pure: the time is an argument.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, RwLock};
use std::time::{Duration, SystemTime};

use reqwest::header::HeaderValue;
use tokio::time::Instant;

/// How long the tokens of a session live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TokenLifetimes {
    /// The lifetime of an access token; `None` where the service does not tell.
    pub access: Option<Duration>,
    /// How the session goes on after it.
    pub renewal: Renewal,
}

/// How a session goes on when its access token expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Renewal {
    /// By another login: there is no refresh token.
    Login,
    /// By a refresh token that does not expire by itself.
    Unlimited,
    /// By a refresh token that expires if it is not used for so long.
    Within(Duration),
}

/// The current token of a session: calls read it without asking the session's task.
pub(super) type CurrentToken = Arc<RwLock<Option<Arc<Token>>>>;

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

    /// The time since then, by the clock that says more: a token that is dropped too early costs a refresh, one that is used too long a
    /// 401.
    fn since(&self, then: &Self) -> Duration {
        let wall = self.wall.duration_since(then.wall).unwrap_or(Duration::ZERO);
        self.instant.saturating_duration_since(then.instant).max(wall)
    }
}

/// A lifetime that began at a moment. Its length may be unknown: then only a refusal by the service ends it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lifetime {
    from: Now,
    length: Option<Duration>,
}

impl Lifetime {
    /// `from` is the moment before the request was sent: the server can't have begun to count earlier.
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

    pub(super) fn is_alive(&self, now: &Now) -> bool {
        self.left(now) > Duration::ZERO
    }

    /// Returns whether the next token should be fetched: 30 s or a fifth of the lifetime is left, whichever is less.
    pub(super) fn is_near_end(&self, now: &Now) -> bool {
        self.length.is_some_and(|l| self.left(now) <= (l / 5).min(Duration::from_secs(30)))
    }

    /// Returns whether at least half of it is left.
    pub(super) fn half_is_left(&self, now: &Now) -> bool {
        self.length.is_none_or(|l| self.left(now) >= l / 2)
    }
}

/// An access token, ready to be sent.
#[derive(Debug)]
pub(in crate::astran) struct Token {
    pub(super) serial: u64,
    /// The value of the `Authorization` header. Marked sensitive, so that its `Debug` shows nothing.
    pub(super) header: HeaderValue,
    pub(super) lifetime: Lifetime,
    /// This token replaces one that the service refused.
    pub(super) replacement: bool,
    /// The session nears its end: its tokens live less than half as long as after the login.
    pub(super) shortened: bool,
    /// How the session goes on after this token.
    pub(super) renewal: Renewal,
    /// The service answered a call with this token otherwise than with 401.
    pub(super) accepted: AtomicBool,
}

impl Token {
    pub(in crate::astran) fn lifetimes(&self) -> TokenLifetimes {
        TokenLifetimes { access: self.lifetime.length(), renewal: self.renewal }
    }

    /// The value of the `Authorization` header.
    pub(in crate::astran) fn header(&self) -> HeaderValue {
        self.header.clone()
    }

    /// Returns whether its lifetime is over: a refusal then says nothing about the login.
    pub(in crate::astran) fn is_over(&self) -> bool {
        !self.lifetime.is_alive(&Now::read())
    }

    /// Remembers that the service answered a call with this token otherwise than with 401.
    pub(in crate::astran) fn accept(&self) {
        if !self.accepted.load(Ordering::Relaxed) {
            self.accepted.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn is_accepted(&self) -> bool {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Returns whether a call can take this token, and no better one is needed.
    pub(super) fn is_fresh_for(&self, need: TokenNeed, now: &Now) -> bool {
        let fresh = self.lifetime.is_alive(now) && !self.lifetime.is_near_end(now) && !self.shortened;
        match need {
            TokenNeed::Short => fresh,
            TokenNeed::Long => fresh && self.lifetime.half_is_left(now),
            TokenNeed::Replacement(refused) => self.serial != refused && self.lifetime.is_alive(now),
        }
    }

    /// Returns whether a call can go on with this token if there is no better one.
    pub(super) fn is_usable_for(&self, need: TokenNeed, now: &Now) -> bool {
        self.lifetime.is_alive(now) && need != TokenNeed::Replacement(self.serial)
    }
}

/// Which token a call needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::astran) enum TokenNeed {
    /// Any living token: the call is short.
    Short,
    /// A token with half of its lifetime left: the call may take minutes, and the service may check the token again at its end.
    Long,
    /// Another token than the one with this serial number, which the service refused.
    Replacement(u64),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn later(now: Now, instant: u64, wall: u64) -> Now {
        Now { instant: now.instant + Duration::from_millis(instant), wall: now.wall + Duration::from_millis(wall) }
    }

    #[test]
    fn a_token_is_near_its_end_a_fifth_or_thirty_seconds_before() {
        let now = Now::read();
        for (length, due) in [(5_000, 4_000), (300_000, 270_000), (100_000, 80_000)] {
            let lifetime = Lifetime::new(now, Some(Duration::from_millis(length)));
            assert!(
                !lifetime.is_near_end(&later(now, due - 1, due - 1)) && lifetime.is_near_end(&later(now, due, due)),
                "{length}"
            );
            assert!(lifetime.is_alive(&later(now, length - 1, 0)) && !lifetime.is_alive(&later(now, length, 0)));
            assert!(lifetime.half_is_left(&later(now, length / 2, 0)));
            assert!(!lifetime.half_is_left(&later(now, length / 2 + 1, 0)));
        }
    }

    #[test]
    fn a_suspended_machine_is_noticed_by_the_wall_clock() {
        let now = Now::read();
        let lifetime = Lifetime::new(now, Some(Duration::from_secs(300)));
        assert!(!lifetime.is_alive(&later(now, 1, 300_000)));
        let set_back = Now { instant: now.instant, wall: now.wall - Duration::from_secs(3600) };
        assert!(lifetime.is_alive(&set_back));
    }

    #[test]
    fn a_lifetime_of_unknown_length_never_ends_by_itself() {
        let now = Now::read();
        let lifetime = Lifetime::new(now, None);
        let late = later(now, 1 << 40, 1 << 40);
        assert!(lifetime.is_alive(&late) && !lifetime.is_near_end(&late) && lifetime.half_is_left(&late));
    }

    #[test]
    fn a_token_shows_nothing() {
        let mut header = HeaderValue::from_static("Bearer hidden");
        header.set_sensitive(true);
        let token = Token {
            serial: 1,
            header,
            lifetime: Lifetime::new(Now::read(), None),
            replacement: false,
            shortened: false,
            renewal: Renewal::Login,
            accepted: AtomicBool::new(false),
        };
        assert!(!format!("{token:?}").contains("hidden"));
    }
}
