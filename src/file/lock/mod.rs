//! Locks that nobody but this user can take: on a watched folder, and on a file that is being uploaded.
//!
//! Every user who may read a file or a folder may lock it, and keep this process from it for as long as they like. So the locks are
//! on files that only this user can open:
//!
//! - `locks/folders` and `locks/files` in the state directory. They stay empty. For a folder that is watched, or a file that is
//!   uploaded, one byte there is locked, whose position follows from its device and inode: however many there are, nothing is left
//!   over when a process ends, however that ends.
//! - `.astran-backup/lock` in a folder that files are removed from: for an instance with another state directory and, on a network
//!   share, for other hosts, where a lock on a folder does not reach. In a folder whose files are kept nothing is made.
//!
//! On Linux the locks belong to the open file, and a shared one becomes exclusive, or the other way round, with no moment
//! between. Elsewhere each folder has a lock file of its own in the state directory, and a file that is uploaded is locked itself.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod other;

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fstat, mkdirat, openat, statat};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::{FileStamp, LOCK, Opened, PRIVATE, Root};
#[cfg(target_os = "linux")]
use linux as sys;
#[cfg(not(target_os = "linux"))]
use other as sys;

/// The folder of the locks in the state directory.
const FOLDER: &str = "locks";
/// How often a lock file is opened anew that was removed by the time it was locked.
const TRIES: usize = 10;

/// The locks in a state directory. By default in none, and then this process counts as alone.
#[derive(Debug, Default)]
pub struct Locks {
    dir: Option<OwnedFd>,
    files: Option<File>,
    /// The positions of the files that this process uploads: all its locks on files are of one open file, which don't exclude each
    /// other.
    uploading: Mutex<HashSet<u64>>,
}

/// Whether a lock lets others in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LockMode {
    /// Nobody else has the lock.
    Exclusive,
    /// Others may have a shared lock too.
    Shared,
}

/// The lock on one folder: up to two lock files.
#[derive(Debug, Default)]
pub(super) struct FolderLock {
    locks: Arc<Locks>,
    /// Whether files of the folder are to be removed.
    removes: bool,
    files: Mutex<LockFiles>,
}

/// The lock files that are locked now.
#[derive(Debug, Default)]
struct LockFiles {
    in_state: Option<File>,
    in_private: Option<File>,
}

/// The lock on a file for one upload, until this is dropped.
#[derive(Debug)]
pub struct UploadLock {
    locks: Arc<Locks>,
    position: u64,
}

impl Locks {
    /// Opens the lock files of this state directory, which must be there, and makes those that are missing.
    pub fn open(state_dir: &Path) -> io::Result<Arc<Self>> {
        let state = openat(CWD, state_dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let dir = own_folder(&state, FOLDER)?;
        let files = lock_file(&dir, "files")?;
        Ok(Arc::new(Self { dir: Some(dir), files: Some(files), uploading: Mutex::default() }))
    }

    fn uploading(&self) -> MutexGuard<'_, HashSet<u64>> {
        self.uploading.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UploadLock {
    fn drop(&mut self) {
        // No other upload of this process may take the file before it is free for other processes too.
        let mut uploading = self.locks.uploading();
        if let Some(files) = &self.locks.files {
            sys::unlock(files, self.position);
        }
        uploading.remove(&self.position);
    }
}

impl Root {
    /// Makes [`Root::lock`] and [`Root::lock_for_upload`] use the locks of a state directory; and where files are to be removed, the
    /// private folder's too.
    #[must_use]
    pub fn with_locks(mut self, locks: &Arc<Locks>, removes: bool) -> Self {
        self.lock = FolderLock { locks: Arc::clone(locks), removes, files: Mutex::default() };
        self
    }

    /// Locks the folder for this process alone, as long as it is held open. Returns false where another instance has it. Locking it again
    /// takes those locks again that were lost meanwhile.
    pub fn lock(&self) -> io::Result<bool> {
        self.lock.take(self.dir(), LockMode::Exclusive)
    }

    /// Locks the folder together with other processes that share it, so that none can lock it alone meanwhile. Returns false where one
    /// has.
    pub fn share(&self) -> bool {
        self.lock.take(self.dir(), LockMode::Shared).unwrap_or(false)
    }

    /// Gives up what [`Root::lock`] took. Uploads in flight keep this folder open, and the folder that comes back in its place must not
    /// be shut out by the old lock.
    pub fn unlock(&self) {
        *self.lock.files() = LockFiles::default();
    }

    /// Whether no other process uses the private folder: then its lock file may be removed. A process that opened it before notices that
    /// another one is in its place.
    pub(crate) fn has_lock_file(&self) -> bool {
        self.lock().unwrap_or(false) && self.lock.files().in_private.is_some()
    }

    /// Locks a file for one upload: no other instance uploads it meanwhile, nor does this process under another name after a rename.
    /// `None` where another upload has the lock.
    pub fn lock_for_upload(&self, opened: &Opened) -> Option<UploadLock> {
        let locks = Arc::clone(&self.lock.locks);
        let position = position(opened.stamp.device, opened.stamp.inode);
        let mut uploading = locks.uploading();
        if !uploading.insert(position) {
            return None;
        }
        // Where the file system has no such locks, no other process can be noticed.
        if !sys::lock_document(locks.files.as_ref(), &opened.file, position).unwrap_or(true) {
            uploading.remove(&position);
            return None;
        }
        drop(uploading);
        Some(UploadLock { locks, position })
    }

    /// Whether an upload has locked this file, which may have no name any more. Where the lock is on the file itself, only this
    /// process's uploads are known.
    pub(crate) fn is_locked_for_upload(&self, stamp: &FileStamp) -> bool {
        let locks = &self.lock.locks;
        let position = position(stamp.device, stamp.inode);
        let uploading = locks.uploading();
        // No upload of this process takes the lock meanwhile.
        uploading.contains(&position) || sys::is_locked(locks.files.as_ref(), position)
    }
}

impl FolderLock {
    /// The lock on the folder that is there now in place of this one: nothing is locked yet.
    pub(super) fn of_replacement(&self) -> Self {
        Self { locks: Arc::clone(&self.locks), removes: self.removes, files: Mutex::default() }
    }

    fn files(&self) -> MutexGuard<'_, LockFiles> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes both locks or none: where one is refused, the other is given up.
    fn take(&self, root: &OwnedFd, mode: LockMode) -> io::Result<bool> {
        let mut files = self.files();
        let in_state = self.take_in_state(&mut files, root, mode);
        let in_private = match in_state {
            Ok(false) => Ok(false),
            _ if self.removes => take_in_private(&mut files, root, mode),
            _ => return in_state,
        };
        match in_private {
            Ok(true) => Ok(true),
            Ok(false) => {
                *files = LockFiles::default();
                Ok(false)
            }
            Err(error) => {
                tracing::debug!(
                    "no lock can be had in the private folder, only the one in the state directory: {error}"
                );
                in_state
            }
        }
    }

    fn take_in_state(&self, files: &mut LockFiles, root: &OwnedFd, mode: LockMode) -> io::Result<bool> {
        let Some(dir) = &self.locks.dir else { return Ok(true) };
        let stat = fstat(root)?;
        #[allow(clippy::cast_sign_loss, clippy::unnecessary_cast, reason = "the types differ between platforms")]
        let position = position(stat.st_dev as u64, stat.st_ino as u64);
        let file = match files.in_state.take() {
            Some(file) => file,
            None => lock_file(dir, &sys::name_of_folder(position))?,
        };
        let taken = sys::lock(&file, position, mode)?;
        files.in_state = taken.then_some(file);
        Ok(taken)
    }
}

/// Takes the lock in the private folder, and makes the lock file where it is missing. The file must still be in its place once it is
/// locked: a process that has a folder alone removes the lock file at its end.
fn take_in_private(files: &mut LockFiles, root: &OwnedFd, mode: LockMode) -> io::Result<bool> {
    for _ in 0..TRIES {
        let folder = own_folder(root, PRIVATE)?;
        let file = match files.in_private.take().filter(|file| is_at(file, &folder)) {
            Some(file) => file,
            None => match lock_file(&folder, LOCK) {
                // The folder was removed since it was opened.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened?,
            },
        };
        if !sys::lock(&file, 0, mode)? {
            return Ok(false);
        }
        if is_at(&file, &folder) {
            files.in_private = Some(file);
            return Ok(true);
        }
    }
    Err(io::Error::other("the lock file is removed again and again"))
}

fn is_at(file: &File, folder: &OwnedFd) -> bool {
    match (fstat(file), statat(folder, LOCK, AtFlags::SYMLINK_NOFOLLOW)) {
        (Ok(file), Ok(named)) => (file.st_dev, file.st_ino) == (named.st_dev, named.st_ino),
        _ => false,
    }
}

/// Opens a folder that only this user may enter, and makes it where it is missing.
#[expect(
    clippy::disallowed_methods,
    reason = "it is made below an open folder, and looked at before anything is put into it"
)]
fn own_folder(within: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
    match mkdirat(within, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = openat(within, name, flags, Mode::empty())?;
    let stat = fstat(&dir)?;
    if stat.st_uid != geteuid().as_raw() || stat.st_mode & 0o077 != 0 {
        return Err(io::Error::other(format!("{name} belongs to another user, or others may enter it")));
    }
    Ok(dir)
}

/// Opens a lock file, for writing: an exclusive lock on a network share needs that.
fn lock_file(dir: &OwnedFd, name: &str) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = openat(dir, name, flags, Mode::RUSR | Mode::WUSR)?;
    match FileType::from_raw_mode(fstat(&file)?.st_mode) {
        FileType::RegularFile => Ok(file.into()),
        _ => Err(io::Error::other(format!("{name} is no regular file"))),
    }
}

/// The position of the byte that is locked for a file or folder. Two that share one, once in billions of billions, wait for each other.
fn position(device: u64, inode: u64) -> u64 {
    // The finishing steps of SplitMix64: each bit of the input moves half of the result's.
    let mut mixed = device.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(inode);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests;
