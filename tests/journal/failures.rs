//! Failures take one row for each path, and are forgotten when their files are gone.

use std::time::{Duration, SystemTime};

use astran_backup::file::FileStamp;
use astran_backup::journal::{AttemptId, Filter, Intent};
use astran_backup::vault::DocumentId;

use crate::support::{failed, fresh, go, history, intent, raw, store};

fn unsent(relative: &str) -> Intent {
    Intent { folder: DocumentId(String::new()), ..intent(relative, relative) }
}

fn of_inode(inode: u64, intent: Intent) -> Intent {
    Intent { stamp: FileStamp { inode, ..intent.stamp }, ..intent }
}

/// Regression: each try of a file whose name can't be sent was one row more, for ever.
#[tokio::test]
async fn a_path_that_fails_again_and_again_has_one_row() {
    let (_dir, _state, journal) = fresh();
    store(&journal, "x").await;
    let mut last = AttemptId(0);
    for number in 0..2000 {
        last = journal.refuse(of_inode(number, unsent("x")), format!("the {number}. time")).await.unwrap();
    }
    let id = go(&journal, intent("sent", "sent")).await;
    journal.end(id, failed()).await.unwrap();
    let again = go(&journal, intent("sent", "sent")).await;
    journal.end(again, failed()).await.unwrap();
    let left = history(&journal, &Filter { failed: true, ..Filter::default() }).await;
    assert_eq!(left.iter().map(|entry| entry.id).collect::<Vec<_>>(), [last, again]);
    assert_eq!(history(&journal, &Filter::default()).await.len(), 3);
    assert!(journal.check().await.unwrap().is_whole());
}

/// A refused file that lies set aside must not be sent again and again because another file of its path fails too.
#[tokio::test]
async fn each_refused_file_of_a_path_keeps_its_row() {
    let (_dir, _state, journal) = fresh();
    for inode in [1, 2] {
        let id = go(&journal, of_inode(inode, intent("x", "x"))).await;
        journal.end(id, failed()).await.unwrap();
    }
    assert_eq!(history(&journal, &Filter::default()).await.len(), 2);
}

#[tokio::test]
async fn forgetting_failures_keeps_receipts_and_the_newest_number() {
    let (_dir, state, journal) = fresh();
    store(&journal, "stored").await;
    let id = journal.refuse(unsent("old"), "no".into()).await.unwrap();
    let newest = journal.refuse(unsent("newest"), "no".into()).await.unwrap();
    let now = SystemTime::now();
    assert!(journal.failures_page(now - Duration::from_secs(60), AttemptId(0)).await.unwrap().is_empty(), "too young");
    let page = journal.failures_page(now + Duration::from_secs(60), AttemptId(0)).await.unwrap();
    assert_eq!(page.iter().map(|entry| entry.id).collect::<Vec<_>>(), [id, newest]);
    assert_eq!(journal.forget_failures(vec![AttemptId(1), id, newest]).await.unwrap(), 1);
    assert_eq!(history(&journal, &Filter::default()).await.len(), 2);
    let rows: i64 = raw(&state).query_row("SELECT count(*) FROM receipt", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 1);
}

/// Any number of names that can't be sent may be put into a folder.
#[tokio::test]
async fn no_more_than_100_000_failures_are_kept() {
    let (_dir, state, journal) = fresh();
    journal.refuse(unsent("first"), "no".into()).await.unwrap();
    let sql = raw(&state);
    sql.execute_batch(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 120000) \
         INSERT INTO attempt (root, relative, device, inode, size, mtime, ctime, dest, folder, name, started, state) \
         SELECT root, CAST('file-' || i AS BLOB), 0, i, 0, 0, 0, dest, folder, '', started, 2 FROM attempt, n WHERE id = 1",
    )
    .unwrap();
    for number in 0..1000 {
        journal.refuse(unsent(&format!("new-{number}")), "no".into()).await.unwrap();
    }
    let rows: i64 = sql.query_row("SELECT count(*) FROM attempt", [], |row| row.get(0)).unwrap();
    assert!((100_000..=101_000).contains(&rows), "{rows}");
    let newest: i64 =
        sql.query_row("SELECT count(*) FROM attempt WHERE relative > CAST('n' AS BLOB)", [], |row| row.get(0)).unwrap();
    assert_eq!(newest, 1000);
}
