//! What the table does with events, inspections and ends of uploads.

use super::*;
use crate::file::FileStamp;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

const SETTLE: Duration = Duration::from_millis(500);

fn quiet() -> Observation {
    Observation::Quiet(FileStamp { device: 1, inode: 1, size: 1, mtime: 1, ctime: 1 })
}

/// A moment, at which the files of these tests are an hour old.
fn at(now: Instant) -> (Instant, SystemTime) {
    (now, UNIX_EPOCH + Duration::from_secs(3600))
}

fn only(paths: &[Arc<Path>]) -> Arc<Path> {
    assert_eq!(paths.len(), 1);
    paths[0].clone()
}

/// A table with one file, which is being uploaded.
fn uploading() -> (Candidates, Instant, Arc<Path>) {
    let (mut table, now) = (Candidates::default(), Instant::now());
    table.touched(Path::new("x"), Cause::Renamed, now);
    let path = only(&table.take_due(now, 9));
    assert_eq!(table.inspected(&path, quiet(), at(now), &Rules::new(SETTLE)), Readiness::Ready);
    assert_eq!(table.take_ready().unwrap().0.as_ref(), Path::new("x"));
    (table, now, path)
}

#[test]
fn a_file_that_is_being_uploaded_is_not_handed_out_again() {
    let (mut table, now, _) = uploading();
    table.touched(Path::new("x"), Cause::Closed, now);
    table.found(Path::new("x"), true, now);
    assert!(table.take_due(now, 9).is_empty());
    assert_eq!(table.take_ready(), None);
}

#[test]
fn an_event_during_an_upload_leads_to_an_inspection_afterwards() {
    let (mut table, now, path) = uploading();
    table.touched(&path, Cause::Closed, now);
    assert!(table.upload_ended(&path, &UploadEnd::Stored, now));
    assert_eq!(only(&table.take_due(now, 9)), path);
}

#[test]
fn a_stored_file_is_forgotten_and_a_returned_one_is_inspected_again() {
    let (mut table, now, path) = uploading();
    table.upload_ended(&path, &UploadEnd::Stored, now);
    assert_eq!(table.len(), 0);
    let (mut table, now, path) = uploading();
    table.upload_ended(&path, &UploadEnd::Returned(".astran-backup/0/x".into()), now);
    assert_eq!(&*only(&table.take_due(now, 9)), Path::new(".astran-backup/0/x"));
}

#[test]
fn a_file_touched_while_it_waits_for_the_queue_settles_again() {
    let (mut table, now, rules) = (Candidates::default(), Instant::now(), Rules::new(SETTLE));
    table.touched(Path::new("x"), Cause::Renamed, now);
    let path = only(&table.take_due(now, 9));
    table.inspected(&path, quiet(), at(now), &rules);
    table.touched(&path, Cause::Closed, now);
    assert_eq!(table.take_ready(), None);
    let path = only(&table.take_due(now, 9));
    assert_eq!(table.inspected(&path, quiet(), at(now), &rules), Readiness::Wait(now + SETTLE));
    assert_eq!(table.next_due(), Some(now + SETTLE));
}

#[test]
fn only_a_file_that_no_event_announced_counts_as_missed() {
    let (mut table, now) = (Candidates::default(), Instant::now());
    for (announced, event, expected) in [(true, false, true), (false, true, true), (false, false, false)] {
        table.found(Path::new("x"), announced, now);
        if event {
            table.touched(Path::new("x"), Cause::Closed, now);
        }
        assert_eq!(table.upload_ended(Path::new("x"), &UploadEnd::Stored, now), expected);
        table.take_due(now, 9);
    }
}

#[test]
fn a_failed_file_that_remains_does_not_count_as_missed() {
    let (mut table, now, path) = uploading();
    table.upload_ended(&path, &UploadEnd::Remains { put_back: false, aside: None }, now);
    table.found(&path, false, now);
    assert!(table.upload_ended(&path, &UploadEnd::Stored, now));
    table.found(&path, false, now);
    assert!(!table.upload_ended(&path, &UploadEnd::Stored, now));
}

/// Regression: the rename was taken for the one by which this program puts a file back, so the new document waited for the next walk.
#[test]
fn a_document_renamed_over_one_being_sent_is_inspected_afterwards() {
    for (put_back, expected) in [(false, 1), (true, 0)] {
        let (mut table, now, path) = uploading();
        table.touched(&path, Cause::Renamed, now);
        table.upload_ended(&path, &UploadEnd::Remains { put_back, aside: None }, now);
        assert_eq!(table.take_due(now, 9).len(), expected);
    }
}

#[test]
fn a_file_that_failed_while_set_aside_is_inspected_after_each_walk() {
    let (mut table, now) = (Candidates::default(), Instant::now());
    let place = Path::new(".astran-backup/0/x");
    table.touched(place, Cause::Returned, now);
    table.upload_ended(place, &UploadEnd::Remains { put_back: false, aside: None }, now);
    table.take_due(now, 9);
    table.walk_ended(now);
    assert_eq!(&*only(&table.take_due(now, 9)), place);
}

/// Regression: the file was forgotten, and waited for the next walk.
#[test]
fn a_file_that_came_during_an_inspection_that_saw_none_is_inspected() {
    let (mut table, now, rules) = (Candidates::default(), Instant::now(), Rules::new(SETTLE));
    for seen in [Observation::Gone, Observation::Folder] {
        table.touched(Path::new("x"), Cause::Created, now);
        let path = only(&table.take_due(now, 9));
        table.touched(&path, Cause::Renamed, now);
        table.inspected(&path, seen, at(now), &rules);
        assert_eq!(only(&table.take_due(now, 9)), path);
        table.inspected(&path, Observation::Gone, at(now), &rules);
        assert_eq!(table.len(), 0);
    }
}

/// Regression: the file was never inspected again, because no walk enters the private folder.
#[test]
fn a_file_that_can_not_be_put_back_is_inspected_after_each_walk() {
    let (mut table, now, path) = uploading();
    let aside = PathBuf::from(".astran-backup/0/x");
    table.upload_ended(&path, &UploadEnd::Remains { put_back: true, aside: Some(aside.clone()) }, now);
    table.walk_ended(now);
    assert_eq!(&*only(&table.take_due(now, 9)), aside.as_path());
}

#[test]
fn an_event_during_an_inspection_counts() {
    let (mut table, now, rules) = (Candidates::default(), Instant::now(), Rules::new(SETTLE));
    table.touched(Path::new("x"), Cause::Renamed, now);
    let path = only(&table.take_due(now, 9));
    table.touched(&path, Cause::Closed, now);
    assert_eq!(table.inspected(&path, quiet(), at(now), &rules), Readiness::Wait(now + SETTLE));
}

/// The close is the new writer's, the rename this program's own, which puts the file back. They may come in both orders.
#[test]
fn a_close_before_or_after_a_file_was_put_back_leads_to_an_inspection() {
    for causes in [[Cause::Closed, Cause::Renamed], [Cause::Renamed, Cause::Closed]] {
        let (mut table, now, path) = uploading();
        for cause in causes {
            table.touched(&path, cause, now);
        }
        table.upload_ended(&path, &UploadEnd::Remains { put_back: true, aside: None }, now);
        assert_eq!(table.take_due(now, 9).len(), 1, "{causes:?}");
    }
}

#[test]
fn a_file_returned_to_a_name_in_use_is_inspected_after_that_upload() {
    let (mut table, now, path) = uploading();
    let rules = Rules::new(SETTLE);
    table.touched(Path::new("y"), Cause::Renamed, now);
    let other = only(&table.take_due(now, 9));
    table.inspected(&other, quiet(), at(now), &rules);
    assert_eq!(table.take_ready().unwrap().0.as_ref(), Path::new("y"));
    table.upload_ended(&path, &UploadEnd::Returned("y".into()), now);
    assert!(table.take_due(now, 9).is_empty(), "the other file is being uploaded");
    table.upload_ended(&other, &UploadEnd::Stored, now);
    assert_eq!(only(&table.take_due(now, 9)), other);
}

#[test]
fn a_young_file_waits_for_its_age_and_in_a_crowded_table_for_a_later_walk() {
    let hour = Duration::from_secs(3600);
    let (mut table, now, rules) = (Candidates::default(), Instant::now(), Rules::new(SETTLE).with_min_age(hour));
    table.touched(Path::new("x"), Cause::Renamed, now);
    let path = only(&table.take_due(now, 9));
    let young = (now, UNIX_EPOCH + Duration::from_secs(60));
    let Readiness::Wait(until) = table.inspected(&path, quiet(), young, &rules) else { panic!("it is too young") };
    assert!(until > now + Duration::from_secs(3500) && until <= now + hour);
    assert_eq!(table.inspected(&path, quiet(), (until, UNIX_EPOCH + 2 * hour), &rules), Readiness::Ready);
    table.upload_ended(&path, &UploadEnd::Stored, now);
    for number in 0..=budget::CANDIDATES_TOO_YOUNG {
        table.found(Path::new(&number.to_string()), true, now);
    }
    let path = table.take_due(now, 1).remove(0);
    let before = table.len();
    assert_eq!(
        table.inspected(&path, quiet(), young, &Rules { scanned: Duration::ZERO, ..rules }),
        Readiness::TooYoung
    );
    assert_eq!(table.len(), before - 1);
    table.found(&path, false, now);
    assert!(table.upload_ended(&path, &UploadEnd::Stored, now), "the walk that finds it again has missed no event");
}

/// A folder with a million files that are ready takes the memory of a few thousand.
#[test]
fn a_walk_pauses_while_enough_files_can_go_and_goes_on_for_files_that_are_to_settle() {
    let (mut table, now) = (Candidates::default(), Instant::now());
    let mut number = 0;
    let mut find = |table: &mut Candidates| {
        number += 1;
        table.found(Path::new(&number.to_string()), true, now);
    };
    while table.has_room() {
        find(&mut table);
    }
    assert_eq!(table.len(), budget::CANDIDATES_AHEAD);
    let due = table.take_due(now, usize::MAX);
    assert!(table.has_room(), "none of them is known to be ready");
    // Changed just now, by the file system's own time.
    let young = || Observation::Quiet(FileStamp { device: 1, inode: 1, size: 1, mtime: 1, ctime: 3_600_000_000_000 });
    for path in &due {
        assert!(matches!(table.inspected(path, young(), at(now), &Rules::new(SETTLE)), Readiness::Wait(_)));
    }
    assert!(table.has_room(), "files that settle don't keep the walk from files that may be ready");
    let later = now + 4 * SETTLE;
    let due = table.take_due(later, usize::MAX);
    let ready =
        due.iter().filter(|path| table.inspected(path, young(), at(later), &Rules::new(SETTLE)) == Readiness::Ready);
    assert_eq!(ready.count(), budget::CANDIDATES_AHEAD);
    assert!(!table.has_room());
    table.take_ready().unwrap();
    assert!(table.has_room());
    find(&mut table);
    assert!(!table.has_room());
}
