//! Writes standard input to a file, and clears away such files that killed pushes have left.
//!
//! Each file lies in a folder of its own, which is locked until its push has ended.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FileType;

use crate::config::Config;
use crate::exit::{Exit, Fatal};
use crate::file::lock::Locks;
use crate::file::{Opened, PRIVATE, Root, Settled, Tree, staged_name};
use crate::journal::{End, Entry, Journal, JournalError, LocalEnd, State};
use crate::removal;

/// Standard input, read to its end, on disk.
pub(super) struct Spooled {
    pub(super) file: Settled,
    /// The file's folder, locked. To other pushes the folder is in use as long as this value lives.
    _own: File,
}

/// The folder for standard input until all of standard input has been read. If that fails, the folder is discarded, as a part of
/// standard input is of no use.
struct Unfinished(Option<PathBuf>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(folder) = &self.0 {
            removal::discard(folder);
        }
    }
}

/// The folder of the state that standard input is written to.
pub(super) fn folder(config: &Config) -> PathBuf {
    config.state_dir.join("stdin")
}

/// Writes standard input to a file of its own, from where it is uploaded as `name`. So standard input never has to fit into
/// memory, and is still there if the upload fails.
pub(super) async fn spool(name: String, folder: PathBuf, locks: &Arc<Locks>) -> Result<Spooled, Fatal> {
    let failed = |error: io::Error| {
        let shown = folder.display();
        Fatal::new(Exit::SomeFailed, format!("standard input can't be kept in {shown} until it is uploaded: {error}"))
    };
    let mut random = [0u8; 8];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty()).map_err(|e| failed(e.into()))?;
    // The place has the form that a file set aside by a removal has, from which the document's name follows.
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

/// Returns the file's folder, which is locked before the file is made.
#[expect(clippy::disallowed_methods, reason = "the state folder is this user's alone")]
fn read_into(place: &Path) -> io::Result<File> {
    let parent = place.parent().unwrap_or(Path::new("."));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    let own = File::open(parent)?;
    // The lock waits, as another push may hold it for a moment while it looks for leftovers. Where the file system has no locks,
    // no push takes the folder for a leftover.
    own.lock().ok();
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(place)?;
    io::copy(&mut io::stdin().lock(), &mut file)?;
    file.sync_all()?;
    Ok(own)
}

/// Clears away what killed pushes have left: discards what the store has, and logs where the rest is, as those are the only copies.
#[expect(clippy::disallowed_methods, reason = "the state folder is this user's alone")]
pub(super) async fn clear_leftovers(journal: &Journal, locks: &Arc<Locks>, folder: &Path) -> Result<(), JournalError> {
    // Without the folder there are no leftovers.
    let Ok(root) = Root::open(folder) else { return Ok(()) };
    let folders = std::fs::read_dir(root.path().join(PRIVATE)).into_iter().flatten().flatten();
    for own in folders.filter(|entry| is_own(&entry.file_name()) && entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        let Ok(in_use) = File::open(own.path()) else { continue };
        let Ok(own) = Root::open(&own.path()) else { continue };
        // A locked folder belongs to a push that still runs. Only this user may enter the folder, so no other user can lock it.
        if in_use.try_lock().is_ok() {
            clear(journal, &root, &own.with_locks(locks, false)).await?;
        }
    }
    Ok(())
}

/// Whether a folder's name is that of a folder for standard input. The names that removals use are shorter or longer.
fn is_own(name: &OsStr) -> bool {
    name.len() == 16 && name.as_encoded_bytes().iter().all(u8::is_ascii_hexdigit)
}

/// Discards a folder if the store has each file in it.
async fn clear(journal: &Journal, root: &Root, own: &Root) -> Result<(), JournalError> {
    // Each file is claimed until the end, so that no upload of a file begins that is about to be discarded.
    let mut spare = Vec::new();
    for place in files_in(own).unwrap_or_default() {
        let Ok(opened) = own.open_file(&place) else { return Ok(()) };
        // A claimed file is pushed by its name just now.
        let Some(claim) = own.lock_for_upload(&opened) else { return Ok(()) };
        let known = known(journal, root, own, &place, &opened).await?;
        let unchanged = |entry: &Entry| entry.intent.stamp.ctime == opened.stamp.ctime;
        if !known.as_ref().is_some_and(|entry| has_receipt(entry) && unchanged(entry)) {
            log_kept(&own.path().join(place), known.is_some());
            return Ok(());
        }
        spare.push((claim, known));
    }
    if !spare.is_empty() {
        removal::discard(own.path());
    }
    // An entry without an end would keep all later receipts from being pruned.
    for entry in spare.iter().filter_map(|(_, known)| known.as_ref()).filter(|entry| entry.state == State::Stored) {
        journal.end(entry.id, End::Local(LocalEnd::Removed)).await?;
    }
    Ok(())
}

/// Everything in the folder that is not a folder itself; `None` where a part of the folder can't be read.
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

/// The journal's entry about exactly this file: that of its push, or of a later push of the file by its name.
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
        // The newest entry of this name may be about another file.
        let entry = entry.filter(|entry| entry.intent.stamp.same_file(&opened.stamp));
        known = entry.filter(|entry| known.is_none() || has_receipt(entry)).or(known);
    }
    Ok(known)
}

fn has_receipt(entry: &Entry) -> bool {
    let goes = matches!(entry.state, State::Stored | State::Ended(End::Local(_) | End::Superseded));
    goes && entry.stored.is_some()
}

/// Logs where a file is kept. The upload begins when all of standard input is there, so before that the file may be a part of it.
fn log_kept(file: &Path, begun: bool) {
    let file = file.display();
    let what = if begun { "" } else { ", all of it or a part," };
    tracing::warn!(
        "what an earlier push was given on standard input{what} is kept in {file}: the store is not known to have it; \
         upload it with `push --delete` and that path, or delete it if nobody needs it"
    );
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a user may rename and delete what lies there")]
mod tests {
    use super::*;
    use crate::journal::{AttemptId, Begun, Intent, Stored};
    use crate::vault::{DocumentId, RemotePath};

    const OWN: &str = ".astran-backup/00000000000000ff";

    /// A state folder with one leftover of a killed push, and a journal.
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

        /// The locks, opened as another process opens them.
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
    async fn a_leftover_with_a_receipt_is_discarded_whenever_its_push_was_killed() {
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
    async fn a_leftover_without_a_receipt_is_kept() {
        let left = Left::new();
        assert!(left.is_kept().await, "nothing is known of it");
        let id = left.begin().await;
        assert!(left.is_kept().await, "its upload may have come to nothing");
        left.journal.end(id, End::Failed { reason: "refused".into() }).await.unwrap();
        assert!(left.is_kept().await, "it was refused");
    }

    #[tokio::test]
    async fn a_receipt_of_another_file_or_of_earlier_content_does_not_count() {
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
    async fn a_leftover_in_use_is_kept_though_the_store_has_it() {
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
