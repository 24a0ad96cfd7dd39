//! The journal's own key (Ed25519), with which anchors and prunings are signed.
//!
//! It lies beside the journal, for this user alone, and is made with it, or when it is first needed. It tells a journal from one that was made
//! anew, and keeps whoever can write the journal, but can't read the key, from signing. It is no secret to this program's own user.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

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

/// The journal's key.
#[derive(Debug)]
pub(super) struct Key(Ed25519KeyPair);

impl Key {
    /// The key in this folder; made where there is none. Only under the journal's write lock: two processes must not make two.
    pub(super) fn at(dir: &Path) -> io::Result<Self> {
        match read(dir, true)? {
            Some((mut file, bytes)) if bytes.is_empty() => make(dir, &mut file),
            Some((_, bytes)) => parse(dir, &bytes),
            None => Err(explained(dir, "is not there")),
        }
    }

    /// The public key of this folder's key; `None` where there is none yet.
    pub(super) fn public_at(dir: &Path) -> io::Result<Option<Vec<u8>>> {
        match read(dir, false)? {
            Some((_, bytes)) if !bytes.is_empty() => Ok(Some(parse(dir, &bytes)?.public().to_vec())),
            _ => Ok(None),
        }
    }

    pub(super) fn public(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.0.sign(message).as_ref().to_vec()
    }
}

/// Whether this public key's owner signed it.
pub(super) fn is_signed(public: &[u8], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public).verify(message, signature).is_ok()
}

/// A public key in 16 digits, for people and for names of documents.
pub(super) fn fingerprint(public: &[u8]) -> String {
    hex(&Sha256::digest(public)[..8])
}

/// The file, if it can be trusted, and what it holds.
#[expect(
    clippy::disallowed_methods,
    reason = "the state folder is this user's alone; the file's owner and mode are checked"
)]
fn read(dir: &Path, create: bool) -> io::Result<Option<(File, Vec<u8>)>> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let mut options = OpenOptions::new();
    options.read(true).append(create).create(create).mode(0o600).custom_flags(flags);
    let file = match options.open(dir.join(NAME)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !create => return Ok(None),
        opened => opened.map_err(|error| explained(dir, &format!("can't be opened: {error}")))?,
    };
    let found = file.metadata()?;
    let for_others = found.mode() & 0o077;
    let alone = found.is_file() && found.nlink() == 1 && found.uid() == geteuid().as_raw() && for_others == 0;
    if !alone {
        return Err(explained(
            dir,
            "is no file of this user alone (mode 600, so run `chmod 600`, and without other links)",
        ));
    }
    let mut bytes = Vec::new();
    (&file).take(MOST).read_to_end(&mut bytes)?;
    Ok(Some((file, bytes)))
}

fn make(dir: &Path, file: &mut File) -> io::Result<Key> {
    let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
        .map_err(|_| explained(dir, "can't be made: the system gives no random numbers"))?;
    file.write_all(document.as_ref())?;
    file.sync_all()?;
    File::open(dir)?.sync_all()?;
    parse(dir, document.as_ref())
}

fn parse(dir: &Path, bytes: &[u8]) -> io::Result<Key> {
    Ed25519KeyPair::from_pkcs8(bytes).map(Key).map_err(|_| explained(dir, "is damaged"))
}

fn explained(dir: &Path, why: &str) -> io::Error {
    let path = dir.join(NAME);
    io::Error::other(format!("the journal's key {} {why}; put it back from a backup, or move it away", path.display()))
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

    /// A process may be killed between the file and what goes into it.
    #[test]
    fn an_empty_key_file_is_filled_and_a_damaged_one_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        Key::at(dir.path()).unwrap();
        std::fs::write(&path, "no key").unwrap();
        assert!(Key::at(dir.path()).unwrap_err().to_string().contains("damaged"));
    }

    #[test]
    fn a_key_that_others_can_read_or_a_link_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        Key::at(dir.path()).unwrap();
        std::fs::set_permissions(dir.path().join(NAME), std::fs::Permissions::from_mode(0o644)).unwrap();
        Key::at(dir.path()).unwrap_err();
        let other = tempfile::tempdir().unwrap();
        symlink(dir.path().join(NAME), other.path().join(NAME)).unwrap();
        Key::at(other.path()).unwrap_err();
    }
}
