//! How fields are hashed and signed: each as its length and its bytes, so that no byte can move from one into the next.

use sha2::{Digest as _, Sha256};

/// A SHA-256.
pub(super) type Hash = [u8; 32];

/// Fields in their order. Each is its length in bytes (8 bytes, big-endian) and its bytes; a number is 8 bytes, big-endian,
/// two's complement; a flag is one byte, 0 or 1; a field that may be absent is preceded by a flag.
#[derive(Debug)]
pub(super) struct Fields(Sha256);

impl Fields {
    /// Begins with the name of what is hashed, and of its version.
    pub(super) fn new(format: &str) -> Self {
        let mut fields = Self(Sha256::new());
        fields.bytes(format.as_bytes());
        fields
    }

    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.0.update((bytes.len() as u64).to_be_bytes());
        self.0.update(bytes);
    }

    pub(super) fn number(&mut self, number: i64) {
        self.bytes(&number.to_be_bytes());
    }

    pub(super) fn flag(&mut self, flag: bool) {
        self.bytes(&[u8::from(flag)]);
    }

    pub(super) fn optional(&mut self, bytes: Option<&[u8]>) {
        self.flag(bytes.is_some());
        if let Some(bytes) = bytes {
            self.bytes(bytes);
        }
    }

    pub(super) fn finish(self) -> Hash {
        self.0.finalize().into()
    }
}
