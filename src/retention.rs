//! Receipts are kept for as long as the configuration says: for ever, unless it says otherwise. Failures are kept as long as their
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
use crate::removal;

/// Between two prunings of a daemon.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Prunes at once, and once a day from then on.
pub async fn prune_daily(journal: Journal, keep: Duration) {
    let mut last = Moment::now();
    loop {
        let now = Moment::now();
        prune_at(&journal, now.surely(&last), keep).await;
        last = now;
        tokio::time::sleep(DAY).await;
    }
}

/// Deletes the receipts that are older than that; what remains can still be checked.
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

/// Forgets failures whose files are gone, and those beyond the most that are kept. Whoever makes files that can't be sent, and takes
/// them away, would fill the disk with them.
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
            let mut look = Look::default();
            page.iter().filter(|entry| look.is_gone(&entry.intent)).map(|entry| entry.id).collect()
        });
        // Where looking fails in the middle, nothing is known to be gone.
        count += journal.forget_failures(gone.await.unwrap_or_default()).await?;
    }
}

/// A look for files that are gone; each folder is asked once. Blocks.
#[derive(Debug, Default)]
struct Look {
    roots: HashMap<PathBuf, Option<Root>>,
    /// The paths of files that lie set aside in a folder of a root.
    aside: HashMap<(PathBuf, PathBuf), HashSet<PathBuf>>,
}

impl Look {
    /// Whether a file is surely gone: what is missing because a share is not mounted comes back, and so does what lies set aside.
    fn is_gone(&mut self, intent: &Intent) -> bool {
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
            // The folder is gone as well; the one above it may be there.
            Err(Errno::NOENT) => continue,
            Err(_) => return false,
        };
        let next = path.strip_prefix(folder).ok().and_then(|rest| rest.iter().next());
        let missing = next.is_some_and(|name| matches!(look_at(&dir, name), Err(Errno::NOENT)));
        return missing && !may_be_mount_point(&dir, intent.stamp.device);
    }
    false
}

/// Whether a folder may be the place of a share that is not mounted just now: it is empty, and on another file system than the file
/// was. One with files, or on the same file system, is where the file was; what a share is numbered may change when it is mounted anew.
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

    /// What time it is at least: a wall clock that was set forward since `last` may be set back tomorrow, and a receipt
    /// that is gone does not come back. At a start nobody can tell such a clock from a long rest.
    fn surely(&self, last: &Self) -> SystemTime {
        last.wall.checked_add(self.instant - last.instant).map_or(self.wall, |passed| passed.min(self.wall))
    }
}

async fn prune_at(journal: &Journal, now: SystemTime, keep: Duration) {
    match try_prune(journal, now, keep).await {
        Ok(Some(0)) => {}
        Ok(Some(count)) => tracing::info!(count, older_than = ?keep, "receipts were pruned"),
        Ok(None) => tracing::error!("no receipts are pruned, for some are missing or altered: see history --check"),
        // The journal's trouble is told, and waited for, by those who need it.
        Err(error) => tracing::warn!("receipts can't be pruned: {error}"),
    }
}

/// How many; `None` where the chain is broken.
async fn try_prune(journal: &Journal, now: SystemTime, keep: Duration) -> Result<Option<u64>, JournalError> {
    let Some(before) = now.checked_sub(keep) else { return Ok(Some(0)) };
    // Nothing is old enough on most runs, and to look along the whole chain takes its time.
    let oldest = journal.receipts_page(None, 0, 1).await?.pop();
    if oldest.is_none_or(|oldest| oldest.record.entry.stored_at >= Some(before)) {
        return Ok(Some(0));
    }
    prune_if_whole(journal, before).await
}

/// Deletes the receipts that were stored before this time. How many; `None` where the chain is broken: pruning must not
/// hide that.
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

    /// What the journal has of a file that is there.
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
        Look::default().is_gone(intent)
    }

    /// A folder in which `sub/x` was; both are gone unless they are made again.
    fn without_sub() -> (tempfile::TempDir, PathBuf, Intent) {
        let dir = tempfile::tempdir().unwrap();
        let root = std::fs::canonicalize(dir.path()).unwrap().join("root");
        std::fs::create_dir_all(root.join("sub")).unwrap();
        let intent = of_file(&root, "sub/x");
        (dir, root, intent)
    }

    #[test]
    fn a_file_is_gone_where_its_folder_is_there_without_it_or_gone_with_it() {
        let (_dir, root, intent) = without_sub();
        assert!(!is_gone(&intent), "it lies there");
        std::fs::remove_file(root.join("sub/x")).unwrap();
        assert!(is_gone(&intent));
        std::fs::remove_dir(root.join("sub")).unwrap();
        assert!(is_gone(&intent));
        std::fs::write(root.join("sub"), "a file").unwrap();
        assert!(!is_gone(&intent), "nobody knows");
    }

    /// Regression: a share that was not mounted while failures were forgotten took those of all its files with it.
    #[test]
    fn no_failure_is_forgotten_while_its_share_is_not_mounted() {
        let (_dir, root, mut intent) = without_sub();
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
        let (_dir, root, intent) = without_sub();
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
    fn a_clock_that_jumps_forward_between_two_prunings_makes_no_receipt_older() {
        let last = Moment::now();
        let later = |wall| Moment { wall, instant: last.instant + DAY }.surely(&last);
        let year = 365 * DAY;
        assert_eq!(later(last.wall + DAY), last.wall + DAY);
        assert_eq!(later(last.wall + year), last.wall + DAY);
        assert_eq!(later(last.wall - year), last.wall - year);
        // One that stays ahead is believed the day after.
        let ahead = Moment { wall: last.wall + year, instant: last.instant + DAY };
        let next = Moment { wall: ahead.wall + DAY, instant: ahead.instant + DAY };
        assert_eq!(next.surely(&ahead), next.wall);
    }
}
