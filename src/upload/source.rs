//! A file opened for one transfer: one state of it, the lease that tells of writers, and the lock that keeps other uploads away.

use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::body::read_at;
use super::error::SourceError;
use super::outcome::{Unreadable, Unsettled};
use crate::file::lease::{Lease, NoLease, Writers};
use crate::file::lock::UploadLock;
use crate::file::{Opened, Settled};
use crate::hex;
use crate::observe::stall::Activity;
use crate::vault::VaultError;

/// Files up to this size are read in one go, in bytes.
const SMALL: u64 = 128 * 1024;

/// A file opened for one transfer. Clones are the same open file.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// The open file.
    pub(super) opened: Opened,
    /// The lease on the file, where its file system gives one.
    pub(super) lease: Option<Arc<Lease>>,
    /// The kernel could tell of the file's writers, but may not tell this user.
    pub(super) lease_denied: bool,
    /// No other upload takes the file as long as this lives.
    pub(super) lock: Arc<UploadLock>,
    /// The file lies on a share, which may not answer.
    may_hang: bool,
    /// The bytes of a small file, once they were read.
    small: Arc<OnceLock<Bytes>>,
    sha256: Arc<Mutex<Option<String>>>,
    /// Each piece that is read is a movement there.
    pub(super) activity: Activity,
}

impl Source {
    /// Opens a settled file afresh, and takes a lease. `activity` is told of each piece that is read.
    pub(super) async fn open(file: &Settled, activity: Activity) -> Result<Self, SourceError> {
        let settled = file.clone();
        unhindered(file.root.may_hang(), move || Self::open_now(&settled, activity)).await
    }

    /// The same. Blocks.
    pub(super) fn open_now(settled: &Settled, activity: Activity) -> Result<Self, SourceError> {
        let opened = settled.root.open_file(&settled.relative)?;
        let (lease, lease_denied) = match opened.writers() {
            Writers::None(lease) => (Some(Arc::new(lease)), false),
            Writers::Some => return Err(Unsettled::OpenForWriting.into()),
            Writers::Unknown(reason) => (None, reason == NoLease::NotAllowed),
        };
        let lock = Arc::new(settled.root.lock_for_upload(&opened).ok_or(Unsettled::Locked)?);
        let (small, sha256, may_hang) = (Arc::default(), Arc::default(), settled.root.may_hang());
        Ok(Self { opened, lease, lease_denied, lock, may_hang, small, sha256, activity })
    }

    /// Reads the file if it is small.
    pub(super) async fn load(&self) -> Result<(), SourceError> {
        let source = self.clone();
        unhindered(self.may_hang, move || source.load_now()).await
    }

    /// The same. Blocks.
    pub(super) fn load_now(&self) -> Result<(), SourceError> {
        if self.opened.stamp.size > SMALL || self.small().is_some() {
            return Ok(());
        }
        let bytes = self.read_small().map_err(Unreadable::NotRead)?;
        self.check().map_err(|_| Unsettled::Changed)?;
        self.set_sha256(&Sha256::digest(&bytes));
        self.small.get_or_init(|| bytes);
        Ok(())
    }

    fn read_small(&self) -> io::Result<Bytes> {
        // The file is small, so its size fits.
        let mut bytes = vec![0; usize::try_from(self.opened.stamp.size).unwrap_or_default()];
        let mut length = 0;
        while length < bytes.len() {
            match read_at(&self.opened.file, &mut bytes[length..], length as u64)? {
                0 => break,
                read => length += read,
            }
        }
        bytes.truncate(length);
        Ok(bytes.into())
    }

    /// The bytes of a small file, once they were read.
    pub(super) fn small(&self) -> Option<&Bytes> {
        self.small.get()
    }

    /// The SHA-256 of the bytes, in lower-case hexadecimal, once they were all read.
    pub(super) fn sha256(&self) -> Option<String> {
        self.sha256.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_sha256(&self, digest: &[u8]) {
        *self.sha256.lock().unwrap_or_else(PoisonError::into_inner) = Some(hex(digest));
    }

    /// The SHA-256 of the bytes. Reads the file for it where that has not been done.
    pub(super) async fn hash(&self) -> Result<String, SourceError> {
        if let Some(sha256) = self.sha256() {
            return Ok(sha256);
        }
        let reader = self.clone();
        let hashed = tokio::task::spawn_blocking(move || reader.hash_now()).await;
        let hashed = hashed.unwrap_or_else(|error| Err(io::Error::other(error)));
        hashed.map_err(|error| self.unread(Unreadable::NotRead(error)))
    }

    /// The same. Blocks.
    pub(super) fn hash_now(&self) -> io::Result<String> {
        if let Some(sha256) = self.sha256() {
            return Ok(sha256);
        }
        self.read(|wanted| wanted, |_| Ok(()))?;
        self.sha256().ok_or_else(|| io::Error::other("it could not be hashed"))
    }

    /// Whether the file is as it was opened, with nobody writing it.
    pub(super) fn check(&self) -> io::Result<()> {
        if self.opened.is_unchanged(self.lease.as_deref()) {
            return Ok(());
        }
        Err(io::Error::other("the file changed while it was read"))
    }

    /// What it means that the file was not read to its end while it was sent.
    pub(super) fn not_sent(&self, error: VaultError) -> SourceError {
        self.unread(Unreadable::NotSent(error))
    }

    /// What it means that the file could not be read to its end: a file that changed meanwhile is not unreadable.
    fn unread(&self, reason: Unreadable) -> SourceError {
        if self.check().is_err() { Unsettled::Changed.into() } else { reason.into() }
    }
}

/// Work on a file. On a local disk it takes some microseconds, and a thread of its own for each small file would cost twice that; on
/// a network share, where it `may_hang`, it may take any time.
async fn unhindered<T: Send + 'static>(
    may_hang: bool,
    work: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
) -> Result<T, SourceError> {
    if !may_hang {
        return work();
    }
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Unreadable::NotRead(io::Error::other(error)).into()))
}
