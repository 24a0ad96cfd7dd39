//! Is this file ready to be uploaded? Pure: observations of a file and times go in, a [`Readiness`] comes out.
//!
//! A file is ready when no process writes it any more. What proves that depends on how the file came (see [`Cause`]), on whether the
//! file system can tell of writers, and on how long nothing happened to the file. What happened is seen by events, and by a difference
//! between two inspections. A file that a walk finds may have lain there for years: its ctime tells since when, which this machine's kernel
//! has set and no program can set. That counts only where the kernel tells of writers, as the clock of a network share is another one. The
//! mtime says nothing of it, since a copy may keep an old one; only `min_age` asks for it.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::budget;
use crate::file::FileStamp;

/// Why a file is inspected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// It was renamed into the folder: a program that renames a file has finished writing it.
    Renamed,
    /// It was closed after writing.
    Closed,
    /// It was created, and nothing else is known: a hard link, or the first moment of a file that is still to be written.
    Created,
    /// A walk through the folder found it.
    Scanned,
    /// Its upload was not finished, because the file changed while it was uploaded or removed.
    Returned,
}

/// What one inspection of a file shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Observation {
    /// Nothing of this name is there.
    Gone,
    /// A folder.
    Folder,
    /// Something that is never uploaded: a link, a pipe, a device.
    NotUploadable,
    /// It can't be opened. The upload will fail to open it too, and report the reason.
    Unreadable,
    /// Nothing can be opened just now, for want of descriptors or memory. The file is not to blame.
    Scarce,
    /// A process has it open for writing.
    Busy(FileStamp),
    /// The kernel says that no process has it open for writing.
    Quiet(FileStamp),
    /// The file system can't tell whether a process has it open for writing.
    WritersUnknown(FileStamp),
}

/// How long a file must stay untouched before it is ready.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// After it was closed, or after it was returned.
    pub closed: Duration,
    /// After it was created, where nothing else happened.
    pub created: Duration,
    /// After a walk found it.
    pub scanned: Duration,
    /// While it is empty, unless it was renamed in: many programs create a file first and write it later.
    pub empty: Duration,
    /// Where the file system can't tell of writers.
    pub writers_unknown: Duration,
    /// How long a run that is to end waits for a writer, beyond the time that an untouched file needs; `None` for a daemon, which waits as
    /// long as it takes.
    pub patience: Option<Duration>,
    /// How long ago the content must have changed, by the file's own times.
    pub min_age: Duration,
}

impl Rules {
    /// The rules for a settle time. All other times follow from it, except the one that stands in for a lease.
    pub fn new(settle: Duration) -> Self {
        Self {
            closed: settle,
            created: settle * 2,
            scanned: settle * 2,
            empty: settle * 10,
            writers_unknown: settle.max(WRITERS_UNKNOWN),
            patience: None,
            min_age: Duration::ZERO,
        }
    }

    /// How much longer a file must stay untouched that a walk finds, that changed `age` ago and that nobody writes; zero for a file
    /// that is ready. `writers_known` is false where the file system can't tell of writers.
    pub(crate) fn left(&self, size: u64, age: Duration, writers_known: bool) -> Duration {
        let by_size = if size == 0 { self.scanned.max(self.empty) } else { self.scanned };
        let needed = if writers_known { by_size } else { by_size.max(self.writers_unknown) };
        needed.saturating_sub(age)
    }

    /// The same rules for files whose content must be so old.
    #[must_use]
    pub fn with_min_age(self, min_age: Duration) -> Self {
        Self { min_age, ..self }
    }

    /// How long until a file is old enough at this time of the wall clock; zero for a file that is.
    ///
    /// The age counts from the last change of the content (mtime). Where that lies in the future, as programs can set it to any time, the
    /// age counts from the last change of the inode (ctime), which only the file system's clock sets. Where that clock is ahead as well,
    /// the file waits until then and `min_age` longer; but if it is ahead by more than `min_age`, its times say nothing, and the file
    /// counts as old: no file waits longer than twice `min_age`.
    pub(crate) fn too_young_for(&self, stamp: &FileStamp, now: SystemTime) -> Duration {
        let (now, content, inode) = (of_clock(now), of_file(stamp.mtime), of_file(stamp.ctime));
        let changed = if content <= now { content } else { inode };
        if changed.saturating_sub(now) > self.min_age {
            return Duration::ZERO;
        }
        (changed + self.min_age).saturating_sub(now)
    }

    /// The same rules for a run that is to end (`--once`): a writer that closes the file within the settle time of files that a walk finds
    /// is waited for, a longer one has the file until the next run.
    #[must_use]
    pub fn for_once(self) -> Self {
        Self { patience: Some(self.scanned.max(LEAST_PATIENCE)), ..self }
    }
}

/// Whether a file can be uploaded now, and what to do if not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// Upload it.
    Ready,
    /// Inspect it again at this time, or when an event tells of it.
    Wait(Instant),
    /// It has been open for writing, or was changed again and again, for longer than the patience: leave it to the next run.
    StillOpen,
    /// It is younger than `min_age`: leave it to a later walk or run.
    TooYoung,
    /// It is a folder: walk through it.
    Folder,
    /// There is nothing to upload: the file is gone, or is of a kind that is never uploaded.
    Forget,
}

/// A file that is not known to be ready yet.
#[derive(Debug, Clone)]
pub struct Candidate {
    cause: Cause,
    /// As the last inspection saw it.
    seen: Option<FileStamp>,
    /// When it was inspected first since it was found or returned.
    first_seen: Instant,
    /// The longest time that it had to stay untouched so far.
    longest_needed: Duration,
    /// Since when nothing has happened to it.
    still_since: Instant,
    /// Since when it has been open for writing.
    busy_since: Option<Instant>,
    /// How often it was closed again while it waited, or was returned: virus scanners reopen files that others have closed.
    reopened: u32,
    /// When it was returned for the first time.
    returning_since: Option<Instant>,
    /// How many inspections in a row found no descriptors left.
    scarce: u32,
}

/// Where no lease can tell of writers, only time can. A shorter settle time does not shorten this one.
const WRITERS_UNKNOWN: Duration = Duration::from_secs(10);
/// The event of a file's last close comes before the kernel has let go of the file. For so long after it the file is inspected again
/// in quick steps.
const CLOSING: Duration = Duration::from_millis(50);
const CLOSING_STEP: Duration = Duration::from_millis(1);
/// An event tells when an open file is closed. In case that event is lost, the file is inspected this often.
const BUSY_STEP: Duration = Duration::from_secs(1);
/// A run that is to end waits so long for a writer, however short the settle time is: a loaded machine lets go of a closed file late.
const LEAST_PATIENCE: Duration = Duration::from_millis(200);
/// The settle time of a file that is reopened grows by half each time, at most so many times: to about eight times.
const MAX_REOPENED: u32 = 5;

impl Candidate {
    /// A file that is to be inspected now.
    pub fn new(cause: Cause, now: Instant) -> Self {
        Self {
            cause,
            seen: None,
            first_seen: now,
            longest_needed: Duration::ZERO,
            still_since: now,
            busy_since: None,
            reopened: 0,
            returning_since: None,
            scarce: 0,
        }
    }

    /// The same file once more, after its upload was not finished.
    #[must_use]
    pub fn returned(&self, now: Instant) -> Self {
        let since = self.returning_since.unwrap_or(now);
        Self { reopened: self.reopened + 1, returning_since: Some(since), ..Self::new(Cause::Returned, now) }
    }

    /// Its size at the last inspection; 0 where it could not be opened.
    pub fn size(&self) -> u64 {
        self.seen.map_or(0, |stamp| stamp.size)
    }

    /// Takes note that something happened to the file.
    pub fn touched(&mut self, cause: Cause, now: Instant) {
        if cause == Cause::Closed && self.cause == Cause::Closed {
            self.reopened += 1;
        }
        // A file is returned because a process writes it. The rename that follows is this program's own, which put the file back.
        if (cause, self.cause) != (Cause::Renamed, Cause::Returned) {
            self.cause = cause;
        }
        self.still_since = now;
        self.busy_since = None;
    }

    /// Judges what an inspection of the file has shown at this time, which is given by both clocks.
    pub fn judge(&mut self, seen: Observation, (now, wall): (Instant, SystemTime), rules: &Rules) -> Readiness {
        self.scarce = if seen == Observation::Scarce { self.scarce.saturating_add(1) } else { 0 };
        match seen {
            // The upload tries to open it too, and reports why it can't.
            Observation::Scarce if rules.patience.is_some() && self.scarce > budget::SCARCE_TRIES => Readiness::Ready,
            // The pause grows: an immediate retry would keep a processor busy without freeing a descriptor.
            Observation::Scarce => Readiness::Wait(now + budget::scarce_pause(self.scarce)),
            Observation::Gone | Observation::NotUploadable => Readiness::Forget,
            Observation::Folder => Readiness::Folder,
            Observation::Unreadable => Readiness::Ready,
            Observation::Busy(stamp) => self.judge_busy(stamp, now, rules),
            Observation::Quiet(stamp) => {
                let needed = self.needed(stamp, rules);
                self.note_age(&stamp, needed, (now, wall));
                self.judge_quiet(stamp, now, needed, rules)
            }
            Observation::WritersUnknown(stamp) => {
                let needed = self.needed(stamp, rules).max(rules.writers_unknown);
                self.judge_quiet(stamp, now, needed, rules)
            }
        }
    }

    /// Judges a file that is ready otherwise by its age at this time of the wall clock. A run that has to end does not wait for files.
    pub(crate) fn judge_age(
        &self,
        readiness: Readiness,
        (now, wall): (Instant, SystemTime),
        rules: &Rules,
    ) -> Readiness {
        let (Readiness::Ready, Some(stamp)) = (readiness, &self.seen) else { return readiness };
        match rules.too_young_for(stamp, wall) {
            Duration::ZERO => Readiness::Ready,
            _ if rules.patience.is_some() => Readiness::TooYoung,
            left => Readiness::Wait(now + left),
        }
    }

    fn judge_busy(&mut self, stamp: FileStamp, now: Instant, rules: &Rules) -> Readiness {
        self.note_stamp(stamp, now);
        // A rename promises that the writer has finished. A file that is still open breaks that promise.
        if self.cause == Cause::Renamed && self.busy_since.is_some_and(|since| now - since >= CLOSING) {
            self.cause = Cause::Closed;
        }
        let since = *self.busy_since.get_or_insert(now);
        let next = now + if now - since < CLOSING { CLOSING_STEP } else { BUSY_STEP };
        let Some(patience) = rules.patience else { return Readiness::Wait(next) };
        let end = (since + patience).min(self.last_moment(patience));
        if now >= end { Readiness::StillOpen } else { Readiness::Wait(next.min(end)) }
    }

    /// When a run with this patience leaves the file: after the longest time that it would have needed untouched, and the patience.
    fn last_moment(&self, patience: Duration) -> Instant {
        self.first_seen + self.longest_needed + patience
    }

    fn judge_quiet(&mut self, stamp: FileStamp, now: Instant, needed: Duration, rules: &Rules) -> Readiness {
        if self.busy_since.take().is_some_and(|since| now - since >= CLOSING) {
            // It was being written until just now, whatever its cause is.
            self.still_since = now;
        }
        self.note_stamp(stamp, now);
        let returning = self.returning_since.map(|since| now - since).filter(|_| self.reopened > budget::RETURNS);
        if returning.zip(rules.patience).is_some_and(|(returning, patience)| returning >= patience) {
            return Readiness::StillOpen;
        }
        self.longest_needed = self.longest_needed.max(needed);
        let ready_at = self.still_since + needed;
        if now >= ready_at {
            Readiness::Ready
        } else if rules.patience.is_some_and(|patience| ready_at > self.last_moment(patience)) {
            // Something happened to it later than a run that is to end waits for.
            Readiness::StillOpen
        } else {
            Readiness::Wait(ready_at)
        }
    }

    /// Counts the time that a file lay untouched before the walk found it. A clock that was set forward meanwhile makes the file older than
    /// it is: then it is uploaded early, and once more if a program still changes it.
    fn note_age(&mut self, stamp: &FileStamp, needed: Duration, (now, wall): (Instant, SystemTime)) {
        if self.cause == Cause::Scanned && self.seen.is_none() {
            let age = of_clock(wall).saturating_sub(of_file(stamp.ctime));
            // A machine that has just been started has no earlier time.
            self.still_since = now.checked_sub(age.min(needed)).unwrap_or(now);
        }
    }

    /// Starts the wait again where the file has changed since the last inspection.
    fn note_stamp(&mut self, stamp: FileStamp, now: Instant) {
        match self.seen.replace(stamp) {
            Some(before) if before != stamp => self.still_since = now,
            Some(_) => {}
            None => self.first_seen = now,
        }
    }

    /// How long the file must stay untouched.
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

/// A time of the wall clock, counted from 1970; zero before that.
fn of_clock(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A time of a file, counted from 1970; zero before that.
fn of_file(nanoseconds: i64) -> Duration {
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or_default())
}

#[cfg(test)]
#[path = "settle_tests.rs"]
mod tests;
