//! Why the journal did not do what a caller asked for.
//!
//! What the caller can do about it:
//! - [`JournalError::Unusable`]: stop uploading, remove nothing, and ask again later. No file is to blame; the text names the
//!   journal's file and what its administrator can do. Only [`Unusable::Key`] stops no upload: without the key nothing can be anchored,
//!   pruned or proved, but the journal can be written.
//! - [`JournalError::Refused`]: give up this one request. It contradicts what the journal holds, nothing was written, and asking
//!   again brings the same answer. The journal itself is fine.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::ErrorCode;

use super::AttemptId;
use super::key::KeyError;
use super::schema::MigrateError;

/// Why the journal did not do what a caller asked for.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JournalError {
    /// The journal can't be opened, read or written. Uploads stop; nothing is removed.
    #[error(transparent)]
    Unusable(#[from] Unusable),
    /// The request contradicts what the journal holds. Nothing was written.
    #[error(transparent)]
    Refused(#[from] RefusedRequest),
}

/// Why the journal can't be used. Each reason has its own remedy, which its text names.
#[derive(Debug, Clone, thiserror::Error)]
#[expect(missing_docs, reason = "the text of each reason says what it is; the fields are what the text names")]
pub enum Unusable {
    #[error("the state directory {} can't be used: {source}; name another one", .dir.display())]
    StateDir { dir: PathBuf, source: Arc<io::Error> },
    #[error("the state directory {} belongs to another user: name one of this user's own with --state-dir", .dir.display())]
    OtherOwner { dir: PathBuf },
    #[error(
        "others can write the state directory {0}, so nothing in it could be trusted: run `chmod 700 {0}`",
        .dir.display()
    )]
    WritableByOthers { dir: PathBuf },
    #[error("the journal {} can't be created: {source}; check the folder's permissions", .path.display())]
    Create { path: PathBuf, source: Arc<io::Error> },
    #[error(
        "the journal {} can't be used: it has version {found}, this program knows versions up to {known}: use the program that \
         wrote it, or a newer one",
        .path.display()
    )]
    Newer { path: PathBuf, found: i64, known: usize },
    #[error(
        "the journal {} is of an older version of this program, and a look changes nothing: run `astran-backup history` once, which \
         brings the journal to this version",
        .path.display()
    )]
    Older { path: PathBuf },
    #[error("the journal {} was opened for reads alone", .path.display())]
    ReadOnly { path: PathBuf },
    #[error("the journal {}: {problem} ({source})", .path.display())]
    Database { path: PathBuf, problem: DatabaseProblem, source: Arc<rusqlite::Error> },
    #[error(
        "the journal {} was removed or replaced while the program runs: put it back, or start the program anew; until then \
         nothing is uploaded or removed",
        .path.display()
    )]
    Replaced { path: PathBuf },
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("the lock beside the journal can't be used: {0}")]
    Lock(#[source] Arc<io::Error>),
    #[error("the journal's thread can't be started: {0}")]
    NoThread(#[source] Arc<io::Error>),
    #[error("the journal's thread has stopped: start the program anew, and report this")]
    Stopped,
    #[error("reading the journal was ended: {0}")]
    ReadEnded(#[source] Arc<tokio::task::JoinError>),
}

/// Which request the journal refused, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RefusedRequest {
    /// The receipts of one service must not count for another.
    #[error("it has the receipts of {owner}, which say nothing of {claimant}")]
    OtherService {
        /// The service that the journal belongs to.
        owner: String,
        /// The service that claimed it.
        claimant: String,
    },
    /// There is no attempt of this number.
    #[error("the journal has no attempt {}", .0.0)]
    UnknownAttempt(AttemptId),
    /// A second receipt, which differs from the one that the attempt has.
    #[error("the journal's attempt {} has another receipt already", .0.0)]
    OtherReceipt(AttemptId),
    /// A receipt for an attempt that ended without one, and was not merely abandoned.
    #[error("the journal's attempt {} is over without having been stored", .0.0)]
    EndedUnstored(AttemptId),
    /// A local file may be dealt with only after its receipt is written.
    #[error("the journal's attempt {} has no receipt, so its file can't have been dealt with", .0.0)]
    NoReceipt(AttemptId),
}

/// What is wrong where `SQLite` fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the text of each problem says what it is")]
pub enum DatabaseProblem {
    DiskFull,
    NotWritable,
    /// The process's own limit for the size of a file (`RLIMIT_FSIZE`) is reached.
    SizeLimit,
    DiskFails,
    Busy,
    Damaged,
    CannotOpen,
    Other,
}

impl fmt::Display for DatabaseProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::DiskFull => "its disk is full; free some space there, nothing is uploaded or removed until it can be written",
            Self::NotWritable => "it can't be written; make its folder writable for this user",
            Self::SizeLimit => {
                "it can't grow, for this process may make no file larger (ulimit -f, LimitFSIZE=); raise that limit, nothing is \
                 uploaded or removed until it can be written"
            }
            Self::DiskFails => "its disk fails; look at the system's log",
            Self::Busy => "another process holds it for too long; end that one or try again",
            Self::Damaged => "it is damaged; stop all instances, keep a copy, and put back a backup of it or move it away",
            Self::CannotOpen => "it can't be opened; look at its folder and the permissions there",
            Self::Other => "it can't be used",
        })
    }
}

impl DatabaseProblem {
    fn of(error: &rusqlite::Error, path: &Path) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::DiskFull,
            Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Self::NotWritable,
            Some(ErrorCode::SystemIoFailure) if meets_size_limit(path) => Self::SizeLimit,
            Some(ErrorCode::SystemIoFailure) => Self::DiskFails,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy,
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged,
            Some(ErrorCode::CannotOpen) => Self::CannotOpen,
            _ => Self::Other,
        }
    }
}

impl JournalError {
    /// What `SQLite` said, with the journal's path and what can be done about it.
    pub(super) fn database(path: &Path, error: rusqlite::Error) -> Self {
        let problem = DatabaseProblem::of(&error, path);
        Unusable::Database { path: path.to_owned(), problem, source: Arc::new(error) }.into()
    }

    pub(super) fn migration(path: &Path, error: MigrateError) -> Self {
        match error {
            MigrateError::Sql(error) => Self::database(path, error),
            MigrateError::Newer { found, known } => Unusable::Newer { path: path.to_owned(), found, known }.into(),
            MigrateError::Key(error) => Unusable::from(error).into(),
        }
    }
}

/// Whether another connection has a lock that was needed.
pub(super) fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked))
}

/// Whether the journal is as large as this process may make a file: `SQLite` reports that as a disk that fails.
fn meets_size_limit(path: &Path) -> bool {
    let Some(limit) = rustix::process::getrlimit(rustix::process::Resource::Fsize).current else { return false };
    ["", "-wal", "-shm"].into_iter().any(|ending| {
        let mut name = path.as_os_str().to_owned();
        name.push(ending);
        let size = std::fs::metadata(name).map_or(0, |found| found.len());
        // The next piece that SQLite would write is no larger.
        size > 0 && size + 64 * 1024 > limit
    })
}

/// Why the writer's thread can't do one request.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    /// `SQLite` failed. The whole group of requests is undone, and each of them gets this error.
    #[error(transparent)]
    Sql(#[from] rusqlite::Error),
    /// This request alone can't be done, and has written nothing. Others in its group go on.
    #[error(transparent)]
    Rejected(JournalError),
}

impl From<RefusedRequest> for RequestError {
    fn from(refusal: RefusedRequest) -> Self {
        Self::Rejected(refusal.into())
    }
}

impl From<KeyError> for RequestError {
    fn from(error: KeyError) -> Self {
        Self::Rejected(Unusable::from(error).into())
    }
}
