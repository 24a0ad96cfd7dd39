//! The private folder: where a file's place in it says where it belongs.
//!
//! Where there can be no such folder a file waits beside its own place: `sub/report` as `sub/.astran-backup~0~report`.
//!
//! `report` in `sub` waits as `.astran-backup/0/sub/report`; a second one of the same name, while the first is there, as
//! `.astran-backup/1/sub/report`. So a crash leaves no file whose origin nobody knows, at no cost of a record.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, fstat, mkdirat, statat, unlinkat};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::rename::{At, Source, rename_new};
use crate::file::{BESIDE, OpenError, PRIVATE, Root, beneath_folder, look_at};

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
        } else if let Some(name) = beside(component.as_os_str()) {
            origin.push(name);
        } else {
            origin.push(component);
        }
    }
    origin
}

/// What a file is called that was set aside beside its own place.
fn beside(name: &OsStr) -> Option<&OsStr> {
    let rest = name.as_bytes().strip_prefix(BESIDE.as_bytes())?;
    let at = rest.iter().position(|byte| *byte == b'~')?;
    Some(OsStr::from_bytes(&rest[at + 1..])).filter(|name| !name.is_empty())
}

/// Whether a name is that of a file that was set aside beside its own place.
pub(crate) fn is_beside(name: &OsStr) -> bool {
    beside(name).is_some()
}

/// Renames a file to a hidden name in its own folder.
fn move_beside(root: &Root, from: &Path) -> Result<PathBuf, OpenError> {
    let belongs = origin(from);
    let (from_dir, from_name) = root.parent_of(from)?;
    let (to_dir, to_name) = root.parent_of(&belongs)?;
    for slot in 0..SLOTS {
        let mut hidden = OsString::from(format!("{BESIDE}{slot}~"));
        hidden.push(to_name);
        match rename_new(At::new(&from_dir, from_name), At::new(&to_dir, &hidden), Source::Users) {
            Ok(()) => return Ok(belongs.with_file_name(hidden)),
            Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Err(OpenError::Io(io::Error::other("too many files of this name wait to be removed")))
}

/// Renames a file below the root into a private folder; answers its new place.
pub(super) fn move_in(root: &Root, from: &Path) -> Result<PathBuf, OpenError> {
    let belongs = origin(from);
    match move_into(root, from, Path::new(""), &belongs) {
        // Another file system is mounted below the root: a private folder beside the file.
        Err(OpenError::Io(error)) if error.raw_os_error() == Some(Errno::XDEV.raw_os_error()) => {
            let base = belongs.parent().unwrap_or(Path::new(""));
            let name = belongs.file_name().map(Path::new).ok_or(OpenError::Gone)?;
            move_into(root, from, base, name).or_else(|error| without_folder(root, from, error))
        }
        other => other.or_else(|error| without_folder(root, from, error)),
    }
}

/// Where the private folder can't be made or used, a rename within the file's own folder works all the same: on a full disk, whose
/// files must be removed to make room, and where something else lies in the private folder's place.
fn without_folder(root: &Root, from: &Path, error: OpenError) -> Result<PathBuf, OpenError> {
    match error {
        OpenError::Io(_) if !error.is_scarcity() => move_beside(root, from).map_err(|_| error),
        OpenError::NotRegular(_) => move_beside(root, from).map_err(|_| error),
        other => Err(other),
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

/// The private folder that a place lies in, opened, if it is ours alone. One that another user made before us may hold files that
/// pretend to be somebody's, and what we put there could be taken away.
fn ours(root: &Root, place: &Path) -> Result<OwnedFd, OpenError> {
    let private: PathBuf = place
        .iter()
        .scan(false, |done, name| {
            let more = !*done;
            *done |= name == PRIVATE;
            more.then_some(name)
        })
        .collect();
    let dir = beneath_folder(root.dir(), &private)?;
    let stat = fstat(&dir)?;
    if stat.st_uid == geteuid().as_raw() && Mode::from_raw_mode(stat.st_mode & 0o077).is_empty() {
        return Ok(dir);
    }
    let why = "the private folder .astran-backup belongs to another user, or others may enter it: remove it, or run chmod 700 on it";
    Err(OpenError::Io(io::Error::other(why)))
}

/// The folder of a place below the root, made where it is missing, for its owner alone.
fn folder_of(root: &Root, place: &Path) -> Result<OwnedFd, OpenError> {
    let folder = make_folder_of(root, place)?;
    ours(root, place).map(|_| folder)
}

fn make_folder_of(root: &Root, place: &Path) -> Result<OwnedFd, OpenError> {
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

/// Puts a file back that a stopped process left set aside at this place; answers where it lies if its name is taken by now.
pub fn put_back(root: &Root, place: &Path) -> Option<PathBuf> {
    let belongs = origin(place);
    match move_out(root, place, &belongs) {
        Ok(()) => Some(belongs),
        Err(OpenError::Gone) => None,
        Err(_) => Some(place.to_owned()),
    }
}

pub(super) fn leftovers(root: &Root, below: &Path) -> Vec<PathBuf> {
    let private = below.join(PRIVATE);
    let mut files = Vec::new();
    match ours(root, &private) {
        Ok(dir) => each_file(&dir, &private, &mut |place| files.push(place)),
        // It may hold what an earlier run of another user set aside: nobody may think that there is nothing.
        Err(OpenError::Io(error)) => {
            tracing::warn!(folder = %root.path().join(&private).display(), "what was set aside there is not put back: {error}");
        }
        Err(_) => {}
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

/// Removes the private folder below a root where nothing lies in it any more. Only what is reached from the open root without a
/// link: a link of that name led to any folder, whose empty folders were removed; and what lies at the root's path by now may be
/// another process's.
pub fn tidy(root: &Root) {
    if let Ok(dir) = ours(root, Path::new(PRIVATE)) {
        remove_empty(&dir);
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
