//! What is wrong with the configuration.

use crate::exit::{Exit, Fatal};
use crate::printable::printable;

/// Why the configuration can't be used: what, on which file, line and key, why, and what to do. Holds nothing secret.
///
/// There is one kind: whoever gets it can only tell the person who started the program, and end with [`Exit::Usage`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", printable(message))]
pub struct ConfigError {
    message: String,
}

impl ConfigError {
    /// An error in these words.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}

impl From<ConfigError> for Fatal {
    fn from(error: ConfigError) -> Self {
        Self::new(Exit::Usage, error.message)
    }
}
