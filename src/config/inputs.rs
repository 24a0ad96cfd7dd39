//! The three inputs of a configuration (command line, environment, file), before they are combined.

use std::path::{Path, PathBuf};

use super::parsed::Parsed;
use super::{ConfigError, Environment, Overrides};
use crate::secret::trusted_file::{self, FileTrust, ReadError};

/// The longest configuration file.
const MOST_BYTES: u64 = 1 << 20;
const SYSTEM_FILE: &str = "/etc/astran-backup/config.toml";

/// All that was given, from the strongest to the weakest.
pub(super) struct Inputs<'a> {
    pub(super) overrides: &'a Overrides,
    pub(super) environment: &'a Environment,
    pub(super) file: Parsed,
}

impl<'a> Inputs<'a> {
    /// Finds and reads the configuration file.
    pub(super) fn read(overrides: &'a Overrides, environment: &'a Environment) -> Result<Self, ConfigError> {
        Ok(Self { overrides, environment, file: find_file(overrides, environment)? })
    }

    /// A text from the flag, the variable or the key, whichever comes first.
    pub(super) fn text(
        &self,
        flag: Option<&str>,
        variable: &str,
        key: Option<&str>,
    ) -> Result<Option<String>, ConfigError> {
        let environment = self.environment.text(variable)?;
        Ok(flag.filter(|text| !text.is_empty()).map(str::to_owned).or(environment).or_else(|| key.map(str::to_owned)))
    }

    /// A value from the flag `(name, text)` or the variable, whichever comes first. An error of `parse` gets the name of its origin.
    pub(super) fn parsed<T>(
        &self,
        (flag, typed): (&str, Option<&str>),
        variable: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        match typed {
            Some(text) => parse(text).map(Some).map_err(|why| ConfigError::new(format!("{flag} {why}"))),
            None => self.variable(variable, parse),
        }
    }

    /// A value from the variable.
    pub(super) fn variable<T>(
        &self,
        variable: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ConfigError> {
        let text = self.environment.text(variable)?;
        let value = text.map(|text| parse(&text)).transpose();
        value.map_err(|why| ConfigError::new(format!("the environment variable {variable} {why}")))
    }

    /// The configuration file for messages: the one that was read, or else the first one that is looked for.
    pub(super) fn file_name(&self) -> String {
        let first = || candidates(self.environment).into_iter().next();
        let path = self.file.origin.clone().or_else(first);
        path.map_or_else(|| SYSTEM_FILE.to_owned(), |path| path.display().to_string())
    }
}

/// With `--sandbox`, only a file that the command line names is read: all others are for the real service, not for a trial.
fn find_file(overrides: &Overrides, environment: &Environment) -> Result<Parsed, ConfigError> {
    if overrides.sandbox && overrides.file.is_none() {
        return Ok(Parsed::default());
    }
    let named = overrides.file.clone().or_else(|| environment.path("ASTRAN_BACKUP_CONFIG"));
    if let Some(path) = named {
        return read_file(&path)?
            .ok_or_else(|| ConfigError::new(format!("there is no configuration file {}", path.display())));
    }
    for path in candidates(environment) {
        if let Some(parsed) = read_file(&path)? {
            return Ok(parsed);
        }
    }
    Ok(Parsed::default())
}

/// Where a new configuration file belongs: where the variable says, else for root the system's place, else the user's own.
pub(super) fn place_of_new_file(environment: &Environment, is_root: bool) -> Option<PathBuf> {
    let named = environment.path("ASTRAN_BACKUP_CONFIG");
    let usual = || if is_root { Some(PathBuf::from(SYSTEM_FILE)) } else { own_file(environment) };
    named.or_else(usual)
}

/// The places where a configuration file is looked for: the user's own comes first.
fn candidates(environment: &Environment) -> Vec<PathBuf> {
    own_file(environment).into_iter().chain([PathBuf::from(SYSTEM_FILE)]).collect()
}

fn own_file(environment: &Environment) -> Option<PathBuf> {
    let base = environment.absolute("XDG_CONFIG_HOME").or_else(|| Some(environment.absolute("HOME")?.join(".config")));
    base.map(|base| base.join("astran-backup/config.toml"))
}

fn read_file(path: &Path) -> Result<Option<Parsed>, ConfigError> {
    match trusted_file::read(path, FileTrust::Settings, MOST_BYTES) {
        Ok(text) => Parsed::parse(path, &text).map(Some),
        Err(ReadError::Missing) => Ok(None),
        Err(error) => Err(ConfigError::new(format!("the configuration file {} {error}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_belongs_to_the_system_for_root_and_else_to_the_user() {
        let home = [("HOME", "/home/me")];
        let place = |environment: &Environment, is_root| place_of_new_file(environment, is_root);
        let at_home = Environment::new(home);
        assert_eq!(place(&at_home, false), Some("/home/me/.config/astran-backup/config.toml".into()));
        assert_eq!(place(&at_home, true), Some("/etc/astran-backup/config.toml".into()));
        let elsewhere = Environment::new([home[0], ("XDG_CONFIG_HOME", "/x")]);
        assert_eq!(place(&elsewhere, false), Some("/x/astran-backup/config.toml".into()));
        let named = Environment::new([home[0], ("ASTRAN_BACKUP_CONFIG", "/y/mine.toml")]);
        assert_eq!(
            (place(&named, false), place(&named, true)),
            (Some("/y/mine.toml".into()), Some("/y/mine.toml".into()))
        );
        assert_eq!(place(&Environment::default(), false), None);
    }
}
