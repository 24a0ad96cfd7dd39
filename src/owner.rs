//! Who owns a file, and who may do what with it, in words for the person who has to change that.

use std::ffi::OsStr;
use std::fmt;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, statat};
use rustix::process::geteuid;

/// A file's owner and mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    user: User,
    /// The permission bits.
    mode: u32,
}

/// A user of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
struct User {
    id: u32,
    /// `None` where `/etc/passwd` has no name.
    name: Option<String>,
}

impl Owner {
    /// The owner of what lies under a name in an open folder; `None` where that can't be told. Blocks.
    pub(crate) fn of(dir: impl AsFd, name: &OsStr) -> Option<Self> {
        let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some(Self { user: User::of(stat.st_uid), mode: stat.st_mode & 0o7777 })
    }
}

/// Why this process may not open what lies at a path, and the mend. Blocks.
pub(crate) fn why_denied(path: &Path) -> String {
    let stat = statat(CWD, path, AtFlags::empty()).ok();
    denied(stat.map(|stat| Owner { user: User::of(stat.st_uid), mode: stat.st_mode & 0o7777 }).as_ref())
}

/// Why this process may not open a file or folder of this owner, and the mend. `None` where a folder on its path can't be entered.
pub(crate) fn denied(owner: Option<&Owner>) -> String {
    denied_to(owner, &User::of(geteuid().as_raw()))
}

fn denied_to(owner: Option<&Owner>, us: &User) -> String {
    match owner {
        Some(Owner { user, mode }) => format!(
            "it belongs to {user} (mode {mode:03o}), and this program runs as {us}: let that user read it (chmod, chown or setfacl)"
        ),
        None => format!(
            "this program runs as {us}, who may not enter a folder on its path: let that user enter it (chmod, chown or setfacl)"
        ),
    }
}

impl User {
    fn of(id: u32) -> Self {
        let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        Self { id, name: user_in(&users, id) }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {:03o}", self.user, self.mode)
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => f.write_str(name),
            None => write!(f, "user {}", self.id),
        }
    }
}

/// The name of a user, by the text of `/etc/passwd`. Pure.
fn user_in(users: &str, uid: u32) -> Option<String> {
    let fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let found = fields.into_iter().find(|fields| fields.get(2).and_then(|text| text.parse().ok()) == Some(uid))?;
    found.first().map(|name| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str = "root:x:0:0::/root:/bin/sh\nbroken\nscand:x:812:812::/:\n";

    fn user(id: u32) -> User {
        User { id, name: user_in(USERS, id) }
    }

    #[test]
    fn an_owner_is_named_where_the_system_knows_a_name() {
        let shown = |id| Owner { user: user(id), mode: 0o600 }.to_string();
        assert_eq!(shown(0), "root, 600");
        assert_eq!(shown(812), "scand, 600");
        assert_eq!(shown(4), "user 4, 600");
    }

    #[test]
    fn who_may_not_read_is_told_with_owner_mode_and_the_mend() {
        let owner = Owner { user: user(0), mode: 0o600 };
        assert_eq!(
            denied_to(Some(&owner), &user(812)),
            "it belongs to root (mode 600), and this program runs as scand: let that user read it (chmod, chown or setfacl)"
        );
        assert!(denied_to(None, &user(812)).contains("runs as scand, who may not enter a folder on its path"));
    }
}
