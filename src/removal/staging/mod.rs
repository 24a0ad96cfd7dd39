//! Setting a file aside and putting it back: a rename into the [private folder](private_folder), or beside the file's own place
//! where there can be no such folder. [`crate::file::staged_name`] says what its new place is called.

mod leftovers;
mod private_folder;
mod probe;

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, unlinkat};
use rustix::io::Errno;

use super::StagingError;
use super::folder::make_below;
use super::rename::{At, OldName, rename_new};
use crate::file::staged_name::{beside, encode, origin, random_digits, split_at_private};
use crate::file::{FileStamp, OpenError, OpenFolder, PRIVATE, Root, beneath_folder, look_at};

pub(super) use leftovers::leftovers;
pub use leftovers::{belonging_to, put_back, recover, tidy};
pub use probe::{probe, probe_private};

/// How often another name is tried: a random name that is taken is not met twice, nor is a private folder that another process is
/// just removing.
const TRIES: u32 = 8;

/// Where a file lies that was set aside just now.
#[derive(Debug)]
pub(super) struct NewPlace<'r> {
    /// Below the root.
    pub(super) path: PathBuf,
    /// The folder there into which it was renamed.
    pub(super) dir: OpenFolder<'r>,
}

impl NewPlace<'_> {
    /// The state of what has the file's new name in that folder.
    pub(super) fn look_at(&self) -> Result<FileStamp, StagingError> {
        Ok(look_at(&self.dir, self.path.file_name().ok_or(OpenError::Gone)?)?)
    }
}

/// Renames a file below the root to where it waits out its grace, and returns its new place.
pub(super) fn move_in<'r>(root: &'r Root, from: &Path) -> Result<NewPlace<'r>, StagingError> {
    let origin = origin(from);
    let first = match move_to_private(root, from, &origin) {
        Err(error) if error.is_trouble_of_the_folder() => error,
        other => return other,
    };
    private_folder::warn_once(root, Path::new(""), &first);
    // The private folder can't be made or used, has another file system, or the path is too long for a name: a rename within the
    // file's own folder works all the same. A full disk must be emptied to make room.
    match move_beside(root, from, &origin) {
        Err(error) if error.is_name_too_long() => move_into_slot(root, from, &origin).map_err(|_| first),
        other => other.map_err(|_| first),
    }
}

/// Renames a file into the private folder of the root.
fn move_to_private<'r>(root: &'r Root, from: &Path, origin: &Path) -> Result<NewPlace<'r>, StagingError> {
    let from = parent_of(root, from)?;
    let private = || private_folder::open_or_make(root, Path::new("")).map(OpenFolder::Below);
    let (dir, name) = rename_to_free_name(&from, || Ok((private()?, encode(&random_digits()?, origin))))?;
    Ok(NewPlace { path: Path::new(PRIVATE).join(name), dir })
}

/// Renames a file to a hidden name in its own folder.
fn move_beside<'r>(root: &'r Root, from: &Path, origin: &Path) -> Result<NewPlace<'r>, StagingError> {
    let from = parent_of(root, from)?;
    let (_, name) = root.parent_of(origin)?;
    let to = || Ok((root.parent_of(origin)?.0, beside(&random_digits()?, name)));
    let (dir, name) = rename_to_free_name(&from, to)?;
    Ok(NewPlace { path: origin.with_file_name(name), dir })
}

/// Renames a file into a slot, a folder of its own, in the private folder of the root; or in a private folder of the file's own
/// folder, where that is on another file system.
fn move_into_slot<'r>(root: &'r Root, from: &Path, origin: &Path) -> Result<NewPlace<'r>, StagingError> {
    let name = origin.file_name().map(Path::new).ok_or(OpenError::Gone)?;
    let into = |base: &Path, tail: &Path| {
        // Standard input waits in folders with random names too, but without the tilde.
        let slot = PathBuf::from(format!("{}~", random_digits()?));
        let from = parent_of(root, from)?;
        let below = slot.join(tail.parent().unwrap_or(Path::new("")));
        let place = base.join(PRIVATE).join(&below).join(name);
        let private = || private_folder::open_or_make(root, base);
        let to = || Ok((OpenFolder::Below(make_below(&private()?, &below, Mode::RWXU)?), name.into()));
        let (dir, _) = rename_to_free_name(&from, to).inspect_err(|_| leave_slot(root, &place))?;
        Ok(NewPlace { path: place, dir })
    };
    into(Path::new(""), origin).or_else(|_: StagingError| into(origin.parent().unwrap_or(Path::new("")), name))
}

/// Renames a file to a new name in a folder, and returns both. `to` makes them, and is called again where the name is taken or the folder has gone.
fn rename_to_free_name<'r>(
    (from_dir, from_name): &(OpenFolder<'_>, &OsStr),
    to: impl Fn() -> Result<(OpenFolder<'r>, OsString), StagingError>,
) -> Result<(OpenFolder<'r>, OsString), StagingError> {
    for _ in 0..TRIES {
        let (to_dir, to_name) = to()?;
        match rename_new(At::new(from_dir, *from_name), At::new(&to_dir, &to_name), OldName::Users) {
            Ok(()) => return Ok((to_dir, to_name)),
            Err(Errno::EXIST) => {}
            // The folder is gone, not the file.
            Err(Errno::NOENT) if look_at(from_dir, from_name).is_ok() => {}
            // Two file systems, which is not the file's fault; `OpenError` would take the number for a link.
            Err(Errno::XDEV) => return Err(OpenError::Io(Errno::XDEV.into()).into()),
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(StagingError::NoFreeName)
}

/// Renames a file that is set aside to where it belongs, unless something lies there.
pub(super) fn move_out(root: &Root, place: &Path, origin: &Path) -> Result<(), StagingError> {
    let (from_dir, from_name) = parent_of(root, place)?;
    let (to_dir, to_name) = root.parent_of(origin)?;
    rename_new(At::new(&from_dir, from_name), At::new(&to_dir, to_name), OldName::Ours)?;
    leave_slot(root, place);
    Ok(())
}

/// Opens the folder that a file lies in, and returns it with the file's name there. A private folder on the way must be ours alone:
/// a user who may write the watched folder can put another one in its place at any time.
pub(super) fn parent_of<'r, 'p>(root: &'r Root, place: &'p Path) -> Result<(OpenFolder<'r>, &'p OsStr), StagingError> {
    let Some((base, rest)) = split_at_private(place) else { return Ok(root.parent_of(place)?) };
    let name = rest.file_name().ok_or(OpenError::Gone)?;
    let private = private_folder::open(root, base)?;
    let within = match rest.parent().filter(|within| !within.as_os_str().is_empty()) {
        Some(within) => beneath_folder(&private, within)?,
        None => private,
    };
    Ok((OpenFolder::Below(within), name))
}

/// Removes the slot of a file that has left this place, as far as its folders are empty now.
pub(super) fn leave_slot(root: &Root, place: &Path) {
    let Some((base, rest)) = split_at_private(place).filter(|(_, rest)| rest.components().count() > 1) else { return };
    let Ok(private) = private_folder::open(root, base) else { return };
    for folder in rest.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()) {
        if remove_if_empty(&private, folder).is_err() {
            return;
        }
    }
}

/// Removes a folder below the private folder, if it is empty.
fn remove_if_empty(private: &OwnedFd, folder: &Path) -> Result<(), Errno> {
    let above = beneath_folder(private, folder.parent().unwrap_or(Path::new("")))?;
    unlinkat(&above, folder.file_name().unwrap_or_default(), AtFlags::REMOVEDIR)
}

#[cfg(test)]
mod tests;
