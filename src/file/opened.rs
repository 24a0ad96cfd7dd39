//! A document: an open regular file, or why it can't be opened.
//!
//! What the caller can do about an [`OpenError`]: where the file is gone, nothing; where descriptors or memory are scarce, try again
//! soon ([`OpenError::is_scarcity`]); in all other cases somebody must mend the file first.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, OnceLock};

use rustix::fs::{AtFlags, FileType, fstat, statat};
use rustix::io::Errno;
use rustix::process::Uid;
use sha2::{Digest, Sha256};

use super::FileStamp;
use super::lease::{self, Lease, Writers};
use crate::hex;

/// A regular file opened for reading, and its state when it was opened.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The open file.
    pub file: Arc<File>,
    /// Its state at opening.
    pub stamp: FileStamp,
    /// Whether leases on its file system tell of every writer on this host.
    pub(super) leases_tell: bool,
}

/// Why a name can't be opened as a document.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Nothing of this name is there (any more).
    #[error("it is gone")]
    Gone,
    /// A folder lies there.
    #[error("it is a folder")]
    Folder,
    /// A link, pipe, device or socket: never followed, never read.
    #[error("it is no regular file but a {0}; links, pipes and devices are not uploaded")]
    NotRegular(SpecialFile),
    /// As root, a hard link to somebody else's file could smuggle that file out.
    #[error("it has more than one hard link and belongs to another user; not uploaded while running as root")]
    ForeignLink,
    /// Anybody could have made a link to a file of ours, the one with the password maybe.
    #[error(
        "it has more than one hard link, and this system lets anybody make one to files of this user; set fs.protected_hardlinks = 1 \
         (sysctl)"
    )]
    UnprotectedLink,
    /// The system refuses, for this reason.
    #[error("it can't be opened: {0}")]
    Io(#[source] io::Error),
}

/// What lies under a name instead of a regular file or folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpecialFile {
    /// A symbolic link.
    Link,
    /// A named pipe.
    Pipe,
    /// A socket.
    Socket,
    /// A socket or a pipe: the system says the same of both when they are opened.
    SocketOrPipe,
    /// A device.
    Device,
    /// Anything else.
    Other,
}

impl SpecialFile {
    pub(crate) fn of(kind: FileType) -> Self {
        match kind {
            FileType::Symlink => Self::Link,
            FileType::Fifo => Self::Pipe,
            FileType::Socket => Self::Socket,
            FileType::CharacterDevice | FileType::BlockDevice => Self::Device,
            _ => Self::Other,
        }
    }
}

impl fmt::Display for SpecialFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Link => "symbolic link",
            Self::Pipe => "pipe",
            Self::Socket => "socket",
            Self::SocketOrPipe => "socket or pipe",
            Self::Device => "device",
            Self::Other => "special file",
        })
    }
}

impl OpenError {
    /// Whether only descriptors or memory are short, of the process or of the system: no fault of the file, and soon over.
    pub fn is_scarcity(&self) -> bool {
        matches!(self, Self::Io(error) if is_scarcity(error))
    }
}

/// Whether an error says that the process or the system has no descriptors or memory left.
pub(crate) fn is_scarcity(error: &io::Error) -> bool {
    [Errno::MFILE, Errno::NFILE, Errno::NOMEM].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

impl From<Errno> for OpenError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::NOENT | Errno::NOTDIR => Self::Gone,
            Errno::LOOP | Errno::XDEV => Self::NotRegular(SpecialFile::Link),
            Errno::NXIO => Self::NotRegular(SpecialFile::SocketOrPipe),
            other => Self::Io(other.into()),
        }
    }
}

impl Opened {
    /// Whether the file's content is as it was opened. Under a lease nobody can have written it unnoticed, and only the content counts;
    /// without a lease only a changed inode tells of a writer who set the times back.
    pub fn is_unchanged(&self, lease: Option<&Lease>) -> bool {
        match (self.now(), lease) {
            (Ok(now), Some(lease)) => now.same_content(&self.stamp) && lease.holds(),
            (Ok(now), None) => now == self.stamp,
            (Err(_), _) => false,
        }
    }

    /// The SHA-256 of its content as it is now, in lower-case hexadecimal. Blocks while it reads all of it.
    pub fn sha256(&self) -> io::Result<String> {
        let (mut hash, mut at, mut buffer) = (Sha256::new(), 0, vec![0; 128 * 1024]);
        loop {
            match self.file.read_at(&mut buffer, at) {
                Ok(0) => return Ok(hex(&hash.finalize())),
                Ok(read) => {
                    hash.update(&buffer[..read]);
                    at += read as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Its state now.
    pub fn now(&self) -> io::Result<FileStamp> {
        Ok(FileStamp::from(&fstat(&self.file)?))
    }

    /// Tries for a lease, which tells whether anybody has the file open for writing.
    pub fn writers(&self) -> Writers {
        lease::take(&self.file, self.leases_tell)
    }
}

/// Whether the kernel lets nobody make hard links to files of others. A kernel that does not say has this protection.
pub fn hard_links_are_protected() -> bool {
    static PROTECTED: OnceLock<bool> = OnceLock::new();
    *PROTECTED.get_or_init(|| {
        let setting = std::fs::read_to_string("/proc/sys/fs/protected_hardlinks");
        setting.map_or(true, |setting| setting.trim() != "0")
    })
}

/// Refuses a file with several links that may be somebody's way to have another file read and removed. Pure.
pub(super) fn check_links(me: Uid, owner: u32, protected: bool) -> Result<(), OpenError> {
    match owner == me.as_raw() {
        true if protected => Ok(()),
        true => Err(OpenError::UnprotectedLink),
        false if me.is_root() => Err(OpenError::ForeignLink),
        false => Ok(()),
    }
}

/// The state of what a name in an open folder leads to, no link followed.
pub fn look_at(dir: impl AsFd, name: &OsStr) -> Result<FileStamp, Errno> {
    Ok(FileStamp::from(&statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?))
}
