//! What the daemon gives to the watch of a folder, and what it gets back.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::settle::Rules;
use crate::file::Root;
use crate::filter::Filter;
use crate::observe::health::Condition;
use crate::observe::metrics::FolderMetrics;
use crate::observe::stall::Activity;

/// How a folder is watched.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Which files and folders are looked at.
    pub(crate) filter: Arc<Filter>,
    /// When a file is ready.
    pub(crate) rules: Rules,
    /// Time between walks through the whole tree.
    pub(crate) rescan: Duration,
    /// End when all files that were there at the start are done.
    pub(crate) once: bool,
    /// What to do with files that are set aside.
    pub(crate) staging: Staging,
    /// Where missed and lost events are counted.
    pub(crate) counts: FolderMetrics,
    /// What `/readyz` says of the folder: raised while it is gone.
    pub(crate) condition: Condition,
    /// Where inspections count as waiting for the file system, and as done.
    pub(crate) inspections: Activity,
}

/// What a watch does with files that are set aside. The functions are passed in: `watch` itself renames and removes nothing. All block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Staging {
    /// Puts back all files that a stopped process left set aside in the private folder of this folder, which is given below the root.
    /// Returns where those lie that can't be put back.
    pub(crate) recover: fn(&Root, &Path) -> Vec<PathBuf>,
    /// Puts back one file that lies beside its place. Returns where it lies then; `None` where it is gone.
    pub(crate) put_back: fn(&Root, &Path) -> Option<PathBuf>,
    /// Removes the private folder of a folder that is not watched any more, where it is empty.
    pub(crate) tidy: fn(&Root),
}

/// What the upload reports of one file that it was given.
#[derive(Debug, Clone)]
pub(crate) struct UploadReport {
    /// Where the file lay when it was handed on, below the root.
    pub(crate) relative: PathBuf,
    pub(crate) end: UploadEnd,
}

/// How the upload of a file ended, as far as watching is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum UploadEnd {
    /// It was uploaded, and is no longer in the folder.
    Stored,
    /// It was not uploaded, and is no longer in the folder.
    Gone,
    /// It remains in the folder until it changes.
    Remains {
        /// It was set aside, and was put back: the event of that rename tells nothing new.
        put_back: bool,
        /// It was set aside and could not be put back. It lies here, below the root.
        aside: Option<PathBuf>,
    },
    /// It changed, so it must settle and be uploaded again. It lies here now, below the root.
    Returned(PathBuf),
}

/// How watching a folder ended, apart from the files that were handed on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct WatchSummary {
    /// Folders and files that could not be read.
    pub(crate) unreadable: u64,
    /// Files that were left to the next run because somebody writes them; only with `once`.
    pub(crate) still_open: u64,
    /// Uploaded files of which no event told, though one should have.
    pub(crate) missed_by_events: u64,
    /// Files that were handed on and never reported, because the upload was stopped.
    pub(crate) cut: u64,
}
