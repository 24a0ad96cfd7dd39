//! The arguments of `push`, and the folders that they are or lie in.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::expand::NamedFolder;
use crate::config::{Config, Layout};
use crate::exit::{Exit, Fatal};
use crate::file::lock::Locks;
use crate::file::{FolderError, Root, Settled};
use crate::filter::Filter;

/// Something that the command line names.
pub(in crate::commands) enum Argument {
    /// A file, and its path as it was typed.
    File(Settled, PathBuf),
    Folder(NamedFolder),
    /// Standard input. It is written into the folder `spool` first, as its length must be known before it is sent.
    StandardInput {
        name: String,
        spool: PathBuf,
        locks: Arc<Locks>,
    },
}

/// Something that was named and is not there, or that can't be read.
#[derive(Debug)]
pub(in crate::commands) struct Missing {
    pub(in crate::commands) typed: PathBuf,
    /// A sentence that names it.
    pub(in crate::commands) why: String,
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
            let (filter, layout, typed) = (Arc::new(filter), config.upload.layout, file.to_owned());
            return Ok(Self::Folder(NamedFolder { root, filter, layout, typed }));
        }
        let name = file.file_name().ok_or_else(|| missing(io::ErrorKind::InvalidFilename.into()))?;
        Ok(Self::File(Settled::new(roots.of(file)?, name.into()), file.to_owned()))
    }

    /// The path, however it was written; standard input has none.
    pub(in crate::commands) fn place(&self) -> Option<PathBuf> {
        match self {
            Self::File(file, _) => Some(file.root.path().join(&file.relative)),
            Self::Folder(folder) => Some(folder.root.path().to_owned()),
            Self::StandardInput { .. } => None,
        }
    }
}

fn missing(file: &Path, error: &io::Error) -> Fatal {
    let file = file.display();
    let text = match error.kind() {
        io::ErrorKind::NotFound => format!("{file}: there is no such file or folder"),
        _ => format!("{file} can't be uploaded: {error}"),
    };
    Fatal::new(Exit::Missing, text)
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
        let mut by_path = self.by_path();
        if let Some(root) = by_path.get(root.path()) {
            return Ok(Arc::clone(root));
        }
        let root = Arc::new(root.with_locks(&self.locks, self.removes));
        by_path.insert(root.path().to_owned(), Arc::clone(&root));
        Ok(root)
    }

    pub(in crate::commands) fn len(&self) -> usize {
        self.by_path().len()
    }

    /// Forgets the folders of which no file is under way, and returns them.
    pub(in crate::commands) fn take_unused(&self) -> Vec<Arc<Root>> {
        // This map, and the list of folders that are locked.
        let ours = if self.removes { 2 } else { 1 };
        self.by_path().extract_if(|_, root| Arc::strong_count(root) <= ours).map(|(_, root)| root).collect()
    }

    fn by_path(&self) -> MutexGuard<'_, HashMap<PathBuf, Arc<Root>>> {
        self.by_path.lock().unwrap_or_else(PoisonError::into_inner)
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
