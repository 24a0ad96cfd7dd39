//! A file's bytes on their way to the store: read once, hashed while they pass, never more than a few pieces in memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use crate::failpoint::failpoint;
use crate::file::lease::{Lease, NoLease, Writers};
use crate::file::lock::UploadLock;
use crate::file::{OpenError, Opened, Settled};
use crate::hex;
use crate::observe::stall::Activity;
use crate::vault::Content;

/// Files up to this size are read in one go, in bytes.
const SMALL: u64 = 128 * 1024;
/// The size of a piece of a larger one, in bytes.
const PIECE: usize = 256 * 1024;
/// Pieces that may wait while one is hashed and one is sent.
const AHEAD: usize = 2;

/// A file opened for one attempt: one state of it, and its bytes.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// The open file.
    pub(super) opened: Opened,
    /// The lease on it, where its file system gives one.
    pub(super) lease: Option<Arc<Lease>>,
    /// The kernel could tell of its writers, but may not tell us.
    pub(super) lease_denied: bool,
    /// No other upload takes the file as long as this lives.
    pub(super) lock: Arc<UploadLock>,
    /// Its bytes, if it is small, once it was read.
    small: Arc<OnceLock<Bytes>>,
    sha256: Arc<Mutex<Option<String>>>,
    /// Each piece that is read is a movement there.
    flow: Activity,
}

/// Why a file can't be taken now.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    /// It is gone; that is fine.
    #[error("it is gone")]
    Gone,
    /// It is not settled, or no longer.
    #[error("{0}")]
    Unsettled(&'static str),
    /// It can't be read, for this reason.
    #[error("{0}")]
    Unreadable(String),
    /// Nothing can be opened now, for want of descriptors or memory: no fault of the file.
    #[error("{0}")]
    Scarce(String),
}

impl From<OpenError> for SourceError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Gone => Self::Gone,
            error if error.is_scarcity() => Self::Scarce(error.to_string()),
            other => Self::Unreadable(other.to_string()),
        }
    }
}

const CHANGED: SourceError = SourceError::Unsettled("it changed while it was read");

impl Source {
    /// Opens a settled file afresh, and takes a lease. Blocks.
    pub(super) fn open(settled: &Settled) -> Result<Self, SourceError> {
        let opened = settled.root.open_file(&settled.relative)?;
        let (lease, lease_denied) = match opened.writers() {
            Writers::None(lease) => (Some(Arc::new(lease)), false),
            Writers::Some => return Err(SourceError::Unsettled("it is open for writing")),
            Writers::Unknown(reason) => (None, reason == NoLease::NotAllowed),
        };
        let lock = settled.root.lock_for_upload(&opened);
        let lock = Arc::new(lock.ok_or(SourceError::Unsettled("another upload of it is under way"))?);
        let (small, sha256, flow) = (Arc::default(), Arc::default(), Activity::default());
        Ok(Self { opened, lease, lease_denied, lock, small, sha256, flow })
    }

    /// The same, telling this flow of each piece that is read.
    pub(super) fn telling(self, flow: Activity) -> Self {
        Self { flow, ..self }
    }

    /// Reads the file if it is small. Blocks.
    pub(super) fn load(&self) -> Result<(), SourceError> {
        if self.opened.stamp.size > SMALL || self.small.get().is_some() {
            return Ok(());
        }
        let bytes = self.read_small().map_err(|error| SourceError::Unreadable(format!("it can't be read: {error}")))?;
        self.check().map_err(|_| CHANGED)?;
        self.set_sha256(&Sha256::digest(&bytes));
        self.small.get_or_init(|| bytes);
        Ok(())
    }

    fn read_small(&self) -> io::Result<Bytes> {
        // Small, so it fits.
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

    /// The SHA-256 of the bytes, in lower-case hexadecimal, once they were all read.
    pub(super) fn sha256(&self) -> Option<String> {
        self.sha256.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The SHA-256, reading the file for it where nobody did. Blocks.
    pub(super) fn hashed(&self) -> io::Result<String> {
        if let Some(sha256) = self.sha256() {
            return Ok(sha256);
        }
        self.read(|_| Ok(()))?;
        self.sha256().ok_or_else(|| io::Error::other("it could not be hashed"))
    }

    fn set_sha256(&self, digest: &[u8]) {
        *self.sha256.lock().unwrap_or_else(PoisonError::into_inner) = Some(hex(digest));
    }

    /// Whether the file is as it was opened, with nobody writing it.
    pub(super) fn check(&self) -> io::Result<()> {
        if self.opened.is_unchanged(self.lease.as_deref()) {
            return Ok(());
        }
        Err(io::Error::other("the file changed while it was read"))
    }

    /// The bytes, from the start.
    pub(super) fn content(&self) -> Content {
        let length = self.opened.stamp.size;
        let body = match self.small.get() {
            Some(bytes) => Full::new(bytes.clone()).map_err(|never| match never {}).boxed(),
            None => self.pieces().boxed(),
        };
        Content { length, body }
    }

    fn pieces(&self) -> Pieces {
        let (sender, pieces) = mpsc::channel(AHEAD);
        let source = self.clone();
        tokio::task::spawn_blocking(move || {
            let ended = source.read(|piece| sender.blocking_send(Ok(piece)).map_err(io::Error::other));
            if let Err(error) = ended {
                // Where the request is gone already, nobody wants to know.
                sender.blocking_send(Err(error)).ok();
            }
        });
        Pieces { pieces, left: self.opened.stamp.size }
    }

    /// Reads and hashes all of the file, and passes it on in pieces; the last one only if the file is unchanged, so that
    /// the store never has all bytes of a file that was written meanwhile.
    fn read(&self, mut pass_on: impl FnMut(Bytes) -> io::Result<()>) -> io::Result<()> {
        let size = self.opened.stamp.size;
        let (mut hash, mut at, buffers) = (Sha256::new(), 0, Buffers::default());
        if size == 0 {
            // An empty file has no last piece at which its hash would be set.
            self.check()?;
            self.set_sha256(&hash.finalize_reset());
        }
        while at < size {
            let mut piece = buffers.take();
            // At most PIECE, so it fits.
            let length = usize::try_from(size - at).unwrap_or(PIECE).min(PIECE);
            piece.filled = read_at(&self.opened.file, &mut piece.buffer[..length], at)?;
            if piece.filled == 0 {
                return Err(io::Error::other("the file became shorter while it was read"));
            }
            hash.update(&piece);
            at += piece.filled as u64;
            if at == size {
                failpoint("before-last-piece");
                self.check()?;
                self.set_sha256(&hash.finalize_reset());
            }
            pass_on(Bytes::from_owner(piece))?;
            self.flow.advanced();
            failpoint("mid-body");
        }
        Ok(())
    }
}

/// Buffers that go round: fresh memory for each piece would cost as much time as sending it.
#[derive(Debug, Clone, Default)]
struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

/// A piece of a file, in a buffer that comes back when nobody needs the piece any more.
struct Piece {
    buffer: Vec<u8>,
    filled: usize,
    home: Buffers,
}

impl Buffers {
    fn free(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Piece {
        let buffer = self.free().pop().unwrap_or_else(|| vec![0; PIECE]);
        Piece { buffer, filled: 0, home: self.clone() }
    }
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.filled]
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.home.free().push(std::mem::take(&mut self.buffer));
    }
}

fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    loop {
        match file.read_at(buffer, at) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// The pieces that a reader sends, as the body of a request of exact length.
struct Pieces {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    left: u64,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let piece = match std::task::ready!(self.pieces.poll_recv(context)) {
            Some(Ok(piece)) => piece,
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            None => return Poll::Ready(Some(Err(io::Error::other("reading the file ended early")))),
        };
        self.left = self.left.saturating_sub(piece.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
#[path = "body_tests.rs"]
mod tests;
