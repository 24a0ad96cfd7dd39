//! Who has a watched folder, and who sends a file: locks that nobody but this user can take.
//!
//! Whoever may read a file or a folder may lock it, and keep us from it for as long as they like. So the locks lie on files that
//! only this user can open:
//!
//! - `locks/folders` and `locks/files` in the state directory. They stay empty. A folder that is watched, and a file that is sent,
//!   locks one byte there, whose position follows from its device and inode: however many there are, nothing is left over
//!   when a process ends, however that ends.
//! - `.astran-backup/lock` in a folder that files are removed from: for an instance with another state directory and, on a network
//!   share, for other hosts, where a lock on a folder does not reach. In a folder whose files are kept nothing is made.
//!
//! On Linux the locks belong to the open file, and a shared one becomes exclusive, or the other way round, with no moment
//! between. Elsewhere each folder has a lock file of its own in the state directory, and a file that is sent is locked itself.

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

/// The folder of the locks in the state directory.
const FOLDER: &str = "locks";
/// How often a lock file is opened anew that was removed by the time it was locked.
const TRIES: usize = 10;

/// The locks in a state directory; by default in none, and then this process is alone.
#[derive(Debug, Default)]
pub struct Locks {
    dir: Option<OwnedFd>,
    files: Option<File>,
    /// The files that this process sends: all its locks on files are of one open file, and don't keep each other out.
    claimed: Mutex<HashSet<u64>>,
}

/// With whom a folder is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// With nobody.
    Exclusive,
    /// With others who share it.
    Shared,
}

/// The locks that a folder is held by.
#[derive(Debug, Default)]
pub(super) struct Holder {
    locks: Arc<Locks>,
    /// Whether files of the folder are to be removed.
    removes: bool,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    in_state: Option<File>,
    in_private: Option<File>,
}

/// A file that is taken for one upload, until this is dropped.
#[derive(Debug)]
pub struct Claim {
    locks: Arc<Locks>,
    position: u64,
}

impl Locks {
    /// Those of this state directory, which must be there.
    pub fn open(state_dir: &Path) -> io::Result<Arc<Self>> {
        let state = openat(CWD, state_dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let dir = own_folder(&state, FOLDER)?;
        let files = lock_file(&dir, "files")?;
        Ok(Arc::new(Self { dir: Some(dir), files: Some(files), claimed: Mutex::default() }))
    }

    fn claimed(&self) -> MutexGuard<'_, HashSet<u64>> {
        self.claimed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // Nobody of this process may take it before it is free for the others too.
        let mut claimed = self.locks.claimed();
        if let Some(files) = &self.locks.files {
            sys::unlock(files, self.position);
        }
        claimed.remove(&self.position);
    }
}

impl Root {
    /// Has [`Root::lock`] and [`Root::claim`] use the locks of a state directory; and where files are to be removed, the private
    /// folder's too.
    #[must_use]
    pub fn with_locks(mut self, locks: &Arc<Locks>, removes: bool) -> Self {
        self.holder = Holder { locks: Arc::clone(locks), removes, held: Mutex::default() };
        self
    }

    /// Takes the folder for this process alone, as long as it is held open; false where another instance has it. Taking it again
    /// takes again what was lost meanwhile.
    pub fn lock(&self) -> io::Result<bool> {
        self.holder.take(self.dir(), Kind::Exclusive)
    }

    /// Takes the folder together with others who share it, so that nobody can have it alone meanwhile; false where
    /// somebody has.
    pub fn share(&self) -> bool {
        self.holder.take(self.dir(), Kind::Shared).unwrap_or(false)
    }

    /// Gives up what [`Root::lock`] took: files under way keep the folder open, and when it comes back in its place it must not
    /// be shut out by its own old lock.
    pub fn unlock(&self) {
        *self.holder.held() = Held::default();
    }

    /// Whether nobody else uses the private folder: then its lock file may be removed. Who opened it before that notices that
    /// another one is in its place.
    pub(crate) fn has_lock_file(&self) -> bool {
        self.lock().unwrap_or(false) && self.holder.held().in_private.is_some()
    }

    /// Takes a file for one upload: no other process of ours sends it meanwhile, and this one not under another name after a
    /// rename. `None` where another upload has it.
    pub fn claim(&self, opened: &Opened) -> Option<Claim> {
        let locks = Arc::clone(&self.holder.locks);
        let position = position(opened.stamp.device, opened.stamp.inode);
        let mut claimed = locks.claimed();
        if !claimed.insert(position) {
            return None;
        }
        // Where the file system has no such locks there is nobody to find out.
        if !sys::lock_document(locks.files.as_ref(), &opened.file, position).unwrap_or(true) {
            claimed.remove(&position);
            return None;
        }
        drop(claimed);
        Some(Claim { locks, position })
    }

    /// Whether an upload has this file taken, which may have no name any more. Where the system has a lock on the file itself only
    /// this process's uploads are known.
    pub(crate) fn is_claimed(&self, stamp: &FileStamp) -> bool {
        let locks = &self.holder.locks;
        let position = position(stamp.device, stamp.inode);
        let claimed = locks.claimed();
        // Nobody of this process takes it meanwhile.
        claimed.contains(&position) || sys::is_locked(locks.files.as_ref(), position)
    }
}

impl Holder {
    /// For the folder that is there now in place of this one: nothing of it is held yet.
    pub(super) fn of_replacement(&self) -> Self {
        Self { locks: Arc::clone(&self.locks), removes: self.removes, held: Mutex::default() }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All or nothing: who is refused one lock gives up the other.
    fn take(&self, root: &OwnedFd, kind: Kind) -> io::Result<bool> {
        let mut held = self.held();
        let in_state = self.take_in_state(&mut held, root, kind);
        let in_private = match in_state {
            Ok(false) => Ok(false),
            _ if self.removes => take_in_private(&mut held, root, kind),
            _ => return in_state,
        };
        match in_private {
            Ok(true) => Ok(true),
            Ok(false) => {
                *held = Held::default();
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

    fn take_in_state(&self, held: &mut Held, root: &OwnedFd, kind: Kind) -> io::Result<bool> {
        let Some(dir) = &self.locks.dir else { return Ok(true) };
        let stat = fstat(root)?;
        #[allow(clippy::cast_sign_loss, clippy::unnecessary_cast, reason = "the types differ between platforms")]
        let position = position(stat.st_dev as u64, stat.st_ino as u64);
        let file = match held.in_state.take() {
            Some(file) => file,
            None => lock_file(dir, &sys::name_of_folder(position))?,
        };
        let taken = sys::lock(&file, position, kind)?;
        held.in_state = taken.then_some(file);
        Ok(taken)
    }
}

/// Takes the lock in the private folder, and makes it where it is missing. It must still be in its place once it is taken:
/// whoever has a folder alone removes the lock file at the end.
fn take_in_private(held: &mut Held, root: &OwnedFd, kind: Kind) -> io::Result<bool> {
    for _ in 0..TRIES {
        let folder = own_folder(root, PRIVATE)?;
        let file = match held.in_private.take().filter(|file| is_at(file, &folder)) {
            Some(file) => file,
            None => match lock_file(&folder, LOCK) {
                // The folder was removed since it was opened.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened?,
            },
        };
        if !sys::lock(&file, 0, kind)? {
            return Ok(false);
        }
        if is_at(&file, &folder) {
            held.in_private = Some(file);
            return Ok(true);
        }
    }
    Err(io::Error::other("it is removed again and again"))
}

fn is_at(file: &File, folder: &OwnedFd) -> bool {
    match (fstat(file), statat(folder, LOCK, AtFlags::SYMLINK_NOFOLLOW)) {
        (Ok(file), Ok(named)) => (file.st_dev, file.st_ino) == (named.st_dev, named.st_ino),
        _ => false,
    }
}

/// A folder that only this user may enter, made where it is missing.
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

/// Opened for writing, which an exclusive lock on a network share needs.
fn lock_file(dir: &OwnedFd, name: &str) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = openat(dir, name, flags, Mode::RUSR | Mode::WUSR)?;
    match FileType::from_raw_mode(fstat(&file)?.st_mode) {
        FileType::RegularFile => Ok(file.into()),
        _ => Err(io::Error::other(format!("{name} is no regular file"))),
    }
}

/// Where the byte of a file or folder lies. Two that share one, once in billions of billions, wait for each other.
fn position(device: u64, inode: u64) -> u64 {
    // The finishing steps of SplitMix64: each bit of the input moves half of the result's.
    let mut mixed = device.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(inode);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(target_os = "linux")]
mod sys {
    use super::{File, Kind, io};
    use std::os::fd::AsRawFd;

    /// `fcntl(F_OFD_SETLK)` on one byte; no safe binding offers a part of a file.
    #[allow(unsafe_code)]
    fn set(file: &File, position: u64, kind: libc::c_int) -> io::Result<bool> {
        // SAFETY: `flock` is plain old data, for which all bits zero are valid.
        let mut lock: libc::flock = unsafe { std::mem::zeroed() };
        // Small constants, of another type than the field's.
        #[allow(clippy::cast_possible_truncation)]
        {
            (lock.l_type, lock.l_whence) = (kind as libc::c_short, libc::SEEK_SET as libc::c_short);
        }
        // Positions are not negative, and the last one has no byte.
        #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]
        let start = position as libc::off_t & (libc::off_t::MAX - 1);
        (lock.l_start, lock.l_len) = (start, 1);
        // SAFETY: the descriptor is open as long as `file` is borrowed, and the call reads `lock` and keeps nothing of it.
        let answer = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
        match (answer, io::Error::last_os_error()) {
            (0, _) => Ok(true),
            (_, error) if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
            (_, error) => Err(error),
        }
    }

    pub(super) fn lock(file: &File, position: u64, kind: Kind) -> io::Result<bool> {
        set(file, position, if kind == Kind::Shared { libc::F_RDLCK } else { libc::F_WRLCK })
    }

    pub(super) fn unlock(file: &File, position: u64) {
        // It is given up with the file at the latest.
        set(file, position, libc::F_UNLCK).ok();
    }

    pub(super) fn lock_document(files: Option<&File>, _: &File, position: u64) -> io::Result<bool> {
        files.map_or(Ok(true), |files| lock(files, position, Kind::Exclusive))
    }

    /// Whether another process has it; takes nothing that it keeps.
    pub(super) fn is_locked(files: Option<&File>, position: u64) -> bool {
        let Some(files) = files else { return false };
        let taken = lock(files, position, Kind::Exclusive);
        if let Ok(true) = taken {
            unlock(files, position);
        }
        matches!(taken, Ok(false))
    }

    /// One file is enough for all.
    pub(super) fn name_of_folder(_: u64) -> String {
        "folders".to_owned()
    }
}

#[cfg(not(target_os = "linux"))]
mod sys {
    use super::{Errno, File, Kind, io};
    use rustix::fs::{FlockOperation, flock};

    pub(super) fn lock(file: &File, _: u64, kind: Kind) -> io::Result<bool> {
        let operation = match kind {
            Kind::Exclusive => FlockOperation::NonBlockingLockExclusive,
            Kind::Shared => FlockOperation::NonBlockingLockShared,
        };
        match flock(file, operation) {
            Ok(()) => Ok(true),
            Err(Errno::WOULDBLOCK) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The document's own lock is given up when it is closed.
    pub(super) fn unlock(_: &File, _: u64) {}

    pub(super) fn is_locked(_: Option<&File>, _: u64) -> bool {
        false
    }

    pub(super) fn lock_document(_: Option<&File>, document: &File, position: u64) -> io::Result<bool> {
        lock(document, position, Kind::Exclusive)
    }

    pub(super) fn name_of_folder(position: u64) -> String {
        format!("folder-{position:016x}")
    }
}

#[cfg(test)]
#[path = "lock_tests.rs"]
mod tests;
