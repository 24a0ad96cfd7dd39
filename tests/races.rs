//! Races with other programs, and between two instances of this one: over one file, one name, one folder.
#![cfg(feature = "sandbox")]
// The lints make exceptions for `#[test]` functions only; helpers need them too, and writers in the folder may rename and delete.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod support;

use astran_backup::sandbox::Duplicates;
use astran_backup::sandbox::faults::{Call, Fault, Rule};

use support::proof::{assert_nothing_left, clean_run};
use support::{World, eventually};

const SETTLE: [&str; 2] = ["--settle", "10ms"];

#[test]
fn a_second_file_of_the_name_while_the_first_is_in_its_grace_is_stored_too() {
    for duplicates in [Duplicates::Version, Duplicates::SecondDocument] {
        let world = World::with(|options| options.duplicates = duplicates);
        let daemon = world.watch(&SETTLE);
        let first = world.put("report", "first");
        eventually("the file is staged", || !first.exists());
        world.put("report", "second");
        eventually("both are stored", || world.sandbox().uploads().len() == 2);
        eventually("both are removed", || world.files_left().is_empty());
        assert_eq!(daemon.stop().code, Some(0));
        assert_nothing_left(&world);
    }
}

#[test]
fn a_file_that_changed_in_its_grace_and_whose_name_is_taken_is_stored_beside_the_newcomer() {
    let world = World::with(|options| options.duplicates = Duplicates::SecondDocument);
    let daemon = world.watch(&SETTLE);
    world.put("report", "first");
    let aside = world.wait_for_staged("report");
    world.put("report", "newcomer");
    std::fs::write(&aside, "changed").unwrap();
    eventually("all three are stored", || world.sandbox().uploads().len() == 3);
    eventually("all are removed", || world.files_left().is_empty() && world.staged("report").is_none());
    assert_eq!(daemon.stop().code, Some(0));
    assert_nothing_left(&world);
}

#[test]
fn a_stored_file_that_is_opened_for_writing_but_not_changed_is_not_sent_again() {
    let world = World::new();
    let daemon = world.watch(&SETTLE);
    world.put("report", "content");
    let aside = world.wait_for_staged("report");
    let held = std::fs::File::options().append(true).open(&aside).unwrap();
    daemon.wait_for("to be uploaded again");
    drop(held);
    eventually("the file is removed", || world.files_left().is_empty() && world.staged("report").is_none());
    assert_eq!(daemon.stop().code, Some(0));
    assert_eq!(world.sandbox().uploads().len(), 1);
    assert_nothing_left(&world);
}

#[test]
fn a_folder_renamed_while_its_file_is_sent_leads_to_no_second_upload() {
    let world = World::new();
    let daemon = world.watch(&SETTLE);
    world.faults().add(Rule::new(Call::Upload, Fault::Delay { ms: 1500 }));
    world.put("before/report", "content");
    eventually("the store has it", || world.sandbox().uploads().len() == 1);
    std::fs::rename(world.watched().join("before"), world.watched().join("after")).unwrap();
    eventually("the file is removed", || world.files_left().is_empty());
    assert_eq!(daemon.stop().code, Some(0));
    assert_eq!(world.sandbox().uploads().len(), 1);
    assert_nothing_left(&world);
}

#[test]
fn a_file_pushed_while_watch_sends_it_is_stored_once() {
    let world = World::new();
    let daemon = world.watch(&SETTLE);
    world.faults().add(Rule::new(Call::Upload, Fault::Delay { ms: 1500 }));
    world.put("report", "content");
    eventually("the file is under way", || world.sandbox().stats().requests["upload"] == 1);
    world.run(["push", "--delete", "watched/report"]);
    eventually("the file is removed", || world.files_left().is_empty());
    assert_eq!(daemon.stop().code, Some(0));
    assert_eq!(world.sandbox().uploads().len(), 1);
    clean_run(&world, &SETTLE);
}

#[test]
fn after_a_folder_was_replaced_the_new_one_is_watched_and_the_old_one_is_left_whole() {
    let world = World::new();
    let daemon = world.watch(&SETTLE);
    world.faults().add(Rule::new(Call::Upload, Fault::Delay { ms: 1000 }));
    world.put("first", "first");
    eventually("the file is under way", || world.sandbox().uploads().len() == 1);
    let old = world.dir.path().join("old");
    std::fs::rename(world.watched(), &old).unwrap();
    std::fs::create_dir(world.watched()).unwrap();
    world.put("second", "second");
    eventually("the new folder's file is stored and removed", || world.files_left().is_empty());
    assert_eq!(world.stored("/HR_Backup/second").unwrap(), b"second");
    assert_eq!(world.times_stored("/HR_Backup/first"), 1);
    assert_eq!(daemon.stop().code, Some(0));
    assert_nothing_left(&world);
}

/// Otherwise each instance would take what the other one has staged for the leftovers of a crash.
#[test]
fn a_folder_replaced_by_one_that_another_instance_holds_is_left_to_that_one() {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    let world = World::new();
    let daemon = world.watch(&SETTLE);
    let held = world.dir.path().join("held");
    std::fs::create_dir(&held).unwrap();
    std::fs::write(held.join("report"), "content").unwrap();
    let locks = astran_backup::file::lock::Locks::open(&world.state().join("astran-backup")).unwrap();
    let other = astran_backup::file::Root::open(&held).unwrap().with_locks(&locks, true);
    assert!(other.lock().unwrap());
    renameat_with(CWD, &held, CWD, world.watched(), RenameFlags::EXCHANGE).unwrap();
    daemon.wait_for("another instance holds the folder");
    assert!(world.sandbox().uploads().is_empty());
    drop(other);
    eventually("the file is taken over", || world.files_left().is_empty());
    assert_eq!(daemon.stop().code, Some(0));
    assert_nothing_left(&world);
}

#[test]
fn a_refused_file_in_the_private_folder_is_tried_again_after_retry() {
    let world = World::with(|options| options.duplicates = Duplicates::SecondDocument);
    let config = world.dir.path().join("config.toml");
    std::fs::write(&config, "[upload]\nrescan = \"1s\"\nsettle = \"10ms\"\n").unwrap();
    std::fs::set_permissions(&config, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let mut command = world.command();
    let daemon = support::Daemon::start(command.args(["--config", "config.toml", "watch", "watched"]));
    daemon.wait_for("watching");
    world.put("report", "first");
    let aside = world.wait_for_staged("report");
    let refusal = Fault::Status { status: 422, retry_after: None, body: None, content_type: None, carried_out: false };
    world.faults().add(Rule::new(Call::Upload, refusal).always());
    world.put("report", "newcomer");
    std::fs::write(&aside, "changed").unwrap();
    eventually("both are refused", || world.sandbox().stats().requests["upload"] >= 3);
    assert!(world.staged("report").is_some());
    world.faults().clear();
    world.run(["retry"]);
    eventually("all three are stored", || world.sandbox().uploads().len() == 3);
    eventually("all are removed", || world.files_left().is_empty() && world.staged("report").is_none());
    assert_eq!(daemon.stop().code, Some(0));
    assert_nothing_left(&world);
}

/// Regression: a kept file was deleted because of its receipt, though its document had gone from the vault.
#[test]
fn a_kept_file_whose_document_is_gone_is_sent_again_before_it_is_removed() {
    let world = World::new();
    world.put("report", "the only copy");
    assert_eq!(world.once(&["--settle", "10ms", "--keep"]).code, Some(0));
    std::fs::remove_file(world.dir.path().join("vault/HR_Backup/report")).unwrap();
    assert_eq!(world.once(&["--settle", "10ms"]).code, Some(0));
    assert!(world.files_left().is_empty());
    assert_eq!(world.stored("/HR_Backup/report").unwrap(), b"the only copy");
}

/// Regression: each push took what the others were about to remove for the leftovers of a crash.
#[test]
fn pushes_side_by_side_in_one_folder_leave_each_other_alone() {
    let world = World::new();
    for number in 0..12 {
        world.put(format!("file-{number}"), format!("content {number}"));
    }
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let world = &world;
            scope.spawn(move || {
                for number in (worker..12).step_by(4) {
                    let output = world.run(["push", "--delete", &format!("watched/file-{number}")]);
                    assert_eq!(output.code, Some(0), "{output:?}");
                }
            });
        }
    });
    assert!(world.files_left().is_empty());
    assert_eq!(world.sandbox().uploads().len(), 12);
}

/// Regression: the second push abandoned the attempt of the first, whose receipt was refused then.
#[test]
fn two_pushes_of_standard_input_under_one_name_at_the_same_time_are_both_stored() {
    let world = World::new();
    world.faults().add(Rule::new(Call::Upload, Fault::Delay { ms: 3000 }));
    let push = |content: &'static str| {
        let world = &world;
        move || {
            let input = world.dir.path().join(content);
            std::fs::write(&input, content).unwrap();
            let mut command = world.command();
            command.args(["push", "-", "--name", "dump.sql"]).stdin(std::fs::File::open(input).unwrap());
            let output = support::run_to_end(&mut command);
            assert_eq!(output.code, Some(0), "{output:?}");
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(push("first"));
        eventually("the first one is under way", || world.sandbox().uploads().len() == 1);
        scope.spawn(push("second"));
    });
    assert_eq!(world.sandbox().uploads().len(), 2);
    assert_eq!(world.run(["history", "--json"]).stdout.matches("\"sha256\":\"").count(), 2);
}

/// Regression: the open entry of the upload kept the name for ever, since nothing would ask the store for it any more.
#[test]
fn a_file_deleted_while_its_upload_is_unknown_does_not_keep_its_name() {
    let world = World::new();
    let daemon = world.watch(&SETTLE);
    let down = Fault::Status { status: 503, retry_after: None, body: None, content_type: None, carried_out: false };
    world.faults().add(Rule::new(Call::Upload, down).always());
    let place = world.put("a/report", "deleted");
    daemon.wait_for("is in trouble");
    std::fs::remove_file(place).unwrap();
    world.put("b/report", "content");
    world.faults().clear();
    eventually("the file is stored and removed", || world.files_left().is_empty());
    assert_eq!(daemon.stop().code, Some(0));
    assert_eq!(world.stored("/HR_Backup/report").unwrap(), b"content");
    assert_nothing_left(&world);
}
