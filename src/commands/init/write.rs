//! Writes the two files, each whole or not at all, and never over another file.

use std::io::{self, Write as _};
use std::path::Path;

use rustix::fs::{Mode, fchmod, fchown};
use rustix::process::Gid;
use secrecy::{ExposeSecret as _, SecretString};

use super::place::{Place, exists, is_there};
use crate::exit::{Exit, Fatal};
use crate::file::Root;
use crate::removal::{self, AtomicFile};

/// Writes the password file, unless it is there and used as it is, and then the configuration. Blocks.
pub(super) fn write(place: &Place, config: &str, password: Option<&SecretString>) -> Result<(), Fatal> {
    // Both are written before the first gets its name, so that a full disk leaves neither.
    let config = begin(&place.config, config, place.group)?;
    let password = match password {
        Some(password) => Some(begin(&place.password, password.expose_secret(), None)?),
        None => None,
    };
    if let Some(password) = password {
        password.persist(false).map_err(|error| unwritten("password file", &place.password, &error))?;
    }
    config.persist(false).map_err(|error| {
        let fatal = unwritten("configuration", &place.config, &error);
        let message = format!("{}; {} has the password already", fatal.message, place.password.display());
        Fatal { message, ..fatal }
    })
}

fn begin(path: &Path, text: &str, group: Option<u32>) -> Result<AtomicFile, Fatal> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Fatal::new(Exit::Usage, format!("{} names no file", path.display())));
    };
    let folder = folder_for(folder, group)?;
    let written = AtomicFile::create_below(&folder, name).and_then(|mut file| {
        file.set_readers(group)?;
        file.write_all(text.as_bytes())?;
        Ok(file)
    });
    written.map_err(|error| unwritten("file", path, &error))
}

/// The folder of the files. One that is made is for this user, and for the group of the service if that reads the files.
fn folder_for(folder: &Path, group: Option<u32>) -> Result<Root, Fatal> {
    let is_new = !is_there(folder);
    let opened = removal::open_or_make(folder).map_err(|error| Fatal::new(Exit::Usage, error.to_string()))?;
    if let (true, Some(group)) = (is_new, group) {
        let mode = Mode::RWXU | Mode::RGRP | Mode::XGRP;
        fchown(opened.dir(), None, Some(Gid::from_raw(group)))
            .and_then(|()| fchmod(opened.dir(), mode))
            .map_err(|errno| unwritten("folder", folder, &errno.into()))?;
    }
    Ok(opened)
}

fn unwritten(what: &str, path: &Path, error: &io::Error) -> Fatal {
    if error.kind() == io::ErrorKind::AlreadyExists {
        return exists(what, path, "another name");
    }
    Fatal::new(Exit::SomeFailed, format!("the {what} {} can't be written: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_files_are_for_their_owner_and_the_configuration_for_the_group_of_the_service() {
        let dir = tempfile::tempdir().unwrap();
        let ours = rustix::process::getegid().as_raw();
        for (name, group, config_mode, folder_mode) in
            [("mine", None, 0o600, 0o700), ("service", Some(ours), 0o640, 0o750)]
        {
            let folder = dir.path().join(name);
            let place = Place { group, ..Place::new(folder.join("config.toml"), None, None) };
            write(&place, "text", Some(&"hunter2".into())).unwrap();
            assert_eq!((mode(&place.config), mode(&place.password), mode(&folder)), (config_mode, 0o600, folder_mode));
            assert_eq!(std::fs::read_to_string(&place.password).unwrap(), "hunter2");
            assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 2);
        }
    }

    #[test]
    fn a_file_that_appears_meanwhile_is_not_replaced_and_no_half_of_ours_stays() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(dir.path().join("config.toml"), None, None);
        std::fs::write(&place.password, "theirs").unwrap();
        let why = write(&place, "text", Some(&"hunter2".into())).unwrap_err();
        assert!(why.code() == "exists" && !why.message.contains("hunter2"), "{why}");
        assert_eq!(std::fs::read_to_string(&place.password).unwrap(), "theirs");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        write(&place, "text", None).unwrap();
        assert_eq!(std::fs::read_to_string(&place.config).unwrap(), "text");
    }
}
