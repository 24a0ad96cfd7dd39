//! Doors for the fuzz targets, to what reads the service's answers and builds its addresses.

use url::Url;

use super::address::Addresses;
use super::{document, error_excerpt, session};
use crate::vault::{Document, RemotePath, VaultError};

pub use session::fuzzing::token;

/// The longest id, name or version that is taken from an answer.
pub const FIELD_BYTES: usize = crate::budget::FIELD_BYTES;

/// A document as the service tells of it.
pub fn document(body: &[u8]) -> Result<Document, String> {
    document::document(body).map_err(|why| why.to_string())
}

/// Those documents of a listing that are wanted.
pub fn listing(body: &[u8], wanted: impl Fn(&Document) -> bool) -> Result<Vec<Document>, String> {
    document::listing(body, wanted).map_err(|why| why.to_string())
}

/// The root folder's id, and who is logged in.
pub fn me(body: &[u8]) -> Result<(String, Option<String>), String> {
    document::me(body).map(|me| (me.root.0, me.name)).map_err(|why| why.to_string())
}

/// What is quoted of an answer.
pub fn said(body: &[u8]) -> Option<String> {
    error_excerpt::said(body)
}

/// The addresses of an upload and of a path, at one base.
pub fn addresses(base: &Url, realm: &str, id: &str, name: &str, path: &RemotePath) -> Places {
    let addresses = Addresses::new(base, base, realm);
    Places {
        token: addresses.token(),
        children: addresses.children(id),
        upload: addresses.upload(id, name),
        path: addresses.filesystem(path),
    }
}

/// See [`addresses`].
#[derive(Debug)]
pub struct Places {
    /// Where tokens are asked for.
    pub token: Url,
    /// What lies in the folder of the id.
    pub children: Result<Url, VaultError>,
    /// Where the name is stored in it.
    pub upload: Result<Url, VaultError>,
    /// What lies at the path.
    pub path: Result<Url, VaultError>,
}
