//! Whatever is changed in the journal, its state or its anchors shows.

use rusqlite::Connection;

use crate::common::{anchors, heads, journal, run, upload};
use crate::forger::{altered, fate_altered, newest_cut, oldest_cut, one_removed, rebuild_fates};
use crate::support::World;

type Attack = fn(&Connection);

/// Regression: none of these changes showed anywhere, so that receipts could be removed or altered unnoticed.
#[test]
fn a_change_of_the_journal_shows_though_its_chains_look_whole() {
    let attacks: [(&str, Attack, bool); 5] = [
        ("the newest cut off", newest_cut, true),
        ("the oldest cut off and called pruned", oldest_cut, false),
        ("one altered and all after it hashed anew", altered, true),
        ("one removed and the rest renumbered", one_removed, true),
        ("the fate of a local file altered", fate_altered, true),
    ];
    let world = World::new();
    upload(&world, &["1", "2", "3", "4", "5"]);
    assert_eq!(anchors(&world).len(), 1);
    let [receipts, fates] = heads(&world);
    let place = world.state().join("astran-backup/journal.sqlite");
    let kept = world.dir.path().join("kept.sqlite");
    journal(&world).execute("VACUUM INTO ?1", [kept.to_str().unwrap()]).unwrap();
    for (what, attack, looks_whole) in attacks {
        std::fs::remove_file(place.with_extension("sqlite-wal")).ok();
        std::fs::remove_file(place.with_extension("sqlite-shm")).ok();
        std::fs::copy(&kept, &place).unwrap();
        let fine = run(&world, &["history", "--check"]);
        assert!(fine.code == Some(0) && fine.stdout.contains("is as it was"), "{fine:?}");
        attack(&journal(&world));
        let local = world.run(["history", "--check"]);
        assert_eq!(local.code, Some(i32::from(!looks_whole)), "{what}: {local:?}");
        let checked = run(&world, &["history", "--check"]);
        assert!(checked.code == Some(1) && checked.stdout.contains("BROKEN"), "{what}: {checked:?}");
        if looks_whole {
            assert!(checked.stdout.contains("BROKEN /HR_Backup/astran-backup-anchor-"), "{what}: {checked:?}");
        }
        let head = if what.contains("fate") { &fates } else { &receipts };
        let against = world.run(["history", "--check", "--against", head]);
        assert!(against.code == Some(1) && against.stdout.contains("BROKEN"), "{what}: {against:?}");
    }
}

#[test]
fn a_deleted_state_or_an_exchanged_key_shows() {
    for (what, whole) in [("the state", true), ("the key", false)] {
        let world = World::new();
        upload(&world, &["1", "2"]);
        let [receipts, _] = heads(&world);
        let state = world.state().join("astran-backup");
        if whole {
            std::fs::remove_dir_all(&state).unwrap();
        } else {
            std::fs::remove_file(state.join("anchor.key")).unwrap();
        }
        let checked = run(&world, &["history", "--check"]);
        assert!(checked.code == Some(1) && checked.stdout.contains("by another key"), "{what}: {checked:?}");
        let against = world.run(["history", "--check", "--against", &receipts]);
        assert_eq!(against.code, Some(i32::from(whole)), "{what}: {against:?}");
        // Anchors that are put later do not cover it.
        upload(&world, &["3"]);
        assert_eq!(run(&world, &["history", "anchor"]).code, Some(0));
        assert_eq!(run(&world, &["history", "--check"]).code, Some(1), "{what}");
    }
}

/// A day's anchors are versions of one document, and a changed journal must not put a new version over the proof.
#[test]
fn an_anchor_that_contradicts_the_journal_is_not_overwritten() {
    let world = World::new();
    upload(&world, &["1", "2", "3", "4", "5"]);
    newest_cut(&journal(&world));
    upload(&world, &["6", "7", "8"]);
    let output = run(&world, &["history", "anchor"]);
    assert!(output.code == Some(0) && output.stderr.contains("see history --check"), "{output:?}");
    let checked = run(&world, &["history", "--check"]);
    assert!(checked.code == Some(1) && checked.stdout.contains("BROKEN /HR_Backup/"), "{checked:?}");
}

#[test]
fn a_removed_anchor_shows_and_another_journals_anchor_does_not_disturb() {
    let world = World::new();
    upload(&world, &["1"]);
    let vault = world.dir.path().join("vault");
    std::fs::write(vault.join("HR_Backup/astran-backup-anchor-of-nobody.json"), "{}").unwrap();
    assert_eq!(run(&world, &["history", "--check"]).code, Some(0));
    std::fs::remove_file(vault.join(anchors(&world)[0].trim_start_matches('/'))).unwrap();
    let checked = run(&world, &["history", "--check"]);
    assert!(checked.code == Some(1) && checked.stdout.contains("is gone"), "{checked:?}");
}

/// Regression: only the receipts' numbers were compared, so that an older version of an anchor passed for the newest.
#[test]
fn an_anchor_replaced_by_its_older_version_shows() {
    let world = World::new();
    upload(&world, &["1", "2"]);
    let document = world.dir.path().join("vault").join(anchors(&world)[0].trim_start_matches('/'));
    let older = std::fs::read(&document).unwrap();
    let one_more = "INSERT INTO fate SELECT 3, receipt, state, detail, at, hash FROM fate WHERE seq = 1";
    journal(&world).execute_batch(one_more).unwrap();
    rebuild_fates(&journal(&world));
    assert_eq!(run(&world, &["history", "anchor"]).code, Some(0));
    let fine = run(&world, &["history", "--check"]);
    assert_eq!(fine.code, Some(0), "{fine:?}");
    std::fs::write(&document, older).unwrap();
    let checked = run(&world, &["history", "--check"]);
    assert!(checked.code == Some(1) && checked.stdout.contains("is gone"), "{checked:?}");
}
