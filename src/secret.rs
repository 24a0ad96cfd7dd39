//! Where a password comes from, and that it is never printed.

use secrecy::SecretString;
use std::path::PathBuf;

/// Where a secret comes from. Read anew each time, so that a rotated one is found.
#[derive(Debug, Clone)]
pub enum Source {
    /// A file that only its owner can read; one trailing newline is dropped.
    File(PathBuf),
    /// The first line that a command prints.
    Command(Vec<String>),
    /// A value that is known already (environment, prompt, sandbox).
    Given(SecretString),
    /// Asked for on the terminal, at first use, then kept.
    Prompt(String),
}

/// Why a secret can't be had. Names the place, never the secret.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct SecretError(pub String);

impl Source {
    /// The secret as it is now.
    pub async fn read(&self) -> Result<SecretString, SecretError> {
        match self {
            Self::Given(secret) => Ok(secret.clone()),
            _ => Err(SecretError("not built yet".into())),
        }
    }
}
