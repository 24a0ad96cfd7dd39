//! A read-only look at a watched folder, or at files that a person named: for each file that lies there now, its standing, which says
//! whether the file would be uploaded, and why not.
//!
//! ```text
//!  take / visit ─► walk through the folder ─► look (open, lease, stamp) ─► journal ─► standing ─► FileHere
//! ```
//!
//! [`take`] collects a bounded list, for `status` and `history`; [`visit`] passes each file on as it is found, for `--dry-run`. Both
//! block, and write nothing. A file is held open for some microseconds: a lease that tells of writers is given up before the next file
//! is opened, so no program waits for it, and no lock is taken, so a running daemon is not disturbed.
//!
//! What the look can't know: since when a file is open (the kernel does not tell), and what the events told a running daemon. A file
//! is called settling by its own times, compared with the wall clock.

mod failures;
mod look;
mod standing;
#[cfg(test)]
mod tests;
mod writers;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::budget;
use crate::config::Policy;
use crate::file::Root;
use crate::file::lease::LeaseBreaks;
use crate::filter::{Filter, PatternError};
use crate::journal::{Journal, JournalError};
use crate::upload::Asked;
use crate::vault::RemotePath;
use crate::watch::settle::Rules;

#[cfg(test)]
pub(crate) use failures::FailedFile;
pub(crate) use failures::{FailedHere, StillHere, failed_here};
pub(crate) use standing::{Process, Standing};

/// What is looked at, and by which rules.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    root: Arc<Root>,
    policy: Policy,
    dest: RemotePath,
    journal: Option<Journal>,
    filter: Arc<Filter>,
    rules: Rules,
    asked: Asked,
    /// Held because the default action of the signal for a broken lease ends the process.
    _breaks: LeaseBreaks,
}

impl Look {
    /// A look at the files below a root that go to this destination by this policy. Without a journal, nothing is known of what was
    /// uploaded before. The error is that of a pattern.
    pub(crate) fn new(
        root: Arc<Root>,
        policy: Policy,
        dest: RemotePath,
        journal: Option<Journal>,
        breaks: LeaseBreaks,
    ) -> Result<Self, PatternError> {
        let filter = Arc::new(Filter::new(&policy.ignore, &policy.exclude, &policy.include)?);
        let rules = Rules::new(policy.settle).with_min_age(policy.min_age);
        Ok(Self { root, policy, dest, journal, filter, rules, asked: Asked::ByWatch, _breaks: breaks })
    }

    /// The folder that is looked at.
    pub(crate) fn root(&self) -> &Path {
        self.root.path()
    }

    /// The same look for files that somebody asks for by name: they need not settle.
    pub(crate) fn asked(self, asked: Asked) -> Self {
        Self { asked, ..self }
    }
}

/// How long a look may take, and how many files it lists. Beyond, the inventory is not complete.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) files: usize,
    pub(crate) time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { files: budget::INVENTORY_FILES, time: budget::INVENTORY_TIME }
    }
}

/// A file that lies in the folder now, or an ignored or unreadable folder.
#[derive(Debug)]
pub(crate) struct FileHere {
    /// Where it belongs, below the root: for a file that is set aside, the path that it had.
    pub(crate) relative: PathBuf,
    /// Its size in bytes; `None` where it can't be told, and for a folder.
    pub(crate) size: Option<u64>,
    /// Whether the file may leave the folder once it is stored. False where the kernel knows the writers of the file and does not tell
    /// this user of them: then the file stays, whatever the policy says.
    pub(crate) may_leave: bool,
    /// Whether it would be uploaded, and why not.
    pub(crate) standing: Standing,
}

/// The files of a folder.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    /// In the order of the walk.
    pub(crate) files: Vec<FileHere>,
    /// Whether these are all. Otherwise a limit was reached, or there were no descriptors left.
    pub(crate) complete: bool,
}

/// Looks at all files of the folder. Blocks for as long as the file system takes: the limit of time is only looked at between files.
pub(crate) fn take(look: &Look, limits: Limits) -> Result<Inventory, JournalError> {
    let end = Instant::now().checked_add(limits.time);
    let mut files = Vec::new();
    let mut collect = |file| {
        if files.len() >= limits.files {
            return ControlFlow::Break(());
        }
        files.push(file);
        ControlFlow::Continue(())
    };
    let complete = look::Looking::new(look, end, &mut collect).folder()?;
    Ok(Inventory { files, complete })
}

/// Looks at all files of the folder, and passes each on, until `with` breaks off. Returns whether that was all. Blocks.
pub(crate) fn visit(look: &Look, with: &mut dyn FnMut(FileHere) -> ControlFlow<()>) -> Result<bool, JournalError> {
    look::Looking::new(look, None, with).folder()
}

/// Looks at these files below the root, whether their paths are excluded or not. Blocks.
pub(crate) fn of_files(
    look: &Look,
    files: &[PathBuf],
    with: &mut dyn FnMut(FileHere) -> ControlFlow<()>,
) -> Result<bool, JournalError> {
    look::Looking::new(look, None, with).files(files.iter().map(PathBuf::as_path))
}

fn join(root: &Root, relative: &Path) -> PathBuf {
    root.path().join(relative)
}
