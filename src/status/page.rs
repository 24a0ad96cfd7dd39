//! What the page of the listener gets: the snapshot as `status --json` prints it, with and without names.

use std::time::SystemTime;

use super::{Gatherer, Snapshot};
use crate::budget;
use crate::events;
use crate::observe::http::{Source, StatusText};

/// The status for the listener, from this process.
pub(crate) fn page_source(gatherer: Gatherer) -> Source<StatusText> {
    Source::new(move || texts(gatherer.snapshot(), SystemTime::now()))
}

fn texts(mut snapshot: Snapshot, now: SystemTime) -> StatusText {
    // They stand in the order in which they were opened, which differs from run to run.
    snapshot.folders.sort_by(|one, other| one.path.text().cmp(other.path.text()));
    limit_files(&mut snapshot, budget::PAGE_FILES);
    let line = |snapshot: &Snapshot| (events::line(snapshot, now) + "\n").into();
    let with_names = line(&snapshot);
    StatusText { with_names, without_names: line(&snapshot.without_names()) }
}

/// Leaves so many files of each folder: those that need a person first, and those that stay on purpose last.
fn limit_files(snapshot: &mut Snapshot, most: usize) {
    for folder in &mut snapshot.folders {
        folder.files.sort_by_key(|file| match file.standing.as_str() {
            _ if file.needs_a_person => 0,
            "kept" => 3,
            _ if file.mend.is_some() => 1,
            _ => 2,
        });
        if folder.files.len() > most {
            folder.files.truncate(most);
            folder.complete = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::nameless::tests::{file, snapshot};

    #[test]
    fn of_many_files_those_that_need_a_person_are_left_and_the_list_says_that_it_is_not_complete() {
        let mut limited = snapshot();
        limited.folders[0].files = vec![file("kept"), file("ready"), file("failed"), file("settling")];
        limit_files(&mut limited, 3);
        let left: Vec<_> = limited.folders[0].files.iter().map(|file| file.standing.as_str()).collect();
        assert_eq!((left, limited.folders[0].complete), (vec!["failed", "ready", "settling"], false));
    }

    #[test]
    fn the_text_without_names_differs_in_the_names_alone() {
        let texts = texts(snapshot(), SystemTime::UNIX_EPOCH);
        let (with, without) = (texts.with_names, texts.without_names);
        assert!(with.starts_with(b"{\"v\":1,\"type\":\"status\"") && without.starts_with(&with[..60]));
        let has = |text: &[u8]| text.windows(6).any(|part| part == b"secret");
        assert!(has(&with) && !has(&without));
    }
}
