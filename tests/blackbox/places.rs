//! Where a watched folder lies: other users who could replace it, folders that go and come back, and very deep folders.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::{CWD, Mode, OFlags, mkdirat, openat};

use crate::support::{Daemon, Output, QUICK, World, eventually, run_to_end};

const NOBODY: u32 = 65534;
const SOMEBODY: u32 = 65533;

/// A world in which `home/drop` is watched instead of the usual folder.
struct Home {
    world: World,
}

impl Home {
    fn new() -> Self {
        let world = World::new();
        fs::create_dir_all(world.dir.path().join("home/drop")).unwrap();
        // The victim, which must never be touched: another tree with a folder of the same name.
        fs::create_dir_all(world.dir.path().join("victim/drop")).unwrap();
        fs::write(world.dir.path().join("victim/drop/secret"), "secret").unwrap();
        Self { world }
    }

    fn path(&self, relative: &str) -> PathBuf {
        self.world.dir.path().join(relative)
    }

    fn put(&self, name: &str) -> PathBuf {
        let path = self.path("home/drop").join(name);
        fs::write(&path, name).unwrap();
        path
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    fn link(&self, to: &str, at: &str) {
        symlink(self.path(to), self.path(at)).unwrap();
    }

    fn mode(&self, of: &str, mode: u32) {
        fs::set_permissions(self.path(of), fs::Permissions::from_mode(mode)).unwrap();
    }

    fn give(&self, what: &str, user: u32) {
        std::os::unix::fs::lchown(self.path(what), Some(user), Some(user)).unwrap();
    }

    fn once(&self) -> Output {
        self.world.run(["watch", "home/drop", "--once"].iter().chain(&QUICK))
    }

    /// Starts a watch, and waits until it has taken a first file.
    fn watch(&self) -> Daemon {
        let first = self.put("first");
        let daemon = Daemon::start(self.world.command().args(["watch", "home/drop"]).args(QUICK));
        eventually("the first file is taken", || !first.exists());
        daemon
    }

    fn assert_victim_is_left_alone(&self) {
        assert!(self.path("victim/drop/secret").exists());
        assert!(self.world.stored("/HR_Backup/secret").is_none());
    }

    /// Asserts that the run was refused with this reason.
    #[track_caller]
    fn assert_refused(&self, output: &Output, why: &str) {
        assert!(output.code == Some(2) && output.stderr.contains(why), "{why}: {output:?}");
        self.assert_victim_is_left_alone();
    }
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: only root can make folders of others");
    }
    root
}

#[test]
fn a_parent_that_is_replaced_by_a_link_is_not_followed_and_with_the_real_one_back_all_goes_on() {
    let home = Home::new();
    let daemon = home.watch();
    home.rename("home", "away");
    home.link("victim", "home");
    daemon.wait_for("symbolic link");
    fs::remove_file(home.path("home")).unwrap();
    home.rename("away", "home");
    let second = home.put("second");
    eventually("uploads go on with the real parent back", || !second.exists());
    home.assert_victim_is_left_alone();
    assert_eq!(daemon.stop().code, Some(0));
}

/// The owner of the parent can put any folder there, so the watched folder must belong to that user.
#[test]
fn a_start_through_a_folder_of_another_user_takes_only_that_users_own_folder() {
    if !is_root() {
        return;
    }
    let home = Home::new();
    home.give("home", NOBODY);
    let file = home.put("file");
    home.assert_refused(&home.once(), "belongs to the user 65534");
    home.give("home/drop", SOMEBODY);
    home.assert_refused(&home.once(), "belongs to the user 65534");
    home.give("home/drop", NOBODY);
    home.give("home/drop/file", NOBODY);
    let taken = home.once();
    assert_eq!((taken.code, file.exists()), (Some(0), false), "{taken:?}");

    // A link of that user leads to a folder of another user.
    home.rename("home/drop", "home/own");
    home.link("victim/drop", "home/drop");
    home.give("home/drop", NOBODY);
    home.assert_refused(&home.once(), "belongs to the user 65534");
    // A link earlier in the path does the same.
    fs::remove_file(home.path("home/drop")).unwrap();
    home.link("victim", "home/sub");
    home.assert_refused(&home.world.run(["watch", "home/sub/drop", "--once"]), "belongs to the user 65534");
}

#[test]
fn a_start_below_a_folder_that_others_may_write_is_refused_unless_it_is_sticky() {
    let home = Home::new();
    let file = home.put("file");
    home.mode("home", 0o777);
    let refused = home.once();
    home.assert_refused(&refused, "chmod +t");
    assert!(file.exists());
    home.mode("home", 0o1777);
    assert_eq!(home.once().code, Some(0));
    assert!(!file.exists());
    // Everybody may write into the watched folder itself: other users put files there.
    home.mode("home", 0o755);
    home.mode("home/drop", 0o777);
    let file = home.put("file");
    assert_eq!(home.once().code, Some(0));
    assert!(!file.exists());
}

#[test]
fn links_of_the_administrator_are_followed_at_the_start_and_changed_ones_not_while_running() {
    let home = Home::new();
    home.link("home", "current");
    let first = home.put("first");
    let daemon = Daemon::start(home.world.command().args(["watch", "current/drop"]).args(QUICK));
    eventually("the first file is taken", || !first.exists());
    fs::remove_file(home.path("current")).unwrap();
    home.link("victim", "current");
    let second = home.put("second");
    eventually("the folder of the start is watched on", || !second.exists());
    home.assert_victim_is_left_alone();
    assert_eq!(daemon.stop().code, Some(0));
}

/// Regression: a folder with the same owner was accepted, though another user had put it there.
#[test]
fn a_folder_that_another_user_could_have_replaced_counts_as_gone() {
    if !is_root() {
        return;
    }
    let home = Home::new();
    let daemon = home.watch();
    home.give("home", NOBODY);
    home.rename("home/drop", "home/away");
    home.rename("victim/drop", "home/drop");
    daemon.wait_for("belongs to the user 65534");
    home.rename("home/drop", "victim/drop");
    home.assert_victim_is_left_alone();
    home.rename("home/away", "home/drop");
    let second = home.put("second");
    eventually("uploads go on with the real folder back", || !second.exists());
    assert_eq!(daemon.stop().code, Some(0));
}

#[test]
fn check_reports_a_folder_that_others_could_replace() {
    let home = Home::new();
    home.mode("home", 0o777);
    home.world.configure("[[folder]]\npath = \"home/drop\"\n");
    let checked = home.world.run(["check", "--config", "config.toml"]);
    assert_eq!(checked.code, Some(2), "{checked:?}");
    assert!(checked.stdout.contains("chmod +t"), "{checked:?}");
}

#[test]
fn push_removes_nothing_from_a_folder_that_others_could_replace() {
    let home = Home::new();
    home.mode("home", 0o777);
    let file = home.put("file");
    for what in ["home/drop", "home/drop/file"] {
        home.assert_refused(&home.world.run(["push", "--delete", what]), "chmod +t");
    }
    assert!(file.exists());
    let kept = home.world.run(["push", "home/drop/file"]);
    assert_eq!(kept.code, Some(0), "{kept:?}");
}

/// Regression: the program's own lock shut it out until a restart.
#[test]
#[cfg(target_os = "linux")]
fn a_disk_that_is_unmounted_and_mounted_again_is_taken_again() {
    let world = World::new();
    let mount = "mkdir -p disk && mount -t tmpfs none disk && mount --bind disk watched";
    if run_to_end(&mut world.unshared("-rm", mount)).code != Some(0) {
        eprintln!("skipped: nothing can be mounted here");
        return;
    }
    let shell = format!(
        "{mount} || exit 9
         take() {{ echo $1 > watched/$1; while [ -e watched/$1 ]; do sleep 0.05; done; }}
         \"$1\" watch watched --settle 10ms & pid=$!
         take first; umount -l watched; take between; mount --bind disk watched; take second
         kill -TERM $pid; wait $pid; code=$?
         find disk watched -name .astran-backup | grep . && exit 8
         umount watched; find watched -type f | grep . && exit 7
         exit $code"
    );
    let output = run_to_end(&mut world.unshared("-rm", &shell));
    assert_eq!(output.code, Some(0), "{output:?}");
    for name in ["first", "between", "second"] {
        assert_eq!(world.times_stored(&format!("/HR_Backup/{name}")), 1, "{name}: {output:?}");
    }
}

/// Regression: the end of a watch cleaned the private folder of another folder that lay at the path by then.
#[test]
fn the_end_of_a_watch_tidies_only_the_folder_that_was_watched() {
    let world = World::new();
    let daemon = world.watch_quick(&[]);
    eventually("its first file is gone", || world.files_left().is_empty());
    fs::rename(world.watched(), world.dir.path().join("old")).unwrap();
    let other = world.watched().join(".astran-backup");
    fs::create_dir_all(other.join("0")).unwrap();
    fs::set_permissions(&other, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(daemon.stop().code, Some(0));
    assert!(other.join("0").exists(), "the folder belongs to another process");
    assert!(!world.dir.path().join("old/.astran-backup").exists(), "the folder is this process's own");
}

/// Makes so many nested folders, and opens the innermost one.
fn dig(from: &Path, name: &str, levels: usize) -> OwnedFd {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = openat(CWD, from, flags, Mode::empty()).unwrap();
    for _ in 0..levels {
        mkdirat(&at, name, Mode::RWXU).unwrap();
        at = openat(&at, name, flags, Mode::empty()).unwrap();
    }
    at
}

fn put_at(folder: &OwnedFd, name: &str) {
    let file =
        openat(folder, name, OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR).unwrap();
    std::io::Write::write_all(&mut fs::File::from(file), name.as_bytes()).unwrap();
}

fn files_left(world: &World) -> String {
    run_to_end(Command::new("find").arg(world.watched()).args(["-type", "f", "-not", "-path", "*/.astran-backup/lock"]))
        .stdout
}

/// Regression: the file was reported once, and never taken.
#[test]
fn a_file_deeper_than_any_path_may_be_long_is_stored_and_removed() {
    let world = World::new();
    let folder = dig(&world.watched(), &"d".repeat(250), 20);
    put_at(&folder, "deep");
    let output = world.once_quick(&[]);
    assert_eq!(output.code, Some(0), "{} {}", output.stdout, output.stderr);
    assert_eq!(world.times_stored("/HR_Backup/deep"), 1);
    assert_eq!(files_left(&world), "");
}

/// Such a folder has no events: it is polled.
#[test]
fn a_file_that_appears_deeper_than_any_path_may_be_long_is_taken_while_it_runs() {
    let world = World::new();
    let folder = dig(&world.watched(), &"d".repeat(250), 20);
    let daemon = world.watch_quick(&[]);
    put_at(&folder, "deep");
    eventually("the file is stored", || world.times_stored("/HR_Backup/deep") == 1);
    eventually("the file is removed", || files_left(&world).is_empty());
    let output = daemon.output_so_far();
    let polling: Vec<_> = output.lines().filter(|line| line.contains("polling")).collect();
    assert!(polling.len() == 1 && polling[0].contains("folder{path="), "{output}");
    assert_eq!(daemon.stop().code, Some(0));
}
