//! The rules of [`super`], compared with those of git.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

fn strings(patterns: &[&str]) -> Vec<String> {
    patterns.iter().map(|pattern| (*pattern).to_owned()).collect()
}

fn filter(ignore: &[&str], exclude: &[&str], include: &[&str]) -> Filter {
    Filter::new(&strings(ignore), &strings(exclude), &strings(include)).unwrap()
}

fn takes(filter: &Filter, file: &str) -> bool {
    filter.excludes_any_part(Path::new(file), false).is_none()
}

#[test]
fn a_pattern_of_ignore_matches_whole_names_in_any_part_of_the_path() {
    let filter = filter(&["*.part", ".*", "*~", "~$*", "#*#", "!odd"], &[], &[]);
    for taken in ["report.pdf", "partial", "a/b.parts", "--x", "naïve.part.pdf", "with\nnewline", "odd", "#x"] {
        assert!(takes(&filter, taken), "{taken}");
    }
    for left in
        ["report.part", ".hidden", "a/.git/x", "x~", "~$letter.docx", ".astran-backup/0/x", "new\n.part", "#x#", "!odd"]
    {
        assert!(!takes(&filter, left), "{left}");
    }
}

#[test]
fn names_that_are_no_utf_8_are_matched_by_their_bytes() {
    let filter = filter(&["*.part"], &[], &[]);
    let left = |name: &[u8]| filter.excludes(Path::new(OsStr::from_bytes(name)), false).is_some();
    assert!(left(b"caf\xe9.part"));
    assert!(!left(b"caf\xe9.pdf"));
}

/// Patterns of the user's own replace the default ones, of which one covers the private folder.
#[test]
fn what_this_program_made_is_left_whatever_is_configured() {
    let filter = filter(&[], &["!.astran-backup", "!.astran-backup~*"], &["*"]);
    let why = |path: &str| filter.excludes_any_part(Path::new(path), false);
    assert_eq!(why(".astran-backup/0/x"), Some(Excluded::Own));
    assert_eq!(why("a/.astran-backup"), Some(Excluded::Own));
    assert_eq!(why(".hidden"), None);
}

/// The table of `docs/choosing.md`.
#[test]
fn exclude_wins_over_include_and_of_exclude_the_last_match_counts() {
    let filter = filter(
        &["*.tmp", ".*"],
        &["logs/", "**/scratch/*.bak", "/build", "*.pdf", "!keep.pdf", "!.profile", "!.config/"],
        &[],
    );
    for (file, why) in [
        ("report.txt", None),
        ("x.tmp", Some("*.tmp")),
        ("logs/a", Some("logs/")),
        ("deep/logs/a", Some("logs/")),
        ("logs", None),
        ("a/scratch/x.bak", Some("**/scratch/*.bak")),
        ("scratch/x.bak", Some("**/scratch/*.bak")),
        ("scratch/y/x.bak", None),
        ("build/x", Some("/build")),
        ("src/build/x", None),
        ("a.pdf", Some("*.pdf")),
        ("A.PDF", None),
        ("in/keep.pdf", None),
        (".profile", None),
        (".config/x", None),
        (".config/.x", Some(".*")),
        // A folder that is excluded is not entered.
        ("logs/keep.pdf", Some("logs/")),
    ] {
        assert_eq!(filter.excludes_any_part(Path::new(file), false), why.map(Excluded::Pattern), "{file}");
    }
}

#[test]
fn with_include_only_what_matches_is_taken_and_folders_are_entered() {
    let filter = filter(&[".*"], &["drafts/"], &["*.pdf", "contracts/", "/top.txt", "a/*/x"]);
    for taken in ["a.pdf", "deep/in/a.pdf", "contracts/any", "old/contracts/2/any", "top.txt", "a/b/x"] {
        assert!(takes(&filter, taken), "{taken}");
    }
    for left in ["a.txt", "contracts", "in/top.txt", "a/x", "a/b/c/x", "contracts/drafts/x.pdf", ".a.pdf"] {
        assert!(!takes(&filter, left), "{left}");
    }
    assert_eq!(filter.excludes(Path::new("any"), true), None);
    assert_eq!(filter.excludes(Path::new("any"), false), Some(Excluded::NotIncluded));
}

#[test]
fn a_pattern_that_can_not_be_meant_is_refused_in_words() {
    let why = |list, pattern| check(list, pattern).unwrap_err().to_string();
    for list in [List::Ignore, List::Exclude, List::Include] {
        for pattern in ["[", "a[b", "{a", "[z-a]"] {
            assert!(why(list, pattern).starts_with("is no pattern"), "{pattern}");
        }
        for pattern in ["", " ", "/"] {
            assert!(why(list, pattern).starts_with("matches nothing"), "{pattern}");
        }
        for pattern in ["*", "*.{pdf,txt}", "logs/", "/a/**", "#x", "\\!x", "**", "a b"] {
            check(list, pattern).unwrap();
        }
    }
    assert!(why(List::Include, "!x").contains("exclude"));
    check(List::Exclude, "!x").unwrap();
    check(List::Ignore, "!x").unwrap();
}

/// One part of a path.
fn name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "b", "ab", "aa", "a.b", ".a", "b.a", "-"]).prop_map(str::to_owned)
}

fn files() -> impl Strategy<Value = BTreeSet<PathBuf>> {
    let path = prop::collection::vec(name(), 1..5).prop_map(|names| names.iter().collect());
    prop::collection::btree_set(path, 1..24)
}

fn pattern() -> impl Strategy<Value = String> {
    let pieces = ["a", "b", "ab", ".", "*", "?", "[ab]", "[!a]", "**", "*.b", "a*"];
    let part = prop::collection::vec(prop::sample::select(pieces.to_vec()), 1..3).prop_map(|pieces| pieces.concat());
    // Beside other letters two stars are one by gitignore's text, and in git itself sometimes more.
    let part = part.prop_filter("stars beside letters", |part| part == "**" || !part.contains("**"));
    let parts = prop::collection::vec(part, 1..4).prop_map(|parts| parts.join("/"));
    let (negated, anchored, folders) =
        (prop::bool::weighted(0.25), prop::bool::weighted(0.2), prop::bool::weighted(0.3));
    (negated, anchored, parts, folders).prop_map(|(negated, anchored, parts, folders)| {
        let mark = |is_there, mark| if is_there { mark } else { "" };
        format!("{}{}{parts}{}", mark(negated, "!"), mark(anchored, "/"), mark(folders, "/"))
    })
}

fn git(dir: &Path) -> Command {
    let mut git = Command::new("git");
    git.current_dir(dir).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    git.env("HOME", dir).env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null");
    git
}

/// The files that git ignores by these patterns; `None` where there is no git.
fn ignored_by_git(files: &BTreeSet<PathBuf>, patterns: &[String]) -> Option<BTreeSet<PathBuf>> {
    let dir = tempfile::tempdir().unwrap();
    let tree = dir.path().join("tree");
    std::fs::create_dir(&tree).unwrap();
    git(&tree).args(["init", "--quiet"]).status().ok()?;
    for file in files {
        std::fs::create_dir_all(tree.join(file).parent().unwrap()).unwrap();
        std::fs::write(tree.join(file), "").unwrap();
    }
    std::fs::write(tree.join(".git/info/exclude"), patterns.join("\n")).unwrap();
    let mut asked = git(&tree)
        .args(["check-ignore", "--no-index", "--stdin", "-z"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut names = asked.stdin.take().unwrap();
    for file in files {
        names.write_all(file.as_os_str().as_bytes()).unwrap();
        names.write_all(b"\0").unwrap();
    }
    drop(names);
    let answer = asked.wait_with_output().unwrap();
    let ignored = answer.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    Some(ignored.map(|name| PathBuf::from(OsStr::from_bytes(name))).collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn the_rules_are_those_of_git(files in files(), patterns in prop::collection::vec(pattern(), 1..5)) {
        // A file can't be a folder too.
        let is_folder = |path: &PathBuf| files.iter().any(|file| file != path && file.starts_with(path));
        let files: BTreeSet<_> = files.iter().filter(|file| !is_folder(file)).cloned().collect();
        let Some(expected) = ignored_by_git(&files, &patterns) else { return Ok(()) };
        let filter = Filter::new(&[], &patterns, &[]).unwrap();
        let left = files.iter().filter(|file| filter.excludes_any_part(file, false).is_some()).cloned().collect::<BTreeSet<_>>();
        prop_assert_eq!(left, expected);
    }

    #[test]
    fn a_path_is_excluded_if_and_only_if_a_folder_on_the_way_or_itself_is(
        file in prop::collection::vec(name(), 1..5), patterns in prop::collection::vec(pattern(), 0..5), include in prop::collection::vec("[ab]{1,2}/?", 0..3)
    ) {
        let filter = Filter::new(&[], &patterns, &include).unwrap();
        let mut path = PathBuf::new();
        let mut walked = None;
        for (depth, name) in file.iter().enumerate() {
            path.push(name);
            walked = walked.or_else(|| filter.excludes(&path, depth + 1 < file.len()));
        }
        prop_assert_eq!(filter.excludes_any_part(&path, false), walked);
    }
}
