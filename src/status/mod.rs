//! What the program is doing, and why each file is still here, as one snapshot.
//!
//! ```text
//!  health, transfers, journal, inventory ─► gather ─► Snapshot ─► socket ─► `status` (text, JSON)
//!                                                         └─────► the page of the listener
//! ```
//!
//! A snapshot is made when somebody asks. Nothing that uploads ever waits for it.

mod gather;
mod holder;
mod looks;
mod nameless;
mod page;
mod scrape;
mod socket;
mod text;

use serde::{Deserialize, Serialize};

use crate::events::{Event, LocalPath};

pub(crate) use gather::{Brief, Gatherer, Place};
pub(crate) use holder::holder_of;
pub(crate) use page::page_source;
pub(crate) use scrape::scrape_source;
pub(crate) use socket::{Answers, Server, ask_all};
pub(crate) use text::as_text;

/// What one process does, or, where none runs, what the journal and the folders tell. The fields are a stable contract.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    /// Whether a daemon made it.
    pub(crate) running: bool,
    pub(crate) version: String,
    pub(crate) pid: Option<u32>,
    /// When the daemon was started.
    pub(crate) since: Option<String>,
    /// Who is, or would be, logged in.
    pub(crate) user: Option<String>,
    /// The limit for all uploads together, in bytes a second.
    pub(crate) limit_rate: Option<u64>,
    /// The newest reload of the configuration, if it failed: the configuration before it holds.
    #[serde(default)]
    pub(crate) failed_reload: Option<FailedReload>,
    /// What holds up uploads.
    pub(crate) troubles: Vec<Trouble>,
    pub(crate) folders: Vec<FolderStatus>,
}

/// A reload of the configuration of which nothing was taken.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FailedReload {
    pub(crate) at: String,
    pub(crate) reason: String,
}

/// What holds up uploads.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Trouble {
    /// `start`, `service`, `login`, `journal`, `destination`, `folder`, `progress` or `fleet`.
    pub(crate) component: String,
    /// The folder, where the trouble is that of one.
    pub(crate) folder: Option<String>,
    pub(crate) reason: String,
    /// When it was first seen.
    pub(crate) since: Option<String>,
}

/// One watched folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FolderStatus {
    #[serde(flatten)]
    pub(crate) path: LocalPath,
    pub(crate) remote_path: String,
    /// Since midnight, local time.
    pub(crate) stored_today: Sum,
    /// Of files that will go by themselves, those in flight included.
    pub(crate) waiting: Waiting,
    /// Files that need a person.
    pub(crate) failed: u64,
    pub(crate) transfers: Vec<Transfer>,
    /// The files that lie in the folder, but for those in flight.
    pub(crate) files: Vec<FileStatus>,
    /// Whether `failed` and `files` have all; otherwise there were too many, or the file system did not answer in time.
    pub(crate) complete: bool,
}

/// A number of files, and their size in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sum {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

/// Files that wait.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Waiting {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// How long the daemon has known of the one that waits longest, in seconds.
    pub(crate) oldest_seconds: Option<u64>,
}

/// An upload in flight.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Transfer {
    #[serde(flatten)]
    pub(crate) path: LocalPath,
    pub(crate) size: u64,
    pub(crate) sent: u64,
    /// In bytes a second over the last seconds.
    pub(crate) rate: Option<u64>,
    /// How long it takes at that rate, in seconds.
    pub(crate) seconds_left: Option<u64>,
}

/// A file that is still here.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FileStatus {
    #[serde(flatten)]
    pub(crate) path: LocalPath,
    pub(crate) size: Option<u64>,
    /// The reason in one word, such as `open` or `failed`.
    pub(crate) standing: String,
    /// The reason for people.
    pub(crate) reason: String,
    pub(crate) since: Option<String>,
    /// What a person can do.
    pub(crate) mend: Option<String>,
    /// Whether nothing happens before a person does that.
    pub(crate) needs_a_person: bool,
}

impl Event for Snapshot {
    const TYPE: &'static str = "status";
}

impl Snapshot {
    /// Whether something needs a person.
    pub(crate) fn needs_a_person(&self) -> bool {
        self.failed_reload.is_some() || !self.troubles.is_empty() || self.folders.iter().any(|folder| folder.failed > 0)
    }
}
