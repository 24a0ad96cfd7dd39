//! Which path owns a name in the vault after a file was found there under another path.

use super::*;
use crate::support::proof::clean_run;

/// Regression: the renamed file kept the name of its old path for ever, and each new file there was a "conflict".
#[test]
fn newcomers_at_the_old_path_of_a_renamed_file_get_its_name() {
    let world = World::new();
    let place = answer_lost(&world, "report");
    std::fs::rename(&place, world.watched().join("report.1")).unwrap();
    clean_run(&world, &SETTLE);
    assert_sent(&world, &["content"]);
    for day in ["one", "two", "three"] {
        world.put("report", day);
        clean_run(&world, &SETTLE);
        assert_eq!(world.stored("/HR_Backup/report").unwrap(), day.as_bytes());
    }
    assert_sent(&world, &["content", "one", "two", "three"]);
    assert_eq!(world.times_stored("/HR_Backup/report"), 4, "{}", world.run(["history"]).stdout);
}

/// Regression: the first of two hard links was taken for the second one, moved.
#[test]
fn both_names_of_one_file_are_in_the_vault_though_the_answer_to_one_was_lost() {
    for (sent, other) in [("b", "a"), ("a", "b")] {
        for arguments in [&ONE_BY_ONE[..], &SETTLE] {
            let world = World::new();
            let place = answer_lost(&world, sent);
            std::fs::hard_link(&place, world.watched().join(other)).unwrap();
            clean_run(&world, arguments);
            for name in ["a", "b"] {
                assert_eq!(world.times_stored(&format!("/HR_Backup/{name}")), 1, "{name}, after {sent} was sent");
                assert_eq!(world.stored(&format!("/HR_Backup/{name}")).unwrap(), b"content");
            }
        }
    }
}
