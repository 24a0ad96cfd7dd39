//! The journal on the disk: who may read it, which version it has, which service owns it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use astran_backup::journal::{
    DatabaseProblem, End, Filter, Journal, JournalError, LocalEnd, RefusedRequest, State, Unusable,
};

use crate::support::{fresh, go, history, intent, latest, raw, store};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test]
async fn other_users_can_not_read_the_journal() {
    let (_dir, state, journal) = fresh();
    store(&journal, "a").await;
    assert_eq!(mode(&state), 0o700);
    for entry in fs::read_dir(&state).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[tokio::test]
async fn a_restored_journal_that_others_can_read_is_closed_to_them() {
    let (_dir, state, journal) = fresh();
    drop(journal);
    let path = state.join("journal.sqlite");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let _journal = Journal::open(&state).unwrap();
    assert_eq!(mode(&path), 0o600);
}

#[test]
fn a_state_folder_that_others_can_write_is_refused() {
    let (_dir, state, journal) = fresh();
    drop(journal);
    for open in [0o770, 0o702] {
        fs::set_permissions(&state, fs::Permissions::from_mode(open)).unwrap();
        let error = Journal::open(&state).unwrap_err();
        assert!(matches!(error, JournalError::Unusable(Unusable::WritableByOthers { .. })), "{error}");
    }
}

#[test]
fn a_newer_journal_is_refused_and_left_alone() {
    let (_dir, state, journal) = fresh();
    drop(journal);
    raw(&state).pragma_update(None, "user_version", 7).unwrap();
    let error = Journal::open(&state).unwrap_err();
    let JournalError::Unusable(Unusable::Newer { path, found: 7, .. }) = error else { panic!("{error}") };
    assert!(path.ends_with("journal.sqlite"));
    let version: i64 = raw(&state).query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    assert_eq!(version, 7);
}

#[test]
fn a_file_that_is_no_journal_is_reported_as_damaged() {
    let (_dir, state, journal) = fresh();
    drop(journal);
    fs::write(state.join("journal.sqlite"), vec![b'x'; 8192]).unwrap();
    let error = Journal::open(&state).unwrap_err();
    let damaged = matches!(error, JournalError::Unusable(Unusable::Database { problem: DatabaseProblem::Damaged, .. }));
    assert!(damaged, "{error}");
}

/// Every later version must be able to read this file, and to find its chain whole.
#[tokio::test]
async fn a_journal_of_version_1_opens_whole() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let text = include_str!("../data/journal-v1.sql");
    raw(dir.path()).execute_batch(text).unwrap();

    let journal = Journal::open(dir.path()).unwrap();
    let report = journal.check().await.unwrap();
    assert!(report.is_whole() && report.receipts == 3, "{report:?}");
    assert_eq!(history(&journal, &Filter::default()).await.len(), 4);
    assert_eq!(latest(&journal, "one").await.unwrap().state, State::Ended(End::Local(LocalEnd::Removed)));
    store(&journal, "later").await;
    assert!(journal.check().await.unwrap().is_whole());
}

#[tokio::test]
async fn a_journal_refuses_all_services_but_the_first_that_claims_it() {
    let (_dir, state, journal) = fresh();
    assert!(!journal.claim("one").await.unwrap(), "it holds nothing yet");
    store(&journal, "a").await;
    assert!(!journal.claim("one").await.unwrap());
    drop(journal);
    let journal = Journal::open(&state).unwrap();
    let JournalError::Refused(refused) = journal.claim("other").await.unwrap_err() else { panic!() };
    assert_eq!(refused, RefusedRequest::OtherService { owner: "one".to_owned(), claimant: "other".to_owned() });
}

#[tokio::test]
async fn a_journal_of_an_earlier_version_goes_to_the_first_that_claims_it() {
    for version in [1, 2, 3] {
        let (_dir, state, journal) = fresh();
        store(&journal, "a").await;
        drop(journal);
        fs::remove_file(state.join("anchor.key")).unwrap();
        let index = "CREATE INDEX attempt_unknown ON attempt (inode) WHERE state IN (0, 3);";
        let older = if version == 2 { index } else { "" };
        let undo = "DROP TABLE fate; DROP TABLE cut; DROP TABLE anchor; DELETE FROM mark WHERE kind > 1;";
        let undo =
            if version == 3 { undo.to_owned() } else { format!("{undo} DROP TABLE service; DROP INDEX attempt_file;") };
        raw(&state).execute_batch(&format!("{undo} {older} PRAGMA user_version = {version};")).unwrap();
        let journal = Journal::open(&state).unwrap();
        assert!(journal.check().await.unwrap().is_whole());
        assert!(journal.claim("one").await.unwrap(), "version {version}");
        assert!(!journal.claim("one").await.unwrap());
        journal.claim("other").await.unwrap_err();
    }
}

#[tokio::test]
async fn a_journal_of_version_4_opens_whole_and_finds_open_attempts_by_their_file() {
    let (_dir, state, journal) = fresh();
    store(&journal, "a").await;
    let open = go(&journal, intent("b", "b")).await;
    drop(journal);
    let undo = "DROP INDEX attempt_failed; DROP INDEX attempt_waiting; CREATE INDEX attempt_waiting ON attempt (state) WHERE state <= 2;";
    raw(&state).execute_batch(&format!("{undo} PRAGMA user_version = 4;")).unwrap();
    let journal = Journal::open(&state).unwrap();
    assert!(journal.check().await.unwrap().is_whole());
    let found = journal.open_of_inode(intent("", "").stamp.inode, 9).await.unwrap();
    assert_eq!(found.into_iter().map(|entry| entry.id).collect::<Vec<_>>(), [open]);
}
