//! What the errors of the rooms below mean for a command: the exit code by which a script tells whose trouble it was.

use crate::config::ConfigError;
use crate::exit::{Cause, Exit, Fatal};
use crate::filter::PatternError;
use crate::journal::JournalError;
use crate::vault::{Kind, VaultError};

impl From<VaultError> for Fatal {
    /// The message is the vault's own.
    fn from(error: VaultError) -> Self {
        let exit = match error.kind {
            Kind::Login => Exit::LoginRefused,
            Kind::Missing => Exit::Missing,
            Kind::Unavailable | Kind::Unknown => Exit::Unreachable,
            Kind::Forbidden | Kind::Conflict | Kind::Refused | Kind::Content => Exit::SomeFailed,
        };
        Self::new(exit, error.message)
    }
}

impl From<JournalError> for Fatal {
    /// The journal's trouble is this program's own, and has no exit code of its own.
    fn from(error: JournalError) -> Self {
        Self::because(Cause::Journal, error.to_string())
    }
}

impl From<PatternError> for Fatal {
    fn from(error: PatternError) -> Self {
        Self::new(Exit::Usage, format!("a pattern of ignore, exclude or include can't be used: {error}"))
    }
}

impl From<ConfigError> for Fatal {
    fn from(error: ConfigError) -> Self {
        Self::new(Exit::Usage, error.to_string())
    }
}
