//! `sandbox` and `--sandbox`: trying the program without an account.

use std::fs;

use serde_json::Value;

use crate::support::{Daemon, World, eventually, run_to_end};

/// The binary without any configuration of a service.
fn bare(world: &World) -> std::process::Command {
    let mut command = world.command();
    for (name, _) in crate::support::access_variables(&world.access) {
        command.env_remove(name);
    }
    command
}

#[test]
fn json_is_one_line_with_all_that_a_login_needs() {
    let world = World::new();
    let sandbox =
        Daemon::start(bare(&world).args(["sandbox", "--listen", "127.0.0.1:0", "--store", "store", "--json"]));
    let line: Value = serde_json::from_str(&sandbox.wait_for("{")).unwrap();
    let mut ls = bare(&world);
    for key in ["api_url", "auth_url", "client_id", "password", "realm", "username"] {
        ls.env(format!("ASTRAN_BACKUP_{}", key.to_uppercase()), line[key].as_str().unwrap());
    }
    let listed = run_to_end(ls.arg("ls"));
    assert_eq!(
        (listed.code, listed.stdout.trim()),
        (Some(0), "HR_Backup/"),
        "the tutorial's folder is there: {listed:?}"
    );
    let ended = sandbox.stop();
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.stdout.lines().count(), 2, "the event and the summary: {ended:?}");
    assert!(world.dir.path().join("store").is_dir());
}

#[test]
fn text_gives_the_address_and_the_login_as_lines_for_a_shell() {
    let world = World::new();
    let sandbox = Daemon::start(bare(&world).args(["sandbox", "--listen", "127.0.0.1:0"]));
    assert!(sandbox.wait_for("listens on").contains("http://127.0.0.1:"));
    let exports = [sandbox.wait_for("export"), sandbox.wait_for("export")].join("\n");
    let script = format!("{exports}\nexec {} ls", env!("CARGO_BIN_EXE_astran-backup"));
    let mut shell = std::process::Command::new("sh");
    shell.env_clear().env("HOME", world.dir.path()).env("XDG_STATE_HOME", world.state()).args(["-c", &script]);
    let listed = run_to_end(&mut shell);
    assert_eq!(listed.code, Some(0), "{listed:?}");
    sandbox.signal("-INT");
    assert_eq!(sandbox.end().code, Some(0));
}

#[test]
fn an_address_that_is_taken_or_not_loopback_is_a_usage_error() {
    let world = World::new();
    let taken = world.access.api_url.strip_prefix("http://").unwrap();
    for (address, reason) in [(taken, "something else"), ("0.0.0.0:0", "this machine only")] {
        let output = run_to_end(bare(&world).args(["sandbox", "--listen", address]));
        assert_eq!(output.code, Some(2), "{output:?}");
        assert!(output.stderr.contains(reason), "{output:?}");
    }
}

#[test]
fn watch_with_the_sandbox_makes_folder_and_destination_and_ls_sees_the_same_vault() {
    let world = World::new();
    let dest = "/New/Deep";
    let daemon = Daemon::start(bare(&world).args([
        "watch",
        "Temporary/Folder",
        "--dest",
        dest,
        "--settle",
        "50ms",
        "--sandbox",
    ]));
    daemon.wait_for("watching");
    let path = world.dir.path().join("Temporary/Folder/report.pdf");
    fs::write(&path, "content").unwrap();
    daemon.wait_for("stored");
    eventually("the file is removed", || !path.exists());
    assert_eq!(daemon.stop().code, Some(0));
    let listed = run_to_end(bare(&world).args(["ls", dest, "--sandbox"]));
    assert!(listed.code == Some(0) && listed.stdout.contains("report.pdf"), "{listed:?}");
    let got = run_to_end(bare(&world).args(["get", "/New/Deep/report.pdf", "-o", "-", "--sandbox"]));
    assert_eq!((got.code, got.stdout.as_str()), (Some(0), "content"), "{got:?}");
}

#[test]
fn the_sandbox_is_used_instead_of_a_configured_service() {
    let world = World::new();
    world.put("file", "content");
    let output = world.run(["push", "watched", "--sandbox"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(world.sandbox().uploads().is_empty());
    assert_eq!(world.sandbox().stats().connections, 0);
    assert_eq!(fs::read(world.state().join("astran-backup/sandbox/vault/HR_Backup/file")).unwrap(), b"content");
}

/// Regression: the configured folders were emptied into the sandbox.
#[test]
fn the_sandbox_never_takes_a_configured_folder_whichever_way_the_configuration_is_found() {
    let world = World::new();
    let real = world.put("only-copy", "content");
    world.configure("[[folder]]\npath = \"watched\"\ndest = \"/HR_Backup\"\n");
    let found_by_itself = world.dir.path().join(".config/astran-backup");
    fs::create_dir_all(&found_by_itself).unwrap();
    fs::copy(world.dir.path().join("config.toml"), found_by_itself.join("config.toml")).unwrap();
    for arguments in [&["--config", "config.toml"][..], &[]] {
        let output = run_to_end(bare(&world).args(["watch", "--once", "--sandbox"]).args(arguments));
        assert_eq!(output.code, Some(2), "{output:?}");
        assert!(output.stderr.contains("watch DIR --sandbox"), "{output:?}");
        let named = ["watch", "other", "--once", "--dest", "/HR_Backup", "--sandbox"];
        let other = crate::support::run_to_end(bare(&world).args(named).args(arguments));
        assert_eq!(other.code, Some(0), "{other:?}");
    }
    assert!(real.exists());
}

/// Regression: the receipts of a trial counted for the real service, which was never asked.
#[test]
fn files_tried_in_the_sandbox_are_uploaded_to_the_service_all_the_same() {
    let world = World::new();
    world.put("report", "content");
    for _ in 0..2 {
        let tried = world.once_quick(&["--keep", "--sandbox"]);
        assert_eq!(tried.code, Some(0), "{tried:?}");
    }
    let real = world.once_quick(&["--keep"]);
    assert_eq!(real.code, Some(0), "{real:?}");
    assert_eq!(world.times_stored("/HR_Backup/report"), 1);
}
