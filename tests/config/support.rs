//! A home of its own for each test.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use astran_backup::cli::Cli;
use astran_backup::config::{Config, Environment};
use clap::Parser as _;
use tempfile::TempDir;

/// A home of its own for each test, with a configuration file or none.
pub(crate) struct Home {
    temp: TempDir,
    variables: Vec<(OsString, OsString)>,
}

impl Home {
    pub(crate) fn bare() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let variables = vec![("HOME".into(), temp.path().into())];
        Self { temp, variables }
    }

    /// With an empty file, so that none of the machine's is found.
    pub(crate) fn empty() -> Self {
        Self::with("")
    }

    pub(crate) fn with(text: &str) -> Self {
        let home = Self::bare();
        home.write(".config/astran-backup/config.toml", text, 0o600);
        home
    }

    pub(crate) fn set(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.variables.push((name.into(), value.as_ref().to_owned()));
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path(".config/astran-backup/config.toml")
    }

    pub(crate) fn write(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    pub(crate) fn environment(&self) -> Environment {
        Environment::new(self.variables.clone())
    }

    pub(crate) fn load(&self, line: &str) -> Result<Config, String> {
        let loaded = typed(line).overrides().and_then(|overrides| Config::load(&overrides, &self.environment()));
        loaded.map_err(|error| error.to_string())
    }
}

pub(crate) fn typed(line: &str) -> Cli {
    Cli::try_parse_from(std::iter::once("astran-backup").chain(line.split_whitespace())).unwrap()
}

pub(crate) fn refused(line: &str) -> clap::Error {
    Cli::try_parse_from(std::iter::once("astran-backup").chain(line.split_whitespace())).unwrap_err()
}

pub(crate) fn dest(config: &Config) -> String {
    config.upload.dest.as_ref().unwrap().to_string()
}

pub(crate) const SERVICE: &str = "[service]\nrealm = \"r\"\n";

/// A service, and a user who logs in.
pub(crate) fn who() -> String {
    format!("{SERVICE}[login]\nclient_id = \"c\"\nusername = \"u\"\n")
}
