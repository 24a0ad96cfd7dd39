//! Who could put another folder in a watched folder's place.
//!
//! The daemon uploads and removes all that lies in its folder, with its own rights. So nobody else may decide which folder that is:
//! a user who can rename or link a part of the path could have any folder emptied that the daemon may read. The rule is that of
//! systemd's `CHASE_SAFE` and of OpenSSH's `StrictModes`: where another user controls a part of the path, the folder at its end
//! must be that user's own, who then gives away nothing but what is theirs.
//!
//! **Who controls a part of a path:** the owner of the folder that it lies in; everybody who may write that folder; but where it is
//! sticky (`/tmp`) only the part's own owner. Root, the user that the program runs as, and the owner of `/` are trusted (in a user
//! namespace the last one is what became of root). A folder that several users may write, and that is not sticky, is in nobody's
//! hands: the folder below it can't be everybody's own, so it is refused, whoever owns it. A group that has no other member than its
//! folder's owner and trusted users counts as its owner; what a directory service adds to a group of `/etc/group` is not seen.
//!
//! The folder itself may be written by anybody: only the way to it counts. Links are steps like folders: at the start one that
//! only trusted users could have made is followed, for an administrator typed it.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat, statat};
use rustix::io::Errno;
use rustix::process::geteuid;

use crate::budget;

/// To pass through a folder takes no right to read it.
#[cfg(target_os = "linux")]
pub(super) const PASS: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
#[cfg(not(target_os = "linux"))]
pub(super) const PASS: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Why a folder is not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    /// The path leads to no folder that can be opened.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Somebody else could put another folder in its place.
    #[error("{0}")]
    Controlled(Controlled),
}

/// A folder in whose place another user could put any other one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Controlled {
    folder: PathBuf,
    part: PathBuf,
    who: Who,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    /// This user, by number.
    User(u32),
    /// All who may write the part of the path, and they are several.
    Several,
}

impl fmt::Display for Controlled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (folder, part) = (self.folder.display(), self.part.display());
        match self.who {
            Who::User(user) => write!(
                f,
                "{part} belongs to the user {user}, who could put any folder in the place of {folder}, and have this program use it \
                 with its own rights; {folder} is not that user's own: change the owner of one of them (chown), or use a \
                 folder elsewhere"
            ),
            Who::Several => write!(
                f,
                "several users may write {part}, and each could put any folder in the place of {folder}, and have this program use \
                 it with its own rights: let each of them rename only what is theirs (chmod +t {part}), or let nobody but the \
                 owner write there (chmod go-w {part})"
            ),
        }
    }
}

/// What counts of a folder or link on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Facts {
    owner: u32,
    group: u32,
    mode: u32,
}

impl From<&Stat> for Facts {
    // The fields' types differ between platforms.
    #[allow(clippy::unnecessary_cast, clippy::useless_conversion)]
    fn from(stat: &Stat) -> Self {
        Self { owner: stat.st_uid, group: stat.st_gid, mode: u32::from(stat.st_mode) }
    }
}

/// A name that was looked up in a folder: both may be somebody's to exchange.
#[derive(Debug, Clone)]
struct Step {
    folder: (PathBuf, Facts),
    entry: (PathBuf, Facts),
}

/// Whom the rule trusts, and who is in which group.
struct Trust<'a> {
    users: &'a [u32],
    members: &'a dyn Fn(u32) -> Option<Vec<u32>>,
}

impl Trust<'_> {
    fn user(&self, user: u32) -> bool {
        self.users.contains(&user)
    }

    /// Whether others than the owner and trusted users may write a folder.
    fn written_by_others(&self, folder: Facts) -> bool {
        let own = |user: &u32| *user == folder.owner || self.user(*user);
        let by_group = folder.mode & 0o020 != 0 && !(self.members)(folder.group).is_some_and(|all| all.iter().all(own));
        by_group || folder.mode & 0o002 != 0
    }

    /// Who could put something else in the place of a step's entry, and by which part of the path.
    fn controllers<'s>(&self, step: &'s Step) -> impl Iterator<Item = (&'s Path, Who)> + use<'s> {
        let ((folder_path, folder), (entry_path, entry)) = (&step.folder, &step.entry);
        let by_folder = (!self.user(folder.owner)).then_some((folder_path.as_path(), Who::User(folder.owner)));
        let by_right = match (self.written_by_others(*folder), folder.mode & 0o1000 != 0) {
            (false, _) => None,
            (true, false) => Some((folder_path.as_path(), Who::Several)),
            (true, true) => (!self.user(entry.owner)).then_some((entry_path.as_path(), Who::User(entry.owner))),
        };
        by_folder.into_iter().chain(by_right)
    }

    /// Whether nobody but the owner of the folder at the end, or trusted users, controls the way to it. Pure.
    fn judge(&self, steps: &[Step], folder: &Path, owner: u32) -> Result<(), Controlled> {
        let others = |(_, who): &(&Path, Who)| *who != Who::User(owner);
        match steps.iter().flat_map(|step| self.controllers(step)).find(others) {
            Some((part, who)) => Err(Controlled { folder: folder.to_owned(), part: part.to_owned(), who }),
            None => Ok(()),
        }
    }
}

/// What is done with links on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Links {
    /// They are followed, and are steps of the way.
    Follow,
    /// They end it.
    Refuse,
}

/// Opens the folder at the end of a path if nobody else could have put it there; and tells its path without links.
pub(super) fn open(path: &Path, links: Links) -> Result<(OwnedFd, PathBuf), NotTaken> {
    let mut way = Way::start()?;
    let top = way.facts.owner;
    way.go(&std::path::absolute(path)?, links)?;
    let users = [0, geteuid().as_raw(), top];
    let trust = Trust { users: &users, members: &members };
    trust.judge(&way.steps, &way.path, way.facts.owner).map_err(NotTaken::Controlled)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = openat(&way.at, ".", flags, Mode::empty()).map_err(io::Error::from)?;
    Ok((dir, way.path))
}

/// A walk down a path, from one open folder to the next.
struct Way {
    at: OwnedFd,
    facts: Facts,
    path: PathBuf,
    steps: Vec<Step>,
}

impl Way {
    fn start() -> io::Result<Self> {
        let at = openat(CWD, "/", PASS, Mode::empty())?;
        let facts = Facts::from(&fstat(&at)?);
        Ok(Self { at, facts, path: PathBuf::from("/"), steps: Vec::new() })
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

    /// A link that begins with `/`: the steps so far have decided that.
    fn restart(&mut self) -> io::Result<()> {
        let Self { at, facts, path, .. } = Self::start()?;
        (self.at, self.facts, self.path) = (at, facts, path);
        Ok(())
    }

    fn up(&mut self) -> io::Result<()> {
        self.enter(OsStr::new(".."))?;
        self.path.pop();
        Ok(())
    }

    fn enter(&mut self, name: &OsStr) -> io::Result<()> {
        let next = openat(&self.at, name, PASS, Mode::empty())?;
        self.facts = Facts::from(&fstat(&next)?);
        self.at = next;
        Ok(())
    }

    /// One step down; where that is a link it answers what the link leads to, and stays.
    fn down(&mut self, name: &OsStr) -> io::Result<Option<PathBuf>> {
        let (folder, entry_path) = ((self.path.clone(), self.facts), self.path.join(name));
        let found = statat(&self.at, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(found.st_mode) == FileType::Symlink {
            self.steps.push(Step { folder, entry: (entry_path, Facts::from(&found)) });
            return link_at(&self.at, name).map(Some);
        }
        self.enter(name)?;
        self.path.clone_from(&entry_path);
        // As it was opened: it may be another one than was looked at.
        self.steps.push(Step { folder, entry: (entry_path, self.facts) });
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

/// The users of a group by this machine's own files; `None` where they don't know it.
fn members(group: u32) -> Option<Vec<u32>> {
    members_in(&std::fs::read_to_string("/etc/group").ok()?, &std::fs::read_to_string("/etc/passwd").ok()?, group)
}

/// The users that `/etc/group` names, and those whose first group it is by `/etc/passwd`. Pure.
fn members_in(groups: &str, users: &str, group: u32) -> Option<Vec<u32>> {
    let fields = |line: &str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
    let is = |field: Option<&String>, number: u32| field.and_then(|text| text.parse().ok()) == Some(number);
    let listed = groups.lines().map(fields).find(|fields| is(fields.get(2), group))?;
    let names: Vec<&str> = listed.get(3)?.split(',').filter(|name| !name.is_empty()).collect();
    let users: Vec<_> = users.lines().map(fields).collect();
    let of_name = |name: &&str| users.iter().find(|fields| fields[0] == *name)?.get(2)?.parse().ok();
    let named: Option<Vec<u32>> = names.iter().map(of_name).collect();
    let first = users.iter().filter(|fields| is(fields.get(3), group)).filter_map(|fields| fields.get(2)?.parse().ok());
    Some(named?.into_iter().chain(first).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: u32 = 1000;
    const ALICE: u32 = 1001;
    const BOB: u32 = 1002;
    /// Its only member is the user of that number.
    const GROUP_OF_ALICE: u32 = ALICE;
    const STAFF: u32 = 50;

    fn facts(owner: u32, group: u32, mode: u32) -> Facts {
        Facts { owner, group, mode }
    }

    /// Judges a way through these folders; the last one is the folder itself.
    fn judge(way: &[Facts]) -> Result<(), Who> {
        let members = |group| match group {
            0 => Some(vec![0]),
            GROUP_OF_ALICE => Some(vec![ALICE]),
            STAFF => Some(vec![ALICE, BOB]),
            _ => None,
        };
        let trust = Trust { users: &[0, ME], members: &members };
        let named = |facts: Facts| (PathBuf::new(), facts);
        let steps: Vec<_> = way.windows(2).map(|two| Step { folder: named(two[0]), entry: named(two[1]) }).collect();
        trust.judge(&steps, Path::new(""), way.last().unwrap().owner).map_err(|controlled| controlled.who)
    }

    const TOP: Facts = Facts { owner: 0, group: 0, mode: 0o755 };
    const TMP: Facts = Facts { owner: 0, group: 0, mode: 0o1777 };

    #[test]
    fn below_folders_of_trusted_users_anybody_may_own_and_write_the_folder() {
        for owner in [0, ME, ALICE] {
            for mode in [0o755, 0o2775, 0o777] {
                assert_eq!(judge(&[TOP, facts(ME, STAFF, 0o750), facts(owner, STAFF, mode)]), Ok(()));
            }
        }
        assert_eq!(judge(&[TOP]), Ok(()));
    }

    #[test]
    fn below_another_users_folder_only_that_users_own_is_taken() {
        let home = facts(ALICE, ALICE, 0o755);
        assert_eq!(judge(&[TOP, home, facts(ALICE, STAFF, 0o777)]), Ok(()));
        for owner in [0, ME, BOB] {
            assert_eq!(judge(&[TOP, home, facts(owner, STAFF, 0o755)]), Err(Who::User(ALICE)), "{owner}");
        }
        // However far up: what lies below a folder comes and goes with it.
        assert_eq!(judge(&[TOP, home, TOP, TOP, facts(ME, 0, 0o755)]), Err(Who::User(ALICE)));
        assert_eq!(judge(&[TOP, home, TOP, TOP, facts(ALICE, 0, 0o755)]), Ok(()));
        // Two users of whom each could.
        let bobs = facts(BOB, BOB, 0o755);
        assert_eq!(judge(&[TOP, home, bobs, facts(ALICE, 0, 0o755)]), Err(Who::User(BOB)));
        assert_eq!(judge(&[TOP, home, bobs, facts(BOB, 0, 0o755)]), Err(Who::User(ALICE)));
    }

    #[test]
    fn in_a_sticky_folder_each_user_controls_only_what_is_theirs() {
        for owner in [0, ME, ALICE] {
            assert_eq!(judge(&[TOP, TMP, facts(owner, 0, 0o755)]), Ok(()), "{owner}");
        }
        // A link in it, to any folder.
        assert_eq!(judge(&[TOP, TMP, facts(ALICE, 0, 0o777), facts(ME, 0, 0o755)]), Err(Who::User(ALICE)));
        let of_alice = facts(ALICE, 0, 0o1777);
        assert_eq!(judge(&[TOP, of_alice, facts(BOB, 0, 0o755)]), Err(Who::User(ALICE)), "it is hers all the same");
    }

    #[test]
    fn below_a_folder_that_several_users_may_write_nothing_is_taken() {
        for mode in [0o777, 0o757, 0o2775, 0o770] {
            for owner in [0, ME, ALICE] {
                assert_eq!(judge(&[TOP, facts(0, STAFF, mode), facts(owner, 0, 0o755)]), Err(Who::Several), "{mode:o}");
            }
        }
        assert_eq!(judge(&[TOP, facts(0, 4711, 0o770), facts(ME, 0, 0o755)]), Err(Who::Several), "nobody knows who");
    }

    /// Many systems give each user a group, and new folders the right to be written by it.
    #[test]
    fn a_group_of_nobody_else_is_as_good_as_its_folders_owner() {
        let home = facts(ALICE, GROUP_OF_ALICE, 0o775);
        assert_eq!(judge(&[TOP, home, facts(ALICE, 0, 0o755)]), Ok(()));
        assert_eq!(judge(&[TOP, home, facts(ME, 0, 0o755)]), Err(Who::User(ALICE)));
        assert_eq!(judge(&[TOP, facts(0, 0, 0o775), facts(ME, 0, 0o755)]), Ok(()));
        assert_eq!(judge(&[TOP, facts(ME, GROUP_OF_ALICE, 0o775), facts(ME, 0, 0o755)]), Err(Who::Several));
    }

    #[test]
    fn a_group_has_the_members_that_it_names_and_those_whose_first_group_it_is() {
        let groups = "root:x:0:\nalice:x:1001:\nstaff:x:50:alice,bob\nodd:x:60:nobody-knows\n";
        let users = "root:x:0:0::/root:/bin/sh\nalice:x:1001:1001::/:\nbob:x:1002:50::/:\n\nbroken\n";
        let of = |group| members_in(groups, users, group);
        assert_eq!((of(0), of(1001)), (Some(vec![0]), Some(vec![1001])));
        assert_eq!(of(50), Some(vec![1001, 1002, 1002]));
        assert_eq!((of(60), of(70)), (None, None));
    }

    fn canonical(path: &Path) -> Option<PathBuf> {
        open(path, Links::Follow).ok().map(|(_, path)| path)
    }

    #[test]
    fn a_way_leads_where_the_system_says_it_leads() {
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
        assert!(matches!(refused, NotTaken::Io(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error())));
    }

    #[test]
    fn a_link_is_a_step_with_an_owner() {
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
            assert!(matches!(refused, NotTaken::Controlled(Controlled { who: Who::User(65534), .. })), "{refused}");
        }
    }
}
