//! Where the two files go, who may read them, and what is to be done next.

use std::path::{Path, PathBuf};

use crate::exit::{Cause, Exit, Fatal};
use crate::secret::trusted_file::quoted;

/// The folder whose files the systemd units read.
const OF_SERVICE: &str = "/etc/astran-backup";
/// The group of the service, made by `deploy/astran-backup.sysusers`.
const GROUP: &str = "astran-backup";

/// Where the two files go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) config: PathBuf,
    pub(super) password: PathBuf,
    /// The group that may read the configuration: that of the service, where its units read these files.
    pub(super) group: Option<u32>,
    /// systemd hands the password over to the service, which can't read the file itself.
    pub(super) is_credential: bool,
}

impl Place {
    /// The place for a configuration at this absolute path. `group` is the number of the service's group, for root on a machine that
    /// has one. Pure.
    pub(super) fn new(config: PathBuf, password: Option<PathBuf>, group: Option<u32>) -> Self {
        let of_unit = config.with_file_name(match config.file_stem() {
            Some(name) if name != "config" => format!("{}.password", name.display()),
            _ => "password".to_owned(),
        });
        let group = group.filter(|_| config.parent() == Some(Path::new(OF_SERVICE)));
        let password = password.unwrap_or_else(|| of_unit.clone());
        let is_credential = group.is_some() && password == of_unit;
        Self { config, password, group, is_credential }
    }

    /// Refuses to write over a file, or over a link.
    pub(super) fn refuse_existing(&self, writes_password: bool) -> Result<(), Fatal> {
        if self.config == self.password {
            let why = "the configuration and the password can't be in one file: give --password-file another name";
            return Err(Fatal::new(Exit::Usage, why));
        }
        if is_there(&self.config) {
            return Err(exists("configuration", &self.config, "--config FILE to write another one"));
        }
        if writes_password && is_there(&self.password) {
            let shown = quoted(&self.password);
            let mend = format!("--password-file {shown} to use the password in it, or name another file");
            return Err(exists("password file", &self.password, &mend));
        }
        Ok(())
    }

    /// The commands that come next. `is_usual`: the program finds the configuration without being told where it is.
    pub(super) fn next(&self, is_usual: bool) -> Vec<String> {
        if self.group.is_some() {
            let unit = match self.config.file_stem() {
                Some(name) if name != "config" => format!("{GROUP}@{}", quoted(Path::new(name))),
                _ => GROUP.to_owned(),
            };
            return vec![format!("systemctl enable --now {unit}")];
        }
        let config = if is_usual { String::new() } else { format!(" --config {}", quoted(&self.config)) };
        ["check", "watch"].map(|command| format!("astran-backup {command}{config}")).into()
    }
}

/// Whether anything has this name, a link that leads nowhere included.
pub(super) fn is_there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

pub(super) fn exists(what: &str, path: &Path, mend: &str) -> Fatal {
    Fatal::because(
        Cause::Exists,
        format!("the {what} {} is there already, and is not replaced: give {mend}", path.display()),
    )
}

/// The path as text, as the configuration needs it.
pub(super) fn as_text(path: &Path) -> Result<&str, Fatal> {
    let fault = || format!("{} is not UTF-8 text, so it can't be in the configuration: rename it", path.display());
    path.to_str().ok_or_else(|| Fatal::new(Exit::Usage, fault()))
}

/// The number of the service's group, in the text of `/etc/group`. Pure.
pub(super) fn service_group(groups: &str) -> Option<u32> {
    let line = groups.lines().find(|line| line.split(':').next() == Some(GROUP))?;
    line.split(':').nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(config: &str, password: Option<&str>, group: Option<u32>) -> Place {
        Place::new(config.into(), password.map(PathBuf::from), group)
    }

    #[test]
    fn the_units_find_their_files_and_get_the_password_from_systemd() {
        let service = place("/etc/astran-backup/config.toml", None, Some(7));
        assert_eq!((service.password.to_str(), service.group), (Some("/etc/astran-backup/password"), Some(7)));
        assert!(service.is_credential);
        assert_eq!(service.next(true), ["systemctl enable --now astran-backup"]);
        let instance = place("/etc/astran-backup/legal.toml", None, Some(7));
        assert_eq!(instance.password.to_str(), Some("/etc/astran-backup/legal.password"));
        assert_eq!(instance.next(false), ["systemctl enable --now astran-backup@legal"]);
        assert!(!place("/etc/astran-backup/config.toml", Some("/x/password"), Some(7)).is_credential);
    }

    #[test]
    fn elsewhere_and_without_the_service_only_the_owner_reads_the_files() {
        for place in [place("/x/config.toml", None, Some(7)), place("/etc/astran-backup/config.toml", None, None)] {
            assert_eq!((place.group, place.is_credential), (None, false));
        }
        let mine = place("/x y/mine.toml", None, None);
        assert_eq!(mine.password.to_str(), Some("/x y/mine.password"));
        assert_eq!(mine.next(false)[1], "astran-backup watch --config '/x y/mine.toml'");
        assert_eq!(mine.next(true), ["astran-backup check", "astran-backup watch"]);
    }

    #[test]
    fn a_link_that_leads_nowhere_is_not_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config.toml");
        let here = Place::new(config.clone(), None, None);
        here.refuse_existing(true).unwrap();
        std::os::unix::fs::symlink("nowhere", &here.password).unwrap();
        assert!(here.refuse_existing(true).unwrap_err().message.contains("--password-file"));
        here.refuse_existing(false).unwrap();
        std::os::unix::fs::symlink("nowhere", &config).unwrap();
        assert!(here.refuse_existing(false).unwrap_err().message.contains("--config"));
    }

    #[test]
    fn the_number_of_the_group_is_read() {
        assert_eq!(service_group("root:x:0:\nastran-backup-x:x:5:\nastran-backup:x:998:me\n"), Some(998));
        assert_eq!(service_group("root:x:0:\n"), None);
    }
}
