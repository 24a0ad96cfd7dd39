//! Failures of the journal whose files still lie where they failed, unchanged: they need a person, and are told again at each start.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::file::{FileStamp, OpenError, Root, beneath_folder, look_at};
use crate::journal::{AttemptId, End, Entry, Intent, Journal, JournalError, State};
use crate::retention::WatchedFolders;

/// How many failures are named.
const NAMED: usize = 3;

/// The failed files that still lie in some folders.
#[derive(Debug, Default)]
pub(crate) struct FailedHere {
    /// How many there are.
    pub(crate) count: u64,
    /// The newest three, the newest first.
    pub(crate) newest: Vec<FailedFile>,
    /// Whether all failures were looked at. Otherwise there may be more.
    pub(crate) complete: bool,
}

/// A failed file.
#[derive(Debug)]
pub(crate) struct FailedFile {
    /// Where it lies.
    pub(crate) path: PathBuf,
    /// Why it failed.
    pub(crate) reason: String,
    /// When it failed.
    pub(crate) at: SystemTime,
}

/// Counts the files that failed before this time and still lie in these folders, given by their absolute paths. Blocks for as long as
/// the file systems of the folders take, and reads no further failure after `time`.
pub(crate) fn failed_here(
    journal: &Journal,
    folders: &[PathBuf],
    before: SystemTime,
    time: Duration,
) -> Result<FailedHere, JournalError> {
    let end = Instant::now().checked_add(time);
    let is_asked = |intent: &Intent| folders.contains(&intent.root);
    let (mut here, mut found, mut newest) = (StillHere::default(), FailedHere::default(), VecDeque::new());
    let mut after = AttemptId(0);
    loop {
        let page = journal.failed_files(after)?;
        let Some(last) = page.last() else { break };
        after = last.id;
        for entry in page.into_iter().filter(|entry| entry.started < before && is_asked(&entry.intent)) {
            if end.is_some_and(|end| Instant::now() >= end) {
                found.newest = newest.into_iter().rev().collect();
                return Ok(found);
            }
            if here.has(&entry) {
                found.count += 1;
                newest.extend(failed_file(entry));
                if newest.len() > NAMED {
                    newest.pop_front();
                }
            }
        }
    }
    Ok(FailedHere { newest: newest.into_iter().rev().collect(), complete: true, ..found })
}

fn failed_file(entry: Entry) -> Option<FailedFile> {
    let path = entry.intent.root.join(&entry.intent.relative);
    match entry.state {
        State::Ended(End::Failed { reason }) => Some(FailedFile { path, reason, at: entry.started }),
        _ => None,
    }
}

/// Tells whether failed files still lie where they failed. Holds each folder open that it was asked about. Blocks.
#[derive(Debug, Default)]
pub(crate) struct StillHere(WatchedFolders);

impl StillHere {
    /// Returns whether the file of a failed attempt still lies there as it failed: not gone, not changed, and not readable by now
    /// where that was its failure. Where that can't be told (a share that is not mounted), the file counts as there.
    pub(crate) fn has(&mut self, entry: &Entry) -> bool {
        let intent = &entry.intent;
        if self.0.is_gone(intent) {
            return false;
        }
        let Some(root) = self.0.root(&intent.root) else { return true };
        match stamp(root, &intent.relative) {
            // Of a file that could not even be looked at the journal has no stamp.
            Some(now) if intent.stamp.inode != 0 && !now.same_file(&intent.stamp) => is_folder(root, intent),
            _ => !was_unreadable(intent) || is_unreadable(root, &intent.relative),
        }
    }
}

fn stamp(root: &Root, relative: &Path) -> Option<FileStamp> {
    let (folder, name) = root.parent_of(relative).ok()?;
    look_at(&folder, name).ok()
}

/// The size and times of a folder change with each name in it; it is the same folder all the same.
fn is_folder(root: &Root, intent: &Intent) -> bool {
    let now = stamp(root, &intent.relative);
    now.is_some_and(|now| now.inode == intent.stamp.inode)
        && matches!(beneath_folder(root.dir(), &intent.relative), Err(errno) if errno != rustix::io::Errno::NOTDIR)
}

/// The journal has the failure of a file that can't be read without the time of its last change.
fn was_unreadable(intent: &Intent) -> bool {
    !intent.names_folder() && intent.stamp.ctime == 0
}

fn is_unreadable(root: &Root, relative: &Path) -> bool {
    match root.open_file(relative) {
        Ok(_) => false,
        Err(OpenError::Folder) => beneath_folder(root.dir(), relative).is_err(),
        Err(_) => true,
    }
}
