//! Networks and servers that do harm: relays that hand on late, answers that drip, that are huge or without an end, that repeat the
//! secrets they were sent, proxies that listen where none is asked for.
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
