//! The journal keeps what it answered, in one chain that shows every change, whatever process crashes or writes beside it.

// Helpers of tests are tests too; the lint's own exception sees only the functions marked as such.
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

mod chain;
mod failures;
mod keeping;
mod names;
mod opening;
mod order;
mod services;
mod support;
