//! Conditions without which the program works, but worse. Each one that does not hold gets a line with its mend; one that holds
//! gets none.

use rustix::fs::{AtFlags, FileType, fstat, statat};
use rustix::process::geteuid;

use super::steps::{StepResult, Steps};
use crate::config::Policy;
use crate::exit::Fatal;
use crate::file::{PRIVATE, Root, hard_links_are_protected, lease, mounts};
use crate::removal;

/// The result for the private folder of a root, if files can't be set aside there.
pub(super) fn private_folder(root: &Root) -> Option<StepResult> {
    let found = in_its_place(root).map(|(why, mend)| (why.to_owned(), mend));
    let (why, mend) = match (found, removal::probe_private(root)) {
        (Some(found), _) => found,
        (None, Err(error)) => (error.to_string(), "room on the disk, and the right to make a folder there".into()),
        (None, Ok(())) => return None,
    };
    Some(StepResult::Worse(format!("it can't be used, for {why}: files are set aside beside their place"), mend))
}

/// What lies in the place of the private folder, if that can't be used as one; and the mend.
fn in_its_place(root: &Root) -> Option<(&'static str, String)> {
    let stat = statat(root.dir(), PRIVATE, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    let shown = root.path().join(PRIVATE).display().to_string();
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Some(("something that is no folder lies in its place", format!("move {shown} away")));
    }
    if fstat(root.dir()).is_ok_and(|root| root.st_dev != stat.st_dev) {
        return Some(("another file system is mounted in its place", format!("umount {shown}")));
    }
    if stat.st_uid != geteuid().as_raw() {
        return Some(("it belongs to another user", format!("move {shown} away")));
    }
    (stat.st_mode & 0o077 != 0).then(|| ("others may enter it", format!("chmod 700 {shown}")))
}

/// The result for a folder: what was `found` of it, and how the program learns of writers there.
pub(super) fn writers(root: &Root, policy: &Policy, found: &str) -> StepResult {
    if !root.leases_tell_of_writers() {
        return StepResult::Worse(
            format!(
                "{found}, writers are not detected for certain: a file counts as complete once it has been quiet for 10 s"
            ),
            "a folder on ext4, xfs, btrfs or tmpfs of this host".into(),
        );
    }
    if !root.may_hold_files_of_others() || lease::allowed_on_files_of_others() {
        return StepResult::Fine(format!("{found}, writers are detected by leases"));
    }
    let (end, other) = match (policy.removes(), policy.allow_unleased) {
        (true, false) => (" and stay here once they are stored", ", or allow_unleased = true"),
        _ => ("", ""),
    };
    StepResult::Worse(
        format!(
            "{found}, writers of this user's files are detected by leases; files of other users count as complete once they have been quiet \
             for 10 s{end}"
        ),
        format!("give this user CAP_LEASE (systemd: AmbientCapabilities=CAP_LEASE){other}"),
    )
}

/// A step for each mount below a root on which the kernel does not report all changes or writers.
pub(super) fn mounts(root: &Root) -> Vec<(String, StepResult)> {
    let lines = mounts::below(root.path()).into_iter().filter_map(|mount| {
        let found = match (mount.network_share(), mount.leases_tell_of_writers()) {
            (Some(share), _) => format!("{share}, polled every 10 s, as it does not report changes by other hosts"),
            (None, false) => format!("changes on {} are noticed by events", mount.kind),
            (None, true) => return None,
        };
        let result = StepResult::Worse(
            format!(
                "{found}; writers are not detected for certain: a file counts as complete once it has been quiet for 10 s"
            ),
            "ext4, xfs, btrfs or tmpfs of this host there".into(),
        );
        Some((format!("mount {}", mount.path.display()), result))
    });
    lines.collect()
}

/// The conditions that concern the whole process.
pub(super) fn process(steps: &mut Steps<'_, '_>) -> Result<(), Fatal> {
    if !hard_links_are_protected() {
        let found = "every user can make hard links to this user's files, so files with several links are left alone";
        steps.print("hard links", &StepResult::Worse(found.into(), "fs.protected_hardlinks = 1 (sysctl)".into()))?;
    }
    if may_leave_core() {
        let found = "this system does not let the program forbid them, and they would hold the password";
        steps.print("core dumps", &StepResult::Worse(found.into(), "LimitCORE=0 (systemd), or ulimit -c 0".into()))?;
    }
    if geteuid().is_root() {
        let found = "the program runs as root, which it has no need of";
        let mend = "a user of its own, with CAP_LEASE where files belong to others";
        steps.print("rights", &StepResult::Worse(found.into(), mend.into()))?;
    }
    Ok(())
}

/// Whether a crash may leave a core dump. The program forbids that at its start, but the system may not have let it.
fn may_leave_core() -> bool {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Core);
    #[cfg(target_os = "linux")]
    let dumpable = rustix::process::dumpable_behavior() != Ok(rustix::process::DumpableBehavior::NotDumpable);
    #[cfg(not(target_os = "linux"))]
    let dumpable = true;
    limit.current != Some(0) && dumpable
}
