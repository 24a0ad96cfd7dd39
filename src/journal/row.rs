//! The journal's rows, and what they mean outside.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::Row;
use rusqlite::types::{Type, ValueRef};

use super::receipt::{Attempted, Confirmed};
use super::{AttemptId, End, Entry, Intent, Link, LocalEnd, Record, State, Stored};
use crate::file::FileStamp;
use crate::hex;
use crate::vault::{DocumentId, RemotePath};

/// What `attempt.state` says. Up to [`FAILED`](state::FAILED) somebody still has to do something.
pub(super) mod state {
    pub(in crate::journal) const OPEN: i64 = 0;
    pub(in crate::journal) const STORED: i64 = 1;
    pub(in crate::journal) const FAILED: i64 = 2;
    pub(in crate::journal) const ABANDONED: i64 = 3;
    pub(in crate::journal) const REMOVED: i64 = 4;
    pub(in crate::journal) const KEPT: i64 = 5;
    pub(in crate::journal) const MOVED: i64 = 6;
    pub(in crate::journal) const SUPERSEDED: i64 = 7;
}

/// The columns that the functions below read, in their order. To be followed by `FROM` and [`TERMS`].
pub(super) const COLUMNS: &str = "SELECT a.id, root.value, a.relative, a.device, a.inode, a.size, a.mtime, a.ctime, \
     dest.value, folder.value, a.name, a.started, a.state, a.detail, \
     r.seq, r.sha256, r.size, r.document, r.document_version, user.value, r.adopted, r.stored, r.prev, r.hash ";

/// What the columns need beside `attempt a` and `receipt r`.
pub(super) const TERMS: &str = " LEFT JOIN term root ON root.id = a.root LEFT JOIN term dest ON dest.id = a.dest \
     LEFT JOIN term folder ON folder.id = a.folder LEFT JOIN term user ON user.id = r.user ";

/// All attempts, with their receipts where they have one.
pub(super) const ATTEMPTS: &str = "FROM attempt a LEFT JOIN receipt r ON r.seq = a.seq";

/// The attempt's part of a row.
pub(super) fn attempted<'a>(row: &'a Row<'_>) -> rusqlite::Result<Attempted<'a>> {
    Ok(Attempted {
        id: row.get(0)?,
        root: bytes(row, 1)?,
        relative: bytes(row, 2)?,
        stamp: [row.get(3)?, row.get(4)?, row.get(5)?, row.get(6)?, row.get(7)?],
        dest: bytes(row, 8)?,
        folder: bytes(row, 9)?,
        name: bytes(row, 10)?,
        started: row.get(11)?,
    })
}

/// The receipt's part of a row that has one.
pub(super) fn confirmed<'a>(row: &'a Row<'_>) -> rusqlite::Result<Confirmed<'a>> {
    Ok(Confirmed {
        sha256: bytes(row, 15)?,
        size: row.get(16)?,
        document: bytes(row, 17)?,
        document_version: if row.get_ref(18)? == ValueRef::Null { None } else { Some(bytes(row, 18)?) },
        user: bytes(row, 19)?,
        already_present: already_present(row)?,
        at: row.get(21)?,
    })
}

/// The receipt's number, the hash before it and its own.
pub(super) fn link<'a>(row: &'a Row<'_>) -> rusqlite::Result<(i64, &'a [u8], &'a [u8])> {
    Ok((row.get(14)?, bytes(row, 22)?, bytes(row, 23)?))
}

/// The whole row as others see it.
pub(super) fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    let mut entry = Entry {
        id: AttemptId(row.get(0)?),
        intent: intent(row, &attempted(row)?)?,
        started: time(row.get(11)?),
        state: meaning(row)?,
        stored: None,
        stored_at: None,
    };
    let has_receipt = row.get_ref(14)? != ValueRef::Null;
    if !has_receipt {
        return Ok(Record { entry, link: None });
    }
    let receipt = confirmed(row)?;
    entry.stored_at = Some(time(receipt.at));
    entry.stored = Some(stored(row, &receipt)?);
    let (seq, prev, hash) = link(row)?;
    Ok(Record { entry, link: Some(Link { seq, prev: hex(prev), hash: hex(hash) }) })
}

/// The whole row as the pipeline sees it.
pub(super) fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    record(row).map(|record| record.entry)
}

fn intent(row: &Row<'_>, it: &Attempted<'_>) -> rusqlite::Result<Intent> {
    let [device, inode, size, mtime, ctime] = it.stamp;
    let stamp = FileStamp {
        device: device.cast_unsigned(),
        inode: inode.cast_unsigned(),
        size: size.cast_unsigned(),
        mtime,
        ctime,
    };
    let dest = RemotePath::parse(&text(it.dest)).map_err(|error| unreadable(8, error))?;
    Ok(Intent {
        root: path(it.root),
        relative: path(it.relative),
        stamp,
        dest,
        folder: DocumentId(text(it.folder)),
        name: row.get(10)?,
    })
}

fn stored(row: &Row<'_>, it: &Confirmed<'_>) -> rusqlite::Result<Stored> {
    Ok(Stored {
        sha256: row.get(15)?,
        size: it.size.cast_unsigned(),
        document: DocumentId(row.get(17)?),
        document_version: row.get(18)?,
        user: text(it.user),
        already_present: it.already_present,
    })
}

fn meaning(row: &Row<'_>) -> rusqlite::Result<State> {
    let detail = match row.get_ref(13)? {
        ValueRef::Null => &[],
        value => value.as_bytes()?,
    };
    let number: i64 = row.get(12)?;
    Ok(State::Ended(match number {
        state::OPEN => return Ok(State::Open),
        state::STORED => return Ok(State::Stored),
        state::FAILED => End::Failed { reason: text(detail) },
        state::ABANDONED => End::Abandoned { reason: text(detail) },
        state::REMOVED => End::Local(LocalEnd::Removed),
        state::KEPT => End::Local(LocalEnd::Kept),
        state::MOVED => End::Local(LocalEnd::Moved(path(detail))),
        state::SUPERSEDED => End::Superseded,
        _ => return Err(rusqlite::Error::IntegralValueOutOfRange(12, number)),
    }))
}

/// The columns for an end: its state, and its reason or path.
pub(super) fn columns(end: &End) -> (i64, Option<&[u8]>) {
    match end {
        End::Local(LocalEnd::Removed) => (state::REMOVED, None),
        End::Local(LocalEnd::Kept) => (state::KEPT, None),
        End::Superseded => (state::SUPERSEDED, None),
        End::Local(LocalEnd::Moved(to)) => (state::MOVED, Some(path_bytes(to))),
        End::Failed { reason } => (state::FAILED, Some(reason.as_bytes())),
        End::Abandoned { reason } => (state::ABANDONED, Some(reason.as_bytes())),
    }
}

/// The columns of a file's version.
pub(super) fn version_columns(stamp: &FileStamp) -> [i64; 5] {
    [stamp.device.cast_signed(), stamp.inode.cast_signed(), stamp.size.cast_signed(), stamp.mtime, stamp.ctime]
}

/// A path as it lies in the journal.
pub(super) fn path_bytes(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

/// Nanoseconds since 1970; times that no clock shows are cut to what fits.
pub(super) fn nanoseconds(time: SystemTime) -> i64 {
    let fit = |distance: Duration| i64::try_from(distance.as_nanos()).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => fit(after),
        Err(before) => -fit(before.duration()),
    }
}

/// What [`nanoseconds`] made of it.
pub(super) fn time(nanoseconds: i64) -> SystemTime {
    let distance = Duration::from_nanos(nanoseconds.unsigned_abs());
    if nanoseconds < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
}

/// A damaged flag is an error, not a `true`: the chain's check would not see the difference.
fn already_present(row: &Row<'_>) -> rusqlite::Result<bool> {
    match row.get(20)? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(rusqlite::Error::IntegralValueOutOfRange(20, other)),
    }
}

fn bytes<'a>(row: &'a Row<'_>, column: usize) -> rusqlite::Result<&'a [u8]> {
    row.get_ref(column)?.as_bytes().map_err(|error| unreadable(column, error))
}

fn unreadable(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Blob, Box::new(error))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_back_as_they_were_also_before_1970() {
        for distance in [0, 1, 1_700_000_000_123_456_789, -5] {
            assert_eq!(nanoseconds(time(distance)), distance);
        }
    }
}
