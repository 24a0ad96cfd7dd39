//! The pipeline's promises one by one, against a store that does as it is told. Graces and waits take no time.

// Helpers of tests are tests too; and writers of the folder may rename and delete what is theirs.
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
#[path = "../support/mod.rs"]
mod support;
