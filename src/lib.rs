//! astran-backup: a folder on a disk, a vault in the cloud.
//!
//! Whatever is put into the folder is in the vault a moment later, and only then gone from the folder.
//!
//! ```text
//!  notify events ─┐
//!  folder scans ──┼─► settle ─► queue ─► upload ─► confirm ─► receipt ─► remove
//!  retries ───────┘   watch/             upload/              journal/   removal/
//! ```
//!
//! Who may import whom: [`watch`] knows no HTTP; [`astran`] knows no files, folders or configuration; `watch` and
//! [`upload`] don't know each other, the [`file::Settled`] is all that passes between them. All may count in [`observe::metrics`]
//! in [`observe::standstill`], and be asked by [`observe::health`]; [`observe::http`] tells over HTTP what these two say, and knows nobody else. Only [`daemon`] and
//! [`commands`] see everything.

// Tests make, move and remove files as any other program does. What is no test is judged where it is built without tests.
#![cfg_attr(test, allow(clippy::disallowed_methods))]

pub(crate) mod budget;
pub mod cli;
pub mod commands;
pub mod config;
pub mod daemon;

pub mod file;
pub mod watch;

pub mod anchors;
pub mod journal;
pub mod removal;
pub mod retention;
pub mod upload;

pub mod astran;
pub mod vault;

pub mod observe;

pub mod exit;
pub(crate) mod failpoint;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub(crate) mod printable;
pub(crate) mod read_back;
pub mod secret;
pub mod shutdown;

#[cfg(feature = "sandbox")]
pub mod sandbox;

/// Bytes in lower-case hexadecimal, as digests are written everywhere in this program.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a String can't fail.
        write!(text, "{byte:02x}").ok();
        text
    })
}
