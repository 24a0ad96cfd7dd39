//! A relay drops the connection of an upload, and the service stores the file all the same, some time later.

use std::time::Duration;

use astran_backup::config::Transfers;
use astran_backup::journal::LocalEnd;
use astran_backup::journal::{End, State};
use astran_backup::upload::Outcome;
use astran_backup::vault::Kind;
use tokio::time::Instant;

use crate::fake_vault::{Call, Reply};
use crate::life::Life;

/// Delays of the store: from none to just under the minute of `store_lag`.
const DELAYS: [u64; 6] = [0, 1500, 4000, 12_000, 30_000, 59_000];

fn is_removed(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Stored { local: LocalEnd::Removed, .. })
}

/// Longer than anything may still be stored late.
const LONG: Duration = Duration::from_secs(3600);

/// Writes `x` anew on a thread of its own: opening the file waits until the worker gives its lease back.
fn written(life: &Life, content: &'static [u8]) -> std::thread::JoinHandle<()> {
    let path = life.root.path().join("x");
    std::thread::spawn(move || std::fs::write(path, content).unwrap())
}

/// Regression: the store was asked for eight seconds, then the file was sent again.
#[tokio::test(start_paused = true)]
async fn a_file_stored_up_to_a_minute_after_a_cut_connection_is_not_sent_again() {
    for late in DELAYS.map(Duration::from_millis) {
        for reply in [Reply::Lost(late), Reply::BusyThenStored(late)] {
            let mut life = Life::new(|_| ());
            life.put("x", b"1234");
            life.vault.next_uploads([reply.clone()]);
            assert!(is_removed(&life.send("x").await));
            tokio::time::sleep(LONG).await;
            assert_eq!(life.vault.stored("x"), [b"1234"], "{reply:?}");
            assert_eq!(life.vault.uploads(), 1, "{reply:?}");
        }
    }
}

/// Regression: the older content was stored over the newer one, whose file was gone by then.
#[tokio::test(start_paused = true)]
async fn a_newer_content_of_a_name_is_the_one_in_the_store_though_the_older_one_came_late() {
    for late in DELAYS.map(Duration::from_millis) {
        for in_place in [true, false] {
            let mut life = Life::new(|_| ());
            life.put("x", b"first");
            life.vault.next_uploads([Reply::Lost(late)]);
            life.hand_over("x").await;
            life.under_way(1).await;
            if !in_place {
                std::fs::remove_file(life.root.path().join("x")).unwrap();
            }
            let writer = written(&life, b"second content");
            // As `watch` does: after an outcome of gone, changed or stored, the file is looked at again.
            let mut outcome = life.outcome().await;
            writer.join().unwrap();
            while !is_removed(&outcome) || life.is_there("x") {
                outcome = life.send("x").await;
            }
            tokio::time::sleep(LONG).await;
            assert_eq!(life.vault.stored("x").last().unwrap(), b"second content", "{late:?}, in place {in_place}");
            assert_eq!(life.vault.uploads(), 2, "{late:?}, in place {in_place}");
        }
    }
}

/// The two files have nothing in common but the name; the first one is gone.
#[tokio::test(start_paused = true)]
async fn a_late_upload_does_not_replace_another_files_document_of_the_same_name() {
    let mut life = Life::new(|_| ());
    life.put("one/x", b"first");
    life.vault.next_uploads([Reply::Lost(Duration::from_secs(30))]);
    life.hand_over("one/x").await;
    life.under_way(1).await;
    std::fs::remove_file(life.root.path().join("one/x")).unwrap();
    assert!(matches!(life.outcome().await, Outcome::Gone));
    life.put("two/x", b"second");
    assert!(is_removed(&life.send("two/x").await));
    tokio::time::sleep(LONG).await;
    assert_eq!(life.vault.stored("x"), [b"first".as_slice(), b"second"]);
}

/// Regression: the next file of the folder, which got the inode number of the deleted one, waited for a minute.
#[tokio::test(start_paused = true)]
async fn a_new_file_does_not_wait_for_the_late_upload_of_a_deleted_one() {
    let mut life = Life::new(|_| ());
    life.put("first", b"1234");
    life.vault.next_uploads([Reply::Lost(LONG)]);
    life.hand_over("first").await;
    life.under_way(1).await;
    std::fs::remove_file(life.root.path().join("first")).unwrap();
    assert!(matches!(life.outcome().await, Outcome::Gone));
    // File systems round the time at which a file was made.
    std::thread::sleep(Duration::from_millis(50));
    let start = Instant::now();
    life.put("second", b"another file");
    assert!(is_removed(&life.send("second").await));
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_late_upload_of_a_process_that_has_died_does_not_replace_a_newer_one() {
    // The last case is an upload that took longer than `store_lag`.
    for (ended, ago) in [(false, 20), (true, 20), (true, 3600)] {
        let mut life = Life::new(|_| ());
        life.put("x", b"first");
        let id = life.begun("x").await;
        life.sql().execute("UPDATE attempt SET started = started - ?1 * 1000000000", [ago]).unwrap();
        life.vault.put_after("/dest/x", b"first", Duration::from_secs(30));
        std::fs::remove_file(life.root.path().join("x")).unwrap();
        if ended {
            let reason = "the file was gone at the next start".to_owned();
            life.journal.end(id, End::Abandoned { reason }).await.unwrap();
        }
        life.put("x", b"second content");
        assert!(is_removed(&life.send("x").await));
        tokio::time::sleep(LONG).await;
        assert_eq!(life.vault.stored("x"), [b"first".as_slice(), b"second content"], "ended {ended}, {ago} s ago");
    }
}

/// Regression: an upload that began before this process started was taken for one of a dead process.
#[tokio::test(start_paused = true)]
async fn an_upload_of_another_process_is_waited_for_though_its_file_was_deleted() {
    let mut life = Life::new(|_| ());
    life.put("x", b"first");
    let id = life.begun("x").await;
    life.sql().execute("UPDATE attempt SET started = started - 20 * 1000000000", []).unwrap();
    // Kept open, so that the next file gets another inode number.
    let first = life.root.open_file(std::path::Path::new("x")).unwrap();
    let claim = life.root.lock_for_upload(&first).unwrap();
    std::fs::remove_file(life.root.path().join("x")).unwrap();
    life.put("x", b"second content");
    life.hand_over("x").await;
    for _ in 0..10 {
        tokio::time::sleep(Duration::from_secs(20)).await;
        // The paused clock does not wait for the journal's thread.
        std::thread::sleep(Duration::from_millis(5));
    }
    let filter = astran_backup::journal::Filter::default();
    let history = life.journal.history_page(&filter, None, 9).await.unwrap();
    assert!(history.len() == 1 && history[0].entry.id == id && history[0].entry.state == State::Open, "{history:?}");
    assert_eq!(life.vault.uploads(), 0);
    drop(claim);
    assert!(is_removed(&life.outcome().await));
    assert_eq!(life.vault.stored("x"), [b"second content"]);
}

/// The late upload comes after `store_lag`, but before the upload of the newer content has ended.
#[tokio::test(start_paused = true)]
async fn newer_content_that_a_very_late_upload_replaced_is_sent_again_before_its_file_is_removed() {
    let mut life = Life::new(|_| ());
    life.put("x", b"1234");
    life.vault.next_uploads([Reply::Lost(LONG), Reply::ReplacedBy(b"1234")]);
    life.hand_over("x").await;
    life.under_way(1).await;
    let writer = written(&life, b"second content");
    let mut outcome = life.outcome().await;
    writer.join().unwrap();
    while !is_removed(&outcome) || life.is_there("x") {
        outcome = life.send("x").await;
    }
    assert_eq!(life.vault.uploads(), 3);
    assert_eq!(life.vault.stored("x").last().unwrap(), b"second content");
}

/// Regression: an older file that was staged was sent again, over the newer one of its name, because the newer one had replaced its
/// document.
#[tokio::test(start_paused = true)]
async fn an_older_file_whose_document_a_newer_one_replaced_is_not_sent_again() {
    let mut life = Life::new(|_| ());
    life.put("x", b"first");
    life.receipted("x", b"first", Duration::ZERO).await;
    life.vault.put("/dest/x", b"first");
    let aside = ".astran-backup/0123456789abcdef~x";
    let private = life.root.path().join(".astran-backup");
    std::fs::create_dir(&private).unwrap();
    std::fs::set_permissions(&private, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    std::fs::rename(life.root.path().join("x"), life.root.path().join(aside)).unwrap();
    life.put("x", b"second content");
    life.vault.next_uploads([Reply::Lost(Duration::from_secs(1))]);
    assert!(is_removed(&life.send("x").await));
    assert!(is_removed(&life.send(aside).await));
    assert_eq!(life.vault.stored("x"), [b"first".as_slice(), b"second content"]);
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_never_arrives_is_sent_again_after_a_minute_and_its_entry_stays_careful() {
    let mut life = Life::new(|_| ());
    life.put("x", b"1234");
    life.vault.next_uploads([Reply::Lost(LONG)]);
    let start = Instant::now();
    assert!(is_removed(&life.send("x").await));
    let took = start.elapsed().as_secs();
    assert!((60..120).contains(&took), "{took} s");
    let filter = astran_backup::journal::Filter::default();
    let history = life.journal.history_page(&filter, None, 9).await.unwrap();
    let State::Ended(End::Abandoned { reason }) = &history[0].entry.state else { panic!("{history:?}") };
    assert!(reason.starts_with("not found in the store 6") && reason.ends_with("it may have come later"), "{reason}");
}

#[tokio::test(start_paused = true)]
async fn while_a_late_upload_is_waited_for_other_files_go_and_writers_are_not_blocked() {
    let mut life = Life::new(|policy| policy.transfers = Transfers::Fixed(1));
    life.put("x", b"1234");
    // At each upload of `x`: a slow disk lets the paused clock jump over `store_lag` while the journal writes.
    life.vault.script(|call, name| match (call, name) {
        (Call::Upload, "x") => Reply::Lost(LONG),
        _ => Reply::Normal,
    });
    life.hand_over("x").await;
    life.under_way(1).await;
    life.put("y", b"5678");
    life.hand_over("y").await;
    let Outcome::Stored { remote, .. } = life.outcome().await else { panic!("y is not stored") };
    assert_eq!(remote.to_string(), "/dest/y");
    // While the worker waits it holds no lease: a writer that opens without blocking gets the file.
    let path = life.root.path().join("x");
    let mut options = std::fs::OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::custom_flags(options.append(true), 0o4000);
    let start = std::time::Instant::now();
    while let Err(error) = options.open(&path) {
        assert!(start.elapsed() < Duration::from_secs(60), "{error}");
        // While the worker asks for `x` it holds a lease: it needs this thread, and the paused clock, to come to an end.
        tokio::time::sleep(Duration::from_millis(1)).await;
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Regression: the second file had the only place and waited for the first one, which waited for a place: none of the folder went any more.
#[tokio::test(start_paused = true)]
async fn a_file_that_waits_for_another_one_of_its_path_does_not_keep_the_place_that_one_needs() {
    let mut life = Life::new(|policy| policy.transfers = Transfers::Fixed(1));
    life.put("x", b"1234");
    life.vault.next_uploads([Reply::Lost(LONG)]);
    life.hand_over("x").await;
    life.under_way(1).await;
    // One of the two may have been set aside, and the other one may have come since.
    life.hand_over("x").await;
    let both = [life.outcome().await, life.outcome().await];
    assert!(both.iter().any(is_removed), "{both:?}");
}

/// The service went away before anything was sent, so nothing can be stored late.
#[tokio::test(start_paused = true)]
async fn an_upload_that_was_never_sent_whole_is_not_waited_for() {
    let mut life = Life::new(|_| ());
    life.put("x", b"1234");
    life.vault.next_uploads([Reply::Fail(Kind::Unavailable)]);
    let start = Instant::now();
    assert!(is_removed(&life.send("x").await));
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
}
