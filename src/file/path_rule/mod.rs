//! Refuses a folder to which another user controls the path, because that user could put another folder in its place.
//!
//! The daemon uploads and removes all files in its folder, with its own rights. So nobody else may decide which folder that is:
//! a user who can rename or link a part of the path could have any folder emptied that the daemon may read. The rule is that of
//! systemd's `CHASE_SAFE` and of OpenSSH's `StrictModes`: where another user controls a part of the path, the folder at its end
//! must be that user's own: then the user gives away only their own files.
//!
//! **Who controls a part of a path:** the owner of the folder that it lies in; everybody who may write that folder; but where it is
//! sticky (`/tmp`) only the part's own owner. Root, the user that the program runs as, and the owner of `/` are trusted (in a user
//! namespace the last one is what root is mapped to). A folder that several users may write, and that is not sticky, is
//! controlled by all of them: the folder below it can't be each one's own, so it is refused, whoever owns it. A group that has no other member than its
//! folder's owner and trusted users counts as its owner; members that a directory service adds to a group of `/etc/group` are not seen.
//!
//! The folder itself may be written by anybody: only the path to it counts. Links are looked up like folders: at the start, a link that
//! only trusted users could have made is followed, because an administrator typed the path.

mod groups;
mod rule;

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, fstat, openat, readlinkat, statat};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::beneath::PASS;
use crate::budget;
pub use rule::ControlledPath;
use rule::{Attributes, Lookup, Rule};

/// Why a folder is not opened. In both cases somebody must mend the path first.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The path leads to no folder that can be opened.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Somebody else could put another folder in its place.
    #[error(transparent)]
    Controlled(#[from] ControlledPath),
}

/// What is done with links on the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Links {
    /// They are followed, and count as lookups.
    Follow,
    /// They end the walk with an error.
    Refuse,
}

/// Opens the folder at the end of a path if nobody else could have put it there; returns it with its path without links.
pub(super) fn open(path: &Path, links: Links) -> Result<(OwnedFd, PathBuf), FolderError> {
    let mut walk = PathWalk::start()?;
    let top = walk.attributes.owner;
    walk.go(&std::path::absolute(path)?, links)?;
    let trusted = [0, geteuid().as_raw(), top];
    let rule = Rule { trusted: &trusted, members: &groups::members };
    rule.judge(&walk.lookups, &walk.path, walk.attributes.owner).map_err(FolderError::Controlled)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = openat(&walk.at, ".", flags, Mode::empty()).map_err(io::Error::from)?;
    Ok((dir, walk.path))
}

/// A walk along a path, from one open folder to the next.
struct PathWalk {
    at: OwnedFd,
    attributes: Attributes,
    path: PathBuf,
    lookups: Vec<Lookup>,
}

impl PathWalk {
    fn start() -> io::Result<Self> {
        let at = openat(CWD, "/", PASS, Mode::empty())?;
        let attributes = Attributes::from(&fstat(&at)?);
        Ok(Self { at, attributes, path: PathBuf::from("/"), lookups: Vec::new() })
    }

    fn go(&mut self, path: &Path, links: Links) -> io::Result<()> {
        let (mut rest, mut followed) = (parts(path), 0);
        while let Some(part) = rest.pop_front() {
            match Path::new(&part).components().next() {
                Some(Component::RootDir) => self.restart()?,
                Some(Component::ParentDir) => self.up()?,
                Some(Component::Normal(name)) => {
                    let Some(target) = self.down(name)? else { continue };
                    followed += 1;
                    if links == Links::Refuse || followed > budget::LINKS {
                        return Err(Errno::LOOP.into());
                    }
                    parts(&target).into_iter().rev().for_each(|part| rest.push_front(part));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Goes on from `/`, for a link that begins with it. The lookups so far count: they led to that link.
    fn restart(&mut self) -> io::Result<()> {
        let Self { at, attributes, path, .. } = Self::start()?;
        (self.at, self.attributes, self.path) = (at, attributes, path);
        Ok(())
    }

    fn up(&mut self) -> io::Result<()> {
        self.enter(OsStr::new(".."))?;
        self.path.pop();
        Ok(())
    }

    fn enter(&mut self, name: &OsStr) -> io::Result<()> {
        let next = openat(&self.at, name, PASS, Mode::empty())?;
        self.attributes = Attributes::from(&fstat(&next)?);
        self.at = next;
        Ok(())
    }

    /// Looks a name up and enters it. Where it is a link, returns what the link leads to, and stays.
    fn down(&mut self, name: &OsStr) -> io::Result<Option<PathBuf>> {
        let (folder, entry_path) = ((self.path.clone(), self.attributes), self.path.join(name));
        let found = statat(&self.at, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(found.st_mode) == FileType::Symlink {
            self.lookups.push(Lookup { folder, entry: (entry_path, Attributes::from(&found)) });
            return link_at(&self.at, name).map(Some);
        }
        self.enter(name)?;
        self.path.clone_from(&entry_path);
        // The attributes of the open folder: it may be another one than the look at the name saw.
        self.lookups.push(Lookup { folder, entry: (entry_path, self.attributes) });
        Ok(None)
    }
}

fn link_at(dir: impl AsFd, name: &OsStr) -> io::Result<PathBuf> {
    let target = readlinkat(dir, name, Vec::new())?;
    Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
}

fn parts(path: &Path) -> VecDeque<OsString> {
    path.components().map(|part| part.as_os_str().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::rule::Controller;
    use super::*;

    fn canonical(path: &Path) -> Option<PathBuf> {
        open(path, Links::Follow).ok().map(|(_, path)| path)
    }

    #[test]
    fn a_path_leads_where_the_system_says_it_leads() {
        let dir = tempfile::tempdir().unwrap();
        let at = |relative: &str| dir.path().join(relative);
        std::fs::create_dir_all(at("a/b")).unwrap();
        std::fs::create_dir_all(at("c")).unwrap();
        std::fs::write(at("file"), "").unwrap();
        for (target, link) in [
            (at("a/b"), "absolute"),
            ("../a/b".into(), "c/relative"),
            ("absolute".into(), "twice"),
            ("loop".into(), "loop"),
        ] {
            std::os::unix::fs::symlink(target, at(link)).unwrap();
        }
        for path in ["a/b", "a/./b/", "absolute", "c/relative", "twice", "absolute/../b", "c/../a/b/../../absolute"] {
            assert_eq!(canonical(&at(path)), std::fs::canonicalize(at(path)).ok(), "{path}");
        }
        for none in ["loop", "file", "absent/..", "file/.."] {
            assert!(canonical(&at(none)).is_none(), "{none}");
        }
        assert!(open(&at("a/b"), Links::Refuse).is_ok());
        let refused = open(&at("absolute"), Links::Refuse).unwrap_err();
        assert!(matches!(refused, FolderError::Io(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error())));
    }

    #[test]
    fn a_link_counts_with_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("folder")).unwrap();
        std::os::unix::fs::symlink("folder", dir.path().join("link")).unwrap();
        assert!(open(&dir.path().join("link"), Links::Follow).is_ok());
        let sticky = std::os::unix::fs::PermissionsExt::from_mode(0o1777);
        std::fs::set_permissions(dir.path(), sticky).unwrap();
        assert!(open(&dir.path().join("link"), Links::Follow).is_ok());
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::lchown(dir.path().join("link"), Some(65534), None).unwrap();
            let refused = open(&dir.path().join("link"), Links::Follow).unwrap_err();
            assert!(
                matches!(refused, FolderError::Controlled(ControlledPath { by: Controller::User(65534), .. })),
                "{refused}"
            );
        }
    }
}
