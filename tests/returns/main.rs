//! Files that are renamed, moved or replaced while the outcome of their upload is unknown: none is sent twice, none is forgotten, and
//! no entry stays open for ever.
#![cfg(feature = "sandbox")]
// The lints make exceptions for `#[test]` functions only; helpers need them too, and writers in the folder may rename and delete.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod aside;
mod entries;
mod given_up;
mod kept;
mod live;
mod moved;
mod names;
mod places;
#[path = "../support/mod.rs"]
mod support;

use std::path::PathBuf;
use std::process::Command;

use astran_backup::sandbox::faults::{Call, Fault, Rule};

use support::proof::sha256;
use support::{Daemon, World, eventually};

const SETTLE: [&str; 2] = ["--settle", "10ms"];
/// One file after the other, so that the result depends on their order and not on chance.
const ONE_BY_ONE: [&str; 4] = ["--settle", "10ms", "--transfers", "1"];
/// Longer than any test lasts.
const NEVER: u64 = 600_000;

fn status(status: u16) -> Fault {
    Fault::Status { status, retry_after: None, body: None, content_type: None, carried_out: false }
}

/// A file that the store has; the daemon was killed before it got the answer.
fn answer_lost(world: &World, relative: &str) -> PathBuf {
    let place = world.put(relative, "content");
    killed_unanswered(world, world.command().args(["watch", "watched"]).args(SETTLE));
    place
}

/// Runs a command that uploads, and kills it when the store has one more file but has not answered.
fn killed_unanswered(world: &World, command: &mut Command) {
    let before = world.sandbox().uploads().len();
    world.faults().add(Rule::new(Call::Upload, Fault::Delay { ms: NEVER }).times(1));
    let process = Daemon::start(command);
    eventually("the store has it", || world.sandbox().uploads().len() > before);
    process.kill();
}

/// Asserts that exactly these contents were sent, each as often as it is in the list.
#[track_caller]
fn assert_sent(world: &World, contents: &[&str]) {
    let meant = |sum: &str| contents.iter().find(|content| sha256(content.as_bytes()) == sum);
    let uploads = world.sandbox().uploads();
    let mut sent: Vec<_> = uploads.iter().map(|it| meant(it.sha256.as_deref().unwrap()).unwrap_or(&"?")).collect();
    let mut expected: Vec<_> = contents.iter().collect();
    sent.sort();
    expected.sort();
    assert_eq!(sent, expected, "\n{}", world.run(["history"]).stdout);
}

fn journal(world: &World) -> rusqlite::Connection {
    rusqlite::Connection::open(world.state().join("astran-backup/journal.sqlite")).unwrap()
}
