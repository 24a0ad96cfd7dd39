//! Why the database did not do what it was asked.
//!
//! What a caller can do about a [`FleetError`]: the shipper tries again after each, later and later, since only a person can mend all but
//! the first two, and need not restart anything then; a command shows it and ends. None of them concerns a file or an upload.

use std::sync::Arc;
use std::time::Duration;

use tokio_postgres::error::SqlState;

use crate::journal::JournalError;
use crate::printable::printable;

/// Why the database did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FleetError {
    /// There is no connection, or it broke.
    #[error("the fleet's database {database} can't be reached: {}", chain(&**source))]
    Unreachable {
        /// The server and the database's name.
        database: String,
        /// What happened to the connection.
        #[source]
        source: Arc<tokio_postgres::Error>,
    },
    /// No whole answer came.
    #[error("the fleet's database {database} did not answer within {} s", .within.as_secs())]
    NoAnswer {
        /// The server and the database's name.
        database: String,
        /// The time limit.
        within: Duration,
    },
    /// The password, or the right to log in.
    #[error("the fleet's database {database} refuses the login {login}: {message}")]
    LoginRefused {
        /// The server and the database's name.
        database: String,
        /// The login's name.
        login: String,
        /// What the database says.
        message: String,
    },
    /// The login is of no host, or its host is retired.
    #[error("{0}: an administrator enrols a host with `astran-backup fleet enroll NAME --dept DEPT`")]
    NotEnrolled(String),
    /// The host is enrolled, and has not joined yet.
    #[error(
        "this host has not joined the fleet yet: run `astran-backup fleet join TOKEN` with the token that `fleet enroll` printed"
    )]
    NotJoined,
    /// The host has joined already.
    #[error(
        "{0}: if this host has not done that, the token was stolen and used elsewhere; then retire the host and enrol it anew \
         (`astran-backup fleet retire`, `fleet enroll`)"
    )]
    JoinedAlready(String),
    /// The host's key is not the one that was pinned when it joined.
    #[error(
        "the key of this journal is not the one with which this host joined the fleet: the journal was made anew, or this is another \
         machine; retire the host and enrol it anew"
    )]
    OtherKey,
    /// The database has a receipt that the journal contradicts.
    #[error(
        "the fleet's database and this journal contradict each other: {0}. The journal was changed, restored from a backup or copied to another \
         machine; `astran-backup history --check` and `fleet check` tell more. Uploads go on, but no receipt is shipped"
    )]
    Contradiction(String),
    /// Another process has shipped the same receipts meanwhile.
    #[error("{0}: another process ships the receipts of this journal")]
    NotNext(String),
    /// The database computed another hash.
    #[error("{0}: the journal was changed, see `astran-backup history --check`")]
    BadHash(String),
    /// A field of a receipt is no text, so the database can't keep it.
    #[error("receipt {0} has a field that is no text, which the fleet's database can't keep")]
    NoText(i64),
    /// The database has no tables for a fleet, or those of a version that this program does not know.
    #[error("{0}")]
    Version(String),
    /// The login may not do that.
    #[error("the fleet's database does not let this login do that: {0}")]
    Forbidden(String),
    /// A certificate, a password file, a token or a name can't be used.
    #[error("{0}")]
    Settings(String),
    /// Anything else that the database says.
    #[error("the fleet's database can't do that: {0}")]
    Database(String),
    /// The journal can't be read or written.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

impl FleetError {
    /// What an error of the connection to this database, logged in as `login`, means.
    pub(super) fn of(database: &str, login: &str, error: tokio_postgres::Error) -> Self {
        let Some(said) = error.as_db_error() else {
            return Self::Unreachable { database: database.to_owned(), source: Arc::new(error) };
        };
        let message = printable(said.message());
        match said.code().code() {
            "AF001" => Self::NotEnrolled(message),
            "AF002" => Self::JoinedAlready(message),
            "AF003" => Self::NotNext(message),
            "AF004" => Self::BadHash(message),
            _ => match said.code() {
                code if code.code().starts_with("28") => {
                    Self::LoginRefused { database: database.to_owned(), login: printable(login), message }
                }
                &SqlState::INVALID_SCHEMA_NAME | &SqlState::UNDEFINED_FUNCTION | &SqlState::UNDEFINED_TABLE => {
                    Self::Version(
                        "the database has no tables for a fleet: an administrator runs `astran-backup fleet migrate`"
                            .into(),
                    )
                }
                &SqlState::INSUFFICIENT_PRIVILEGE => Self::Forbidden(message),
                code if code.code().starts_with("57P") || code.code().starts_with("08") || code.code() == "53300" => {
                    Self::Unreachable { database: database.to_owned(), source: Arc::new(error) }
                }
                _ => Self::Database(message),
            },
        }
    }
}

/// An error with its sources, which say what really happened; each once, since some repeat theirs.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let said = source.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        next = source.source();
    }
    printable(&text)
}
