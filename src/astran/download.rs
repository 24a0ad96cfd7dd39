//! A document on its way out of the store.

use std::time::Duration;

use bytes::Bytes;
use reqwest::Response;
use tokio::time::timeout;

use super::error::describe;
use crate::vault::{Download, Kind, VaultError};

/// The content of a document as it comes.
#[derive(Debug)]
pub struct ContentStream {
    what: String,
    response: Response,
    length: Option<u64>,
    got: u64,
    idle: Duration,
}

impl ContentStream {
    pub(super) fn new(what: String, response: Response, idle: Duration) -> Self {
        Self { what, length: response.content_length(), response, got: 0, idle }
    }

    fn broken(&self, why: &str) -> VaultError {
        VaultError::new(Kind::Unavailable, format!("{} broke off after {} bytes: {why}", self.what, self.got))
    }

    fn ended(&self) -> Result<Option<Bytes>, VaultError> {
        match self.length {
            Some(length) if length != self.got => Err(self.broken(&format!("{length} were announced"))),
            _ => Ok(None),
        }
    }
}

impl Download for ContentStream {
    fn length(&self) -> Option<u64> {
        self.length
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, VaultError> {
        match timeout(self.idle, self.response.chunk()).await {
            Ok(Ok(Some(chunk))) => {
                self.got += chunk.len() as u64;
                Ok(Some(chunk))
            }
            Ok(Ok(None)) => self.ended(),
            Ok(Err(e)) => Err(self.broken(&describe(&e))),
            Err(_) => Err(self.broken(&format!("nothing came for {} s", self.idle.as_secs()))),
        }
    }
}
