//! A user who may write into the folder, or owns the folder above it, can't point the program to anything else.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::PathBuf;
use std::process::Stdio;

use crate::support::{Daemon, QUICK, World, eventually};

const NOBODY: u32 = 65534;

fn rename(world: &World, from: &str, to: &str) {
    fs::rename(world.dir.path().join(from), world.dir.path().join(to)).unwrap();
}

/// A folder beside the watched one with a file that must not be touched.
fn victim(world: &World) -> PathBuf {
    let victim = world.dir.path().join("victim");
    fs::create_dir_all(victim.join("empty")).unwrap();
    fs::write(victim.join("secret"), "secret").unwrap();
    victim
}

/// Regression: within five seconds all files behind the link were uploaded and deleted.
#[test]
fn a_folder_replaced_by_a_link_counts_as_gone_and_the_links_target_is_not_touched() {
    let world = World::new();
    let victim = victim(&world);
    let daemon = world.watch_quick(&[]);
    rename(&world, "watched", "away");
    symlink(&victim, world.watched()).unwrap();
    daemon.wait_for("symbolic link");
    fs::remove_file(world.watched()).unwrap();
    rename(&world, "away", "watched");
    world.put("second", "second");
    eventually("uploads go on with the real folder back", || world.files_left().is_empty());
    assert!(
        victim.join("secret").exists() && world.stored("/HR_Backup/secret").is_none(),
        "{}",
        daemon.output_so_far()
    );
    assert_eq!(daemon.stop().code, Some(0));
}

#[test]
fn a_folder_replaced_by_one_of_another_owner_counts_as_gone() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can make folders of others");
        return;
    }
    let world = World::new();
    chown(victim(&world), Some(NOBODY), Some(NOBODY)).unwrap();
    let daemon = world.watch_quick(&[]);
    rename(&world, "watched", "away");
    rename(&world, "victim", "watched");
    let line = daemon.wait_for("belongs to another user");
    assert!(line.contains("chown") && line.contains("start again"), "the message says the mend: {line}");
    assert!(world.watched().join("secret").exists() && world.stored("/HR_Backup/secret").is_none());
    assert_eq!(daemon.stop().code, Some(0));
}

/// Regression: the program's own lock on the earlier folder shut it out until a restart.
#[test]
fn a_folder_that_is_replaced_and_put_back_is_taken_again() {
    let world = World::new();
    let daemon = world.watch_quick(&[]);
    rename(&world, "watched", "old");
    fs::create_dir(world.watched()).unwrap();
    world.put("second", "second");
    eventually("the new folder is taken", || world.files_left().is_empty());
    rename(&world, "watched", "new");
    rename(&world, "old", "watched");
    world.put("third", "third");
    eventually("the old folder is taken again", || world.files_left().is_empty());
    assert!(!daemon.output_so_far().contains("another instance"), "{}", daemon.output_so_far());
    assert_eq!(daemon.stop().code, Some(0));
}

/// Regression: the empty folders below the link's target were removed.
#[test]
fn a_link_in_the_place_of_the_private_folder_is_never_followed() {
    let world = World::new();
    let victim = victim(&world);
    symlink(&victim, world.watched().join(".astran-backup")).unwrap();
    world.put("report", "content");
    let output = world.once_quick(&[]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(world.times_stored("/HR_Backup/report"), 1);
    let pushed = world.run(["push", "watched"]);
    assert_eq!(pushed.code, Some(0), "{pushed:?}");
    assert!(victim.join("empty").is_dir() && victim.join("secret").exists());
    assert!(!world.watched().join("report").exists(), "the file is removed without a private folder");
}

/// Regression: files that another user had put there were taken for this user's, and uploaded.
#[test]
fn a_private_folder_that_is_not_ours_alone_is_not_trusted() {
    let world = World::new();
    let planted = world.watched().join(".astran-backup/0");
    fs::create_dir_all(&planted).unwrap();
    fs::write(planted.join("forged"), "forged").unwrap();
    fs::set_permissions(world.watched().join(".astran-backup"), fs::Permissions::from_mode(0o777)).unwrap();
    world.put("report", "content");
    let output = world.once_quick(&[]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!((world.times_stored("/HR_Backup/report"), world.times_stored("/HR_Backup/forged")), (1, 0));
    assert!(planted.join("forged").exists() && !world.watched().join("report").exists());
}

/// Regression: the file was "stored, but stays here" for ever, while `check` said that files can be deleted.
#[test]
fn a_file_in_the_place_of_the_private_folder_keeps_no_stored_file_from_being_removed() {
    let world = World::new();
    world.put(".astran-backup", "not a folder");
    world.put("sub/report", "content");
    let output = world.once_quick(&[]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(!world.watched().join("sub/report").exists());
    assert_eq!(world.files_left(), [PathBuf::from(".astran-backup")]);
}

#[test]
fn files_a_killed_run_staged_beside_their_places_are_put_back() {
    let world = World::new();
    world.put("sub/.astran-backup~0~report", "content");
    let output = world.once_quick(&[]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(world.times_stored("/HR_Backup/report"), 1);
    assert!(world.files_left().is_empty());
}

/// Regression: after 64 KiB of unread log the program stood still, and SIGTERM did not end it.
#[test]
fn an_unread_standard_error_stops_neither_uploads_nor_the_end() {
    let world = World::new();
    let files = 400;
    for number in 0..files {
        world.put(format!("file-{number}"), format!("content {number}"));
    }
    let mut command = world.command();
    command.args(["watch", "watched", "-vv"]).args(QUICK).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let unread = child.stderr.take();
    eventually("all files go", || world.files_left().is_empty() && world.sandbox().uploads().len() == files);
    std::process::Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    eventually("it ends", || child.try_wait().unwrap().is_some());
    drop(unread);
}

#[test]
fn a_closed_standard_error_and_stray_signals_change_no_exit_code() {
    let world = World::new();
    let mut push = world.command();
    let status = push.args(["push", "no-such-file"]).stderr(Stdio::piped()).spawn().and_then(|mut child| {
        drop(child.stderr.take());
        child.wait()
    });
    assert_eq!(status.unwrap().code(), Some(4));
    let daemon = world.watch_quick(&[]);
    for signal in ["-USR1", "-USR2", "-XFSZ"] {
        daemon.signal(signal);
    }
    world.put("after", "after");
    eventually("it goes on", || world.files_left().is_empty());
    assert_eq!(daemon.stop().code, Some(0));
}

#[test]
fn a_file_name_can_not_forge_a_line_of_the_log_or_the_output() {
    let world = World::with(|options| options.max_size = Some(3));
    world.put("x\nfailed  forged: line\u{1b}[2J\u{202e}\u{200b}", "too large");
    let output = world.once_quick(&["-v"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    for text in [&output.stdout, &output.stderr] {
        assert!(!text.contains(['\u{1b}', '\u{202e}', '\u{200b}']), "{text}");
        assert!(!text.lines().any(|line| line.starts_with("failed  forged")), "{text}");
    }
}

/// A core dump would hold the password and tokens.
#[test]
#[cfg(target_os = "linux")]
fn the_program_leaves_no_core_dump() {
    let world = World::new();
    let daemon: Daemon = world.watch_quick(&[]);
    let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).unwrap();
    let cores = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(cores.split_whitespace().nth(4), Some("0"), "{cores}");
    assert_eq!(daemon.stop().code, Some(0));
}

/// The memory holds them too: the kernel must show it to no other program of the same user. The owner of the files in `/proc/PID`
/// says whether it does.
#[test]
#[cfg(target_os = "linux")]
fn no_other_program_of_the_same_user_may_look_into_its_memory() {
    use std::io::BufRead as _;
    use std::os::unix::fs::MetadataExt as _;
    use std::os::unix::process::CommandExt as _;
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let world = World::new();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_astran-backup"));
    command.args(["sandbox", "--listen", "127.0.0.1:0"]).uid(NOBODY).gid(NOBODY);
    command.env_clear().env("HOME", world.dir.path()).env("TMPDIR", world.dir.path());
    chown(world.dir.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    // Another user can't run the program where the build folder is closed to others.
    let Ok(mut child) = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn() else { return };
    let mut first = String::new();
    std::io::BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let owner = fs::metadata(format!("/proc/{}/environ", child.id())).map(|status| status.uid());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!first.is_empty(), "the program did not start");
    assert_eq!(owner.unwrap(), 0);
}

/// Regression: uploads and deletions went on without receipts.
#[test]
fn a_journal_that_is_removed_under_a_running_watch_stops_uploads_and_nothing_is_removed() {
    let world = World::new();
    let daemon = world.watch_quick(&[]);
    fs::remove_dir_all(world.state()).unwrap();
    let report = world.put("report", "content");
    daemon.wait_for("was removed or replaced");
    assert!(report.exists() && world.times_stored("/HR_Backup/report") == 0);
    daemon.stop();
    assert_eq!(world.once_quick(&[]).code, Some(0));
    assert!(!report.exists() && world.times_stored("/HR_Backup/report") == 1);
}

/// As above, for the journal of a further service, which lies in a deeper folder.
#[test]
fn a_second_services_journal_that_is_removed_stops_its_uploads_too() {
    let (first, world) = (World::new(), World::new());
    let mut command = world.command();
    let output = crate::support::run_to_end(
        command.envs(crate::support::access_variables(&first.access)).args(["watch", "watched", "--once"]).args(QUICK),
    );
    assert_eq!(output.code, Some(0), "{output:?}");
    let daemon = world.watch_quick(&[]);
    fs::remove_dir_all(world.state().join("astran-backup/services")).unwrap();
    let report = world.put("report", "content");
    daemon.wait_for("was removed or replaced");
    assert!(report.exists() && world.times_stored("/HR_Backup/report") == 0);
    daemon.stop();
}

/// Regression: a link in the state folder turned another file of this user into a database.
#[test]
fn a_state_folder_of_another_user_or_with_links_in_it_is_refused() {
    let world = World::new();
    let victim = victim(&world).join("secret");
    let state = world.state().join("astran-backup");
    fs::create_dir_all(&state).unwrap();
    symlink(&victim, state.join("journal.sqlite")).unwrap();
    let output = world.once_quick(&[]);
    assert!(output.code == Some(1) && output.stderr.contains("is a link"), "{output:?}");
    assert_eq!(fs::read(&victim).unwrap(), b"secret");
    if rustix::process::geteuid().is_root() {
        fs::remove_file(state.join("journal.sqlite")).unwrap();
        chown(&state, Some(NOBODY), Some(NOBODY)).unwrap();
        let output = world.once_quick(&[]);
        assert!(output.code == Some(1) && output.stderr.contains("another user"), "{output:?}");
    }
}

/// Regression: the program ended with 0 and uploaded nothing, because the receipts of another service counted.
#[test]
fn the_receipts_of_one_service_never_count_for_another() {
    let (one, other) = (World::new(), World::new());
    one.put("report", "content");
    let run = |world: &World, arguments: &[&str]| {
        let mut command = one.command();
        command.envs(crate::support::access_variables(&world.access)).args(arguments);
        crate::support::run_to_end(&mut command)
    };
    let watch = ["watch", "watched", "--once", "--keep", QUICK[0], QUICK[1]];
    for (world, named) in [(&one, false), (&other, true), (&one, false), (&other, false)] {
        let output = run(world, &watch);
        assert_eq!(output.code, Some(0), "{output:?}");
        assert_eq!(output.stderr.contains("a journal of its own"), named, "{output:?}");
        assert_eq!(world.times_stored("/HR_Backup/report"), 1, "each service has it, once");
    }
    one.put("second", "second");
    assert_eq!(run(&one, &watch).code, Some(0));
    for (world, receipts) in [(&one, 2), (&other, 1)] {
        let history = run(world, &["history", "--json"]);
        assert_eq!(history.events("attempt").len(), receipts, "{history:?}");
        let check = run(world, &["history", "--check"]);
        assert!(check.code == Some(0) && check.stdout.contains(&format!("the newest is {receipts}\n")), "{check:?}");
        assert_eq!(run(world, &["verify"]).code, Some(0));
    }
}

#[test]
fn without_a_configured_service_history_shows_the_only_journal_and_none_of_several() {
    let (one, other) = (World::new(), World::new());
    one.put("report", "content");
    let run = |world: Option<&World>, arguments: &[&str]| {
        let mut command = one.command();
        for (name, _) in crate::support::access_variables(&one.access) {
            command.env_remove(name);
        }
        command.envs(world.map(|world| crate::support::access_variables(&world.access)).into_iter().flatten());
        crate::support::run_to_end(command.args(arguments))
    };
    let watch = ["watch", "watched", "--once", "--keep", QUICK[0], QUICK[1]];
    assert_eq!(run(Some(&one), &watch).code, Some(0));
    let mistyped = run(Some(&other), &["history"]);
    assert!(mistyped.code == Some(2) && mistyped.stderr.contains(&one.access.api_url), "{mistyped:?}");
    let only = run(None, &["history"]);
    assert!(only.code == Some(0) && only.stdout.contains("/HR_Backup/report"), "{only:?}");
    assert_eq!(run(Some(&other), &watch).code, Some(0));
    let several = run(None, &["history"]);
    assert!(several.code == Some(2) && several.stderr.contains("--realm"), "{several:?}");
    for world in [&one, &other] {
        assert!(several.stderr.contains(&world.access.api_url), "{several:?}");
    }
}
