//! The environment variables and the terminal that the program was started with; tests make their own.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::IsTerminal;
use std::path::PathBuf;

use super::ConfigError;

/// The environment variables and the terminal that the program was started with. `Debug` shows only names: a value may be a secret.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<OsString, OsString>,
    terminal: bool,
}

impl Environment {
    /// The environment of this process.
    pub fn of_process() -> Self {
        let terminal = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
        Self { variables: std::env::vars_os().collect(), terminal }
    }

    /// An environment with these variables and without a terminal.
    pub fn new<K: Into<OsString>, V: Into<OsString>>(variables: impl IntoIterator<Item = (K, V)>) -> Self {
        let variables = variables.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        Self { variables, terminal: false }
    }

    /// The same environment with a terminal: the program can then ask the user for a password.
    #[must_use]
    pub fn at_terminal(self) -> Self {
        Self { terminal: true, ..self }
    }

    /// The same environment without the variables that set a value of the configuration.
    #[must_use]
    pub(crate) fn without_settings(&self) -> Self {
        let mut variables = self.variables.clone();
        variables.retain(|name, _| !name.as_encoded_bytes().starts_with(b"ASTRAN_BACKUP_"));
        Self { variables, terminal: false }
    }

    /// Whether the user can be asked for a password.
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// A variable's value. An empty variable counts as unset, because service files and containers often set empty ones.
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        self.variables.get(OsStr::new(name)).map(OsString::as_os_str).filter(|value| !value.is_empty())
    }

    /// A variable's value as a path.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.get(name).map(PathBuf::from)
    }

    /// A variable's value as an absolute path. A relative one counts as unset, as the XDG base directory specification demands.
    pub fn absolute(&self, name: &str) -> Option<PathBuf> {
        self.path(name).filter(|path| path.is_absolute())
    }

    /// A variable's value as text.
    pub fn text(&self, name: &str) -> Result<Option<String>, ConfigError> {
        let text = self.get(name).map(|value| value.to_str().map(str::to_owned));
        match text {
            Some(None) => Err(ConfigError::new(format!("the environment variable {name} is not UTF-8 text"))),
            Some(text) => Ok(text),
            None => Ok(None),
        }
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.variables.keys().collect();
        f.debug_struct("Environment").field("names", &names).field("terminal", &self.terminal).finish()
    }
}
