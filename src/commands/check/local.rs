//! This machine's part: the folders, and where the journal lies.

use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{Access, AtFlags, FileType, accessat};

use super::report::{Report, Verdict};
use super::watches::Need;
use crate::commands::watch::{cannot_move, not_taken};
use crate::config::{After, Config, Folder};
use crate::exit::{Exit, Fatal};
use crate::file::{PRIVATE, Root, Tree, Unreadable, hard_links_are_protected};
use crate::journal::Journal;
use crate::remove;

/// Less room than this on the journal's disk is not enough for long, in bytes.
const ROOM: u64 = 64 << 20;

/// Checks each folder; answers what all of them need to be watched.
pub(super) fn folders<W: Write>(config: &Config, report: &mut Report<'_, W>) -> Result<Need, Fatal> {
    let mut need = Need::default();
    for folder in &config.folders {
        let verdict = look(folder, &mut need).unwrap_or_else(Verdict::from);
        report.tell(&format!("folder {}", folder.path.display()), &verdict)?;
    }
    Ok(need)
}

fn look(folder: &Folder, need: &mut Need) -> Result<Verdict, Fatal> {
    let root = Root::open_trusted(&folder.path).map_err(|error| not_taken(&folder.path, &error))?;
    let shown = root.path().display();
    allowed(root.dir(), Access::READ_OK | Access::EXEC_OK)
        .map_err(|why| missing(format!("{shown} can't be read: {why}; give this user the right to read it")))?;
    let mut found = vec!["readable"];
    if folder.policy.after != After::Keep {
        deletable(&root)?;
        found.push("files can be deleted");
    }
    for dir in kept_in(folder) {
        remove::check_move_target(dir).map_err(|error| cannot_move(&error))?;
        writable(dir)?;
    }
    let (folders, unreadable) = below(&root);
    if let Some(why) = unreadable {
        return Err(missing(format!("not all of {shown} can be read: {why}")));
    }
    found.push(if root.network_share().is_some() {
        "polled every 10 s, as a network share tells of no changes"
    } else {
        need.folders += folders;
        "changes are told by events"
    });
    let found = found.join(", ");
    let set_aside = folder.policy.after != After::Keep || folder.policy.failed_dir.is_some();
    let private = if set_aside { remove::probe_private(&root) } else { Ok(()) };
    Ok(match (judge(&root, &found), private) {
        (Verdict::Fine(found), Err(error)) => Verdict::Worse(
            format!("{found}; the private folder .astran-backup can't be used: {error}"),
            "nothing of another user or file system in its place; until then files wait beside their places before they are removed".into(),
        ),
        (verdict, _) => verdict,
    })
}

fn judge(root: &Root, found: &str) -> Verdict {
    if root.leases_tell_of_writers() {
        return Verdict::Fine(format!("{found}, writers are told by leases"));
    }
    Verdict::Worse(
        format!("{found}, writers are not told: a file counts as complete once it has been quiet for 10 s"),
        "a folder on ext4, xfs, btrfs or tmpfs of this host".into(),
    )
}

/// As a removal would: into the private folder and out of existence.
fn deletable(root: &Root) -> Result<(), Fatal> {
    let why = match allowed(root.dir(), Access::WRITE_OK | Access::EXEC_OK) {
        Ok(()) => match remove::probe(root) {
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

fn kept_in(folder: &Folder) -> impl Iterator<Item = &Path> {
    let moved = match &folder.policy.after {
        After::Move(dir) => Some(dir.as_path()),
        After::Delete | After::Keep => None,
    };
    moved.into_iter().chain(folder.policy.failed_dir.as_deref())
}

/// A folder that files are moved to; one that is not there yet is made when it is needed.
fn writable(dir: &Path) -> Result<(), Fatal> {
    let Ok(folder) = Root::open(dir) else { return Ok(()) };
    allowed(folder.dir(), Access::WRITE_OK | Access::EXEC_OK).map_err(|why| {
        missing(format!("files can't be moved to {}: {why}; give this user the right to write there", dir.display()))
    })
}

/// With the rights that count: those of the effective user.
fn allowed(dir: impl AsFd, access: Access) -> rustix::io::Result<()> {
    accessat(dir, ".", access, AtFlags::EACCESS)
}

/// How many folders there are, itself included; and why one of them can't be read, if so.
#[expect(clippy::disallowed_methods, reason = "it counts folders, and touches nothing")]
fn below(root: &Root) -> (u64, Option<String>) {
    let (mut folders, mut unreadable) = (0, None);
    let mut tree = Tree::of(root, Path::new(""));
    while let Some(entry) = tree.next(|name, _| name != PRIVATE) {
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

/// Says nothing where the kernel protects hard links, as all do unless they are told otherwise.
pub(super) fn hard_links<W: Write>(report: &mut Report<'_, W>) -> Result<(), Fatal> {
    if hard_links_are_protected() {
        return Ok(());
    }
    let found =
        "anybody can make hard links to this user's files, so files with several links are left alone".to_owned();
    report.tell("hard links", &Verdict::Worse(found, "fs.protected_hardlinks = 1 (sysctl)".into()))
}

/// Where the journal lies: it can be opened, and there is room for it.
pub(super) fn state<W: Write>(dir: &Path, report: &mut Report<'_, W>) -> Result<(), Fatal> {
    let verdict = match Journal::open(dir) {
        Ok(_) => match rustix::fs::statvfs(dir).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize)) {
            Ok(free) if free < ROOM => Verdict::Worse(
                format!("{}, {} MiB free", dir.display(), free >> 20),
                "more room: without receipts nothing is deleted".into(),
            ),
            _ => Verdict::Fine(format!("{}, the journal can be written", dir.display())),
        },
        Err(error) => Verdict::broken(Exit::Missing, error.to_string()),
    };
    report.tell("state", &verdict)
}
