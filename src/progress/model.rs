//! What is shown of a moment: bars, a line a minute, what a stop waits for. Pure: moments and times go in, lines come out.

use std::time::Duration;

use tokio::time::Instant;

use super::layout::{bar, fit, wrapped};
use crate::measure::{count, size, span};
use crate::observe::rates::{Rate, Rates, time_left};
use crate::observe::transfers::TransferInFlight;
use crate::printable::printable;

/// An upload gets a bar after so long: bars of small files would only flicker.
const LASTS: Duration = Duration::from_millis(500);
/// The bar of all stays for so long between two uploads.
const RESTS: Duration = Duration::from_secs(1);
/// Uploads that have a bar; of more only the number is shown.
const MOST_BARS: usize = 8;
/// Rows of the terminal that bars leave to others: the bar of all, the number of further uploads, and some lines above.
const OTHER_ROWS: usize = 4;

/// What a run is at, at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Moment {
    pub(super) transfers: Vec<TransferInFlight>,
    /// How many bytes were sent since the start.
    pub(super) sent: u64,
    /// How many files were stored since the start, and their bytes.
    pub(super) stored: u64,
    pub(super) stored_bytes: u64,
    /// How many files wait, those in flight included, and their bytes; `None` where that is not known.
    pub(super) waiting: Option<(u64, u64)>,
}

impl Moment {
    /// How many bytes of the uploads in flight are sent, and how many they have.
    fn in_flight(&self) -> (u64, u64) {
        self.transfers.iter().fold((0, 0), |(sent, size), it| (sent + it.sent, size + it.size))
    }

    /// How many files are to go, and their bytes.
    fn to_go(&self) -> (u64, u64) {
        let in_flight = (self.transfers.len() as u64, self.in_flight().1);
        // The watch counts once in a second.
        self.waiting.map_or(in_flight, |waiting| (waiting.0.max(in_flight.0), waiting.1.max(in_flight.1)))
    }
}

/// A stop that waits for uploads in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stopping {
    /// When the uploads that are still in flight are cut.
    pub(super) ends: Instant,
}

impl Stopping {
    /// What the stop waits for, and how long at most.
    pub(super) fn line(self, in_flight: usize, now: Instant, at_terminal: bool) -> String {
        let again = if at_terminal { "press Ctrl-C again" } else { "signal again" };
        if in_flight == 0 {
            return format!(
                "stopping: no upload is under way, what is stored is finished first; {again} to end at once"
            );
        }
        // Rounded up: a second that has begun may still be used.
        let left = self.ends.saturating_duration_since(now).as_millis().div_ceil(1000);
        format!("stopping: {} may take {left} s more; {again} to cut {}", uploads(in_flight), them(in_flight))
    }
}

/// The line of a second stop signal. It has no number: the uploads may be cut before anybody has counted them.
pub(super) const CUT: &str = "stopping at once: uploads that are still under way are cut, their files stay whole";

fn uploads(number: usize) -> String {
    if number == 1 { "1 upload under way".to_owned() } else { format!("{} uploads under way", count(number as u64)) }
}

fn them(number: usize) -> &'static str {
    if number == 1 { "it" } else { "them" }
}

/// The bars of a run.
#[derive(Debug, Default)]
pub(super) struct Bars {
    rates: Rates,
    all: Rate,
    /// Since when uploads have been in flight, with short rests, and when one was seen last.
    busy: Option<(Instant, Instant)>,
    /// How much of the bar of all was filled: a file that is sent counts again only when its removal is over, and no bar goes back.
    filled: u64,
}

impl Bars {
    /// The lines for a terminal with these columns and rows.
    pub(super) fn lines(
        &mut self,
        moment: &Moment,
        stopping: Option<Stopping>,
        (columns, rows): (u16, u16),
        now: Instant,
    ) -> Vec<String> {
        self.rates.look(&moment.transfers, now);
        self.all.look(moment.sent, now);
        self.note_busy(moment, now);
        // The last column stays free: some terminals begin a new line there.
        let width = usize::from(columns).saturating_sub(1).max(1);
        let most = usize::from(rows).saturating_sub(OTHER_ROWS).clamp(1, MOST_BARS);
        let long: Vec<_> = moment.transfers.iter().filter(|it| now.duration_since(it.started) >= LASTS).collect();
        let mut lines: Vec<String> = long.iter().take(most).map(|upload| self.upload(upload, width, now)).collect();
        if long.len() > most {
            lines.push(fit(&format!("and {} more", count((long.len() - most) as u64)), width));
        }
        let (to_go, _) = moment.to_go();
        let is_busy = self.busy.is_some_and(|(since, _)| now.duration_since(since) >= LASTS);
        if is_busy && moment.stored + to_go > 1 {
            lines.push(self.total(moment, width, now));
        }
        if let Some(stopping) = stopping {
            lines.extend(wrapped(&stopping.line(moment.transfers.len(), now, true), width));
        }
        lines
    }

    fn note_busy(&mut self, moment: &Moment, now: Instant) {
        self.busy = match self.busy {
            _ if !moment.transfers.is_empty() => Some((self.busy.map_or(now, |(since, _)| since), now)),
            Some((_, last)) if now.duration_since(last) >= RESTS => None,
            busy => busy,
        };
    }

    fn upload(&self, upload: &TransferInFlight, width: usize, now: Instant) -> String {
        let name = printable(&upload.path.to_string_lossy());
        let &TransferInFlight { sent, size: whole, .. } = upload;
        if sent >= whole {
            return bar(&name, (sent, whole), &[format!("{} sent, the store's answer is to come", size(whole))], width);
        }
        let rate = self.rates.of(upload, now);
        bar(&name, (sent, whole), &numbers((sent, whole), rate, time_left(upload, rate)), width)
    }

    fn total(&mut self, moment: &Moment, width: usize, now: Instant) -> String {
        let (to_go, bytes_to_go) = moment.to_go();
        let whole = moment.stored_bytes + bytes_to_go;
        self.filled = self.filled.max(moment.stored_bytes + moment.in_flight().0).min(whole);
        let rate = self.all.get(moment.sent, now);
        let left = moment.waiting.and(rate).filter(|rate| *rate > 0);
        let left = left.map(|rate| Duration::from_secs((whole - self.filled).div_ceil(rate)));
        let name = format!("{} stored, {} to go", count(moment.stored), count(to_go));
        bar(&name, (self.filled, whole), &numbers((self.filled, whole), rate, left), width)
    }
}

/// How far something is, in words: the longest text first.
fn numbers((sent, whole): (u64, u64), rate: Option<u64>, left: Option<Duration>) -> Vec<String> {
    let sizes = format!("{} of {}", size(sent), size(whole));
    let Some(rate) = rate else { return vec![sizes] };
    let with_rate = format!("{sizes}, {}/s", size(rate));
    let Some(left) = left else { return vec![with_rate, sizes] };
    vec![format!("{with_rate}, {} left", span(left)), with_rate, sizes]
}

/// A line a minute, where there is no terminal.
#[derive(Debug, Default)]
pub(super) struct Minutes {
    /// The last look, and how many bytes were sent then.
    before: Option<(Instant, u64)>,
}

impl Minutes {
    /// The line, if anything is under way or was sent since the last look.
    pub(super) fn line(&mut self, moment: &Moment, now: Instant) -> Option<String> {
        let before = self.before.replace((now, moment.sent));
        let sent = before.map_or(moment.sent, |(_, sent)| moment.sent - sent);
        if moment.transfers.is_empty() && sent == 0 {
            return None;
        }
        let number = match moment.transfers.len() {
            1 => "1 upload".to_owned(),
            many => format!("{} uploads", count(many as u64)),
        };
        let (done, whole) = moment.in_flight();
        let seconds = before.map_or(super::MINUTE, |(at, _)| now.duration_since(at)).as_secs().max(1);
        let sizes = if whole > 0 { format!(": {} of {}", size(done), size(whole)) } else { String::new() };
        let stored = count(moment.stored);
        Some(format!("{number} in flight{sizes}, {}/s; {stored} stored so far", size(sent / seconds)))
    }
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;
