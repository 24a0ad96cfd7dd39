//! Uploads without an outcome whose file is not where it was: moved, set aside, or followed by another one of its name.
//!
//! Whoever takes such a file's path, or its name in the vault, covers the document that is still to be asked for. So it is
//! asked for first, wherever the file lies now.

pub(crate) mod startup;

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::FileType;

use crate::budget;
use crate::file::{FileStamp, OpenError, Root, Settled, Tree, look_at};
use crate::journal::{Begun, Entry, Intent, State};
use crate::upload::Pipeline;
use crate::upload::attempt::{Halt, open};
use crate::vault::Vault;

/// A file that is being sent or written is asked for so often, so far apart; then whoever waits for that goes on.
const TRIES: u32 = 20;
const BETWEEN: Duration = Duration::from_millis(250);

/// What asking for another file's upload came to.
#[derive(Debug, PartialEq)]
enum Asked {
    /// The store has it, and it has its receipt.
    Stored,
    /// The store has it not.
    NotStored,
    /// Nobody knows yet: somebody writes or sends it just now.
    Unanswered,
}

/// Where an entry's file lies.
enum Location {
    /// Here.
    At(Settled),
    /// Nowhere below the root.
    Nowhere,
    /// It may lie in what can't be read now.
    Unknown,
}

/// What a walk in search of files came to.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// Which of them were found, and where.
    found: Vec<(FileStamp, PathBuf)>,
    /// Something could not be read: the others may lie there.
    is_part: bool,
}

impl Places {
    /// Whether a file was found, or may lie where the walk could not look.
    pub(crate) fn may_have(&self, stamp: &FileStamp) -> bool {
        self.is_part || self.found.iter().any(|(found, _)| found == stamp)
    }
}

impl<V: Vault> Pipeline<V> {
    /// Asks for the upload of another file that had this one's path, if that file lies anywhere below the root still. Its
    /// bytes say what to ask for. Answers whether there is one.
    pub(super) async fn ask_for_other(&self, file: &Settled, own: &FileStamp, entry: &Entry) -> Result<bool, Halt> {
        if own.same_file(&entry.intent.stamp) || !is_ours(file, entry) {
            return Ok(false);
        }
        match find(file, entry).await {
            Location::At(other) => self.ask_for(&other, entry).await.map(|_| true),
            Location::Nowhere if is_sent(file, own, entry) => Err(Halt::Later(budget::FIRST_LOOK)),
            Location::Nowhere => Ok(false),
            Location::Unknown => Ok(true),
        }
    }

    /// Asks for it. Where it is on its own way just now, that may answer as well: it is waited for a while. What a push meets
    /// is another push's, and takes as long as that takes.
    async fn ask_for(&self, other: &Settled, entry: &Entry) -> Result<Asked, Halt> {
        for _ in 0..TRIES {
            let forced = self.ask_once(other, entry).await?;
            if forced != Asked::Unanswered || self.forced {
                return Ok(forced);
            }
            tokio::time::sleep(BETWEEN).await;
            let known = self.shared.journal.of_file(other.root.path(), &other.origin, entry.intent.stamp).await?;
            if known.is_none_or(|known| known.id != entry.id || known.state != entry.state) {
                break;
            }
        }
        Ok(Asked::Unanswered)
    }

    async fn ask_once(&self, other: &Settled, entry: &Entry) -> Result<Asked, Halt> {
        // Where it can't be read now it is as good as any other file that changes: sent by itself.
        let Ok(source) = open(other).await else { return Ok(Asked::Unanswered) };
        match self.unless_written(&source, self.ask(other, &source, entry)).await {
            Some(Ok(Some(_))) => Ok(Asked::Stored),
            Some(Ok(None)) => Ok(Asked::NotStored),
            // Its own end, and none of the file's that asks.
            None | Some(Err(Halt::Ended(_) | Halt::Unreadable(_) | Halt::Scarce(_))) => Ok(Asked::Unanswered),
            Some(Err(halt)) => Err(halt),
        }
    }

    /// Writes the intent. A name is free if its owner is an upload without an outcome, and its file is gone from its place:
    /// once it was asked for, if it lies elsewhere.
    pub(super) async fn begin(&self, file: &Settled, intent: &Intent) -> Result<Begun, Halt> {
        let begun = self.shared.journal.begin(intent.clone()).await?;
        let Begun::NameTaken(owner) = &begun else { return Ok(begun) };
        if owner.state != State::Open || !is_ours(file, owner) || !is_gone(&file.root, owner).await {
            return Ok(begun);
        }
        let forced = match find(file, owner).await {
            Location::At(other) => self.ask_for(&other, owner).await?,
            Location::Nowhere if is_sent(file, &intent.stamp, owner) => return Err(Halt::Later(budget::FIRST_LOOK)),
            Location::Nowhere => Asked::NotStored,
            Location::Unknown => Asked::Unanswered,
        };
        if forced == Asked::NotStored {
            self.abandon(owner.id, "its file was gone before its upload could be asked for").await?;
        }
        Ok(self.shared.journal.begin(intent.clone()).await?)
    }
}

/// Whether the same file has another name as well: a hard link is another document, not a file that was moved.
pub(super) async fn is_link_of(file: &Settled, entry: &Entry) -> bool {
    let (theirs, inode) = (entry.intent.root.join(&entry.intent.relative), entry.intent.stamp.inode);
    theirs != file.root.path().join(&file.origin)
        && on_disk(move || std::fs::symlink_metadata(theirs).is_ok_and(|found| found.ino() == inode)).await
            == Some(true)
}

/// Asks the file system on a thread that may block: a share may not answer for long. `None` where the question itself fails.
async fn on_disk<T: Send + 'static>(ask: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(ask).await.ok()
}

/// Whether an entry is of a file of this root: of others somebody else takes care.
fn is_ours(file: &Settled, entry: &Entry) -> bool {
    entry.intent.root == file.root.path()
}

/// Whether an entry's file is no longer at its place. Where that can't be told it may be there.
async fn is_gone(root: &Arc<Root>, entry: &Entry) -> bool {
    let (root, place, stamp) = (Arc::clone(root), entry.intent.relative.clone(), entry.intent.stamp);
    let gone = on_disk(move || match root.open_file(&place) {
        Ok(found) => !found.stamp.same_file(&stamp),
        Err(error) => matches!(error, OpenError::Gone),
    });
    gone.await == Some(true)
}

/// Whether an entry's file, which has no name any more, is on its way still, by another process of ours maybe: that is waited for.
/// Not where `own`, the file that waits, has its number by now, for then it is that one that is taken.
fn is_sent(file: &Settled, own: &FileStamp, entry: &Entry) -> bool {
    let theirs = &entry.intent.stamp;
    let is_own = (own.device, own.inode) == (theirs.device, theirs.inode);
    !is_own && file.root.is_locked_for_upload(theirs)
}

/// Where an entry's file lies below the root, but for where `file` does. Looks at all that is there: for the rare file whose
/// upload has no outcome, and whose place another one has.
async fn find(file: &Settled, entry: &Entry) -> Location {
    let (root, wanted) = (Arc::clone(&file.root), entry.intent.stamp);
    let Some(places) = on_disk(move || places_of(&root, &[wanted])).await else { return Location::Unknown };
    let mut others = places.found.into_iter().filter(|(_, place)| *place != file.relative);
    match others.next() {
        Some((_, place)) => Location::At(Settled::new(Arc::clone(&file.root), place)),
        None if places.is_part => Location::Unknown,
        None => Location::Nowhere,
    }
}

/// Which of these files lie below a root, set aside or not, and where. Blocks.
pub(crate) fn places_of(root: &Root, wanted: &[FileStamp]) -> Places {
    let mut places = Places::default();
    let inodes: HashSet<u64> = wanted.iter().map(|stamp| stamp.inode).collect();
    if inodes.is_empty() {
        return places;
    }
    let mut tree = Tree::of(root, Path::new(""));
    while let Some(entry) = tree.next(|_, kind| matches!(kind, FileType::Directory | FileType::RegularFile)) {
        let entry = match entry {
            Ok(entry) => entry,
            Err(unreadable) => {
                // What lies in a folder that this user may not enter (`lost+found`) can't be asked for: for good it would be unknown.
                let is_over = [std::io::ErrorKind::NotFound, std::io::ErrorKind::PermissionDenied];
                places.is_part |= !is_over.contains(&unreadable.why.kind());
                continue;
            }
        };
        let Some(name) = entry.path.file_name().filter(|_| entry.kind == FileType::RegularFile) else { continue };
        let opened = match look_at(entry.dir, name) {
            Ok(found) if inodes.contains(&found.inode) => root.open_file(entry.path),
            Ok(_) => continue,
            Err(error) => Err(error.into()),
        };
        match opened {
            Ok(opened) => {
                let stamp = wanted.iter().find(|wanted| wanted.same_file(&opened.stamp));
                places.found.extend(stamp.map(|stamp| (*stamp, entry.path.to_owned())));
            }
            Err(error) => places.is_part |= matches!(error, OpenError::Io(_)),
        }
    }
    places
}
