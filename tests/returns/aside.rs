//! A staged file that can neither be removed nor put back, since a new file has its name by now: the program reports where the file
//! lies, and goes on with it once that is possible.

use std::path::Path;

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::*;
use crate::support::files_below;
use crate::support::proof::assert_nothing_left;

/// The end of the name under which `sub/report` is staged.
const ASIDE: &str = "~sub%2Freport";

/// Makes a folder to move files to, with a file where a folder should be: no file of `sub` can be moved there.
pub(crate) fn block(world: &World, folder: &str) -> PathBuf {
    let folder = world.dir.path().join(folder);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    std::fs::write(folder.join("sub"), "in the way").unwrap();
    folder
}

pub(crate) fn unblock(folder: &Path) {
    std::fs::remove_file(folder.join("sub")).unwrap();
}

/// A daemon with these settings, which walks through the folder each second.
fn watch_with(world: &World, upload: &str) -> Daemon {
    world.configure(&format!("[upload]\nrescan = \"1s\"\nsettle = \"10ms\"\n{upload}"));
    let daemon = Daemon::start(world.command().args(["--config", "config.toml", "watch", "watched"]));
    daemon.wait_for("watching");
    daemon
}

/// Gives the name of `sub/report` to another file while `sub/report` is staged.
pub(crate) fn newcomer(world: &World) {
    let (new, name) = (world.dir.path().join("new"), world.watched().join("sub/report"));
    std::fs::write(&new, "newcomer").unwrap();
    // On a slow machine the file may be put back already; then it is staged again.
    eventually("a newcomer has its name", || {
        world.staged("sub/report").is_some() && renameat_with(CWD, &new, CWD, &name, RenameFlags::NOREPLACE).is_ok()
    });
}

fn contents_below(folder: &Path) -> Vec<String> {
    let read = |file: PathBuf| std::fs::read_to_string(folder.join(file)).unwrap_or_default();
    let mut contents: Vec<_> = files_below(folder).into_iter().map(read).collect();
    contents.sort();
    contents
}

/// A content that is too large for [`picky`], unlike that of the new file.
const TOO_LARGE: &str = "refused for its size";

/// A world whose store takes 8 bytes at most.
fn picky() -> World {
    World::with(|options| options.max_size = Some(8))
}

/// Has a file refused that can't be moved to `failed_dir`, and lies in the private folder while a new file of its name is stored.
/// Returns the folder into which the file is to be moved.
fn refused_and_hidden(world: &World, content: &str) -> (Daemon, PathBuf) {
    let failed = block(world, "Failed");
    let daemon = watch_with(world, "failed_dir = \"./Failed\"\n");
    world.put("sub/report", content);
    newcomer(world);
    let line = daemon.wait_for(ASIDE);
    assert!(line.contains("failed"), "{line}");
    eventually("the newcomer is stored and gone", || {
        world.times_stored("/HR_Backup/report") > 0 && world.files_left().is_empty()
    });
    (daemon, failed)
}

#[test]
fn a_refused_file_whose_name_was_taken_is_collected_when_that_can_be_done() {
    let world = picky();
    let (daemon, failed) = refused_and_hidden(&world, TOO_LARGE);
    unblock(&failed);
    eventually("the file is collected", || contents_below(&failed) == [TOO_LARGE]);
    assert_eq!(daemon.stop().code, Some(0));
    assert_sent(&world, &["newcomer"]);
    assert_nothing_left(&world);
}

/// Regression: the entry of the new file hid the refusal, and the unchanged file was sent again without `retry`.
#[test]
fn a_refused_file_whose_name_was_taken_is_not_sent_again_by_itself() {
    let world = picky();
    let (daemon, failed) = refused_and_hidden(&world, TOO_LARGE);
    unblock(&failed);
    eventually("the file is collected", || contents_below(&failed) == [TOO_LARGE]);
    assert_eq!(daemon.stop().code, Some(0));
    assert_eq!(world.sandbox().stats().requests["upload"], 2, "the refused one and the newcomer");
}

/// Regression: the refusal was hidden from `retry` too.
#[test]
fn a_refused_file_whose_name_was_taken_is_sent_after_a_retry() {
    let world = World::new();
    world.faults().add(Rule::new(Call::Upload, status(422)).times(1));
    let (daemon, _blocked) = refused_and_hidden(&world, "refused");
    assert_eq!(world.run(["retry"]).code, Some(0));
    eventually("the file is sent", || world.sandbox().uploads().len() == 2);
    eventually("the file is gone", || world.staged("sub/report").is_none() && world.files_left().is_empty());
    assert_eq!(daemon.stop().code, Some(0));
    assert_sent(&world, &["newcomer", "refused"]);
    assert_nothing_left(&world);
}

#[test]
fn a_stored_file_whose_name_was_taken_is_moved_when_that_can_be_done() {
    let world = World::new();
    let done = block(&world, "Done");
    let daemon = watch_with(&world, "after = \"move\"\nmove_to = \"./Done\"\n");
    world.put("sub/report", "first");
    newcomer(&world);
    let line = daemon.wait_for(ASIDE);
    assert!(line.contains("it is stored"), "{line}");
    eventually("the newcomer is stored too", || world.sandbox().uploads().len() == 2);
    unblock(&done);
    eventually("both are moved", || contents_below(&done) == ["first", "newcomer"]);
    assert_eq!(daemon.stop().code, Some(0));
    assert_sent(&world, &["first", "newcomer"]);
    assert_nothing_left(&world);
}

#[test]
fn push_reports_where_a_stored_file_lies_whose_name_was_taken() {
    let world = World::new();
    let done = block(&world, "Done");
    world.put("sub/report", "first");
    let push = Daemon::start(world.command().args(["push", "--move-to", "Done", "watched"]));
    newcomer(&world);
    let output = push.end();
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(output.stdout.contains(ASIDE), "{output:?}");
    unblock(&done);
    let output = world.once(&["--settle", "10ms", "--move-to", "Done"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(contents_below(&done), ["first", "newcomer"]);
    assert_sent(&world, &["first", "newcomer"]);
    assert_nothing_left(&world);
}
