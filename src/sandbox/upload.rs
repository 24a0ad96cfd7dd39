//! Receives the body of an upload. Nothing is in the vault before the body is complete.

use std::io::{self, Write as _};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use sha2::{Digest, Sha256};

use super::vault::{Temporary, Vault};

/// Bodies up to this many bytes are held in memory until they are complete, so that a body that is cut off costs no disk access.
const SMALL: u64 = 64 * 1024;

/// The bytes of a larger body that are written and hashed in one go, while the next ones are read.
const BATCH: usize = 512 * 1024;

/// A complete body.
pub(super) struct Whole {
    pub(super) content: Temporary,
    pub(super) sha256: Option<[u8; 32]>,
}

/// Why a body was not received.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    /// The connection ended, or the client gave up, before the body was complete.
    #[error("the body ended early")]
    Short,
    #[error("the store failed: {0}")]
    Store(#[from] io::Error),
}

/// Receives a body of exactly `length` bytes.
pub(super) async fn receive(
    vault: &Arc<Vault>,
    body: &mut Incoming,
    length: u64,
    checksum: bool,
) -> Result<Whole, Broken> {
    if length <= SMALL {
        small(vault, body, length, checksum).await
    } else {
        large(vault, body, length, checksum).await
    }
}

/// Writes on the thread that serves the request: for so few bytes, another thread would cost more than the work.
async fn small(vault: &Arc<Vault>, body: &mut Incoming, length: u64, checksum: bool) -> Result<Whole, Broken> {
    let first = piece(body).await?.unwrap_or_default();
    let rest = if first.len() as u64 == length { Vec::new() } else { collect(body, &first, length).await? };
    let bytes: &[u8] = if rest.is_empty() { &first } else { &rest };
    if bytes.len() as u64 != length {
        return Err(Broken::Short);
    }
    let mut content = vault.temporary()?;
    content.write_all(bytes)?;
    Ok(Whole { content, sha256: checksum.then(|| Sha256::digest(bytes).into()) })
}

/// Reads the rest of a small body that comes in several pieces.
async fn collect(body: &mut Incoming, first: &[u8], length: u64) -> Result<Vec<u8>, Broken> {
    let mut bytes = first.to_vec();
    while let Some(piece) = piece(body).await? {
        bytes.extend_from_slice(&piece);
        if bytes.len() as u64 > length {
            return Err(Broken::Short);
        }
    }
    Ok(bytes)
}

/// Writes and hashes one batch on another thread while the next batch is read.
async fn large(vault: &Arc<Vault>, body: &mut Incoming, length: u64, checksum: bool) -> Result<Whole, Broken> {
    let sink = Sink { content: vault.temporary()?, hash: checksum.then(Sha256::new) };
    let mut writing = tokio::task::spawn_blocking(move || Ok(sink));
    let (mut batch, mut gathered, mut left) = (Vec::new(), 0, length);
    while let Some(piece) = piece(body).await? {
        left = left.checked_sub(piece.len() as u64).ok_or(Broken::Short)?;
        gathered += piece.len();
        batch.push(piece);
        if gathered >= BATCH || left == 0 {
            let sink = written(writing).await?;
            let pieces = std::mem::take(&mut batch);
            gathered = 0;
            writing = tokio::task::spawn_blocking(move || sink.take(&pieces));
        }
    }
    if left != 0 {
        return Err(Broken::Short);
    }
    let sink = written(writing).await?;
    Ok(Whole { content: sink.content, sha256: sink.hash.map(|hash| hash.finalize().into()) })
}

async fn written(writing: tokio::task::JoinHandle<io::Result<Sink>>) -> io::Result<Sink> {
    writing.await.map_err(io::Error::other)?
}

/// The file that a large body is written to.
struct Sink {
    content: Temporary,
    hash: Option<Sha256>,
}

impl Sink {
    fn take(mut self, pieces: &[Bytes]) -> io::Result<Self> {
        for piece in pieces {
            self.content.write_all(piece)?;
            if let Some(hash) = &mut self.hash {
                hash.update(piece);
            }
        }
        Ok(self)
    }
}

/// Returns the next piece of a body; `None` at the end.
async fn piece(body: &mut Incoming) -> Result<Option<Bytes>, Broken> {
    loop {
        match body.frame().await {
            None => return Ok(None),
            Some(Err(_)) => return Err(Broken::Short),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}
