//! The two steps of one file: [`set_aside`] and [`finish`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, unlinkat};
use rustix::io::Errno;

use super::{Disposition, FinishError, NotRemoved, RemovalError, StagingError, move_file, staging};
use crate::failpoint::failpoint;
use crate::file::lease::{Lease, Writers};
use crate::file::{FileStamp, OpenError, Opened, Root, Settled};
use crate::journal::LocalEnd;

/// A file that was set aside and waits out its grace.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) root: Arc<Root>,
    /// Where it lies now, below the root.
    pub(super) place: PathBuf,
    /// Where it belongs, below the root.
    pub(super) origin: PathBuf,
    /// Its state after the rename.
    pub(super) baseline: FileStamp,
    /// Whether a lease could tell of writers at the start; if so, one must be able to at the end.
    pub(super) leased: bool,
    /// The SHA-256 of what the store has, in lower-case hexadecimal.
    pub(super) sha256: Option<String>,
}

/// Renames a file into the private folder, provided that it is unchanged since it was opened for the upload. `sha256` is that of
/// what the store has, where it has the file.
pub(super) fn set_aside(
    settled: &Settled,
    opened: &Opened,
    lease: Option<&Lease>,
    sha256: Option<String>,
) -> Result<Staged, NotRemoved> {
    let stays = |error| NotRemoved { error, place: settled.relative.clone(), stranded: None };
    if !opened.is_unchanged(lease) {
        return Err(stays(RemovalError::ChangedSinceUpload));
    }
    failpoint("before-set-aside");
    let place = staging::move_in(&settled.root, &settled.relative).map_err(|error| match error {
        StagingError::Open(OpenError::Gone) => stays(RemovalError::Gone),
        other => stays(RemovalError::NotSetAside(other)),
    })?;
    failpoint("after-set-aside");
    let mut staged = Staged {
        root: Arc::clone(&settled.root),
        place: place.path.clone(),
        origin: settled.origin.clone(),
        baseline: opened.stamp,
        leased: lease.is_some(),
        sha256,
    };
    let renamed = place.look_at().map_err(RemovalError::from);
    match renamed.and_then(|named| check_renamed(&named, opened, lease)) {
        Ok(baseline) => {
            staged.baseline = baseline;
            Ok(staged)
        }
        Err(error) => Err(staged.put_back(error)),
    }
}

/// Ends the removal of a file whose grace is over: unlinks it or moves it away; puts it back where it changed.
pub(super) fn finish(staged: &Staged, disposition: &Disposition) -> Result<LocalEnd, NotRemoved> {
    let (opened, lease) = staged.check_rested().map_err(|error| staged.put_back(error))?;
    let ended = match disposition {
        Disposition::Delete => unlink(&staged.root, &staged.place).map(|()| LocalEnd::Removed),
        Disposition::MoveTo(target) => {
            let rested = move_file::Rested { staged, opened: &opened, lease: lease.as_ref() };
            move_file::move_below(rested, target).map(LocalEnd::Moved)
        }
    };
    drop((opened, lease));
    if ended.is_ok() {
        staging::leave_slot(&staged.root, &staged.place);
    }
    ended.map_err(|error| staged.put_back(error.into()))
}

impl Staged {
    /// Puts the file back where it belongs, because of this error. Where its name is taken by now it stays in the private folder,
    /// and the answer says so: nothing is ever overwritten.
    pub(super) fn put_back(&self, error: RemovalError) -> NotRemoved {
        failpoint("before-put-back");
        if staging::move_out(&self.root, &self.place, &self.origin).is_ok() {
            return NotRemoved { error, place: self.origin.clone(), stranded: None };
        }
        NotRemoved { error, place: self.place.clone(), stranded: Some(self.root.path().join(&self.place)) }
    }

    /// Opens and leases the file once more, if it is unchanged after the grace.
    pub(super) fn check_rested(&self) -> Result<(Opened, Option<Lease>), RemovalError> {
        let opened = self.root.open_file(&self.place).map_err(StagingError::from)?;
        let lease = match opened.writers() {
            Writers::None(lease) => Some(lease),
            Writers::Some => return Err(RemovalError::OpenForWriting),
            Writers::Unknown(reason) if self.leased => return Err(RemovalError::WritersUnknown(reason)),
            Writers::Unknown(_) => None,
        };
        if opened.stamp != self.baseline && !self.has_same_bytes(&opened, lease.as_ref()) {
            return Err(RemovalError::ChangedDuringGrace);
        }
        Ok((opened, lease))
    }

    /// Whether a file whose inode has changed has the same bytes all the same: its mode or owner changed, or another hard link of
    /// it came or went.
    pub(super) fn has_same_bytes(&self, opened: &Opened, lease: Option<&Lease>) -> bool {
        lease.is_some()
            && opened.stamp.same_content(&self.baseline)
            && self.sha256.is_some()
            && opened.sha256().ok() == self.sha256
            // The kernel takes a lease away from a process that hashes for too long.
            && opened.is_unchanged(lease)
    }
}

/// Returns the state after the rename, if what has the new name is what was uploaded. A rename changes ctime, so only the other
/// fields can be compared here; the lease vouches for the moment between.
fn check_renamed(named: &FileStamp, opened: &Opened, lease: Option<&Lease>) -> Result<FileStamp, RemovalError> {
    let held = opened.now().map_err(|error| StagingError::Open(OpenError::Io(error)))?;
    if (named.device, named.inode) != (held.device, held.inode) {
        return Err(RemovalError::Replaced);
    }
    if !held.same_content(&opened.stamp) {
        return Err(RemovalError::ChangedDuringRename);
    }
    if lease.is_some_and(|lease| !lease.holds()) {
        return Err(RemovalError::OpenedForWriting);
    }
    Ok(held)
}

/// Unlinks a file that was set aside; one that is gone already counts as unlinked.
pub(super) fn unlink(root: &Root, place: &Path) -> Result<(), FinishError> {
    let (dir, name) = staging::parent_of(root, place)?;
    match unlinkat(&dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
#[path = "staged_tests.rs"]
mod tests;
