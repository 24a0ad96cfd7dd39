//! The client of the Astran service: requests, tokens, documents, errors. It knows no configuration files and no watching: a
//! [`ClientConfig`] makes the client, streams and lengths go in.
//!
//! ```text
//!  client (the port `Vault`)
//!    └─► find (users, listings, paths) · upload · download · diagnostics
//!          └─► connection ──► session (a token for each request)
//!                 └─► transport (one request, one answer) ──► the service
//! ```
//!
//! What an answer means is read by pure modules: `document` and `listing` (JSON), `call` (statuses), `headers`, `error_excerpt` and
//! `redact` (what may be quoted).

mod address;
mod body;
mod call;
mod client;
mod client_config;
mod connection;
mod diagnostics;
mod document;
mod download;
mod error;
mod error_excerpt;
mod find;
mod headers;
mod http;
mod listing;
mod path_lookup;
mod redact;
mod session;
mod transport;
mod unescape;
mod unreachable;
mod upload;
pub(crate) mod webhook;

#[cfg(feature = "fuzzing")]
pub mod fuzzing;
#[cfg(test)]
mod scripted_server;
#[cfg(test)]
mod tests;

pub use self::client::Client;
pub use self::client_config::{ClientConfig, Credentials, SecretSources, Timeouts, UserCredentials};
pub use self::diagnostics::Reachability;
pub use self::download::ContentStream;
pub use self::error::ClientError;
pub use self::session::{Renewal, TokenLifetimes};
