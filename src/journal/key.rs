//! The journal's own key (Ed25519), with which anchors and prunings are signed.
//!
//! The key lies beside the journal, readable by this user alone. It is made with the journal, or when it is first needed. It tells a
//! journal from one that was made anew, and an attacker who can write the journal but not read the key can't sign. It is no secret to
//! this program's own user.
//!
//! What a caller can do about a [`KeyError`]: nothing by itself. The administrator mends what [`KeyProblem`] says; until then the
//! journal can be written, but neither anchored, pruned, nor proved.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ring::rand::SystemRandom;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use rustix::fs::OFlags;
use rustix::process::geteuid;
use sha2::{Digest as _, Sha256};

use crate::hex;

/// The file's name beside the journal.
const NAME: &str = "anchor.key";

/// No key is as long as this, in bytes.
const MOST: u64 = 1024;

/// Why the journal's key can't be used.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the journal's key {} {problem}; put it back from a backup, or move it away", .path.display())]
pub struct KeyError {
    /// The key's file.
    pub path: PathBuf,
    /// What is wrong with it.
    #[source]
    pub problem: KeyProblem,
}

/// What is wrong with the key's file.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KeyProblem {
    /// Opening, reading or writing it failed.
    #[error("can't be opened: {0}")]
    Io(#[from] Arc<io::Error>),
    /// Others may read it, or could have put it there.
    #[error("is no file of this user alone (mode 600, so run `chmod 600`, and without other links)")]
    NotPrivate,
    /// It holds something else.
    #[error("is damaged")]
    Damaged,
    /// The system has no random numbers for a new key.
    #[error("can't be made: the system gives no random numbers")]
    NoRandomness,
}

impl From<io::Error> for KeyProblem {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

/// The journal's key.
#[derive(Debug)]
pub(super) struct Key(Ed25519KeyPair);

impl Key {
    /// The key in this folder; made where there is none. Only under the journal's write lock: two processes must not make two.
    pub(super) fn at(dir: &Path) -> Result<Self, KeyError> {
        let at = || {
            let mut file = open(dir, true)?;
            let bytes = content(&file)?;
            if bytes.is_empty() { make(dir, &mut file) } else { parse(&bytes) }
        };
        at().map_err(|problem| KeyError { path: dir.join(NAME), problem })
    }

    /// The public key of this folder's key; `None` where there is none yet.
    pub(super) fn public_at(dir: &Path) -> Result<Option<Vec<u8>>, KeyError> {
        let public_at = || {
            let file = match open(dir, false) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                opened => opened?,
            };
            let bytes = content(&file)?;
            if bytes.is_empty() { Ok(None) } else { parse(&bytes).map(|key| Some(key.public().to_vec())) }
        };
        public_at().map_err(|problem| KeyError { path: dir.join(NAME), problem })
    }

    pub(super) fn public(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).as_ref().to_vec()
    }
}

/// Whether the owner of this public key signed the message.
pub(super) fn is_signed(public: &[u8], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public).verify(message, signature).is_ok()
}

/// A public key in 16 digits, for people and for names of documents.
pub(super) fn fingerprint(public: &[u8]) -> String {
    hex(&Sha256::digest(public)[..8])
}

#[expect(
    clippy::disallowed_methods,
    reason = "the state folder is this user's alone; the file's owner and mode are checked"
)]
fn open(dir: &Path, create: bool) -> io::Result<File> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let mut options = OpenOptions::new();
    options.read(true).append(create).create(create).mode(0o600).custom_flags(flags);
    options.open(dir.join(NAME))
}

/// What the file holds, if it can be trusted.
fn content(file: &File) -> Result<Vec<u8>, KeyProblem> {
    let found = file.metadata()?;
    let for_others = found.mode() & 0o077;
    let is_private = found.is_file() && found.nlink() == 1 && found.uid() == geteuid().as_raw() && for_others == 0;
    if !is_private {
        return Err(KeyProblem::NotPrivate);
    }
    let mut bytes = Vec::new();
    file.take(MOST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn make(dir: &Path, file: &mut File) -> Result<Key, KeyProblem> {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| KeyProblem::NoRandomness)?;
    file.write_all(document.as_ref())?;
    file.sync_all()?;
    File::open(dir)?.sync_all()?;
    parse(document.as_ref())
}

fn parse(bytes: &[u8]) -> Result<Key, KeyProblem> {
    Ed25519KeyPair::from_pkcs8(bytes).map(Key).map_err(|_| KeyProblem::Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn a_key_is_made_once_and_for_this_user_alone() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Key::public_at(dir.path()).unwrap(), None);
        let key = Key::at(dir.path()).unwrap();
        let signature = key.sign(b"message");
        let again = Key::public_at(dir.path()).unwrap().unwrap();
        assert!(is_signed(&again, b"message", &signature) && !is_signed(&again, b"another", &signature));
        let mode = dir.path().join(NAME).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    /// A process may be killed after it made the file, and before it wrote the key.
    #[test]
    fn an_empty_key_file_is_filled_and_a_damaged_one_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        Key::at(dir.path()).unwrap();
        std::fs::write(&path, "no key").unwrap();
        assert!(matches!(Key::at(dir.path()).unwrap_err().problem, KeyProblem::Damaged));
    }

    #[test]
    fn a_key_that_others_can_read_or_a_link_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        Key::at(dir.path()).unwrap();
        std::fs::set_permissions(dir.path().join(NAME), std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(matches!(Key::at(dir.path()).unwrap_err().problem, KeyProblem::NotPrivate));
        let other = tempfile::tempdir().unwrap();
        symlink(dir.path().join(NAME), other.path().join(NAME)).unwrap();
        Key::at(other.path()).unwrap_err();
    }
}
