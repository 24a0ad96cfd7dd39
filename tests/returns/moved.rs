//! Files renamed after a crash, with new files at their old paths: the store is asked for each by the name under which it was sent.

use super::*;
use crate::support::proof::clean_run;

/// As log files are rotated. Regression: the upload of the new file ended the entry of the file that had its path before.
#[test]
fn a_file_renamed_after_a_crash_is_not_sent_again_though_its_path_is_taken() {
    // Before and after the new file in the order of names.
    for to in ["aaa", "zzz"] {
        for arguments in [&ONE_BY_ONE[..], &SETTLE] {
            let world = World::new();
            let place = answer_lost(&world, "report");
            std::fs::rename(&place, world.watched().join(to)).unwrap();
            world.put("report", "newcomer");
            clean_run(&world, arguments);
            assert_sent(&world, &["content", "newcomer"]);
        }
    }
}

/// Regression: a file that wanted the same name in the vault took the owner of the name for gone.
#[test]
fn a_file_in_a_folder_renamed_after_a_crash_is_not_sent_again() {
    for to in ["a2", "c"] {
        for arguments in [&ONE_BY_ONE[..], &SETTLE] {
            let world = World::new();
            answer_lost(&world, "a/report");
            std::fs::rename(world.watched().join("a"), world.watched().join(to)).unwrap();
            world.put("b/report", "newcomer");
            clean_run(&world, arguments);
            assert_sent(&world, &["content", "newcomer"]);
        }
    }
}

/// Regression: the older entry of the path, which had ended without a receipt, hid the open entry under the other path.
#[test]
fn a_file_that_was_renamed_and_renamed_back_is_not_sent_again_if_the_store_has_it() {
    let world = World::new();
    let (place, renamed) = (world.put("report", "content"), world.watched().join("renamed"));
    // The store says that the destination is missing, so the first attempt is abandoned.
    world.faults().add(Rule::new(Call::Upload, status(404)).times(1));
    assert_eq!(world.once(&SETTLE).code, Some(4));
    std::fs::rename(&place, &renamed).unwrap();
    killed_unanswered(&world, world.command().args(["watch", "watched"]).args(SETTLE));
    std::fs::rename(&renamed, &place).unwrap();
    clean_run(&world, &SETTLE);
    assert_sent(&world, &["content"]);
}

/// Regression: the entry of the upload that was cut off stayed open until the start after the one that removed the file.
#[test]
fn a_kept_file_whose_upload_under_another_path_was_cut_off_leaves_no_open_entry() {
    let world = World::new();
    let (place, renamed) = (world.put("report", "content"), world.watched().join("renamed"));
    assert_eq!(world.once(&[SETTLE[0], SETTLE[1], "--keep"]).code, Some(0));
    std::fs::rename(&place, &renamed).unwrap();
    killed_unanswered(&world, world.command().args(["watch", "watched", "--keep"]).args(SETTLE));
    std::fs::rename(&renamed, &place).unwrap();
    clean_run(&world, &SETTLE);
    // Once for each name.
    assert_sent(&world, &["content", "content"]);
}
