//! The look itself: a walk through the folder, each file opened for a moment, and the journal asked for a batch of files at a time.

use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::FileType;

use super::writers::Writing;
use super::{FileHere, Look, Standing, join};
use crate::file::lease::{NoLease, Writers};
use crate::file::{FileStamp, LOCK, OpenError, PRIVATE, Tree, Unreadable, staged_name};
use crate::filter::Excluded;
use crate::journal::{JournalError, Known};
use crate::owner::Owner;
use crate::upload::Asked;
use crate::upload::preview::{Preview, preview};
use crate::upload::reconcile::is_other_link;

/// Files that are looked at before the journal is asked for all of them, in one read.
const BATCH: usize = 256;

/// A look under way.
pub(super) struct Looking<'a> {
    look: &'a Look,
    with: &'a mut dyn FnMut(FileHere) -> ControlFlow<()>,
    batch: Vec<Seen>,
    /// Which processes write files; read when the first file is found that is open for writing.
    writing: Option<Writing>,
    /// When the look breaks off.
    end: Option<Instant>,
    /// Nothing was left out for want of descriptors.
    complete: bool,
}

/// A file that was looked at and can be opened.
struct Seen {
    relative: PathBuf,
    stamp: FileStamp,
    writers: SeenWriters,
}

#[derive(Clone, Copy, PartialEq)]
enum SeenWriters {
    None,
    Some,
    Unknown,
    /// The kernel knows, and does not tell this user.
    Denied,
}

impl<'a> Looking<'a> {
    pub(super) fn new(
        look: &'a Look,
        end: Option<Instant>,
        with: &'a mut dyn FnMut(FileHere) -> ControlFlow<()>,
    ) -> Self {
        Self { look, with, batch: Vec::with_capacity(BATCH), writing: None, end, complete: true }
    }

    /// Looks at all files of the folder. Returns whether that was all.
    pub(super) fn folder(mut self) -> Result<bool, JournalError> {
        let root = &self.look.root;
        let mut tree = Tree::of(root, Path::new(""));
        while let Some(found) = tree.next(|_, _| true) {
            if self.end.is_some_and(|end| Instant::now() >= end) {
                self.complete = false;
                break;
            }
            let (flow, skips) = match found {
                Ok(entry) if entry.kind == FileType::Directory => {
                    let path = entry.path.to_owned();
                    match self.excluded(&path, true) {
                        Some(why) => (Ok(self.ignored(path, why, true)), true),
                        None => (Ok(ControlFlow::Continue(())), false),
                    }
                }
                Ok(entry) => {
                    let (path, kind) = (entry.path.to_owned(), entry.kind);
                    (self.found(path, kind), false)
                }
                Err(unreadable) => (Ok(self.unreadable_folder(unreadable)), false),
            };
            if flow?.is_break() {
                return Ok(false);
            }
            if skips {
                tree.skip_folder();
            }
        }
        self.finish()
    }

    /// Looks at these files. Returns whether that was all.
    pub(super) fn files(mut self, files: impl Iterator<Item = &'a Path>) -> Result<bool, JournalError> {
        for file in files {
            if self.look_at(file.to_owned())?.is_break() {
                return Ok(false);
            }
        }
        self.finish()
    }

    fn finish(mut self) -> Result<bool, JournalError> {
        let flow = self.judge_batch()?;
        Ok(flow.is_continue() && self.complete)
    }

    /// Why the filter leaves a path whose folders are not excluded.
    fn excluded(&self, path: &Path, is_folder: bool) -> Option<Excluded<'a>> {
        let is_there = !path.as_os_str().is_empty() && !is_own(path);
        self.look.filter.excludes(path, is_folder).filter(|why| is_there && *why != Excluded::Own)
    }

    fn found(&mut self, path: PathBuf, kind: FileType) -> Result<ControlFlow<()>, JournalError> {
        if path.ends_with(Path::new(PRIVATE).join(LOCK)) {
            return Ok(ControlFlow::Continue(()));
        }
        if is_own(&path) {
            let here = FileHere {
                relative: staged_name::origin(&path),
                size: None,
                may_leave: true,
                standing: Standing::SetAside { place: path },
            };
            return Ok((self.with)(here));
        }
        if let Some(why) = self.excluded(&path, false) {
            return Ok(self.ignored(path, why, false));
        }
        match kind {
            FileType::RegularFile => self.look_at(path),
            // Nothing else is opened: that could wake the program at the other end of a pipe.
            other => {
                let why = OpenError::NotRegular(crate::file::SpecialFile::of(other));
                Ok(self.tell(path, None, Standing::NotUploadable(why)))
            }
        }
    }

    fn ignored(&mut self, path: PathBuf, why: Excluded<'_>, is_folder: bool) -> ControlFlow<()> {
        self.tell(path, None, Standing::Ignored { why: why.to_string(), is_folder })
    }

    fn unreadable_folder(&mut self, unreadable: Unreadable) -> ControlFlow<()> {
        let Unreadable { path, why } = unreadable;
        if why.kind() == io::ErrorKind::NotFound || is_own(&path) {
            // Gone before the walk came to it; or the private folder of another user, about which the removal warns.
            return ControlFlow::Continue(());
        }
        if let Some(why) = self.excluded(&path, true) {
            return self.ignored(path, why, true);
        }
        let owner = self.owner(&path);
        self.tell(path, None, Standing::Unreadable { owner, is_folder: true, error: why })
    }

    fn owner(&self, relative: &Path) -> Option<Owner> {
        let (folder, name) = self.look.root.parent_of(relative).ok()?;
        Owner::of(&folder, name)
    }

    /// Opens a file for a moment, and takes it into the batch.
    fn look_at(&mut self, relative: PathBuf) -> Result<ControlFlow<()>, JournalError> {
        let root = &self.look.root;
        let opened = match root.open_file(&relative) {
            Ok(opened) => opened,
            Err(error) => return Ok(self.not_opened(relative, error)),
        };
        let (stamp, writers) = match opened.writers() {
            Writers::None(lease) => {
                // Given up before anything else is done: a program that opens the file for writing waits for that.
                drop(lease);
                (opened.stamp, SeenWriters::None)
            }
            Writers::Some => (opened.stamp, SeenWriters::Some),
            Writers::Unknown(NoLease::NotAllowed) => (opened.stamp, SeenWriters::Denied),
            Writers::Unknown(_) => (opened.stamp, SeenWriters::Unknown),
        };
        drop(opened);
        self.batch.push(Seen { relative, stamp, writers });
        if self.batch.len() < BATCH { Ok(ControlFlow::Continue(())) } else { self.judge_batch() }
    }

    fn not_opened(&mut self, relative: PathBuf, error: OpenError) -> ControlFlow<()> {
        if error.is_scarcity() {
            self.complete = false;
            return ControlFlow::Continue(());
        }
        let standing = match error {
            // A folder can only be met here where one took a file's place meanwhile.
            OpenError::Gone | OpenError::Folder => return ControlFlow::Continue(()),
            OpenError::Io(error) => Standing::Unreadable { owner: self.owner(&relative), is_folder: false, error },
            other => Standing::NotUploadable(other),
        };
        self.tell(relative, None, standing)
    }

    /// Asks the journal about all files of the batch, and passes them on.
    fn judge_batch(&mut self) -> Result<ControlFlow<()>, JournalError> {
        let batch = std::mem::take(&mut self.batch);
        let files: Vec<_> = batch.iter().map(|seen| (seen.relative.clone(), seen.stamp)).collect();
        let known = match &self.look.journal {
            Some(journal) => journal.known_of_files(self.look.root.path(), &files)?,
            None => files.iter().map(|_| None).collect(),
        };
        for (seen, known) in batch.into_iter().zip(known) {
            let standing = self.judge(&seen, known);
            if self.tell(seen.relative, Some((seen.stamp.size, seen.writers)), standing).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn judge(&mut self, seen: &Seen, known: Option<Known>) -> Standing {
        let look = self.look;
        let path = join(&look.root, &seen.relative);
        let known = known.filter(|known| !is_other_link(&path, &known.entry));
        let (receipt, entry) = known.map_or((None, None), |known| (known.receipt, Some(known.entry)));
        let file = (seen.relative.as_path(), &seen.stamp);
        match preview(entry, file, (&look.policy, &look.dest), look.asked) {
            Preview::Send { to } => self.may_be_sent(seen, to),
            Preview::Stored { to, at } => Standing::Stored { to, receipt, at },
            Preview::Kept { to, at } => Standing::Kept { to, receipt, at },
            Preview::Ask { to, since } => Standing::Pending { to, since },
            Preview::Failed { reason, at } => Standing::Failed { reason, at },
            Preview::TooLarge { size, allowed } => Standing::TooLarge { size, allowed },
            Preview::Name(why) => Standing::BadName(why),
        }
    }

    /// A file that is to be sent: now, or once nobody writes it.
    fn may_be_sent(&mut self, seen: &Seen, to: crate::vault::RemotePath) -> Standing {
        let age = age(&seen.stamp, SystemTime::now());
        if seen.writers == SeenWriters::Some {
            let by = self.writing.get_or_insert_with(Writing::read).of(&seen.stamp);
            return Standing::OpenForWriting { unchanged_for: age, by, to };
        }
        let left = self.look.rules.left(seen.stamp.size, age, seen.writers == SeenWriters::None);
        let young_for = self.look.rules.too_young_for(&seen.stamp, SystemTime::now());
        match (left, young_for) {
            (_, Duration::ZERO) if self.look.asked != Asked::ByWatch => Standing::Ready { to },
            (Duration::ZERO, Duration::ZERO) => Standing::Ready { to },
            (left, Duration::ZERO) => Standing::Settling { left, to },
            (_, left) => Standing::TooYoung { left, to },
        }
    }

    fn tell(&mut self, relative: PathBuf, seen: Option<(u64, SeenWriters)>, standing: Standing) -> ControlFlow<()> {
        let size = seen.map(|(size, _)| size);
        let is_denied = seen.is_some_and(|(_, writers)| writers == SeenWriters::Denied);
        let may_leave = !is_denied || self.look.policy.allow_unleased;
        (self.with)(FileHere { relative, size, may_leave, standing })
    }
}

/// Whether this program put a file there: set aside in a private folder, or beside its place.
fn is_own(path: &Path) -> bool {
    staged_name::split_at_private(path).is_some() || path.file_name().is_some_and(staged_name::is_beside)
}

/// How long ago a file changed by its own times. The clock of a share is not this machine's clock: a time in the future says nothing,
/// and must not hold a file up for ever, so such a file counts as old.
fn age(stamp: &FileStamp, now: SystemTime) -> Duration {
    let changed = u64::try_from(stamp.mtime.max(stamp.ctime)).unwrap_or_default();
    let changed = UNIX_EPOCH + Duration::from_nanos(changed);
    now.duration_since(changed).unwrap_or(Duration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_in_the_future_does_not_make_a_file_young_for_ever() {
        let stamp = FileStamp { device: 1, inode: 1, size: 1, mtime: 5_000_000_000, ctime: 4_000_000_000 };
        let at = |seconds| age(&stamp, UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(7), Duration::from_secs(2));
        assert_eq!(at(4), Duration::MAX);
    }
}
