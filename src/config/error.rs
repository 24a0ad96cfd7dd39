//! What is wrong with the configuration.

use crate::printable::printable;

/// The configuration can't be used. The message says what is wrong, in which file, line and key, why, and what to do. It holds
/// nothing secret.
///
/// There is only one kind: a caller can only show the message to the user, and end the program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", printable(message))]
pub struct ConfigError {
    message: String,
}

impl ConfigError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into() }
    }
}
