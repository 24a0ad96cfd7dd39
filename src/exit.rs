//! How the program ends: a stable contract for scripts.

use std::process::{ExitCode, Termination};

use crate::printable::printable;

/// The exit codes, as README and `--help` list them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All that was asked for is done. Also the orderly stop of a daemon, whatever files are left for its next start.
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
    /// Interrupted by a signal: a command that had work to finish by the first one, a daemon by the second one.
    Interrupted = 130,
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(self as u8)
    }
}

/// An error that ends the program, not only one file's upload: an exit code, and a message that says what failed, on which file or
/// address, why, and what to do.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", printable(message))]
pub struct Fatal {
    /// The code that the program ends with.
    pub exit: Exit,
    /// Printed on standard error. Holds nothing secret.
    pub message: String,
}

impl Fatal {
    /// Ends the program with this code and message.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }
}
