//! The private folder: where a file's place in it says where it belongs.
//!
//! `report` in `sub` waits as `.astran-backup/0/sub/report`; a second one of the same name, while the first is there, as
//! `.astran-backup/1/sub/report`. So a crash leaves no file whose origin nobody knows, at no cost of a record.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Mode, mkdirat, unlinkat};
use rustix::io::Errno;

use super::rename::{At, Source, rename_new};
use crate::file::{OpenError, PRIVATE, Root, look_at};

/// How many files of one name may wait at once; far more than can come within the grace.
const SLOTS: u32 = 10_000;

/// Where a file belongs, told from where it lies; the same place for one that is not in a private folder.
pub fn origin(place: &Path) -> PathBuf {
    let mut components = place.components();
    let mut origin = PathBuf::new();
    while let Some(component) = components.next() {
        if component.as_os_str() == PRIVATE {
            // The slot's number.
            components.next();
        } else {
            origin.push(component);
        }
    }
    origin
}

/// Renames a file below the root into a private folder; answers its new place.
pub(super) fn move_in(root: &Root, from: &Path) -> Result<PathBuf, OpenError> {
    let belongs = origin(from);
    match move_into(root, from, Path::new(""), &belongs) {
        // Another file system is mounted below the root: a private folder beside the file.
        Err(OpenError::Io(error)) if error.raw_os_error() == Some(Errno::XDEV.raw_os_error()) => {
            let base = belongs.parent().unwrap_or(Path::new(""));
            let name = belongs.file_name().map(Path::new).ok_or(OpenError::Gone)?;
            move_into(root, from, base, name)
        }
        other => other,
    }
}

fn move_into(root: &Root, from: &Path, base: &Path, tail: &Path) -> Result<PathBuf, OpenError> {
    let (from_dir, from_name) = root.parent_of(from)?;
    for slot in 0..SLOTS {
        let place = base.join(PRIVATE).join(slot.to_string()).join(tail);
        let to_name = place.file_name().ok_or(OpenError::Gone)?;
        // Something else lies where our folder should: that is not the file's end.
        let to_dir = folder_of(root, &place).map_err(|error| match error {
            OpenError::Gone => OpenError::Io(io::ErrorKind::NotADirectory.into()),
            other => other,
        })?;
        match rename_new(At::new(&from_dir, from_name), At::new(&to_dir, to_name), Source::Users) {
            Ok(()) => return Ok(place),
            Err(Errno::EXIST) => {}
            // Not the file's fault; kept apart from links, which say XDEV as well when opened.
            Err(Errno::XDEV) => return Err(OpenError::Io(Errno::XDEV.into())),
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(OpenError::Io(io::Error::other("too many files of this name wait to be removed")))
}

/// Renames a file from the private folder to where it belongs, unless something lies there.
pub(super) fn move_out(root: &Root, place: &Path, belongs: &Path) -> Result<(), OpenError> {
    let (from_dir, from_name) = root.parent_of(place)?;
    let (to_dir, to_name) = root.parent_of(belongs)?;
    Ok(rename_new(At::new(&from_dir, from_name), At::new(&to_dir, to_name), Source::Ours)?)
}

/// The folder of a place below the root, made where it is missing, for its owner alone.
fn folder_of(root: &Root, place: &Path) -> Result<OwnedFd, OpenError> {
    match root.parent_of(place) {
        Ok((dir, _)) => return Ok(dir),
        Err(OpenError::Gone) => {}
        Err(other) => return Err(other),
    }
    let folder = place.parent().ok_or(OpenError::Gone)?;
    let mut made = PathBuf::new();
    for component in folder.components() {
        let Component::Normal(name) = component else { return Err(OpenError::Gone) };
        made.push(name);
        let (parent, name) = root.parent_of(&made)?;
        match mkdirat(&parent, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(root.parent_of(place)?.0)
}

/// Puts the files back that a stopped process left in the private folder of the folder `below` the root. Answers where
/// those lie whose names are taken by now; they stay there, to be uploaded from there.
pub fn recover(root: &Root, below: &Path) -> Vec<PathBuf> {
    let leftovers = leftovers(root, below);
    leftovers.into_iter().filter(|place| move_out(root, place, &origin(place)).is_err()).collect()
}

pub(super) fn leftovers(root: &Root, below: &Path) -> Vec<PathBuf> {
    let private = root.path().join(below).join(PRIVATE);
    walkdir::WalkDir::new(private)
        .into_iter()
        .filter_map(Result::ok)
        .filter(|entry| entry.file_type().is_file())
        .filter_map(|entry| entry.path().strip_prefix(root.path()).ok().map(Path::to_owned))
        .collect()
}

/// Whether files of the root can be set aside and removed: makes a folder in the private one, and removes it again. A
/// folder, because a file that a crash leaves there would be taken for one to put back.
pub fn probe(root: &Root) -> Result<(), OpenError> {
    let made = look_at(root.dir(), PRIVATE.as_ref()).is_err();
    let place = Path::new(PRIVATE).join(format!("probe-{}", std::process::id()));
    let dir = folder_of(root, &place.join("file"))?;
    drop(dir);
    let (parent, name) = root.parent_of(&place)?;
    unlinkat(&parent, name, AtFlags::REMOVEDIR)?;
    if made {
        // Not empty: a running instance uses it by now.
        unlinkat(root.dir(), PRIVATE, AtFlags::REMOVEDIR).ok();
    }
    Ok(())
}

/// Removes the private folder below a root where nothing lies in it any more.
pub fn tidy(root: &Root) {
    let private = root.path().join(PRIVATE);
    let folders = walkdir::WalkDir::new(private).contents_first(true).into_iter().filter_map(Result::ok);
    for folder in folders.filter(|entry| entry.file_type().is_dir()) {
        // Not empty, or gone already: both are fine.
        std::fs::remove_dir(folder.path()).ok();
    }
}
