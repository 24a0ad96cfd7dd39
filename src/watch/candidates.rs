//! The files that are on their way: which to look at next, which are ready, which are being uploaded. Pure.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::Arc;

use tokio::time::Instant;

use super::Next;
use super::settle::{Candidate, Cause, Observation, Rules, Verdict};
use crate::budget;
use crate::file::staged_name;

/// The files on their way, each under its path below the root.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    slots: HashMap<Arc<Path>, Slot>,
    due: BTreeSet<(Instant, Arc<Path>)>,
    ready: VecDeque<Arc<Path>>,
    /// Files that were done with and lie there still (kept, failed): a walk that finds them has found nothing new.
    lying: HashSet<Box<Path>>,
    /// Those of them that lie in a private folder, where no walk finds them.
    hidden: HashSet<Box<Path>>,
}

#[derive(Debug)]
struct Slot {
    candidate: Candidate,
    stage: Stage,
    /// An event has told of it, or none was to be expected.
    told: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Stage {
    /// To be looked at then.
    Due(Instant),
    /// Somebody looks at it now; a hint came meanwhile.
    Looking(Option<Cause>),
    /// Waits for a place in the queue.
    Ready,
    /// In the pipeline; a hint came meanwhile.
    Out(Option<Cause>),
}

impl Candidates {
    /// How many files are on their way.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Takes note of a hint by an event, or by a file that came back.
    pub(super) fn hint(&mut self, path: &Path, cause: Cause, now: Instant) {
        let Some((path, _)) = self.slots.get_key_value(path) else { return self.insert(path, cause, true, now) };
        let path = Arc::clone(path);
        let Some(slot) = self.slots.get_mut(&path) else { return };
        slot.told = true;
        match &mut slot.stage {
            // A close may be a new writer's; a rename may be our own putting back.
            Stage::Out(Some(Cause::Closed)) if cause == Cause::Renamed => {}
            Stage::Looking(hinted) | Stage::Out(hinted) => *hinted = Some(cause),
            Stage::Due(at) => {
                self.due.remove(&(*at, Arc::clone(&path)));
                slot.candidate.hint(cause, now);
                self.set_due(&path, now);
            }
            Stage::Ready => {
                slot.candidate.hint(cause, now);
                self.set_due(&path, now);
            }
        }
    }

    /// Takes note of a file that a walk found; no news where it is on its way already. `told_before` where no event was
    /// to be expected.
    pub(super) fn found(&mut self, path: &Path, told_before: bool, now: Instant) {
        if !self.slots.contains_key(path) {
            let told = told_before || self.lying.contains(path);
            self.insert(path, Cause::Scanned, told, now);
        }
    }

    /// A walk is over: what it can't find is to be looked at too.
    pub(super) fn walked(&mut self, now: Instant) {
        for path in std::mem::take(&mut self.hidden) {
            self.found(&path, true, now);
        }
    }

    fn insert(&mut self, path: &Path, cause: Cause, told: bool, now: Instant) {
        self.put(path, Candidate::new(cause, now), told, now);
    }

    fn put(&mut self, path: &Path, candidate: Candidate, told: bool, now: Instant) {
        let path: Arc<Path> = path.into();
        let slot = Slot { candidate, stage: Stage::Due(now), told };
        self.slots.insert(Arc::clone(&path), slot);
        self.due.insert((now, path));
    }

    fn set_due(&mut self, path: &Arc<Path>, at: Instant) {
        if let Some(slot) = self.slots.get_mut(path) {
            slot.stage = Stage::Due(at);
            self.due.insert((at, Arc::clone(path)));
        }
    }

    /// When to look next.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes out at most so many files that are to be looked at now.
    pub(super) fn take_due(&mut self, now: Instant, most: usize) -> Vec<Arc<Path>> {
        let mut taken = Vec::new();
        while taken.len() < most && self.next_due().is_some_and(|at| at <= now) {
            let Some((_, path)) = self.due.pop_first() else { break };
            if let Some(slot) = self.slots.get_mut(&path) {
                slot.stage = Stage::Looking(None);
            }
            taken.push(path);
        }
        taken
    }

    /// Judges what a look has shown, and acts on it but for what concerns others: that verdict is returned.
    pub(super) fn looked(&mut self, path: &Arc<Path>, seen: Observation, now: Instant, rules: &Rules) -> Verdict {
        let Some(slot) = self.slots.get_mut(path) else { return Verdict::Forget };
        let hinted = matches!(slot.stage, Stage::Looking(Some(_)));
        if let Stage::Looking(Some(cause)) = slot.stage {
            slot.candidate.hint(cause, now);
        }
        let verdict = slot.candidate.look(seen, now, rules);
        match verdict {
            // What came while nothing, or something else, was seen there.
            Verdict::StillOpen | Verdict::Folder | Verdict::Forget if hinted => self.set_due(path, now),
            Verdict::Ready => {
                slot.stage = Stage::Ready;
                self.ready.push_back(Arc::clone(path));
            }
            Verdict::Wait(at) => self.set_due(path, at),
            Verdict::StillOpen | Verdict::Folder | Verdict::Forget => {
                self.slots.remove(path);
            }
        }
        verdict
    }

    /// Whether a file waits for a place in the queue.
    pub(super) fn has_ready(&mut self) -> bool {
        // A hint may have taken it back meanwhile.
        while let Some(path) = self.ready.front() {
            if self.slots.get(path).is_some_and(|slot| slot.stage == Stage::Ready) {
                return true;
            }
            self.ready.pop_front();
        }
        false
    }

    /// The next file for the queue, and its size.
    pub(super) fn take_ready(&mut self) -> Option<(Arc<Path>, u64)> {
        if !self.has_ready() {
            return None;
        }
        let path = self.ready.pop_front()?;
        let slot = self.slots.get_mut(&path)?;
        slot.stage = Stage::Out(None);
        let size = slot.candidate.size();
        Some((path, size))
    }

    /// The pipeline is done with a file. Answers whether an event told of it, or none was to be expected.
    pub(super) fn done(&mut self, path: &Path, next: &Next, now: Instant) -> bool {
        let Some(slot) = self.slots.remove(path) else { return true };
        if let Next::Again(place) = next {
            // Another file of this name may be on its way.
            if self.slots.contains_key(place.as_path()) {
                self.hint(place, Cause::Returned, now);
            } else {
                self.put(place, slot.candidate.returned(now), true, now);
            }
        }
        match slot.stage {
            // A removal that failed has put the file back: that rename is our own, and no reason to try at once again.
            Stage::Out(Some(Cause::Renamed)) if *next == (Next::Remains { put_back: true, aside: None }) => {}
            // What happened while it was out may concern a new file of the same name.
            Stage::Out(Some(cause)) => self.hint(path, cause, now),
            _ => {}
        }
        match next {
            Next::Stored | Next::Gone => {
                self.lying.remove(path);
                self.hidden.remove(path);
            }
            Next::Remains { aside: Some(place), .. } => {
                self.hidden.remove(path);
                self.hidden.insert(place.as_path().into());
            }
            Next::Remains { .. } if staged_name::origin(path) != path => {
                self.hidden.insert(path.into());
            }
            Next::Remains { .. } if self.lying.len() < budget::FILES_LYING => {
                self.lying.insert(path.into());
            }
            Next::Remains { .. } | Next::Again(_) => {}
        }
        slot.told
    }
}

#[cfg(test)]
#[path = "candidates_tests.rs"]
mod tests;
