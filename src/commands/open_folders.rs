//! Opens the folders of `watch` and `push` on threads that may block: the file system of a folder, a network share perhaps, may not
//! answer. A folder that was locked is tidied on every way out.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout_at};

use crate::budget;
use crate::config::Folder;
use crate::daemon;
use crate::exit::{Exit, Fatal};
use crate::file::Root;
use crate::removal;
use crate::shutdown::{Shutdown, Stop};

/// The folders that a command has locked and must tidy at its end; clones share the list. A locked folder has a private folder with
/// a lock file, which must not stay behind where the start fails.
#[derive(Debug, Clone)]
pub(super) struct LockedFolders(Arc<Mutex<Option<Vec<Arc<Root>>>>>);

impl LockedFolders {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Some(Vec::new()))))
    }

    /// Adds a folder. If the command has ended meanwhile, the folder is tidied at once. Blocks.
    pub(super) fn add(&self, root: &Arc<Root>) {
        if let Some(roots) = &mut *self.roots() {
            return roots.push(Arc::clone(root));
        }
        removal::tidy(root);
    }

    /// Tidies a folder of which no file is under way any more, and forgets it. Blocks.
    pub(super) fn release(&self, root: &Arc<Root>) {
        self.hand_over_one(root);
        removal::tidy(root);
    }

    /// Forgets all folders: from now on the daemon tidies them.
    pub(super) fn hand_over(&self) {
        self.roots().iter_mut().for_each(Vec::clear);
    }

    /// Forgets a folder that was locked later: from now on the daemon tidies it.
    pub(super) fn hand_over_one(&self, root: &Arc<Root>) {
        self.roots().iter_mut().for_each(|roots| roots.retain(|known| !Arc::ptr_eq(known, root)));
    }

    /// Tidies all folders that were not handed over.
    pub(super) async fn tidy(&self) {
        let roots = self.roots().take();
        daemon::tidy_all(roots.unwrap_or_default()).await;
    }

    fn roots(&self) -> MutexGuard<'_, Option<Vec<Arc<Root>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Does the same work, which may block, for all folders at once. Of several failures the first in the order of the folders is
/// returned. A folder that does not answer in time is a failure too. Returns `None` where a stop is requested meanwhile.
pub(super) async fn for_each<I, T>(
    folders: impl Iterator<Item = (Folder, I)>,
    work: impl Fn(&Folder, I) -> Result<T, Fatal> + Clone + Send + 'static,
    shutdown: Shutdown,
) -> Result<Option<Vec<T>>, Fatal>
where
    I: Send + 'static,
    T: Send + 'static,
{
    let begin = |(folder, with): (Folder, I)| {
        let (shown, work) = (folder.path.display().to_string(), work.clone());
        (shown, spawn_blocking(move || work(&folder, with)))
    };
    answers(folders.map(begin).collect(), shutdown).await
}

async fn answers<T>(
    asked: Vec<(String, JoinHandle<Result<T, Fatal>>)>,
    mut shutdown: Shutdown,
) -> Result<Option<Vec<T>>, Fatal> {
    let end = Instant::now() + budget::RECOVERY;
    let all = async {
        let mut answers = Vec::with_capacity(asked.len());
        for (folder, answer) in asked {
            answers.push(answer_by(end, &folder, answer).await?);
        }
        Ok(Some(answers))
    };
    tokio::select! {
        all = all => all,
        () = shutdown.reached(Stop::Gently) => Ok(None),
    }
}

/// Does work, which may block, on one path. A file system that does not answer in time is a failure.
pub(super) async fn on_disk<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> Result<T, Fatal> + Send + 'static,
) -> Result<T, Fatal> {
    answer_by(Instant::now() + budget::RECOVERY, &path.display().to_string(), spawn_blocking(work)).await
}

async fn answer_by<T>(end: Instant, path: &str, answer: JoinHandle<Result<T, Fatal>>) -> Result<T, Fatal> {
    let answer = timeout_at(end, answer).await.map_err(|_| no_answer(path))?;
    answer.map_err(Fatal::internal)?
}

fn no_answer(path: &str) -> Fatal {
    let why = format!(
        "the file system of {path} does not answer (nor may that of a folder its files are moved to): see that the share or disk works, \
         or leave this path out"
    );
    Fatal::new(Exit::Missing, why)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::lock::Locks;
    use crate::shutdown;
    use std::time::Duration;
    use tokio::sync::oneshot;

    type Asked = (String, JoinHandle<Result<u8, Fatal>>);

    fn after(seconds: u64, folder: &str, answer: Result<u8, Fatal>) -> Asked {
        let later = async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            answer
        };
        (folder.to_owned(), tokio::spawn(later))
    }

    /// A folder whose file system answers only when the sender is used.
    fn hung(folder: &str) -> (oneshot::Sender<u8>, Asked) {
        let (answer, answered) = oneshot::channel();
        let waits = async move { answered.await.map_err(|_| Fatal::new(Exit::SomeFailed, "never")) };
        (answer, (folder.to_owned(), tokio::spawn(waits)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_folder_that_does_not_answer_ends_the_start_in_time_and_is_named() {
        let (_trigger, shutdown) = shutdown::channel();
        let (_answer, silent) = hung("silent");
        let start = Instant::now();
        let fatal = answers(vec![after(0, "well", Ok(1)), silent, after(0, "too", Ok(2))], shutdown).await.unwrap_err();
        assert_eq!((fatal.exit, start.elapsed()), (Exit::Missing, budget::RECOVERY));
        assert!(fatal.message.contains("the file system of silent does not answer"), "{fatal}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_ends_the_wait_for_a_folder_that_does_not_answer() {
        let (trigger, shutdown) = shutdown::channel();
        let (_answer, silent) = hung("silent");
        let start = Instant::now();
        trigger.raise();
        assert!(answers(vec![silent], shutdown).await.unwrap().is_none());
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn folders_are_asked_side_by_side_and_the_first_failure_in_their_order_counts() {
        let (_trigger, shutdown) = shutdown::channel();
        let slow = budget::RECOVERY.as_secs() - 1;
        let well = vec![after(slow, "a", Ok(1)), after(slow, "b", Ok(2))];
        assert_eq!(answers(well, shutdown.clone()).await.unwrap(), Some(vec![1, 2]));
        let fails = |exit| Err(Fatal::new(exit, "no"));
        let failing = vec![after(slow, "a", fails(Exit::Held)), after(0, "b", fails(Exit::Missing))];
        assert_eq!(answers(failing, shutdown).await.unwrap_err().exit, Exit::Held);
    }

    /// A new folder, locked.
    fn take(dir: &tempfile::TempDir, locks: &Arc<Locks>, name: &str) -> Arc<Root> {
        let path = dir.path().join(name);
        std::fs::create_dir(&path).unwrap();
        let root = Arc::new(Root::open(&path).unwrap().with_locks(locks, true));
        assert!(root.lock().unwrap());
        root
    }

    fn private(root: &Root) -> bool {
        root.path().join(crate::file::PRIVATE).exists()
    }

    #[tokio::test]
    async fn a_folder_that_is_locked_after_the_command_has_ended_is_tidied_too() {
        let dir = tempfile::tempdir().unwrap();
        let locks = Locks::open(dir.path()).unwrap();
        let (locked, early, late) = (LockedFolders::new(), take(&dir, &locks, "early"), take(&dir, &locks, "late"));
        locked.add(&early);
        assert!(private(&early) && private(&late));
        locked.tidy().await;
        locked.add(&late);
        assert!(!private(&early) && !private(&late));
    }

    #[tokio::test]
    async fn after_the_daemon_has_begun_only_folders_that_it_did_not_get_are_tidied() {
        let dir = tempfile::tempdir().unwrap();
        let locks = Locks::open(dir.path()).unwrap();
        let (locked, of_the_daemon, joins, stopped) = (
            LockedFolders::new(),
            take(&dir, &locks, "daemon"),
            take(&dir, &locks, "joins"),
            take(&dir, &locks, "stopped"),
        );
        locked.add(&of_the_daemon);
        locked.hand_over();
        locked.add(&joins);
        locked.add(&stopped);
        locked.hand_over_one(&joins);
        locked.tidy().await;
        assert!(private(&of_the_daemon) && private(&joins) && !private(&stopped));
    }
}
