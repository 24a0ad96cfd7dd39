//! What is remembered of an account's logins, and what follows from that. Pure: times come in from outside.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::measure::utc;
use crate::secret::Source;

/// How long a refused secret that has never worked is not tried again: a person must put the right one in its place.
const NEVER_WORKED: Duration = Duration::from_secs(24 * 3600);
/// The same for a secret that has worked: the account may be locked only for a while, which takes 15 minutes at most. Doubles with each
/// further refusal up to [`NEVER_WORKED`], after which a login service has forgotten the failures before (Keycloak: 12 h).
const WORKED: Duration = Duration::from_secs(16 * 60);
/// A clock that was set back by more than this makes the time of the refusal worthless.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(300);
/// The longest reason that is kept, in characters.
const REASON: usize = 1000;

/// What is remembered of an account's logins.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    version: u32,
    /// The secret with which the last login was granted, and when.
    granted: Option<Granted>,
    refused: Option<Refused>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Granted {
    secret: String,
    at: u64,
}

/// A refused login. Its times are in milliseconds since 1970.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Refused {
    secret: String,
    at: u64,
    /// How many logins with this secret were refused in a row.
    times: u32,
    /// What the service said, in the words of the error message.
    reason: String,
}

impl Refused {
    pub(super) fn new(secret: String, now: SystemTime, reason: &str) -> Self {
        Self { secret, at: milliseconds(now), times: 1, reason: reason.chars().take(REASON).collect() }
    }
}

impl Record {
    const VERSION: u32 = 1;

    /// The record that a file holds; an empty one where it holds none.
    pub(super) fn parse(bytes: &[u8]) -> Self {
        serde_json::from_slice(bytes).ok().filter(|record: &Self| record.version == Self::VERSION).unwrap_or_default()
    }

    pub(super) fn granted(&mut self, secret: String, now: SystemTime) {
        *self =
            Self { version: Self::VERSION, granted: Some(Granted { secret, at: milliseconds(now) }), refused: None };
    }

    pub(super) fn refused(&mut self, refused: Refused) {
        let before = self.refused.take().filter(|before| before.secret == refused.secret);
        let times = before.map_or(1, |before| before.times.saturating_add(1));
        (self.version, self.refused) = (Self::VERSION, Some(Refused { times, ..refused }));
    }

    /// Whether a login with this secret was granted since then.
    pub(super) fn was_granted_since(&self, secret: &str, start: SystemTime) -> bool {
        let start = milliseconds(start);
        self.granted.as_ref().is_some_and(|granted| granted.secret == secret && granted.at >= start)
    }

    /// Why no login with this secret may be sent now; `None` where one may.
    pub(super) fn refuses(&self, secret: &str, user: &str, sources: &[Source], now: SystemTime) -> Option<String> {
        let refused = self.refused.as_ref().filter(|refused| refused.secret == secret)?;
        let (at, until) = (time(refused.at), time(refused.at) + self.wait(refused));
        if now >= until || now + CLOCK_TOLERANCE < at {
            return None;
        }
        Some(message(refused, user, sources, until))
    }

    fn wait(&self, refused: &Refused) -> Duration {
        match &self.granted {
            Some(granted) if granted.secret == refused.secret => {
                WORKED.saturating_mul(2u32.saturating_pow(refused.times.saturating_sub(1))).min(NEVER_WORKED)
            }
            _ => NEVER_WORKED,
        }
    }
}

fn message(refused: &Refused, user: &str, sources: &[Source], until: SystemTime) -> String {
    let places: Vec<String> = sources.iter().map(Source::describe).collect();
    let seen = sources.iter().all(|source| matches!(source, Source::File(_)));
    let mend = if seen {
        "put the right secret there; or mend the account and run `astran-backup check`, which tries the login at once, or give --retry-login"
    } else {
        "mend the secret or the account, and run `astran-backup check`, which tries the login at once, or give --retry-login; a change of \
         this secret can't be seen from outside"
    };
    format!(
        "the login of `{user}` was refused at {}, and is not tried again with the same secret ({}), because each further try may lock the \
         account: {mend}; otherwise it is tried again after {}. The refusal was: {}",
        utc(time(refused.at)),
        places.join(", "),
        utc(until),
        refused.reason
    )
}

fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A file may hold any number: what is beyond the year 9999 counts as that.
fn time(milliseconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(milliseconds.min(253_000_000_000_000))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn start() -> SystemTime {
        SystemTime::UNIX_EPOCH + HOUR * 500_000
    }

    fn file() -> [Source; 1] {
        [Source::File("/p".into())]
    }

    /// How long after its refusal the secret is not tried again.
    fn waits(record: &Record, refused_at: SystemTime) -> Duration {
        let until = |wait: Duration| record.refuses("s", "me", &file(), refused_at + wait).is_some();
        let minutes = (0..=24 * 60).take_while(|minutes| until(Duration::from_secs(minutes * 60))).count();
        Duration::from_secs(60) * u32::try_from(minutes).unwrap()
    }

    #[test]
    fn a_secret_that_never_worked_waits_a_day_and_one_that_worked_longer_each_time() {
        let mut record = Record::default();
        record.refused(Refused::new("s".into(), start(), "no"));
        assert_eq!(waits(&record, start()), 24 * HOUR);
        record.granted("s".into(), start());
        assert_eq!(waits(&record, start()), Duration::ZERO, "a granted login forgets the refusal");
        let mut minutes = Vec::new();
        for _ in 0..8 {
            record.refused(Refused::new("s".into(), start(), "no"));
            minutes.push(waits(&record, start()).as_secs() / 60);
        }
        assert_eq!(minutes, [16, 32, 64, 128, 256, 512, 1024, 1440]);
        record.refused(Refused::new("new".into(), start(), "no"));
        assert!(record.refuses("s", "me", &file(), start()).is_none(), "another secret than the refused one");
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_make_a_refusal_last() {
        let mut record = Record::default();
        record.refused(Refused::new("s".into(), start(), "no"));
        assert!(record.refuses("s", "me", &file(), start() - Duration::from_secs(60)).is_some());
        assert!(record.refuses("s", "me", &file(), start() - HOUR).is_none());
    }

    #[test]
    fn the_message_says_when_and_why_not_again_and_what_to_do() {
        let mut record = Record::default();
        record.refused(Refused::new("s".into(), SystemTime::UNIX_EPOCH, "wrong password"));
        let said = |sources: &[Source]| record.refuses("s", "me", sources, SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(
            said(&file()),
            "the login of `me` was refused at 1970-01-01T00:00:00Z, and is not tried again with the same secret (password file /p), \
             because each further try may lock the account: put the right secret there; or mend the account and run `astran-backup check`, \
             which tries the login at once, or give --retry-login; otherwise it is tried again after 1970-01-02T00:00:00Z. The refusal was: wrong password"
        );
        assert!(said(&[Source::Given("x".to_owned().into())]).contains("can't be seen from outside"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_record_or_none_and_no_record_makes_the_program_panic(bytes: Vec<u8>, at: u64, times: u32) {
            Record::parse(&bytes);
            let refused = Some(Refused { secret: "s".into(), at, times, reason: String::new() });
            let granted = Some(Granted { secret: "s".into(), at });
            let record = Record { version: 1, granted, refused };
            record.refuses("s", "me", &[], start());
            let text = serde_json::to_vec(&record).unwrap();
            prop_assert_eq!(Record::parse(&text), record);
        }
    }
}
