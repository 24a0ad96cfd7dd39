//! Where the machine ends: a full disk under the journal, no right to write, no descriptors left, a clock that is wrong. The
//! error says what to do, nothing leaves the folder without a receipt, and all goes on once there is room.
#![cfg(all(feature = "sandbox", target_os = "linux"))]
// Helpers of tests are tests too; and writers of the folder may rename and delete what is theirs.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod support;

use std::fs::{FileTimes, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use support::proof::{assert_nothing_left, clean_run};
use support::{Daemon, World, eventually, run_to_end};

const SETTLE: [&str; 2] = ["--settle", "10ms"];

fn can_mount(world: &World) -> bool {
    let mount = "mkdir -p probe && mount -t tmpfs -o size=64k none probe";
    let able = run_to_end(&mut world.unshared("-rm", mount)).code == Some(0);
    if !able {
        eprintln!("skipped: nothing can be mounted here, so there is no small disk");
    }
    able
}

#[test]
fn a_full_disk_under_the_journal_stops_uploads_and_nothing_is_removed_until_there_is_room() {
    let world = World::new();
    if !can_mount(&world) {
        return;
    }
    std::fs::create_dir(world.state()).unwrap();
    let disk = "mount -t tmpfs -o size=8m,mode=700 none state || exit 9";
    let shell = format!("{disk}; cat /dev/zero > state/ballast 2>/dev/null; exec \"$1\" watch watched");
    let full_from_the_start = run_to_end(&mut world.unshared("-rm", &shell));
    assert_eq!(full_from_the_start.code, Some(1), "{full_from_the_start:?}");
    assert!(full_from_the_start.stderr.contains("disk is full"), "{full_from_the_start:?}");

    let wait = |file: &str| format!("while [ ! -e {file} ]; do sleep 0.01; done");
    let shell = format!(
        "{disk}; ({}; cat /dev/zero > state/ballast 2>/dev/null; touch is-full; {}; rm state/ballast) & \
         exec \"$1\" watch watched --settle 10ms",
        wait("full"),
        wait("free")
    );
    let daemon = Daemon::start(&mut world.unshared("-rm", &shell));
    daemon.wait_for("watching");
    world.put("before", "before");
    eventually("the file is stored and removed", || world.files_left().is_empty());
    std::fs::write(world.dir.path().join("full"), "").unwrap();
    eventually("the disk is full", || world.dir.path().join("is-full").exists());
    let names: Vec<String> = (0..40).map(|number| format!("file-{number}")).collect();
    for name in &names {
        world.put(name, vec![7; 2000]);
    }
    daemon.wait_for("the journal is in trouble");
    for name in &names {
        let removed = !world.watched().join(name).exists();
        assert!(!removed || world.times_stored(&format!("/HR_Backup/{name}")) == 1, "{name} is gone and not stored");
    }
    assert!(!world.files_left().is_empty(), "the disk was never full");
    std::fs::write(world.dir.path().join("free"), "").unwrap();
    let given_up = std::time::Instant::now() + support::PATIENCE;
    while !world.files_left().is_empty() {
        assert!(std::time::Instant::now() < given_up, "{:?} stay:\n{}", world.files_left(), daemon.output_so_far());
        std::thread::sleep(Duration::from_millis(10));
    }
    for name in &names {
        assert_eq!(world.times_stored(&format!("/HR_Backup/{name}")), 1, "{name}");
    }
    assert_eq!(daemon.stop().code, Some(0));
}

/// Its log grew until the disk was full, and then had no room to be folded into the journal.
#[test]
fn the_journal_of_many_files_fits_on_a_disk_that_is_a_little_larger_than_itself() {
    let world = World::new();
    if !can_mount(&world) {
        return;
    }
    let files = 1000;
    for number in 0..files {
        world.put(format!("file-{number}"), format!("content {number}"));
    }
    std::fs::create_dir(world.state()).unwrap();
    let shell =
        "mount -t tmpfs -o size=3m,mode=700 none state || exit 9; exec \"$1\" watch watched --once --settle 10ms";
    let output = run_to_end(&mut world.unshared("-rm", shell));
    assert_eq!(output.code, Some(0), "{:.2000}", output.stderr);
    assert_eq!((world.files_left().len(), world.sandbox().uploads().len()), (0, files));
}

/// As a user who may not do everything: root is not stopped by permissions.
fn as_nobody(world: &World, arguments: &[&str]) -> Option<support::Output> {
    if !rustix::process::geteuid().is_root() {
        return Some(world.run(arguments));
    }
    let inner = world.command();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
    command.arg(inner.get_program()).args(arguments).current_dir(world.dir.path()).env_clear();
    command.envs(inner.get_envs().filter_map(|(key, value)| Some((key, value?))));
    let reachable = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups", "--", "test", "-x"])
        .arg(inner.get_program())
        .status();
    if !reachable.is_ok_and(|status| status.success()) {
        eprintln!("skipped: no other user can be had here");
        return None;
    }
    Some(run_to_end(&mut command))
}

/// A file of that user's own: only then can leases tell of its writers.
fn put_for_nobody(world: &World, name: &str) -> PathBuf {
    let path = world.put(name, "content");
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&path, Some(65534), Some(65534)).unwrap();
    }
    path
}

fn mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_state_folder_that_can_not_be_written_is_told_of_and_nothing_is_touched() {
    let world = World::new();
    world.put("report", "content");
    mode(world.dir.path(), 0o755);
    mode(&world.watched(), 0o777);
    std::fs::create_dir(world.state()).unwrap();
    mode(&world.state(), 0o555);
    let Some(output) = as_nobody(&world, &["watch", "watched", "--once"]) else { return };
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("state") && output.stderr.contains("ermission"), "{output:?}");
    assert_eq!(world.files_left().len(), 1);
    assert!(world.sandbox().uploads().is_empty());
}

#[test]
fn in_a_folder_that_can_not_be_written_a_file_is_stored_once_and_stays_with_the_reason() {
    let world = World::new();
    put_for_nobody(&world, "report");
    mode(world.dir.path(), 0o1777);
    mode(&world.watched(), 0o555);
    for _ in 0..2 {
        let Some(output) = as_nobody(&world, &["watch", "watched", "--once"]) else { return };
        assert_eq!(output.code, Some(1), "{output:?}");
        assert!(output.stdout.contains("stays here") || output.stderr.contains("stays here"), "{output:?}");
    }
    assert_eq!(world.files_left().len(), 1);
    assert_eq!(world.times_stored("/HR_Backup/report"), 1);
    mode(&world.watched(), 0o777);
    let Some(output) = as_nobody(&world, &["watch", "watched", "--once"]) else { return };
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(world.files_left().is_empty());
    assert_eq!(world.times_stored("/HR_Backup/report"), 1, "sent again though only its removal was left");
}

#[test]
fn a_file_that_can_not_be_read_is_told_of_and_others_go() {
    let world = World::new();
    let secret = put_for_nobody(&world, "secret");
    put_for_nobody(&world, "open");
    mode(world.dir.path(), 0o1777);
    mode(&world.watched(), 0o777);
    mode(&secret, 0o000);
    let Some(output) = as_nobody(&world, &["watch", "watched", "--once", "--keep"]) else { return };
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stderr.contains("secret") || output.stdout.contains("secret"), "{output:?}");
    assert_eq!(world.times_stored("/HR_Backup/open"), 1);
    assert_eq!(world.times_stored("/HR_Backup/secret"), 0);
    assert_eq!(world.files_left().len(), 2);

    // Regression: the journal knew nothing of it, so that no command told of it and none helped.
    let failed = || as_nobody(&world, &["history", "--failed"]).unwrap().stdout;
    assert!(failed().contains("secret") && failed().contains("it belongs to nobody (mode 000)"), "{}", failed());
    let arguments = ["watch", "watched", "--once", "--keep", "--settle", "10ms"];
    let again = as_nobody(&world, &arguments).unwrap();
    assert!(again.code == Some(1) && failed().lines().count() == 1, "one row a file: {again:?}");
    assert_eq!(as_nobody(&world, &["retry"]).unwrap().code, Some(0));
    assert_eq!(failed(), "");
    assert_eq!(as_nobody(&world, &arguments).unwrap().code, Some(1));
    assert_eq!(failed().lines().count(), 1);
    mode(&secret, 0o600);
    let readable = as_nobody(&world, &arguments).unwrap();
    assert_eq!(readable.code, Some(0), "the file is tried again by itself: {readable:?}");
    assert_eq!(world.times_stored("/HR_Backup/secret"), 1);
    assert_eq!(failed(), "");
}

/// The program under a limit of the shell, with this world's environment.
fn limited(world: &World, limit: &str, arguments: &str) -> Command {
    let inner = world.command();
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("ulimit {limit}; exec \"$0\" {arguments}")).arg(inner.get_program());
    command.current_dir(world.dir.path()).env_clear();
    command.envs(inner.get_envs().filter_map(|(key, value)| Some((key, value?))));
    command
}

/// Regression: told as a disk that fails.
#[test]
fn a_limit_for_the_size_of_a_file_that_the_journal_meets_is_told_as_such() {
    let world = World::new();
    for number in 0..300 {
        world.put(format!("file-{number}"), format!("content {number}"));
    }
    let daemon = Daemon::start(&mut limited(&world, "-f 300", "watch watched --settle 10ms"));
    daemon.wait_for("ulimit -f");
    assert!(!daemon.output_so_far().contains("its disk fails"), "{}", daemon.output_so_far());
    daemon.kill();
    clean_run(&world, &SETTLE);
    assert_eq!(world.sandbox().uploads().len(), 300, "stored twice");
}

/// Regression: 69,000 lines a second.
#[test]
fn a_watch_with_hardly_any_descriptors_says_so_once_and_sends_all() {
    let world = World::new();
    for number in 0..200 {
        world.put(format!("file-{number}"), vec![b'x'; 200_000 + number]);
    }
    let daemon = Daemon::start(&mut limited(&world, "-n 40", "watch watched --settle 10ms -v"));
    eventually("all is sent", || world.files_left().is_empty());
    let ended = daemon.stop();
    let log = ended.stdout.lines().filter(|line| !line.starts_with("stored"));
    // With -v each file's story has some seven lines, and a retry adds to them.
    let (stories, others): (Vec<&str>, Vec<&str>) = log.partition(|line| line.contains(" DEBUG "));
    assert!(others.len() < 100, "{} lines, such as\n{}", others.len(), others[..100].join("\n"));
    assert!(stories.len() < 200 * 20, "{} lines, such as\n{}", stories.len(), stories[..100].join("\n"));
    assert_eq!(world.sandbox().uploads().len(), 200, "stored twice");
}

#[test]
fn with_hardly_any_descriptors_nothing_is_lost_and_all_goes_in_the_end() {
    let world = World::new();
    for number in 0..60 {
        world.put(format!("file-{number}"), vec![b'x'; 200_000 + number]);
    }
    let inner = world.command();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 40; exec \"$0\" watch watched --once --settle 10ms"]).arg(inner.get_program());
    command.current_dir(world.dir.path()).env_clear();
    command.envs(inner.get_envs().filter_map(|(key, value)| Some((key, value?))));
    let scarce = run_to_end(&mut command);
    let stored = world.sandbox().uploads().len();
    println!("with 40 descriptors: exit {:?}, {stored} stored, {} left", scarce.code, world.files_left().len());
    let blamed: Vec<&str> = scarce.stdout.lines().filter(|line| !line.starts_with("stored")).collect();
    assert_eq!((scarce.code, stored), (Some(0), 60), "no file is to blame: {blamed:#?} {}", scarce.stderr);
    for number in 0..60 {
        let name = format!("file-{number}");
        let gone = !world.watched().join(&name).exists();
        assert!(!gone || world.times_stored(&format!("/HR_Backup/{name}")) == 1, "{name} is gone and not stored");
    }
    clean_run(&world, &SETTLE);
    assert_eq!(world.sandbox().uploads().len(), 60, "stored twice");
}

#[test]
fn files_from_the_future_and_from_before_1970_are_taken_like_others() {
    let world = World::new();
    let times = [
        SystemTime::now() + Duration::from_secs(10 * 365 * 86_400),
        SystemTime::UNIX_EPOCH - Duration::from_secs(3600),
        SystemTime::UNIX_EPOCH,
    ];
    for (number, time) in times.into_iter().enumerate() {
        let path = world.put(format!("file-{number}"), format!("content {number}"));
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.set_times(FileTimes::new().set_modified(time)).unwrap();
    }
    clean_run(&world, &SETTLE);
    assert_eq!(world.sandbox().uploads().len(), 3);
    assert_nothing_left(&world);
}

/// Regression: half of it was stored, and the rest deleted.
#[test]
fn on_an_overlay_file_system_a_writer_that_pauses_for_long_loses_nothing() {
    let world = World::new();
    for folder in ["lower", "upper", "work"] {
        std::fs::create_dir(world.dir.path().join(folder)).unwrap();
    }
    let mount = "mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work watched";
    if run_to_end(&mut world.unshared("-rm", mount)).code != Some(0) {
        eprintln!("skipped: no overlay file system can be mounted here");
        return;
    }
    let writer = "(exec 3>watched/document; echo half >&3; sleep 14; echo rest >&3) &";
    let shell = format!("{mount} && {writer} exec \"$1\" watch watched --settle 10ms");
    let daemon = Daemon::start(&mut world.unshared("-rm", &shell));
    daemon.wait_for("stored");
    assert_eq!(world.stored("/HR_Backup/document").as_deref(), Some(&b"half\nrest\n"[..]));
    assert_eq!(world.times_stored("/HR_Backup/document"), 1);
    assert_eq!(daemon.stop().code, Some(0));
}

/// Regression: deleted with their last content unstored, where their writer had them mapped.
#[test]
fn files_whose_writers_the_kernel_may_not_tell_us_are_uploaded_once_and_stay_unless_that_is_allowed() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: files of another user take root");
        return;
    }
    let world = World::new();
    mode(world.dir.path(), 0o755);
    mode(&world.watched(), 0o777);
    std::fs::create_dir(world.state()).unwrap();
    mode(&world.state(), 0o777);
    let file = world.put("report", "content");
    let arguments = ["watch", "watched", "--once", "--settle", "10ms"];
    for _ in 0..2 {
        let Some(output) = as_nobody(&world, &arguments) else { return };
        assert_eq!(output.code, Some(0), "{output:?}");
        let told = output.stderr.matches("AmbientCapabilities=CAP_LEASE").count();
        assert_eq!(told, 1, "at the start: {output:?}");
        assert!(file.exists() && world.times_stored("/HR_Backup/report") == 1, "{output:?}");
    }
    world.configure("[upload]\nallow_unleased = true\n");
    std::os::unix::fs::chown(world.dir.path().join("config.toml"), Some(65534), Some(65534)).unwrap();
    let output = as_nobody(&world, &[&arguments[..], &["--config", "config.toml"]].concat()).unwrap();
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(!file.exists() && world.times_stored("/HR_Backup/report") == 1, "{output:?}");
}

/// Regression: a full disk could not be emptied, because the private folder could not be made on it.
#[test]
fn files_on_a_disk_that_has_no_room_for_a_folder_are_removed_all_the_same() {
    let world = World::new();
    if !can_mount(&world) {
        return;
    }
    let fill = "i=0; while touch watched/file-$i; do i=$((i+1)); done 2>/dev/null";
    let shell = format!(
        "mount -t tmpfs -o nr_inodes=9 none watched && mkdir watched/sub && echo deep > watched/sub/deep && {{ {fill}; }}; \
         mkdir watched/no-room 2>/dev/null && exit 9; \
         \"$1\" watch watched --once --settle 10ms; code=$?; find watched -type f | wc -l; exit $code"
    );
    let output = run_to_end(&mut world.unshared("-rm", &shell));
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(output.stdout.lines().last().map(str::trim), Some("0"), "{output:?}");
    assert_eq!(world.times_stored("/HR_Backup/deep"), 1);
    assert!(world.sandbox().uploads().len() > 3, "{output:?}");
}

/// There a folder takes a block, and a rename within a folder none.
#[test]
fn files_on_a_full_ext4_disk_are_removed_all_the_same() {
    let world = World::new();
    let mkfs = "/usr/sbin/mkfs.ext4";
    if !rustix::process::geteuid().is_root() || !Path::new(mkfs).exists() {
        eprintln!("skipped: a disk image takes root and mkfs.ext4");
        return;
    }
    let disk =
        format!("truncate -s 4M disk && {mkfs} -q -m 0 -O ^has_journal disk && mount -o loop disk watched || exit 9");
    let shell = |script: &str| {
        let mut command = world.unshared("-rm", &format!("{disk}; {script}"));
        // A disk image can't be mounted as the root of a name space of one's own.
        let arguments: Vec<_> = command.get_args().skip(1).map(ToOwned::to_owned).collect();
        let envs: Vec<_> = command.get_envs().filter_map(|(k, v)| Some((k.to_owned(), v?.to_owned()))).collect();
        command = Command::new("unshare");
        command.arg("-m").args(arguments).current_dir(world.dir.path()).env_clear().envs(envs);
        run_to_end(&mut command)
    };
    if shell("true").code != Some(0) {
        eprintln!("skipped: no disk image can be mounted here");
        return;
    }
    let output = shell(
        "for n in 1 2 3; do mkdir watched/sub-$n; echo $n > watched/sub-$n/report-$n; done; \
         cat /dev/zero > watched/sub-1/zeros 2>/dev/null; n=0; while mkdir watched/fill-$n 2>/dev/null; do n=$((n+1)); done; \
         \"$1\" watch watched --once --settle 10ms; code=$?; find watched -type f; exit $code",
    );
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(!output.stdout.lines().any(|line| line.starts_with("watched/")), "{output:?}");
    assert_eq!(world.sandbox().uploads().len(), 4, "{output:?}");
}

/// Regression: files stayed "stored, but stays here" for ever.
#[test]
fn another_file_system_in_the_place_of_the_private_folder_keeps_no_stored_file_from_being_removed() {
    let world = World::new();
    if !can_mount(&world) {
        return;
    }
    world.put("report", "content");
    world.put("sub/report", "other content");
    let shell = "mkdir watched/.astran-backup && mount -t tmpfs -o mode=700 none watched/.astran-backup || exit 9; \
                 \"$1\" watch watched --once --settle 10ms; code=$?; find watched; exit $code";
    let output = run_to_end(&mut world.unshared("-rm", shell));
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(world.sandbox().uploads().len(), 2, "{output:?}");
    let left: Vec<_> = output.stdout.lines().filter(|line| line.starts_with("watched/")).collect();
    assert_eq!(
        left,
        ["watched/.astran-backup", "watched/sub"].into_iter().filter(|l| left.contains(l)).collect::<Vec<_>>()
    );
    assert!(world.files_left().is_empty());
}
