//! The pipeline's promises one by one, against a store that does as it is told. Graces and waits take no time.

// Helpers of tests are tests too; and writers of the folder may rename and delete what is theirs.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]
#![cfg(feature = "sandbox")]

mod answers;
mod late;
mod life;
mod names;
mod receipts;
mod sizes;
mod standstill;
mod store;
#[path = "../support/mod.rs"]
mod support;
