//! What was named on the command line, and the files that it stands for.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::mpsc;

use super::spool::{Spooled, spool};
use crate::cli::Push;
use crate::config::{Config, Layout};
use crate::exit::{Exit, Fatal};
use crate::file::lock::Locks;
use crate::file::{FolderError, Root, Settled};
use crate::watch::{IgnorePatterns, WalkEvent, Walker};

/// Something that was named.
pub(super) enum Named {
    /// A file.
    File(Settled),
    /// A folder, of which all files are meant whose names don't say "in progress".
    Folder(Arc<Root>, Arc<IgnorePatterns>, Layout),
    /// Standard input, to be called this, by way of this folder: its length must be known before it is sent.
    Input(String, PathBuf, Arc<Locks>),
}

/// What was found.
pub(super) enum Find {
    /// A file to upload.
    File(Settled),
    /// The file that standard input was written to.
    Input(Spooled),
    /// Something that can't be read, and why.
    Unreadable(String),
}

impl Named {
    /// All are looked at before any is uploaded, so that a typing error leaves nothing half done.
    pub(super) fn find(file: &Path, typed: &Push, config: &Config, roots: &mut Roots) -> Result<Self, Fatal> {
        if file == Path::new("-") {
            let name = typed.name.clone();
            let name = name.ok_or_else(|| Fatal::new(Exit::Usage, "standard input has no name: give --name NAME"))?;
            return Ok(Self::Input(name, config.state_dir.join("stdin"), Arc::clone(&roots.locks)));
        }
        if typed.name.is_some() {
            return Err(Fatal::new(Exit::Usage, "--name goes with - (standard input); files have their own names"));
        }
        let missing = |error: io::Error| missing(file, &error);
        if std::fs::symlink_metadata(file).map_err(missing)?.is_dir() {
            let names = IgnorePatterns::new(&config.upload.ignore)
                .map_err(|error| Fatal::new(Exit::Usage, error.to_string()))?;
            let root = roots.of(file)?;
            holds_no_state(&root, config)?;
            return Ok(Self::Folder(root, Arc::new(names), config.upload.layout));
        }
        let name = file.file_name().ok_or_else(|| missing(io::ErrorKind::InvalidFilename.into()))?;
        Ok(Self::File(Settled::new(roots.of(file)?, name.into())))
    }

    /// Where it lies, whichever way it was written; standard input lies nowhere.
    fn place(&self) -> Option<PathBuf> {
        match self {
            Self::File(file) => Some(file.root.path().join(&file.relative)),
            Self::Folder(root, ..) => Some(root.path().to_owned()),
            Self::Input(..) => None,
        }
    }
}

fn missing(file: &Path, error: &io::Error) -> Fatal {
    Fatal::new(Exit::Missing, format!("{} can't be uploaded: {error}", file.display()))
}

/// The folders of the user's that what was named lies in, each open once, however many files of it were named.
pub(super) struct Roots {
    open: HashMap<PathBuf, Arc<Root>>,
    locks: Arc<Locks>,
    /// Whether files are removed from them: then nobody else may have put them where they are.
    removes: bool,
}

impl Roots {
    pub(super) fn new(locks: Arc<Locks>, removes: bool) -> Self {
        Self { open: HashMap::new(), locks, removes }
    }

    /// The folder itself, or the one that a file lies in.
    pub(super) fn of(&mut self, file: &Path) -> Result<Arc<Root>, Fatal> {
        let is_folder = std::fs::symlink_metadata(file).is_ok_and(|metadata| metadata.is_dir());
        let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let folder = if is_folder { file } else { parent };
        let opened =
            if self.removes { Root::open_trusted(folder) } else { Root::open(folder).map_err(FolderError::Io) };
        let root = opened.map_err(|error| match error {
            FolderError::Io(error) => missing(file, &error),
            FolderError::Controlled(controlled) => Fatal::new(Exit::Usage, controlled.to_string()),
        })?;
        if let Some(root) = self.open.get(root.path()) {
            return Ok(Arc::clone(root));
        }
        let root = Arc::new(root.with_locks(&self.locks, self.removes));
        self.open.insert(root.path().to_owned(), Arc::clone(&root));
        Ok(root)
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<Root>> {
        self.open.values()
    }
}

/// The journal grows with each upload: it is no document, and would never be still.
fn holds_no_state(root: &Root, config: &Config) -> Result<(), Fatal> {
    let state = std::fs::canonicalize(&config.state_dir).or_else(|_| std::path::absolute(&config.state_dir));
    if state.is_ok_and(|state| state.starts_with(root.path())) {
        let (folder, state) = (root.path().display(), config.state_dir.display());
        let reason = format!("{folder} can't be uploaded: the journal's folder {state} lies in it (see --state-dir)");
        return Err(Fatal::new(Exit::Usage, reason));
    }
    Ok(())
}

/// Finds all files that were named, in their order, each once, at the pace of whoever takes them.
pub(super) async fn find_all(mut named: Vec<Named>, found: mpsc::Sender<Find>) -> Result<(), Fatal> {
    // Patterns of a shell overlap.
    let mut seen = HashSet::new();
    named.retain(|named| named.place().is_none_or(|place| seen.insert(place)));
    for named in named {
        match named {
            // Nobody takes them any more: the upload has been given up, and says so.
            Named::File(file) => found.send(Find::File(file)).await.unwrap_or_default(),
            Named::Folder(root, names, layout) => {
                let by_itself = |file: &Path| goes_by_itself(root.path(), file, layout, &seen);
                walk(&root, names, by_itself, &found).await?;
            }
            Named::Input(name, folder, locks) => {
                found.send(Find::Input(spool(name, folder, &locks).await?)).await.unwrap_or_default();
            }
        }
    }
    Ok(())
}

/// Whether a file below a folder was named itself, or goes with another folder that was named and lies on the way to it.
/// Layout "mirror" makes another document of it there.
fn goes_by_itself(folder: &Path, file: &Path, layout: Layout, named: &HashSet<PathBuf>) -> bool {
    let path = folder.join(file);
    match layout {
        Layout::Flat => path.ancestors().take_while(|above| *above != folder).any(|above| named.contains(above)),
        Layout::Mirror => named.contains(&path),
    }
}

/// Finds the files of a folder, but for those that go by themselves.
async fn walk(
    root: &Arc<Root>,
    names: Arc<IgnorePatterns>,
    by_itself: impl Fn(&Path) -> bool,
    found: &mpsc::Sender<Find>,
) -> Result<(), Fatal> {
    let (sender, mut walked) = mpsc::channel(4);
    let walker = Walker { root: Arc::clone(root), ignore: names, events: sender };
    let walking = tokio::task::spawn_blocking(move || walker.walk(&[PathBuf::new()], None, |_| ()));
    while let Some(message) = walked.recv().await {
        let files: Vec<Find> = match message {
            WalkEvent::Files(files) => {
                let others = files.into_iter().filter(|file| !by_itself(file));
                others.map(|file| Find::File(Settled::new(Arc::clone(root), file))).collect()
            }
            WalkEvent::Unreadable(path, why) => {
                vec![Find::Unreadable(format!("{} can't be read: {why}", root.path().join(path).display()))]
            }
            WalkEvent::Ended => break,
        };
        for file in files {
            if found.send(file).await.is_err() {
                return Ok(());
            }
        }
    }
    walking.await.map_err(|error| Fatal::new(Exit::SomeFailed, format!("internal error: {error}")))
}
