//! The kind of file system: it decides whether events and leases can be trusted.

use std::os::fd::AsFd;

/// Whether a read lease on this file system tells of every writer on this host.
///
/// On ext4, xfs, btrfs and tmpfs this was measured. overlayfs misses mappings; FUSE and the network file systems grant
/// leases without knowing the other writers.
#[cfg(target_os = "linux")]
pub(super) fn leases_tell_of_writers(file: impl AsFd) -> bool {
    const TRUSTED: [u64; 4] = [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994];
    kind(file).is_some_and(|kind| TRUSTED.contains(&kind))
}

/// The name of the network file system, if it is one. No events come there for what other hosts do.
#[cfg(target_os = "linux")]
pub(super) fn network_share(dir: impl AsFd) -> Option<&'static str> {
    Some(match kind(dir)? {
        0x6969 => "NFS",
        0xff53_4d42 | 0xfe53_4d42 | 0x517b => "SMB",
        0x0102_1997 => "9p",
        0x6573_5546 => "FUSE",
        0x00c3_6400 => "Ceph",
        0x5346_414f => "AFS",
        _ => return None,
    })
}

/// [`network_share`] by a file system's type as the kernel calls it: to ask the file system itself might hang.
pub(super) fn network_share_called(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "nfs" | "nfs4" => "NFS",
        "cifs" | "smb3" | "smbfs" => "SMB",
        "9p" => "9p",
        "fuse" | "fuseblk" | "virtiofs" => "FUSE",
        kind if kind.starts_with("fuse.") => "FUSE",
        "ceph" => "Ceph",
        "afs" => "AFS",
        _ => return None,
    })
}

/// [`leases_tell_of_writers`] by a file system's type as the kernel calls it.
pub(super) fn leases_tell_of_writers_on(kind: &str) -> bool {
    ["ext2", "ext3", "ext4", "xfs", "btrfs", "tmpfs"].contains(&kind)
}

/// Whether an open folder is the root of a mount; false where the kernel does not say (before Linux 5.8).
#[cfg(target_os = "linux")]
pub(super) fn is_mount_root(dir: impl AsFd) -> bool {
    use rustix::fs::{AtFlags, StatxAttributes, StatxFlags, statx};
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    statx(dir, c"", flags, StatxFlags::empty())
        .is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

#[cfg(not(target_os = "linux"))]
pub(super) fn is_mount_root(_: impl AsFd) -> bool {
    false
}

#[cfg(not(target_os = "linux"))]
pub(super) fn network_share(_: impl AsFd) -> Option<&'static str> {
    None
}

#[cfg(target_os = "linux")]
#[allow(clippy::cast_sign_loss, clippy::unnecessary_cast)]
fn kind(file: impl AsFd) -> Option<u64> {
    // The magic numbers have 32 bits; the field's width and sign differ between architectures.
    Some(rustix::fs::fstatfs(file).ok()?.f_type as u64 & 0xffff_ffff)
}
