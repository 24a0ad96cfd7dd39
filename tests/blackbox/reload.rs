//! SIGHUP: configuration and secrets are read again, and what goes on undisturbed.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use astran_backup::sandbox::faults::{Call, Fault, Rule};

use crate::support::{Daemon, World, eventually};

/// Writes a file that only its owner can read, in one step.
fn write_private(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::remove_file(&new).ok();
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new).unwrap();
    file.write_all(text.as_bytes()).unwrap();
    fs::rename(new, path).unwrap();
}

/// A folder of a configuration, which is made below the world's own one.
fn folder(world: &World, name: &str, more: &str) -> String {
    let path = world.dir.path().join(name);
    fs::create_dir_all(&path).unwrap();
    let path = path.display();
    format!("[[folder]]\npath = \"{path}\"\ndest = \"/HR_Backup\"\nsettle = \"50ms\"\n{more}")
}

fn put(world: &World, path: &str) {
    fs::write(world.dir.path().join(path), path).unwrap();
}

fn configure(world: &World, folders: &[String]) {
    write_private(&world.dir.path().join("config.toml"), &folders.join("\n"));
}

fn start(world: &World, folders: &[String]) -> Daemon {
    configure(world, folders);
    let daemon = Daemon::start(world.command().args(["watch", "--config", "config.toml"]));
    daemon.wait_for("watching");
    daemon
}

fn reload(daemon: &Daemon) {
    daemon.signal("-HUP");
    daemon.wait_for("the new configuration holds");
}

fn is_stored(world: &World, name: &str) -> bool {
    world.times_stored(&format!("/HR_Backup/{name}")) == 1
}

#[test]
fn a_folder_is_added_and_one_removed_while_an_upload_of_another_goes_on() {
    let world = World::new();
    let (stays, leaves) = (folder(&world, "stays", ""), folder(&world, "leaves", ""));
    let daemon = start(&world, &[stays.clone(), leaves]);
    put(&world, "leaves/first");
    eventually("the folder that is to leave works", || is_stored(&world, "first"));
    world.faults().add(Rule::new(Call::Upload, Fault::Stall { ms: 3000 }).named("slow"));
    put(&world, "stays/slow");
    eventually("its upload has begun", || world.sandbox().stats().faults == 1);

    configure(&world, &[stays, folder(&world, "joins", "")]);
    reload(&daemon);
    daemon.wait_for("the folder has left");
    put(&world, "joins/second");
    put(&world, "leaves/late");
    eventually("the new folder is watched", || is_stored(&world, "second"));
    assert!(!is_stored(&world, "slow"), "all that was during one upload");
    eventually("the slow upload ends", || is_stored(&world, "slow"));
    let output = daemon.stop();
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(!output.stdout.contains("cut"), "{output:?}");
    assert!(world.dir.path().join("leaves/late").exists(), "nobody watches it any more");
    assert!(!world.dir.path().join("leaves/.astran-backup").exists(), "the folder was left tidy");
}

#[test]
fn other_settings_of_a_folder_hold_for_files_begun_afterwards() {
    let world = World::new();
    let daemon = start(&world, &[folder(&world, "one", "")]);
    world.faults().add(Rule::new(Call::Upload, Fault::Stall { ms: 1500 }).named("before"));
    put(&world, "one/before");
    eventually("its upload has begun", || world.sandbox().stats().faults == 1);
    configure(&world, &[folder(&world, "one", "after = \"keep\"\nexclude = [\"*.bak\"]\n")]);
    reload(&daemon);
    put(&world, "one/after");
    put(&world, "one/left.bak");
    eventually("the file after the reload is stored", || is_stored(&world, "after"));
    assert!(is_stored(&world, "before"), "the upload under way ended first");
    eventually("that file is removed as it was begun", || !world.dir.path().join("one/before").exists());
    assert_eq!(daemon.stop().code, Some(0));
    assert!(world.dir.path().join("one/after").exists(), "it is kept");
    assert!(!is_stored(&world, "left.bak"));
}

#[test]
fn a_folder_whose_settings_change_again_and_again_is_watched_in_the_end() {
    let world = World::new();
    let daemon = start(&world, &[folder(&world, "one", "")]);
    for rescan in 2..8 {
        configure(&world, &[folder(&world, "one", &format!("rescan = \"{rescan}m\"\n"))]);
        reload(&daemon);
    }
    put(&world, "one/file");
    eventually("the file is stored", || is_stored(&world, "file"));
    let output = daemon.stop();
    assert!(!output.stdout.contains("another instance"), "{output:?}");
    assert_eq!(output.code, Some(0));
}

/// Regression: the look for a destination that the vault does not have went on for ever, and so kept its folder from leaving.
#[test]
fn a_destination_that_is_missing_is_mended_by_a_reload_and_delays_no_stop() {
    let world = World::new();
    let right = folder(&world, "one", "");
    let wrong = right.replace("/HR_Backup", "/HR_Bakcup");
    let daemon = start(&world, std::slice::from_ref(&wrong));
    daemon.wait_for("can't be used");
    put(&world, "one/file");
    configure(&world, std::slice::from_ref(&right));
    reload(&daemon);
    eventually("the file is stored", || is_stored(&world, "file"));
    configure(&world, &[wrong]);
    reload(&daemon);
    daemon.wait_for("can't be used");
    let asked = Instant::now();
    assert_eq!(daemon.stop().code, Some(0));
    assert!(asked.elapsed() < Duration::from_secs(15), "the stop took {:?}", asked.elapsed());
}

/// Regression: its own lock shut the folder out, and the end of the one before it took it out of the health.
#[test]
fn a_folder_that_comes_back_while_it_leaves_waits_for_that_and_its_trouble_is_known() {
    let world = World::new();
    let (stays, returns) = (folder(&world, "stays", ""), folder(&world, "returns", ""));
    let daemon = start(&world, &[stays.clone(), returns.clone()]);
    world.faults().add(Rule::new(Call::Upload, Fault::Stall { ms: 2500 }).named("slow"));
    put(&world, "returns/slow");
    eventually("its upload has begun", || world.sandbox().stats().faults == 1);
    configure(&world, std::slice::from_ref(&stays));
    reload(&daemon);
    configure(&world, &[stays, returns]);
    reload(&daemon);
    put(&world, "returns/file");
    eventually("the file is stored", || is_stored(&world, "file"));
    assert!(is_stored(&world, "slow"), "the upload under way ended first");
    fs::rename(world.dir.path().join("returns"), world.dir.path().join("gone")).unwrap();
    eventually("the status tells of the folder", || {
        let status = world.run(["status", "--json"]);
        status.stdout.contains("returns") && status.code == Some(1)
    });
    let output = daemon.stop();
    assert!(!output.stdout.contains("another instance"), "{output:?}");
}

#[test]
fn a_mistake_is_reported_and_the_configuration_before_it_holds() {
    let world = World::new();
    let one = folder(&world, "one", "");
    let daemon = start(&world, std::slice::from_ref(&one));
    let missing = format!("[login]\nclient_secret_file = \"{}/absent\"\n", world.dir.path().display());
    let moved = "[service]\ncontent_type = \"text/plain\"\n".to_owned();
    let nested = folder(&world, "one/below", "");
    for (what, why) in
        [("nonsense = 1\n".to_owned(), "nonsense"), (nested, "lies in"), (missing, "absent"), (moved, "need a restart")]
    {
        // The configuration also has a folder more, which must not be taken.
        let joins = folder(&world, "joins", "");
        let tables = if what.starts_with("[[") { [one.clone(), joins, what] } else { [what, one.clone(), joins] };
        configure(&world, &tables);
        daemon.signal("-HUP");
        let line = daemon.wait_for("nothing of the new configuration was taken");
        assert!(line.contains(why), "{why}: {line}");
        eventually("the status tells the failed reload", || {
            let status = world.run(["status", "--json"]);
            let failed = &status.events("status")[0]["failed_reload"];
            status.code == Some(1) && failed["reason"].as_str().is_some_and(|reason| reason.contains(why))
        });
    }
    put(&world, "joins/no");
    put(&world, "one/yes");
    eventually("the old folder works", || is_stored(&world, "yes"));
    configure(&world, std::slice::from_ref(&one));
    reload(&daemon);
    eventually("the status forgets the failed reload", || {
        let status = world.run(["status", "--json"]);
        status.code == Some(0) && status.events("status")[0]["failed_reload"].is_null()
    });
    assert_eq!(daemon.stop().code, Some(0));
    assert!(!is_stored(&world, "no"));
}

#[test]
fn a_password_comes_from_another_file_after_a_reload() {
    let world = World::with(|options| options.brute_force = None);
    let old = world.dir.path().join("old-password");
    write_private(&old, &world.access.password);
    let with_password = |file: &Path| format!("[login]\npassword_file = \"{}\"\n", file.display());
    let one = folder(&world, "one", "");
    configure(&world, &[with_password(&old), one.clone()]);
    let mut command = world.command();
    command.args(["watch", "--config", "config.toml"]).env_remove("ASTRAN_BACKUP_PASSWORD");
    let daemon = Daemon::start(&mut command);
    daemon.wait_for("watching");
    let new = world.dir.path().join("new-password");
    write_private(&new, "changed");
    configure(&world, &[with_password(&new), one]);
    reload(&daemon);
    for fault in [Fault::ChangePassword { password: "changed".into() }, Fault::ExpireAll] {
        world.faults().add(Rule { call: None, ..Rule::new(Call::Any, fault) });
    }
    put(&world, "one/file");
    eventually("the file is stored", || is_stored(&world, "file"));
    assert_eq!(world.sandbox().stats().refused_logins, 0, "the old password was not tried");
    assert_eq!(daemon.stop().code, Some(0));
}
