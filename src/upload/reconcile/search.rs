//! Where the file of an attempt lies by now.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FileType;

use crate::file::{FileStamp, OpenError, Root, Settled, Tree, look_at};
use crate::journal::Entry;

/// Where an attempt's file lies.
#[derive(Debug)]
pub(super) enum Location {
    /// At another place than the file that asks.
    At(Settled),
    /// Nowhere below the root.
    Nowhere,
    /// Nowhere below the root, but an upload, of another process of ours maybe, has it still.
    InFlight,
    /// Unknown: it may lie in a folder that can't be read now.
    Unknown,
}

/// What a walk in search of files came to.
#[derive(Debug, Default)]
pub(super) struct Places {
    /// The files that were found, and where.
    found: Vec<(FileStamp, PathBuf)>,
    /// A folder could not be read: the other files may lie there.
    is_partial: bool,
}

impl Places {
    /// Whether a file was found, or may lie where the walk could not look.
    pub(super) fn may_have(&self, stamp: &FileStamp) -> bool {
        self.is_partial || self.found.iter().any(|(found, _)| found == stamp)
    }
}

/// Where an entry's file lies below the root of `file`, except for the place of `file` itself, whose state is `own`. Looks at everything
/// below the root: this is for the rare file whose upload has no outcome, and whose place another file has.
pub(super) async fn locate(file: &Settled, own: &FileStamp, entry: &Entry) -> Location {
    let (root, wanted) = (Arc::clone(&file.root), entry.intent.stamp);
    let Some(places) = on_disk(move || places_of(&root, &[wanted])).await else { return Location::Unknown };
    let mut others = places.found.into_iter().filter(|(_, place)| *place != file.relative);
    match others.next() {
        Some((_, place)) => Location::At(Settled::new(Arc::clone(&file.root), place)),
        None if places.is_partial => Location::Unknown,
        None if is_in_flight(file, own, entry) => Location::InFlight,
        None => Location::Nowhere,
    }
}

/// Whether an upload has an entry's file, which has no name any more. Not where `own`, the file that asks, has its inode number by now:
/// then it is that file which is locked.
fn is_in_flight(file: &Settled, own: &FileStamp, entry: &Entry) -> bool {
    let theirs = &entry.intent.stamp;
    !is_same_inode(own, theirs) && file.root.is_locked_for_upload(theirs)
}

/// Whether two states are of one inode: of one file, or of a file and a later one that got the number of the first.
pub(super) fn is_same_inode(one: &FileStamp, other: &FileStamp) -> bool {
    (one.device, one.inode) == (other.device, other.inode)
}

/// Whether the file of an entry has another name still: a hard link is another document, not a file that was moved.
pub(in crate::upload) async fn is_link_of(file: &Settled, entry: &Entry) -> bool {
    let path = file.root.path().join(&file.origin);
    if path == path_of(entry) {
        return false;
    }
    let entry = entry.clone();
    on_disk(move || is_other_link(&path, &entry)).await == Some(true)
}

/// The same for a file at this path. Blocks.
pub(crate) fn is_other_link(path: &Path, entry: &Entry) -> bool {
    let theirs = path_of(entry);
    theirs != path && std::fs::symlink_metadata(theirs).is_ok_and(|found| found.ino() == entry.intent.stamp.inode)
}

fn path_of(entry: &Entry) -> PathBuf {
    entry.intent.root.join(&entry.intent.relative)
}

/// Whether an entry is of a file of this root. Files of other roots are another uploader's.
pub(super) fn is_of_root(file: &Settled, entry: &Entry) -> bool {
    entry.intent.root == file.root.path()
}

/// Whether an entry's file is no longer at its place. Where that can't be told it counts as there.
pub(super) async fn is_gone(root: &Arc<Root>, entry: &Entry) -> bool {
    let (root, place, stamp) = (Arc::clone(root), entry.intent.relative.clone(), entry.intent.stamp);
    let gone = on_disk(move || match root.open_file(&place) {
        Ok(found) => !found.stamp.same_file(&stamp),
        Err(error) => matches!(error, OpenError::Gone),
    });
    gone.await == Some(true)
}

/// Asks the file system on a thread that may block, because a share may not answer for long. `None` where this program panicked.
async fn on_disk<T: Send + 'static>(ask: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(ask).await.ok()
}

/// Which of these files lie below a root, set aside or not, and where. Blocks.
pub(super) fn places_of(root: &Root, wanted: &[FileStamp]) -> Places {
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
                // A folder that this user may never enter (`lost+found`) would leave the files unknown for ever.
                let is_over = [std::io::ErrorKind::NotFound, std::io::ErrorKind::PermissionDenied];
                places.is_partial |= !is_over.contains(&unreadable.why.kind());
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
            Err(error) => places.is_partial |= matches!(error, OpenError::Io(_)),
        }
    }
    places
}
