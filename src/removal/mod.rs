//! The one place that renames and unlinks.
//!
//! A file is removed in two steps with a grace between them: [`set_aside`] renames it into a private folder of the same
//! file system, so that no newcomer can take its name, and [`finish`] unlinks it there. Before and after each step its
//! device, inode, size and times must be those that were uploaded, and nobody may have it open for writing. Else it is
//! put back and goes round again. Checking and then unlinking in place loses files to writers that race with it: every
//! second one against a writer that appends in a loop.

#![expect(clippy::disallowed_methods, reason = "this is the module that may")]

mod atomic_file;
mod folder;
mod move_file;
mod place;
mod rename;
mod staging;
mod target;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::{AtFlags, unlinkat};
use rustix::io::Errno;

use crate::failpoint::failpoint;
use crate::file::lease::{Lease, Writers};
use crate::file::{FileStamp, OpenError, Opened, Root, Settled, look_at};
use crate::journal::LocalEnd;

pub use atomic_file::Partial;
use folder::make_below;
pub use folder::{discard, temporary_folder};
pub(crate) use place::is_beside;
pub use place::origin;
pub use staging::{belonging_to, probe, probe_private, put_back, recover, tidy};
pub use target::{MoveTarget, MoveTargetError, check_move_target};

/// How long a file lies aside before it is unlinked. A writer that had it open across the rename shows by then: with no
/// grace 34 of 257,000 racing writes were lost, with 20 ms none of 1.7 million.
pub const GRACE: Duration = Duration::from_secs(1);

/// What becomes of a file that the store has.
#[derive(Debug, Clone)]
pub enum Disposition {
    /// It is unlinked.
    Delete,
    /// It is moved below this folder, under its path below the watched one.
    MoveTo(Arc<MoveTarget>),
}

/// A file in the private folder, waiting out its grace.
#[derive(Debug)]
pub struct Aside {
    root: Arc<Root>,
    /// Where it lies now, below the root.
    place: PathBuf,
    /// Where it belongs, below the root.
    origin: PathBuf,
    /// Its state after the rename.
    baseline: FileStamp,
    /// Whether a lease could tell of writers at the start; if so it must be able to at the end.
    leased: bool,
    /// The SHA-256 of what the store has, in lower-case hexadecimal.
    sha256: Option<String>,
}

/// Why a file is still there, and where.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct NotRemoved {
    /// For people.
    pub reason: String,
    /// Whether the file is another one than was uploaded, or may be: it must go round again. Otherwise the system
    /// refused, and the same bytes need no second upload.
    pub changed: bool,
    /// Where it lies now, below the root: put back, or in the private folder where its name was taken meanwhile.
    pub place: PathBuf,
}

/// Renames a file into the private folder, provided that it is still the version that was opened for the upload; `sha256`
/// is that of what the store has, where it has it.
pub fn set_aside(
    settled: &Settled,
    opened: &Opened,
    lease: Option<&Lease>,
    sha256: Option<String>,
) -> Result<Aside, NotRemoved> {
    let stay = |changed, reason: String| NotRemoved { reason, changed, place: settled.relative.clone() };
    if !opened.is_unchanged(lease) {
        return Err(stay(true, "it changed after it was read, or somebody opened it for writing".into()));
    }
    failpoint("before-set-aside");
    let place = staging::move_in(&settled.root, &settled.relative).map_err(|e| match e {
        OpenError::Gone => stay(true, "it is gone from where it was".into()),
        // Nobody's fault and soon over: it goes round once more, and not to the store, which has it.
        scarce if scarce.is_scarcity() => stay(true, format!("it can't be set aside: {scarce}")),
        other => stay(false, format!("it can't be set aside: {other}")),
    })?;
    failpoint("after-set-aside");
    let mut aside = Aside {
        root: Arc::clone(&settled.root),
        place,
        origin: settled.origin.clone(),
        baseline: opened.stamp,
        leased: lease.is_some(),
        sha256,
    };
    match aside.check_renamed(opened, lease) {
        Ok(baseline) => {
            aside.baseline = baseline;
            Ok(aside)
        }
        Err(reason) => Err(aside.put_back(reason)),
    }
}

/// Ends the removal of a file whose grace is over: unlinks it or moves it away; puts it back where it changed.
pub fn finish(aside: &Aside, fate: &Disposition) -> Result<LocalEnd, NotRemoved> {
    let (opened, lease) = match aside.check_rested() {
        Ok(held) => held,
        Err(reason) => return Err(aside.put_back(reason)),
    };
    let ended = match fate {
        Disposition::Delete => unlink(&aside.root, &aside.place).map(|()| LocalEnd::Removed),
        Disposition::MoveTo(target) => {
            let rested = move_file::Rested { aside, opened: &opened, lease: lease.as_ref() };
            move_file::move_below(rested, target).map(LocalEnd::Moved)
        }
    };
    drop(lease);
    if ended.is_ok() {
        staging::leave_slot(&aside.root, &aside.place);
    }
    ended.map_err(|error| {
        let NotRemoved { reason, place, .. } = aside.put_back(format!("it can't be removed: {error}"));
        NotRemoved { reason, changed: false, place }
    })
}

impl Aside {
    /// Puts the file back where it belongs, for this reason. Where its name is taken by now it stays in the private
    /// folder, and `place` in the answer says so: nothing is ever overwritten.
    fn put_back(&self, reason: impl Into<String>) -> NotRemoved {
        failpoint("before-put-back");
        let reason = reason.into();
        if staging::move_out(&self.root, &self.place, &self.origin).is_ok() {
            return NotRemoved { reason, changed: true, place: self.origin.clone() };
        }
        let lies = self.root.path().join(&self.place);
        let reason = format!("{reason}; it can't be put back, and lies in {}", lies.display());
        NotRemoved { reason, changed: true, place: self.place.clone() }
    }

    /// The state after the rename, if what was renamed is what was uploaded. A rename changes ctime, so only the
    /// rest can be compared here; the lease vouches for the moment between.
    fn check_renamed(&self, opened: &Opened, lease: Option<&Lease>) -> Result<FileStamp, String> {
        let (dir, name) = staging::parent_of(&self.root, &self.place).map_err(|e| e.to_string())?;
        let named = look_at(&dir, name).map_err(|e| e.to_string())?;
        let held = opened.now().map_err(|e| e.to_string())?;
        if (named.device, named.inode) != (held.device, held.inode) {
            return Err("another file took its name".into());
        }
        if !held.same_content(&opened.stamp) {
            return Err("it changed while it was set aside".into());
        }
        if lease.is_some_and(|lease| !lease.holds()) {
            return Err("somebody opened it for writing".into());
        }
        Ok(held)
    }

    /// The file, opened and leased once more, if it is unchanged after the grace.
    fn check_rested(&self) -> Result<(Opened, Option<Lease>), String> {
        let opened = self.root.open_file(&self.place).map_err(|e| e.to_string())?;
        let lease = match opened.writers() {
            Writers::None(lease) => Some(lease),
            Writers::Some => return Err("somebody has it open for writing".into()),
            Writers::Unknown(reason) if self.leased => {
                return Err(format!("its writers can't be told any more: {reason}"));
            }
            Writers::NotAllowed if self.leased => return Err("its writers can't be told any more".into()),
            Writers::Unknown(_) | Writers::NotAllowed => None,
        };
        if opened.stamp != self.baseline && !self.is_the_same(&opened, lease.as_ref()) {
            return Err("it changed while it lay aside".into());
        }
        Ok((opened, lease))
    }

    /// Whether a file whose inode has changed has the same bytes all the same: its mode or owner changed, or another hard
    /// link of it came or went.
    fn is_the_same(&self, opened: &Opened, lease: Option<&Lease>) -> bool {
        lease.is_some()
            && opened.stamp.same_content(&self.baseline)
            && self.sha256.is_some()
            && opened.sha256().ok() == self.sha256
            // The kernel takes a lease away from whoever hashes for too long.
            && opened.is_unchanged(lease)
    }
}

fn unlink(root: &Root, place: &Path) -> io::Result<()> {
    let (dir, name) = staging::parent_of(root, place).map_err(io::Error::other)?;
    match unlinkat(&dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests;
