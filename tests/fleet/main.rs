//! The fleet's database with a real `PostgreSQL`. `.ci/postgres` starts one and these tests; without it they are skipped, and say so.

// `clippy.toml` keeps the program from moving and deleting files. The tests do what other programs do to its files.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

#[path = "../support/proxy.rs"]
mod proxy;
#[path = "../support/mod.rs"]
mod support;

mod fleet;

mod audits;
#[cfg(feature = "failpoints")]
mod kills;
mod members;
mod removal;
mod shipping;
mod trouble;
