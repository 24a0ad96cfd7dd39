//! Entries whose file will never come for them: they are ended, and nothing waits for them.

use std::os::unix::fs::MetadataExt;

use super::*;
use crate::support::proof::clean_run;
use crate::support::run_to_end;

/// A file system gives the number of a file that is gone to the next one. Not each does so at once: here the journal is told the
/// next one's number.
#[test]
fn an_open_entry_of_a_file_that_is_gone_is_ended_though_something_else_has_its_inode_number() {
    for folder in [true, false] {
        let world = World::new();
        world.faults().add(Rule::new(Call::Upload, Fault::Stall { ms: NEVER }));
        let daemon = world.watch(&SETTLE);
        let place = world.put("report", "content");
        eventually("it is under way", || world.sandbox().stats().requests["upload"] == 1);
        daemon.kill();
        std::fs::remove_file(place).unwrap();
        let next = world.watched().join("next");
        if folder {
            std::fs::create_dir(&next).unwrap();
        } else {
            drop(world.put("next", "another document"));
        }
        let inode = std::fs::metadata(&next).unwrap().ino().cast_signed();
        let told = journal(&world).execute("UPDATE attempt SET inode = ?1 WHERE state = 0", [inode]);
        assert_eq!(told.unwrap(), 1);
        clean_run(&world, &SETTLE);
        assert_sent(&world, if folder { &[] } else { &["another document"] });
    }
}

/// Standard input, pushed under this name.
fn push_input<'a>(world: &World, command: &'a mut Command, content: &str) -> &'a mut Command {
    let input = world.dir.path().join("input");
    std::fs::write(&input, content).unwrap();
    command.args(["push", "-", "--name", "dump"]).stdin(std::fs::File::open(input).unwrap())
}

/// Some receipts are forgotten, and the rest can be checked.
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
        // As a kill leaves the first one: the receipt is written, and that the file was kept is not.
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

/// A file in a sub-folder that could not be sent at all, for its name was taken; killed before that was written down.
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

/// The file is sent by one run; its older entry is ended by that one or by the next.
#[track_caller]
fn sent_and_ended(world: &World) {
    let output = world.once(&SETTLE);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(world.files_left().is_empty());
    clean_run(world, &SETTLE);
}

/// Its entry was asked for at the store, where nothing can have such a name.
#[test]
fn a_file_that_could_not_be_sent_at_all_and_whose_refusal_was_cut_short_is_sent_when_it_can_be() {
    let world = interrupted_refusal();
    sent_and_ended(&world);
    assert_sent(&world, &["one", "other"]);
}

#[test]
fn a_file_that_can_not_be_sent_at_all_and_whose_refusal_was_cut_short_is_told_why_and_sent_after_a_retry() {
    let world = interrupted_refusal();
    let output = world.once(&[SETTLE[0], SETTLE[1], "--on-conflict", "fail"]);
    assert!(output.stdout.contains("there is a document of other content"), "{output:?}");
    let failed = world.run(["history", "--failed", "--json"]).stdout;
    assert_eq!(failed.lines().count(), 1, "{failed}");
    assert!(world.run(["retry"]).stdout.starts_with("1 failed file"));
    sent_and_ended(&world);
    assert_sent(&world, &["one", "other"]);
}
