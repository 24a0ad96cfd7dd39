//! Work on the folders of `watch` and `push`, on threads that may block: the file system of a folder, a network share perhaps, may
//! not answer. A folder that was locked is tidied on every way out.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::task::{JoinError, JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout, timeout_at};

use crate::budget;
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
        self.hand_over(root);
        removal::tidy(root);
    }

    /// Forgets a folder: from now on the daemon tidies it.
    pub(super) fn hand_over(&self, root: &Arc<Root>) {
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

/// Work on one folder, under way on a thread that may block.
pub(super) type Working<T> = JoinHandle<Result<T, Fatal>>;

/// What came of the work on one folder.
#[derive(Debug)]
pub(super) enum Answer<T> {
    InTime(Result<T, Fatal>),
    /// The file system has not answered yet. The work goes on, and so may hold what it opened or locked.
    Late(Working<T>),
}

/// Does the same work, which may block, for all folders at once, within one time limit for all. The answers have the order of the
/// folders. Returns `None` where a stop is requested meanwhile.
pub(super) async fn for_each<I, T>(
    folders: impl Iterator<Item = I>,
    work: impl Fn(I) -> Result<T, Fatal> + Clone + Send + 'static,
    shutdown: Shutdown,
) -> Option<Vec<Answer<T>>>
where
    I: Send + 'static,
    T: Send + 'static,
{
    let begin = |folder: I| {
        let work = work.clone();
        spawn_blocking(move || work(folder))
    };
    answers(folders.map(begin).collect(), shutdown).await
}

async fn answers<T>(asked: Vec<Working<T>>, mut shutdown: Shutdown) -> Option<Vec<Answer<T>>> {
    let end = Instant::now() + budget::RECOVERY;
    let all = async {
        let mut answers = Vec::with_capacity(asked.len());
        for mut working in asked {
            answers.push(match timeout_at(end, &mut working).await {
                Ok(ended) => Answer::InTime(result_of(ended)),
                Err(_elapsed) => Answer::Late(working),
            });
        }
        Some(answers)
    };
    tokio::select! {
        all = all => all,
        () = shutdown.reached(Stop::Gently) => None,
    }
}

/// The result of work that has ended.
pub(super) fn result_of<T>(ended: Result<Result<T, Fatal>, JoinError>) -> Result<T, Fatal> {
    ended.unwrap_or_else(|error| Err(Fatal::internal(error)))
}

/// Does work, which may block, on one path. A file system that does not answer in time is a failure.
pub(super) async fn on_disk<T: Send + 'static>(
    path: &Path,
    work: impl FnOnce() -> Result<T, Fatal> + Send + 'static,
) -> Result<T, Fatal> {
    let answer = timeout(budget::RECOVERY, spawn_blocking(work)).await.map_err(|_| no_answer(path))?;
    result_of(answer)
}

pub(super) fn no_answer(path: &Path) -> Fatal {
    let path = path.display();
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

    fn after(seconds: u64, answer: Result<u8, Fatal>) -> Working<u8> {
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            answer
        })
    }

    /// A folder whose file system answers only when the sender is used.
    fn hung() -> (oneshot::Sender<u8>, Working<u8>) {
        let (answer, answered) = oneshot::channel();
        (answer, tokio::spawn(async move { answered.await.map_err(|_| Fatal::new(Exit::SomeFailed, "never")) }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_folder_that_does_not_answer_in_time_is_late_and_the_others_are_answered() {
        let (_trigger, shutdown) = shutdown::channel();
        let (answer, silent) = hung();
        let start = Instant::now();
        let mut all = answers(vec![after(0, Ok(1)), silent, after(9, Ok(2))], shutdown).await.unwrap();
        assert_eq!(start.elapsed(), budget::RECOVERY);
        assert!(matches!(all[0], Answer::InTime(Ok(1))) && matches!(all[2], Answer::InTime(Ok(2))));
        let Answer::Late(late) = all.remove(1) else { panic!("in time") };
        answer.send(3).unwrap();
        assert_eq!(late.await.unwrap().unwrap(), 3, "the work goes on");
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_ends_the_wait_for_a_folder_that_does_not_answer() {
        let (trigger, shutdown) = shutdown::channel();
        let (_answer, silent) = hung();
        let start = Instant::now();
        trigger.raise();
        assert!(answers(vec![silent], shutdown).await.is_none());
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn folders_are_asked_side_by_side_and_each_has_its_own_answer() {
        let (_trigger, shutdown) = shutdown::channel();
        let slow = budget::RECOVERY.as_secs() - 1;
        let fails = Err(Fatal::new(Exit::Held, "no"));
        let all = answers(vec![after(slow, Ok(1)), after(slow, fails), after(slow, Ok(2))], shutdown).await.unwrap();
        let [Answer::InTime(Ok(1)), Answer::InTime(Err(fatal)), Answer::InTime(Ok(2))] = &all[..] else {
            panic!("{all:?}")
        };
        assert_eq!(fatal.exit, Exit::Held);
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
        locked.hand_over(&of_the_daemon);
        locked.add(&joins);
        locked.add(&stopped);
        locked.hand_over(&joins);
        locked.tidy().await;
        assert!(private(&of_the_daemon) && private(&joins) && !private(&stopped));
    }
}
