//! Files that can't be read: the journal has one row for each, though the file is tried again at each walk.

use std::io;

use super::context::Context;
use super::error::{StepError, TransferError};
use super::outcome::{Outcome, Unreadable};
use super::plan::Asked;
use crate::file::{FileStamp, OpenError, Settled, look_at};
use crate::journal::{End, Entry, Intent, JournalError, State};
use crate::owner::{Owner, denied};
use crate::vault::{DocumentId, Vault};

/// Writes down that a file can't be read, unless the journal says just that already. What it means for the file.
pub(super) async fn record<V: Vault>(
    context: &Context<V>,
    file: &Settled,
    reason: Unreadable,
) -> Result<Outcome, TransferError> {
    let Some(stamp) = stamp(file).await else { return Ok(Outcome::Gone) };
    let reason = explained(file, reason).await;
    match write(context, file, stamp, &reason.to_string()).await {
        Ok(false) if context.asked == Asked::ByWatch => Ok(Outcome::Skipped { failed: true }),
        Ok(_) => Ok(Outcome::Failed { reason: reason.into(), moved: None }),
        Err(error) => StepError::from(error).at_end(file),
    }
}

/// The reason with the owner of the file, where this user may not open it.
async fn explained(file: &Settled, reason: Unreadable) -> Unreadable {
    match reason {
        Unreadable::NotOpened(OpenError::Io(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
            let (root, relative) = (file.root.clone(), file.relative.clone());
            let owner = move || {
                let (folder, name) = root.parent_of(&relative).ok()?;
                Owner::of(&folder, name)
            };
            let owner = tokio::task::spawn_blocking(owner).await.ok().flatten();
            Unreadable::Denied(denied(owner.as_ref()))
        }
        other => other,
    }
}

/// Returns whether the journal did not say so already.
async fn write<V: Vault>(
    context: &Context<V>,
    file: &Settled,
    stamp: FileStamp,
    reason: &str,
) -> Result<bool, JournalError> {
    let (root, origin, journal) = (file.root.path(), &file.origin, &context.shared.journal);
    let known = journal.of_file(root, origin, stamp).await?;
    if known.is_some_and(|entry| says(&entry, file, &stamp, reason)) {
        return Ok(false);
    }
    let intent = Intent {
        root: root.to_owned(),
        relative: origin.clone(),
        stamp,
        dest: context.dest.clone(),
        folder: DocumentId(String::new()),
        name: origin.to_string_lossy().into_owned(),
    };
    journal.refuse(intent, reason.to_owned()).await?;
    Ok(true)
}

/// Whether an entry says of this very file that it failed for this reason.
fn says(entry: &Entry, file: &Settled, stamp: &FileStamp, reason: &str) -> bool {
    let same = |state: &State| matches!(state, State::Ended(End::Failed { reason: before }) if before == reason);
    same(&entry.state) && entry.intent.relative == file.origin && entry.intent.stamp.same_content(stamp)
}

/// Which file it is that can't be read, as far as its folder says; `None` where it is gone. The time of change is left out: whatever
/// failed may be mended without a change of the file, so it is tried again at each walk.
async fn stamp(file: &Settled) -> Option<FileStamp> {
    let (root, relative) = (file.root.clone(), file.relative.clone());
    let looked = tokio::task::spawn_blocking(move || {
        let (folder, name) = root.parent_of(&relative)?;
        look_at(&folder, name).map_err(OpenError::from)
    });
    match looked.await {
        Ok(Ok(stamp)) => Some(FileStamp { ctime: 0, ..stamp }),
        Ok(Err(OpenError::Gone)) => None,
        Ok(Err(_)) | Err(_) => Some(FileStamp { device: 0, inode: 0, size: 0, mtime: 0, ctime: 0 }),
    }
}
