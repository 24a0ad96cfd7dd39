//! The journal keeps what it confirmed, in one chain that shows each change, through crashes and with several processes writing.

// The lints make exceptions for `#[test]` functions only; helpers need them too.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod chain;
mod failures;
mod keeping;
mod names;
mod opening;
mod order;
mod services;
mod support;
