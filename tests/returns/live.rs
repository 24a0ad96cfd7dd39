//! Files that are renamed while the daemon runs: the answer to their upload is lost, and the store can't be asked for a while.

use super::*;
use crate::support::proof::clean_run;

const FIRST: &str = "first-of-all";

/// A daemon that has lost the answer to the upload of this file, and waits for a store that can't be asked.
fn asking_in_vain(world: &World, relative: &str, arguments: &[&str]) -> Daemon {
    let daemon = world.watch_quick(arguments);
    eventually("the first one is gone", || world.files_left().is_empty());
    world.faults().add(Rule::new(Call::Upload, Fault::CutAfter).times(1));
    for call in [Call::Filesystem, Call::Children, Call::Content] {
        world.faults().add(Rule::new(call, status(503)).always());
    }
    world.put(relative, "content");
    daemon.wait_for("in trouble");
    assert_sent(world, &[FIRST, "content"]);
    daemon
}

/// Ends the trouble: the store can be asked again. Then all must be stored once.
fn end_of_trouble(world: &World, daemon: Daemon) {
    world.faults().clear();
    daemon.signal("-HUP");
    eventually("the folder is empty", || world.files_left().is_empty());
    assert_eq!(daemon.stop().code, Some(0));
    clean_run(world, &SETTLE);
    assert_sent(world, &[FIRST, "content", "newcomer"]);
}

#[test]
fn a_file_renamed_while_its_answer_is_lost_is_not_sent_again() {
    for arguments in [&["--transfers", "1"][..], &[]] {
        let world = World::new();
        let daemon = asking_in_vain(&world, "report", arguments);
        std::fs::rename(world.watched().join("report"), world.watched().join("zzz")).unwrap();
        world.put("report", "newcomer");
        end_of_trouble(&world, daemon);
    }
}

#[test]
fn a_file_in_a_folder_renamed_while_its_answer_is_lost_is_not_sent_again() {
    for arguments in [&["--transfers", "1"][..], &[]] {
        let world = World::new();
        let daemon = asking_in_vain(&world, "a/report", arguments);
        world.put("b/report", "newcomer");
        std::fs::rename(world.watched().join("a"), world.watched().join("c")).unwrap();
        end_of_trouble(&world, daemon);
    }
}

/// Regression: the entry of the old path stayed open until the start after the one that removed the file.
#[test]
fn a_file_that_is_changed_and_renamed_while_its_answer_is_lost_leaves_no_open_entry() {
    let world = World::new();
    let daemon = asking_in_vain(&world, "report", &[]);
    let place = world.watched().join("renamed");
    std::fs::rename(world.watched().join("report"), &place).unwrap();
    std::fs::write(&place, "changed content").unwrap();
    world.faults().clear();
    daemon.signal("-HUP");
    eventually("the folder is empty", || world.files_left().is_empty());
    assert_eq!(daemon.stop().code, Some(0));
    let open = journal(&world).query_row("SELECT count(*) FROM attempt WHERE state = 0", [], |row| row.get(0));
    assert_eq!(open, Ok(0));
    assert_sent(&world, &[FIRST, "content", "changed content"]);
}
