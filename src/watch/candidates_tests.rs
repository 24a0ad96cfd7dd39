//! What the table does with hints, looks and ends.

use super::*;
use crate::file::FileStamp;
use std::path::PathBuf;
use std::time::Duration;

const SETTLE: Duration = Duration::from_millis(500);

fn quiet() -> Observation {
    Observation::Quiet(FileStamp { device: 1, inode: 1, size: 1, mtime: 1, ctime: 1 })
}

fn only(paths: &[Arc<Path>]) -> Arc<Path> {
    assert_eq!(paths.len(), 1);
    paths[0].clone()
}

/// A table with one file in the pipeline.
fn out() -> (Candidates, Instant, Arc<Path>) {
    let (mut table, now) = (Candidates::default(), Instant::now());
    table.hint(Path::new("x"), Cause::Renamed, now);
    let path = only(&table.take_due(now, 9));
    assert_eq!(table.looked(&path, quiet(), now, &Rules::new(SETTLE)), Verdict::Ready);
    assert_eq!(table.take_ready().unwrap().0.as_ref(), Path::new("x"));
    (table, now, path)
}

#[test]
fn a_file_on_its_way_is_never_handed_out_twice() {
    let (mut table, now, _) = out();
    table.hint(Path::new("x"), Cause::Closed, now);
    table.found(Path::new("x"), true, now);
    assert!(table.take_due(now, 9).is_empty());
    assert_eq!(table.take_ready(), None);
}

#[test]
fn what_happens_to_a_file_in_the_pipeline_is_looked_at_when_it_is_done() {
    let (mut table, now, path) = out();
    table.hint(&path, Cause::Closed, now);
    assert!(table.done(&path, &Next::Stored, now));
    assert_eq!(only(&table.take_due(now, 9)), path);
}

#[test]
fn a_file_that_is_done_is_forgotten_and_one_that_came_back_goes_round_again() {
    let (mut table, now, path) = out();
    table.done(&path, &Next::Stored, now);
    assert_eq!(table.len(), 0);
    let (mut table, now, path) = out();
    table.done(&path, &Next::Again(".astran-backup/0/x".into()), now);
    assert_eq!(&*only(&table.take_due(now, 9)), Path::new(".astran-backup/0/x"));
}

#[test]
fn a_file_touched_while_it_waits_for_the_queue_settles_anew() {
    let (mut table, now, rules) = (Candidates::default(), Instant::now(), Rules::new(SETTLE));
    table.hint(Path::new("x"), Cause::Renamed, now);
    let path = only(&table.take_due(now, 9));
    table.looked(&path, quiet(), now, &rules);
    table.hint(&path, Cause::Closed, now);
    assert_eq!(table.take_ready(), None);
    let path = only(&table.take_due(now, 9));
    assert_eq!(table.looked(&path, quiet(), now, &rules), Verdict::Wait(now + SETTLE));
    assert_eq!(table.next_due(), Some(now + SETTLE));
}

#[test]
fn only_a_file_that_no_event_told_of_counts_as_missed() {
    let (mut table, now) = (Candidates::default(), Instant::now());
    for (told_before, event, expected) in [(true, false, true), (false, true, true), (false, false, false)] {
        table.found(Path::new("x"), told_before, now);
        if event {
            table.hint(Path::new("x"), Cause::Closed, now);
        }
        assert_eq!(table.done(Path::new("x"), &Next::Stored, now), expected);
        table.take_due(now, 9);
    }
}

#[test]
fn a_file_that_failed_and_lies_there_does_not_count_as_missed() {
    let (mut table, now, path) = out();
    table.done(&path, &Next::Remains { put_back: false, aside: None }, now);
    table.found(&path, false, now);
    assert!(table.done(&path, &Next::Stored, now));
    table.found(&path, false, now);
    assert!(!table.done(&path, &Next::Stored, now));
}

/// It was taken for our own putting back, and the new document waited for the next walk.
#[test]
fn a_document_renamed_over_one_that_is_being_sent_is_looked_at_when_that_is_done() {
    for (put_back, expected) in [(false, 1), (true, 0)] {
        let (mut table, now, path) = out();
        table.hint(&path, Cause::Renamed, now);
        table.done(&path, &Next::Remains { put_back, aside: None }, now);
        assert_eq!(table.take_due(now, 9).len(), expected);
    }
}

#[test]
fn a_file_that_failed_under_its_private_name_is_looked_at_after_each_walk() {
    let (mut table, now) = (Candidates::default(), Instant::now());
    let place = Path::new(".astran-backup/0/x");
    table.hint(place, Cause::Returned, now);
    table.done(place, &Next::Remains { put_back: false, aside: None }, now);
    table.take_due(now, 9);
    table.walked(now);
    assert_eq!(&*only(&table.take_due(now, 9)), place);
}

/// It was forgotten, and waited for the next walk.
#[test]
fn a_file_that_came_during_a_look_that_saw_none_is_looked_at() {
    let (mut table, now, rules) = (Candidates::default(), Instant::now(), Rules::new(SETTLE));
    for seen in [Observation::Gone, Observation::Folder] {
        table.hint(Path::new("x"), Cause::Created, now);
        let path = only(&table.take_due(now, 9));
        table.hint(&path, Cause::Renamed, now);
        table.looked(&path, seen, now, &rules);
        assert_eq!(only(&table.take_due(now, 9)), path);
        table.looked(&path, Observation::Gone, now, &rules);
        assert_eq!(table.len(), 0);
    }
}

/// It was never looked at again: no walk goes there.
#[test]
fn a_file_that_could_be_neither_moved_away_nor_put_back_is_looked_at_after_each_walk() {
    let (mut table, now, path) = out();
    let aside = PathBuf::from(".astran-backup/0/x");
    table.done(&path, &Next::Remains { put_back: true, aside: Some(aside.clone()) }, now);
    table.walked(now);
    assert_eq!(&*only(&table.take_due(now, 9)), aside.as_path());
}

#[test]
fn a_hint_during_a_look_counts() {
    let (mut table, now, rules) = (Candidates::default(), Instant::now(), Rules::new(SETTLE));
    table.hint(Path::new("x"), Cause::Renamed, now);
    let path = only(&table.take_due(now, 9));
    table.hint(&path, Cause::Closed, now);
    assert_eq!(table.looked(&path, quiet(), now, &rules), Verdict::Wait(now + SETTLE));
}

/// The close is the new writer's, the rename our own putting back, in whichever order they are told.
#[test]
fn what_was_written_before_a_file_was_put_back_is_looked_at() {
    for causes in [[Cause::Closed, Cause::Renamed], [Cause::Renamed, Cause::Closed]] {
        let (mut table, now, path) = out();
        for cause in causes {
            table.hint(&path, cause, now);
        }
        table.done(&path, &Next::Remains { put_back: true, aside: None }, now);
        assert_eq!(table.take_due(now, 9).len(), 1, "{causes:?}");
    }
}

#[test]
fn a_file_that_came_back_to_where_another_one_is_on_its_way_is_looked_at_after_that() {
    let (mut table, now, path) = out();
    let rules = Rules::new(SETTLE);
    table.hint(Path::new("y"), Cause::Renamed, now);
    let other = only(&table.take_due(now, 9));
    table.looked(&other, quiet(), now, &rules);
    assert_eq!(table.take_ready().unwrap().0.as_ref(), Path::new("y"));
    table.done(&path, &Next::Again("y".into()), now);
    assert!(table.take_due(now, 9).is_empty(), "it is in the pipeline");
    table.done(&other, &Next::Stored, now);
    assert_eq!(only(&table.take_due(now, 9)), other);
}
