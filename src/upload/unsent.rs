//! Files that fail before anything is sent: those that can't be read, and those that are larger than they may be.

use super::attempt::Halt;
use super::body::Source;
use super::concurrency::Class;
use super::{Outcome, Pipeline};
use crate::file::{FileStamp, OpenError, Settled, look_at};
use crate::journal::{End, Entry, Intent, JournalError, State};
use crate::vault::{DocumentId, Vault};

impl<V: Vault> Pipeline<V> {
    /// Why a file is too large to be sent, if it is.
    pub(super) fn beyond_max_size(&self, source: &Source) -> Option<String> {
        let (size, most) = (source.opened.stamp.size, self.policy.max_size.0?);
        (size > most).then(|| format!("it has {size} bytes, and max_size allows {most}: nothing was sent"))
    }

    /// Writes down that a file can't be read, unless the journal has just that already: one row for each file, though it is tried
    /// again at each walk. What it means for the file.
    pub(super) async fn unreadable(&self, file: &Settled, reason: String) -> Halt {
        let Some(stamp) = stamp(file).await else { return Halt::Ended(Outcome::Gone) };
        match self.write_unreadable(file, stamp, &reason).await {
            Ok(false) if !self.forced => Halt::Ended(Outcome::Skipped { failed: true }),
            Ok(_) => Halt::Ended(Outcome::Failed { reason, moved: None }),
            Err(error) => error.into(),
        }
    }

    /// Answers whether it is news.
    async fn write_unreadable(&self, file: &Settled, stamp: FileStamp, reason: &str) -> Result<bool, JournalError> {
        let (root, origin) = (file.root.path(), &file.origin);
        let known = self.shared.journal.of_file(root, origin, stamp).await?;
        if known.is_some_and(|entry| says(&entry, file, &stamp, reason)) {
            return Ok(false);
        }
        let intent = Intent {
            root: root.to_owned(),
            relative: origin.clone(),
            stamp,
            dest: self.dest.clone(),
            folder: DocumentId(String::new()),
            name: origin.to_string_lossy().into_owned(),
        };
        self.shared.journal.refuse(intent, reason.to_owned()).await?;
        Ok(true)
    }
}

/// Whether a file that took a place as a small one is a large one by now: it must wait for a place of those.
pub(super) fn outgrew_its_place(file: &Settled, source: &Source) -> bool {
    let is_large = Class::of(source.opened.stamp.size) == Class::Large;
    file.size.is_some() && Class::seen(file) == Class::Small && is_large
}

/// Whether an entry says of this very file that it failed for this reason.
fn says(entry: &Entry, file: &Settled, stamp: &FileStamp, reason: &str) -> bool {
    let same = |state: &State| matches!(state, State::Ended(End::Failed { reason: before }) if before == reason);
    same(&entry.state) && entry.intent.relative == file.origin && entry.intent.stamp.same_content(stamp)
}

/// Which file it is that can't be read, as far as its folder tells; `None` where it is gone. Its time of change stays out of it:
/// whatever it was that failed may be mended without a change of the file, so it is tried again at each walk.
async fn stamp(file: &Settled) -> Option<FileStamp> {
    let (root, relative) = (file.root.clone(), file.relative.clone());
    let looked = tokio::task::spawn_blocking(move || {
        let (folder, name) = root.parent_of(&relative)?;
        look_at(&folder, name).map_err(OpenError::from)
    });
    match looked.await {
        Ok(Ok(stamp)) => Some(FileStamp { ctime: 0, ..stamp }),
        Ok(Err(OpenError::Gone)) => None,
        Ok(Err(_)) | Err(_) => Some(FileStamp { device: 0, inode: 0, size: 0, mtime: 0, ctime: 0 }),
    }
}
