//! Open entries whose file will never come back: they are ended, and nothing waits for them.

use std::os::unix::fs::MetadataExt;

use super::*;
use crate::support::proof::clean_run;
use crate::support::run_to_end;

/// File systems give the inode number of a deleted file to a new one, but not always at once: so this test writes the number of the
/// new file into the journal.
#[test]
fn an_open_entry_of_a_deleted_file_is_ended_though_another_file_has_its_inode_number() {
    for folder in [true, false] {
        let world = World::new();
        world.faults().add(Rule::new(Call::Upload, Fault::Stall { ms: NEVER }));
        let daemon = world.watch(&SETTLE);
        let place = world.put("report", "content");
        eventually("the file is under way", || world.sandbox().stats().requests["upload"] == 1);
        daemon.kill();
        std::fs::remove_file(place).unwrap();
        let next = world.watched().join("next");
        if folder {
            std::fs::create_dir(&next).unwrap();
        } else {
            drop(world.put("next", "another document"));
        }
        let inode = std::fs::metadata(&next).unwrap().ino().cast_signed();
        let updated = journal(&world).execute("UPDATE attempt SET inode = ?1 WHERE state = 0", [inode]);
        assert_eq!(updated.unwrap(), 1);
        clean_run(&world, &SETTLE);
        assert_sent(&world, if folder { &[] } else { &["another document"] });
    }
}

/// Pushes standard input under this name.
fn push_input<'a>(world: &World, command: &'a mut Command, content: &str) -> &'a mut Command {
    let input = world.dir.path().join("input");
    std::fs::write(&input, content).unwrap();
    command.args(["push", "-", "--name", "dump"]).stdin(std::fs::File::open(input).unwrap())
}

/// Asserts that some receipts can be pruned, and the rest can be checked.
#[track_caller]
fn assert_prunes(world: &World) {
    let pruned = world.run(["history", "--prune-before", "1ms"]);
    assert_eq!(pruned.code, Some(0), "{pruned:?}");
    let history = world.run(["history"]).stdout;
    assert!(!pruned.stdout.starts_with("0 "), "{}{history}", pruned.stdout);
    assert_eq!(world.run(["history", "--check"]).code, Some(0));
}

#[test]
fn a_killed_push_of_standard_input_does_not_keep_all_later_receipts_from_being_pruned() {
    let world = World::new();
    killed_unanswered(&world, push_input(&world, &mut world.command(), "first"));
    for content in ["second", "third"] {
        let output = run_to_end(push_input(&world, &mut world.command(), content));
        assert_eq!(output.code, Some(0), "{output:?}");
    }
    assert_prunes(&world);
}

#[test]
fn a_push_killed_between_receipt_and_end_does_not_keep_all_later_receipts_from_being_pruned() {
    let world = World::new();
    for content in ["first", "second"] {
        world.put("report", content);
        assert_eq!(world.run(["push", "watched/report"]).code, Some(0));
        // As a kill leaves the first file: its receipt is written, but not that the file was kept.
        if content == "first" {
            let undone = journal(&world).execute("UPDATE attempt SET state = 1, detail = NULL", []);
            assert_eq!(undone.unwrap(), 1);
            let unwritten = "DELETE FROM fate; UPDATE mark SET seq = 0, hash = zeroblob(32) WHERE kind = 3;";
            journal(&world).execute_batch(unwritten).unwrap();
        }
    }
    assert_sent(&world, &["first", "second"]);
    assert_prunes(&world);
}

/// A file in a sub-folder that could not be sent because its name was taken; the program was killed before it wrote that down.
fn interrupted_refusal() -> World {
    let world = World::new();
    world.put("report", "one");
    clean_run(&world, &SETTLE);
    world.put("sub/report", "other");
    assert_eq!(world.once(&[SETTLE[0], SETTLE[1], "--on-conflict", "fail"]).code, Some(1));
    let undone = journal(&world).execute("UPDATE attempt SET state = 0, detail = NULL WHERE state = 2", []);
    assert_eq!(undone.unwrap(), 1);
    world
}

/// One run sends the file; that run or the next ends the older entry.
#[track_caller]
fn sent_and_ended(world: &World) {
    let output = world.once(&SETTLE);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(world.files_left().is_empty());
    clean_run(world, &SETTLE);
}

/// Regression: the store was asked for the entry, though no document can have such a name.
#[test]
fn an_unsendable_file_whose_refusal_was_cut_short_is_sent_once_it_can_be() {
    let world = interrupted_refusal();
    sent_and_ended(&world);
    assert_sent(&world, &["one", "other"]);
}

#[test]
fn an_unsendable_file_whose_refusal_was_cut_short_is_reported_and_sent_after_retry() {
    let world = interrupted_refusal();
    let output = world.once(&[SETTLE[0], SETTLE[1], "--on-conflict", "fail"]);
    assert!(output.stdout.contains("there is a document of other content"), "{output:?}");
    let failed = world.attempts(&["--failed"]);
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert!(world.run(["retry"]).stdout.starts_with("1 failed file"));
    sent_and_ended(&world);
    assert_sent(&world, &["one", "other"]);
}
