//! How long the journal's entries are kept: receipts as long as the configuration says (for ever, by default), failures as long as their
//! files are there, and a day longer, so that people see them.

use std::collections::{HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{Dir, fstat};
use rustix::io::Errno;
use tokio::time::Instant;

use crate::budget;
use crate::file::{FileStamp, PRIVATE, Root, beneath_folder, look_at};
use crate::journal::{AttemptId, Intent, Journal, JournalError};
use crate::measure::span;
use crate::removal;

/// The time between two prunings of a daemon.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Prunes at once, and once a day from then on.
pub async fn prune_daily(journal: Journal, keep: Duration) {
    let mut last = Moment::now();
    loop {
        let now = Moment::now();
        prune_at(&journal, now.earliest(&last), keep).await;
        last = now;
        tokio::time::sleep(DAY).await;
    }
}

/// Deletes the receipts that are older than `keep`; what remains can still be checked.
pub async fn prune(journal: &Journal, keep: Duration) {
    prune_at(journal, SystemTime::now(), keep).await;
}

/// Forgets failures at once, and once a day from then on.
pub async fn forget_failures_daily(journal: Journal) {
    loop {
        forget_failures(&journal).await;
        tokio::time::sleep(DAY).await;
    }
}

/// Forgets failures whose files are gone: files that can't be sent, and are taken away again, would otherwise fill the disk with
/// failures.
pub async fn forget_failures(journal: &Journal) {
    match try_forget(journal).await {
        Ok(0) => {}
        Ok(count) => tracing::info!(count, "failures were forgotten whose files are gone"),
        Err(error) => tracing::warn!("failures whose files are gone can't be forgotten: {error}"),
    }
}

async fn try_forget(journal: &Journal) -> Result<u64, JournalError> {
    let Some(before) = SystemTime::now().checked_sub(budget::FAILURE_KEPT) else { return Ok(0) };
    let (mut count, mut after) = (0, AttemptId(0));
    loop {
        let page = journal.failures_page(before, after).await?;
        let Some(last) = page.last() else { return Ok(count) };
        after = last.id;
        let gone = tokio::task::spawn_blocking(move || {
            let mut folders = WatchedFolders::default();
            page.iter().filter(|entry| folders.is_gone(&entry.intent)).map(|entry| entry.id).collect()
        });
        // If the blocking thread ends early, no file is known to be gone.
        count += journal.forget_failures(gone.await.unwrap_or_default()).await?;
    }
}

/// The watched folders in which files are looked for, each opened and listed once. Blocks.
#[derive(Debug, Default)]
pub(crate) struct WatchedFolders {
    roots: HashMap<PathBuf, Option<Root>>,
    /// The original paths of files that lie set aside in a folder of a root.
    aside: HashMap<(PathBuf, PathBuf), HashSet<PathBuf>>,
}

impl WatchedFolders {
    /// The folder at this path, if it can be opened.
    pub(crate) fn root(&mut self, path: &Path) -> Option<&Root> {
        self.roots.entry(path.to_owned()).or_insert_with(|| Root::open(path).ok()).as_ref()
    }

    /// Whether a file is gone for certain: a file on a share that is not mounted comes back, and so does a file that lies set aside.
    pub(crate) fn is_gone(&mut self, intent: &Intent) -> bool {
        let root = self.roots.entry(intent.root.clone()).or_insert_with(|| Root::open(&intent.root).ok());
        let Some(root) = root else { return false };
        let aside = &mut self.aside;
        let mut lies_aside = |folder: &Path| {
            let known = aside.entry((intent.root.clone(), folder.to_owned()));
            known.or_insert_with(|| removal::belonging_to(root, folder)).contains(&intent.relative)
        };
        let folder = intent.relative.parent().unwrap_or(Path::new(""));
        is_missing(root, intent) && !lies_aside(Path::new("")) && !lies_aside(folder)
    }
}

/// Whether no file is at a path, though the file system that it was on is there.
fn is_missing(root: &Root, intent: &Intent) -> bool {
    let path = &intent.relative;
    for folder in path.ancestors().skip(1) {
        let dir = match beneath_folder(root.dir(), folder) {
            Ok(dir) => dir,
            // The folder is gone as well; the folder above it may be there.
            Err(Errno::NOENT) => continue,
            Err(_) => return false,
        };
        let next = path.strip_prefix(folder).ok().and_then(|rest| rest.iter().next());
        let missing = next.is_some_and(|name| matches!(look_at(&dir, name), Err(Errno::NOENT)));
        return missing && !may_be_mount_point(&dir, intent.stamp.device);
    }
    false
}

/// Whether a folder may be the mount point of a share that is not mounted just now: it is empty, and on another file system than the
/// file was. A folder with files, or on the same file system, is where the file was; a share's device number may change when it is
/// mounted anew.
fn may_be_mount_point(dir: &OwnedFd, device: u64) -> bool {
    let Ok(stat) = fstat(dir) else { return true };
    let others = |name: &[u8]| name != b"." && name != b".." && name != PRIVATE.as_bytes();
    let is_empty = || !Dir::read_from(dir).into_iter().flatten().flatten().any(|e| others(e.file_name().to_bytes()));
    FileStamp::from(&stat).device != device && is_empty()
}

/// A moment by both clocks.
#[derive(Debug, Clone, Copy)]
struct Moment {
    wall: SystemTime,
    instant: Instant,
}

impl Moment {
    fn now() -> Self {
        Self { wall: SystemTime::now(), instant: Instant::now() }
    }

    /// The earliest time that it can be now, by the wall clock and by the time that passed since `last`. A wall clock that was set
    /// forward may be set back tomorrow, and a pruned receipt does not come back. At a start such a clock can't be told from a program
    /// that did not run for long.
    fn earliest(&self, last: &Self) -> SystemTime {
        last.wall.checked_add(self.instant - last.instant).map_or(self.wall, |passed| passed.min(self.wall))
    }
}

async fn prune_at(journal: &Journal, now: SystemTime, keep: Duration) {
    match try_prune(journal, now, keep).await {
        Ok(Some(0)) => {}
        Ok(Some(count)) => tracing::info!(count, older_than = span(keep), "receipts were pruned"),
        Ok(None) => tracing::error!("no receipts are pruned, for some are missing or altered: see history --check"),
        // The journal's trouble is reported by the uploads, which wait until it is over.
        Err(error) => tracing::warn!("receipts can't be pruned: {error}"),
    }
}

/// Returns how many receipts were pruned; `None` where the chain is broken.
async fn try_prune(journal: &Journal, now: SystemTime, keep: Duration) -> Result<Option<u64>, JournalError> {
    let Some(before) = now.checked_sub(keep) else { return Ok(Some(0)) };
    // On most runs no receipt is old enough, and checking the whole chain takes time.
    let oldest = journal.receipts_page(None, 0, 1).await?.pop();
    if oldest.is_none_or(|oldest| oldest.record.entry.stored_at >= Some(before)) {
        return Ok(Some(0));
    }
    prune_if_whole(journal, before).await
}

/// Deletes the receipts that were stored before this time. Returns how many; `None` where the chain is broken, which pruning must not
/// hide.
pub async fn prune_if_whole(journal: &Journal, before: SystemTime) -> Result<Option<u64>, JournalError> {
    if !journal.check().await?.is_whole() {
        return Ok(None);
    }
    journal.prune(before).await.map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::{DocumentId, RemotePath};

    /// The intent of a file, which is made.
    fn of_file(root: &Path, relative: &str) -> Intent {
        std::fs::write(root.join(relative), "1234").unwrap();
        Intent {
            root: root.to_owned(),
            relative: relative.into(),
            stamp: Root::open(root).unwrap().open_file(Path::new(relative)).unwrap().stamp,
            dest: RemotePath::default(),
            folder: DocumentId(String::new()),
            name: relative.into(),
        }
    }

    fn is_gone(intent: &Intent) -> bool {
        WatchedFolders::default().is_gone(intent)
    }

    /// A watched folder with the file `sub/x`, and its intent.
    fn folder_with_file() -> (tempfile::TempDir, PathBuf, Intent) {
        let dir = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(dir.path()).unwrap().join("root");
        std::fs::create_dir_all(root.join("sub")).unwrap();
        let intent = of_file(&root, "sub/x");
        (dir, root, intent)
    }

    #[test]
    fn a_file_is_gone_if_its_folder_is_there_without_it_or_gone_too() {
        let (_dir, root, intent) = folder_with_file();
        assert!(!is_gone(&intent), "the file is there");
        std::fs::remove_file(root.join("sub/x")).unwrap();
        assert!(is_gone(&intent));
        std::fs::remove_dir(root.join("sub")).unwrap();
        assert!(is_gone(&intent));
        std::fs::write(root.join("sub"), "a file").unwrap();
        assert!(!is_gone(&intent), "a file in the folder's place says nothing of it");
    }

    /// Regression: while a share was not mounted, the failures of all its files were forgotten.
    #[test]
    fn no_failure_is_forgotten_while_its_share_is_not_mounted() {
        let (_dir, root, mut intent) = folder_with_file();
        std::fs::rename(root.join("sub"), root.with_file_name("elsewhere")).unwrap();
        let other_device = FileStamp { device: intent.stamp.device + 1, ..intent.stamp };
        std::fs::create_dir(root.join("sub")).unwrap();
        assert!(is_gone(&intent), "an empty folder of the same file system");
        intent.stamp = other_device;
        assert!(!is_gone(&intent), "the empty mount point of a share");
        std::fs::create_dir(root.join("sub").join(PRIVATE)).unwrap();
        assert!(!is_gone(&intent), "our own folder counts for nothing");
        std::fs::write(root.join("sub/other"), "").unwrap();
        assert!(is_gone(&intent), "a share that is mounted under another number");
        std::fs::rename(&root, root.with_file_name("away")).unwrap();
        assert!(!is_gone(&intent), "the watched folder itself is away");
    }

    /// Regression: the failure of a file that could not be put back was forgotten, and the file sent again.
    #[test]
    fn no_failure_is_forgotten_whose_file_lies_set_aside() {
        let (_dir, root, intent) = folder_with_file();
        let private = root.join(PRIVATE);
        std::fs::create_dir(&private).unwrap();
        std::fs::set_permissions(&private, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let places = [".astran-backup/0123456789abcdef~sub%2Fx", "sub/.astran-backup~0123456789abcdef~x"];
        let mut lies = root.join("sub/x");
        for place in places {
            std::fs::rename(&lies, root.join(place)).unwrap();
            lies = root.join(place);
            assert!(!is_gone(&intent), "{place}");
        }
        std::fs::remove_file(&lies).unwrap();
        assert!(is_gone(&intent));
    }

    #[test]
    fn a_clock_set_forward_between_two_prunings_makes_no_receipt_older() {
        let last = Moment::now();
        let later = |wall| Moment { wall, instant: last.instant + DAY }.earliest(&last);
        let year = 365 * DAY;
        assert_eq!(later(last.wall + DAY), last.wall + DAY);
        assert_eq!(later(last.wall + year), last.wall + DAY);
        assert_eq!(later(last.wall - year), last.wall - year);
        // A clock that stays ahead is believed the day after.
        let ahead = Moment { wall: last.wall + year, instant: last.instant + DAY };
        let next = Moment { wall: ahead.wall + DAY, instant: ahead.instant + DAY };
        assert_eq!(next.earliest(&ahead), next.wall);
    }
}
