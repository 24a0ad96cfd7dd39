//! Whether files can be set aside, found out without touching any.

use std::path::Path;

use rustix::fs::{Access, AtFlags, Mode, accessat, mkdirat, renameat, unlinkat};

use super::private_folder;
use crate::file::staged_name::{beside, random_digits};
use crate::file::{OpenError, PRIVATE, Root, look_at};
use crate::removal::StagingError;

/// Checks whether files of the root can be set aside and removed, in the private folder or without it.
pub fn probe(root: &Root) -> Result<(), StagingError> {
    probe_private(root).or_else(|error| {
        let writable = accessat(root.dir(), ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS);
        writable.map_err(|_| error)
    })
}

/// Checks whether the private folder of the root can be used: renames a folder from there into the root, and removes it again. A
/// folder, because a file that a crash leaves there would be taken for one to put back.
pub fn probe_private(root: &Root) -> Result<(), StagingError> {
    let made = look_at(root.dir(), PRIVATE.as_ref()).is_err();
    let dir = private_folder::open_or_make(root, Path::new(""))?;
    let (inside, outside) = (format!("probe-{}", random_digits()?), beside(&random_digits()?, "probe".as_ref()));
    mkdirat(&dir, &inside, Mode::RWXU)?;
    let (used, removed) = match renameat(&dir, &inside, root.dir(), &outside) {
        Ok(()) => (Ok(()), unlinkat(root.dir(), &outside, AtFlags::REMOVEDIR)),
        Err(errno) => (Err(OpenError::Io(errno.into())), unlinkat(&dir, &inside, AtFlags::REMOVEDIR)),
    };
    if made {
        // Not empty: a running instance uses it by now.
        unlinkat(root.dir(), PRIVATE, AtFlags::REMOVEDIR).ok();
    }
    used?;
    Ok(removed?)
}
