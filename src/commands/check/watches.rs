//! The step about inotify watches: whether the kernel has enough left for all folders.

use std::fs;

use super::steps::{StepResult, Steps};
use crate::exit::Fatal;

/// The number of watches that a user may have.
const MOST: &str = "/proc/sys/fs/inotify/max_user_watches";

/// Prints whether `folders` watches are left; prints nothing where the system has no such limit.
pub(super) fn check(folders: u64, steps: &mut Steps<'_, '_>) -> Result<(), Fatal> {
    let most = fs::read_to_string(MOST).ok().and_then(|text| text.trim().parse::<u64>().ok());
    match most {
        Some(most) if folders > 0 => steps.print("watches", &result(folders, most.saturating_sub(used()))),
        _ => Ok(()),
    }
}

fn result(needed: u64, left: u64) -> StepResult {
    let detail = format!("{needed} needed, {left} left");
    if needed <= left {
        return StepResult::Fine(detail);
    }
    StepResult::Worse(
        format!("{detail}: unless a running instance has them, folders without one are polled every 10 s"),
        "raise fs.inotify.max_user_watches (sysctl)".into(),
    )
}

/// The number of watches that this user's processes have, as far as /proc shows them to this process.
#[expect(clippy::disallowed_methods, reason = "the kernel's own listing")]
fn used() -> u64 {
    let ours = rustix::process::geteuid().as_raw();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter(|process| owner(process) == Some(ours)).map(|process| used_by(&process)).sum()
}

fn owner(process: &fs::DirEntry) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    process.file_name().to_str()?.parse::<u32>().ok()?;
    Some(process.metadata().ok()?.uid())
}

#[expect(clippy::disallowed_methods, reason = "the kernel's own listing")]
fn used_by(process: &fs::DirEntry) -> u64 {
    let handles = fs::read_dir(process.path().join("fdinfo")).into_iter().flatten().flatten();
    handles.filter_map(|handle| fs::read_to_string(handle.path()).ok()).map(|text| watches_in(&text)).sum()
}

fn watches_in(fdinfo: &str) -> u64 {
    fdinfo.lines().filter(|line| line.starts_with("inotify wd:")).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watches_are_counted() {
        let text = "pos:\t0\nflags:\t02004000\ninotify wd:2 ino:1 sdev:1\ninotify wd:1 ino:2 sdev:1\n";
        assert_eq!((watches_in(text), watches_in("pos:\t0\n")), (2, 0));
    }

    #[test]
    fn too_few_watches_are_shown_but_no_failure() {
        assert!(matches!(result(3, 3), StepResult::Fine(_)));
        let StepResult::Worse(detail, mend) = result(4, 3) else { panic!() };
        assert!(detail.contains("4 needed, 3 left") && mend.contains("max_user_watches"));
    }
}
