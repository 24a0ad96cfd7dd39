//! How fast each upload is, by what it had sent some seconds before. Pure: the time is an argument.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::observe::transfers::TransferInFlight;

/// A rate is that of the last so many seconds, so that it follows the line without jumping.
const SPAN: Duration = Duration::from_secs(5);
/// In a shorter time nothing can be said.
const LEAST: Duration = Duration::from_millis(400);
/// Looks that come sooner after one another are not kept.
const STEP: Duration = Duration::from_millis(200);

/// How many bytes had been sent at earlier looks, of one upload or of all together.
#[derive(Debug, Default)]
pub(crate) struct Rate(VecDeque<(Instant, u64)>);

impl Rate {
    /// Takes note of how many bytes are sent.
    pub(crate) fn look(&mut self, sent: u64, now: Instant) {
        let seen = &mut self.0;
        if seen.back().is_some_and(|(_, before)| *before > sent) {
            // The body is sent once more.
            seen.clear();
        }
        if seen.back().is_none_or(|(at, _)| now.duration_since(*at) >= STEP) {
            seen.push_back((now, sent));
        }
        while seen.len() > 2 && seen.get(1).is_some_and(|(at, _)| now.duration_since(*at) >= SPAN) {
            seen.pop_front();
        }
    }

    /// The rate in bytes a second; `None` as long as nothing can be said.
    pub(crate) fn get(&self, sent: u64, now: Instant) -> Option<u64> {
        let (at, before) = self.0.front().copied()?;
        let took = now.duration_since(at);
        if took < LEAST {
            return None;
        }
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let rate = (sent.saturating_sub(before) as f64 / took.as_secs_f64()) as u64;
        Some(rate)
    }
}

/// What each upload had sent at earlier looks.
#[derive(Debug, Default)]
pub(crate) struct Rates(BTreeMap<u64, Rate>);

impl Rates {
    /// Takes note of how far the uploads are, and forgets those that have ended.
    pub(crate) fn look(&mut self, uploads: &[TransferInFlight], now: Instant) {
        self.0.retain(|id, _| uploads.iter().any(|upload| upload.id == *id));
        for upload in uploads {
            let begun = || Rate(VecDeque::from([(upload.started, 0)]));
            self.0.entry(upload.id).or_insert_with(begun).look(upload.sent, now);
        }
    }

    /// The rate of an upload in bytes a second; `None` as long as nothing can be said.
    pub(crate) fn of(&self, upload: &TransferInFlight, now: Instant) -> Option<u64> {
        self.0.get(&upload.id)?.get(upload.sent, now)
    }
}

/// How long the rest takes at this rate; `None` where nothing moves.
pub(crate) fn time_left(upload: &TransferInFlight, rate: Option<u64>) -> Option<Duration> {
    let left = upload.size.saturating_sub(upload.sent);
    rate.filter(|rate| *rate > 0).map(|rate| Duration::from_secs(left.div_ceil(rate)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn upload(started: Instant, sent: u64) -> TransferInFlight {
        TransferInFlight { id: 1, folder: "/w".into(), path: "a".into(), size: 1000, sent, started }
    }

    #[test]
    fn a_rate_is_that_of_the_last_seconds() {
        let start = Instant::now();
        let mut rates = Rates::default();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        rates.look(&[upload(start, 0)], start);
        assert_eq!(rates.of(&upload(start, 0), start), None, "nothing can be said yet");
        // A hundred a second for ten seconds, then nothing.
        for second in 1..=10 {
            rates.look(&[upload(start, second * 100)], at(second));
        }
        assert_eq!(rates.of(&upload(start, 1000), at(10)), Some(100));
        for second in 11..=20 {
            rates.look(&[upload(start, 1000)], at(second));
        }
        assert_eq!(rates.of(&upload(start, 1000), at(20)), Some(0));
    }

    #[test]
    fn an_upload_that_begins_again_and_one_that_ended_are_forgotten() {
        let start = Instant::now();
        let mut rates = Rates::default();
        let later = start + Duration::from_secs(1);
        rates.look(&[upload(start, 900)], start + Duration::from_millis(300));
        rates.look(&[upload(start, 10)], later);
        assert_eq!(rates.of(&upload(start, 110), later + Duration::from_secs(1)), Some(100));
        rates.look(&[], later);
        assert_eq!(rates.of(&upload(start, 10), later), None);
    }

    #[test]
    fn the_time_left_follows_from_the_rate() {
        let upload = upload(Instant::now(), 400);
        assert_eq!(time_left(&upload, Some(100)), Some(Duration::from_secs(6)));
        assert_eq!([time_left(&upload, Some(0)), time_left(&upload, None)], [None, None]);
    }
}
