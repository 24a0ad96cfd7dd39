//! Who owns a file, and who may do what with it, in words.

use std::fmt;
use std::path::Path;

use rustix::fs::{AtFlags, statat};

use crate::file::Root;

/// A file's owner and mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) uid: u32,
    /// The owner's name; `None` where `/etc/passwd` has none.
    pub(crate) name: Option<String>,
    /// The permission bits.
    pub(crate) mode: u32,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name}, {:03o}", self.mode),
            None => write!(f, "user {}, {:03o}", self.uid, self.mode),
        }
    }
}

impl Owner {
    /// The owner of what lies at a path below a root; `None` where that can't be told.
    pub(super) fn of(root: &Root, relative: &Path) -> Option<Self> {
        let (folder, name) = root.parent_of(relative).ok()?;
        let stat = statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        Some(Self { uid: stat.st_uid, name: user_in(&users, stat.st_uid), mode: stat.st_mode & 0o7777 })
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

    #[test]
    fn an_owner_is_named_where_the_system_knows_a_name() {
        let users = "root:x:0:0::/root:/bin/sh\nbroken\nscand:x:812:812::/:\n";
        let shown = |uid| Owner { uid, name: user_in(users, uid), mode: 0o600 }.to_string();
        assert_eq!(shown(0), "root, 600");
        assert_eq!(shown(812), "scand, 600");
        assert_eq!(shown(4), "user 4, 600");
    }
}
