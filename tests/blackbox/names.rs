//! Names in any script and with any sign: each arrives in the vault unchanged, and comes back unchanged.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use crate::support::World;

const HOSTILE: [&str; 24] = [
    "plain.txt",
    " two  spaces ",
    "100% sure?.pdf",
    "a#b+c&d=e;f.txt",
    "quotes \" ' ` .txt",
    "new\nline\ttab\r.txt",
    "-rf",
    "--help",
    "back\\slash",
    "%2e%2e%2f",
    "a..%00",
    "Überprüfung für Straße.pdf",
    "履歴書.pdf",
    "سيرة ذاتية.pdf",
    "ประวัติ.pdf",
    "🙂👨‍👩‍👧.png",
    "composed \u{e9}",
    "decomposed e\u{301}",
    "turned \u{202e}fdp.exe",
    "CON",
    "$(reboot)",
    "<script>alert(1)",
    "*?[a-z]",
    "escape \u{1b}[31m",
];

fn longest() -> [String; 2] {
    ["x".repeat(255), format!("{}x", "ä".repeat(127))]
}

fn names() -> Vec<String> {
    HOSTILE.iter().map(ToString::to_string).chain(longest()).collect()
}

#[track_caller]
fn all_stored(world: &World) {
    for name in names() {
        let stored = world.stored(&format!("/HR_Backup/{name}"));
        assert_eq!(stored.as_deref(), Some(name.as_bytes()), "{name:?}");
    }
    assert_eq!(world.sandbox().uploads().len(), names().len());
}

#[test]
fn hostile_names_in_a_watched_folder_arrive_as_they_are() {
    let world = World::new();
    for name in names() {
        world.put(&name, &name);
    }
    let output = world.once_quick(&[]);
    assert_eq!(output.code, Some(0), "{output:?}");
    all_stored(&world);
    assert!(world.files_left().is_empty());
    assert_eq!(output.stdout.lines().count(), names().len(), "a line each: {output:?}");
    assert!(!output.stdout.contains('\u{1b}') && !output.stdout.contains('\u{202e}'), "no name drives the terminal");
}

#[test]
fn hostile_names_are_pushed_listed_and_taken_out_again() {
    let world = World::new();
    for name in names() {
        world.put(&name, &name);
    }
    let mut push = world.command();
    push.current_dir(world.watched()).args(["push", "--"]).args(names());
    let output = crate::support::run_to_end(&mut push);
    assert_eq!(output.code, Some(0), "{output:?}");
    all_stored(&world);
    let listed: Vec<String> = (world.run(["ls", "/HR_Backup", "--json"]).events("document").iter())
        .map(|document| document["name"].as_str().unwrap().to_owned())
        .collect();
    let mut expected = names();
    expected.sort();
    assert_eq!(listed, expected);
    for name in names().iter().step_by(3) {
        let output = world.run(["get", &format!("/HR_Backup/{name}"), "-o", "-"]);
        assert_eq!((output.code, &output.stdout), (Some(0), name), "{output:?}");
    }
}

#[test]
fn hostile_names_of_sub_folders_and_destinations_work_too() {
    let dest = "/100% sure? #1 & \"co\"/%2F";
    let world = World::with(|options| {
        options.folders = vec![astran_backup::vault::RemotePath::parse(dest).unwrap().join("a+b\nc")];
    });
    world.put("a+b\nc/file", "content");
    let output = world.once_quick(&["--layout", "mirror", "--dest", dest]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(world.stored(&format!("{dest}/a+b\nc/file")).unwrap(), b"content");
}

#[test]
fn two_longest_names_that_are_the_same_in_two_sub_folders_hide_nothing() {
    let world = World::new();
    let [name, _] = longest();
    world.put(format!("a/{name}"), "of a");
    world.put(format!("b/{name}"), "of b");
    let output = world.once_quick(&[]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(world.sandbox().uploads().len(), 2);
}

#[test]
fn bytes_that_are_no_utf_8_fail_with_a_clear_reason_and_stay() {
    let world = World::new();
    let bad = world.put(OsStr::from_bytes(b"caf\xe9.pdf"), "content");
    world.put("good", "good");
    let output = world.once_quick(&[]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stdout.contains("not valid UTF-8") && output.stdout.contains("rename it"), "{output:?}");
    assert_eq!(fs::read(&bad).unwrap(), b"content");
    assert_eq!(world.sandbox().uploads().len(), 1);
    let output = world.run([OsStr::new("push"), bad.as_os_str()]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert_eq!(fs::read(&bad).unwrap(), b"content");
}
