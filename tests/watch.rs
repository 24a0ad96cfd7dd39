//! `watch`: all ways into the folder lead into the vault, whole, once; nothing else does.
#![cfg(feature = "sandbox")]

mod support;

use std::time::Duration;

use support::{World, eventually, write_slowly};

#[test]
fn a_file_that_was_there_before_the_start_is_stored_and_removed() {
    let world = World::new();
    world.put("report.pdf", "content");
    let said = world.once(&[]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(world.stored("/HR_Backup/report.pdf").unwrap(), b"content");
    assert!(world.left().is_empty());
    assert_eq!(world.times_stored("/HR_Backup/report.pdf"), 1);
}

#[test]
fn a_writer_that_takes_a_second_for_10_000_bytes_ends_as_one_document_of_10_000_bytes() {
    let world = World::new();
    let daemon = world.watch(&[]);
    write_slowly(&world.watched().join("slow.bin"), 10, &[7; 1000], Duration::from_millis(100));
    daemon.wait_for("stored");
    eventually("it is removed", || world.left().is_empty());
    assert_eq!(world.stored("/HR_Backup/slow.bin").unwrap().len(), 10_000);
    assert_eq!(world.times_stored("/HR_Backup/slow.bin"), 1);
    assert_eq!(daemon.stop().code, Some(0));
}
