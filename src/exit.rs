//! How the program ends: a stable contract for scripts.

use std::process::{ExitCode, Termination};

use crate::journal::JournalError;
use crate::printable::printable;
use crate::vault::{Kind, VaultError};

/// The exit codes, as README and `--help` list them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All that was asked for is done.
    Done = 0,
    /// Some files failed; also any failure that has no code of its own.
    SomeFailed = 1,
    /// The command line or the configuration can't be used.
    Usage = 2,
    /// The login was refused.
    LoginRefused = 3,
    /// The destination or a local path is missing.
    Missing = 4,
    /// The service can't be reached.
    Unreachable = 5,
    /// Another instance holds the folder.
    Held = 6,
    /// Interrupted by a signal.
    Interrupted = 130,
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(self as u8)
    }
}

/// What stops the program, as against what one file suffers: an exit code, and a message that says what failed, on
/// which file or address, why, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{}", printable(message))]
pub struct Fatal {
    /// The code that the program ends with.
    pub exit: Exit,
    /// For the person who started it. Holds nothing secret.
    pub message: String,
}

impl Fatal {
    /// An end with this code for this reason.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }
}

/// The code by which a script tells whose trouble it was; the message is the store's own.
impl From<VaultError> for Fatal {
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

/// Our own trouble has no code of its own.
impl From<JournalError> for Fatal {
    fn from(error: JournalError) -> Self {
        Self::new(Exit::SomeFailed, error.to_string())
    }
}
