//! Staying logged in for months: what the program does when the login is refused, in trouble, rotated or short-lived.
#![cfg(feature = "sandbox")]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod client;
mod refused;
mod remembered;
mod session;
#[path = "../support/mod.rs"]
mod support;
mod suspended;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use astran_backup::sandbox::faults::{Call, Fault, Garbage, Rule};
use astran_backup::sandbox::{Options, TokenCheck};
use support::{Daemon, Output, World, eventually, run_to_end};

const PASSWORD: &str = "sandbox-password";

/// Writes a file that only this user can read.
fn secret_file(world: &World, name: &str, content: &str) -> PathBuf {
    let path = world.dir.path().join(name);
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// Replaces a secret as a careful administrator does: the new file comes whole, by a rename.
fn rotate(world: &World, name: &str, content: &str) {
    let new = secret_file(world, "new-secret", content);
    std::fs::rename(new, world.dir.path().join(name)).unwrap();
}

fn at_once(fault: Fault) -> Rule {
    Rule { call: None, ..Rule::new(Call::Any, fault) }
}

fn change_password(password: &str) -> Rule {
    at_once(Fault::ChangePassword { password: password.to_owned() })
}

fn status(status: u16, body: Option<&str>) -> Fault {
    Fault::Status { status, retry_after: None, body: body.map(str::to_owned), content_type: None, carried_out: false }
}

/// Asserts that a run is refused: exit code 3, this sentence, one try, no secret in the output, and the file where it was.
fn refused_once(world: &World, output: &Output, sentence: &str) {
    assert_eq!(output.code, Some(3), "{output:?}");
    assert!(output.stderr.contains(sentence), "{sentence:?} is not in {}", output.stderr);
    assert!(!output.stderr.contains(PASSWORD) && !output.stdout.contains(PASSWORD));
    let stats = world.sandbox().stats();
    assert_eq!((stats.refused_logins, stats.requests["login"]), (1, 1), "one try");
    assert_eq!(world.files_left().len(), 1, "it lies where it was");
}

fn once_with(change: impl FnOnce(&mut Options), fault: Option<Fault>, environment: (&str, &str)) -> (World, Output) {
    let world = World::with(change);
    if let Some(fault) = fault {
        world.faults().add(at_once(fault));
    }
    world.put("report.pdf", "content");
    let (name, value) = environment;
    let output = run_to_end(world.command().args(["watch", "watched", "--once"]).env(name, value));
    (world, output)
}

fn refused_once_more(world: &World, output: &Output, sentence: &str) {
    assert_eq!((output.code, world.sandbox().stats().refused_logins), (Some(3), 1), "{output:?}");
    assert!(output.stderr.contains(sentence) && !output.stderr.contains("hush"), "{output:?}");
}

fn rotating() -> (World, Daemon) {
    let world = World::with(|o| o.brute_force = None);
    secret_file(&world, "password", PASSWORD);
    let daemon = world.watch(&["--password-file", "password", "--settle", "50ms"]);
    world.put("before.pdf", "content");
    daemon.wait_for("stored");
    (world, daemon)
}

fn refused_logins(world: &World) -> u64 {
    world.sandbox().stats().refused_logins
}
