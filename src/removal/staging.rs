//! Setting files aside and putting them back: the private folder, and what serves where there can be none. What their places are
//! called is told in [`super::place`].
//!
//! The private folder is trusted only if it is this user's and nobody else may enter it, and that is asked of its open descriptor
//! each time: then nobody can have put anything into it but this user, so all that lies there is put back after a crash, whether
//! the journal knows of it or not (a journal that was lost must not cost a file). Where it is not trusted, nothing is put into it
//! and nothing is taken out; files are set aside beside their places meanwhile, for a second private folder under another name
//! would be one more place to look for after a crash, and a full disk has no room for it.

use std::collections::{BTreeSet, HashSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{AtFlags, Dir, FileType, Mode, fstat, mkdirat, renameat, statat, unlinkat};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::make_below;
use super::place::{beside, chance, flat, in_private, is_beside, origin};
use super::rename::{At, Source, rename_new};
use crate::file::{LOCK, OpenError, PRIVATE, Root, beneath_folder, look_at};

/// How often another name is tried: one that is taken by chance is not met twice, nor is a private folder that is tidied away just now.
const TRIES: u32 = 8;

/// Renames a file below the root to where it waits out its grace; answers its new place.
pub(super) fn move_in(root: &Root, from: &Path) -> Result<PathBuf, OpenError> {
    let belongs = origin(from);
    let flat = move_flat(root, from, &belongs).inspect_err(|error| tell_once(root, Path::new(""), error));
    let Err(OpenError::Io(_) | OpenError::NotRegular(_)) = &flat else { return flat };
    let first = match flat {
        Err(error) if !error.is_scarcity() => error,
        other => return other,
    };
    // The private folder can't be made or used, has another file system, or the path is too long for a name: a rename within the
    // file's own folder works all the same. A full disk must be emptied to make room.
    match move_beside(root, from, &belongs) {
        Err(OpenError::Io(error)) if is(&error, Errno::NAMETOOLONG) => {
            move_into_slot(root, from, &belongs).map_err(|_| first)
        }
        other => other.map_err(|_| first),
    }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

/// Renames a file into the private folder of the root.
fn move_flat(root: &Root, from: &Path, belongs: &Path) -> Result<PathBuf, OpenError> {
    let from = parent_of(root, from)?;
    renamed(&from, || Ok((making_private(root, Path::new(""))?, flat(&chance()?, belongs))))
        .map(|name| Path::new(PRIVATE).join(name))
}

/// Renames a file to a hidden name in its own folder.
fn move_beside(root: &Root, from: &Path, belongs: &Path) -> Result<PathBuf, OpenError> {
    let from = parent_of(root, from)?;
    let (_, name) = root.parent_of(belongs)?;
    renamed(&from, || Ok((root.parent_of(belongs)?.0, beside(&chance()?, name))))
        .map(|name| belongs.with_file_name(name))
}

/// Renames a file into a folder of its own in the private folder of the root; or of the file's folder, where that is on another file
/// system.
fn move_into_slot(root: &Root, from: &Path, belongs: &Path) -> Result<PathBuf, OpenError> {
    let beside = belongs.parent().unwrap_or(Path::new(""));
    let name = belongs.file_name().map(Path::new).ok_or(OpenError::Gone)?;
    let into = |base: &Path, tail: &Path| {
        // A name that nobody else gives: standard input waits in folders with names by chance too.
        let slot = PathBuf::from(format!("{}~", chance()?));
        let from = parent_of(root, from)?;
        let below = slot.join(tail.parent().unwrap_or(Path::new("")));
        let place = base.join(PRIVATE).join(&below).join(name);
        renamed(&from, || Ok((make_below(&making_private(root, base)?, &below, Mode::RWXU)?, name.into())))
            .inspect_err(|_| leave_slot(root, &place))?;
        Ok(place)
    };
    into(Path::new(""), belongs).or_else(|_| into(beside, name))
}

/// Renames a file to a new name in a folder, both as `to` says, which is asked again where either is of no use any more.
fn renamed(
    (from_dir, from_name): &(OwnedFd, &OsStr),
    to: impl Fn() -> Result<(OwnedFd, OsString), OpenError>,
) -> Result<OsString, OpenError> {
    for _ in 0..TRIES {
        let (to_dir, to_name) = to()?;
        match rename_new(At::new(from_dir, *from_name), At::new(&to_dir, &to_name), Source::Users) {
            Ok(()) => return Ok(to_name),
            Err(Errno::EXIST) => {}
            // The folder is gone, not the file.
            Err(Errno::NOENT) if look_at(from_dir, from_name).is_ok() => {}
            // Not the file's fault; kept apart from links, which say XDEV as well when opened.
            Err(Errno::XDEV) => return Err(OpenError::Io(Errno::XDEV.into())),
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(OpenError::Io(io::Error::other("no name is free for it")))
}

/// Renames a file that is set aside to where it belongs, unless something lies there.
pub(super) fn move_out(root: &Root, place: &Path, belongs: &Path) -> Result<(), OpenError> {
    let (from_dir, from_name) = parent_of(root, place)?;
    let (to_dir, to_name) = root.parent_of(belongs)?;
    rename_new(At::new(&from_dir, from_name), At::new(&to_dir, to_name), Source::Ours)?;
    leave_slot(root, place);
    Ok(())
}

/// The folder that a file lies in, opened, and the file's name there. Where that is in a private folder it must be ours alone:
/// who may write the watched folder can put another one in its place at any time.
pub(super) fn parent_of<'a>(root: &Root, place: &'a Path) -> Result<(OwnedFd, &'a OsStr), OpenError> {
    let Some((base, rest)) = in_private(place) else { return root.parent_of(place) };
    let name = rest.file_name().ok_or(OpenError::Gone)?;
    let private = private(root, base)?;
    Ok((beneath_folder(&private, rest.parent().unwrap_or(Path::new("")))?, name))
}

/// The private folder below a folder of the root, opened, if it is ours alone. One that another user made before us may hold files
/// that pretend to be somebody's, and what we put there could be taken away.
fn private(root: &Root, base: &Path) -> Result<OwnedFd, OpenError> {
    ours_alone(beneath_folder(root.dir(), &base.join(PRIVATE))?)
}

fn ours_alone(dir: OwnedFd) -> Result<OwnedFd, OpenError> {
    let stat = fstat(&dir)?;
    if stat.st_uid == geteuid().as_raw() && Mode::from_raw_mode(stat.st_mode & 0o077).is_empty() {
        return Ok(dir);
    }
    let why = "the private folder .astran-backup belongs to another user, or others may enter it: remove it, or run chmod 700 on it";
    Err(OpenError::Io(io::Error::other(why)))
}

/// The same, made where it is missing. What lies there once it is made is looked at like any other: somebody else may be faster.
fn making_private(root: &Root, base: &Path) -> Result<OwnedFd, OpenError> {
    let found = match private(root, base) {
        Err(OpenError::Gone) => {
            let made = mkdirat(&beneath_folder(root.dir(), base)?, PRIVATE, Mode::RWXU);
            made.or_else(|errno| if errno == Errno::EXIST { Ok(()) } else { Err(errno) })?;
            private(root, base)
        }
        other => other,
    };
    // Something else lies where our folder should: that is not the file's end.
    found.map_err(|error| match error {
        OpenError::Gone => OpenError::Io(io::ErrorKind::NotADirectory.into()),
        other => other,
    })
}

/// Says once for each folder that the private one in it is not used.
fn tell_once(root: &Root, base: &Path, error: &OpenError) {
    static TOLD: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    let is_ours_to_tell = match error {
        OpenError::NotRegular(_) => true,
        // What the system refuses is told with the file that it is refused for.
        OpenError::Io(error) => error.raw_os_error().is_none(),
        _ => false,
    };
    let folder = root.path().join(base).join(PRIVATE);
    if is_ours_to_tell && TOLD.lock().unwrap_or_else(PoisonError::into_inner).insert(folder.clone()) {
        tracing::warn!(
            folder = %folder.display(),
            "files are set aside beside their places meanwhile, and what lies there stays there: {error}"
        );
    }
}

/// Puts the files back that a stopped process left in the private folder of the folder `below` the root. Answers where
/// those lie whose names are taken by now; they stay there, to be uploaded from there.
pub fn recover(root: &Root, below: &Path) -> Vec<PathBuf> {
    let leftovers = leftovers(root, below);
    leftovers.into_iter().filter(|place| move_out(root, place, &origin(place)).is_err()).collect()
}

/// Puts a file back that a stopped process left set aside at this place; answers where it lies if its name is taken by now.
pub fn put_back(root: &Root, place: &Path) -> Option<PathBuf> {
    let belongs = origin(place);
    match move_out(root, place, &belongs) {
        Ok(()) => Some(belongs),
        Err(OpenError::Gone) => None,
        Err(_) => Some(place.to_owned()),
    }
}

/// The paths of the files that lie set aside in a folder below the root: in the private folder there, or beside their places.
pub fn belonging_to(root: &Root, folder: &Path) -> HashSet<PathBuf> {
    let mut files = leftovers(root, folder);
    if let Ok(dir) = beneath_folder(root.dir(), folder) {
        let beside = entries(&dir).into_iter().filter(|(name, _)| is_beside(name));
        files.extend(beside.map(|(name, _)| folder.join(name)));
    }
    files.iter().map(|place| origin(place)).collect()
}

pub(super) fn leftovers(root: &Root, below: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let folder = below.join(PRIVATE);
    match private(root, below) {
        Ok(dir) => each_file(&dir, &folder, &mut |place| {
            if place != folder.join(LOCK) {
                files.push(place);
            }
        }),
        // It may hold what an earlier run of another user set aside: nobody may think that there is nothing.
        Err(error) => tell_once(root, below, &error),
    }
    files
}

/// All regular files below an open folder, which lies at `at`; no link is followed.
fn each_file(dir: &OwnedFd, at: &Path, found: &mut dyn FnMut(PathBuf)) {
    for (name, kind) in entries(dir) {
        let place = at.join(&name);
        match kind {
            FileType::RegularFile => found(place),
            FileType::Directory => {
                if let Ok(sub) = beneath_folder(dir, Path::new(&name)) {
                    each_file(&sub, &place, found);
                }
            }
            _ => {}
        }
    }
}

/// What an open folder holds. What can't be read is as good as not there: it stays where it is.
fn entries(dir: &OwnedFd) -> Vec<(OsString, FileType)> {
    let listed = Dir::read_from(dir).into_iter().flatten().flatten();
    let named = listed.map(|entry| (OsStr::from_bytes(entry.file_name().to_bytes()).to_owned(), entry.file_type()));
    let others = named.filter(|(name, _)| name != "." && name != "..");
    others
        .map(|(name, kind)| {
            // Some file systems do not say.
            let told = (kind != FileType::Unknown).then_some(kind);
            let kind = told
                .or_else(|| Some(FileType::from_raw_mode(statat(dir, &name, AtFlags::SYMLINK_NOFOLLOW).ok()?.st_mode)));
            (name, kind.unwrap_or(FileType::Unknown))
        })
        .collect()
}

/// Whether files of the root can be set aside and removed, in the private folder or without it.
pub fn probe(root: &Root) -> Result<(), OpenError> {
    use rustix::fs::{Access, accessat};
    probe_private(root).or_else(|error| {
        let writable = accessat(root.dir(), ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS);
        writable.map_err(|_| error)
    })
}

/// Whether the private folder of the root can be used: renames a folder from there into the root, and removes it again. A folder,
/// because a file that a crash leaves there would be taken for one to put back.
pub fn probe_private(root: &Root) -> Result<(), OpenError> {
    let made = look_at(root.dir(), PRIVATE.as_ref()).is_err();
    let dir = making_private(root, Path::new(""))?;
    let (inside, outside) = (format!("probe-{}", chance()?), beside(&chance()?, "probe".as_ref()));
    mkdirat(&dir, &inside, Mode::RWXU)?;
    let (used, left) = match renameat(&dir, &inside, root.dir(), &outside) {
        Ok(()) => (Ok(()), unlinkat(root.dir(), &outside, AtFlags::REMOVEDIR)),
        Err(errno) => (Err(OpenError::Io(errno.into())), unlinkat(&dir, &inside, AtFlags::REMOVEDIR)),
    };
    if made {
        // Not empty: a running instance uses it by now.
        unlinkat(root.dir(), PRIVATE, AtFlags::REMOVEDIR).ok();
    }
    used.and(left.map_err(OpenError::from))
}

/// Removes the private folder below a root where nothing lies in it any more. Only what is reached from the open root without a
/// link: a link of that name led to any folder, whose empty folders were removed; and what lies at the root's path by now may be
/// another process's.
pub fn tidy(root: &Root) {
    if let Ok(dir) = private(root, Path::new("")) {
        remove_empty(&dir);
        if root.has_lock_file() {
            unlinkat(&dir, LOCK, AtFlags::empty()).ok();
        }
        // Not empty, or gone already: both are fine.
        unlinkat(root.dir(), PRIVATE, AtFlags::REMOVEDIR).ok();
    }
}

fn remove_empty(dir: &OwnedFd) {
    for (name, _) in entries(dir).into_iter().filter(|(_, kind)| *kind == FileType::Directory) {
        if let Ok(sub) = beneath_folder(dir, Path::new(&name)) {
            remove_empty(&sub);
            unlinkat(dir, &name, AtFlags::REMOVEDIR).ok();
        }
    }
}

/// Removes the folders of the private folder that a file lay in which has left this place, as far as they are empty now.
pub(super) fn leave_slot(root: &Root, place: &Path) {
    let Some((base, rest)) = in_private(place).filter(|(_, rest)| rest.components().count() > 1) else { return };
    let Ok(private) = private(root, base) else { return };
    for folder in rest.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()) {
        let above = beneath_folder(&private, folder.parent().unwrap_or(Path::new("")));
        let removed =
            above.and_then(|above| unlinkat(&above, folder.file_name().unwrap_or_default(), AtFlags::REMOVEDIR));
        if removed.is_err() {
            return;
        }
    }
}
