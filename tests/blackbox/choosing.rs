//! `--include`, `--exclude`, `--min-age` and `--max-size`: what is chosen goes, and all else stays as it is. `--prune-empty`: of the
//! sub-folders, those go that were emptied.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use astran_backup::vault::RemotePath;

use crate::support::{World, eventually};

/// Gives a file a modification time so long ago.
fn make_old(path: &std::path::Path, age: Duration) {
    fs::File::options().write(true).open(path).unwrap().set_modified(SystemTime::now() - age).unwrap();
}

fn left(world: &World) -> Vec<PathBuf> {
    let mut left = world.files_left();
    left.sort();
    left
}

#[test]
fn what_is_excluded_or_not_included_stays_and_is_no_failure() {
    let world = World::new();
    for file in [
        "a.pdf",
        "b.txt",
        "in/c.pdf",
        "in/.hidden.pdf",
        "logs/d.pdf",
        "x/tmp/e.pdf",
        "contracts/any",
        "contracts/keep.tmp",
    ] {
        world.put(file, file);
    }
    let choice = ["--include", "*.pdf", "--include", "contracts/", "--exclude", "/logs/", "--exclude", "**/tmp/*.pdf"];
    let output = world.once_quick(&[&choice[..], &["--exclude", "!keep.tmp"]].concat());
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(left(&world), ["b.txt", "in/.hidden.pdf", "logs/d.pdf", "x/tmp/e.pdf"].map(PathBuf::from));
    assert_eq!(world.sandbox().uploads().len(), 4);
}

#[test]
fn a_watch_takes_a_folder_that_is_renamed_in_by_the_same_rules() {
    let world = World::new();
    let outside = world.dir.path().join("outside");
    for file in ["reports/a.pdf", "reports/a.txt", "reports/old/b.pdf"] {
        fs::create_dir_all(outside.join(file).parent().unwrap()).unwrap();
        fs::write(outside.join(file), file).unwrap();
    }
    fs::write(outside.join("c.txt"), "c").unwrap();
    let daemon = world.start(&["--include", "*.pdf", "--exclude", "old/"]);
    fs::rename(outside.join("c.txt"), world.watched().join("c.txt")).unwrap();
    fs::rename(outside.join("reports"), world.watched().join("reports")).unwrap();
    daemon.wait_for("reports/a.pdf ->");
    world.put("last.pdf", "last");
    daemon.wait_for("last.pdf ->");
    assert_eq!(daemon.stop().code, Some(0));
    assert_eq!(left(&world), ["c.txt", "reports/a.txt", "reports/old/b.pdf"].map(PathBuf::from));
}

/// Nobody may read what is excluded, so a walk that entered the folder would tell of it.
#[test]
fn an_excluded_folder_is_not_entered() {
    let world = World::new();
    world.put("a", "a");
    for number in 0..200 {
        world.put(format!("cache/{number}/x"), "x");
    }
    let daemon = world.watch(&["--exclude", "cache/"]);
    daemon.wait_for("a ->");
    let watches = |pid: u32| {
        let infos = fs::read_dir(format!("/proc/{pid}/fdinfo")).unwrap().flatten();
        infos
            .map(|info| fs::read_to_string(info.path()).unwrap_or_default().matches("inotify wd:").count())
            .sum::<usize>()
    };
    eventually("the folder itself is watched", || watches(daemon.pid()) > 0);
    assert!(watches(daemon.pid()) < 10, "{}", watches(daemon.pid()));
    assert_eq!(daemon.stop().code, Some(0));
    assert_eq!(left(&world).len(), 200);
}

#[test]
fn young_files_stay_until_they_are_old_enough_and_none_from_the_future_for_ever() {
    let world = World::new();
    let (old, _young, future) = (world.put("old", "old"), world.put("young", "young"), world.put("future", "future"));
    make_old(&old, Duration::from_secs(7200));
    fs::File::options()
        .write(true)
        .open(&future)
        .unwrap()
        .set_modified(SystemTime::now() + Duration::from_secs(1_000_000))
        .unwrap();
    let output = world.once_quick(&["--min-age", "1h"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(left(&world), ["future", "young"].map(PathBuf::from));
    let daemon = world.start(&["--min-age", "1s"]);
    // In either order.
    eventually("both are stored", || left(&world).is_empty());
    assert_eq!(daemon.stop().code, Some(0));
}

#[test]
fn a_file_larger_than_max_size_fails_and_stays() {
    let world = World::new();
    world.put("small", "1234");
    world.put("large", "12345678");
    let output = world.once_quick(&["--max-size", "4B"]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stdout.contains("max_size allows 4 bytes"), "{output:?}");
    assert_eq!(left(&world), [PathBuf::from("large")]);
}

#[test]
fn emptied_sub_folders_are_removed_and_all_others_stay() {
    let world = World::with(|options| {
        options.folders.extend(
            ["/HR_Backup/a", "/HR_Backup/a/b", "/HR_Backup/mixed"].map(|path| RemotePath::parse(path).unwrap()),
        );
    });
    for file in ["top", "a/x", "a/b/y", "mixed/z", "mixed/left.tmp"] {
        world.put(file, file);
    }
    fs::create_dir(world.watched().join("empty-before")).unwrap();
    let moved = world.dir.path().join("moved");
    let output = world.once_quick(&["--prune-empty", "--layout", "mirror", "--move-to", moved.to_str().unwrap()]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(left(&world), [PathBuf::from("mixed/left.tmp")]);
    let mut there: Vec<_> = fs::read_dir(world.watched()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    there.sort();
    assert_eq!(there, ["empty-before", "mixed"]);
    assert_eq!(world.stored("/HR_Backup/a/b/y").unwrap(), b"a/b/y");
}

#[test]
fn without_prune_empty_and_with_keep_every_folder_stays() {
    for arguments in [&[][..], &["--prune-empty", "--keep"]] {
        let world = World::new();
        world.put("a/x", "x");
        assert_eq!(world.once_quick(arguments).code, Some(0));
        assert!(world.watched().join("a").is_dir(), "{arguments:?}");
    }
}

/// The writers make their folder again where it is gone, as a program does that knows of `prune_empty`.
#[test]
fn writers_that_race_with_the_removal_of_their_folders_lose_nothing() {
    const FILES: usize = 60;
    let world = World::new();
    let daemon = world.watch_quick(&["--prune-empty"]);
    let writers: Vec<_> = (0..3)
        .map(|writer| {
            let folder = world.watched().join(format!("deep/{}", writer % 2));
            std::thread::spawn(move || {
                for number in 0..FILES {
                    let name = format!("w{writer}-{number}");
                    while fs::create_dir_all(&folder).is_err() || fs::write(folder.join(&name), &name).is_err() {}
                    std::thread::sleep(Duration::from_millis(if number % 10 == 0 { 400 } else { 5 }));
                }
            })
        })
        .collect();
    for writer in writers {
        writer.join().unwrap();
    }
    eventually("all files are gone", || left(&world).is_empty());
    eventually("the folders are gone", || !world.watched().join("deep").exists());
    assert_eq!(daemon.stop().code, Some(0));
    for (writer, number) in (0..3).flat_map(|writer| (0..FILES).map(move |number| (writer, number))) {
        let name = format!("w{writer}-{number}");
        assert_eq!(world.stored(&format!("/HR_Backup/{name}")).as_deref(), Some(name.as_bytes()), "{name}");
    }
}

#[test]
fn push_removes_emptied_folders_only_when_it_deletes_and_never_the_one_that_was_named() {
    let world = World::new();
    world.put("a/b/x", "x");
    world.put("y", "y");
    assert_eq!(world.run(["push", "watched", "--prune-empty"]).code, Some(0));
    assert!(world.watched().join("a/b/x").exists());
    let output = world.run(["push", "watched", "--prune-empty", "--delete"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(world.watched().is_dir() && !world.watched().join("a").exists());
}
