//! The sandbox from outside: it keeps the contract that all other tests build on.

#![cfg(feature = "sandbox")]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs, reason = "these are tests")]

mod calls;
mod faults;
mod login;
mod names;
mod speed;
mod support;
mod tutorial;
mod uploads;
mod vault;
