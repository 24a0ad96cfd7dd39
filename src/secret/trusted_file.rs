//! Reads the small files that the program trusts (settings, passwords), and refuses one that other users can read or change.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::owner::why_denied;

/// What a file holds, which decides who may have access to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileTrust {
    /// A password: only its owner may read it.
    Secret,
    /// Settings: its group may read them too, because a service user reads files in /etc that belong to root.
    Settings,
    /// A systemd credential. systemd lets the service read it by an access list, which the mode shows as a readable group.
    Credential,
}

impl FileTrust {
    /// The permission bits that such a file must not have.
    fn forbidden(self) -> u32 {
        match self {
            Self::Secret => 0o077,
            Self::Settings => 0o027,
            Self::Credential => 0o037,
        }
    }
}

/// Why a file was not read. The texts go behind the file's name: "the configuration file /x/y is not UTF-8 text".
///
/// A caller can treat [`ReadError::Missing`] as "no such setting"; everything else needs the administrator.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("is not there")]
    Missing,
    #[error("can't be read: {0}")]
    Io(#[source] io::Error),
    /// Holds the owner and the mend.
    #[error("can't be read: {0}")]
    Denied(String),
    #[error("is not a regular file")]
    NotRegular,
    #[error("is longer than {0} bytes, so it can't be the right file")]
    TooLong(u64),
    #[error("is not UTF-8 text")]
    NotText,
    #[error(
        "belongs to another user (id {owner}), who can change it: give it to the user that runs astran-backup (id {us}) or to root"
    )]
    ForeignOwner { owner: u32, us: u32 },
    #[error("can be {} by other users (mode {mode:03o}): run `chmod 600 {}`", access(*excess), quoted(path))]
    TooOpen { path: PathBuf, mode: u32, excess: u32 },
}

/// Reads a text file of `most` bytes or less, if its owner and mode are right for what it holds. The open handle is checked, not
/// the path, so what was checked is what is read.
pub(crate) fn read(path: &Path, trust: FileTrust, most: u64) -> Result<String, ReadError> {
    let file = open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ReadError::Missing,
        io::ErrorKind::PermissionDenied => ReadError::Denied(why_denied(path)),
        _ => ReadError::Io(error),
    })?;
    let metadata = file.metadata().map_err(ReadError::Io)?;
    if !metadata.is_file() {
        return Err(ReadError::NotRegular);
    }
    let us = rustix::process::geteuid().as_raw();
    check(path, trust, metadata.mode(), metadata.uid(), us)?;
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(ReadError::Io)?;
    if bytes.len() as u64 > most {
        return Err(ReadError::TooLong(most));
    }
    // The error of from_utf8 holds the bytes, which may be a password: it is dropped.
    String::from_utf8(bytes).map_err(|_| ReadError::NotText)
}

/// Opens the file without waiting: a named pipe without a writer would block the program.
#[expect(
    clippy::disallowed_methods,
    reason = "this opens a configured path for reading; owner and mode of the open file are checked"
)]
fn open(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    File::options().read(true).custom_flags(flags).open(path)
}

/// Checks whether a file of this mode and owner may be trusted.
fn check(path: &Path, trust: FileTrust, mode: u32, owner: u32, us: u32) -> Result<(), ReadError> {
    if owner != us && owner != 0 {
        return Err(ReadError::ForeignOwner { owner, us });
    }
    match mode & trust.forbidden() {
        0 => Ok(()),
        excess => Err(ReadError::TooOpen { path: path.to_owned(), mode: mode & 0o777, excess }),
    }
}

/// What other users can do with a file that has these bits too many.
fn access(excess: u32) -> &'static str {
    if excess & 0o044 != 0 { "read" } else { "changed" }
}

/// A path that can be pasted into a shell.
pub(crate) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-+=@%,:".contains(&b));
    if plain { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_trusted(trust: FileTrust, mode: u32) -> bool {
        check(Path::new("f"), trust, mode, 7, 7).is_ok()
    }

    #[test]
    fn each_kind_of_file_has_modes_that_are_refused() {
        let rows = [
            (0o600, true, true, true),
            (0o400, true, true, true),
            (0o640, false, true, true),
            (0o440, false, true, true),
            (0o660, false, false, false),
            (0o620, false, false, false),
            (0o644, false, false, false),
            (0o604, false, false, false),
            (0o602, false, false, false),
        ];
        for (mode, secret, settings, credential) in rows {
            assert_eq!(is_trusted(FileTrust::Secret, mode), secret, "secret {mode:o}");
            assert_eq!(is_trusted(FileTrust::Settings, mode), settings, "settings {mode:o}");
            assert_eq!(is_trusted(FileTrust::Credential, mode), credential, "credential {mode:o}");
        }
    }

    #[test]
    fn a_file_of_another_user_is_refused_unless_that_is_root() {
        let by = |owner, us| check(Path::new("f"), FileTrust::Secret, 0o600, owner, us);
        assert!(by(7, 7).is_ok() && by(0, 7).is_ok() && by(0, 0).is_ok());
        assert!(matches!(by(8, 7), Err(ReadError::ForeignOwner { owner: 8, us: 7 })));
        assert!(by(8, 0).is_err());
    }

    #[test]
    fn the_command_in_the_message_can_be_pasted_into_a_shell() {
        let why = check(Path::new("/a b/it's"), FileTrust::Secret, 0o644, 7, 7).unwrap_err().to_string();
        assert!(why.ends_with(r"`chmod 600 '/a b/it'\''s'`"), "{why}");
    }
}
