//! The promises of an upload one by one, against a scripted store. With a paused clock, the grace and all waits take no time.

// The lints make exceptions for `#[test]` functions only; helpers need them too, and writers in the folder may rename and delete.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]
#![cfg(feature = "sandbox")]

mod answers;
#[path = "../support/fake_vault.rs"]
mod fake_vault;
mod late;
mod life;
mod names;
mod receipts;
mod sizes;
mod standstill;
mod stop;
#[path = "../support/mod.rs"]
mod support;
