//! Folders that `watch` can't take at its start, because a share is not mounted perhaps: a daemon looks for them again and takes up the
//! others meanwhile.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::context::Context;
use super::open_folders::{Answer, Working, for_each, no_answer, result_of};
use super::take_folder::{self, FolderTaker};
use crate::config::Folder;
use crate::daemon::{AwaitedFolder, WatchedFolder};
use crate::exit::{Exit, Fatal};
use crate::file::Root;
use crate::observe::health::{Condition, HealthCheck as _};
use crate::shutdown::Shutdown;

/// How often a missing folder is looked for: as often as a watched folder that has gone.
const INTERVAL: Duration = Duration::from_secs(5);

/// A folder that can't be taken now: it is missing, or a folder to which its files are moved is, or a file system does not answer.
#[derive(Debug)]
pub(super) struct Missing {
    pub(super) folder: Folder,
    /// Where its path leads, by what is there of it now. The checks of the configuration were made of this place: the folder must appear
    /// there, and not at another place, by a link that was made since.
    pub(super) place: PathBuf,
    pub(super) why: Fatal,
    /// The work that has not ended yet: it may hold the folder's lock already, which would shut out a second try.
    late: Option<Working<Taken>>,
}

/// The folders that can be taken, and those that can't.
pub(super) type Divided<T> = (Vec<T>, Vec<Missing>);

/// What came of opening a folder.
enum Opening {
    Open(Root),
    Missing { place: PathBuf, why: Fatal },
}

/// Opens all folders. With `make` missing ones are made. A folder that is missing or does not answer keeps no other from being opened;
/// what a person must mend in the configuration or the rights ends the start. Returns `None` where a stop is requested meanwhile.
pub(super) async fn open_all(context: &Context, make: bool) -> Result<Option<Divided<(Folder, Root)>>, Fatal> {
    let folders = &context.config.folders;
    let work = move |folder: Folder| open(&folder, make);
    let Some(answers) = for_each(folders.iter().cloned(), work, context.shutdown.clone()).await else {
        return Ok(None);
    };
    let (mut opened, mut missing) = (Vec::new(), Vec::new());
    for (folder, answer) in folders.iter().cloned().zip(answers) {
        match answer {
            Answer::InTime(opening) => match opening? {
                Opening::Open(root) => opened.push((folder, root)),
                Opening::Missing { place, why } => missing.push(Missing { folder, place, why, late: None }),
            },
            Answer::Late(_) => missing.push(unanswered(folder)),
        }
    }
    Ok(Some((opened, missing)))
}

/// Blocks.
fn open(folder: &Folder, make: bool) -> Result<Opening, Fatal> {
    if make {
        take_folder::make(folder)?;
    }
    match take_folder::open(&folder.path) {
        Ok(root) => Ok(Opening::Open(root)),
        Err(why) if may_come(&why) => Ok(Opening::Missing { place: folder.place(), why }),
        Err(fatal) => Err(fatal),
    }
}

/// Whether a folder that was not taken for this reason may be taken later, without a change of the configuration.
fn may_come(why: &Fatal) -> bool {
    why.exit == Exit::Missing
}

/// A folder whose file system does not answer. Where its path leads can't be asked either, so the path counts as it is written: if it
/// leads elsewhere by a link, the folder is refused when it answers.
fn unanswered(folder: Folder) -> Missing {
    let place = std::path::absolute(&folder.path).unwrap_or_else(|_| folder.path.clone());
    let why = no_answer(&folder.path);
    Missing { folder, place, why, late: None }
}

/// Locks all folders that are open. Returns `None` where a stop is requested meanwhile.
pub(super) async fn lock_all(
    open: Vec<(Folder, Root)>,
    taker: &FolderTaker,
    shutdown: Shutdown,
) -> Result<Option<Divided<WatchedFolder>>, Fatal> {
    let asked: Vec<_> = open.iter().map(|(folder, root)| (folder.clone(), root.path().to_owned())).collect();
    let taker = taker.clone();
    let work = move |(folder, root): (Folder, Root)| Ok(Taken::new(taker.lock(&folder, root)?, taker.clone()));
    let Some(answers) = for_each(open.into_iter(), work, shutdown).await else { return Ok(None) };
    let (mut present, mut missing) = (Vec::new(), Vec::new());
    for ((folder, place), answer) in asked.into_iter().zip(answers) {
        match answer {
            Answer::InTime(Ok(taken)) => present.push(taken.keep()),
            Answer::InTime(Err(why)) if may_come(&why) => missing.push(Missing { folder, place, why, late: None }),
            Answer::InTime(Err(fatal)) => return Err(fatal),
            Answer::Late(working) => {
                let why = no_answer(&folder.path);
                missing.push(Missing { folder, place, why, late: Some(working) });
            }
        }
    }
    Ok(Some((present, missing)))
}

/// Says that a folder is missing, and looks for it from now on until it can be opened and locked.
pub(super) fn wait_for(missing: Missing, taker: FolderTaker) -> AwaitedFolder {
    let condition = Condition::default();
    report(&missing.folder, &condition, &missing.why);
    let Missing { folder, place, late, .. } = missing;
    let sought = Sought { folder, place: place.clone(), late, wait: INTERVAL };
    AwaitedFolder {
        place,
        condition: condition.clone(),
        after: None,
        appears: Box::pin(appears(sought, taker, condition)),
    }
}

/// A folder that a reload adds: it is taken at once, or looked for as one that is missing. `after` resolves when the same folder, with its
/// settings from before, has left.
pub(super) fn join(
    folder: Folder,
    place: PathBuf,
    taker: FolderTaker,
    after: Option<oneshot::Receiver<()>>,
) -> AwaitedFolder {
    let condition = Condition::default();
    let sought = Sought { folder, place: place.clone(), late: None, wait: Duration::ZERO };
    AwaitedFolder { place, condition: condition.clone(), after, appears: Box::pin(appears(sought, taker, condition)) }
}

/// A folder that was taken, until it is handed on. Where nobody waits for it any more, it is given up again: its lock would shut out the next
/// try, when a later reload adds it again.
#[derive(Debug)]
pub(super) struct Taken {
    watched: WatchedFolder,
    unless_kept: GiveUp,
}

/// Gives a folder up when it is dropped, unless it is kept.
#[derive(Debug)]
struct GiveUp(Option<(Arc<Root>, FolderTaker)>);

impl Taken {
    fn new(watched: WatchedFolder, taker: FolderTaker) -> Self {
        let unless_kept = GiveUp(Some((Arc::clone(&watched.root), taker)));
        Self { watched, unless_kept }
    }

    fn keep(self) -> WatchedFolder {
        let Self { watched, mut unless_kept } = self;
        unless_kept.0 = None;
        watched
    }
}

impl Drop for GiveUp {
    fn drop(&mut self) {
        let Some((root, taker)) = self.0.take() else { return };
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn_blocking(move || taker.give_up(&root));
        }
    }
}

/// A folder that is looked for.
struct Sought {
    folder: Folder,
    place: PathBuf,
    /// A first try that is under way already.
    late: Option<Working<Taken>>,
    /// How long until the first try, otherwise.
    wait: Duration,
}

async fn appears(sought: Sought, taker: FolderTaker, condition: Condition) -> WatchedFolder {
    let Sought { folder, place, mut late, mut wait } = sought;
    loop {
        let taking = if let Some(working) = late.take() {
            working
        } else {
            sleep(std::mem::replace(&mut wait, INTERVAL)).await;
            let (folder, place, taker) = (folder.clone(), place.clone(), taker.clone());
            spawn_blocking(move || Ok(Taken::new(taker.take(&folder, &place)?, taker)))
        };
        match result_of(taking.await) {
            Ok(taken) => {
                let watched = taken.keep();
                taker.locked.hand_over(&watched.root);
                return watched;
            }
            Err(fatal) => report(&folder, &condition, &fatal),
        }
    }
}

/// Logs each reason once, not at each look.
fn report(folder: &Folder, condition: &Condition, why: &Fatal) {
    let why = why.to_string();
    if condition.trouble().as_ref() != Some(&why) {
        condition.raise(why.clone());
        tracing::error!(
            folder = %folder.path.display(),
            "{why}; it is looked for every {} s and watched once it can be opened; the other folders are watched meanwhile",
            INTERVAL.as_secs()
        );
    }
}
