//! Harmful networks and servers: relays that deliver late; answers that drip, are huge or endless, or repeat secrets; proxies that get
//! what is not meant for them.
#![cfg(feature = "sandbox")]
// The lints make exceptions for `#[test]` functions only; helpers need them too, and writers in the folder may rename and delete.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::format_collect)]

mod between;
mod dripping;
mod echo;
mod embedded;
mod huge;
mod proxies;
mod relay;
#[path = "../support/mod.rs"]
mod support;
