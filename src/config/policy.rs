//! What happens to the files of a folder: the values, and the defaults.

use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use serde::Deserialize;

use crate::vault::RemotePath;

/// What happens to files.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// The folder in the vault. `None` where nothing names one, which is a usage error for the commands that upload.
    pub dest: Option<RemotePath>,
    /// How many uploads at once.
    pub transfers: Transfers,
    /// The largest file that is sent.
    pub max_size: MaxSize,
    /// How long a closed file must stay untouched before it is taken.
    pub settle: Duration,
    /// How it is verified that the store has a file.
    pub verify: Verify,
    /// What happens to the local file once the store has it.
    pub after: After,
    /// What happens where other content has the document's name already.
    pub on_conflict: OnConflict,
    /// Where files of sub-folders go.
    pub layout: Layout,
    /// Where files that the store refuses are moved. `None` leaves them in place.
    pub failed_dir: Option<PathBuf>,
    /// Patterns (globs) of file names that are not uploaded, because a program is still writing such files.
    pub ignore: Vec<String>,
    /// Patterns (gitignore's rules) of paths below the folder that are not uploaded. Of `ignore` and `exclude` the last match counts.
    pub exclude: Vec<String>,
    /// Patterns of paths below the folder that are uploaded; empty for all. What is excluded is not uploaded all the same.
    pub include: Vec<String>,
    /// How long ago a file's content must have changed.
    pub min_age: Duration,
    /// Whether sub-folders are removed that this program has emptied.
    pub prune_empty: bool,
    /// The time between two scans of the whole folder, which find what events missed; at least a second.
    pub rescan: Duration,
    /// Whether files of other users are removed although the kernel may not tell this user of their writers (no `CAP_LEASE`).
    pub allow_unleased: bool,
    /// How long the store may still be storing an upload whose connection broke.
    pub store_lag: Duration,
}

impl Default for Policy {
    /// The defaults. There is none for the destination.
    fn default() -> Self {
        Self {
            dest: None,
            transfers: Transfers::Auto,
            max_size: MaxSize(None),
            settle: Duration::from_millis(500),
            verify: Verify::Answer,
            after: After::Delete,
            on_conflict: OnConflict::Rename,
            layout: Layout::Flat,
            failed_dir: None,
            ignore: IN_PROGRESS.map(str::to_owned).to_vec(),
            exclude: Vec::new(),
            include: Vec::new(),
            min_age: Duration::ZERO,
            prune_empty: false,
            rescan: Duration::from_secs(300),
            allow_unleased: false,
            store_lag: Duration::from_secs(60),
        }
    }
}

impl Policy {
    /// Whether files leave the folder: stored ones, or refused ones.
    pub(crate) fn removes(&self) -> bool {
        self.after != After::Keep || self.failed_dir.is_some()
    }
}

/// How many uploads at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transfers {
    /// As many as measuring shows to be fastest.
    Auto,
    /// This many; at least 1.
    Fixed(usize),
}

/// The size of the largest file that is sent, in bytes. `None` means no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxSize(pub Option<u64>);

/// How it is verified that the store has a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verify {
    /// The upload's answer is a success with an id, and the name, size or checksum in it match, if it has any.
    Answer,
    /// In addition, the listing of the destination has the document with the right size.
    Listing,
    /// In addition, the content is read back and has the same SHA-256.
    Content,
}

/// What happens to the local file once the store has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum After {
    /// It is set aside, checked again after a grace, and deleted.
    Delete,
    /// It stays.
    Keep,
    /// It is set aside, checked again after a grace, and moved into this folder.
    Move(PathBuf),
}

/// What happens where other content has the document's name already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnConflict {
    /// The document gets a name with a suffix that says why.
    Rename,
    /// The upload fails, and the file stays.
    Fail,
}

/// Where files of sub-folders go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// All into the destination itself.
    Flat,
    /// Into the sub-folder of the destination with the same path, which must exist.
    Mirror,
}

/// Names that browsers, editors, copying tools and office programs give to files they have not finished, and hidden files.
const IN_PROGRESS: [&str; 14] = [
    "*.part",
    "*.partial",
    "*.crdownload",
    "*.download",
    "*.filepart",
    "*.tmp",
    "*.swp",
    "*.swx",
    "*~",
    "~$*",
    ".~lock.*#",
    ".nfs*",
    ".fuse_hidden*",
    ".*",
];
