//! The rule itself, over the attributes of what was looked up on the path. Pure.

use std::fmt;
use std::path::{Path, PathBuf};

use rustix::fs::Stat;

/// A folder in whose place another user could put any other one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlledPath {
    folder: PathBuf,
    part: PathBuf,
    pub(super) by: Controller,
}

/// Who could put another folder there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Controller {
    /// The user of this number.
    User(u32),
    /// The several users who may write the part of the path.
    Several,
}

impl std::error::Error for ControlledPath {}

impl fmt::Display for ControlledPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (folder, part) = (self.folder.display(), self.part.display());
        match self.by {
            Controller::User(user) => write!(
                f,
                "{part} belongs to the user {user}, who could put any folder in the place of {folder}, and have this program use it \
                 with its own rights; {folder} is not that user's own: change the owner of one of them (chown), or use a \
                 folder elsewhere"
            ),
            Controller::Several => write!(
                f,
                "several users may write {part}, and each could put any folder in the place of {folder}, and have this program use \
                 it with its own rights: let each of them rename only what is theirs (chmod +t {part}), or let nobody but the \
                 owner write there (chmod go-w {part})"
            ),
        }
    }
}

/// What decides who controls a folder or link on the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attributes {
    pub(super) owner: u32,
    group: u32,
    mode: u32,
}

impl From<&Stat> for Attributes {
    // The fields' types differ between platforms.
    #[allow(clippy::unnecessary_cast, clippy::useless_conversion)]
    fn from(stat: &Stat) -> Self {
        Self { owner: stat.st_uid, group: stat.st_gid, mode: u32::from(stat.st_mode) }
    }
}

/// A name that was looked up in a folder. Either may be under another user's control.
#[derive(Debug, Clone)]
pub(super) struct Lookup {
    pub(super) folder: (PathBuf, Attributes),
    pub(super) entry: (PathBuf, Attributes),
}

/// The rule for one process on one machine: which users it trusts, and who is in which group.
pub(super) struct Rule<'a> {
    pub(super) trusted: &'a [u32],
    pub(super) members: &'a dyn Fn(u32) -> Option<Vec<u32>>,
}

impl Rule<'_> {
    fn trusts(&self, user: u32) -> bool {
        self.trusted.contains(&user)
    }

    /// Whether others than the owner and trusted users may write a folder.
    fn is_writable_by_others(&self, folder: Attributes) -> bool {
        let own = |user: &u32| *user == folder.owner || self.trusts(*user);
        let by_group = folder.mode & 0o020 != 0 && !(self.members)(folder.group).is_some_and(|all| all.iter().all(own));
        by_group || folder.mode & 0o002 != 0
    }

    /// Who could put something else in the place of a lookup's entry, and by which part of the path.
    fn controllers<'s>(&self, lookup: &'s Lookup) -> impl Iterator<Item = (&'s Path, Controller)> + use<'s> {
        let ((folder_path, folder), (entry_path, entry)) = (&lookup.folder, &lookup.entry);
        let by_folder = (!self.trusts(folder.owner)).then_some((folder_path.as_path(), Controller::User(folder.owner)));
        let by_right = match (self.is_writable_by_others(*folder), folder.mode & 0o1000 != 0) {
            (false, _) => None,
            (true, false) => Some((folder_path.as_path(), Controller::Several)),
            (true, true) => {
                (!self.trusts(entry.owner)).then_some((entry_path.as_path(), Controller::User(entry.owner)))
            }
        };
        by_folder.into_iter().chain(by_right)
    }

    /// Refuses a folder if the path to it is controlled by anybody but its owner and trusted users.
    pub(super) fn judge(&self, lookups: &[Lookup], folder: &Path, owner: u32) -> Result<(), ControlledPath> {
        let others = |(_, by): &(&Path, Controller)| *by != Controller::User(owner);
        match lookups.iter().flat_map(|lookup| self.controllers(lookup)).find(others) {
            Some((part, by)) => Err(ControlledPath { folder: folder.to_owned(), part: part.to_owned(), by }),
            None => Ok(()),
        }
    }
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

    fn attributes(owner: u32, group: u32, mode: u32) -> Attributes {
        Attributes { owner, group, mode }
    }

    /// Judges a path through these folders; the last one is the folder itself.
    fn judge(path: &[Attributes]) -> Result<(), Controller> {
        let members = |group| match group {
            0 => Some(vec![0]),
            GROUP_OF_ALICE => Some(vec![ALICE]),
            STAFF => Some(vec![ALICE, BOB]),
            _ => None,
        };
        let rule = Rule { trusted: &[0, ME], members: &members };
        let named = |attributes: Attributes| (PathBuf::new(), attributes);
        let lookups: Vec<_> =
            path.windows(2).map(|two| Lookup { folder: named(two[0]), entry: named(two[1]) }).collect();
        rule.judge(&lookups, Path::new(""), path.last().unwrap().owner).map_err(|refused| refused.by)
    }

    const TOP: Attributes = Attributes { owner: 0, group: 0, mode: 0o755 };
    const TMP: Attributes = Attributes { owner: 0, group: 0, mode: 0o1777 };

    #[test]
    fn below_folders_of_trusted_users_anybody_may_own_and_write_the_folder() {
        for owner in [0, ME, ALICE] {
            for mode in [0o755, 0o2775, 0o777] {
                assert_eq!(judge(&[TOP, attributes(ME, STAFF, 0o750), attributes(owner, STAFF, mode)]), Ok(()));
            }
        }
        assert_eq!(judge(&[TOP]), Ok(()));
    }

    #[test]
    fn below_another_users_folder_only_that_users_own_is_taken() {
        let home = attributes(ALICE, ALICE, 0o755);
        assert_eq!(judge(&[TOP, home, attributes(ALICE, STAFF, 0o777)]), Ok(()));
        for owner in [0, ME, BOB] {
            assert_eq!(judge(&[TOP, home, attributes(owner, STAFF, 0o755)]), Err(Controller::User(ALICE)), "{owner}");
        }
        // However far up: what lies below a folder comes and goes with it.
        assert_eq!(judge(&[TOP, home, TOP, TOP, attributes(ME, 0, 0o755)]), Err(Controller::User(ALICE)));
        assert_eq!(judge(&[TOP, home, TOP, TOP, attributes(ALICE, 0, 0o755)]), Ok(()));
        // Two users of whom each could.
        let bobs = attributes(BOB, BOB, 0o755);
        assert_eq!(judge(&[TOP, home, bobs, attributes(ALICE, 0, 0o755)]), Err(Controller::User(BOB)));
        assert_eq!(judge(&[TOP, home, bobs, attributes(BOB, 0, 0o755)]), Err(Controller::User(ALICE)));
    }

    #[test]
    fn in_a_sticky_folder_each_user_controls_only_what_is_theirs() {
        for owner in [0, ME, ALICE] {
            assert_eq!(judge(&[TOP, TMP, attributes(owner, 0, 0o755)]), Ok(()), "{owner}");
        }
        // A link in it, to any folder.
        assert_eq!(
            judge(&[TOP, TMP, attributes(ALICE, 0, 0o777), attributes(ME, 0, 0o755)]),
            Err(Controller::User(ALICE))
        );
        let of_alice = attributes(ALICE, 0, 0o1777);
        assert_eq!(
            judge(&[TOP, of_alice, attributes(BOB, 0, 0o755)]),
            Err(Controller::User(ALICE)),
            "it is hers all the same"
        );
    }

    #[test]
    fn below_a_folder_that_several_users_may_write_nothing_is_taken() {
        for mode in [0o777, 0o757, 0o2775, 0o770] {
            for owner in [0, ME, ALICE] {
                assert_eq!(
                    judge(&[TOP, attributes(0, STAFF, mode), attributes(owner, 0, 0o755)]),
                    Err(Controller::Several),
                    "{mode:o}"
                );
            }
        }
        assert_eq!(
            judge(&[TOP, attributes(0, 4711, 0o770), attributes(ME, 0, 0o755)]),
            Err(Controller::Several),
            "nobody knows who"
        );
    }

    /// Many systems give each user a group, and new folders the right to be written by it.
    #[test]
    fn a_group_of_nobody_else_is_as_good_as_its_folders_owner() {
        let home = attributes(ALICE, GROUP_OF_ALICE, 0o775);
        assert_eq!(judge(&[TOP, home, attributes(ALICE, 0, 0o755)]), Ok(()));
        assert_eq!(judge(&[TOP, home, attributes(ME, 0, 0o755)]), Err(Controller::User(ALICE)));
        assert_eq!(judge(&[TOP, attributes(0, 0, 0o775), attributes(ME, 0, 0o755)]), Ok(()));
        assert_eq!(
            judge(&[TOP, attributes(ME, GROUP_OF_ALICE, 0o775), attributes(ME, 0, 0o755)]),
            Err(Controller::Several)
        );
    }
}
