//! Turns the journal's rows into types, and types into columns.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::Row;
use rusqlite::types::{Type, ValueRef};

use super::receipt::{AttemptFields, ReceiptFields};
use super::sql::{Column, state};
use super::{AttemptId, End, Entry, Intent, Link, LocalEnd, Record, State, Stored};
use crate::file::FileStamp;
use crate::hex;
use crate::vault::{DocumentId, RemotePath};

/// The attempt's part of a row.
pub(super) fn attempt_fields<'a>(row: &'a Row<'_>) -> rusqlite::Result<AttemptFields<'a>> {
    Ok(AttemptFields {
        id: Column::Id.get(row)?,
        root: bytes(row, Column::Root)?,
        relative: bytes(row, Column::Relative)?,
        stamp: [
            Column::Device.get(row)?,
            Column::Inode.get(row)?,
            Column::FileSize.get(row)?,
            Column::Mtime.get(row)?,
            Column::Ctime.get(row)?,
        ],
        dest: bytes(row, Column::Dest)?,
        folder: bytes(row, Column::Folder)?,
        name: bytes(row, Column::Name)?,
        started: Column::Started.get(row)?,
    })
}

/// The receipt's part of a row that has one.
pub(super) fn receipt_fields<'a>(row: &'a Row<'_>) -> rusqlite::Result<ReceiptFields<'a>> {
    let has_version = Column::DocumentVersion.get_ref(row)? != ValueRef::Null;
    Ok(ReceiptFields {
        sha256: bytes(row, Column::Sha256)?,
        size: Column::StoredSize.get(row)?,
        document: bytes(row, Column::Document)?,
        document_version: if has_version { Some(bytes(row, Column::DocumentVersion)?) } else { None },
        user: bytes(row, Column::User)?,
        already_present: already_present(row)?,
        at: Column::Stored.get(row)?,
    })
}

/// The receipt's number, the hash before it and its own.
pub(super) fn link<'a>(row: &'a Row<'_>) -> rusqlite::Result<(i64, &'a [u8], &'a [u8])> {
    Ok((Column::Seq.get(row)?, bytes(row, Column::Prev)?, bytes(row, Column::Hash)?))
}

/// The whole row.
pub(super) fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    let mut entry = Entry {
        id: AttemptId(Column::Id.get(row)?),
        intent: intent(row, &attempt_fields(row)?)?,
        started: time(Column::Started.get(row)?),
        state: read_state(row)?,
        stored: None,
        stored_at: None,
        receipt: Column::Seq.get(row)?,
    };
    if entry.receipt.is_none() {
        return Ok(Record { entry, link: None });
    }
    let receipt = receipt_fields(row)?;
    entry.stored_at = Some(time(receipt.at));
    entry.stored = Some(stored(row, &receipt)?);
    let (seq, prev, hash) = link(row)?;
    Ok(Record { entry, link: Some(Link { seq, prev: hex(prev), hash: hex(hash) }) })
}

/// The row without its receipt's place in the chain.
pub(super) fn entry(row: &Row<'_>) -> rusqlite::Result<Entry> {
    record(row).map(|record| record.entry)
}

fn intent(row: &Row<'_>, it: &AttemptFields<'_>) -> rusqlite::Result<Intent> {
    let [device, inode, size, mtime, ctime] = it.stamp;
    let stamp = FileStamp {
        device: device.cast_unsigned(),
        inode: inode.cast_unsigned(),
        size: size.cast_unsigned(),
        mtime,
        ctime,
    };
    let dest = RemotePath::parse(&text(it.dest)).map_err(|error| unreadable(Column::Dest, error))?;
    Ok(Intent {
        root: path(it.root),
        relative: path(it.relative),
        stamp,
        dest,
        folder: DocumentId(text(it.folder)),
        name: Column::Name.get(row)?,
    })
}

fn stored(row: &Row<'_>, it: &ReceiptFields<'_>) -> rusqlite::Result<Stored> {
    Ok(Stored {
        sha256: Column::Sha256.get(row)?,
        size: it.size.cast_unsigned(),
        document: DocumentId(Column::Document.get(row)?),
        document_version: Column::DocumentVersion.get(row)?,
        user: text(it.user),
        already_present: it.already_present,
    })
}

fn read_state(row: &Row<'_>) -> rusqlite::Result<State> {
    let detail = match Column::Detail.get_ref(row)? {
        ValueRef::Null => &[],
        value => value.as_bytes()?,
    };
    let number: i64 = Column::State.get(row)?;
    Ok(State::Ended(match number {
        state::OPEN => return Ok(State::Open),
        state::STORED => return Ok(State::Stored),
        state::FAILED => End::Failed { reason: text(detail) },
        state::ABANDONED => End::Abandoned { reason: text(detail) },
        state::REMOVED => End::Local(LocalEnd::Removed),
        state::KEPT => End::Local(LocalEnd::Kept),
        state::MOVED => End::Local(LocalEnd::Moved(path(detail))),
        state::SUPERSEDED => End::Superseded,
        _ => return Err(rusqlite::Error::IntegralValueOutOfRange(Column::State as usize, number)),
    }))
}

/// The columns for an end: its state, and its reason or path.
pub(super) fn end_columns(end: &End) -> (i64, Option<&[u8]>) {
    match end {
        End::Local(LocalEnd::Removed) => (state::REMOVED, None),
        End::Local(LocalEnd::Kept) => (state::KEPT, None),
        End::Superseded => (state::SUPERSEDED, None),
        End::Local(LocalEnd::Moved(to)) => (state::MOVED, Some(path_bytes(to))),
        End::Failed { reason } => (state::FAILED, Some(reason.as_bytes())),
        End::Abandoned { reason } => (state::ABANDONED, Some(reason.as_bytes())),
    }
}

/// The columns of a file's stamp, in the order of [`AttemptFields::stamp`].
pub(super) fn stamp_columns(stamp: &FileStamp) -> [i64; 5] {
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

/// The time from which [`nanoseconds`] made this number.
pub(super) fn time(nanoseconds: i64) -> SystemTime {
    let distance = Duration::from_nanos(nanoseconds.unsigned_abs());
    if nanoseconds < 0 { UNIX_EPOCH - distance } else { UNIX_EPOCH + distance }
}

/// A damaged flag is an error, not a `true`: the check of the chain would not see the difference.
fn already_present(row: &Row<'_>) -> rusqlite::Result<bool> {
    match Column::AlreadyPresent.get(row)? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(rusqlite::Error::IntegralValueOutOfRange(Column::AlreadyPresent as usize, other)),
    }
}

fn bytes<'a>(row: &'a Row<'_>, column: Column) -> rusqlite::Result<&'a [u8]> {
    column.get_ref(row)?.as_bytes().map_err(|error| unreadable(column, error))
}

fn unreadable(column: Column, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column as usize, Type::Blob, Box::new(error))
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
    fn times_come_back_unchanged_also_before_1970() {
        for distance in [0, 1, 1_700_000_000_123_456_789, -5] {
            assert_eq!(nanoseconds(time(distance)), distance);
        }
    }
}
