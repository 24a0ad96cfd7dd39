//! Command line and configuration as a user meets them: precedence, what is refused, and the messages.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // helpers outside test functions

mod file;
mod folders;
mod line;
mod login;
mod precedence;
mod rest;
mod support;
