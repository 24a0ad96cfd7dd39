//! An attacker who may write the journal can make it look whole: the anchors in the vault, and those kept elsewhere, show the change.
#![cfg(feature = "sandbox")]
// Helpers of tests are tests too; and these tests delete what is theirs.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod checking;
mod common;
mod forged;
mod forger;
mod putting;
#[path = "../support/mod.rs"]
mod support;
