//! The journal's folder and file on the disk, and connections to it.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use rustix::process::geteuid;

use super::{JournalError, Unusable, heads, schema};

/// The file's name in the state directory. `SQLite` puts its write-ahead log beside it, with the same mode.
const NAME: &str = "journal.sqlite";

/// How long another process may hold the write lock: its groups take milliseconds, its pruning a second.
pub(super) const BUSY: Duration = Duration::from_secs(10);

/// How many pages (of 4 KiB) the write-ahead log takes at most before they go into the journal itself.
///
/// Names come in any order, so a checkpoint writes pages all over the journal: the rarer a checkpoint, the fewer pages are written
/// twice. But on a disk that the log has filled the journal has no room to grow into, and the disk stays full: so the log takes at most
/// a sixteenth of what is free.
fn checkpoint(free: u64) -> i64 {
    i64::try_from(free / 16 / 4096).unwrap_or(i64::MAX).clamp(64, 8000)
}

/// Makes the directory and the journal where they are missing, and brings the journal to this program's version.
pub(super) fn open(state_dir: &Path) -> Result<(Connection, PathBuf), JournalError> {
    prepare_dir(state_dir)?;
    let path = state_dir.join(NAME);
    prepare_file(state_dir, &path).map_err(|error| Unusable::Create { path: path.clone(), source: Arc::new(error) })?;
    let mut connection = connect(&path).map_err(|error| JournalError::database(&path, error))?;
    let sign = |connection: &Connection, version| heads::sign_start(connection, state_dir, version);
    schema::migrate(&mut connection, schema::STEPS, sign).map_err(|error| JournalError::migration(&path, error))?;
    Ok((connection, path))
}

/// Whether there is a journal in a folder.
pub(super) fn exists(state_dir: &Path) -> bool {
    file_in(state_dir).exists()
}

/// The journal's file in a folder.
pub(super) fn file_in(state_dir: &Path) -> PathBuf {
    state_dir.join(NAME)
}

/// The size of a journal's file and of its write-ahead log, in bytes. The log is missing while no process has the journal open.
pub(super) fn size(journal: &Path) -> io::Result<u64> {
    let log = match fs::metadata(log_of(journal)) {
        Ok(log) => log.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(error),
    };
    Ok(fs::metadata(journal)?.len() + log)
}

fn log_of(journal: &Path) -> PathBuf {
    journal.with_file_name(format!("{NAME}-wal"))
}

/// How the connections to a journal are opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// For reads and writes.
    Full,
    /// For reads that leave no trace: see [`connect_to_peek`].
    Peek,
}

/// A connection to a journal that exists.
pub(super) fn connect_for(path: &Path, access: Access) -> rusqlite::Result<Connection> {
    match access {
        Access::Full => connect(path),
        Access::Peek => connect_to_peek(path),
    }
}

/// A connection that makes no file and changes none.
///
/// `SQLite` makes its files beside the journal even for a reader, unless it is told that nobody writes (`immutable`). That is so where
/// there is no write-ahead log: every process that has the journal open has one. With a log, what the log holds must be read too,
/// and the files beside the journal are there already.
fn connect_to_peek(path: &Path) -> rusqlite::Result<Connection> {
    let mode = if log_of(path).exists() { "mode=ro" } else { "mode=ro&immutable=1" };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let encoded = percent_encode(path.as_os_str().as_bytes(), NON_ALPHANUMERIC);
    let connection = Connection::open_with_flags(format!("file:{encoded}?{mode}"), flags)?;
    connection.busy_timeout(BUSY)?;
    Ok(connection)
}

/// Checks that a journal can be read as it is: only a run that may write brings an older one to this program's version.
pub(super) fn check_to_peek(path: &Path) -> Result<(), JournalError> {
    let version = connect_to_peek(path).and_then(|connection| schema::version(&connection));
    let found = version.map_err(|error| JournalError::database(path, error))?;
    let known = schema::STEPS.len();
    match usize::try_from(found) {
        Ok(found) if found == known => Ok(()),
        Ok(older) if older < known => Err(Unusable::Older { path: path.to_owned() }.into()),
        _ => Err(Unusable::Newer { path: path.to_owned(), found, known }.into()),
    }
}

/// A connection to a journal that exists.
pub(super) fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(32);
    // Otherwise a prepared statement is prepared anew whenever a value bound to it might want another plan.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    write_ahead(&connection)?;
    // A receipt must outlive a power cut from the moment the caller has the answer: NORMAL would only sync at checkpoints.
    connection.pragma_update(None, "synchronous", "full")?;
    let free = rustix::fs::statvfs(path).map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    connection.pragma_update(None, "wal_autocheckpoint", checkpoint(free))?;
    connection.pragma_update(None, "temp_store", "memory")?;
    Ok(connection)
}

/// Turns a new journal's write-ahead log on. `SQLite` does not wait where another process does the same at this moment: each
/// would wait for the other.
fn write_ahead(connection: &Connection) -> rusqlite::Result<()> {
    let start = Instant::now();
    loop {
        match connection.pragma_update(None, "journal_mode", "wal") {
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && start.elapsed() < BUSY => {
                std::thread::sleep(Duration::from_millis(5));
            }
            done => return done,
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the state folder is configured; its owner and mode are checked, and nothing is in it before that"
)]
pub(super) fn prepare_dir(dir: &Path) -> Result<(), Unusable> {
    let unusable = |error| Unusable::StateDir { dir: dir.to_owned(), source: Arc::new(error) };
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(unusable)?;
    let found = fs::metadata(dir).map_err(unusable)?;
    if found.uid() != geteuid().as_raw() {
        // The owner could put links there, and have any file of ours become a database.
        return Err(Unusable::OtherOwner { dir: dir.to_owned() });
    }
    if found.mode() & 0o022 != 0 {
        return Err(Unusable::WritableByOthers { dir: dir.to_owned() });
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "the state folder is this user's alone, and a link in it is refused")]
fn prepare_file(dir: &Path, path: &Path) -> io::Result<()> {
    for name in [NAME, "journal.sqlite-wal", "journal.sqlite-shm"] {
        if fs::symlink_metadata(dir.join(name)).is_ok_and(|found| !found.is_file() || found.nlink() != 1) {
            return Err(io::Error::other(format!("{name} is a link, or no regular file: move it away")));
        }
    }
    let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    // The journal holds names and reasons that concern nobody else; an older or restored one may be open to others.
    if file.metadata()?.mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    // `SQLite` syncs the folder for files that it creates itself, but this file was created above.
    File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_journal_can_be_opened_by_many_at_once() {
        for _ in 0..30 {
            let dir = tempfile::tempdir().unwrap();
            let start = std::sync::Barrier::new(6);
            std::thread::scope(|scope| {
                for _ in 0..6 {
                    scope.spawn(|| {
                        start.wait();
                        open(&dir.path().join("state")).unwrap();
                    });
                }
            });
        }
    }
}
