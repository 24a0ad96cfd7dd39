//! Opening a file below a folder so that no link leads out of it.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
#[cfg(target_os = "linux")]
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, fstat, openat, statat};
use rustix::io::Errno;
use rustix::process::Uid;
use sha2::{Digest, Sha256};

use super::FileStamp;
use super::lease::{self, Lease, Writers};
use super::lock::Holder;
use super::path_rule::{self, Links, NotTaken, PASS};
use crate::hex;

/// A folder held open: what is opened through it lies in it, whatever its path leads to by then.
#[derive(Debug)]
pub struct Root {
    dir: OwnedFd,
    path: PathBuf,
    share: Option<&'static str>,
    /// A network share is mounted somewhere below.
    share_below: AtomicBool,
    pub(super) holder: Holder,
}

/// A regular file opened for reading, and its state when it was opened.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The open file.
    pub file: Arc<File>,
    /// Its state at opening.
    pub stamp: FileStamp,
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
    NotRegular(&'static str),
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
    Io(io::Error),
}

impl OpenError {
    /// Whether it is the process or the system that has nothing left to open it with: no fault of the file, and soon over.
    pub fn is_scarcity(&self) -> bool {
        matches!(self, Self::Io(error) if is_scarcity(error))
    }
}

/// Whether it is the process or the system that has no descriptors or memory left.
pub(crate) fn is_scarcity(error: &io::Error) -> bool {
    [Errno::MFILE, Errno::NFILE, Errno::NOMEM].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

impl From<Errno> for OpenError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::NOENT | Errno::NOTDIR => Self::Gone,
            Errno::LOOP | Errno::XDEV => Self::NotRegular("symbolic link"),
            Errno::NXIO => Self::NotRegular("socket or pipe"),
            other => Self::Io(other.into()),
        }
    }
}

const READ: OFlags =
    OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC).union(OFlags::NOCTTY);
const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::DIRECTORY);

/// The kernel takes 4,096 bytes at once, one of them for the end.
#[cfg(target_os = "linux")]
const LONGEST_PIECE: usize = 4095;

impl Root {
    /// Holds a folder open. The path may lead through links; what is below may not.
    pub fn open(path: &Path) -> io::Result<Self> {
        let path = std::fs::canonicalize(path)?;
        let flags = FOLDER.difference(OFlags::NOFOLLOW);
        let dir = openat(rustix::fs::CWD, &path, flags, Mode::empty())?;
        let share = super::filesystem::network_share(&dir);
        Ok(Self { dir, path, share, share_below: AtomicBool::new(false), holder: Holder::default() })
    }

    /// Holds a folder open that is to be emptied, if nobody else could have put it where it is. The path may lead through links
    /// that only trusted users could have made.
    pub fn open_trusted(path: &Path) -> Result<Self, NotTaken> {
        let (dir, path) = path_rule::open(path, Links::Follow)?;
        let share = super::filesystem::network_share(&dir);
        Ok(Self { dir, path, share, share_below: AtomicBool::new(false), holder: Holder::default() })
    }

    /// A folder that was opened by its absolute path, through no link.
    pub(crate) fn held(dir: OwnedFd, path: PathBuf) -> Self {
        let share = super::filesystem::network_share(&dir);
        Self { dir, path, share, share_below: AtomicBool::new(false), holder: Holder::default() }
    }

    /// The folder's absolute path when it was opened, without links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The folder's descriptor.
    pub fn dir(&self) -> &OwnedFd {
        &self.dir
    }

    /// Whether the path leads to this very folder still: not unmounted, removed, renamed or replaced. A link anywhere on the way
    /// counts as replaced: there was none when the folder was opened. An error means that nobody can tell now, for want of descriptors
    /// or memory: to give a folder up for that would let another instance in.
    pub fn is_current(&self) -> io::Result<bool> {
        let there = match open_without_links(&self.path).map_err(io::Error::from) {
            Err(error) if is_scarcity(&error) => return Err(error),
            Err(_) => return Ok(false),
            Ok(there) => there,
        };
        Ok(match (fstat(&self.dir), fstat(&there)) {
            (Ok(here), Ok(there)) => (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino),
            _ => false,
        })
    }

    /// Opens the folder that the path leads to now, in place of this one: only if no link is on its way, it has the same owner, and
    /// nobody else could have put it there. Whoever may rename this folder away could otherwise put a link to any other one in its
    /// place, and have that emptied.
    pub fn reopen(&self) -> io::Result<Self> {
        let (dir, path) = path_rule::open(&self.path, Links::Refuse).map_err(|refused| match refused {
            NotTaken::Io(error) if is_no_folder(&error) => {
                io::Error::other("a symbolic link, or a file, is in its place or on its way: it is not followed")
            }
            NotTaken::Io(error) => error,
            controlled @ NotTaken::Controlled(_) => io::Error::other(controlled.to_string()),
        })?;
        if fstat(&dir)?.st_uid != fstat(&self.dir)?.st_uid {
            return Err(io::Error::other("the folder that is there now belongs to another user"));
        }
        let share = super::filesystem::network_share(&dir);
        Ok(Self { dir, path, share, share_below: AtomicBool::new(false), holder: self.holder.of_replacement() })
    }

    /// A network share was seen to be mounted below: its files may take any time.
    pub(crate) fn note_share_below(&self) {
        self.share_below.store(true, Ordering::Relaxed);
    }

    /// Whether a file of the folder may lie on a share that does not answer, which would hold up whoever opens it.
    pub(crate) fn may_hang(&self) -> bool {
        self.share.is_some() || self.share_below.load(Ordering::Relaxed)
    }

    /// The name of the network file system that the folder lies on, if any: no events come for what other hosts do there.
    pub fn network_share(&self) -> Option<&'static str> {
        self.share
    }

    /// Whether leases on its file system tell of every writer on this host.
    pub fn leases_tell_of_writers(&self) -> bool {
        super::lease::tell_of_writers(&self.dir)
    }

    /// Whether others may put files there: it belongs to another user, or others may write it.
    pub fn may_hold_files_of_others(&self) -> bool {
        fstat(&self.dir)
            .is_ok_and(|stat| stat.st_uid != rustix::process::geteuid().as_raw() || stat.st_mode & 0o022 != 0)
    }

    /// Opens a document: a regular file below the folder, reached without a link.
    pub fn open_file(&self, relative: &Path) -> Result<Opened, OpenError> {
        let file = beneath(&self.dir, relative, READ)?;
        let stat = fstat(&file)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => {}
            FileType::Directory => return Err(OpenError::Folder),
            other => return Err(OpenError::NotRegular(describe(other))),
        }
        if stat.st_nlink > 1 {
            refuse_link(rustix::process::geteuid(), stat.st_uid, hard_links_are_protected())?;
        }
        Ok(Opened { stamp: FileStamp::from(&stat), file: Arc::new(File::from(file)) })
    }

    /// The folder that a file lies in, opened without following a link, and the file's name there.
    pub fn parent_of<'a>(&self, relative: &'a Path) -> Result<(OwnedFd, &'a OsStr), OpenError> {
        let name = relative.file_name().ok_or(OpenError::Gone)?;
        let parent = relative.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Ok((beneath(&self.dir, parent, FOLDER)?, name))
    }
}

impl Opened {
    /// Whether its content is as it was opened. Under a lease nobody can have written it unnoticed, and only its content
    /// counts; without one a changed inode is all that tells of a writer who set the times back.
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

    /// Whether anybody writes it.
    pub fn writers(&self) -> Writers {
        lease::take(&self.file)
    }
}

/// Whether the kernel lets nobody make hard links to files of others. Where it does not tell, it is one that does.
pub fn hard_links_are_protected() -> bool {
    static PROTECTED: OnceLock<bool> = OnceLock::new();
    *PROTECTED.get_or_init(|| {
        let setting = std::fs::read_to_string("/proc/sys/fs/protected_hardlinks");
        setting.map_or(true, |setting| setting.trim() != "0")
    })
}

/// Refuses a file with several links that may be somebody's way to have another file read and removed. Pure.
fn refuse_link(me: Uid, owner: u32, protected: bool) -> Result<(), OpenError> {
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

fn is_no_folder(error: &io::Error) -> bool {
    [Errno::LOOP, Errno::NOTDIR].iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

fn describe(kind: FileType) -> &'static str {
    match kind {
        FileType::Symlink => "symbolic link",
        FileType::Fifo => "pipe",
        FileType::Socket => "socket",
        FileType::CharacterDevice | FileType::BlockDevice => "device",
        _ => "special file",
    }
}

#[cfg(target_os = "linux")]
fn beneath(dir: &OwnedFd, relative: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    use rustix::fs::{ResolveFlags, openat2};
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    loop {
        match openat2(dir, relative, flags, Mode::empty(), resolve) {
            // The kernel saw a rename on the way and can't tell that the path stayed below.
            Err(Errno::AGAIN | Errno::INTR) => {}
            // Old kernels, and sandboxes that forbid what they don't know.
            Err(Errno::NOSYS | Errno::PERM) => return beneath_by_steps(dir, relative, flags),
            // Folders can be nested without a limit, but a path that the system takes at once has one.
            Err(Errno::NAMETOOLONG) => return beneath_by_pieces(dir, relative, flags),
            other => return other,
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn beneath(dir: &OwnedFd, relative: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    beneath_by_steps(dir, relative, flags)
}

/// Opens a path that is longer than the system takes at once, one piece of it after the other.
#[cfg(target_os = "linux")]
fn beneath_by_pieces(dir: &OwnedFd, relative: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut rest = relative.as_os_str().as_bytes();
    let mut at: Option<OwnedFd> = None;
    while rest.len() > LONGEST_PIECE {
        // Without one a single name is too long.
        let cut = rest[..LONGEST_PIECE].iter().rposition(|byte| *byte == b'/').ok_or(Errno::NAMETOOLONG)?;
        at = Some(beneath(at.as_ref().unwrap_or(dir), Path::new(OsStr::from_bytes(&rest[..cut])), PASS)?);
        rest = &rest[cut + 1..];
    }
    let at = at.ok_or(Errno::NAMETOOLONG)?;
    beneath(&at, Path::new(OsStr::from_bytes(rest)), flags)
}

/// Opens a folder by its absolute path, through no link at all.
fn open_without_links(path: &Path) -> Result<OwnedFd, Errno> {
    let root = openat(rustix::fs::CWD, "/", FOLDER, Mode::empty())?;
    let below = path.strip_prefix("/").map_err(|_| Errno::INVAL)?;
    beneath_folder(&root, below)
}

/// A folder below another one, reached without a link; the same one for the empty path.
pub(crate) fn beneath_folder(dir: &OwnedFd, relative: &Path) -> Result<OwnedFd, Errno> {
    let relative = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
    beneath(dir, relative, FOLDER)
}

/// Opens one component at a time, following no link.
fn beneath_by_steps(dir: &OwnedFd, relative: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut names = Vec::new();
    for component in relative.components() {
        match component {
            Component::Normal(name) => names.push(name),
            Component::CurDir => {}
            _ => return Err(Errno::XDEV),
        }
    }
    let Some((last, folders)) = names.split_last() else { return openat(dir, ".", flags, Mode::empty()) };
    let mut at: Option<OwnedFd> = None;
    for folder in folders {
        at = Some(openat(at.as_ref().unwrap_or(dir), *folder, PASS, Mode::empty())?);
    }
    openat(at.as_ref().unwrap_or(dir), *last, flags, Mode::empty())
}

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
