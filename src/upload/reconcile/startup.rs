//! What a stopped process left behind in a folder, before anything new is begun there.
//!
//! Files that it set aside are put back, so that the first walk finds all that is there still, and each file's attempt is resolved
//! when the file is transferred. Here only those attempts end whose files are gone: no file would come to ask for them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::task::JoinError;

use super::decide::{AtItsPlaces, at_start};
use super::search::places_of;
use crate::failpoint::failpoint;
use crate::file::{OpenError, Root, staged_name};
use crate::journal::{AttemptId, End, Entry, Journal, JournalError, State};
use crate::removal;

/// Why what a stopped process left behind was not resolved. The folder must not be watched: a file in it may be sent twice.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecoveryError {
    /// The journal can't be used. The caller may try again.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// This program panicked.
    #[error("internal error: {0}")]
    Internal(#[from] JoinError),
}

/// Puts back the files that were set aside, and ends the attempts whose files are gone. Everything that asks the file system, which may
/// be a share that does not answer, runs on threads that may block.
pub(crate) async fn resolve(journal: &Journal, root: &Arc<Root>) -> Result<(), RecoveryError> {
    let aside = on_disk(root, |root| removal::recover(root, Path::new(""))).await?;
    failpoint("after-recovery");
    let mut unresolved = Vec::new();
    for entry in journal.unresolved(root.path()).await? {
        let is_followed = entry.state == State::Open && journal.has_newer(entry.id).await?;
        unresolved.push((entry, is_followed));
    }
    for (attempt, end) in on_disk(root, move |root| over(root, &unresolved, &aside)).await? {
        journal.end(attempt, end).await?;
    }
    Ok(())
}

async fn on_disk<T: Send + 'static>(
    root: &Arc<Root>,
    work: impl FnOnce(&Root) -> T + Send + 'static,
) -> Result<T, JoinError> {
    let root = Arc::clone(root);
    tokio::task::spawn_blocking(move || work(&root)).await
}

/// The attempts that are over, and how they ended. Blocks.
fn over(root: &Root, unresolved: &[(Entry, bool)], aside: &[PathBuf]) -> Vec<(AttemptId, End)> {
    let end = |(entry, is_followed): &(Entry, bool)| end_of(entry, *is_followed, root, aside);
    let over: Vec<_> = unresolved.iter().filter_map(|known| Some((&known.0, end(known)?))).collect();
    let sent = |entry: &Entry| entry.state == State::Open && entry.intent.names_folder();
    let open = over.iter().filter(|(entry, _)| sent(entry)).map(|(entry, _)| entry.intent.stamp);
    let places = places_of(root, &open.collect::<Vec<_>>());
    // The file was moved while its upload was open: it asks for that upload when it is transferred from where it lies now.
    let is_moved = |entry: &Entry| sent(entry) && places.may_have(&entry.intent.stamp);
    over.into_iter().filter(|(entry, _)| !is_moved(entry)).map(|(entry, end)| (entry.id, end)).collect()
}

/// How an attempt ended, if its file is gone; `aside` are the places of files that are still set aside.
fn end_of(entry: &Entry, is_followed: bool, root: &Root, aside: &[PathBuf]) -> Option<End> {
    let origin = &entry.intent.relative;
    let places = aside.iter().filter(|place| staged_name::origin(place) == *origin).chain([origin]);
    let found: Vec<_> = places.map(|place| root.open_file(place)).collect();
    let is_other = |stamp| !entry.intent.stamp.same_file(stamp);
    let found = if found.iter().all(|found| matches!(found, Err(OpenError::Gone))) {
        AtItsPlaces::Nothing
    } else if found.iter().all(|found| found.as_ref().is_ok_and(|opened| is_other(&opened.stamp))) {
        AtItsPlaces::Others
    } else {
        AtItsPlaces::Maybe
    };
    at_start(entry, found, is_followed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Intent, LocalEnd};
    use crate::vault::{DocumentId, RemotePath};
    use std::time::SystemTime;

    fn entry(root: &Root, relative: &str, state: State) -> Entry {
        let stamp = root.open_file(Path::new("x")).unwrap().stamp;
        let intent = Intent {
            root: root.path().to_owned(),
            relative: relative.into(),
            stamp,
            dest: RemotePath::default(),
            folder: DocumentId("1".into()),
            name: relative.into(),
        };
        let (id, started) = (AttemptId(1), SystemTime::UNIX_EPOCH);
        Entry { id, intent, started, state, stored: None, stored_at: None, receipt: None }
    }

    /// A folder with the file `x`.
    fn folder() -> (tempfile::TempDir, Root) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x"), "1234").unwrap();
        let root = Root::open(dir.path()).unwrap();
        (dir, root)
    }

    #[test]
    fn what_a_dead_process_left_is_ended_only_where_its_file_is_gone() {
        let (dir, root) = folder();
        let end = |relative, state| end_of(&entry(&root, relative, state), false, &root, &[]);
        assert_eq!(end("x", State::Stored), None, "removed when it is transferred");
        assert_eq!(end("x", State::Open), None, "the store is to be asked");
        assert_eq!(end("none", State::Stored), Some(End::Local(LocalEnd::Removed)));
        assert!(matches!(end("none", State::Open), Some(End::Abandoned { .. })));
        // A place that can't be opened may still have the file.
        std::os::unix::fs::symlink("x", dir.path().join("link")).unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        for unsure in ["link", "sub", &"long".repeat(100)] {
            assert_eq!(end(unsure, State::Stored), None, "{unsure}");
            assert_eq!(end(unsure, State::Open), None, "{unsure}");
        }
    }

    /// `lost+found`, for example: what lies in it would be unknown for ever.
    #[test]
    fn a_folder_that_may_never_be_entered_keeps_no_upload_open_for_ever() {
        let (dir, root) = folder();
        let mut open = entry(&root, "y", State::Open);
        open.intent.folder = DocumentId("folder".into());
        std::fs::remove_file(dir.path().join("x")).unwrap();
        let shut = dir.path().join("lost+found");
        std::fs::create_dir(&shut).unwrap();
        std::fs::set_permissions(&shut, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
        let over = over(&root, &[(open, false)], &[]);
        std::fs::set_permissions(&shut, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        assert_eq!(over.len(), 1);
    }

    #[test]
    fn a_file_that_still_lies_where_it_was_set_aside_is_not_gone() {
        let (dir, root) = folder();
        std::fs::create_dir_all(dir.path().join(".astran-backup/0")).unwrap();
        let place = PathBuf::from(".astran-backup/0/y");
        std::fs::hard_link(dir.path().join("x"), dir.path().join(&place)).unwrap();
        for state in [State::Stored, State::Open] {
            assert_eq!(end_of(&entry(&root, "y", state), true, &root, std::slice::from_ref(&place)), None);
        }
    }

    #[test]
    fn a_newer_file_under_the_name_of_one_that_is_stored_goes_its_own_way() {
        let (dir, root) = folder();
        let stored = entry(&root, "x", State::Stored);
        std::fs::write(dir.path().join("x"), "longer than it was").unwrap();
        assert_eq!(end_of(&stored, false, &root, &[]), Some(End::Superseded));
    }

    /// Regression: an upload that a writer had cut off stood as under way for ever, when its file was written anew and that was sent.
    #[test]
    fn an_upload_without_an_outcome_is_over_once_another_file_of_its_path_was_sent_and_its_own_is_gone() {
        let (dir, root) = folder();
        let open = entry(&root, "x", State::Open);
        for followed in [false, true] {
            assert_eq!(end_of(&open, followed, &root, &[]), None, "its file is there");
        }
        std::fs::write(dir.path().join("x"), "longer than it was").unwrap();
        assert_eq!(end_of(&open, false, &root, &[]), None, "the file that is there now asks for it");
        assert!(matches!(end_of(&open, true, &root, &[]), Some(End::Abandoned { .. })));
    }
}
