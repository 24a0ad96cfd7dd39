//! Command line and configuration as a user meets them: what wins, what is refused, and in which words.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // helpers outside test functions

mod file;
mod folders;
mod line;
mod login;
mod precedence;
mod rest;
mod support;
