//! Before a file whose upload was abandoned is sent again, the store is asked; that question must not block anything.

use super::*;

#[test]
fn an_abandoned_file_that_was_stored_late_goes_under_its_new_name_after_a_rename() {
    let world = World::new();
    let place = world.put("a", "content");
    world.faults().add(Rule::new(Call::Upload, status(404)).times(1));
    assert_eq!(world.run(["push", "watched/a"]).code, Some(4));
    assert_eq!(world.run(["push", "watched/a"]).code, Some(0));
    std::fs::rename(&place, world.watched().join("b")).unwrap();
    assert_eq!(world.run(["push", "watched/b"]).code, Some(0));
    assert_eq!((world.times_stored("/HR_Backup/a"), world.times_stored("/HR_Backup/b")), (1, 1));
}

/// The login may upload to the destination, but not list it.
#[test]
fn an_abandoned_file_is_sent_where_the_store_forbids_to_look_for_it() {
    let world = World::new();
    world.put("report", "content");
    world.faults().add(Rule::new(Call::Upload, status(403)).times(1));
    assert_ne!(world.once(&SETTLE).code, Some(0));
    world.faults().add(Rule::new(Call::Filesystem, status(403)).named("report").always());
    let output = world.once(&SETTLE);
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    assert_sent(&world, &["content"]);
}

#[test]
fn a_stored_file_that_still_lies_set_aside_is_not_sent_again_though_its_receipt_was_pruned() {
    let world = World::new();
    let done = aside::block(&world, "Done");
    let arguments = ["--settle", "10ms", "--move-to", "Done"];
    let daemon = Daemon::start(world.command().args(["watch", "watched"]).args(arguments));
    daemon.wait_for("watching");
    world.put("sub/report", "first");
    aside::newcomer(&world);
    eventually("both are stored", || world.sandbox().uploads().len() == 2);
    assert_eq!(daemon.stop().code, Some(0));
    assert_eq!(world.run(["history", "--prune-before", "1ms"]).code, Some(0));
    aside::unblock(&done);
    let output = world.once(&arguments);
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    assert!(world.files_left().is_empty());
    assert_sent(&world, &["first", "newcomer"]);
}
