//! Folders that `watch` can't open at its start, because a share is not mounted perhaps: the other folders are watched meanwhile.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::open_folders::LockedFolders;
use crate::config::Folder;
use crate::daemon::{AwaitedFolder, WatchedFolder};
use crate::exit::{Exit, Fatal};
use crate::file::Root;
use crate::observe::health::{Condition, HealthCheck as _};

/// How often a missing folder is looked for: as often as a watched folder that has gone.
const INTERVAL: Duration = Duration::from_secs(5);

/// What came of opening a folder at the start.
#[derive(Debug)]
pub(super) enum Opening {
    Open(Folder, Root),
    Missing(Missing),
}

/// A folder that can't be opened.
#[derive(Debug)]
pub(super) struct Missing {
    pub(super) folder: Folder,
    /// Where its path leads, by what is there of it now. The checks of the configuration were made of this place: the folder must appear
    /// there, and not at another place, by a link that was made since.
    place: PathBuf,
    why: Fatal,
}

impl Missing {
    /// Blocks.
    pub(super) fn new(folder: &Folder, why: Fatal) -> Self {
        Self { place: folder.place(), folder: folder.clone(), why }
    }
}

/// The folders that are open, and those that are waited for.
pub(super) type Divided = (Vec<(Folder, Root)>, Vec<Missing>);

/// Divides the folders into those that are open and those that are waited for. The first missing one is the error where nothing else can
/// be done: without `may_wait`, or where no folder at all is open.
pub(super) fn divide(openings: Vec<Opening>, may_wait: bool) -> Result<Divided, Fatal> {
    let (mut open, mut missing) = (Vec::new(), Vec::new());
    for opening in openings {
        match opening {
            Opening::Open(folder, root) => open.push((folder, root)),
            Opening::Missing(folder) if may_wait => missing.push(folder),
            Opening::Missing(folder) => return Err(folder.why),
        }
    }
    if open.is_empty() && !missing.is_empty() {
        return Err(missing.swap_remove(0).why);
    }
    Ok((open, missing))
}

/// Says that a folder is missing, and looks for it from now on until it can be opened and locked. `take` does both, and may block.
pub(super) fn wait_for(
    missing: Missing,
    take: impl Fn(&Folder, Root) -> Result<WatchedFolder, Fatal> + Clone + Send + 'static,
    locked: LockedFolders,
) -> AwaitedFolder {
    let condition = Condition::default();
    report(&missing.folder, &condition, &missing.why);
    let (place, waits) = (missing.place.clone(), condition.clone());
    let appears = async move {
        loop {
            sleep(INTERVAL).await;
            let (folder, place, take) = (missing.folder.clone(), missing.place.clone(), take.clone());
            let taking = spawn_blocking(move || take(&folder, open_at(&folder.path, &place)?));
            match taking.await {
                Ok(Ok(watched)) => {
                    locked.hand_over_one(&watched.root);
                    return watched;
                }
                Ok(Err(fatal)) => report(&missing.folder, &waits, &fatal),
                Err(error) => {
                    report(&missing.folder, &waits, &Fatal::internal(error));
                }
            }
        }
    };
    AwaitedFolder { place, condition, appears: Box::pin(appears) }
}

/// Logs each reason once, not at each look.
fn report(folder: &Folder, condition: &Condition, why: &Fatal) {
    let why = why.to_string();
    if condition.trouble().as_ref() != Some(&why) {
        tracing::error!(
            folder = %folder.path.display(),
            "{why}; the other folders are watched, and this one from when it can be opened"
        );
        condition.raise(why);
    }
}

/// Blocks.
fn open_at(path: &Path, place: &Path) -> Result<Root, Fatal> {
    let root = Root::open_trusted(path).map_err(|error| super::watch::not_taken(path, &error))?;
    if root.path() == place {
        return Ok(root);
    }
    let (path, leads, place) = (path.display(), root.path().display(), place.display());
    let why = format!(
        "{path} leads to {leads} now and led to {place} at the start, so it was not checked whether it may be emptied: start again"
    );
    Err(Fatal::new(Exit::Usage, why))
}
