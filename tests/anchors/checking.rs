//! What the check says where nothing was changed: it is local without a vault, and accuses nobody.

use rusqlite::Connection;

use crate::common::{heads, last_line, run, upload};
use crate::forger::altered;
use crate::support::{self, World};

#[test]
fn without_a_vault_the_check_is_local_and_says_so() {
    let mut world = World::new();
    upload(&world, &["1"]);
    world.stop_sandbox();
    let checked = run(&world, &["history", "--check"]);
    assert!(checked.code == Some(0) && checked.stdout.contains("not compared with the vault"), "{checked:?}");
    let mut alone = world.command();
    for (name, _) in support::access_variables(&world.access) {
        alone.env_remove(name);
    }
    let checked = support::run_to_end(alone.env_remove("ASTRAN_BACKUP_ANCHOR").args(["history", "--check"]));
    assert!(checked.code == Some(0) && checked.stdout.contains("no complete login"), "{checked:?}");
}

#[test]
fn a_pruned_receipt_is_reported_as_pruned_not_as_damage() {
    let world = World::new();
    upload(&world, &["1", "2"]);
    upload(&world, &["3"]);
    let [receipts, _] = heads(&world);
    let pruned = run(&world, &["history", "--prune-before", "0s"]);
    assert_eq!(pruned.code, Some(0), "{pruned:?}");
    let checked = run(&world, &["history", "--check"]);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    let same = world.run(["history", "--check", "--against", &receipts]);
    assert_eq!(same.code, Some(0), "the newest pruned one is noted: {same:?}");
    let older = world.run(["history", "--check", "--against", &format!("1:{}", "0".repeat(64))]);
    assert!(older.code == Some(1) && older.stdout.contains("not all could be compared"), "{older:?}");
    assert!(!older.stdout.contains("somebody") && !older.stdout.contains("BROKEN"), "{older:?}");
}

#[test]
fn a_text_that_is_no_head_is_a_usage_error() {
    let world = World::new();
    let output = world.run(["history", "--check", "--against", "12"]);
    assert!(output.code == Some(2) && output.stderr.contains("SEQ:HASH"), "{output:?}");
    assert_eq!(world.run(["history", "--against", "12:00"]).code, Some(2), "only with --check");
}

/// Regression: anchors were known by the names of the host and of the state's folder, which a container has anew in each run. Older
/// anchors were reported as gone, or, where the journal did not say that there were any, not compared at all.
#[test]
fn anchors_are_known_by_their_key_wherever_the_state_lies() {
    let world = World::new();
    upload(&world, &["1", "2", "3", "4", "5"]);
    let moved = world.dir.path().join("moved");
    std::fs::rename(world.state().join("astran-backup"), &moved).unwrap();
    let check = ["--state-dir", moved.to_str().unwrap(), "history", "--check"];
    let fine = run(&world, &check);
    assert!(fine.code == Some(0) && fine.stdout.contains("receipt 5 is as it was"), "{fine:?}");
    let journal = Connection::open(moved.join("journal.sqlite")).unwrap();
    altered(&journal);
    journal.execute("DELETE FROM anchor", []).unwrap();
    let checked = run(&world, &check);
    assert!(checked.code == Some(1) && checked.stdout.contains("BROKEN /HR_Backup/"), "{checked:?}");
}

/// Regression: the check output that somebody had changed the journal, though only its key could not be used.
#[test]
fn an_unusable_key_proves_nothing_and_accuses_nobody() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new();
    upload(&world, &["1", "2"]);
    upload(&world, &["3"]);
    assert_eq!(run(&world, &["history", "--prune-before", "0s"]).code, Some(0));
    let key = world.state().join("astran-backup/anchor.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    for arguments in [&["history", "--check"][..], &["history", "--check", "--against", &heads(&world)[0]]] {
        let checked = run(&world, arguments);
        assert!(checked.code == Some(1) && checked.stdout.contains("mode 600"), "{checked:?}");
        assert!(!checked.stdout.contains("somebody") && !checked.stdout.contains("BROKEN"), "{checked:?}");
    }
}

/// Regression: such a check ended with 0, and its one line about the refused login was easily missed.
#[test]
fn a_check_whose_login_is_refused_is_local_and_ends_with_3() {
    let world = World::new();
    upload(&world, &["1"]);
    let wrong = |arguments: &[&str]| {
        let mut command = world.command();
        command.env_remove("ASTRAN_BACKUP_ANCHOR").env("ASTRAN_BACKUP_PASSWORD", "wrong");
        support::run_to_end(command.args(["history", "--check"]).args(arguments))
    };
    let refused = wrong(&[]);
    assert!(refused.code == Some(3) && refused.stdout.starts_with("1 receipt checked"), "{refused:?}");
    assert!(last_line(&refused).starts_with("not compared with the vault: "), "{refused:?}");
    let object = wrong(&["--json"]);
    assert_eq!((object.code, object.events("history_check").len()), (Some(3), 1), "{object:?}");
    let logins = world.sandbox().stats().requests["login"];
    let offline = wrong(&["--offline"]);
    assert!(offline.code == Some(0) && last_line(&offline).ends_with("--offline was given"), "{offline:?}");
    assert_eq!(world.sandbox().stats().requests["login"], logins);
}

/// Regression: nothing was printed for 30 s, and the log output that uploads waited.
#[test]
fn a_service_that_never_answers_does_not_delay_the_local_check() {
    let world = World::new();
    upload(&world, &["1"]);
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", silent.local_addr().unwrap());
    let mut command = world.command();
    command.env_remove("ASTRAN_BACKUP_ANCHOR").env("ASTRAN_BACKUP_AUTH_URL", address);
    let checked = support::run_to_end(command.args(["history", "--check"]));
    assert!(checked.code == Some(0) && checked.stdout.starts_with("1 receipt checked"), "{checked:?}");
    assert!(last_line(&checked).contains("did not answer within 7 s"), "{checked:?}");
    assert!(!checked.stderr.contains("uploads"), "{checked:?}");
}

/// A check only reads: a key that it made would become the journal's.
#[test]
fn a_check_makes_no_key() {
    let world = World::new();
    upload(&world, &["1"]);
    let key = world.state().join("astran-backup/anchor.key");
    std::fs::remove_file(&key).unwrap();
    let checked = run(&world, &["history", "--check"]);
    assert!(checked.code == Some(1) && checked.stdout.contains("by another key"), "{checked:?}");
    assert!(!key.exists());
}
