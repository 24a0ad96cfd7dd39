//! When, where and by which process anchors are put into the vault.

use astran_backup::sandbox::Duplicates;
use astran_backup::sandbox::faults::{Call, Fault, Rule};
use astran_backup::vault::RemotePath;

use crate::common::{anchors, heads, journal, run, upload};
use crate::forger::newest_cut;
use crate::support::{self, Daemon, QUICK, World, eventually};

#[test]
fn an_anchor_is_found_whatever_the_vault_does_with_a_name_used_twice() {
    for duplicates in [Duplicates::Version, Duplicates::SecondDocument, Duplicates::Conflict] {
        let world = World::with(|options| options.duplicates = duplicates);
        upload(&world, &["0"]);
        for name in ["1", "2", "3"] {
            upload(&world, &[name]);
            let output = run(&world, &["history", "anchor"]);
            assert_eq!(
                (output.code, output.stdout.trim()),
                (Some(0), &*heads(&world).join(" ")),
                "{duplicates:?}: {output:?}"
            );
        }
        let checked = run(&world, &["history", "--check"]);
        assert!(
            checked.code == Some(0) && checked.stdout.contains("receipt 4 is as it was"),
            "{duplicates:?}: {checked:?}"
        );
        newest_cut(&journal(&world));
        let checked = run(&world, &["history", "--check"]);
        assert!(checked.code == Some(1) && checked.stdout.contains("the newest is 3"), "{duplicates:?}: {checked:?}");
    }
}

#[test]
fn a_daemon_puts_an_anchor_at_its_stop_if_anything_is_new_and_logs_the_head() {
    let world = World::new();
    let start = || {
        let mut command = world.command();
        command.env_remove("ASTRAN_BACKUP_ANCHOR").args(["watch", "watched"]).args(QUICK);
        let daemon = Daemon::start(&mut command);
        daemon.wait_for("watching");
        daemon
    };
    let daemon = start();
    world.put("1", "1");
    eventually("it is removed", || world.files_left().is_empty());
    let output = daemon.stop();
    let [receipts, _] = heads(&world);
    assert!(output.code == Some(0) && output.stdout.contains(&format!("receipt chain head {receipts} ")), "{output:?}");
    assert_eq!(anchors(&world).len(), 1);
    assert_eq!(start().stop().code, Some(0));
    assert_eq!(anchors(&world).len(), 1, "nothing is new");
}

/// A scheduled run may come each minute.
#[test]
fn runs_that_end_by_themselves_put_one_anchor_an_hour() {
    let world = World::new();
    for name in ["1", "2", "3"] {
        upload(&world, &[name]);
    }
    assert_eq!(anchors(&world).len(), 1);
    journal(&world).execute("UPDATE anchor SET at = at - 3600000000000", []).unwrap();
    upload(&world, &["4"]);
    assert_eq!(anchors(&world).len(), 2);
}

#[test]
fn an_anchor_that_the_vault_does_not_take_is_logged_and_fails_nothing() {
    let world = World::new();
    let named = Rule::new(Call::Upload, Fault::Delay { ms: 600_000 }).named("astran-backup-anchor-");
    world.faults().add(named);
    world.put("1", "1");
    let output = run(&world, &["watch", "watched", "--once", QUICK[0], QUICK[1]]);
    assert!(output.code == Some(0) && output.stderr.contains("took too long"), "{output:?}");
    assert!(world.files_left().is_empty());
}

#[test]
fn an_anchor_is_printed_as_json_too() {
    let world = World::new();
    upload(&world, &["1"]);
    for arguments in [["history", "anchor", "--json"], ["history", "--json", "anchor"]] {
        let output = run(&world, &arguments);
        let object = &output.events("anchor")[0];
        let [receipts, fates] = heads(&world);
        assert_eq!(
            (output.code, object["anchor"].as_str(), object["local_ends"].as_str()),
            (Some(0), Some(&*receipts), Some(&*fates))
        );
        assert!(world.stored(object["remote_path"].as_str().unwrap()).is_some());
    }
    let checked = run(&world, &["history", "--check", "--json"]);
    let report = &checked.events("history_check")[0];
    assert_eq!((&report["conclusion"], &report["anchors"][0]["result"]), (&"whole".into(), &"same".into()));
    assert_eq!(run(&world, &["history", "--failed", "anchor"]).code, Some(2));
    assert_eq!(world.run(["history", "anchor"]).code, Some(2), "anchors are off there");
}

#[test]
fn anchors_go_into_the_folder_that_is_configured() {
    let world = World::with(|options| options.folders.push(RemotePath::parse("/Anchors").unwrap()));
    let with = |arguments: &[&str]| {
        let mut command = world.command();
        support::run_to_end(command.env("ASTRAN_BACKUP_ANCHOR", "/Anchors").args(arguments))
    };
    let flag = |name: &str| run(&world, &["history", "anchor", "--anchor", name]);
    world.put("1", "1");
    assert_eq!(with(&["watch", "watched", "--once", QUICK[0], QUICK[1]]).code, Some(0));
    assert!(anchors(&world)[0].starts_with("/Anchors/"));
    assert!(flag("/HR_Backup").code == Some(0) && anchors(&world).iter().any(|path| path.starts_with("/HR_Backup/")));
    let wrong = flag("Anchors");
    assert!(wrong.code == Some(2) && wrong.stderr.contains("--anchor"), "{wrong:?}");
    assert_eq!(flag("/Anchors").code, Some(0));
    assert!(with(&["history", "--check"]).stdout.contains("receipt 1 is as it was"));
    let elsewhere = run(&world, &["history", "--check"]);
    assert!(elsewhere.stdout.contains("receipt 1 is as it was"), "the journal knows where it went: {elsewhere:?}");
}

/// Regression: of two processes the slower one put an older anchor over the newer one, which the check then missed.
#[test]
fn one_process_at_a_time_puts_anchors() {
    let world = World::new();
    upload(&world, &["1"]);
    let lock = std::fs::File::open(world.state().join("astran-backup/anchor.lock")).unwrap();
    lock.lock().unwrap();
    let busy = run(&world, &["history", "anchor"]);
    assert!(busy.code == Some(1) && busy.stderr.contains("another process anchors"), "{busy:?}");
    drop(lock);
    assert_eq!(run(&world, &["history", "anchor"]).code, Some(0));
}
