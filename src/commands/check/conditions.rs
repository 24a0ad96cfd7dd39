//! Conditions that make the program's work worse where they don't hold, but don't stop it: each a line of its own, with its mend. What
//! holds is not told.

use std::io::Write;

use rustix::fs::{AtFlags, FileType, fstat, statat};
use rustix::process::geteuid;

use super::report::{Report, Verdict};
use crate::config::Policy;
use crate::exit::Fatal;
use crate::file::{PRIVATE, Root, hard_links_are_protected, lease, mounts};
use crate::removal;

/// Why files can't be set aside in the private folder of a root, if so.
pub(super) fn private_folder(root: &Root) -> Option<Verdict> {
    let told = in_its_place(root).map(|(why, mend)| (why.to_owned(), mend));
    let (why, mend) = match (told, removal::probe_private(root)) {
        (Some(told), _) => told,
        (None, Err(error)) => (error.to_string(), "room on the disk, and the right to make a folder there".into()),
        (None, Ok(())) => return None,
    };
    Some(Verdict::Worse(format!("it can't be used, for {why}: files are set aside beside their place"), mend))
}

/// What lies in the place of a private folder of ours, if it is none; and the mend.
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

/// What is known of writers in a folder, told after what was `found` of it.
pub(super) fn writers(root: &Root, policy: &Policy, found: &str) -> Verdict {
    if !root.leases_tell_of_writers() {
        return Verdict::Worse(
            format!(
                "{found}, writers are not told for certain: a file counts as complete once it has been quiet for 10 s"
            ),
            "a folder on ext4, xfs, btrfs or tmpfs of this host".into(),
        );
    }
    if !root.may_hold_files_of_others() || lease::allowed_on_files_of_others() {
        return Verdict::Fine(format!("{found}, writers are told by leases"));
    }
    let (end, other) = match (policy.removes(), policy.allow_unleased) {
        (true, false) => (" and stay here once they are stored", ", or allow_unleased = true"),
        _ => ("", ""),
    };
    Verdict::Worse(
        format!(
            "{found}, writers of this user's files are told by leases; files of other users count as complete once they have been quiet \
             for 10 s{end}"
        ),
        format!("give this user CAP_LEASE (systemd: AmbientCapabilities=CAP_LEASE){other}"),
    )
}

/// A step for each mount below a root whose changes or writers are not told.
pub(super) fn mounts(root: &Root) -> Vec<(String, Verdict)> {
    let lines = mounts::below(root.path()).into_iter().filter_map(|mount| {
        let found = match (mount.network_share(), mount.leases_tell_of_writers()) {
            (Some(share), _) => format!("{share}, polled every 10 s, as it tells of no changes by other hosts"),
            (None, false) => format!("changes on {} are told by events", mount.kind),
            (None, true) => return None,
        };
        let verdict = Verdict::Worse(
            format!(
                "{found}; writers are not told for certain: a file counts as complete once it has been quiet for 10 s"
            ),
            "ext4, xfs, btrfs or tmpfs of this host there".into(),
        );
        Some((format!("mount {}", mount.path.display()), verdict))
    });
    lines.collect()
}

/// What holds for the whole process.
pub(super) fn process<W: Write>(report: &mut Report<'_, W>) -> Result<(), Fatal> {
    if !hard_links_are_protected() {
        let found = "anybody can make hard links to this user's files, so files with several links are left alone";
        report.tell("hard links", &Verdict::Worse(found.into(), "fs.protected_hardlinks = 1 (sysctl)".into()))?;
    }
    if may_leave_core() {
        let found = "this system does not let the program forbid them, and they would hold the password";
        report.tell("core dumps", &Verdict::Worse(found.into(), "LimitCORE=0 (systemd), or ulimit -c 0".into()))?;
    }
    if geteuid().is_root() {
        let found = "it runs as root, which it has no need of";
        let mend = "a user of its own, with CAP_LEASE where files belong to others";
        report.tell("rights", &Verdict::Worse(found.into(), mend.into()))?;
    }
    Ok(())
}

/// The program forbids them at its start; a sandbox may have kept it from that.
fn may_leave_core() -> bool {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Core);
    #[cfg(target_os = "linux")]
    let dumpable = rustix::process::dumpable_behavior() != Ok(rustix::process::DumpableBehavior::NotDumpable);
    #[cfg(not(target_os = "linux"))]
    let dumpable = true;
    limit.current != Some(0) && dumpable
}
