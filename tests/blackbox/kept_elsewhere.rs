//! Where files go when they leave the folder: into the private folder during the grace, then below `move_to` or `failed_dir`.
//! A user who may write into the watched folder, or into one of these, can't send the files anywhere else.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use crate::support::{Output, World, eventually, files_below};

const NOBODY: u32 = 65534;

/// Makes a folder beside the watched one, with this mode whatever the umask is.
fn folder(world: &World, name: &str, mode: u32) -> PathBuf {
    let path = world.dir.path().join(name);
    fs::create_dir_all(&path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    path
}

/// A world whose store refuses files over ten bytes, with a configuration that collects such files in `Failed`.
fn picky() -> World {
    let world = World::with(|options| options.max_size = Some(10));
    world.configure("[upload]\nfailed_dir = \"./Failed\"\n");
    world
}

fn moving(world: &World) -> Output {
    world.once_quick(&["--move-to", "Done"])
}

fn collecting(world: &World) -> Output {
    world.once_quick(&["--config", "config.toml"])
}

/// Regression: a file with the attacker's content ended in a folder that only root could write.
#[test]
fn a_link_in_the_folder_that_files_are_moved_to_is_never_followed() {
    for (name, world, run) in [("Done", World::new(), moving as fn(&World) -> Output), ("Failed", picky(), collecting)]
    {
        let victim = folder(&world, "victim", 0o700);
        symlink(&victim, folder(&world, name, 0o700).join("sub")).unwrap();
        let evil = world.put("sub/evil", "* * * * * root evil");
        let output = run(&world);
        assert_eq!(output.code, Some(1), "{output:?}");
        assert_eq!(fs::read_dir(&victim).unwrap().count(), 0, "{output:?}");
        assert!(evil.exists() && output.stdout.contains("link"), "{output:?}");
    }
}

/// Regression: a user who may write there could put links into the folder, or take the files away.
#[test]
fn a_folder_that_others_may_write_is_refused_before_any_file_is_moved_to_it() {
    for (name, world, run) in [("Done", World::new(), moving as fn(&World) -> Output), ("Failed", picky(), collecting)]
    {
        let file = world.put("report", "content");
        for mode in [0o770, 0o707, 0o777] {
            folder(&world, name, mode);
            let output = run(&world);
            assert_eq!(output.code, Some(2), "{mode:o}: {output:?}");
            assert!(output.stderr.contains("chmod go-w"), "{output:?}");
        }
        let pushed = world.run(["push", "watched", "--move-to", "Done"]);
        assert_eq!(pushed.code, Some(if name == "Done" { 2 } else { 0 }), "{pushed:?}");
        if name == "Done" {
            assert!(file.exists() && world.sandbox().uploads().is_empty());
        }
    }
}

#[test]
fn a_folder_of_another_user_is_refused_before_any_file_is_moved_to_it() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can make folders of others");
        return;
    }
    let world = World::new();
    let file = world.put("report", "content");
    chown(folder(&world, "Done", 0o700), Some(NOBODY), Some(NOBODY)).unwrap();
    let output = moving(&world);
    assert!(output.code == Some(2) && output.stderr.contains("another user"), "{output:?}");
    assert!(file.exists() && world.sandbox().uploads().is_empty());
}

/// A user who may write into the folder above could make such a link lead to any folder of the program's user.
#[test]
fn a_link_that_others_could_have_made_is_not_followed_to_where_files_are_moved() {
    let world = World::new();
    let victim = folder(&world, "victim", 0o700);
    symlink(&victim, folder(&world, "shared", 0o777).join("Done")).unwrap();
    world.put("report", "content");
    let output = world.once_quick(&["--move-to", "shared/Done"]);
    assert!(output.code == Some(2) && output.stderr.contains("several users may write"), "{output:?}");
    assert_eq!(fs::read_dir(&victim).unwrap().count(), 0);
    symlink(&victim, world.dir.path().join("own-link")).unwrap();
    let output = world.once_quick(&["--move-to", "own-link"]);
    assert_eq!(output.code, Some(0), "a link that only this user can change is followed: {output:?}");
    assert!(victim.join("report").exists());
}

#[test]
fn a_folder_to_move_to_that_is_not_there_is_made_for_this_user_alone() {
    let world = World::new();
    world.put("sub/report", "content");
    let output = world.once_quick(&["--move-to", "new/Done"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let done = world.dir.path().join("new/Done");
    assert_eq!(fs::read(done.join("sub/report")).unwrap(), b"content");
    assert_eq!(fs::metadata(&done).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn check_reports_a_move_to_folder_that_others_may_write() {
    let world = World::new();
    folder(&world, "Done", 0o770);
    world.configure("[upload]\nafter = \"move\"\nmove_to = \"./Done\"\n[[folder]]\npath = \"./watched\"\n");
    let check = |world: &World| world.run(["--config", "config.toml", "check"]);
    let output = check(&world);
    assert!(output.code == Some(2) && output.stdout.contains("chmod go-w"), "{output:?}");
    folder(&world, "Done", 0o750);
    let output = check(&world);
    assert_eq!(output.code, Some(0), "{output:?}");
}

/// Regression: six minutes of small files left 2,309 folders in the private folder.
#[test]
fn the_private_folder_holds_no_folders() {
    let world = World::new();
    let private = world.watched().join(".astran-backup");
    let daemon = world.watch_quick(&[]);
    for number in 0..20 {
        world.put(format!("sub-{number}/deep/report"), format!("content {number}"));
    }
    let mut seen = 0;
    eventually("they are gone", || {
        let there: Vec<_> = fs::read_dir(&private)
            .into_iter()
            .flatten()
            .map(Result::unwrap)
            .filter(|entry| entry.file_name() != "lock")
            .collect();
        assert!(there.iter().all(|entry| entry.file_type().unwrap().is_file()));
        seen += there.len();
        there.is_empty() && world.files_left().is_empty() && world.sandbox().uploads().len() == 21
    });
    assert!(seen > 0, "none was set aside there");
    assert_eq!(daemon.stop().code, Some(0));
    assert_eq!(world.sandbox().uploads().len(), 21);
    assert!(!private.exists());
}

/// The longest possible name, and a path that is longer than any name.
fn long_ones() -> [String; 3] {
    let deep = ["folder".repeat(15), "sub-folder".repeat(15), "report".repeat(10)].join("/");
    ["n".repeat(255), deep, format!("sub/{}", "m".repeat(255))]
}

#[test]
fn files_with_long_names_and_paths_are_removed_like_others() {
    let world = World::new();
    for name in long_ones() {
        world.put(name, "content");
    }
    let output = world.once_quick(&[]);
    assert_eq!((output.code, world.sandbox().uploads().len()), (Some(0), 3), "{output:?}");
    assert_eq!(world.files_left(), Vec::<PathBuf>::new());
    assert!(!world.watched().join(".astran-backup").exists());
}

#[test]
fn files_set_aside_are_put_back_after_a_kill_wherever_they_lay() {
    let world = World::new();
    let odd = ["sub/report", "100% sure", "sub/a~b%2Fc", "~x", "new\nline"].map(str::to_owned);
    let names = [&odd[..], &long_ones()].concat();
    let daemon = world.watch_quick(&[]);
    for name in &names {
        world.put(name, name);
    }
    eventually("they are set aside", || names.iter().all(|name| !world.watched().join(name).exists()));
    daemon.kill();
    let stored = world.sandbox().uploads().len();
    // A run that keeps files puts back what an earlier run was about to remove.
    let output = world.once_quick(&["--keep"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    for name in &names {
        let place = world.watched().join(name);
        let gone = !place.exists();
        assert!(gone || fs::read_to_string(place).unwrap() == *name, "{name:.20}");
    }
    assert_eq!(world.sandbox().uploads().len(), stored, "none is sent again");
    assert!(files_below(&world.watched().join(".astran-backup")).is_empty());
}

/// An earlier version staged files in a numbered folder, under their own paths.
#[test]
fn files_staged_by_an_earlier_version_are_put_back() {
    let world = World::new();
    let private = world.watched().join(".astran-backup");
    for (place, content) in [("0/sub/report", "first"), ("1/sub/report", "second"), ("0/plain", "plain")] {
        let path = private.join(place);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    fs::set_permissions(&private, Permissions::from_mode(0o700)).unwrap();
    fs::create_dir(world.watched().join("sub")).unwrap();
    let output = world.once_quick(&[]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(world.times_stored("/HR_Backup/plain"), 1);
    assert_eq!(world.sandbox().uploads().len(), 3, "of two files of one name, one is stored from where it lies");
    assert!(world.files_left().is_empty() && !private.exists());
}

/// Until the private folder belongs to this user alone again, files in it are neither removed nor put back, and new files are staged
/// beside their places.
#[test]
fn a_private_folder_that_is_opened_to_others_while_it_is_used_is_noticed() {
    let world = World::new();
    let private = world.watched().join(".astran-backup");
    let daemon = world.watch_quick(&[]);
    eventually("the first file is gone", || {
        private.exists() && world.files_left().is_empty() && files_below(&private).is_empty()
    });
    fs::set_permissions(&private, Permissions::from_mode(0o777)).unwrap();
    fs::write(private.join("0123456789abcdef~sub%2Fforged"), "forged").unwrap();
    world.put("report", "content");
    eventually("a file is stored without the private folder", || {
        world.times_stored("/HR_Backup/report") == 1 && world.files_left().is_empty()
    });
    daemon.wait_for("chmod 700");
    assert_eq!(daemon.stop().code, Some(0));
    assert_eq!(world.times_stored("/HR_Backup/forged"), 0);
    assert!(private.join("0123456789abcdef~sub%2Fforged").exists());
}

/// Links and folders of other users below the new folder are not followed.
#[test]
fn a_folder_to_move_to_that_is_replaced_while_files_go_there_is_opened_anew_by_the_same_rules() {
    let world = World::new();
    let done = folder(&world, "Done", 0o700);
    let daemon = world.watch_quick(&["--move-to", "Done"]);
    eventually("the first file is moved", || done.join("first-of-all").exists());
    fs::rename(&done, world.dir.path().join("Old")).unwrap();
    folder(&world, "Done", 0o700);
    world.put("second", "second");
    eventually("the second file is moved", || done.join("second").exists());
    fs::rename(&done, world.dir.path().join("Older")).unwrap();
    let victim = folder(&world, "victim", 0o777);
    symlink(&victim, &done).unwrap();
    world.put("third", "third");
    daemon.wait_for("stays here");
    assert!(world.watched().join("third").exists() && files_below(&victim).is_empty());
    assert_eq!(daemon.stop().code, Some(0));
    assert_eq!(files_below(&world.dir.path().join("Old")), [Path::new("first-of-all")]);
}

/// Regression: files of another user there were taken for this user's, and staged files could be taken away.
#[test]
fn a_private_folder_of_another_user_is_left_alone_and_reported() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can make folders of others");
        return;
    }
    let world = World::new();
    let private = world.watched().join(".astran-backup");
    for forged in ["0123456789abcdef~u1%2Fforged", "0/u1/forged"] {
        fs::create_dir_all(private.join(forged).parent().unwrap()).unwrap();
        fs::write(private.join(forged), "forged").unwrap();
    }
    fs::create_dir(world.watched().join("u1")).unwrap();
    fs::set_permissions(&private, Permissions::from_mode(0o700)).unwrap();
    chown(&private, Some(NOBODY), Some(NOBODY)).unwrap();
    world.put("report", "content");
    let output = world.once_quick(&[]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stderr.contains("belongs to another user"), "{output:?}");
    assert_eq!((world.times_stored("/HR_Backup/report"), world.sandbox().uploads().len()), (1, 1));
    assert!(world.files_left().is_empty() && files_below(&private).len() == 2);
}

#[test]
fn check_reports_a_private_folder_that_can_not_be_used() {
    let world = World::new();
    world.put(".astran-backup", "not a folder");
    world.configure("[[folder]]\npath = \"./watched\"\n");
    let output = world.run(["--config", "config.toml", "check"]);
    assert_eq!(output.code, Some(0), "files are removed all the same: {output:?}");
    assert!(output.stdout.contains("/.astran-backup: it can't be used"), "{output:?}");
    println!("{}", output.stdout);
    assert_eq!(world.files_left().len(), 1, "nothing is left of the trial");
}
