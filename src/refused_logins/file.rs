//! The file of one account in the state directory, and what the files of secrets look like from outside. Blocks.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::process::geteuid;

use super::record::Record;
use crate::secret::Source;

/// No record is as long as this, in bytes.
const MOST: u64 = 64 * 1024;

/// The open file, not locked yet.
pub(super) struct Opened(File);

/// The file, locked until it is dropped, and what it holds.
pub(super) struct Locked {
    file: File,
    pub(super) record: Record,
}

impl Opened {
    /// Opens the file; with `create` it is made where there is none. `None` where it can't be used.
    pub(super) fn at(path: &Path, create: bool) -> Option<Self> {
        match open(path, create) {
            Ok(file) => Some(Self(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!("refused logins are not remembered, as {} can't be used: {error}", path.display());
                None
            }
        }
    }

    /// Locks the file without waiting, and reads it. The error is the file where another process has locked it, and nothing where it
    /// can't be locked.
    pub(super) fn lock(self) -> Result<Locked, Option<Self>> {
        match self.0.try_lock() {
            Ok(()) => Ok(Locked { record: read(&self.0), file: self.0 }),
            Err(TryLockError::WouldBlock) => Err(Some(self)),
            Err(TryLockError::Error(_)) => Err(None),
        }
    }
}

/// What the file holds; an empty record where it can't be read.
fn read(file: &File) -> Record {
    let mut bytes = Vec::new();
    let read = file.take(MOST).read_to_end(&mut bytes);
    read.map(|_| Record::parse(&bytes)).unwrap_or_default()
}

impl Locked {
    /// Replaces what the file holds. It is written in place, because the lock is the file's own: only who holds the lock reads it, and
    /// after a crash in between it counts as empty, which costs one login.
    pub(super) fn write(mut self) {
        let mut write = || {
            let bytes = serde_json::to_vec(&self.record)?;
            self.file.set_len(0)?;
            self.file.rewind()?;
            self.file.write_all(&bytes)
        };
        let written: io::Result<()> = write();
        if let Err(error) = written {
            tracing::warn!("the result of the login can't be written into the state directory: {error}");
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the state folder is this user's alone, a link is not followed, and owner and mode of the open file are checked"
)]
fn open(path: &Path, create: bool) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let mut options = OpenOptions::new();
    let file = options.read(true).write(create).create(create).mode(0o600).custom_flags(flags).open(path)?;
    let found = file.metadata()?;
    let is_private = found.is_file() && found.uid() == geteuid().as_raw() && found.mode() & 0o022 == 0;
    if is_private { Ok(file) } else { Err(io::Error::other("it is no file of this user alone: move it away")) }
}

/// What tells a secret from a later one without its content. The file of a systemd credential is made anew for each start of a service, so
/// only its size counts.
pub(super) fn identity(secrets: &[Source], config: Option<&Path>) -> String {
    let of_one = |source: &Source| match source {
        Source::File(path) => format!("file {} {}", path.display(), stamp(path)),
        Source::Credential(path) => {
            let size = path.metadata().map_or(0, |found| found.size());
            format!("credential {} {size}", path.file_name().unwrap_or_default().display())
        }
        Source::Command(_) => format!("command of {}", config.map(stamp).unwrap_or_default()),
        Source::Given(_) => "environment".to_owned(),
        Source::Prompt(_) => "prompt".to_owned(),
    };
    secrets.iter().map(of_one).collect::<Vec<_>>().join(", ")
}

fn stamp(path: &Path) -> String {
    path.metadata().map_or_else(
        |_| "unreadable".to_owned(),
        |found| {
            format!(
                "{}:{} {}.{:09} {}.{:09} {}",
                found.dev(),
                found.ino(),
                found.mtime(),
                found.mtime_nsec(),
                found.ctime(),
                found.ctime_nsec(),
                found.size()
            )
        },
    )
}
