//! Locks on single bytes, which belong to the open file (Linux).

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use super::LockMode;

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

pub(super) fn lock(file: &File, position: u64, mode: LockMode) -> io::Result<bool> {
    set(file, position, if mode == LockMode::Shared { libc::F_RDLCK } else { libc::F_WRLCK })
}

pub(super) fn unlock(file: &File, position: u64) {
    // It is given up with the file at the latest.
    set(file, position, libc::F_UNLCK).ok();
}

pub(super) fn lock_document(files: Option<&File>, _: &File, position: u64) -> io::Result<bool> {
    files.map_or(Ok(true), |files| lock(files, position, LockMode::Exclusive))
}

/// Whether another process has it; takes nothing that it keeps.
pub(super) fn is_locked(files: Option<&File>, position: u64) -> bool {
    let Some(files) = files else { return false };
    let taken = lock(files, position, LockMode::Exclusive);
    if let Ok(true) = taken {
        unlock(files, position);
    }
    matches!(taken, Ok(false))
}

/// One file is enough for all.
pub(super) fn name_of_folder(_: u64) -> String {
    "folders".to_owned()
}
