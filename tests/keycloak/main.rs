//! Tests with a real Keycloak, which `.ci/keycloak` starts: the client, the daemon, and that the sandbox's realm answers as Keycloak
//! does. The API is the sandbox, which accepts Keycloak's tokens by the signature of the realm's keys.
#![cfg(feature = "sandbox")]
#![allow(unreachable_pub, missing_docs)]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod client;
mod daemon;
mod rows;
mod server;
#[path = "../support/mod.rs"]
mod support;
