//! A file's bytes on their way to the store: read once, hashed while they are sent, never more than a few pieces in memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;

use super::rate::RateLimiter;
use super::source::Source;
use crate::failpoint::failpoint;
use crate::observe::transfers::SentBytes;
use crate::vault::Content;

/// The size of a piece of a large file, in bytes.
const PIECE: usize = 256 * 1024;
/// Pieces that may wait while one is hashed and one is sent.
const AHEAD: usize = 2;
/// How often a wait for the limited rate looks whether the request has ended.
const STEP: Duration = Duration::from_millis(100);

impl Source {
    /// The bytes, from the start. `sent` is told how many of them the connection has taken. A large file keeps to the limit of `rate`; for a
    /// small one, which goes in one piece, the caller waits.
    pub(super) fn content(&self, sent: &SentBytes, rate: &Arc<RateLimiter>) -> Content {
        sent.restart();
        let length = self.opened.stamp.size;
        let body = match self.small() {
            Some(bytes) => {
                sent.add(length);
                Full::new(bytes.clone()).map_err(|never| match never {}).boxed()
            }
            None => self.pieces(sent.clone(), Arc::clone(rate)).boxed(),
        };
        Content { length, body }
    }

    fn pieces(&self, sent: SentBytes, rate: Arc<RateLimiter>) -> Pieces {
        let (sender, read) = mpsc::channel(AHEAD);
        let source = self.clone();
        tokio::task::spawn_blocking(move || {
            // The wait for the rate comes before a piece is read, because nothing may come between the last check of the file and its last piece.
            let pace = |wanted| allowed(&rate, wanted, || sender.is_closed());
            let ended = source.read(pace, |piece| sender.blocking_send(Ok(piece)).map_err(io::Error::other));
            if let Err(error) = ended {
                // The request may have ended already.
                sender.blocking_send(Err(error)).ok();
            }
        });
        Pieces { read, left: self.opened.stamp.size, sent }
    }

    /// Reads and hashes all of the file, and passes it on in pieces; the last one only if the file is unchanged, so that
    /// the store never has all bytes of a file that was written meanwhile. `pace` is asked how many bytes the next piece may have.
    pub(super) fn read(
        &self,
        mut pace: impl FnMut(u64) -> u64,
        mut pass_on: impl FnMut(Bytes) -> io::Result<()>,
    ) -> io::Result<()> {
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
            let length = usize::try_from(pace((size - at).min(PIECE as u64))).unwrap_or(PIECE).min(PIECE);
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
            self.activity.advanced();
            failpoint("mid-body");
        }
        Ok(())
    }
}

/// How many of the wanted bytes may be sent next. Blocks until they may, or until the request has ended.
fn allowed(rate: &RateLimiter, wanted: u64, has_ended: impl Fn() -> bool) -> u64 {
    let (share, mut wait) = rate.share(wanted);
    while !wait.is_zero() && !has_ended() {
        let step = wait.min(STEP);
        std::thread::sleep(step);
        wait -= step;
    }
    share
}

/// Buffers that are used again: fresh memory for each piece would cost as much time as sending it.
#[derive(Debug, Clone, Default)]
struct Buffers(Arc<Mutex<Vec<Vec<u8>>>>);

/// A piece of a file, in a buffer that goes back to its home when the piece is dropped.
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

pub(super) fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    loop {
        match file.read_at(buffer, at) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// The pieces that a reader sends, as the body of a request of exact length.
struct Pieces {
    read: mpsc::Receiver<io::Result<Bytes>>,
    left: u64,
    sent: SentBytes,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let piece = match std::task::ready!(self.read.poll_recv(context)) {
            Some(Ok(piece)) => piece,
            Some(Err(error)) => return Poll::Ready(Some(Err(error))),
            None => return Poll::Ready(Some(Err(io::Error::other("reading the file ended early")))),
        };
        self.left = self.left.saturating_sub(piece.len() as u64);
        self.sent.add(piece.len() as u64);
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
