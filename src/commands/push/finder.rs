//! Finds out what the named paths are, one after the other, and prepares the folder of each.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep};

use super::arguments::{Argument, Roots};
use crate::budget;
use crate::commands::open_folders::{LockedFolders, on_disk};
use crate::config::{After, Config};
use crate::exit::{Exit, Fatal};
use crate::file::Root;
use crate::journal::Journal;
use crate::upload::reconcile::startup;

/// How often, and how far apart, a push tries to share a folder that another process has locked: a push of a folder that is watched
/// waits for all of these tries.
const TRIES: u32 = 10;
const BETWEEN: Duration = Duration::from_millis(20);

/// Finds out what paths are.
pub(super) struct Finder {
    config: Arc<Config>,
    roots: Roots,
    journal: Journal,
    locked: LockedFolders,
    /// The folders in which all that an earlier push left was put back.
    resolved: HashSet<PathBuf>,
    /// Folders whose file system did not answer: it is not asked again for each of their files.
    silent: HashSet<PathBuf>,
}

impl Finder {
    pub(super) fn new(config: Arc<Config>, roots: Roots, journal: Journal, locked: LockedFolders) -> Self {
        Self { config, roots, journal, locked, resolved: HashSet::new(), silent: HashSet::new() }
    }

    /// Finds out what a path is. All that asks the file system of a user's folder, which may not answer, runs on threads that may block.
    pub(super) async fn find(&mut self, path: &Path) -> Result<Argument, Fatal> {
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        if self.silent.contains(&folder) {
            let why = format!("{}: the file system of its folder does not answer", path.display());
            return Err(Fatal::new(Exit::Missing, why));
        }
        let start = Instant::now();
        let found = self.ask(path).await;
        if found.is_err() && start.elapsed() >= budget::RECOVERY {
            self.silent.insert(folder);
        }
        found
    }

    async fn ask(&mut self, path: &Path) -> Result<Argument, Fatal> {
        let (roots, named) = (self.roots.clone(), path.to_owned());
        let root = on_disk(path, move || roots.of(&named)).await?;
        if self.config.upload.after != After::Keep && self.resolved.insert(root.path().to_owned()) {
            self.resolve(&root).await?;
        }
        let (roots, config, named) = (self.roots.clone(), Arc::clone(&self.config), path.to_owned());
        on_disk(path, move || Argument::find(&named, &config, &roots)).await
    }

    /// Puts back what an earlier push that was killed had set aside. What another process has set aside is that process's own, so
    /// the folder is locked for this. Afterwards the lock is shared with other pushes until this one ends.
    async fn resolve(&self, root: &Arc<Root>) -> Result<(), Fatal> {
        let (locking, locked) = (Arc::clone(root), self.locked.clone());
        let lock = move || {
            let is_locked = locking.lock().unwrap_or(false);
            locked.add(&locking);
            Ok(is_locked)
        };
        if on_disk(root.path(), lock).await? {
            startup::resolve(&self.journal, root).await?;
        }
        share(root).await
    }

    /// Waits until few folders are open: a list may name files in any number of folders. A folder is closed once no file of it is under way.
    pub(super) async fn make_room(&mut self) {
        while self.roots.len() >= budget::PUSHED_FOLDERS {
            let unused = self.roots.take_unused();
            if unused.is_empty() {
                sleep(BETWEEN).await;
            }
            for root in unused {
                self.resolved.remove(root.path());
                let locked = self.locked.clone();
                // A folder whose file system does not answer now is tidied by the next push.
                let tidied = spawn_blocking(move || locked.release(&root));
                tokio::time::timeout(budget::TIDY, tidied).await.ok();
            }
        }
    }
}

/// Shares the lock of a folder. Another push may have locked the folder for a moment, to put back files as this one does: if this
/// push did not share the lock then, that one would take its files for leftovers. A watch keeps the folder locked, and puts files
/// back itself, so this push waits no longer for it.
async fn share(root: &Arc<Root>) -> Result<(), Fatal> {
    for _ in 0..TRIES {
        let shared = Arc::clone(root);
        if on_disk(root.path(), move || Ok(shared.share())).await? {
            break;
        }
        sleep(BETWEEN).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::lock::Locks;

    /// The folder, opened as another process with the same state opens it.
    fn open(dir: &tempfile::TempDir) -> Arc<Root> {
        Arc::new(Root::open(dir.path()).unwrap().with_locks(&Locks::open(dir.path()).unwrap(), true))
    }

    #[tokio::test(start_paused = true)]
    async fn a_push_waits_a_fifth_of_a_second_at_most_for_a_watched_folder() {
        let dir = tempfile::tempdir().unwrap();
        let (watch, push) = (open(&dir), open(&dir));
        assert!(watch.lock().unwrap());
        let start = tokio::time::Instant::now();
        share(&push).await.unwrap();
        assert!(start.elapsed() <= Duration::from_millis(200), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_push_shares_a_folder_that_another_push_had_locked_for_a_moment() {
        let dir = tempfile::tempdir().unwrap();
        let (other, push) = (open(&dir), open(&dir));
        assert!(other.lock().unwrap());
        let moment = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            drop(other);
        };
        tokio::join!(async { share(&push).await.unwrap() }, moment);
        assert!(!open(&dir).lock().unwrap(), "no other process can lock it now");
    }
}
