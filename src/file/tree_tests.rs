//! Walks that follow no link, need few descriptors, and lead nowhere else.

use super::*;
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

/// All that a walk returns, folders with a slash at their end.
fn walk(root: &Root, below: &str, wanted: impl Fn(&Path, FileType) -> bool) -> Vec<String> {
    let mut tree = Tree::of(root, Path::new(below));
    let mut found = Vec::new();
    while let Some(entry) = tree.next(&wanted) {
        let entry = entry.unwrap();
        let end = if entry.kind == FileType::Directory { "/" } else { "" };
        found.push(format!("{}{end}", entry.path.display()));
    }
    found.sort();
    found
}

fn all(_: &Path, _: FileType) -> bool {
    true
}

#[test]
fn a_folder_that_is_skipped_is_returned_and_none_of_its_names_is() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::open(dir.path()).unwrap();
    for folder in ["a/b", "c", "d"] {
        fs::create_dir_all(dir.path().join(folder)).unwrap();
    }
    for file in ["x", "a/y", "a/b/z", "c/w", "d/v"] {
        fs::write(dir.path().join(file), "").unwrap();
    }
    let (mut tree, mut found) = (Tree::of(&root, Path::new("")), BTreeSet::new());
    while let Some(entry) = tree.next(all) {
        let path = entry.unwrap().path.to_str().unwrap().to_owned();
        if path == "a" || path == "c" {
            tree.skip_folder();
        }
        found.insert(path);
    }
    assert_eq!(found, ["", "a", "c", "d", "d/v", "x"].map(str::to_owned).into());
}

#[test]
fn each_folder_and_name_is_returned_once_and_no_link_is_followed() {
    let dir = tempfile::tempdir().unwrap();
    let root = Root::open(dir.path()).unwrap();
    for folder in ["a/b", "a/c", "empty", "left"] {
        fs::create_dir_all(dir.path().join(folder)).unwrap();
    }
    for file in ["x", "a/y", "a/b/z", "left/w"] {
        fs::write(dir.path().join(file), "").unwrap();
    }
    std::os::unix::fs::symlink("a", dir.path().join("link")).unwrap();
    let without = |path: &Path, _: FileType| !path.ends_with("left") && path != Path::new("a/y");
    assert_eq!(walk(&root, "", without), ["/", "a/", "a/b/", "a/b/z", "a/c/", "empty/", "link", "x"]);
    assert_eq!(walk(&root, "a/b", all), ["a/b/", "a/b/z"]);
    // Not a folder after all.
    assert_eq!(walk(&root, "a/y", all), ["a/y"]);
    assert_eq!(walk(&root, "link", all), ["link"]);
    assert!(matches!(Tree::of(&root, Path::new("none")).next(all), Some(Err(Unreadable { .. }))));
}

/// Makes folders in one another, each with a file and a second folder, so that the walk has to come back to each.
fn comb(from: &Path, levels: usize) {
    let mut at = OwnedFd::from(fs::File::open(from).unwrap());
    for level in 0..levels {
        let create = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
        openat(&at, format!("f{level}"), create, Mode::RUSR).unwrap();
        for name in ["e", "d"] {
            rustix::fs::mkdirat(&at, name, Mode::RWXU).unwrap();
        }
        at = open_folder(at.as_fd(), OsStr::new("d")).unwrap();
    }
}

/// The library that makes temporary folders holds each level open as it removes them.
fn remove(folder: &Path) {
    assert!(Command::new("rm").arg("-rf").arg(folder.join("d")).status().unwrap().success());
}

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

#[test]
fn a_very_deep_tree_takes_few_descriptors_and_is_walked_through_whole() {
    const LEVELS: usize = 3000;
    let dir = tempfile::tempdir().unwrap();
    comb(dir.path(), LEVELS);
    let root = Root::open(dir.path()).unwrap();
    let mut tree = Tree::of(&root, Path::new(""));
    let (mut files, mut folders, mut most) = (BTreeSet::new(), 0, 0);
    while let Some(entry) = tree.next(all) {
        let entry = entry.unwrap();
        if entry.kind == FileType::Directory {
            folders += 1;
            most = most.max(tree.levels.iter().filter(|level| level.dir.is_some()).count());
        } else {
            files.insert(entry.path.file_name().unwrap().to_owned());
        }
    }
    remove(dir.path());
    assert_eq!((files.len(), folders), (LEVELS, 2 * LEVELS + 1));
    assert!(most <= WALK_OPEN, "{most} of {} descriptors", open_descriptors());
}

/// The walk stays below the root, wherever a part of it was moved while the walk was in it.
#[test]
fn a_folder_that_is_moved_out_while_the_walk_is_in_it_leads_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let watched = dir.path().join("watched");
    fs::create_dir(&watched).unwrap();
    comb(&watched, WALK_OPEN + 8);
    // What `..` leads to after the move.
    fs::create_dir_all(dir.path().join("outside/e")).unwrap();
    fs::write(dir.path().join("outside/e/secret"), "").unwrap();
    let root = Root::open(&watched).unwrap();
    let mut tree = Tree::of(&root, Path::new(""));
    let mut found = Vec::new();
    while let Some(entry) = tree.next(all) {
        if let Ok(entry) = entry {
            found.push(entry.path.to_owned());
        }
        if found.len() == 1 {
            // Some levels down; then two of the open ones and one of the closed ones are elsewhere.
            while tree.levels.len() < WALK_OPEN + 5 {
                found.push(tree.next(all).unwrap().unwrap().path.to_owned());
            }
            let moved = watched.join("d/d");
            assert!(Command::new("mv").arg(moved).arg(dir.path().join("outside/d")).status().unwrap().success());
        }
    }
    assert!(!found.iter().any(|path| path.ends_with("secret")), "{found:?}");
    assert!(found.iter().any(|path| path == Path::new("e")), "the rest is walked through: {found:?}");
}

#[test]
fn a_folder_that_may_not_be_read_is_reported_with_its_path_and_the_others_are_walked_through() {
    if rustix::process::geteuid().is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("shut")).unwrap();
    fs::create_dir_all(dir.path().join("open")).unwrap();
    fs::set_permissions(dir.path().join("shut"), std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    let root = Root::open(dir.path()).unwrap();
    let mut tree = Tree::of(&root, Path::new(""));
    let (mut folders, mut shut) = (0, Vec::new());
    while let Some(entry) = tree.next(all) {
        match entry {
            Ok(_) => folders += 1,
            Err(unreadable) => shut.push(unreadable.path),
        }
    }
    assert_eq!((folders, shut), (2, vec![PathBuf::from("shut")]));
}

#[test]
fn names_come_back_last_first() {
    let mut names = Names::default();
    for name in ["a", "bc", "d"] {
        names.push(name.as_bytes());
    }
    let all: Vec<_> = std::iter::from_fn(|| names.pop()).map(|name| String::from_utf8(name).unwrap()).collect();
    assert_eq!(all, ["d", "bc", "a"]);
}

#[test]
fn a_walk_may_return_each_folder_once_more_after_all_that_is_in_it() {
    let dir = tempfile::tempdir().unwrap();
    comb(dir.path(), WALK_OPEN + 5);
    let base = OwnedFd::from(fs::File::open(dir.path()).unwrap());
    let (mut tree, mut inside) = (Tree::below(&base, Path::new("")).with_left(), BTreeSet::new());
    let mut left = 0;
    while let Some(entry) = tree.next(all) {
        let entry = entry.unwrap();
        let name = entry.path.file_name();
        if entry.left {
            left += 1;
            assert!(inside.remove(entry.path) && !inside.iter().any(|path: &PathBuf| path.starts_with(entry.path)));
            assert_eq!(kind_of(entry.dir, name.unwrap()), Ok(FileType::Directory), "the folder above is open");
        } else if entry.kind == FileType::Directory && name.is_some() {
            inside.insert(entry.path.to_owned());
        }
    }
    assert_eq!((left, inside), (2 * (WALK_OPEN + 5), BTreeSet::new()));
}
