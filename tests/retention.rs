//! Receipts are kept as long as configured, and documents taken out of the vault are compared with them.
#![cfg(feature = "sandbox")]
// The lints make exceptions for `#[test]` functions only; helpers need them too, and writers in the folder may rename and delete.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod support;

use std::path::PathBuf;

use support::World;

fn config(world: &World, keep: &str) -> PathBuf {
    let path = world.dir.path().join("config.toml");
    std::fs::write(&path, format!("[journal]\nkeep_receipts = {keep:?}\n")).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    path
}

fn receipts(world: &World) -> usize {
    world.run(["history", "--json"]).stdout.matches("\"state\":\"removed\"").count()
}

#[test]
fn receipts_older_than_configured_are_pruned_and_the_rest_can_be_checked() {
    let world = World::new();
    let config = config(&world, "1s");
    world.put("old", "old");
    world.once(&["--settle", "10ms"]);
    assert_eq!(receipts(&world), 1);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    world.put("new", "new");
    let output = world.run(["--config", config.to_str().unwrap(), "watch", "watched", "--once", "--settle", "10ms"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let left = world.run(["history", "--json"]).stdout;
    assert!(!left.contains("/HR_Backup/old\"") && left.contains("/HR_Backup/new\""), "{left}");
    assert_eq!(world.run(["history", "--check"]).code, Some(0));
}

#[test]
fn a_daemon_prunes_at_its_start() {
    let world = World::new();
    let config = config(&world, "1s");
    world.put("old", "old");
    world.put("newest", "its number never comes again");
    world.once(&["--settle", "10ms"]);
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let mut command = world.command();
    let daemon = support::Daemon::start(command.arg("--config").arg(config).args(["watch", "watched"]));
    daemon.wait_for("receipts were pruned");
    assert_eq!(daemon.stop().code, Some(0));
    assert_eq!(world.run(["history", "--check"]).code, Some(0));
}

#[test]
fn receipts_are_kept_for_ever_if_so_configured() {
    let world = World::new();
    let config = config(&world, "forever");
    world.put("old", "old");
    world.once(&["--settle", "10ms"]);
    world.run(["--config", config.to_str().unwrap(), "watch", "watched", "--once", "--settle", "10ms"]);
    assert_eq!(receipts(&world), 1);
}

#[test]
fn a_document_that_differs_from_its_receipt_is_reported() {
    let world = World::new();
    world.put("report", "stored");
    world.once(&["--settle", "10ms"]);
    let get = |out: &str| world.run(["get", "/HR_Backup/report", "-o", out]);
    assert_eq!(get("same").code, Some(0));

    let change = |content| std::fs::write(world.dir.path().join("vault/HR_Backup/report"), content).unwrap();
    change("forged");
    let output = get("other");
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("receipt"), "{output:?}");
    assert_eq!(std::fs::read(world.dir.path().join("other")).unwrap(), b"forged");

    change("longer than it was");
    let output = get("longer");
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("receipt") && output.stderr.contains("--force"), "{output:?}");
    assert!(!world.dir.path().join("longer").exists(), "a content without an end would fill the disk");
}

#[test]
fn a_document_that_was_not_stored_from_here_is_fetched_without_a_receipt() {
    let world = World::new();
    std::fs::write(world.dir.path().join("vault/HR_Backup/theirs"), "theirs").unwrap();
    assert_eq!(world.run(["get", "/HR_Backup/theirs"]).code, Some(0));
    assert!(!world.state().exists(), "looking must not make a journal");
}
