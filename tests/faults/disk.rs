//! A small disk that is full, for the watched folder or for the journal.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::World;

/// Which of the program's two disks is full in the first run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Full {
    Watched,
    /// With so many KiB of room: the journal can start, but not go on.
    State(u32),
}

/// A small disk, mounted on one of a world's folders until this value is dropped, which must be before the world is.
pub(crate) struct Disk {
    on: PathBuf,
    full: Full,
}

impl Disk {
    /// Mounts the disk; `None` where nothing can be mounted.
    pub(crate) fn mount(world: &World, full: Full) -> Option<Self> {
        let on = if full == Full::Watched { world.watched() } else { world.state() };
        std::fs::create_dir_all(&on).unwrap();
        let mounted = rustix::process::geteuid().is_root()
            && command(Command::new("mount").args(["-t", "tmpfs", "-o", "size=3m,mode=700", "none"]).arg(&on));
        if !mounted {
            eprintln!("skipped: nothing can be mounted here, so no disk is full");
            return None;
        }
        Some(Self { on, full })
    }

    /// A hidden file, which is never uploaded.
    fn ballast(&self) -> PathBuf {
        self.on.join(".ballast")
    }

    /// Fills the disk, except for the room that `Full` leaves.
    pub(crate) fn fill(&self) {
        let mut ballast = File::create(self.ballast()).unwrap();
        while ballast.write(&[0; 4096]).is_ok_and(|written| written > 0) {}
        if let Full::State(room) = self.full {
            let size = ballast.metadata().unwrap().len();
            ballast.set_len(size.saturating_sub(u64::from(room) * 1024)).unwrap();
        }
    }

    /// Makes room again.
    pub(crate) fn empty(&self) {
        // A process that another test is just starting may hold the file open for a moment, so that a deletion frees nothing yet: truncate
        // the file first.
        File::create(self.ballast()).unwrap();
        std::fs::remove_file(self.ballast()).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A run that was killed may use the disk for a moment longer.
        command(Command::new("umount").arg("--lazy").arg(&self.on));
    }
}

fn command(command: &mut Command) -> bool {
    command.status().is_ok_and(|status| status.success())
}

/// No mount may stay after the test.
#[test]
fn a_small_disk_is_full_has_room_again_and_is_gone_with_its_test() {
    let world = World::new();
    let device = |path: &Path| std::os::unix::fs::MetadataExt::dev(&std::fs::metadata(path).unwrap());
    let before = device(&world.watched());
    let Some(disk) = Disk::mount(&world, Full::Watched) else { return };
    assert_ne!(device(&world.watched()), before);
    disk.fill();
    assert!(std::fs::write(world.watched().join("file"), [0; 9000]).is_err());
    disk.empty();
    std::fs::write(world.watched().join("file"), [0; 9000]).unwrap();
    drop(disk);
    assert_eq!(device(&world.watched()), before);
}
