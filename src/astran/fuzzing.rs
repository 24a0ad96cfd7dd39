//! Lets the fuzz targets call the private code that reads the service's answers and builds its addresses.

use url::Url;

use super::address::Addresses;
use super::{document, error_excerpt, session};
use crate::vault::{Document, RemotePath, VaultError};

pub use session::fuzzing::token;

/// The longest id, name or version that is taken from an answer.
pub const FIELD_BYTES: usize = crate::budget::FIELD_BYTES;

/// Reads an answer that describes a document.
pub fn document(body: &[u8]) -> Result<Document, String> {
    document::document(body).map_err(|why| why.to_string())
}

/// Reads the wanted documents of a listing.
pub fn listing(body: &[u8], wanted: impl Fn(&Document) -> bool) -> Result<Vec<Document>, String> {
    document::listing(body, wanted).map_err(|why| why.to_string())
}

/// Reads the root folder's id, and the name of the logged-in user.
pub fn me(body: &[u8]) -> Result<(String, Option<String>), String> {
    document::logged_in_user(body).map(|user| (user.root.0, user.name)).map_err(|why| why.to_string())
}

/// The excerpt of an answer that an error may quote.
pub fn message(body: &[u8]) -> Option<String> {
    error_excerpt::message(body)
}

/// The addresses of an upload and of a path, at one base.
pub fn addresses(base: &Url, realm: &str, id: &str, name: &str, path: &RemotePath) -> ServiceAddresses {
    let addresses = Addresses::new(base, base, realm);
    ServiceAddresses {
        token: addresses.token(),
        children: addresses.children(id),
        upload: addresses.upload(id, name),
        path: addresses.filesystem(path),
    }
}

/// The addresses of calls.
#[derive(Debug)]
pub struct ServiceAddresses {
    /// Of a request for a token.
    pub token: Url,
    /// Of the listing of a folder.
    pub children: Result<Url, VaultError>,
    /// Of an upload into that folder.
    pub upload: Result<Url, VaultError>,
    /// Of the lookup of a path.
    pub path: Result<Url, VaultError>,
}
