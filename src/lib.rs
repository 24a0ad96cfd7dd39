//! astran-backup uploads what appears in a watched folder into a vault (a secure document store), and removes each local
//! file once the vault has it, never before.
//!
//! ```text
//!  notify events ─┐
//!  folder scans ──┼─► settle ─► queue ─► upload ─► verify ─► receipt ─► remove
//!  retries ───────┘   watch/             upload/             journal/   removal/
//! ```
//!
//! # The rooms, and what each may import
//!
//! A room is a module of the crate's root. Imports go one way: a room may import only rooms that stand above it in this
//! table, and of those only the ones that its last column names. The rooms marked *ground* may be imported by every
//! room. `tests/rooms/` reads this table and all imports of `src`, and fails where they differ. Test code (what stands under
//! `#[cfg(test)]`) may import everything.
//!
//! | Room | What it holds | May import |
//! | --- | --- | --- |
//! | *ground* `budget` | limits of everything that comes from outside | |
//! | *ground* `failpoint` | named steps at which tests kill the program | |
//! | *ground* `hex` | digests as text | |
//! | *ground* `measure` | sizes and lengths of time as people read them | |
//! | *ground* `owner` | who owns a file, in words | |
//! | *ground* `printable` | names from outside, made safe for terminals and logs | |
//! | *ground* `shutdown` | stop and reload signals | |
//! | *ground* `events` | the lines of JSON that scripts read | |
//! | `exit` | exit codes, and the error that ends the program | |
//! | `vault` | the port: what the program needs of a store | |
//! | `read_back` | reads a document back from the vault, and hashes it | `vault` |
//! | `secret` | passwords, and the files that hold them | |
//! | `refused_logins` | which logins were refused, remembered across runs | `secret` |
//! | `file` | local files: opening, locking, leases, walking | |
//! | `filter` | which files are chosen by their path | `file` |
//! | `observe` | health, metrics, the listener for both and for the page, logging | |
//! | `journal` | the durable record of uploads, and their receipts | `file`, `vault` |
//! | `config` | command line, environment and file become one checked configuration | `filter`, `secret`, `vault` |
//! | `astran` | the HTTP client of the service; implements the port | `observe`, `refused_logins`, `secret`, `vault` |
//! | `sandbox` | a local stand-in of the service | `vault` |
//! | `removal` | the only code that deletes or renames local files | `file`, `journal`, `observe` |
//! | `upload` | the way of one file from the queue to its receipt | `config`, `file`, `journal`, `observe`, `read_back`, `removal`, `vault` |
//! | `watch` | finds files, and tells which have settled | `file`, `filter`, `observe` |
//! | `anchors` | copies of the journal's head, kept in the vault | `journal`, `vault` |
//! | `retention` | forgets old receipts, and failures whose files are gone | `file`, `journal`, `removal` |
//! | `inventory` | which files lie in a folder now, and why: for people who look | `config`, `file`, `filter`, `journal`, `retention`, `upload`, `vault`, `watch` |
//! | `notifier` | tells people of trouble, by a command, a web address or a ping | `astran`, `config`, `exit`, `inventory`, `journal`, `observe`, `upload` |
//! | `fleet` | the database that has the receipts of many machines | `config`, `journal`, `observe`, `upload` |
//! | `daemon` | runs watch, upload, anchors and retention together | `anchors`, `config`, `exit`, `file`, `filter`, `inventory`, `journal`, `observe`, `removal`, `retention`, `upload`, `vault`, `watch` |
//! | `status` | what the program does now, as one snapshot, and the socket where a daemon tells it | `file`, `inventory`, `journal`, `observe`, `removal`, `upload`, `vault` |
//! | `progress` | how far a run is: bars on a terminal, else a line a minute | `observe` |
//! | `service_manager` | tells systemd how the daemon is | `observe`, `status` |
//! | `cli` | the command line's grammar | `config`, `observe`, `vault` |
//! | `commands` | one module for each command | `anchors`, `astran`, `cli`, `config`, `daemon`, `exit`, `file`, `filter`, `fleet`, `inventory`, `journal`, `notifier`, `observe`, `progress`, `read_back`, `refused_logins`, `removal`, `retention`, `sandbox`, `secret`, `service_manager`, `status`, `upload`, `vault`, `watch` |
//! | `fuzzing` | private parts made reachable for the fuzz targets | `astran`, `commands`, `observe`, `upload` |
//! | `main` | the program | `cli`, `commands`, `config`, `exit`, `observe` |
//!
//! `watch` and `upload` do not know each other: a [`file::Settled`] is all that passes from one to the other.

// Test code makes, moves and removes files as any other program does. The lint still judges the rest, in builds without tests.
#![cfg_attr(test, allow(clippy::disallowed_methods))]

pub(crate) mod budget;
pub(crate) mod events;
pub(crate) mod failpoint;
mod hex;
pub(crate) mod measure;
pub(crate) mod owner;
pub(crate) mod printable;
pub mod shutdown;

pub(crate) use hex::hex;

pub mod exit;
pub mod file;
pub(crate) mod filter;
pub mod secret;
pub mod vault;

pub(crate) mod read_back;
pub mod refused_logins;

pub mod observe;

pub mod astran;
pub mod config;
pub mod journal;
pub mod removal;

#[cfg(feature = "fleet")]
pub mod fleet;

pub mod upload;
pub mod watch;

pub mod anchors;
pub mod retention;

pub(crate) mod inventory;

pub(crate) mod notifier;
pub(crate) mod progress;
pub(crate) mod service_manager;
pub(crate) mod status;

pub mod cli;
pub mod commands;
pub mod daemon;

#[cfg(feature = "fuzzing")]
pub mod fuzzing;
#[cfg(feature = "sandbox")]
pub mod sandbox;

// The tests' vault is one file for unit tests and integration tests. It names this crate as the latter do.
#[cfg(test)]
extern crate self as astran_backup;
#[cfg(test)]
#[path = "../tests/support/fake_vault.rs"]
pub(crate) mod fake_vault;
