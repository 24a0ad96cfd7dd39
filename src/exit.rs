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

impl Exit {
    /// The number as a word, for the field `code` of JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::SomeFailed => "some_failed",
            Self::Usage => "usage",
            Self::LoginRefused => "login_refused",
            Self::Missing => "missing",
            Self::Unreachable => "unreachable",
            Self::Held => "held",
            Self::Interrupted => "interrupted",
        }
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(self as u8)
    }
}

/// A cause of [`Exit::SomeFailed`] that scripts can tell from the others by its word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The journal can't be used.
    Journal,
    /// Standard output can't be written.
    Output,
    /// `get`, `init`: the local file exists, and is not replaced.
    Exists,
    /// `get`: the document is not what its receipt says.
    Differs,
    /// A fault of this program.
    Internal,
}

impl Cause {
    fn word(self) -> &'static str {
        match self {
            Self::Journal => "journal",
            Self::Output => "output",
            Self::Exists => "exists",
            Self::Differs => "differs",
            Self::Internal => "internal",
        }
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
    /// The cause of [`Exit::SomeFailed`], where it has a word of its own.
    pub cause: Option<Cause>,
}

impl Fatal {
    /// Ends the program with this code and message.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), cause: None }
    }

    /// Ends the program with [`Exit::SomeFailed`] for this cause.
    pub fn because(cause: Cause, message: impl Into<String>) -> Self {
        Self { exit: Exit::SomeFailed, message: message.into(), cause: Some(cause) }
    }

    /// A fault of this program, for example a task that panicked.
    pub fn internal(error: impl std::fmt::Display) -> Self {
        Self::because(Cause::Internal, format!("internal error: {error}"))
    }

    /// The error as a word, for the field `code` of JSON. The words are a stable contract.
    pub fn code(&self) -> &'static str {
        match self.cause {
            Some(cause) if self.exit == Exit::SomeFailed => cause.word(),
            _ => self.exit.word(),
        }
    }
}
