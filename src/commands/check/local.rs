//! The steps about this machine: the folders, and the state folder with the journal.

use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Access, AtFlags, FileType, accessat};

use super::conditions;
use super::steps::{StepResult, Steps};
use crate::commands::open_folders::on_disk;
use crate::commands::take_folder::{self, cannot_move, not_taken};
use crate::config::{After, Config, Folder};
use crate::exit::{Exit, Fatal};
use crate::file::lock::Locks;
use crate::file::{PRIVATE, Root, Tree, Unreadable};
use crate::journal::Journal;
use crate::measure;
use crate::removal;

/// The bytes that should be free on the journal's disk. Less is not enough for long.
const ROOM: u64 = 64 << 20;

/// Checks each folder. Returns how many folders in all are watched by events, each of which takes a watch of the kernel.
pub(super) async fn folders(config: &Config, steps: &mut Steps<'_, '_>) -> Result<u64, Fatal> {
    let mut watched = 0;
    for folder in &config.folders {
        let step = format!("folder {}", folder.path.display());
        let checked = match answers(folder).await {
            Ok(()) => check(folder, &mut watched),
            Err(fatal) => Err(fatal),
        };
        match checked {
            Ok((found, conditions)) => {
                steps.print(&step, &found)?;
                for (step, condition) in conditions {
                    steps.print(&step, &condition)?;
                }
            }
            Err(fatal) => steps.print(&step, &fatal.into())?,
        }
    }
    Ok(watched)
}

/// Whether the file systems of a folder, and of those that its files are moved to, answer: the steps that follow wait for them.
async fn answers(folder: &Folder) -> Result<(), Fatal> {
    let asked = folder.clone();
    let ask = move || {
        take_folder::open(&asked.path)?;
        asked.target_inside();
        Ok(())
    };
    on_disk(&folder.path, ask).await
}

/// The result for a folder, and further steps for what could be better in it.
fn check(folder: &Folder, watched: &mut u64) -> Result<(StepResult, Vec<(String, StepResult)>), Fatal> {
    let root = Root::open_trusted(&folder.path).map_err(|error| not_taken(&folder.path, &error))?;
    let shown = root.path().display();
    allowed(root.dir(), Access::READ_OK | Access::EXEC_OK)
        .map_err(|why| missing(format!("{shown} can't be read: {why}; give this user the right to read it")))?;
    let (mut found, mut more) = (vec!["readable"], Vec::new());
    if folder.policy.after != After::Keep {
        deletable(&root)?;
        found.push("files can be deleted");
    }
    if folder.policy.removes() {
        let private = conditions::private_folder(&root);
        let step = format!("private folder {}", root.path().join(PRIVATE).display());
        more.extend(private.map(|result| (step, result)));
    }
    for dir in move_targets(folder) {
        removal::check_move_target(dir).map_err(|error| cannot_move(&error))?;
        writable(dir)?;
    }
    let (folders, unreadable) = below(&root);
    if let Some(why) = unreadable {
        return Err(missing(format!("not all of {shown} can be read: {why}")));
    }
    found.push(if root.network_share().is_some() {
        "polled every 10 s, as a network share does not report changes"
    } else {
        *watched += folders;
        "changes are noticed by events"
    });
    more.extend(conditions::mounts(&root));
    Ok((conditions::writers(&root, &folder.policy, &found.join(", ")), more))
}

/// Tries a removal with a file of its own: the file is set aside, and deleted.
fn deletable(root: &Root) -> Result<(), Fatal> {
    let why = match allowed(root.dir(), Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => match removal::probe(root) {
            Ok(()) => return Ok(()),
            Err(error) => error.to_string(),
        },
        Err(errno) => errno.to_string(),
    };
    let shown = root.path().display();
    Err(missing(format!(
        "files in {shown} can't be deleted after their upload: {why}; give this user the right to write there, or keep \
         them (--keep, or after = \"keep\")"
    )))
}

fn move_targets(folder: &Folder) -> impl Iterator<Item = &Path> {
    let moved = match &folder.policy.after {
        After::Move(dir) => Some(dir.as_path()),
        After::Delete | After::Keep => None,
    };
    moved.into_iter().chain(folder.policy.failed_dir.as_deref())
}

/// Checks a folder to which files are moved. A missing one is fine, as it is made when it is needed.
fn writable(dir: &Path) -> Result<(), Fatal> {
    let Ok(folder) = Root::open(dir) else { return Ok(()) };
    allowed(folder.dir(), Access::WRITE_OK | Access::EXEC_OK).map_err(|why| {
        missing(format!("files can't be moved to {}: {why}; give this user the right to write there", dir.display()))
    })
}

/// Checks the rights of the effective user, which are the ones that count.
fn allowed(dir: impl AsFd, access: Access) -> rustix::io::Result<()> {
    accessat(dir, ".", access, AtFlags::EACCESS)
}

/// The number of folders, the root included, and why one of them can't be read, if so.
fn below(root: &Root) -> (u64, Option<String>) {
    let (mut folders, mut unreadable) = (0, None);
    let mut tree = Tree::of(root, Path::new(""));
    while let Some(entry) = tree.next(|path, _| path.file_name() != Some(PRIVATE.as_ref())) {
        match entry {
            Ok(entry) => folders += u64::from(entry.kind == FileType::Directory),
            Err(Unreadable { path, why }) => {
                unreadable = unreadable.or_else(|| Some(format!("{}: {why}", root.path().join(path).display())));
            }
        }
    }
    (folders, unreadable)
}

fn missing(message: String) -> Fatal {
    Fatal::new(Exit::Missing, message)
}

/// Checks the state folder: the journal and the locks can be used, no other user may enter, and there is room.
pub(super) fn state(dir: &Path, steps: &mut Steps<'_, '_>) -> Result<(), Fatal> {
    let usable = Journal::open(dir).map_err(|error| error.to_string()).and_then(|_| {
        Locks::open(dir).map_err(|error| format!("the locks in {} can't be used: {error}", dir.display()))
    });
    let result = match usable {
        Ok(_) => state_worse(dir)
            .unwrap_or_else(|| StepResult::Fine(format!("{}, the journal can be written", dir.display()))),
        Err(why) => StepResult::broken(Exit::Missing, why),
    };
    steps.print("state", &result)
}

fn state_worse(dir: &Path) -> Option<StepResult> {
    let shown = dir.display();
    let free = rustix::fs::statvfs(dir).map_or(u64::MAX, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    if free < ROOM {
        let found = format!("{shown}, {} free", measure::size(free));
        return Some(StepResult::Worse(found, "more room: without receipts nothing is deleted".into()));
    }
    if let Some(share) = Root::open(dir).ok().and_then(|root| root.network_share()) {
        let found = format!("{shown} lies on a network share ({share}), where a database may be damaged");
        return Some(StepResult::Worse(found, "a --state-dir on a disk of this host".into()));
    }
    let mode = std::fs::metadata(dir).map_or(0, |found| found.mode());
    (mode & 0o077 != 0)
        .then(|| StepResult::Worse(format!("{shown}, which others may look into"), format!("chmod 700 {shown}")))
}
