//! The table of candidates: which file to inspect next, which files are ready, which are being uploaded. Pure.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::Instant;

use super::UploadEnd;
use super::settle::{Candidate, Cause, Observation, Readiness, Rules};
use crate::budget;
use crate::file::staged_name;
use crate::observe::waiting::WaitingFiles;

/// All files between the first event and the end of their upload, each under its path below the root.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    files: HashMap<Arc<Path>, Tracked>,
    /// The files in [`Stage::Due`], by time.
    due: BTreeSet<(Instant, Arc<Path>)>,
    /// The files in [`Stage::Ready`], in their order. It may also name files that have left that stage meanwhile.
    ready: VecDeque<Arc<Path>>,
    /// How many files were not inspected yet.
    new: usize,
    /// Files whose upload has ended and that remain in the folder (kept, failed). A walk finds them again, which is not an event
    /// that was missed.
    remaining: HashSet<Box<Path>>,
    /// Those that remain set aside in a private folder, where no walk finds them.
    set_aside: HashSet<Box<Path>>,
}

#[derive(Debug)]
struct Tracked {
    candidate: Candidate,
    stage: Stage,
    /// It was inspected at least once.
    is_known: bool,
    /// An event told of the file, or none was to be expected.
    announced: bool,
    /// When the file was found. A file that is returned waits on.
    found: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Stage {
    /// To be inspected at this time.
    Due(Instant),
    /// Being inspected. An event that came meanwhile is kept.
    Inspecting(Option<Cause>),
    /// Waits for room in the upload queue.
    Ready,
    /// Handed to the upload. An event that came meanwhile is kept.
    Uploading(Option<Cause>),
}

impl Candidates {
    /// The number of files in the table.
    pub(super) fn len(&self) -> usize {
        self.files.len()
    }

    /// Returns whether there is room for files that a walk finds. Files that can go at once, as far as is known, take the memory of a
    /// few thousand, however many wait in the folder; files that are still to settle may be many more.
    pub(super) fn has_room(&self) -> bool {
        self.files.len() < budget::CANDIDATES && self.new + self.ready.len() < budget::CANDIDATES_AHEAD
    }

    /// Returns whether the table has no file but these.
    pub(super) fn are_all_among(&self, files: &HashSet<Arc<Path>>) -> bool {
        self.files.len() <= files.len() && self.files.keys().all(|file| files.contains(file))
    }

    /// Counts all files in the table: they wait until the store has them.
    pub(super) fn waiting(&self) -> WaitingFiles {
        WaitingFiles {
            files: self.files.len() as u64,
            bytes: self.files.values().map(|file| file.candidate.size()).sum(),
            oldest: self.files.values().map(|file| file.found).min(),
        }
    }

    /// Takes note of an event, or of a file that was returned.
    pub(super) fn touched(&mut self, path: &Path, cause: Cause, now: Instant) {
        let Some((path, _)) = self.files.get_key_value(path) else { return self.insert(path, cause, true, now) };
        let path = Arc::clone(path);
        let Some(file) = self.files.get_mut(&path) else { return };
        file.announced = true;
        match &mut file.stage {
            // The close may be a new writer's; the rename may be this program's own, which puts the file back.
            Stage::Uploading(Some(Cause::Closed)) if cause == Cause::Renamed => {}
            Stage::Inspecting(event) | Stage::Uploading(event) => *event = Some(cause),
            Stage::Due(at) => {
                self.due.remove(&(*at, Arc::clone(&path)));
                file.candidate.touched(cause, now);
                self.set_due(&path, now);
            }
            Stage::Ready => {
                file.candidate.touched(cause, now);
                self.set_due(&path, now);
            }
        }
    }

    /// Takes note of a file that a walk found, unless the table has it already. `announced` where no event was to be expected.
    pub(super) fn found(&mut self, path: &Path, announced: bool, now: Instant) {
        if !self.files.contains_key(path) {
            let announced = announced || self.remaining.contains(path);
            self.insert(path, Cause::Scanned, announced, now);
        }
    }

    /// After each walk: the files that are set aside, which no walk finds, are inspected too.
    pub(super) fn walk_ended(&mut self, now: Instant) {
        for path in std::mem::take(&mut self.set_aside) {
            self.found(&path, true, now);
        }
    }

    fn insert(&mut self, path: &Path, cause: Cause, announced: bool, now: Instant) {
        let candidate = Candidate::new(cause, now);
        let file = Tracked { candidate, stage: Stage::Due(now), is_known: false, announced, found: now };
        self.new += 1;
        self.track(path, file, now);
    }

    fn track(&mut self, path: &Path, file: Tracked, now: Instant) {
        let path: Arc<Path> = path.into();
        self.files.insert(Arc::clone(&path), file);
        self.due.insert((now, path));
    }

    fn set_due(&mut self, path: &Arc<Path>, at: Instant) {
        if let Some(file) = self.files.get_mut(path) {
            file.stage = Stage::Due(at);
            self.due.insert((at, Arc::clone(path)));
        }
    }

    /// The time of the next inspection.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes out the files that are to be inspected now, `most` at most.
    pub(super) fn take_due(&mut self, now: Instant, most: usize) -> Vec<Arc<Path>> {
        let mut taken = Vec::new();
        while taken.len() < most && self.next_due().is_some_and(|at| at <= now) {
            let Some((_, path)) = self.due.pop_first() else { break };
            if let Some(file) = self.files.get_mut(&path) {
                file.stage = Stage::Inspecting(None);
                self.new -= usize::from(!std::mem::replace(&mut file.is_known, true));
            }
            taken.push(path);
        }
        taken
    }

    /// Judges what an inspection has shown, moves the file to its next stage, and returns the judgement: the caller walks through
    /// folders, and reports files that are still open.
    pub(super) fn inspected(
        &mut self,
        path: &Arc<Path>,
        seen: Observation,
        (now, wall): (Instant, SystemTime),
        rules: &Rules,
    ) -> Readiness {
        let is_crowded = self.files.len() > budget::CANDIDATES_TOO_YOUNG;
        let Some(file) = self.files.get_mut(path) else { return Readiness::Forget };
        let touched = matches!(file.stage, Stage::Inspecting(Some(_)));
        if let Stage::Inspecting(Some(cause)) = file.stage {
            file.candidate.touched(cause, now);
        }
        let settled = file.candidate.judge(seen, (now, wall), rules);
        let readiness = match file.candidate.judge_age(settled, (now, wall), rules) {
            // Files that wait for days must not take the place of those that can go. A later walk finds this one again.
            Readiness::Wait(_) if settled == Readiness::Ready && is_crowded => Readiness::TooYoung,
            other => other,
        };
        match readiness {
            // The event may tell of a file that came after the inspection.
            Readiness::StillOpen | Readiness::TooYoung | Readiness::Folder | Readiness::Forget if touched => {
                self.set_due(path, now);
            }
            Readiness::Ready => {
                file.stage = Stage::Ready;
                self.ready.push_back(Arc::clone(path));
            }
            Readiness::Wait(at) => self.set_due(path, at),
            Readiness::TooYoung => {
                self.files.remove(path);
                self.note_remaining(path, &UploadEnd::Remains { put_back: false, aside: None });
            }
            Readiness::StillOpen | Readiness::Folder | Readiness::Forget => {
                self.files.remove(path);
            }
        }
        readiness
    }

    /// Returns whether a file waits for room in the upload queue.
    pub(super) fn has_ready(&mut self) -> bool {
        // An event may have moved the file to another stage meanwhile.
        while let Some(path) = self.ready.front() {
            if self.files.get(path).is_some_and(|file| file.stage == Stage::Ready) {
                return true;
            }
            self.ready.pop_front();
        }
        false
    }

    /// Takes the next file for the upload queue, with its size and the time at which it was found.
    pub(super) fn take_ready(&mut self) -> Option<(Arc<Path>, u64, Instant)> {
        if !self.has_ready() {
            return None;
        }
        let path = self.ready.pop_front()?;
        let file = self.files.get_mut(&path)?;
        file.stage = Stage::Uploading(None);
        let size = file.candidate.size();
        Some((path, size, file.found))
    }

    /// Takes note that the upload of a file has ended. Returns whether an event told of the file, or none was to be expected.
    pub(super) fn upload_ended(&mut self, path: &Path, end: &UploadEnd, now: Instant) -> bool {
        let Some(file) = self.files.remove(path) else { return true };
        if let UploadEnd::Returned(place) = end {
            // Another file of this name may be in the table.
            if self.files.contains_key(place.as_path()) {
                self.touched(place, Cause::Returned, now);
            } else {
                let candidate = file.candidate.returned(now);
                let stage = Stage::Due(now);
                let returned = Tracked { candidate, stage, is_known: true, announced: true, found: file.found };
                self.track(place, returned, now);
            }
        }
        match file.stage {
            // A removal that failed has put the file back. That rename is this program's own, and no reason for another try.
            Stage::Uploading(Some(Cause::Renamed)) if *end == (UploadEnd::Remains { put_back: true, aside: None }) => {}
            // An event that came during the upload may tell of a new file of the same name.
            Stage::Uploading(Some(cause)) => self.touched(path, cause, now),
            _ => {}
        }
        self.note_remaining(path, end);
        file.announced
    }

    /// Remembers a file that remains, in the folder or set aside; forgets one that is gone.
    fn note_remaining(&mut self, path: &Path, end: &UploadEnd) {
        match end {
            UploadEnd::Stored | UploadEnd::Gone => {
                self.remaining.remove(path);
                self.set_aside.remove(path);
            }
            UploadEnd::Remains { aside: Some(place), .. } => {
                self.set_aside.remove(path);
                self.set_aside.insert(place.as_path().into());
            }
            UploadEnd::Remains { .. } if staged_name::origin(path) != path => {
                self.set_aside.insert(path.into());
            }
            UploadEnd::Remains { .. } if self.remaining.len() < budget::FILES_REMAINING => {
                self.remaining.insert(path.into());
            }
            UploadEnd::Remains { .. } | UploadEnd::Returned(_) => {}
        }
    }
}

#[cfg(test)]
#[path = "candidates_tests.rs"]
mod tests;
