//! The journal keeps what it answered, in one chain that shows every change, whoever crashes or writes beside it.

// Helpers of tests are tests too; the lint's own exception sees only the functions marked as such.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use astran_backup::file::Version;
use astran_backup::journal::{
    AttemptId, Begun, CheckReport, Damage, End, Entry, Filter, Intent, Journal, NamePattern, State, Stored,
};
use astran_backup::vault::{DocumentId, RemotePath};
use proptest::prelude::*;
use rusqlite::types::Value;
use rusqlite::{Connection, params};
use tempfile::TempDir;

const ROOT: &str = "/srv/in";

fn intent(relative: &str, name: &str) -> Intent {
    Intent {
        root: ROOT.into(),
        relative: relative.into(),
        version: Version { device: u64::MAX, inode: 2, size: 300, mtime: -4, ctime: 5 },
        dest: RemotePath::parse("/HR/2026").unwrap(),
        folder: DocumentId("folder-1".to_owned()),
        name: name.to_owned(),
    }
}

fn receipt(content: &str) -> Stored {
    Stored {
        sha256: format!("{content:0>64}"),
        size: 300,
        document: DocumentId(format!("doc-{content}")),
        document_version: Some("1.0".to_owned()),
        user: "me@example.com".to_owned(),
        adopted: false,
    }
}

fn fresh() -> (TempDir, PathBuf, Journal) {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let journal = Journal::open(&state).unwrap();
    (dir, state, journal)
}

async fn go(journal: &Journal, intent: Intent) -> AttemptId {
    match journal.begin(intent).await.unwrap() {
        Begun::Go(id) => id,
        Begun::NameTaken(entry) => panic!("taken by {entry:?}"),
    }
}

async fn taken(journal: &Journal, intent: Intent) -> Option<Entry> {
    match journal.begin(intent).await.unwrap() {
        Begun::Go(_) => None,
        Begun::NameTaken(entry) => Some(*entry),
    }
}

async fn store(journal: &Journal, name: &str) -> AttemptId {
    let id = go(journal, intent(name, name)).await;
    journal.stored(id, receipt(name)).await.unwrap();
    journal.end(id, End::Removed).await.unwrap();
    id
}

async fn latest(journal: &Journal, relative: &str) -> Option<Entry> {
    journal.latest(Path::new(ROOT), Path::new(relative)).await.unwrap()
}

fn failed() -> End {
    End::Failed { reason: "refused: 413".to_owned() }
}

fn abandoned() -> End {
    End::Abandoned { reason: "stopped".to_owned() }
}

fn raw(state: &Path) -> Connection {
    Connection::open(state.join("journal.sqlite")).unwrap()
}

mod keeping {
    use super::*;

    #[tokio::test]
    async fn what_was_written_is_there_after_reopening() {
        let (_dir, state, journal) = fresh();
        let wanted = Intent {
            root: "/push".into(),
            relative: std::ffi::OsStr::from_bytes(b"odd\xff\n").into(),
            ..intent("", "n")
        };
        let id = go(&journal, wanted.clone()).await;
        journal.stored(id, Stored { adopted: true, document_version: None, ..receipt("a") }).await.unwrap();
        journal.end(id, End::Moved("/done/odd".into())).await.unwrap();
        drop(journal);

        let journal = Journal::open(&state).unwrap();
        let entry = journal.latest(&wanted.root, &wanted.relative).await.unwrap().unwrap();
        assert_eq!((entry.id, &entry.intent), (id, &wanted));
        assert_eq!(entry.state, State::Ended(End::Moved("/done/odd".into())));
        assert_eq!(entry.stored, Some(Stored { adopted: true, document_version: None, ..receipt("a") }));
        assert!(entry.stored_at.unwrap() >= entry.started);
        assert!(journal.check().await.unwrap().is_whole());
    }

    #[tokio::test]
    async fn a_start_finds_what_it_has_to_resolve() {
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

    /// One was set aside when the process died, and another one of its name has come since.
    #[tokio::test]
    async fn of_two_files_of_one_path_each_has_its_own_entry() {
        let (_dir, _state, journal) = fresh();
        let file = |inode| {
            let like = intent("a", "a");
            Intent { version: Version { inode, ..like.version }, ..like }
        };
        let mut ids = Vec::new();
        for inode in [1, 2] {
            ids.push(go(&journal, file(inode)).await);
            journal.stored(ids[ids.len() - 1], receipt("1")).await.unwrap();
        }
        for (inode, expected) in [(1, ids[0]), (2, ids[1]), (3, ids[1])] {
            let found = journal.of_file(Path::new(ROOT), Path::new("a"), file(inode).version).await.unwrap();
            assert_eq!(found.unwrap().id, expected, "{inode}");
        }
        journal.end(ids[0], End::Removed).await.unwrap();
        let found = journal.of_file(Path::new(ROOT), Path::new("a"), file(1).version).await.unwrap();
        assert_eq!(found.unwrap().id, ids[1], "what is over speaks for nobody");
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
    async fn what_nobody_waits_for_is_still_written() {
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
}

mod opening {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn nobody_else_can_read_it() {
        let (_dir, state, journal) = fresh();
        store(&journal, "a").await;
        assert_eq!(mode(&state), 0o700);
        for entry in fs::read_dir(&state).unwrap() {
            let path = entry.unwrap().path();
            assert_eq!(mode(&path), 0o600, "{}", path.display());
        }
    }

    #[tokio::test]
    async fn a_journal_that_came_back_open_to_others_is_closed_to_them() {
        let (_dir, state, journal) = fresh();
        drop(journal);
        let path = state.join("journal.sqlite");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let _journal = Journal::open(&state).unwrap();
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn a_folder_that_others_can_write_is_refused() {
        let (_dir, state, journal) = fresh();
        drop(journal);
        for open in [0o770, 0o702] {
            fs::set_permissions(&state, fs::Permissions::from_mode(open)).unwrap();
            let error = Journal::open(&state).unwrap_err();
            assert!(error.0.contains("chmod 700"), "{error}");
        }
    }

    #[test]
    fn a_newer_journal_is_refused_and_left_alone() {
        let (_dir, state, journal) = fresh();
        drop(journal);
        raw(&state).pragma_update(None, "user_version", 7).unwrap();
        let error = Journal::open(&state).unwrap_err();
        assert!(error.0.contains("version 7") && error.0.contains("journal.sqlite"), "{error}");
        let version: i64 = raw(&state).query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
        assert_eq!(version, 7);
    }

    #[test]
    fn what_is_no_journal_is_told_so() {
        let (_dir, state, journal) = fresh();
        drop(journal);
        fs::write(state.join("journal.sqlite"), vec![b'x'; 8192]).unwrap();
        assert!(Journal::open(&state).unwrap_err().0.contains("damaged"));
    }

    /// Every later version must be able to read this file, and to find its chain whole.
    #[tokio::test]
    async fn a_journal_of_version_1_opens_whole() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let text = include_str!("data/journal-v1.sql");
        raw(dir.path()).execute_batch(text).unwrap();

        let journal = Journal::open(dir.path()).unwrap();
        let report = journal.check().await.unwrap();
        assert!(report.is_whole() && report.receipts == 3, "{report:?}");
        assert_eq!(journal.history(&Filter::default()).await.unwrap().len(), 4);
        assert_eq!(latest(&journal, "one").await.unwrap().state, State::Ended(End::Removed));
        store(&journal, "later").await;
        assert!(journal.check().await.unwrap().is_whole());
    }
}

mod names {
    use super::*;

    #[tokio::test]
    async fn a_name_belongs_to_the_path_that_has_it() {
        let (_dir, _state, journal) = fresh();
        let first = go(&journal, intent("a/report", "report")).await;
        let owner = taken(&journal, intent("b/report", "report")).await.unwrap();
        assert_eq!((owner.id, owner.state), (first, State::Open));
        assert!(latest(&journal, "b/report").await.is_none(), "nothing was written");

        journal.stored(first, receipt("1")).await.unwrap();
        journal.end(first, End::Removed).await.unwrap();
        assert!(taken(&journal, intent("b/report", "report")).await.is_some(), "a receipt keeps it");
        let elsewhere = Intent { folder: DocumentId("folder-2".to_owned()), ..intent("b/report", "report") };
        assert!(taken(&journal, elsewhere).await.is_none(), "another folder is another name");
        let other_root = Intent { root: "/other".into(), ..intent("a/report", "report") };
        assert!(taken(&journal, other_root).await.is_some(), "the same path in another root is another file");
        assert!(taken(&journal, intent("a/report", "report")).await.is_none(), "a new version of the same file");
    }

    /// Its bytes were the same once; with other ones it would hide the first one's document.
    #[tokio::test]
    async fn whoever_adopts_a_document_does_not_own_its_name() {
        let (_dir, _state, journal) = fresh();
        let first = go(&journal, intent("a/report", "report")).await;
        journal.stored(first, receipt("1")).await.unwrap();
        let same = Stored { adopted: true, ..receipt("1") };
        journal.adopt(intent("b/report", "report"), same).await.unwrap();
        assert_eq!(taken(&journal, intent("b/report", "report")).await.unwrap().id, first);
        assert!(taken(&journal, intent("a/report", "report")).await.is_none());
    }

    #[tokio::test]
    async fn a_documents_receipt_is_its_newest() {
        let (_dir, _state, journal) = fresh();
        for content in ["1", "2"] {
            let id = go(&journal, intent("n", "n")).await;
            journal.stored(id, receipt(content)).await.unwrap();
        }
        let path = RemotePath::parse("/HR/2026/n").unwrap();
        assert_eq!(journal.receipt_of(&path).await.unwrap(), Some(receipt("2")));
        for other in ["/HR/n", "/HR/2026/m", "/"] {
            assert_eq!(journal.receipt_of(&RemotePath::parse(other).unwrap()).await.unwrap(), None, "{other}");
        }
    }

    #[tokio::test]
    async fn what_came_to_nothing_owns_nothing() {
        let (_dir, _state, journal) = fresh();
        for end in [failed(), abandoned()] {
            let id = go(&journal, intent("a", "n")).await;
            journal.end(id, end).await.unwrap();
        }
        let id = go(&journal, intent("b", "n")).await;
        journal.stored(id, receipt("b")).await.unwrap();
        journal.end(id, failed()).await.unwrap();
        assert!(taken(&journal, intent("a", "n")).await.is_some(), "stored, whatever failed after it");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn of_many_that_want_a_name_at_once_one_gets_it() {
        let (_dir, state, one) = fresh();
        let two = Journal::open(&state).unwrap();
        let tasks: Vec<_> = (0..20)
            .map(|number| {
                let journal = if number % 2 == 0 { one.clone() } else { two.clone() };
                tokio::spawn(async move { taken(&journal, intent(&format!("{number}/n"), "n")).await.is_none() })
            })
            .collect();
        let mut winners = 0;
        for task in tasks {
            winners += usize::from(task.await.unwrap());
        }
        assert_eq!(winners, 1);
    }
}

mod order {
    use super::*;

    #[tokio::test]
    async fn a_receipt_comes_once_and_before_the_removal() {
        let (_dir, _state, journal) = fresh();
        let id = go(&journal, intent("a", "a")).await;
        for end in [End::Removed, End::Kept, End::Moved("/x".into())] {
            assert!(journal.end(id, end).await.unwrap_err().0.contains("no receipt"));
        }
        journal.stored(id, receipt("a")).await.unwrap();
        journal.stored(id, receipt("a")).await.unwrap();
        assert!(journal.stored(id, receipt("b")).await.is_err());
        journal.end(id, End::Kept).await.unwrap();
        journal.end(id, End::Removed).await.unwrap();
        assert_eq!(journal.check().await.unwrap().receipts, 1);
        let over = go(&journal, intent("b", "b")).await;
        journal.end(over, abandoned()).await.unwrap();
        assert!(journal.stored(over, receipt("b")).await.is_err());
        assert!(journal.end(AttemptId(99), abandoned()).await.is_err());
    }

    #[tokio::test]
    async fn failures_are_cleared_by_path_by_folder_or_all() {
        let (_dir, _state, journal) = fresh();
        for name in ["a/1", "a/2", "b/1", "ab"] {
            let id = go(&journal, intent(name, name)).await;
            journal.end(id, failed()).await.unwrap();
        }
        store(&journal, "b/1").await;
        assert!(journal.clear_failure(Path::new(ROOT), Path::new("a/1")).await.unwrap());
        assert!(!journal.clear_failure(Path::new(ROOT), Path::new("a/1")).await.unwrap());
        let State::Ended(End::Abandoned { reason }) = latest(&journal, "a/1").await.unwrap().state else { panic!() };
        assert!(reason.contains("retry") && reason.contains("413"), "{reason}");
        assert_eq!(journal.retry(vec![PathBuf::from(ROOT).join("a")]).await.unwrap(), 1);
        assert_eq!(journal.retry(Vec::new()).await.unwrap(), 1, "ab; b/1 is stored since");
    }

    #[tokio::test]
    async fn history_shows_what_is_asked_for_page_by_page() {
        let (_dir, _state, journal) = fresh();
        store(&journal, "stored.pdf").await;
        go(&journal, intent("open.pdf", "open.pdf")).await;
        let id = go(&journal, intent("bad.doc", "bad.doc")).await;
        journal.end(id, failed()).await.unwrap();
        let names = async |filter: Filter| -> Vec<String> {
            let found = journal.history(&filter).await.unwrap();
            found.into_iter().map(|record| record.entry.intent.name).collect()
        };
        let matching = |text: &str| Filter { name: Some(NamePattern::parse(text).unwrap()), ..Filter::default() };
        assert_eq!(names(Filter::default()).await, ["stored.pdf", "open.pdf", "bad.doc"]);
        assert_eq!(names(Filter { failed: true, ..Filter::default() }).await, ["bad.doc"]);
        assert_eq!(names(Filter { pending: true, ..Filter::default() }).await, ["open.pdf"]);
        assert_eq!(names(Filter { failed: true, pending: true, ..Filter::default() }).await, ["open.pdf", "bad.doc"]);
        assert_eq!(names(matching("*.pdf")).await, ["stored.pdf", "open.pdf"]);
        assert_eq!(names(matching("bad")).await, ["bad.doc"]);
        let tomorrow = SystemTime::now() + Duration::from_secs(86400);
        assert!(names(Filter { since: Some(tomorrow), ..Filter::default() }).await.is_empty());
        let page = journal.history_page(&Filter::default(), None, 2).await.unwrap();
        let rest = journal.history_page(&Filter::default(), Some(page[1].entry.id), 2).await.unwrap();
        assert_eq!((page.len(), rest.len()), (2, 1));
    }
}

mod chain {
    use super::*;

    /// Fields of the receipt with the number ?1, and what finds them.
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

    fn first(report: &CheckReport) -> (i64, Damage) {
        let broken = report.broken.first().unwrap_or_else(|| panic!("not found: {report:?}"));
        (broken.first, broken.damage)
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
        let value: Value = connection
            .query_row(&format!("SELECT {column} FROM {table} WHERE {find}"), [seq], |row| row.get(0))
            .unwrap();
        let sql = format!("UPDATE {table} SET {column} = ?2 WHERE {find}");
        assert_eq!(connection.execute(&sql, params![seq, flipped(value, at)]).unwrap(), 1);
    }

    /// Each receipt by its own user, so that a user's name belongs to one receipt.
    async fn five(journal: &Journal) {
        for number in 0..5 {
            let name = format!("file-{number}");
            let id = go(journal, intent(&name, &name)).await;
            journal.stored(id, Stored { user: name.clone(), ..receipt(&name) }).await.unwrap();
            journal.end(id, End::Removed).await.unwrap();
        }
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

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
                let wanted = if field.0 == "mark" { (5, Damage::Head) } else { (seq, Damage::Altered) };
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
                    assert_eq!(first(&journal.check().await.unwrap()), (one, Damage::Missing));
                    return;
                }
                for table in ["receipt", "attempt"] {
                    for (from, to) in [(one, -1), (other, one), (-1, other)] {
                        connection.execute(&format!("UPDATE {table} SET seq = ?2 WHERE seq = ?1"), [from, to]).unwrap();
                    }
                }
                let report = journal.check().await.unwrap();
                assert_eq!(first(&report), (one.min(other), Damage::Altered));
                assert!(report.broken.iter().any(|broken| broken.first == one.max(other)));
            });
        }

        #[test]
        fn whatever_is_done_the_chain_is_whole(steps in proptest::collection::vec((0_u8..8, 0_usize..4), 1..40)) {
            runtime().block_on(async {
                let (_dir, state, mut journal) = fresh();
                let mut ids = vec![go(&journal, intent("0", "0")).await];
                for (what, file) in steps {
                    let id = ids[file % ids.len()];
                    let name = file.to_string();
                    // Some are refused for good reasons; whatever is answered, the chain has to hold.
                    let _answer = match what {
                        0 | 1 => journal.begin(intent(&name, &name)).await.map(|begun| match begun {
                            Begun::Go(id) => ids.push(id),
                            Begun::NameTaken(_) => (),
                        }),
                        2 | 3 => journal.stored(id, receipt(&name)).await,
                        4 => journal.end(id, End::Removed).await,
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
    async fn what_was_cut_off_or_put_in_shows() {
        let (_dir, state, journal) = fresh();
        five(&journal).await;
        raw(&state).execute_batch("DELETE FROM receipt WHERE seq >= 4").unwrap();
        let report = journal.check().await.unwrap();
        assert_eq!((report.broken[0].first, report.broken[0].last, report.broken[0].damage), (4, 5, Damage::Missing));

        let (_dir, state, journal) = fresh();
        five(&journal).await;
        let insert = "INSERT INTO receipt SELECT 6, attempt, sha256, size, document, document_version, user, adopted, \
             stored, hash, hash FROM receipt WHERE seq = 5";
        raw(&state).execute_batch(insert).unwrap();
        assert_eq!(first(&journal.check().await.unwrap()), (6, Damage::Outside));

        let (_dir, state, journal) = fresh();
        five(&journal).await;
        go(&journal, intent("forged", "forged")).await;
        raw(&state).execute_batch("UPDATE attempt SET seq = 2 WHERE name = 'forged'").unwrap();
        assert_eq!(first(&journal.check().await.unwrap()), (2, Damage::Claimed));
    }

    #[tokio::test]
    async fn pruning_leaves_a_chain_that_can_be_checked() {
        let (_dir, _state, journal) = fresh();
        store(&journal, "1").await;
        let kept = go(&journal, intent("kept", "kept")).await;
        journal.stored(kept, receipt("kept")).await.unwrap();
        journal.end(kept, End::Kept).await.unwrap();
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
        assert_eq!((entry.state, entry.stored), (State::Ended(End::Kept), None), "not to be uploaded again");

        journal.end(waiting, End::Removed).await.unwrap();
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

    /// The cut would be where the damage was.
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
}
