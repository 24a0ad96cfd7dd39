//! The chain of receipts shows every change; what pruning leaves can still be checked.

use std::path::Path;
use std::time::{Duration, SystemTime};

use astran_backup::journal::{Begun, CheckReport, DefectKind, End, Journal, LocalEnd, State, Stored};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use rusqlite::params;
use rusqlite::types::Value;

use crate::support::{abandoned, failed, fresh, go, intent, latest, raw, receipt, store};

/// Fields of the receipt with the number ?1: table, column and condition.
const FIELDS: &[(&str, &str, &str)] = &[
    ("receipt", "sha256", "seq = ?1"),
    ("receipt", "size", "seq = ?1"),
    ("receipt", "document", "seq = ?1"),
    ("receipt", "document_version", "seq = ?1"),
    ("receipt", "adopted", "seq = ?1"),
    ("receipt", "stored", "seq = ?1"),
    ("receipt", "prev", "seq = ?1"),
    ("receipt", "hash", "seq = ?1"),
    ("receipt", "attempt", "seq = ?1"),
    ("term", "value", "id = (SELECT user FROM receipt WHERE seq = ?1)"),
    ("attempt", "relative", "seq = ?1"),
    ("attempt", "device", "seq = ?1"),
    ("attempt", "inode", "seq = ?1"),
    ("attempt", "size", "seq = ?1"),
    ("attempt", "mtime", "seq = ?1"),
    ("attempt", "ctime", "seq = ?1"),
    ("attempt", "name", "seq = ?1"),
    ("attempt", "started", "seq = ?1"),
    ("attempt", "dest", "seq = ?1"),
    ("attempt", "folder", "seq = ?1"),
    ("attempt", "root", "seq = ?1"),
    ("mark", "hash", "kind = 1 AND ?1 = ?1"),
];

fn first(report: &CheckReport) -> (i64, DefectKind) {
    let defect = report.defects.first().unwrap_or_else(|| panic!("not found: {report:?}"));
    (defect.first, defect.kind)
}

/// Flips one bit of one byte; text stays text.
fn flipped(value: Value, at: usize) -> Value {
    let flip = |mut bytes: Vec<u8>| {
        let at = at % bytes.len();
        bytes[at] ^= 0x10;
        bytes
    };
    match value {
        Value::Integer(number) => {
            let mut bytes = number.to_be_bytes();
            bytes[at % 8] ^= 0x10;
            Value::Integer(i64::from_be_bytes(bytes))
        }
        Value::Text(text) => Value::Text(String::from_utf8(flip(text.into_bytes())).unwrap()),
        Value::Blob(bytes) => Value::Blob(flip(bytes)),
        other => panic!("{other:?}"),
    }
}

fn alter(state: &Path, (table, column, find): (&str, &str, &str), seq: i64, at: usize) {
    let connection = raw(state);
    let value: Value =
        connection.query_row(&format!("SELECT {column} FROM {table} WHERE {find}"), [seq], |row| row.get(0)).unwrap();
    let sql = format!("UPDATE {table} SET {column} = ?2 WHERE {find}");
    assert_eq!(connection.execute(&sql, params![seq, flipped(value, at)]).unwrap(), 1);
}

/// Each receipt by its own user, so that a user's name belongs to one receipt.
async fn five(journal: &Journal) {
    for number in 0..5 {
        let name = format!("file-{number}");
        let id = go(journal, intent(&name, &name)).await;
        journal.stored(id, Stored { user: name.clone(), ..receipt(&name) }).await.unwrap();
        journal.end(id, End::Local(LocalEnd::Removed)).await.unwrap();
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 32,
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_byte_altered_anywhere_shows_at_its_receipt(
        field in proptest::sample::select(FIELDS),
        seq in 1_i64..=5,
        at in 0_usize..64,
    ) {
        runtime().block_on(async {
            let (_dir, state, journal) = fresh();
            five(&journal).await;
            alter(&state, field, seq, at);
            let wanted = if field.0 == "mark" { (5, DefectKind::Head) } else { (seq, DefectKind::Altered) };
            assert_eq!(first(&journal.check().await.unwrap()), wanted);
        });
    }

    #[test]
    fn a_receipt_removed_or_two_exchanged_shows_there(one in 1_i64..=5, other in 1_i64..=5) {
        runtime().block_on(async {
            let (_dir, state, journal) = fresh();
            five(&journal).await;
            let connection = raw(&state);
            if one == other {
                connection.execute("DELETE FROM receipt WHERE seq = ?1", [one]).unwrap();
                assert_eq!(first(&journal.check().await.unwrap()), (one, DefectKind::Missing));
                return;
            }
            for table in ["receipt", "attempt"] {
                for (from, to) in [(one, -1), (other, one), (-1, other)] {
                    connection.execute(&format!("UPDATE {table} SET seq = ?2 WHERE seq = ?1"), [from, to]).unwrap();
                }
            }
            let report = journal.check().await.unwrap();
            assert_eq!(first(&report), (one.min(other), DefectKind::Altered));
            assert!(report.defects.iter().any(|defect| defect.first == one.max(other)));
        });
    }

    #[test]
    fn the_chain_is_whole_after_any_steps(steps in proptest::collection::vec((0_u8..8, 0_usize..4), 1..40)) {
        runtime().block_on(async {
            let (_dir, state, mut journal) = fresh();
            let mut ids = vec![go(&journal, intent("0", "0")).await];
            for (what, file) in steps {
                let id = ids[file % ids.len()];
                let name = file.to_string();
                // Some steps are refused, as they should be; whatever the answer, the chain has to hold.
                let _answer = match what {
                    0 | 1 => journal.begin(intent(&name, &name)).await.map(|begun| match begun {
                        Begun::Go(id) => ids.push(id),
                        Begun::NameTaken(_) => (),
                    }),
                    2 | 3 => journal.stored(id, receipt(&name)).await.map(drop),
                    4 => journal.end(id, End::Local(LocalEnd::Removed)).await,
                    5 => journal.end(id, failed()).await,
                    6 => journal.prune(SystemTime::now()).await.map(drop),
                    _ => {
                        drop(journal);
                        journal = Journal::open(&state).unwrap();
                        Ok(())
                    }
                };
            }
            let report = journal.check().await.unwrap();
            assert!(report.is_whole(), "{report:?}");
        });
    }
}

#[tokio::test]
async fn receipts_cut_off_or_inserted_show() {
    let (_dir, state, journal) = fresh();
    five(&journal).await;
    raw(&state).execute_batch("DELETE FROM receipt WHERE seq >= 4").unwrap();
    let report = journal.check().await.unwrap();
    assert_eq!((report.defects[0].first, report.defects[0].last, report.defects[0].kind), (4, 5, DefectKind::Missing));

    let (_dir, state, journal) = fresh();
    five(&journal).await;
    let insert = "INSERT INTO receipt SELECT 6, attempt, sha256, size, document, document_version, user, adopted, \
         stored, hash, hash FROM receipt WHERE seq = 5";
    raw(&state).execute_batch(insert).unwrap();
    assert_eq!(first(&journal.check().await.unwrap()), (6, DefectKind::Outside));

    let (_dir, state, journal) = fresh();
    five(&journal).await;
    go(&journal, intent("forged", "forged")).await;
    raw(&state).execute_batch("UPDATE attempt SET seq = 2 WHERE name = 'forged'").unwrap();
    assert_eq!(first(&journal.check().await.unwrap()), (2, DefectKind::Claimed));
}

#[tokio::test]
async fn pruning_leaves_a_chain_that_can_be_checked() {
    let (_dir, _state, journal) = fresh();
    store(&journal, "1").await;
    let kept = go(&journal, intent("kept", "kept")).await;
    journal.stored(kept, receipt("kept")).await.unwrap();
    journal.end(kept, End::Local(LocalEnd::Kept)).await.unwrap();
    let waiting = go(&journal, intent("waiting", "waiting")).await;
    journal.stored(waiting, receipt("w")).await.unwrap();
    store(&journal, "4").await;

    assert_eq!(journal.prune(SystemTime::UNIX_EPOCH).await.unwrap(), 0);
    let now = SystemTime::now() + Duration::from_secs(1);
    assert_eq!(journal.prune(now).await.unwrap(), 2, "up to the one that waits");
    let report = journal.check().await.unwrap();
    assert!(report.is_whole() && report.receipts == 2 && report.pruned.seq == 2, "{report:?}");
    assert!(report.pruned.at.is_some());
    assert!(latest(&journal, "1").await.is_none());
    let entry = latest(&journal, "kept").await.unwrap();
    assert_eq!(
        (entry.state, entry.stored),
        (State::Ended(End::Local(LocalEnd::Kept)), None),
        "not to be uploaded again"
    );

    journal.end(waiting, End::Local(LocalEnd::Removed)).await.unwrap();
    assert_eq!(journal.prune(now).await.unwrap(), 2);
    let next = store(&journal, "5").await;
    let report = journal.check().await.unwrap();
    assert!(report.is_whole() && report.head.seq == 5, "{report:?}");
    assert!(next.0 > 4, "a number never comes again");
}

#[tokio::test]
async fn pruning_forgets_no_file_that_waits_has_failed_or_is_kept() {
    let (_dir, _state, journal) = fresh();
    go(&journal, intent("open", "open")).await;
    for (name, end) in [("failed", failed()), ("abandoned", abandoned())] {
        let id = go(&journal, intent(name, name)).await;
        journal.end(id, end).await.unwrap();
    }
    go(&journal, intent("newest", "newest")).await;
    journal.prune(SystemTime::now() + Duration::from_secs(1)).await.unwrap();
    assert_eq!(latest(&journal, "open").await.unwrap().state, State::Open);
    assert_eq!(latest(&journal, "failed").await.unwrap().state, State::Ended(failed()));
    assert!(latest(&journal, "abandoned").await.is_none());
}

/// Pruning would remove what shows the damage.
#[tokio::test]
async fn a_broken_chain_is_not_pruned() {
    for damaged in [false, true] {
        let (_dir, state, journal) = fresh();
        five(&journal).await;
        if damaged {
            raw(&state).execute("UPDATE receipt SET size = 1 WHERE seq = 2", []).unwrap();
        }
        astran_backup::retention::prune(&journal, Duration::ZERO).await;
        assert_eq!(journal.check().await.unwrap().receipts, if damaged { 5 } else { 0 });
    }
}

/// What became of a local file is hashed too, in a chain of its own.
#[tokio::test]
async fn a_local_end_altered_removed_or_inserted_shows_there() {
    let rows = [
        ("UPDATE attempt SET state = 5 WHERE seq = 2", (2, DefectKind::LocalEnd)),
        ("UPDATE attempt SET detail = x'41' WHERE seq = 3", (3, DefectKind::LocalEnd)),
        ("UPDATE fate SET state = 5 WHERE seq = 2", (2, DefectKind::LocalEndAltered)),
        ("UPDATE fate SET at = at + 1 WHERE seq = 4", (4, DefectKind::LocalEndAltered)),
        ("UPDATE fate SET receipt = 1 WHERE seq = 5", (5, DefectKind::LocalEndAltered)),
        ("DELETE FROM fate WHERE seq = 3", (3, DefectKind::LocalEndMissing)),
        ("DELETE FROM fate WHERE seq = 5", (5, DefectKind::LocalEndMissing)),
        (
            "INSERT INTO fate SELECT 6, receipt, state, detail, at, hash FROM fate WHERE seq = 5",
            (6, DefectKind::LocalEndOutside),
        ),
        ("UPDATE mark SET hash = zeroblob(32) WHERE kind = 3", (5, DefectKind::LocalEndHead)),
        ("UPDATE mark SET seq = 5 WHERE kind = 4", (1, DefectKind::LocalEndAltered)),
    ];
    for (sql, wanted) in rows {
        let (_dir, state, journal) = fresh();
        five(&journal).await;
        assert!(journal.check().await.unwrap().is_whole());
        raw(&state).execute_batch(sql).unwrap();
        let report = journal.check().await.unwrap();
        let found = report.defects.iter().any(|defect| (defect.first, defect.kind) == wanted);
        assert!(found, "{sql}: {report:?}");
    }
}

/// Without the key an attacker can't cut the oldest receipts off and call them pruned, nor move the cut of a real pruning.
#[tokio::test]
async fn a_cut_that_the_key_did_not_sign_is_no_pruning() {
    let cut = "UPDATE mark SET seq = 3, hash = (SELECT hash FROM receipt WHERE seq = 3) WHERE kind = 0; \
         DELETE FROM attempt WHERE seq <= 3; DELETE FROM receipt WHERE seq <= 3; \
         UPDATE mark SET seq = 3, hash = (SELECT hash FROM fate WHERE seq = 3) WHERE kind = 2; DELETE FROM fate WHERE seq <= 3;";
    for pruned in [false, true] {
        let (_dir, state, journal) = fresh();
        store(&journal, "1").await;
        if pruned {
            journal.prune(SystemTime::now() + Duration::from_secs(1)).await.unwrap();
        }
        for name in ["2", "3", "4", "5"] {
            store(&journal, name).await;
        }
        assert!(journal.check().await.unwrap().is_whole());
        raw(&state).execute_batch(cut).unwrap();
        assert_eq!(first(&journal.check().await.unwrap()), (3, DefectKind::Cut));
    }
}

/// Regression: a journal that looked like version 3 was brought to version 4, and its forged cut was signed as a pruning.
#[tokio::test]
async fn a_journal_that_pretends_to_be_older_hides_no_cut() {
    let (_dir, state, journal) = fresh();
    for name in ["a", "b", "c"] {
        store(&journal, name).await;
    }
    drop(journal);
    let cut = "UPDATE mark SET seq = 2, hash = (SELECT hash FROM receipt WHERE seq = 2), at = 1 WHERE kind = 0; \
         DELETE FROM attempt WHERE seq <= 2; DELETE FROM receipt WHERE seq <= 2; \
         DROP TABLE fate; DROP TABLE cut; DROP TABLE anchor; DELETE FROM mark WHERE kind > 1; PRAGMA user_version = 3;";
    raw(&state).execute_batch(cut).unwrap();
    let journal = Journal::open(&state).unwrap();
    assert_eq!(first(&journal.check().await.unwrap()), (2, DefectKind::Cut));
}
