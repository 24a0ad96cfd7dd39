//! What happens to the files of which folder.

use std::path::Path;
use std::time::Duration;

use astran_backup::config::{After, MaxSize, Transfers, Verify};

use crate::support::{Home, SERVICE};

#[test]
fn a_folder_has_the_upload_policy_except_its_own_keys_and_the_flags() {
    let text = format!(
        "{SERVICE}[upload]\ndest = \"/all\"\nsettle = \"2s\"\nafter = \"keep\"\n\
         [[folder]]\npath = \"/w/a\"\n[[folder]]\npath = \"/w/b\"\ndest = \"/own\"\nafter = \"delete\"\nverify = \"listing\"\n"
    );
    let home = Home::with(&text);
    let config = home.load("watch").unwrap();
    let (a, b) = (&config.folders[0].policy, &config.folders[1].policy);
    assert_eq!((a.settle, b.settle), (Duration::from_secs(2), Duration::from_secs(2)));
    assert_eq!((&a.after, &b.after), (&After::Keep, &After::Delete));
    assert_eq!((a.verify, b.verify), (Verify::Answer, Verify::Listing));
    assert_eq!(b.dest.as_ref().unwrap().to_string(), "/own");

    let config = home.load("watch --verify content --transfers 3 --settle 1m --move-to /m --ignore *.bak").unwrap();
    for folder in &config.folders {
        assert_eq!(folder.policy.verify, Verify::Content);
        assert_eq!(folder.policy.transfers, Transfers::Fixed(3));
        assert_eq!(folder.policy.settle, Duration::from_secs(60));
        assert_eq!(folder.policy.after, After::Move("/m".into()));
        assert!(
            folder.policy.ignore.iter().any(|g| g == "*.part") && folder.policy.ignore.iter().any(|g| g == "*.bak")
        );
    }

    let home = home.set("ASTRAN_BACKUP_DEST", "/env");
    let config = home.load("watch").unwrap();
    assert_eq!(config.folders[0].policy.dest.as_ref().unwrap().to_string(), "/env");
    assert_eq!(
        config.folders[1].policy.dest.as_ref().unwrap().to_string(),
        "/own",
        "a variable must not mix folders up"
    );
}

#[test]
fn flags_add_to_what_is_excluded_and_replace_what_is_included() {
    let text = format!(
        "{SERVICE}[upload]\ndest = \"/all\"\nexclude = [\"logs/\"]\ninclude = [\"*.pdf\"]\nmin_age = \"1h\"\nmax_size = \"1GiB\"\n\
         prune_empty = true\n[[folder]]\npath = \"/w/a\"\n[[folder]]\npath = \"/w/b\"\nexclude = [\"*.bak\"]\nprune_empty = false\n"
    );
    let home = Home::with(&text);
    let config = home.load("watch").unwrap();
    let (a, b) = (&config.folders[0].policy, &config.folders[1].policy);
    assert_eq!((&a.exclude[..], &b.exclude[..]), (&["logs/".to_owned()][..], &["*.bak".to_owned()][..]));
    assert_eq!((&a.include, a.min_age, a.prune_empty), (&b.include, Duration::from_secs(3600), true));
    assert!(!b.prune_empty);
    let config =
        home.load("watch --exclude !keep.bak --include *.txt --min-age 2h --max-size 1MiB --prune-empty").unwrap();
    let b = &config.folders[1].policy;
    assert_eq!(
        (&b.exclude[..], &b.include[..]),
        (&["*.bak".to_owned(), "!keep.bak".into()][..], &["*.txt".to_owned()][..])
    );
    assert_eq!((b.min_age, b.max_size, b.prune_empty), (Duration::from_secs(7200), MaxSize(Some(1 << 20)), true));
    assert!(!home.load("push a").unwrap().upload.prune_empty, "it is meant for watched folders");
    assert!(home.load("push a --prune-empty").unwrap().upload.prune_empty);
    let home = Home::with(&format!("{SERVICE}[upload]\ndest = \"/all\"\ninclude = [\"!x\"]\n"));
    let refused = home.load("watch /w/a").unwrap_err();
    assert!(refused.contains("include") && refused.contains("`!x` begins with !"), "{refused}");
}

#[test]
fn a_named_directory_is_watched_alone() {
    let home =
        Home::with(&format!("{SERVICE}[upload]\ndest = \"/all\"\n[[folder]]\npath = \"/w/a\"\ndest = \"/own\"\n"));
    let config = home.load("watch /w/other").unwrap();
    assert_eq!(config.folders.len(), 1);
    assert_eq!(config.folders[0].path, Path::new("/w/other"));
    assert_eq!(config.folders[0].policy, config.upload);
    let config = home.load("watch /w/./a/").unwrap();
    assert_eq!(config.folders[0].policy.dest.as_ref().unwrap().to_string(), "/own", "it is the folder of the file");
}

#[test]
fn push_keeps_files_by_default() {
    let home = Home::with(&format!("{SERVICE}[upload]\ndest = \"/all\"\nafter = \"delete\"\n"));
    assert_eq!(home.load("push a").unwrap().upload.after, After::Keep);
    assert_eq!(home.load("push a --delete").unwrap().upload.after, After::Delete);
    assert_eq!(home.load("push a --move-to m").unwrap().upload.after, After::Move("m".into()));
}

#[test]
fn settings_that_contradict_one_another_are_refused() {
    let rows = [
        ("", "watch", "astran-backup watch DIR"),
        ("", "watch", "[[folder]]"),
        ("", "watch /w", "no destination for /w: give --dest"),
        ("", "push a", "no destination: give --dest"),
        ("", "push - --dest /x", "--name"),
        ("", "push - - --dest /x --name n", "once"),
        ("", "push a b --dest /x --name n", "one document"),
        ("", "push - --dest /x --name n --delete", "can't be deleted"),
        ("[upload]\nafter = \"move\"\n", "ls", "line 4: after in [upload]: \"move\" needs a folder"),
        ("[upload]\nmove_to = \"m\"\n", "ls", "line 4: move_to in [upload]: files would not be moved"),
        ("[[folder]]\ndest = \"/x\"\n", "ls", "path in [[folder]] number 1 is missing"),
        ("[[folder]]\npath = \"/w\"\n[[folder]]\npath = \"/w/in\"\n", "ls", "/w/in lies in /w"),
        ("[[folder]]\npath = \"/w\"\n[[folder]]\npath = \"/w/../w\"\n", "ls", "is the same folder"),
        (
            "[[folder]]\npath = \"/w\"\nafter = \"move\"\nmove_to = \"/w/done\"\n",
            "ls",
            "move_to (/w/done) lies in the watched folder /w",
        ),
        ("[[folder]]\npath = \"/w\"\nfailed_dir = \"/w/bad\"\n", "ls", "failed_dir (/w/bad)"),
        ("[[folder]]\npath = \"/w\"\n", "ls --state-dir /w/state", "the folder of the journal (/w/state)"),
        (
            "[login]\nclient_id = \"c\"\nusername = \"u\"\npassword_file = \"/w/p\"\n[[folder]]\npath = \"/w\"\n",
            "ls",
            "a file with a secret (/w/p)",
        ),
        ("", "watch /w --dest /x --failed-dir /w/bad", "failed_dir (/w/bad)"),
    ];
    for (text, line, part) in rows {
        let why = Home::with(&format!("{SERVICE}{text}")).load(line).unwrap_err();
        assert!(why.contains(part), "{line} with {text}: {why}");
    }
}

#[test]
fn a_folder_with_the_configuration_file_is_not_watched() {
    let home = Home::with(&format!("{SERVICE}[upload]\ndest = \"/x\"\n"));
    let config = home.config();
    let why = home.load(&format!("watch {}", config.parent().unwrap().display())).unwrap_err();
    assert!(why.contains("the configuration file"), "{why}");
}

/// Another process may watch the configured folder, and the files that it moves would be uploaded and deleted.
#[test]
fn a_folder_on_the_command_line_may_not_hold_the_move_target_of_a_configured_one() {
    for (key, what) in
        [("after = \"move\"\nmove_to = \"/w/keep/done\"", "move_to"), ("failed_dir = \"/w/keep/bad\"", "failed_dir")]
    {
        let home = Home::with(&format!("{SERVICE}[upload]\ndest = \"/x\"\n[[folder]]\npath = \"/w/a\"\n{key}\n"));
        let why = home.load("watch /w/keep --yes").unwrap_err();
        assert!(why.contains(what) && why.contains("/w/keep"), "{why}");
        assert!(home.load("watch /w/other").is_ok());
    }
}

#[test]
fn a_pushed_folder_that_is_emptied_may_not_hold_own_files() {
    let home = Home::with(&format!("{SERVICE}[upload]\ndest = \"/x\"\n"));
    let folder = home.config().parent().unwrap().display().to_string();
    for line in [format!("push --delete {folder}"), format!("push --delete --yes {folder}")] {
        let why = home.load(&line).unwrap_err();
        assert!(why.contains("the configuration file"), "{why}");
    }
    assert!(home.load(&format!("push {folder}")).is_ok(), "nothing is removed");
    std::fs::create_dir(home.path("in")).unwrap();
    let within = home.path("in").display().to_string();
    let why = home.load(&format!("push {within} --move-to {within}/done")).unwrap_err();
    assert!(why.contains("move_to"), "{why}");
}
