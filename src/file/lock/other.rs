//! Locks on whole files, for systems without locks on single bytes that belong to the open file.

use std::fs::File;
use std::io;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::LockMode;

pub(super) fn lock(file: &File, _: u64, mode: LockMode) -> io::Result<bool> {
    let operation = match mode {
        LockMode::Exclusive => FlockOperation::NonBlockingLockExclusive,
        LockMode::Shared => FlockOperation::NonBlockingLockShared,
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
    lock(document, position, LockMode::Exclusive)
}

pub(super) fn name_of_folder(position: u64) -> String {
    format!("folder-{position:016x}")
}
