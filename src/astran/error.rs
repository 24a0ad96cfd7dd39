//! Why a client can't be made. The caller can only report it: each variant is a mistake in the configuration, but for `Http`, and
//! is found before anything is sent. Calls fail with a [`crate::vault::VaultError`].

use std::path::PathBuf;

use super::unreachable::describe;

/// Why a client can't be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// `ca_file` can't be read.
    #[error("service.ca_file {}: {source}", path.display())]
    CaFile {
        /// The path of `ca_file`.
        path: PathBuf,
        /// Why it can't be read.
        source: std::io::Error,
    },
    /// `ca_file` holds no certificate.
    #[error("service.ca_file {}: holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)", path.display())]
    CaEmpty {
        /// The path of `ca_file`.
        path: PathBuf,
    },
    /// `ca_file` holds something that is no certificate.
    #[error("service.ca_file {}: holds a certificate that can't be read: {}", path.display(), describe(source))]
    CaBroken {
        /// The path of `ca_file`.
        path: PathBuf,
        /// What the TLS library says.
        source: reqwest::Error,
    },
    /// The HTTP client can't be set up, as where this machine has no certificates to trust.
    #[error("the connection to the service can't be set up: {}", describe(.0))]
    Http(#[source] reqwest::Error),
    /// `content_type` can't be sent as a header.
    #[error("service.content_type {0:?} is no media type: write it like application/octet-stream")]
    ContentType(String),
}
