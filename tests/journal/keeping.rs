//! What the journal answered is there later: after a crash, for each of two files of one path, beside other writers.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use astran_backup::file::FileStamp;
use astran_backup::journal::{AttemptId, End, Filter, Intent, Journal, LocalEnd, State, Stored};

use crate::support::{ROOT, abandoned, failed, fresh, go, history, intent, latest, receipt, store};

#[tokio::test]
async fn what_was_written_is_there_after_reopening() {
    let (_dir, state, journal) = fresh();
    let wanted =
        Intent { root: "/push".into(), relative: std::ffi::OsStr::from_bytes(b"odd\xff\n").into(), ..intent("", "n") };
    let id = go(&journal, wanted.clone()).await;
    journal.stored(id, Stored { already_present: true, document_version: None, ..receipt("a") }).await.unwrap();
    journal.end(id, End::Local(LocalEnd::Moved("/done/odd".into()))).await.unwrap();
    drop(journal);

    let journal = Journal::open(&state).unwrap();
    let entry = history(&journal, &Filter::default()).await.remove(0);
    assert_eq!((entry.id, &entry.intent), (id, &wanted));
    assert_eq!(entry.state, State::Ended(End::Local(LocalEnd::Moved("/done/odd".into()))));
    assert_eq!(entry.stored, Some(Stored { already_present: true, document_version: None, ..receipt("a") }));
    assert!(entry.stored_at.unwrap() >= entry.started);
    assert!(journal.check().await.unwrap().is_whole());
}

#[tokio::test]
async fn a_start_finds_the_entries_that_it_has_to_resolve() {
    let (_dir, state, journal) = fresh();
    let open = go(&journal, intent("open", "open")).await;
    let done = go(&journal, intent("done", "done")).await;
    journal.stored(done, receipt("d")).await.unwrap();
    store(&journal, "gone").await;
    let over = go(&journal, intent("over", "over")).await;
    journal.end(over, failed()).await.unwrap();
    go(&journal, Intent { root: "/other".into(), ..intent("x", "x") }).await;
    drop(journal);

    let journal = Journal::open(&state).unwrap();
    let found = journal.unresolved(Path::new(ROOT)).await.unwrap();
    let found: Vec<_> = found.into_iter().map(|entry| (entry.id, entry.state)).collect();
    assert_eq!(found, [(open, State::Open), (done, State::Stored)]);
}

/// One file was set aside when the process died, and another file of its path has come since.
#[tokio::test]
async fn of_two_files_of_one_path_each_has_its_own_entry() {
    let (_dir, _state, journal) = fresh();
    let file = |inode| {
        let like = intent("a", "a");
        Intent { stamp: FileStamp { inode, ..like.stamp }, ..like }
    };
    let mut ids = Vec::new();
    for inode in [1, 2] {
        ids.push(go(&journal, file(inode)).await);
        journal.stored(ids[ids.len() - 1], receipt("1")).await.unwrap();
    }
    for (inode, expected) in [(1, ids[0]), (2, ids[1]), (3, ids[1])] {
        let found = journal.of_file(Path::new(ROOT), Path::new("a"), file(inode).stamp).await.unwrap();
        assert_eq!(found.unwrap().id, expected, "{inode}");
    }
    journal.end(ids[0], End::Local(LocalEnd::Removed)).await.unwrap();
    let found = journal.of_file(Path::new(ROOT), Path::new("a"), file(1).stamp).await.unwrap();
    assert_eq!(found.unwrap().id, ids[0], "it may be there again after a power cut");
    let sent_in_vain = go(&journal, file(1)).await;
    journal.end(sent_in_vain, abandoned()).await.unwrap();
    let found = journal.of_file(Path::new(ROOT), Path::new("a"), file(1).stamp).await.unwrap();
    assert_eq!(found.unwrap().id, ids[0], "what came to nothing does not hide what is known");
}

/// A file may be renamed, and changed, after its upload was begun.
#[tokio::test]
async fn open_attempts_of_an_inode_are_found_under_every_path() {
    let (_dir, _state, journal) = fresh();
    let inode = intent("", "").stamp.inode;
    let open = async |most| {
        let found = journal.open_of_inode(inode, most).await.unwrap();
        found.into_iter().map(|entry| entry.id).collect::<Vec<_>>()
    };
    let other_root = go(&journal, Intent { root: "/other".into(), ..intent("a", "other") }).await;
    let like = intent("changed", "changed");
    let changed = go(&journal, Intent { stamp: FileStamp { mtime: 99, ..like.stamp }, ..like }).await;
    let like = intent("another", "another");
    go(&journal, Intent { stamp: FileStamp { inode: inode + 1, ..like.stamp }, ..like }).await;
    assert_eq!(open(9).await, [other_root, changed]);
    assert_eq!(open(1).await, [other_root], "the oldest come first");
    journal.end(changed, abandoned()).await.unwrap();
    store(&journal, "stored").await;
    assert_eq!(open(9).await, [other_root], "the others are not open");
}

#[tokio::test]
async fn what_was_answered_survives_a_crash_and_a_torn_commit_leaves_one_chain() {
    let (dir, state, journal) = fresh();
    let ids: Vec<AttemptId> = {
        let mut ids = Vec::new();
        for number in 0..20 {
            ids.push(store(&journal, &format!("file-{number}")).await);
        }
        ids
    };
    // As after kill -9: the files as they lie there, never closed.
    let log = fs::read(state.join("journal.sqlite-wal")).unwrap();
    let main = fs::read(state.join("journal.sqlite")).unwrap();
    let mut last = 0;
    for cut in (0..=16).map(|part| log.len() * part / 16) {
        let crashed = dir.path().join(format!("crashed-{cut}"));
        drop(Journal::open(&crashed).unwrap());
        fs::write(crashed.join("journal.sqlite"), &main).unwrap();
        fs::write(crashed.join("journal.sqlite-wal"), &log[..cut]).unwrap();
        let journal = Journal::open(&crashed).unwrap();
        let report = journal.check().await.unwrap();
        assert!(report.is_whole() && report.receipts >= last, "{cut}: {report:?}");
        last = report.receipts;
    }
    assert_eq!(last, ids.len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_handles_write_one_chain() {
    let (_dir, state, one) = fresh();
    let two = Journal::open(&state).unwrap();
    let tasks: Vec<_> = (0..40)
        .map(|number| {
            let journal = if number % 2 == 0 { one.clone() } else { two.clone() };
            tokio::spawn(async move { store(&journal, &format!("file-{number}")).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    for journal in [one, two] {
        let report = journal.check().await.unwrap();
        assert!(report.is_whole() && report.receipts == 40, "{report:?}");
    }
}

#[tokio::test]
async fn a_write_whose_caller_went_away_is_still_written() {
    let (_dir, state, journal) = fresh();
    let id = go(&journal, intent("a", "a")).await;
    {
        let mut end = Box::pin(journal.end(id, failed()));
        assert!(futures_poll(end.as_mut()).is_pending());
    }
    drop(journal);
    let entry = latest(&Journal::open(&state).unwrap(), "a").await.unwrap();
    assert_eq!(entry.state, State::Ended(failed()));
}

fn futures_poll<F: Future>(future: std::pin::Pin<&mut F>) -> std::task::Poll<F::Output> {
    future.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
}
