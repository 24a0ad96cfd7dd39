//! Files that were kept and are to be removed after all, when their receipts are pruned already.

use super::*;
use crate::support::proof::clean_run;

/// A file that was stored and kept, and whose receipt is pruned; the journal still knows that it was kept.
fn kept_without_receipt() -> World {
    let world = World::new();
    world.put("report", "content");
    let keep = [SETTLE[0], SETTLE[1], "--keep"];
    assert_eq!(world.once(&keep).code, Some(0));
    let output = world.run(["history", "--prune-before", "1ms"]);
    assert!(output.stdout.starts_with("1 receipt forgotten"), "{output:?}");
    assert_eq!(world.once(&keep).code, Some(0));
    assert_sent(&world, &["content"]);
    assert_eq!(world.files_left().len(), 1);
    world
}

#[test]
fn a_kept_file_whose_receipt_was_pruned_is_removed_without_upload_if_the_store_has_it() {
    let world = kept_without_receipt();
    clean_run(&world, &SETTLE);
    assert_sent(&world, &["content"]);
    assert_eq!(world.stored("/HR_Backup/report").unwrap(), b"content");
}

#[test]
fn a_kept_file_whose_receipt_was_pruned_is_sent_again_before_removal_if_the_store_lacks_it() {
    for now in [None, Some("changed")] {
        let world = kept_without_receipt();
        let document = world.dir.path().join("vault/HR_Backup/report");
        match now {
            None => std::fs::remove_file(document).unwrap(),
            Some(other) => std::fs::write(document, other).unwrap(),
        }
        clean_run(&world, &SETTLE);
        assert_sent(&world, &["content", "content"]);
        assert_eq!(world.stored("/HR_Backup/report").unwrap(), b"content");
    }
}
