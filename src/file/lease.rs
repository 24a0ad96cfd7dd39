//! Whether anybody still writes a file: on Linux a read lease tells.
//!
//! The kernel refuses a read lease while any process on this host has the file open for writing: idle descriptors,
//! duplicates, forked children and shared mappings included. While the lease is held, a process that opens the file for writing
//! waits, and the kernel sends this process SIGIO.

use std::fs::File;
use std::sync::Arc;

use tokio::sync::watch;

/// What a try for a lease says about the file's writers.
#[derive(Debug)]
pub enum Writers {
    /// There are none, and none can come unnoticed as long as the lease lives.
    None(Lease),
    /// Somebody has the file open for writing.
    Some,
    /// No lease can tell, for this reason.
    Unknown(NoLease),
}

/// Why no lease tells of a file's writers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoLease {
    /// The file system grants or refuses leases whether there are writers or not.
    #[error("its file system's leases can't be trusted")]
    Untrusted,
    /// The file system, or this platform, has no leases.
    #[error("its file system offers no leases")]
    NotOffered,
    /// The kernel knows the writers, but tells only the file's owner and processes with `CAP_LEASE`.
    #[error("it belongs to another user, and this process lacks CAP_LEASE")]
    NotAllowed,
}

/// A read lease on an open file; given up when dropped.
#[derive(Debug)]
pub struct Lease {
    file: Arc<File>,
}

impl Lease {
    /// Whether the lease is still held: nobody has tried to open the file for writing since it was taken.
    pub fn holds(&self) -> bool {
        sys::holds(&self.file)
    }

    /// Gives the lease up at once, because a writer waits, even while other owners of this value live. It no longer holds from then on.
    pub fn give_up(&self) {
        sys::give_up(&self.file);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Where nobody else has the file open, it is closed now, and the lease ends with that.
        if Arc::strong_count(&self.file) > 1 {
            self.give_up();
        }
    }
}

/// Tries for a read lease. `trusted` says whether leases on the file system of the file tell of every writer on this host.
///
/// [`LeaseBreaks::install`] must have run before: the default action of the signal ends the process.
pub fn take(file: &Arc<File>, trusted: bool) -> Writers {
    sys::take(file, trusted)
}

/// Whether leases on the file system of this file or folder tell of every writer on this host.
pub(super) fn tell_of_writers(on: impl std::os::fd::AsFd) -> bool {
    sys::tell_of_writers(on)
}

/// Whether the kernel lets this process take leases on files of other users, and so tells it about their writers.
#[cfg(target_os = "linux")]
pub fn allowed_on_files_of_others() -> bool {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/self/{file}")).ok();
    // Where the system does not say, the first such file shows it.
    read("status").is_none_or(|status| has_lease_capability(&status, read("uid_map").as_deref()))
}

#[cfg(not(target_os = "linux"))]
pub fn allowed_on_files_of_others() -> bool {
    true
}

/// The kernel wants `CAP_LEASE` in the machine's own user namespace. In a container with a user namespace of its own the capability is
/// shown, but does not count. Pure.
#[cfg(target_os = "linux")]
fn has_lease_capability(status: &str, uid_map: Option<&str>) -> bool {
    const CAP_LEASE: u32 = 28;
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let whole = |map: &str| map.split_whitespace().eq(["0", "0", "4294967295"]);
    effective.is_none_or(|mask| mask & (1 << CAP_LEASE) != 0) && uid_map.is_none_or(whole)
}

/// Wakes up when any lease of this process is being broken; the owner of each lease must ask [`Lease::holds`] whether it is its own.
#[derive(Debug, Clone)]
pub struct LeaseBreaks(watch::Receiver<u64>);

impl LeaseBreaks {
    /// Installs the handler of the signal for leases being broken. Needs a tokio runtime.
    pub fn install() -> std::io::Result<Self> {
        let (sender, receiver) = watch::channel(0);
        sys::on_break(sender)?;
        Ok(Self(receiver))
    }

    /// Resolves once this lease is being broken: drop it at once, its writer waits.
    pub async fn broken(&self, lease: &Lease) {
        let mut signals = self.0.clone();
        // Mark earlier signals as seen first and look at the lease after that: a break in between is a new signal.
        signals.borrow_and_update();
        while lease.holds() {
            if signals.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

#[cfg(target_os = "linux")]
mod sys {
    use super::{Arc, File, Lease, NoLease, Writers, watch};
    use crate::file::filesystem::{leases_tell_of_writers, network_share};
    use std::os::fd::AsRawFd;

    /// `fcntl(F_SETLEASE)`, which no safe binding offers.
    #[allow(unsafe_code)]
    fn set(file: &File, kind: libc::c_int) -> std::io::Result<()> {
        // SAFETY: the descriptor is open as long as `file` is borrowed, and F_SETLEASE takes a plain integer.
        let answer = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, kind) };
        if answer == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
    }

    pub(super) fn tell_of_writers(on: impl std::os::fd::AsFd) -> bool {
        leases_tell_of_writers(on)
    }

    pub(super) fn take(file: &Arc<File>, trusted: bool) -> Writers {
        match set(file, libc::F_RDLCK) {
            // overlayfs and FUSE grant leases though there are writers by another way; but a refusal is the truth there.
            Ok(()) if !trusted => {
                give_up(file);
                Writers::Unknown(NoLease::Untrusted)
            }
            // NFS and SMB refuse whatever they have no promise of the server for, writers or not.
            Err(_) if !trusted && network_share(&**file).is_some_and(|kind| kind != "FUSE") => {
                Writers::Unknown(NoLease::Untrusted)
            }
            Ok(()) => Writers::None(Lease { file: Arc::clone(file) }),
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => Writers::Some,
            Err(error) if trusted && error.raw_os_error() == Some(libc::EACCES) => {
                Writers::Unknown(NoLease::NotAllowed)
            }
            Err(_) => Writers::Unknown(NoLease::NotOffered),
        }
    }

    #[allow(unsafe_code)]
    pub(super) fn holds(file: &File) -> bool {
        // SAFETY: as in `set`; F_GETLEASE takes no argument. While a writer waits it answers F_UNLCK.
        unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETLEASE) == libc::F_RDLCK }
    }

    pub(super) fn give_up(file: &File) {
        // A lease that is gone already can't be given up; there is nothing to do about that.
        set(file, libc::F_UNLCK).ok();
    }

    pub(super) fn on_break(sender: watch::Sender<u64>) -> std::io::Result<()> {
        let mut signals = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::io())?;
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                sender.send_modify(|count| *count += 1);
            }
        });
        Ok(())
    }
}

#[cfg(not(target_os = "linux"))]
mod sys {
    use super::{Arc, File, NoLease, Writers, watch};

    pub(super) fn tell_of_writers(_: impl std::os::fd::AsFd) -> bool {
        false
    }

    pub(super) fn take(_: &Arc<File>, _: bool) -> Writers {
        Writers::Unknown(NoLease::NotOffered)
    }

    pub(super) fn holds(_: &File) -> bool {
        false
    }

    pub(super) fn give_up(_: &File) {}

    pub(super) fn on_break(sender: watch::Sender<u64>) -> std::io::Result<()> {
        // Keeps the channel open, so that nobody takes its end for a broken lease.
        tokio::spawn(async move { sender.closed().await });
        Ok(())
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use std::os::unix::fs::OpenOptionsExt as _;

    fn scratch() -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("document");
        std::fs::write(&path, b"content").unwrap();
        (dir, path)
    }

    fn try_for(file: &Arc<File>) -> Writers {
        take(file, tell_of_writers(&**file))
    }

    #[test]
    fn leases_on_files_of_others_take_a_capability_of_the_whole_machine() {
        let status = |mask: &str| format!("Name:\tx\nCapPrm:\t0000000000000000\nCapEff:\t{mask}\nCapBnd:\t0\n");
        let whole = "         0          0 4294967295\n";
        for (mask, map, expected) in [
            ("000001ffffffffff", Some(whole), true),
            ("0000000010000000", Some(whole), true),
            ("0000000010000000", None, true),
            ("000001ffefffffff", Some(whole), false),
            ("0000000000000000", Some(whole), false),
            ("000001ffffffffff", Some("         0       1000          1\n"), false),
        ] {
            assert_eq!(has_lease_capability(&status(mask), map), expected, "{mask} {map:?}");
        }
        assert!(has_lease_capability("nothing of the kind", None), "the first file of another user shows it");
    }

    #[tokio::test]
    async fn a_file_open_for_writing_has_writers_and_a_closed_one_has_none() {
        LeaseBreaks::install().unwrap();
        let (_dir, path) = scratch();
        let writer = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
        let file = Arc::new(File::open(&path).unwrap());
        assert!(matches!(try_for(&file), Writers::Some));
        drop(writer);
        let Writers::None(lease) = try_for(&file) else { panic!("nobody writes it") };
        assert!(lease.holds());
    }

    #[tokio::test]
    async fn opening_a_leased_file_for_writing_breaks_the_lease_and_waits_until_it_is_given_up() {
        let breaks = LeaseBreaks::install().unwrap();
        let (_dir, path) = scratch();
        let file = Arc::new(File::open(&path).unwrap());
        let Writers::None(lease) = try_for(&file) else { panic!("nobody writes it") };
        let writer = tokio::task::spawn_blocking(move || std::fs::OpenOptions::new().append(true).open(path));
        breaks.broken(&lease).await;
        assert!(!lease.holds());
        drop(lease);
        writer.await.unwrap().unwrap();
    }

    /// The file's state says nothing about waiting writers: only the lease knows.
    #[tokio::test]
    async fn a_file_with_a_waiting_writer_does_not_count_as_unchanged() {
        let breaks = LeaseBreaks::install().unwrap();
        let (dir, path) = scratch();
        let opened = crate::file::Root::open(dir.path()).unwrap().open_file("document".as_ref()).unwrap();
        let Writers::None(lease) = opened.writers() else { panic!("nobody writes it") };
        assert!(opened.is_unchanged(Some(&lease)));
        let writer = tokio::task::spawn_blocking(move || std::fs::OpenOptions::new().append(true).open(path));
        breaks.broken(&lease).await;
        assert!(!opened.is_unchanged(Some(&lease)));
        drop(lease);
        writer.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_dropped_lease_holds_no_writer_up_whether_the_file_is_still_open_or_not() {
        LeaseBreaks::install().unwrap();
        let (_dir, path) = scratch();
        let write = || std::fs::OpenOptions::new().append(true).custom_flags(libc::O_NONBLOCK).open(&path);
        let file = Arc::new(File::open(&path).unwrap());
        let lease = try_for(&file);
        assert!(write().is_err());
        drop(lease);
        assert!(write().is_ok());
        let lease = try_for(&file);
        drop(file);
        assert!(write().is_err());
        drop(lease);
        assert!(write().is_ok());
    }
}
