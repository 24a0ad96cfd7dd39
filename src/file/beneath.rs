//! Opening by a path below an open folder so that no link leads out of it.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
#[cfg(target_os = "linux")]
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

/// For folders on the way, which this user need not be allowed to read.
#[cfg(target_os = "linux")]
pub(super) const PASS: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
#[cfg(not(target_os = "linux"))]
pub(super) const PASS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

pub(super) const READ: OFlags =
    OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC).union(OFlags::NOCTTY);
pub(super) const FOLDER: OFlags =
    OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::DIRECTORY);

/// The kernel takes 4,096 bytes at once, one of them for the end.
#[cfg(target_os = "linux")]
const LONGEST_PIECE: usize = 4095;

#[cfg(target_os = "linux")]
pub(super) fn beneath(dir: impl AsFd, relative: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    use rustix::fs::{ResolveFlags, openat2};
    let dir = dir.as_fd();
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

/// Opens by a path that crosses no mount: what is opened lies on the file system of the folder itself. `None` where a mount is crossed, or
/// nothing can be opened so; [`beneath`] tells the reason.
#[cfg(target_os = "linux")]
pub(super) fn beneath_on_its_mount(dir: &OwnedFd, relative: &Path, flags: OFlags) -> Option<OwnedFd> {
    use rustix::fs::{ResolveFlags, openat2};
    let resolve =
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    openat2(dir, relative, flags, Mode::empty(), resolve).ok()
}

#[cfg(not(target_os = "linux"))]
pub(super) fn beneath_on_its_mount(_: &OwnedFd, _: &Path, _: OFlags) -> Option<OwnedFd> {
    None
}

#[cfg(not(target_os = "linux"))]
pub(super) fn beneath(dir: impl AsFd, relative: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    beneath_by_steps(dir.as_fd(), relative, flags)
}

/// Opens a path that is longer than the system takes at once, one piece of it after the other.
#[cfg(target_os = "linux")]
fn beneath_by_pieces(dir: BorrowedFd<'_>, relative: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
    let mut rest = relative.as_os_str().as_bytes();
    let mut at: Option<OwnedFd> = None;
    while rest.len() > LONGEST_PIECE {
        // Without one a single name is too long.
        let cut = rest[..LONGEST_PIECE].iter().rposition(|byte| *byte == b'/').ok_or(Errno::NAMETOOLONG)?;
        at = Some(beneath(at.as_ref().map_or(dir, AsFd::as_fd), Path::new(OsStr::from_bytes(&rest[..cut])), PASS)?);
        rest = &rest[cut + 1..];
    }
    let at = at.ok_or(Errno::NAMETOOLONG)?;
    beneath(&at, Path::new(OsStr::from_bytes(rest)), flags)
}

/// Opens a folder by its absolute path, through no link at all.
pub(super) fn open_without_links(path: &Path) -> Result<OwnedFd, Errno> {
    let root = openat(rustix::fs::CWD, "/", FOLDER, Mode::empty())?;
    let below = path.strip_prefix("/").map_err(|_| Errno::INVAL)?;
    beneath_folder(&root, below)
}

/// An open folder.
#[derive(Debug)]
pub(crate) enum OpenFolder<'a> {
    /// The one in which another was looked for.
    Same(BorrowedFd<'a>),
    /// One below it.
    Below(OwnedFd),
}

impl AsFd for OpenFolder<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Same(dir) => *dir,
            Self::Below(dir) => dir.as_fd(),
        }
    }
}

/// The folder below another one, through no link; the other one itself for the empty path.
pub(super) fn folder_beneath<'a>(dir: &'a OwnedFd, relative: &Path) -> Result<OpenFolder<'a>, Errno> {
    if relative.as_os_str().is_empty() {
        return Ok(OpenFolder::Same(dir.as_fd()));
    }
    beneath(dir, relative, FOLDER).map(OpenFolder::Below)
}

/// Opens a folder below another one, through no link; the same one for the empty path.
pub(crate) fn beneath_folder(dir: impl AsFd, relative: &Path) -> Result<OwnedFd, Errno> {
    let relative = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
    beneath(dir, relative, FOLDER)
}

/// Opens one component at a time, following no link.
pub(super) fn beneath_by_steps(dir: BorrowedFd<'_>, relative: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
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
        at = Some(openat(at.as_ref().map_or(dir, AsFd::as_fd), *folder, PASS, Mode::empty())?);
    }
    openat(at.as_ref().map_or(dir, AsFd::as_fd), *last, flags, Mode::empty())
}
