//! Reads a document back from the vault and hashes it: one loop for `get`, `verify`, and the check after an upload.

use sha2::{Digest as _, Sha256};

use crate::hex;
use crate::vault::{Download, VaultError};

/// Length and hash of a content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ContentDigest {
    /// In bytes.
    pub(crate) size: u64,
    /// Lower-case hexadecimal.
    pub(crate) sha256: String,
}

/// Reads a download to its end, hands each piece to `piece`, and never holds more than one piece in memory.
///
/// Returns `None` as soon as more than `most` bytes have come, as a content without an end would be read for ever. `piece` does not
/// get the piece that exceeds the limit.
pub(crate) async fn read<E: From<VaultError>>(
    download: &mut impl Download,
    most: u64,
    mut piece: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<Option<ContentDigest>, E> {
    let (mut size, mut hasher) = (0, Sha256::new());
    while let Some(chunk) = download.chunk().await? {
        size += chunk.len() as u64;
        if size > most {
            return Ok(None);
        }
        hasher.update(&chunk);
        piece(&chunk)?;
    }
    Ok(Some(ContentDigest { size, sha256: hex(&hasher.finalize()) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    /// A download that gives the same piece for ever, or so many times.
    struct Pieces(usize);

    impl Download for Pieces {
        fn length(&self) -> Option<u64> {
            None
        }

        async fn chunk(&mut self) -> Result<Option<Bytes>, VaultError> {
            self.0 = self.0.saturating_sub(1);
            Ok((self.0 > 0).then(|| Bytes::from_static(b"ab")))
        }
    }

    #[tokio::test]
    async fn all_pieces_are_hashed_and_handed_on() {
        let mut copy = Vec::new();
        let mut pieces = Pieces(4);
        let reading = read::<VaultError>(&mut pieces, 6, |piece| {
            copy.extend_from_slice(piece);
            Ok(())
        });
        let digest = reading.await.unwrap().unwrap();
        assert_eq!((digest.size, copy.as_slice()), (6, b"ababab".as_slice()));
        assert_eq!(digest.sha256, hex(&Sha256::digest(b"ababab")));
    }

    #[tokio::test]
    async fn a_content_without_an_end_is_read_no_further_than_the_limit() {
        let mut handed_on = 0;
        let mut pieces = Pieces(usize::MAX);
        let reading = read::<VaultError>(&mut pieces, 5, |piece| {
            handed_on += piece.len();
            Ok(())
        });
        assert_eq!(reading.await.unwrap(), None);
        assert_eq!(handed_on, 4);
    }
}
