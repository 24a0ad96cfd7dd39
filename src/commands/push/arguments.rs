//! The arguments of `push`, and the files that they stand for.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use super::spool::{Spooled, spool};
use crate::config::{Config, Layout};
use crate::exit::{Exit, Fatal};
use crate::file::lock::Locks;
use crate::file::{FolderError, Root, Settled};
use crate::filter::Filter;
use crate::watch::{WalkEvent, Walker};

/// Something that the command line names.
pub(in crate::commands) enum Argument {
    File(Settled),
    /// A folder: all files in it that the filter takes.
    Folder(Arc<Root>, Arc<Filter>, Layout),
    /// Standard input. It is written into the folder `spool` first, as its length must be known before it is sent.
    StandardInput {
        name: String,
        spool: PathBuf,
        locks: Arc<Locks>,
    },
}

/// Something that an argument stands for.
pub(super) enum Item {
    File(Settled),
    /// The file to which standard input was written.
    StandardInput(Spooled),
    /// Something that can't be read, and why.
    Unreadable(String),
}

impl Argument {
    /// Finds out what a path is. Blocks.
    pub(in crate::commands) fn find(file: &Path, config: &Config, roots: &Roots) -> Result<Self, Fatal> {
        let missing = |error: io::Error| missing(file, &error);
        if std::fs::symlink_metadata(file).map_err(missing)?.is_dir() {
            let upload = &config.upload;
            let filter = Filter::new(&upload.ignore, &upload.exclude, &upload.include)?;
            let root = roots.of(file)?;
            refuse_own_state(&root, config)?;
            return Ok(Self::Folder(root, Arc::new(filter), config.upload.layout));
        }
        let name = file.file_name().ok_or_else(|| missing(io::ErrorKind::InvalidFilename.into()))?;
        Ok(Self::File(Settled::new(roots.of(file)?, name.into())))
    }

    /// The path, however it was written; standard input has none.
    pub(in crate::commands) fn place(&self) -> Option<PathBuf> {
        match self {
            Self::File(file) => Some(file.root.path().join(&file.relative)),
            Self::Folder(root, ..) => Some(root.path().to_owned()),
            Self::StandardInput { .. } => None,
        }
    }
}

fn missing(file: &Path, error: &io::Error) -> Fatal {
    Fatal::new(Exit::Missing, format!("{} can't be uploaded: {error}", file.display()))
}

/// The folders that the arguments are or lie in. Each is opened once, however many of its files are named. Clones share them.
#[derive(Clone)]
pub(in crate::commands) struct Roots {
    by_path: Arc<Mutex<HashMap<PathBuf, Arc<Root>>>>,
    locks: Arc<Locks>,
    /// Whether files are removed from the folders. Then no other user may be able to put another folder in their place.
    removes: bool,
}

impl Roots {
    pub(in crate::commands) fn new(locks: Arc<Locks>, removes: bool) -> Self {
        Self { by_path: Arc::default(), locks, removes }
    }

    pub(super) fn locks(&self) -> &Arc<Locks> {
        &self.locks
    }

    /// Opens the folder itself, or the folder that a file lies in. Blocks.
    pub(super) fn of(&self, file: &Path) -> Result<Arc<Root>, Fatal> {
        let is_folder = std::fs::symlink_metadata(file).is_ok_and(|metadata| metadata.is_dir());
        let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = if is_folder { file } else { parent };
        let opened =
            if self.removes { Root::open_trusted(folder) } else { Root::open(folder).map_err(FolderError::Io) };
        let root = opened.map_err(|error| match error {
            FolderError::Io(error) => missing(file, &error),
            FolderError::Controlled(controlled) => Fatal::new(Exit::Usage, controlled.to_string()),
        })?;
        let mut by_path = self.by_path.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(root) = by_path.get(root.path()) {
            return Ok(Arc::clone(root));
        }
        let root = Arc::new(root.with_locks(&self.locks, self.removes));
        by_path.insert(root.path().to_owned(), Arc::clone(&root));
        Ok(root)
    }

    pub(super) fn all(&self) -> Vec<Arc<Root>> {
        self.by_path.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

/// Refuses a folder that contains the journal, which grows with each upload and would never be complete.
fn refuse_own_state(root: &Root, config: &Config) -> Result<(), Fatal> {
    let state = std::fs::canonicalize(&config.state_dir).or_else(|_| std::path::absolute(&config.state_dir));
    if state.is_ok_and(|state| state.starts_with(root.path())) {
        let (folder, state) = (root.path().display(), config.state_dir.display());
        let reason = format!("{folder} can't be uploaded: the journal's folder {state} lies in it (see --state-dir)");
        return Err(Fatal::new(Exit::Usage, reason));
    }
    Ok(())
}

/// Sends all files that the arguments stand for, in the order of the arguments and each once, as fast as the receiver takes them.
pub(super) async fn expand(mut arguments: Vec<Argument>, items: mpsc::Sender<Item>) -> Result<(), Fatal> {
    // The patterns of a shell may overlap.
    let mut named = HashSet::new();
    arguments.retain(|argument| argument.place().is_none_or(|place| named.insert(place)));
    for argument in arguments {
        match argument {
            // The receiver is dropped when the upload has been given up, which the upload reports itself.
            Argument::File(file) => items.send(Item::File(file)).await.unwrap_or_default(),
            Argument::Folder(root, filter, layout) => {
                let is_named = |file: &Path| is_named_itself(root.path(), file, layout, &named);
                walk(&root, filter, is_named, &items).await?;
            }
            Argument::StandardInput { name, spool: folder, locks } => {
                items.send(Item::StandardInput(spool(name, folder, &locks).await?)).await.unwrap_or_default();
            }
        }
    }
    Ok(())
}

/// Whether a file below a folder is an argument itself, or lies below another argument, a folder between the two. With layout
/// "mirror" the same file becomes another document below that folder, so only the file itself counts.
pub(in crate::commands) fn is_named_itself(
    folder: &Path,
    file: &Path,
    layout: Layout,
    named: &HashSet<PathBuf>,
) -> bool {
    let path = folder.join(file);
    match layout {
        Layout::Flat => path.ancestors().take_while(|above| *above != folder).any(|above| named.contains(above)),
        Layout::Mirror => named.contains(&path),
    }
}

/// Sends the files of a folder, without those that are named themselves.
async fn walk(
    root: &Arc<Root>,
    filter: Arc<Filter>,
    is_named: impl Fn(&Path) -> bool,
    items: &mpsc::Sender<Item>,
) -> Result<(), Fatal> {
    let (sender, mut walked) = mpsc::channel(4);
    let walker = Walker { root: Arc::clone(root), filter, events: sender };
    let walking = tokio::task::spawn_blocking(move || walker.walk(&[PathBuf::new()], None, |_| ()));
    while let Some(message) = walked.recv().await {
        let found: Vec<Item> = match message {
            WalkEvent::Files(files) => {
                let others = files.into_iter().filter(|file| !is_named(file));
                others.map(|file| Item::File(Settled::new(Arc::clone(root), file))).collect()
            }
            WalkEvent::Unreadable(path, why) => {
                vec![Item::Unreadable(format!("{} can't be read: {why}", root.path().join(path).display()))]
            }
            WalkEvent::Ended => break,
        };
        for item in found {
            if items.send(item).await.is_err() {
                return Ok(());
            }
        }
    }
    walking.await.map_err(Fatal::internal)
}
