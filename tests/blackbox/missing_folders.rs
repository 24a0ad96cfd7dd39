//! `watch` with several folders of which some are missing at the start.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::monitor::get;
use crate::support::{Daemon, World, eventually};

/// A world with a second folder to watch, which is missing, and a listener.
struct Lacking {
    world: World,
    missing: PathBuf,
}

impl Lacking {
    fn new() -> Self {
        Self::with("")
    }

    /// With more keys for the missing folder.
    fn with(keys: &str) -> Self {
        let world = World::new();
        let missing = world.dir.path().canonicalize().unwrap().join("missing");
        world.configure(&format!(
            "[daemon]\nlisten = \"127.0.0.1:0\"\n[upload]\nsettle = \"50ms\"\n\
             [[folder]]\npath = \"missing\"\n{keys}[[folder]]\npath = \"watched\"\n",
        ));
        Self { world, missing }
    }

    /// Starts `watch`, and waits until it watches the folder that is there.
    fn start(&self) -> (Daemon, SocketAddr) {
        let daemon = Daemon::start(self.world.command().args(["watch", "--config", "config.toml"]));
        let line = daemon.wait_for("metrics and readiness");
        let address = line.split_once("http://").unwrap().1.split_once('/').unwrap().0.parse().unwrap();
        daemon.wait_for("/watched dest=");
        (daemon, address)
    }

    /// The lines of the metric that says whether the missing folder is gone.
    fn gone(&self, address: SocketAddr) -> Vec<String> {
        let start = format!("astran_backup_folder_gone{{folder=\"{}\"}} ", self.missing.display());
        let (_, text) = get(address, "/metrics");
        text.lines().filter_map(|line| line.strip_prefix(&start)).map(str::to_owned).collect()
    }
}

#[test]
fn a_missing_folder_holds_up_no_other_and_joins_when_it_appears() {
    let it = Lacking::new();
    let (daemon, address) = it.start();
    let log = daemon.output_so_far();
    let told = log.lines().find(|line| line.contains("is missing")).unwrap();
    assert!(told.contains("ERROR") && told.contains("the other folders are watched"), "{log}");
    it.world.put("there", "content");
    eventually("the other folder's file is stored and removed", || it.world.files_left().is_empty());
    let not_ready = || {
        let (status, reasons) = get(address, "/readyz");
        (status == 503).then_some(reasons)
    };
    eventually("readiness names the folder", || not_ready().is_some_and(|why| why.contains("missing is missing")));
    assert_eq!(it.gone(address), ["1"]);

    let aside = it.world.dir.path().join("aside");
    fs::create_dir(&aside).unwrap();
    fs::write(aside.join("before"), "was there when it appeared").unwrap();
    fs::rename(&aside, &it.missing).unwrap();
    eventually("what lies in it is stored", || it.world.times_stored("/HR_Backup/before") == 1);
    fs::write(it.missing.join("after"), "came later").unwrap();
    eventually("what comes there is stored", || it.world.times_stored("/HR_Backup/after") == 1);
    eventually("both are removed", || {
        fs::read_dir(&it.missing).unwrap().flatten().all(|e| e.file_name() == ".astran-backup")
    });
    eventually("the program is ready", || not_ready().is_none());
    assert_eq!(it.gone(address), ["0"], "one line for each folder");
    let output = daemon.stop();
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(fs::read_dir(&it.missing).unwrap().count(), 0, "the private folder is tidied away");
}

#[test]
fn a_stop_while_a_folder_is_waited_for_ends_with_0() {
    let it = Lacking::new();
    let (daemon, _) = it.start();
    assert_eq!(daemon.stop().code, Some(0));
}

/// The checks of the configuration were made of the place where the path led at the start.
#[test]
fn a_folder_that_appears_at_another_place_is_not_emptied() {
    let it = Lacking::new();
    let (daemon, address) = it.start();
    let elsewhere = it.world.dir.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("file"), "content").unwrap();
    std::os::unix::fs::symlink(&elsewhere, &it.missing).unwrap();
    daemon.wait_for("so it was not checked whether it may be emptied");
    assert!(get(address, "/readyz").1.contains("start again"));
    assert_eq!(daemon.stop().code, Some(0));
    assert_eq!(fs::read(elsewhere.join("file")).unwrap(), b"content");
    assert_eq!(fs::read_dir(elsewhere).unwrap().count(), 1, "nothing is left there");
}

#[test]
fn once_does_the_folders_that_are_there_and_ends_with_4_and_with_strict_it_does_nothing() {
    let it = Lacking::new();
    let file = it.world.put("file", "content");
    let output = it.world.run(["watch", "--once", "--strict", "--config", "config.toml"]);
    assert_eq!(output.code, Some(4), "{output:?}");
    assert!(file.exists() && !it.world.state().exists(), "a strict run does not begin");
    let output = it.world.run(["watch", "--once", "--quiet", "--config", "config.toml"]);
    assert_eq!(output.code, Some(4), "{output:?}");
    assert!(output.stderr.contains("missing is missing: make it") && output.stderr.contains("left out"), "{output:?}");
    assert!(!file.exists() && it.world.times_stored("/HR_Backup/file") == 1);
}

#[test]
fn once_leaves_out_a_folder_whose_destination_is_missing_and_ends_with_4() {
    let it = Lacking::with("dest = \"/HR_Bakcup\"\n");
    fs::create_dir(&it.missing).unwrap();
    let (waits, goes) = (it.missing.join("waits"), it.world.put("goes", "content"));
    fs::write(&waits, "content").unwrap();
    let output = it.world.run(["watch", "--once", "--config", "config.toml"]);
    assert_eq!(output.code, Some(4), "{output:?}");
    assert!(output.stderr.contains("/HR_Bakcup") && output.stderr.contains("left out"), "{output:?}");
    assert!(waits.exists() && !goes.exists());
    assert_eq!(fs::read_dir(&it.missing).unwrap().count(), 1, "the private folder is tidied away");
    it.world.put("goes", "again");
    let output = it.world.run(["watch", "--once", "--strict", "--config", "config.toml"]);
    assert_eq!(output.code, Some(4), "{output:?}");
    assert!(it.world.watched().join("goes").exists(), "a strict run does not begin");
}

#[test]
fn a_folder_alone_that_is_missing_is_waited_for_and_strict_ends_with_4() {
    let world = World::new();
    let (watched, away) = (world.watched(), world.dir.path().join("away"));
    fs::rename(&watched, &away).unwrap();
    let output = world.run(["watch", "watched", "--strict"]);
    assert_eq!(output.code, Some(4), "{output:?}");
    let daemon = world.start(&["--settle", "50ms"]);
    daemon.wait_for("watched is missing: make it");
    fs::write(away.join("file"), "content").unwrap();
    fs::rename(&away, &watched).unwrap();
    eventually("its file is stored", || world.times_stored("/HR_Backup/file") == 1);
    assert_eq!(daemon.stop().code, Some(0));
}

#[test]
fn a_missing_destination_degrades_its_folder_alone_and_is_taken_up_when_it_comes() {
    let it = Lacking::with("dest = \"/Later\"\n");
    fs::create_dir(&it.missing).unwrap();
    let (daemon, address) = it.start();
    let told = daemon.wait_for("the destination can't be used");
    assert!(told.contains("ERROR") && told.contains("/Later"), "{told}");
    let not_ready = || {
        let (status, reasons) = get(address, "/readyz");
        (status == 503).then_some(reasons)
    };
    let reasons = not_ready().unwrap();
    assert!(reasons.contains("the destination of") && reasons.contains("it is not there"), "{reasons}");
    it.world.put("goes", "content");
    eventually("the other folder goes on", || it.world.files_left().is_empty());
    fs::create_dir(it.world.dir.path().join("vault/Later")).unwrap();
    eventually("the program is ready, though no file waits for the destination", || not_ready().is_none());
    fs::write(it.missing.join("file"), "content").unwrap();
    eventually("its file is stored", || it.world.times_stored("/Later/file") == 1);
    assert_eq!(daemon.stop().code, Some(0));
}

#[test]
fn a_folder_whose_move_to_is_missing_waits_alone() {
    let it = Lacking::with("after = \"move\"\nmove_to = \"file/done\"\n");
    fs::create_dir(&it.missing).unwrap();
    fs::write(it.world.dir.path().join("file"), "no folder").unwrap();
    let (daemon, _) = it.start();
    let told = daemon.output_so_far();
    assert!(told.contains("no file is moved there"), "{told}");
    fs::remove_file(it.world.dir.path().join("file")).unwrap();
    fs::write(it.missing.join("document"), "content").unwrap();
    fs::create_dir(it.world.dir.path().join("file")).unwrap();
    eventually("its file is stored", || it.world.times_stored("/HR_Backup/document") == 1);
    assert_eq!(daemon.stop().code, Some(0));
}

/// A try that fails after the folder was locked must not shut out the next try.
#[test]
fn a_folder_whose_files_can_not_be_moved_when_it_appears_joins_once_they_can() {
    let it = Lacking::with("after = \"move\"\nmove_to = \"done\"\n");
    let (daemon, address) = it.start();
    let in_the_way = it.world.dir.path().join("done");
    fs::write(&in_the_way, "no folder").unwrap();
    fs::create_dir(&it.missing).unwrap();
    daemon.wait_for("no file is moved there");
    fs::remove_file(in_the_way).unwrap();
    fs::write(it.missing.join("file"), "content").unwrap();
    eventually("its file is stored", || it.world.times_stored("/HR_Backup/file") == 1);
    eventually("the folder is ready", || it.gone(address) == ["0"]);
    assert_eq!(daemon.stop().code, Some(0));
}
