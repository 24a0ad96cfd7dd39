//! What these tests share: the program with anchors in the vault, and what it says of the chains.

use rusqlite::Connection;

use crate::support::{self, Output, QUICK, World};

/// Runs the program with anchors going into the vault, as they do by default.
pub(crate) fn run(world: &World, arguments: &[&str]) -> Output {
    support::run_to_end(world.command().env_remove("ASTRAN_BACKUP_ANCHOR").args(arguments))
}

pub(crate) fn upload(world: &World, names: &[&str]) {
    for name in names {
        world.put(name, name);
    }
    let output = run(world, &["watch", "watched", "--once", QUICK[0], QUICK[1]]);
    assert_eq!(output.code, Some(0), "{output:?}");
}

pub(crate) fn journal(world: &World) -> Connection {
    Connection::open(world.state().join("astran-backup/journal.sqlite")).unwrap()
}

/// The heads of both chains, as a check prints them.
pub(crate) fn heads(world: &World) -> [String; 2] {
    let output = run(world, &["history", "--check", "--json"]);
    let report = &output.events("history_check")[0];
    let head =
        |prefix: &str, seq: &str, hash: &str| format!("{prefix}{}:{}", report[seq], report[hash].as_str().unwrap());
    [head("", "head_receipt", "head_hash"), head("f", "local_ends_number", "local_ends_hash")]
}

pub(crate) fn anchors(world: &World) -> Vec<String> {
    let mut names: Vec<String> = world.sandbox().uploads().into_iter().map(|upload| upload.path).collect();
    names.retain(|path| path.contains("/astran-backup-anchor-"));
    names
}

pub(crate) fn last_line(output: &Output) -> &str {
    output.stdout.trim_end().lines().last().unwrap_or_default()
}
