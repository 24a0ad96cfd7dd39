//! What was told before, kept in the state directory: thirty cron jobs with one trouble tell it once, and the run in which a trouble is
//! over knows that it was told.
//!
//! The decisions are pure; [`MarksFile`] reads and writes the file under a lock, so that of several processes one tells.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};

use super::trouble::{Kind, Topic};
use crate::budget;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// A mark of a trouble that is over, or that no process has seen for long, is forgotten after this time.
const FORGOTTEN: Duration = Duration::from_secs(31 * 24 * 3600);
/// The file in the state directory.
const NAME: &str = "notify.json";

/// The time on the wall clock: marks outlive the process.
pub(super) type Wall = SystemTime;

/// When each topic was told last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Marks(BTreeMap<Topic, Mark>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    at: Wall,
    /// How often in a row, while it lasted.
    times: u32,
    /// It was told, and that it is over was not.
    open: bool,
}

impl Marks {
    /// Whether a topic may be told now. One that merely `lasts` is told after longer and longer times, once a day at least.
    pub(super) fn may_tell(&self, topic: &Topic, every: Duration, lasts: bool, now: Wall) -> bool {
        let Some(mark) = self.0.get(topic) else { return true };
        let pause = if lasts && mark.open {
            let doubled = every.saturating_mul(2u32.saturating_pow(mark.times.saturating_sub(1)));
            doubled.min(DAY.max(every))
        } else {
            every
        };
        // A mark of the future: the clock was set back, and nobody knows how long ago that was.
        now.duration_since(mark.at).map_or(true, |ago| ago >= pause)
    }

    pub(super) fn told(&mut self, topic: &Topic, open: bool, lasts: bool, now: Wall) {
        let before = self.0.get(topic).filter(|mark| mark.open && lasts).map_or(0, |mark| mark.times);
        self.0.insert(topic.clone(), Mark { at: now, times: before.saturating_add(1), open });
    }

    /// It was told that the topic's trouble is over.
    pub(super) fn over(&mut self, topic: &Topic) {
        if let Some(mark) = self.0.get_mut(topic) {
            mark.open = false;
        }
    }

    /// The topics that were told, and not yet that they are over.
    pub(super) fn open(&self) -> impl Iterator<Item = Topic> {
        self.0.iter().filter(|(_, mark)| mark.open).map(|(topic, _)| topic.clone())
    }

    fn of_lines(lines: Vec<Line>) -> Self {
        Self(lines.into_iter().filter_map(Line::mark).collect())
    }

    /// As lines for the file, the newest first, without those that are forgotten.
    fn lines(&self, now: Wall) -> Vec<Line> {
        let is_kept = |mark: &Mark| now.duration_since(mark.at).map_or(true, |ago| ago < FORGOTTEN);
        let mut kept: Vec<_> = self.0.iter().filter(|(_, mark)| is_kept(mark)).collect();
        kept.sort_by_key(|(_, mark)| std::cmp::Reverse(mark.at));
        kept.truncate(budget::NOTIFY_MARKS);
        kept.into_iter().map(|(topic, mark)| Line::new(topic, mark)).collect()
    }
}

/// A mark in the file.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    event: String,
    folder: Option<PathBuf>,
    /// In seconds since 1970.
    at: u64,
    times: u32,
    open: bool,
}

impl Line {
    fn new(topic: &Topic, mark: &Mark) -> Self {
        let at = mark.at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        // A path that is no text has no place in JSON; its text serves as well, because nothing is opened by it.
        let folder = topic.folder.as_ref().map(|folder| PathBuf::from(folder.to_string_lossy().into_owned()));
        Self { event: topic.kind.word().to_owned(), folder, at, times: mark.times, open: mark.open }
    }

    fn mark(self) -> Option<(Topic, Mark)> {
        let kind = [Kind::Failed, Kind::Stuck, Kind::Login].into_iter().find(|kind| kind.word() == self.event)?;
        let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(self.at))?;
        Some((Topic { kind, folder: self.folder }, Mark { at, times: self.times, open: self.open }))
    }
}

/// The file with the marks. Where it can't be used, the marks of this process alone count.
#[derive(Debug)]
pub(super) struct MarksFile {
    state_dir: PathBuf,
    last: Marks,
    /// That the file can't be used was logged already.
    is_told: bool,
}

impl MarksFile {
    /// Reads the marks. Blocks.
    pub(super) fn open(state_dir: &Path) -> Self {
        let mut file = Self { state_dir: state_dir.to_owned(), last: Marks::default(), is_told: false };
        if let Ok(mut opened) = open(&file.state_dir, false) {
            file.last = read(&mut opened).unwrap_or_default();
        }
        file
    }

    /// The marks as they were when they were used last.
    pub(super) fn last(&self) -> &Marks {
        &self.last
    }

    /// Runs `work` on the marks as they are now, while no other process uses them, and writes them back. Blocks.
    pub(super) fn change<T>(&mut self, now: Wall, work: impl FnOnce(&mut Marks) -> T) -> T {
        let opened = open(&self.state_dir, true).and_then(|mut file| Ok((read(&mut file)?, file)));
        match opened {
            Ok((marks, mut file)) => {
                self.last = marks;
                let before = self.last.clone();
                let done = work(&mut self.last);
                if self.last != before {
                    let written = write(&mut file, &self.last.lines(now));
                    self.complain(written.err());
                }
                done
            }
            Err(error) => {
                self.complain(Some(error));
                work(&mut self.last)
            }
        }
    }

    fn complain(&mut self, error: Option<io::Error>) {
        let Some(error) = error else { return self.is_told = false };
        if !std::mem::replace(&mut self.is_told, true) {
            let path = self.state_dir.join(NAME);
            tracing::warn!(
                "what [notify] has told can't be kept in {}, so the next run may tell it again: {error}",
                path.display()
            );
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the state folder is this user's alone, and a link in it is refused")]
fn open(state_dir: &Path, make: bool) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let mut options = OpenOptions::new();
    let file =
        options.read(true).write(true).create(make).mode(0o600).custom_flags(flags).open(state_dir.join(NAME))?;
    let end = Instant::now() + budget::NOTIFY_LOCK;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < end => std::thread::sleep(Duration::from_millis(10)),
            Err(TryLockError::WouldBlock) => return Err(io::Error::other("another process holds it")),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}

/// A file that a crash has cut holds no marks: at worst something is told once more.
fn read(file: &mut File) -> io::Result<Marks> {
    let mut text = Vec::new();
    file.take(budget::NOTIFY_MARKS_BYTES).read_to_end(&mut text)?;
    Ok(Marks::of_lines(serde_json::from_slice(&text).unwrap_or_default()))
}

fn write(file: &mut File, lines: &[Line]) -> io::Result<()> {
    let text = serde_json::to_vec(lines)?;
    file.rewind()?;
    file.set_len(0)?;
    file.write_all(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn topic(kind: Kind) -> Topic {
        Topic { kind, folder: Some("/w".into()) }
    }

    fn at(hours: u32) -> Wall {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000) + hours * HOUR
    }

    #[test]
    fn what_lasts_is_told_after_longer_and_longer_times_and_once_a_day_at_least() {
        let (topic, mut marks) = (topic(Kind::Stuck), Marks::default());
        let mut told = Vec::new();
        for hour in 0..100 {
            if marks.may_tell(&topic, HOUR, true, at(hour)) {
                marks.told(&topic, true, true, at(hour));
                told.push(hour);
            }
        }
        assert_eq!(told, [0, 1, 3, 7, 15, 31, 55, 79]);
    }

    #[test]
    fn a_clock_that_was_set_back_silences_nothing() {
        let (topic, mut marks) = (topic(Kind::Login), Marks::default());
        marks.told(&topic, true, false, at(10_000));
        assert!(marks.may_tell(&topic, HOUR, true, at(0)));
        marks.told(&topic, true, true, at(0));
        assert!(!marks.may_tell(&topic, HOUR, false, at(0) + HOUR / 2));
    }

    #[test]
    fn marks_outlive_the_process_and_a_cut_file_holds_none() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = MarksFile::open(dir.path());
        first.change(at(0), |marks| marks.told(&topic(Kind::Failed), true, false, at(0)));
        let mut second = MarksFile::open(dir.path());
        assert_eq!(second.last(), first.last());
        assert_eq!(second.last().open().count(), 1);
        // Another process tells that it is over.
        second.change(at(1), |marks| marks.over(&topic(Kind::Failed)));
        first.change(at(1), |marks| assert_eq!(marks.open().count(), 0));
        std::fs::write(dir.path().join(NAME), "[{\"event\":\"fail").unwrap();
        assert_eq!(*MarksFile::open(dir.path()).last(), Marks::default());
    }

    #[test]
    fn where_the_file_can_not_be_used_the_marks_of_the_process_count() {
        let mut file = MarksFile::open(Path::new("/nonexistent"));
        file.change(at(0), |marks| marks.told(&topic(Kind::Stuck), true, false, at(0)));
        file.change(at(0), |marks| assert!(!marks.may_tell(&topic(Kind::Stuck), HOUR, true, at(0))));
    }

    #[test]
    fn old_marks_are_forgotten_and_their_number_is_limited() {
        let mut marks = Marks::default();
        marks.told(&topic(Kind::Stuck), true, false, at(0));
        assert!(marks.lines(at(32 * 24)).is_empty());
        for number in 0..2 * budget::NOTIFY_MARKS {
            let folder = Some(format!("/{number}").into());
            marks.told(&Topic { kind: Kind::Failed, folder }, true, false, at(1));
        }
        assert_eq!(marks.lines(at(1)).len(), budget::NOTIFY_MARKS);
    }
}
