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
        let line = daemon.wait_for("watching");
        assert!(line.contains("watched"), "{line}");
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
fn once_or_without_any_folder_a_missing_one_ends_with_4() {
    let it = Lacking::new();
    let file = it.world.put("file", "content");
    let output = it.world.run(["watch", "--once", "--config", "config.toml"]);
    assert_eq!(output.code, Some(4), "{output:?}");
    assert!(file.exists(), "a run that should do all does not begin");
    fs::rename(it.world.watched(), it.world.dir.path().join("away")).unwrap();
    let output = it.world.run(["watch", "--config", "config.toml"]);
    assert_eq!(output.code, Some(4), "{output:?}");
    assert!(output.stderr.contains("missing is missing: make it"), "{output:?}");
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
