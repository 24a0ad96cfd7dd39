//! Which processes have files open for writing, as far as `/proc` shows this user.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use rustix::fs::{Dir, Mode, OFlags, openat};

use super::Process;
use crate::budget;
use crate::file::FileStamp;

/// All descriptors that are open for writing on this machine, by the inode of their files. Read once for a whole look: to read `/proc`
/// for each open file would take as long as all files times all processes.
#[derive(Debug, Default)]
pub(super) struct Writing(HashMap<u64, Vec<(u32, PathBuf)>>);

impl Writing {
    /// Reads `/proc`, within a limit of descriptors and of time: beyond, no further processes are named.
    pub(super) fn read() -> Self {
        let (end, mut left, mut found) =
            (Instant::now() + budget::WRITERS_TIME, budget::WRITERS_DESCRIPTORS, Self::default());
        for pid in names(Path::new("/proc")).filter_map(|name| name.parse::<u32>().ok()) {
            if left == 0 || Instant::now() >= end {
                break;
            }
            let process = Path::new("/proc").join(pid.to_string());
            // Of other users' processes only root may read this.
            for descriptor in names(&process.join("fdinfo")).take(left) {
                left -= 1;
                let info = std::fs::read_to_string(process.join("fdinfo").join(&descriptor)).unwrap_or_default();
                if let Some(inode) = written_inode(&info) {
                    found.0.entry(inode).or_default().push((pid, process.join("fd").join(descriptor)));
                }
            }
        }
        found
    }

    /// The processes that have this file open for writing.
    pub(super) fn of(&self, stamp: &FileStamp) -> Vec<Process> {
        let mut processes: Vec<Process> = Vec::new();
        for (pid, descriptor) in self.0.get(&stamp.inode).into_iter().flatten() {
            // Another file system may have the same inode number. Only such descriptors are followed: to ask about a file of
            // a share that does not answer would take for ever.
            let is_same = std::fs::metadata(descriptor).is_ok_and(|found| found.dev() == stamp.device);
            if is_same && processes.last().is_none_or(|last| last.pid != *pid) {
                processes.push(Process { pid: *pid, name: name_of(*pid) });
            }
        }
        processes.truncate(budget::WRITERS_NAMED);
        processes
    }
}

/// The inode of a descriptor's file by the text of its `fdinfo`, if the descriptor is open for writing. `None` too on kernels before
/// 5.14, which do not tell the inode. Pure.
fn written_inode(info: &str) -> Option<u64> {
    let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let flags = u32::from_str_radix(field("flags:")?, 8).ok()?;
    let for_writing = flags & OFlags::RWMODE.bits() != OFlags::RDONLY.bits() && flags & OFlags::PATH.bits() == 0;
    if for_writing { field("ino:")?.parse().ok() } else { None }
}

fn name_of(pid: u32) -> String {
    let name = std::fs::read(format!("/proc/{pid}/comm")).unwrap_or_default();
    String::from_utf8_lossy(&name).trim_end().to_owned()
}

/// The names in a folder of `/proc`.
fn names(folder: &Path) -> impl Iterator<Item = String> + use<> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened: Option<OwnedFd> = openat(rustix::fs::CWD, folder, flags, Mode::empty()).ok();
    let entries = opened.and_then(|dir| Dir::new(dir).ok()).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned)).filter(|name| !name.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_descriptors_for_writing_name_their_file() {
        let info = |flags: &str| format!("pos:\t0\nflags:\t{flags}\nmnt_id:\t29\nino:\t4711\n");
        assert_eq!(written_inode(&info("0100001")), Some(4711));
        assert_eq!(written_inode(&info("0102002")), Some(4711));
        assert_eq!(written_inode(&info("0100000")), None, "for reading");
        assert_eq!(written_inode(&info("012000002")), None, "only a name (O_PATH)");
        assert_eq!(written_inode("pos:\t0\nflags:\t01\n"), None, "an older kernel");
        assert_eq!(written_inode("nonsense"), None);
    }
}
