//! What an upload would do with a file, told without doing it: for `--dry-run` and `status`. Pure.

use std::path::Path;
use std::time::SystemTime;

pub(crate) use super::naming::alternatives;
use super::naming::{self, NameError};
use super::plan::{Asked, Plan, plan};
use crate::config::Policy;
use crate::file::FileStamp;
use crate::journal::Entry;
use crate::vault::RemotePath;

/// What an upload would do with a file.
#[derive(Debug, PartialEq)]
pub(crate) enum Preview {
    /// The file would be sent. Where that name is taken by other content, `on_conflict` decides.
    Send {
        /// The document's path.
        to: RemotePath,
    },
    /// The vault has the file, by an earlier receipt: only the local file would be dealt with, once the bytes are compared.
    Stored {
        /// The document's path.
        to: RemotePath,
        /// When the receipt was written.
        at: Option<SystemTime>,
    },
    /// An upload was begun, and its outcome is unknown: the vault would be asked.
    Ask {
        /// The document's path.
        to: RemotePath,
        /// When the upload was begun.
        since: SystemTime,
    },
    /// Nothing: the file is stored, was kept, and has not changed.
    Kept {
        /// The document's path.
        to: RemotePath,
        /// When the receipt was written.
        at: Option<SystemTime>,
    },
    /// Nothing: the file failed before, and has not changed.
    Failed {
        /// Why it failed.
        reason: String,
        /// When it failed.
        at: SystemTime,
    },
    /// The file would fail: it is larger than `max_size`.
    TooLarge {
        /// Its size in bytes.
        size: u64,
        /// The most that is allowed, in bytes.
        allowed: u64,
    },
    /// The file would fail: the vault can have no document of this name.
    Name(NameError),
}

/// What an upload by this policy to this destination would do with the file that belongs to the path `origin` below its folder and has
/// this stamp, by the entry that the journal has of the file. `asked` says who asks for it.
pub(crate) fn preview(
    known: Option<Entry>,
    (origin, stamp): (&Path, &FileStamp),
    (policy, dest): (&Policy, &RemotePath),
    asked: Asked,
) -> Preview {
    let failed_at = known.as_ref().map_or(SystemTime::UNIX_EPOCH, |entry| entry.started);
    let document = |entry: &Entry| entry.intent.dest.join(&entry.intent.name);
    let kept = known.as_ref().map(|entry| Preview::Kept { to: document(entry), at: entry.stored_at });
    let named = naming::dest_and_name(origin, dest, policy.layout);
    let folder = named.as_ref().ok().map(|(folder, _)| folder);
    match (plan(known, (stamp, folder), &policy.after, asked), kept) {
        (Plan::SkipKept(_), Some(kept)) => kept,
        (Plan::SkipFailed(_, reason), _) => Preview::Failed { reason, at: failed_at },
        (Plan::Resolve(entry), _) => Preview::Ask { to: document(&entry), since: entry.started },
        (Plan::Finish(entry), _) => Preview::Stored { to: document(&entry), at: entry.stored_at },
        (Plan::Upload | Plan::SkipKept(_), _) => send(named, stamp, policy),
    }
}

fn send(named: Result<(RemotePath, String), NameError>, stamp: &FileStamp, policy: &Policy) -> Preview {
    if let Some(allowed) = policy.max_size.0.filter(|allowed| stamp.size > *allowed) {
        return Preview::TooLarge { size: stamp.size, allowed };
    }
    match named {
        Ok((folder, name)) => Preview::Send { to: folder.join(&name) },
        Err(error) => Preview::Name(error),
    }
}
