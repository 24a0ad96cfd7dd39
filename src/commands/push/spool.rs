//! Standard input's own file, and those that pushes which were killed have left.
//!
//! Each lies in a folder of its own, which is locked until its push has ended.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FileType;

use crate::exit::{Exit, Fatal};
use crate::file::lock::Locks;
use crate::file::{Opened, PRIVATE, Root, Settled, Tree, staged_name};
use crate::journal::{End, Entry, Journal, JournalError, LocalEnd, State};
use crate::removal;

/// Standard input, whole, on disk.
pub(super) struct Spooled {
    /// Its file.
    pub(super) file: Settled,
    /// Its folder, locked: for other pushes it is in use as long as this lives.
    _own: File,
}

/// Standard input's own folder until it has been read to its end: half of it is of no use to anybody.
struct Unfinished(Option<PathBuf>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(folder) = &self.0 {
            removal::discard(folder);
        }
    }
}

/// Writes standard input to a file of its own, from where it is uploaded as `name`. Whatever is piped in never has to fit
/// into memory, and is still there if the upload fails.
pub(super) async fn spool(name: String, folder: PathBuf, locks: &Arc<Locks>) -> Result<Spooled, Fatal> {
    let failed = |error: io::Error| {
        let shown = folder.display();
        Fatal::new(Exit::SomeFailed, format!("standard input can't be kept in {shown} until it is uploaded: {error}"))
    };
    let mut random = [0u8; 8];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty()).map_err(|e| failed(e.into()))?;
    // Its place says what it is called, as that of a file set aside does.
    let own = Path::new(PRIVATE).join(format!("{:016x}", u64::from_ne_bytes(random)));
    let mut unfinished = Unfinished(Some(folder.join(&own)));
    let relative = own.join(name);
    let place = folder.join(&relative);
    let spooled = tokio::task::spawn_blocking(move || read_into(&place));
    let own = spooled.await.map_err(|error| failed(io::Error::other(error)))?.map_err(failed)?;
    let root = Root::open(&folder).map_err(failed)?.with_locks(locks, false);
    unfinished.0 = None;
    Ok(Spooled { file: Settled::new(Arc::new(root), relative), _own: own })
}

/// Answers the file's folder, locked before the file is there.
#[expect(clippy::disallowed_methods, reason = "the state folder is this user's alone")]
fn read_into(place: &Path) -> io::Result<File> {
    let parent = place.parent().unwrap_or(Path::new("."));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    let own = File::open(parent)?;
    // Another push may look into it just now, for a moment. Where there are no locks nobody takes it for a leftover.
    own.lock().ok();
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(place)?;
    io::copy(&mut io::stdin().lock(), &mut file)?;
    file.sync_all()?;
    Ok(own)
}

/// Discards what pushes that were killed have left though the store has it, and tells of the rest: the only copies.
#[expect(clippy::disallowed_methods, reason = "the state folder is this user's alone")]
pub(super) async fn clear_leftovers(journal: &Journal, locks: &Arc<Locks>, folder: &Path) -> Result<(), JournalError> {
    // None has ever been there.
    let Ok(root) = Root::open(folder) else { return Ok(()) };
    let folders = std::fs::read_dir(root.path().join(PRIVATE)).into_iter().flatten().flatten();
    for own in folders.filter(|entry| is_own(&entry.file_name()) && entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        let Ok(in_use) = File::open(own.path()) else { continue };
        let Ok(own) = Root::open(&own.path()) else { continue };
        // Else its push is at work. Nobody but this user can lock a folder that nobody else may enter.
        if in_use.try_lock().is_ok() {
            clear(journal, &root, &own.with_locks(locks, false)).await?;
        }
    }
    Ok(())
}

/// Whether a folder's name is one of ours: those of removals are shorter or longer.
fn is_own(name: &OsStr) -> bool {
    name.len() == 16 && name.as_encoded_bytes().iter().all(u8::is_ascii_hexdigit)
}

/// Discards a folder if the store has each file in it.
async fn clear(journal: &Journal, root: &Root, own: &Root) -> Result<(), JournalError> {
    // Claimed until the end, so that nobody begins to upload one that is about to go.
    let mut spare = Vec::new();
    for place in files_in(own).unwrap_or_default() {
        let Ok(opened) = own.open_file(&place) else { return Ok(()) };
        // Else somebody pushes it by its name.
        let Some(claim) = own.lock_for_upload(&opened) else { return Ok(()) };
        let known = known(journal, root, own, &place, &opened).await?;
        let unchanged = |entry: &Entry| entry.intent.stamp.ctime == opened.stamp.ctime;
        if !known.as_ref().is_some_and(|entry| has_receipt(entry) && unchanged(entry)) {
            tell(&own.path().join(place), known.is_some());
            return Ok(());
        }
        spare.push((claim, known));
    }
    if !spare.is_empty() {
        removal::discard(own.path());
    }
    // One that is not over would hold up the pruning of all later receipts.
    for entry in spare.iter().filter_map(|(_, known)| known.as_ref()).filter(|entry| entry.state == State::Stored) {
        journal.end(entry.id, End::Local(LocalEnd::Removed)).await?;
    }
    Ok(())
}

/// All that is no folder, below the one that it lies in; `None` where not all can be looked at.
fn files_in(own: &Root) -> Option<Vec<PathBuf>> {
    let (mut tree, mut files) = (Tree::of(own, Path::new("")), Vec::new());
    while let Some(entry) = tree.next(|_, _| true) {
        let entry = entry.ok()?;
        if entry.kind != FileType::Directory {
            files.push(entry.path.to_owned());
        }
    }
    Some(files)
}

/// What the journal has of just this file: of its push, and of those that a person began by its name since.
async fn known(
    journal: &Journal,
    root: &Root,
    own: &Root,
    place: &Path,
    opened: &Opened,
) -> Result<Option<Entry>, JournalError> {
    let mut known = None;
    for root in [root, own] {
        let entry = journal.of_file(root.path(), &staged_name::origin(place), opened.stamp).await?;
        // The newest of its name may be another day's.
        let entry = entry.filter(|entry| entry.intent.stamp.same_file(&opened.stamp));
        known = entry.filter(|entry| known.is_none() || has_receipt(entry)).or(known);
    }
    Ok(known)
}

fn has_receipt(entry: &Entry) -> bool {
    let goes = matches!(entry.state, State::Stored | State::Ended(End::Local(_) | End::Superseded));
    goes && entry.stored.is_some()
}

/// An upload begins once all of standard input is there: before that it may be a part.
fn tell(file: &Path, begun: bool) {
    let file = file.display();
    let what = if begun { "" } else { ", all of it or a part," };
    tracing::warn!(
        "what an earlier push was given on standard input{what} is kept in {file}: the store is not known to have it; \
         upload it with `push --delete` and that path, or delete it if nobody needs it"
    );
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a person may rename and delete what lies there")]
mod tests {
    use super::*;
    use crate::journal::{AttemptId, Begun, Intent, Stored};
    use crate::vault::{DocumentId, RemotePath};

    const OWN: &str = ".astran-backup/00000000000000ff";

    /// A state folder's standard input with one leftover, and a journal.
    struct Left {
        dir: tempfile::TempDir,
        journal: Journal,
        root: Root,
    }

    impl Left {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let folder = dir.path().join("stdin");
            std::fs::create_dir_all(folder.join(OWN)).unwrap();
            std::fs::write(folder.join(OWN).join("dump"), "piped").unwrap();
            let journal = Journal::open(dir.path()).unwrap();
            Self { journal, root: Root::open(&folder).unwrap(), dir }
        }

        /// As another process has them.
        fn locks(&self) -> Arc<Locks> {
            Locks::open(self.dir.path()).unwrap()
        }

        fn place(&self) -> PathBuf {
            self.root.path().join(OWN).join("dump")
        }

        async fn begin(&self) -> AttemptId {
            let stamp = self.root.open_file(&Path::new(OWN).join("dump")).unwrap().stamp;
            let (root, relative) = (self.root.path().to_owned(), "dump".into());
            let (dest, folder) = (RemotePath::default(), DocumentId("1".into()));
            let intent = Intent { root, relative, stamp, dest, folder, name: "dump".into() };
            let Begun::Go(id) = self.journal.begin(intent).await.unwrap() else { panic!("its name is free") };
            id
        }

        async fn store(&self) -> AttemptId {
            let id = self.begin().await;
            let (document, user) = (DocumentId("2".into()), "me".into());
            let stored =
                Stored { sha256: "ab".into(), size: 5, document, document_version: None, user, already_present: false };
            self.journal.stored(id, stored).await.unwrap();
            id
        }

        async fn is_kept(&self) -> bool {
            clear_leftovers(&self.journal, &self.locks(), &self.dir.path().join("stdin")).await.unwrap();
            self.place().exists()
        }
    }

    #[tokio::test]
    async fn what_the_store_has_by_a_receipt_is_discarded_however_its_push_was_killed() {
        for end in [None, Some(End::Local(LocalEnd::Kept)), Some(End::Superseded)] {
            let left = Left::new();
            let id = left.store().await;
            if let Some(end) = end {
                left.journal.end(id, end).await.unwrap();
            }
            assert!(!left.is_kept().await);
            assert!(!left.root.path().join(OWN).exists());
        }
    }

    #[tokio::test]
    async fn what_has_no_receipt_is_kept() {
        let left = Left::new();
        assert!(left.is_kept().await, "nothing is known of it");
        let id = left.begin().await;
        assert!(left.is_kept().await, "its upload may have come to nothing");
        left.journal.end(id, End::Failed { reason: "refused".into() }).await.unwrap();
        assert!(left.is_kept().await, "it was refused");
    }

    #[tokio::test]
    async fn the_receipt_of_another_file_of_its_name_or_of_what_it_was_is_none() {
        let left = Left::new();
        left.store().await;
        let before = std::fs::metadata(left.place()).unwrap().modified().unwrap();
        std::fs::write(left.place(), "other").unwrap();
        std::fs::File::options().write(true).open(left.place()).unwrap().set_modified(before).unwrap();
        assert!(left.is_kept().await, "same size and time, other bytes");
        let other = left.place().with_file_name("other");
        std::fs::write(&other, "other").unwrap();
        std::fs::rename(&other, left.place()).unwrap();
        assert!(left.is_kept().await);
    }

    #[tokio::test]
    async fn what_somebody_uses_is_kept_though_the_store_has_it() {
        let left = Left::new();
        left.store().await;
        let own = File::open(left.root.path().join(OWN)).unwrap();
        own.lock().unwrap();
        assert!(left.is_kept().await, "its push has not ended");
        drop(own);
        let root = Root::open(&left.root.path().join(OWN)).unwrap().with_locks(&left.locks(), false);
        let claim = root.lock_for_upload(&root.open_file(Path::new("dump")).unwrap()).unwrap();
        assert!(left.is_kept().await, "it is uploaded by its name");
        drop(claim);
        let beside = left.place().with_file_name("beside");
        std::fs::write(&beside, "a person's").unwrap();
        assert!(left.is_kept().await, "the store has not all of it");
        std::fs::remove_file(beside).unwrap();
        assert!(!left.is_kept().await);
    }
}
