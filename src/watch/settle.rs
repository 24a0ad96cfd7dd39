//! Is this file ready? Pure: looks at a file and a time go in, a verdict comes out.
//!
//! A file is taken when nobody writes it any more. What proves that depends on how it came (see [`Cause`]), on whether
//! the file system can tell of writers, and on how long nothing happened. The file's own times are compared with each
//! other only, never with a clock: copies keep old times, and a share's clock is not ours.

use std::time::Duration;

use tokio::time::Instant;

use crate::budget;
use crate::file::FileStamp;

/// How a file came to be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Renamed in: whoever renames has finished writing.
    Renamed,
    /// Closed after writing.
    Closed,
    /// Created, nothing else: a hard link, or the first moment of a file that is still to be written.
    Created,
    /// Found lying there by a scan.
    Scanned,
    /// Came back from the pipeline: it changed while it was uploaded or removed.
    Returned,
}

/// What a look at a file shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observation {
    /// Nothing of this name is there.
    Gone,
    /// A folder.
    Folder,
    /// Something that is not uploaded: a link, a pipe, a device.
    Unfit,
    /// It can't be opened: whoever uploads it finds out why, and says so.
    Unreadable,
    /// Nothing can be opened just now, for want of descriptors or memory: no fault of this file.
    Scarce,
    /// Somebody has it open for writing.
    Busy(FileStamp),
    /// The kernel says that nobody has it open for writing.
    Quiet(FileStamp),
    /// Nobody can tell whether it is being written.
    Unsure(FileStamp),
}

/// How long a file must stay untouched, by how it came.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// After it was closed, or came back.
    pub closed: Duration,
    /// After it was created and nothing else.
    pub created: Duration,
    /// After a scan found it.
    pub scanned: Duration,
    /// While it is empty, unless renamed in: many writers create first and write later.
    pub empty: Duration,
    /// Where nobody can tell of its writers.
    pub unsure: Duration,
    /// How long a file that is open for writing may stay unchanged before it is given up; never where `None`.
    pub patience: Option<Duration>,
}

impl Rules {
    /// The rules for a settle time; all other times follow from it, but for the one that stands in for a lease.
    pub fn new(settle: Duration) -> Self {
        Self {
            closed: settle,
            created: settle * 2,
            scanned: settle * 2,
            empty: settle * 10,
            unsure: settle.max(UNSURE),
            patience: None,
        }
    }

    /// The same, but a file that stays open for writing and unchanged for this long is given up.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience: Some(patience), ..self }
    }
}

/// What to do with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Upload it.
    Ready,
    /// Look again then, or when something happens to it.
    Wait(Instant),
    /// It is still open for writing and nothing has changed for too long: leave it to the next run.
    StillOpen,
    /// It is a folder: look into it.
    Folder,
    /// Forget it: it is gone, or never was a document.
    Forget,
}

/// A file on its way to being ready.
#[derive(Debug, Clone)]
pub struct Candidate {
    cause: Cause,
    seen: Option<FileStamp>,
    /// Since when nothing has happened to it.
    still_since: Instant,
    /// Since when it has been open for writing.
    busy_since: Option<Instant>,
    /// How often it was closed again while it waited, or came back: scanners reopen what others have closed.
    reopened: u32,
    /// Since when it has been coming back.
    returning_since: Option<Instant>,
    /// How often in a row nothing could be opened.
    scarce: u32,
}

/// Where no lease can tell of writers, nothing but time can; a shorter settle time must not shorten this.
const UNSURE: Duration = Duration::from_secs(10);
/// A file's last close is told before the kernel lets go of it; so soon after, ask again quickly.
const CLOSING: Duration = Duration::from_millis(50);
const CLOSING_STEP: Duration = Duration::from_millis(1);
/// An open file's close is told by an event. In case that is lost, it is looked at this often.
const BUSY_STEP: Duration = Duration::from_secs(1);
/// Growth of the settle time for files that are reopened: by half each time, up to about eight times.
const MAX_REOPENED: u32 = 5;

impl Candidate {
    /// A file that is to be looked at now.
    pub fn new(cause: Cause, now: Instant) -> Self {
        Self { cause, seen: None, still_since: now, busy_since: None, reopened: 0, returning_since: None, scarce: 0 }
    }

    /// The same file once more, now that it came back.
    #[must_use]
    pub fn returned(&self, now: Instant) -> Self {
        let since = self.returning_since.unwrap_or(now);
        Self { reopened: self.reopened + 1, returning_since: Some(since), ..Self::new(Cause::Returned, now) }
    }

    /// Its size, as it was last seen; nothing where it could not be opened.
    pub fn size(&self) -> u64 {
        self.seen.map_or(0, |stamp| stamp.size)
    }

    /// Something happened to the file.
    pub fn hint(&mut self, cause: Cause, now: Instant) {
        if cause == Cause::Closed && self.cause == Cause::Closed {
            self.reopened += 1;
        }
        // Who comes back was put back by a rename of our own, because somebody writes it.
        if (cause, self.cause) != (Cause::Renamed, Cause::Returned) {
            self.cause = cause;
        }
        self.still_since = now;
        self.busy_since = None;
    }

    /// Judges a look at the file.
    pub fn look(&mut self, seen: Observation, now: Instant, rules: &Rules) -> Verdict {
        self.scarce = if seen == Observation::Scarce { self.scarce.saturating_add(1) } else { 0 };
        match seen {
            // The pipeline tries too, and says so.
            Observation::Scarce if rules.patience.is_some() && self.scarce > budget::SCARCE_TRIES => Verdict::Ready,
            // A pause that grows: trying again at once would take all of a processor, and free nothing.
            Observation::Scarce => Verdict::Wait(now + budget::scarce_pause(self.scarce)),
            Observation::Gone | Observation::Unfit => Verdict::Forget,
            Observation::Folder => Verdict::Folder,
            Observation::Unreadable => Verdict::Ready,
            Observation::Busy(stamp) => self.busy(stamp, now, rules),
            Observation::Quiet(stamp) => self.at_rest(stamp, now, self.needed(stamp, rules), rules),
            Observation::Unsure(stamp) => self.at_rest(stamp, now, self.needed(stamp, rules).max(rules.unsure), rules),
        }
    }

    fn busy(&mut self, stamp: FileStamp, now: Instant, rules: &Rules) -> Verdict {
        self.note(stamp, now);
        // A rename says that its writer has finished; that it is still open proves it wrong.
        if self.cause == Cause::Renamed && self.busy_since.is_some_and(|since| now - since >= CLOSING) {
            self.cause = Cause::Closed;
        }
        let since = *self.busy_since.get_or_insert(now);
        if rules.patience.is_some_and(|patience| now.duration_since(self.still_since.max(since)) >= patience) {
            return Verdict::StillOpen;
        }
        Verdict::Wait(now + if now - since < CLOSING { CLOSING_STEP } else { BUSY_STEP })
    }

    fn at_rest(&mut self, stamp: FileStamp, now: Instant, needed: Duration, rules: &Rules) -> Verdict {
        if self.busy_since.take().is_some_and(|since| now - since >= CLOSING) {
            // It was being written until just now, whatever brought it.
            self.still_since = now;
        }
        self.note(stamp, now);
        let returning = self.returning_since.map(|since| now - since).filter(|_| self.reopened > budget::RETURNS);
        if returning.zip(rules.patience).is_some_and(|(returning, patience)| returning >= patience) {
            return Verdict::StillOpen;
        }
        let ready_at = self.still_since + needed;
        if now >= ready_at { Verdict::Ready } else { Verdict::Wait(ready_at) }
    }

    /// Starts the wait anew where the file is not as it was.
    fn note(&mut self, stamp: FileStamp, now: Instant) {
        if self.seen.is_some_and(|before| before != stamp) {
            self.still_since = now;
        }
        self.seen = Some(stamp);
    }

    fn needed(&self, stamp: FileStamp, rules: &Rules) -> Duration {
        let by_cause = match self.cause {
            Cause::Renamed => return Duration::ZERO,
            Cause::Closed | Cause::Returned => {
                rules.closed.mul_f64(1.5f64.powi(self.reopened.min(MAX_REOPENED).cast_signed()))
            }
            Cause::Created => rules.created,
            Cause::Scanned => rules.scanned,
        };
        if stamp.size == 0 { by_cause.max(rules.empty) } else { by_cause }
    }
}

#[cfg(test)]
#[path = "settle_tests.rs"]
mod tests;
