//! The standing of one file: why it lies here, and what a person can do about it.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::file::OpenError;
use crate::measure::{self, span};
use crate::owner::Owner;
use crate::printable::printable;
use crate::upload::NameError;
use crate::vault::RemotePath;

/// Why a file lies in the folder. [`Standing::fmt`] says it in words, [`Standing::mend`] what to do.
#[derive(Debug)]
pub(crate) enum Standing {
    /// Nothing keeps the file: it is uploaded next.
    Ready { to: RemotePath },
    /// The file changed just now, and must stay untouched so much longer.
    Settling { left: Duration, to: RemotePath },
    /// A process has the file open for writing. The processes are those that this user may look into; the list may be empty.
    OpenForWriting { unchanged_for: Duration, by: Vec<Process>, to: RemotePath },
    /// The file has settled, and is younger than `min_age` for so much longer.
    TooYoung { left: Duration, to: RemotePath },
    /// `ignore`, `exclude` or `include` leave the file, or all that is in the folder; `why` says by which pattern.
    Ignored { why: String, is_folder: bool },
    /// The system lets this user not read the file or folder.
    Unreadable { owner: Option<Owner>, is_folder: bool, error: io::Error },
    /// A link, pipe, socket or device, or a hard link that may be another user's trick: never uploaded.
    NotUploadable(OpenError),
    /// The file failed before, and has not changed since.
    Failed { reason: String, at: SystemTime },
    /// The file is larger than `max_size` allows; sizes in bytes.
    TooLarge { size: u64, allowed: u64 },
    /// The vault can have no document of this name.
    BadName(NameError),
    /// The vault has the file, and the configuration keeps it here. `receipt` is the receipt's number.
    Kept { to: RemotePath, receipt: Option<i64>, at: Option<SystemTime> },
    /// The vault has the file, and the local file is still to be deleted or moved, once its bytes are compared.
    Stored { to: RemotePath, receipt: Option<i64>, at: Option<SystemTime> },
    /// The file was stored and is set aside at this place, to be deleted or moved within a second; after a crash, at the next start.
    SetAside { place: PathBuf },
    /// An upload was begun at this time and has no outcome yet: it is under way, or the vault is to be asked.
    Pending { to: RemotePath, since: SystemTime },
}

/// A process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// Its name as the kernel keeps it: at most 15 bytes.
    pub(crate) name: String,
}

impl Standing {
    /// The standing in one word, for scripts.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Ready { .. } => "ready",
            Self::Settling { .. } => "settling",
            Self::OpenForWriting { .. } => "open",
            Self::TooYoung { .. } => "too_young",
            Self::Ignored { .. } => "ignored",
            Self::Unreadable { .. } => "unreadable",
            Self::NotUploadable(_) => "not_regular",
            Self::Failed { .. } => "failed",
            Self::TooLarge { .. } => "too_large",
            Self::BadName(_) => "bad_name",
            Self::Kept { .. } => "kept",
            Self::Stored { .. } => "stored",
            Self::SetAside { .. } => "set_aside",
            Self::Pending { .. } => "pending",
        }
    }

    /// Whether nothing changes before a person does something. An ignored file and one that is no regular file stay for good too, but
    /// on purpose: nobody need act.
    pub(crate) fn needs_a_person(&self) -> bool {
        matches!(self, Self::Unreadable { .. } | Self::Failed { .. } | Self::TooLarge { .. } | Self::BadName(_))
    }

    /// Where the file goes, or is, in the vault, as far as that is known without asking the vault.
    pub(crate) fn remote(&self) -> Option<&RemotePath> {
        match self {
            Self::Ready { to }
            | Self::Settling { to, .. }
            | Self::TooYoung { to, .. }
            | Self::OpenForWriting { to, .. }
            | Self::Kept { to, .. }
            | Self::Stored { to, .. }
            | Self::Pending { to, .. } => Some(to),
            _ => None,
        }
    }

    /// Since when the file has this standing, as far as the journal knows: when it failed, when it was stored, or when its upload was
    /// begun.
    pub(crate) fn since(&self) -> Option<SystemTime> {
        match self {
            Self::Failed { at, .. } => Some(*at),
            Self::Kept { at, .. } | Self::Stored { at, .. } => *at,
            Self::Pending { since, .. } => Some(*since),
            _ => None,
        }
    }

    /// The number of the file's receipt, where it has one.
    pub(crate) fn receipt(&self) -> Option<i64> {
        match self {
            Self::Kept { receipt, .. } | Self::Stored { receipt, .. } => *receipt,
            _ => None,
        }
    }

    /// What a person can do; `None` where nothing need be done.
    pub(crate) fn mend(&self) -> Option<String> {
        let mend = match self {
            Self::Unreadable { error, .. } if error.kind() != io::ErrorKind::PermissionDenied => {
                "see that the disk or share works"
            }
            Self::Unreadable { is_folder: true, .. } => {
                "let the user that runs astran-backup read and enter it (chmod, chown or setfacl)"
            }
            Self::Unreadable { .. } => "let the user that runs astran-backup read it (chmod, chown or setfacl)",
            Self::NotUploadable(OpenError::UnprotectedLink) => "set fs.protected_hardlinks = 1 (sysctl)",
            Self::NotUploadable(_) => "put a regular file in its place, or move it away",
            Self::Failed { .. } => "mend the cause, then run `astran-backup retry`, or change the file",
            Self::TooLarge { .. } => "raise max_size, or move it away",
            Self::BadName(_) => "rename it",
            Self::Ignored { .. } => "rename it, or change `ignore`, `exclude` or `include`",
            Self::OpenForWriting { .. } => "close it in the program that writes it",
            Self::Ready { .. }
            | Self::Settling { .. }
            | Self::TooYoung { .. }
            | Self::Kept { .. }
            | Self::Stored { .. }
            | Self::SetAside { .. }
            | Self::Pending { .. } => return None,
        };
        Some(mend.to_owned())
    }
}

/// The reason in plain words, on one line, safe for terminals.
impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready { .. } => f.write_str("ready to be uploaded"),
            Self::Settling { left, .. } => write!(f, "changed just now; taken if untouched for {} more", span(*left)),
            Self::OpenForWriting { unchanged_for, by, .. } => {
                write!(f, "open for writing")?;
                if !by.is_empty() {
                    let named: Vec<String> = by.iter().map(ToString::to_string).collect();
                    write!(f, " ({})", named.join("; "))?;
                }
                write!(f, ", last changed {} ago", span(*unchanged_for))
            }
            Self::TooYoung { left, .. } => write!(f, "younger than min_age for {} more", span(*left)),
            Self::Ignored { why, is_folder: false } => f.write_str(why),
            Self::Ignored { why, is_folder: true } => write!(f, "{why}, so nothing in it is uploaded"),
            Self::Unreadable { owner, error, is_folder } => {
                let what = if *is_folder { "folder not readable" } else { "not readable" };
                let owner = owner.as_ref().map(|owner| format!(" ({owner})")).unwrap_or_default();
                // Owner, mode and mend say more than the system's "permission denied".
                match error.kind() {
                    io::ErrorKind::PermissionDenied => write!(f, "{what} for this user{owner}"),
                    _ => write!(f, "{what}{owner}: {error}"),
                }
            }
            Self::NotUploadable(why) => write!(f, "{why}"),
            Self::Failed { reason, .. } => write!(f, "failed: {}", printable(reason)),
            Self::TooLarge { size, allowed } => {
                write!(f, "it has {}, and max_size allows {}", measure::size(*size), measure::size(*allowed))
            }
            Self::BadName(why) => write!(f, "{why}"),
            Self::Kept { .. } => f.write_str("stored, and kept here as configured"),
            Self::Stored { .. } => f.write_str("stored; only the local file is still to be dealt with"),
            Self::SetAside { place } => {
                write!(f, "stored, and set aside as {} to be removed", printable(&place.to_string_lossy()))
            }
            Self::Pending { .. } => f.write_str("an upload was begun and has no outcome yet"),
        }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {}, {}", self.pid, printable(&self.name))
    }
}
