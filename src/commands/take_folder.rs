//! Takes a folder for `watch`: opens it, locks it, and opens the folders that its files are moved to. Whoever adds a folder to a run uses
//! this, at the start and later.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::notified::NotifiedFiles;
use super::open_folders::LockedFolders;
use crate::config::Folder;
use crate::daemon::WatchedFolder;
use crate::exit::{Exit, Fatal};
use crate::file::lease::{self, LeaseBreaks};
use crate::file::lock::Locks;
use crate::file::{FolderError, Root};
use crate::inventory::Look;
use crate::observe::metrics::Metrics;
use crate::owner::why_denied;
use crate::removal::{self, MoveTargetError};
use crate::status::{Gatherer, Place, holder_of};
use crate::upload::MoveTargets;

/// What it takes to lock a folder for a run. Clones lock for the same run.
#[derive(Debug, Clone)]
pub(super) struct FolderTaker {
    pub(super) locks: Arc<Locks>,
    pub(super) state_dir: PathBuf,
    pub(super) metrics: Metrics,
    pub(super) locked: LockedFolders,
    pub(super) status: Gatherer,
    pub(super) breaks: LeaseBreaks,
    pub(super) notified: NotifiedFiles,
}

impl FolderTaker {
    /// Opens a folder and locks it, if it lies at the place that was checked. Blocks.
    pub(super) fn take(&self, folder: &Folder, place: &Path) -> Result<WatchedFolder, Fatal> {
        self.lock(folder, open_at(&folder.path, place)?)
    }

    /// Locks a folder for this process alone, and opens the folders to which its files are moved. The lock comes last, because it is
    /// held until the program ends: a folder that is waited for is tried again after a failure, and its own lock would shut it out.
    /// Blocks.
    pub(super) fn lock(&self, folder: &Folder, root: Root) -> Result<WatchedFolder, Fatal> {
        let shown = folder.path.display();
        let Some(dest) = folder.policy.dest.clone() else {
            return Err(Fatal::new(Exit::Usage, format!("no destination for {shown}: give --dest PATH")));
        };
        if let Some(target) = folder.target_inside() {
            let why = format!(
                "{} lies in {shown}: what is moved there would be uploaded; put it elsewhere",
                target.display()
            );
            return Err(Fatal::new(Exit::Usage, why));
        }
        let targets = MoveTargets::open(&folder.policy).map_err(|error| cannot_move(&error))?;
        let root = Arc::new(root.with_locks(&self.locks, folder.policy.removes()));
        match root.lock() {
            Ok(true) => {}
            Ok(false) => return Err(Fatal::new(Exit::Held, held(&root, &shown.to_string(), &self.state_dir))),
            Err(error) => tracing::warn!(folder = %shown, "can't be locked against a second instance: {error}"),
        }
        self.locked.add(&root);
        warn_of_files_that_stay(folder, &root);
        let counts = self.metrics.folder(root.path());
        let watched = WatchedFolder { root, policy: folder.policy.clone(), targets, dest, counts };
        self.add_to_status(&watched);
        self.notified.watches(watched.root.path(), watched.counts.waiting.clone());
        Ok(watched)
    }

    /// Gives up a folder that was locked and is not needed any more. Blocks.
    pub(super) fn give_up(&self, root: &Arc<Root>) {
        self.locked.hand_over(root);
        removal::tidy(root);
        root.unlock();
    }

    /// Forgets a folder that has left.
    pub(super) fn forget(&self, place: &Path) {
        self.status.remove(place);
        self.notified.forget(place);
    }

    fn add_to_status(&self, watched: &WatchedFolder) {
        let WatchedFolder { root, policy, dest, counts, .. } = watched;
        let (journal, breaks) = (self.status.journal(), self.breaks.clone());
        match Look::new(Arc::clone(root), policy.clone(), dest.clone(), journal, breaks) {
            Ok(look) => {
                self.status.add(Place { look, dest: dest.clone(), waiting: Some(counts.waiting.clone()) });
            }
            Err(error) => tracing::debug!("the status does not show {}: {error}", root.path().display()),
        }
    }
}

fn warn_of_files_that_stay(folder: &Folder, root: &Root) {
    let may_stay = folder.policy.removes() && !folder.policy.allow_unleased;
    if may_stay && root.may_hold_files_of_others() && !lease::allowed_on_files_of_others() {
        tracing::warn!(
            folder = %folder.path.display(),
            "files of other users will be uploaded but stay here, because the kernel does not tell this user of their writers: give \
             this user CAP_LEASE (systemd: AmbientCapabilities=CAP_LEASE), or set allow_unleased = true"
        );
    }
}

/// Opens a folder. Blocks.
pub(super) fn open(path: &Path) -> Result<Root, Fatal> {
    Root::open_trusted(path).map_err(|error| not_taken(path, &error))
}

fn open_at(path: &Path, place: &Path) -> Result<Root, Fatal> {
    let root = open(path)?;
    if root.path() == place {
        return Ok(root);
    }
    let (path, leads, place) = (path.display(), root.path().display(), place.display());
    let why = format!(
        "{path} leads to {leads} now and led to {place} at the start, so it was not checked whether it may be emptied: start again"
    );
    Err(Fatal::new(Exit::Usage, why))
}

/// The error for a folder to which no file may be moved: a mistake in the configuration, or a folder that can't be opened.
pub(super) fn cannot_move(error: &MoveTargetError) -> Fatal {
    let exit = if matches!(error, MoveTargetError::Io(..)) { Exit::Missing } else { Exit::Usage };
    Fatal::new(exit, format!("no file is moved there: {error}"))
}

/// Who holds a folder that can't be locked: several pushes may share the lock of a folder, a watch shares its lock with no other process.
fn held(root: &Root, shown: &str, state_dir: &Path) -> String {
    if root.share() {
        format!("a push is removing files from {shown} just now: try again when it has ended")
    } else {
        let holder = holder_of(state_dir, root.path());
        let named = holder.map(|holder| format!(" (pid {}, since {})", holder.pid, holder.since)).unwrap_or_default();
        format!("another instance watches {shown} already{named}: stop that one first, or leave the folder to it")
    }
}

/// The error for a folder that is not opened because files are to be removed from it.
pub(super) fn not_taken(path: &Path, error: &FolderError) -> Fatal {
    match error {
        FolderError::Io(error) => cannot_open(path, error),
        FolderError::Controlled(controlled) => Fatal::new(Exit::Usage, controlled.to_string()),
    }
}

fn cannot_open(path: &Path, error: &std::io::Error) -> Fatal {
    let shown = path.display();
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            Fatal::new(Exit::Missing, format!("the folder {shown} is missing: make it, or name another one"))
        }
        std::io::ErrorKind::NotADirectory => {
            Fatal::new(Exit::Missing, format!("{shown} is not a folder; to upload a file: astran-backup push {shown}"))
        }
        std::io::ErrorKind::PermissionDenied => {
            Fatal::new(Exit::Missing, format!("the folder {shown} can't be opened: {}", why_denied(path)))
        }
        _ => Fatal::new(Exit::Missing, format!("the folder {shown} can't be opened: {error}")),
    }
}

/// Makes a folder that is missing: with `--sandbox`, so that a first trial needs no preparation. Blocks.
#[expect(clippy::disallowed_methods, reason = "a user tries the sandbox with a folder of their own")]
pub(super) fn make(folder: &Folder) -> Result<(), Fatal> {
    std::fs::create_dir_all(&folder.path).map_err(|error| cannot_open(&folder.path, &error))
}
