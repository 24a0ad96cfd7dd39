//! Who can read and write the files that we trust.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// What a file holds, so who may have access to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileTrust {
    /// A password: its owner alone.
    Secret,
    /// Settings: its group may read them too, as service users read files in /etc that root owns.
    Settings,
    /// A credential handed over by the service manager, which lets the service in by an access list; the mode shows
    /// that as a readable group.
    Credential,
}

impl FileTrust {
    /// The permission bits that it must not have.
    fn forbidden(self) -> u32 {
        match self {
            Self::Secret => 0o077,
            Self::Settings => 0o027,
            Self::Credential => 0o037,
        }
    }
}

/// Why a file was not read.
#[derive(Debug)]
pub(crate) enum Refused {
    /// There is none.
    Missing,
    /// In words that go behind the file's name.
    Because(String),
}

/// Reads a small text file that only those may read and write who should. The handle is checked, not the name, so that
/// what is checked is what is read.
pub(crate) fn read(path: &Path, holds: FileTrust, most: u64) -> Result<String, Refused> {
    let file = open(path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Refused::Missing,
        _ => unreadable(&e),
    })?;
    let metadata = file.metadata().map_err(|e| unreadable(&e))?;
    if !metadata.is_file() {
        return Err(Refused::Because("is not a regular file".into()));
    }
    let us = rustix::process::geteuid().as_raw();
    check(path, holds, metadata.mode(), metadata.uid(), us).map_err(Refused::Because)?;
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(|e| unreadable(&e))?;
    if bytes.len() as u64 > most {
        return Err(Refused::Because(format!("is longer than {most} bytes, so it can't be the right file")));
    }
    // The error of from_utf8 would carry the bytes along.
    String::from_utf8(bytes).map_err(|_| Refused::Because("is not UTF-8 text".into()))
}

fn unreadable(error: &io::Error) -> Refused {
    Refused::Because(format!("can't be read: {error}"))
}

/// Opens without waiting: a named pipe without a writer would hold the program up.
#[expect(
    clippy::disallowed_methods,
    reason = "it opens what is configured, to read it; owner and mode of what is open are checked"
)]
fn open(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    File::options().read(true).custom_flags(flags).open(path)
}

/// Whether a file of this mode and owner may be trusted; else why not, and the mend.
fn check(path: &Path, holds: FileTrust, mode: u32, owner: u32, us: u32) -> Result<(), String> {
    if owner != us && owner != 0 {
        return Err(format!(
            "belongs to another user (id {owner}), who can change it: give it to the user that runs astran-backup \
             (id {us}) or to root"
        ));
    }
    let excess = mode & holds.forbidden();
    if excess == 0 {
        return Ok(());
    }
    let what = if excess & 0o044 != 0 { "read" } else { "change" };
    Err(format!(
        "can be {what}{} by other users (mode {:03o}): run `chmod 600 {}`",
        past(what),
        mode & 0o777,
        shown(path)
    ))
}

/// English: "read" stays, "change" takes a d.
fn past(verb: &str) -> &'static str {
    if verb.ends_with('e') { "d" } else { "" }
}

/// A path as it can be pasted into a shell.
fn shown(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-+=@%,:".contains(&b));
    if plain { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(holds: FileTrust, mode: u32) -> bool {
        check(Path::new("f"), holds, mode, 7, 7).is_ok()
    }

    #[test]
    fn modes() {
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
            assert_eq!(verdict(FileTrust::Secret, mode), secret, "secret {mode:o}");
            assert_eq!(verdict(FileTrust::Settings, mode), settings, "settings {mode:o}");
            assert_eq!(verdict(FileTrust::Credential, mode), credential, "credential {mode:o}");
        }
    }

    #[test]
    fn owners() {
        let by = |owner, us| check(Path::new("f"), FileTrust::Secret, 0o600, owner, us);
        assert!(by(7, 7).is_ok() && by(0, 7).is_ok() && by(0, 0).is_ok());
        assert!(by(8, 7).unwrap_err().contains("id 8"));
        assert!(by(8, 0).is_err());
    }

    #[test]
    fn the_mend_can_be_pasted() {
        let why = check(Path::new("/a b/it's"), FileTrust::Secret, 0o644, 7, 7).unwrap_err();
        assert!(why.ends_with(r"`chmod 600 '/a b/it'\''s'`"), "{why}");
    }
}
