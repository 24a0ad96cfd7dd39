//! The mounts below a folder: each is a file system of its own, which may report no changes and no writers.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use super::PRIVATE;
use super::filesystem;

/// A file system that is mounted below a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The folder that it is mounted on.
    pub path: PathBuf,
    /// Its type, as the kernel calls it.
    pub kind: String,
}

impl Mount {
    /// The name of the network file system, if it is one. No events come there for what other hosts do.
    pub fn network_share(&self) -> Option<&'static str> {
        filesystem::network_share_called(&self.kind)
    }

    /// Whether leases there tell of every writer on this host.
    pub fn leases_tell_of_writers(&self) -> bool {
        filesystem::leases_tell_of_writers_on(&self.kind)
    }
}

/// The mounts below a folder, given by its path without links. None of them is touched, so one that hangs does not block this call.
/// Empty where the system does not say.
pub fn below(folder: &Path) -> Vec<Mount> {
    std::fs::read("/proc/self/mountinfo").map_or_else(|_| Vec::new(), |text| listed(&text, folder))
}

/// The mounts below a folder in the kernel's list, but not what is mounted in the place of the private folder: no documents lie there.
fn listed(mountinfo: &[u8], folder: &Path) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = Vec::new();
    for mount in mountinfo.split(|byte| *byte == b'\n').filter_map(mount) {
        let Ok(below) = mount.path.strip_prefix(folder) else { continue };
        if below.as_os_str().is_empty() || below.iter().any(|name| name == PRIVATE) {
            continue;
        }
        // A later mount on the same folder hides the earlier one.
        mounts.retain(|earlier| earlier.path != mount.path);
        mounts.push(mount);
    }
    mounts
}

/// Parses a line of the list: the path is the fifth field; the type is the first one after a lone hyphen, before which there may be any number of others.
fn mount(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|byte| *byte == b' ');
    let path = OsString::from_vec(unescaped(fields.nth(4)?));
    let kind = fields.skip_while(|field| *field != b"-").nth(1)?;
    Some(Mount { path: path.into(), kind: String::from_utf8_lossy(&unescaped(kind)).into_owned() })
}

/// The kernel writes blanks, line ends and backslashes as a backslash and three octal digits.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let escaped = if *first == b'\\' { after.get(..3).and_then(octal) } else { None };
        bytes.push(escaped.unwrap_or(*first));
        rest = if escaped.is_some() { &after[3..] } else { after };
    }
    bytes
}

fn octal(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &[u8] = b"21 1 0:20 / / rw,relatime - overlay overlay rw\n\
        30 21 8:1 / /srv rw shared:1 master:2 - ext4 /dev/sda1 rw\n\
        31 30 0:40 / /srv/drop rw - btrfs /dev/sdb rw\n\
        32 31 0:41 / /srv/drop/from\\040scanner rw shared:5 - nfs4 host:/scans rw,vers=4.2\n\
        33 31 0:42 / /srv/drop/tmp rw - tmpfs none rw\n\
        34 31 0:43 / /srv/drop/.astran-backup rw - tmpfs none rw\n\
        35 21 0:44 / /srv/drop-not rw - cifs //host/share rw\n\
        36 31 0:45 / /srv/drop/over rw - nfs host:/a rw\n\
        37 36 0:46 / /srv/drop/over rw - fuse.sshfs host: rw\n\
        a line that is none\n";

    #[test]
    fn mounts_below_a_folder_are_listed_with_what_their_file_systems_offer() {
        let mounts = listed(LIST, Path::new("/srv/drop"));
        let told: Vec<_> = mounts
            .iter()
            .map(|mount| (mount.path.to_str().unwrap(), mount.network_share(), mount.leases_tell_of_writers()))
            .collect();
        let expected = [
            ("/srv/drop/from scanner", Some("NFS"), false),
            ("/srv/drop/tmp", None, true),
            ("/srv/drop/over", Some("FUSE"), false),
        ];
        assert_eq!(told, expected);
        assert!(listed(LIST, Path::new("/srv/drop/tmp")).is_empty());
    }

    #[test]
    fn the_kernels_escapes_are_undone_and_all_else_is_left() {
        assert_eq!(unescaped(b"a\\040b\\011\\134\\012"), b"a b\t\\\n");
        for odd in [&b"\\"[..], b"\\04", b"\\099", b"\\777", b"\\x20"] {
            assert_eq!(unescaped(odd), odd);
        }
        assert_eq!(unescaped(b"\\303\\244"), "ä".as_bytes());
    }
}
