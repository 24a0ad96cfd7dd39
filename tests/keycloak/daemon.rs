//! The whole program against Keycloak.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use astran_backup::sandbox::faults::{Call, Fault, Rule};
use serde_json::json;

use crate::server::{PASSWORD, Realm, SECRET, restart};
use crate::support::{World, eventually, run_to_end};

fn secret_file(world: &World, name: &str, content: &str) -> PathBuf {
    let path = world.dir.path().join(name);
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// From now on the API refuses the tokens that it has seen, and the realm has no session.
fn log_out(realm: &Realm) {
    realm.end_sessions();
    realm.world.faults().add(Rule { call: None, ..Rule::new(Call::Any, Fault::Expire) });
}

#[test]
#[ignore = "needs a Keycloak: .ci/keycloak"]
fn a_run_logs_in_uploads_and_leaves_no_session_behind() {
    let realm = Realm::new("run", &json!({}));
    realm.world.put("report.pdf", "content");
    let output = realm.world.once(&[]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(realm.world.stored("/HR_Backup/report.pdf").unwrap(), b"content");
    assert_eq!(realm.sessions(), 0);
}

#[test]
#[ignore = "needs a Keycloak: .ci/keycloak"]
fn a_refused_run_ends_with_3_after_one_try() {
    let realm = Realm::new("refused-run", &json!({}));
    realm.world.put("report.pdf", "content");
    let mut command = realm.world.command();
    let output = run_to_end(command.args(["watch", "watched", "--once"]).env("ASTRAN_BACKUP_PASSWORD", "wrong"));
    assert_eq!(output.code, Some(3), "{output:?}");
    assert!(output.stderr.contains("is wrong, or the account is locked"), "{output:?}");
    eventually("it is counted", || realm.failures() > 0);
    assert_eq!(realm.failures(), 1);
}

#[test]
#[ignore = "needs a Keycloak: .ci/keycloak"]
fn thirty_jobs_with_a_wrong_password_are_one_refused_login_for_the_realm() {
    let realm = Realm::new("thirty", &json!({}));
    secret_file(&realm.world, "password", "wrong");
    let mut jobs: Vec<_> = (0..30)
        .map(|_| {
            let mut job = realm.world.command();
            job.args(["push", "watched", "--password-file", "password"]);
            job.stderr(std::process::Stdio::null()).spawn().unwrap()
        })
        .collect();
    for job in &mut jobs {
        assert_eq!(job.wait().unwrap().code(), Some(3));
    }
    eventually("it is counted", || realm.failures() > 0);
    assert_eq!(realm.failures(), 1);
}

#[test]
#[ignore = "needs a Keycloak: .ci/keycloak"]
fn a_client_logs_in_for_itself() {
    let realm = Realm::new("own-run", &json!({}));
    let world = &realm.world;
    secret_file(world, "secret", SECRET);
    let login =
        "[login]\ngrant = \"client_credentials\"\nclient_id = \"confidential\"\nclient_secret_file = \"secret\"\n";
    secret_file(world, "config.toml", login);
    world.put("report.pdf", "content");
    let mut command = world.command();
    command.env_remove("ASTRAN_BACKUP_CLIENT_ID").env_remove("ASTRAN_BACKUP_USERNAME");
    let output = run_to_end(command.args(["--config", "config.toml", "watch", "watched", "--once"]));
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(world.stored("/HR_Backup/report.pdf").is_some());
}

#[test]
#[ignore = "needs a Keycloak: .ci/keycloak"]
fn a_rotated_password_and_then_a_disabled_account_suspend_uploads_and_lock_nothing() {
    let realm = Realm::new("rotated", &json!({}));
    let world = &realm.world;
    let file = secret_file(world, "password", PASSWORD);
    let daemon = world.watch(&["--password-file", "password", "--settle", "50ms"]);
    realm.change_password("rotated-password");
    log_out(&realm);
    world.put("first.pdf", "content");
    daemon.wait_for("SUSPENDED");
    eventually("it is counted", || realm.failures() > 0);
    assert_eq!(realm.failures(), 1);
    std::fs::write(file, "rotated-password").unwrap();
    eventually("the file is stored", || world.files_left().is_empty());
    assert!(realm.failures() <= 2);

    realm.change_user(&json!({"enabled": false}));
    log_out(&realm);
    world.put("second.pdf", "content");
    let line = daemon.wait_for("SUSPENDED");
    assert!(line.contains("have it enabled"), "{line}");
    realm.change_user(&json!({"enabled": true}));
    daemon.signal("-HUP");
    eventually("the file is stored", || world.files_left().is_empty());
    let output = daemon.stop();
    assert_eq!(output.code, Some(0));
    assert!(!output.stdout.contains("failed ") && !output.stdout.contains("rotated-password"), "{}", output.stdout);
}

#[test]
#[ignore = "needs a Keycloak of its own: .ci/keycloak"]
fn a_restart_of_keycloak_in_mid_run_loses_nothing_and_blames_nobody() {
    let realm = Realm::new("restarted", &json!({}));
    let world = &realm.world;
    let daemon = world.watch(&["--settle", "50ms"]);
    let restarting = std::thread::spawn(restart);
    let mut count = 0;
    // Files come all the time: before the restart, while Keycloak is away for longer than a token lives, and after.
    while !restarting.is_finished() {
        world.put(format!("{count}.pdf"), "content");
        count += 1;
        std::thread::sleep(Duration::from_millis(100));
    }
    restarting.join().unwrap();
    world.put("after.pdf", "content");
    eventually("all are stored", || world.files_left().is_empty());
    assert_eq!(world.sandbox().uploads().len(), count + 1, "each once");
    assert_eq!(realm.failures(), 0);
    let output = daemon.stop();
    assert_eq!(output.code, Some(0));
    assert!(!output.stdout.contains("failed ") && !output.stdout.contains("SUSPENDED"), "{}", output.stdout);
}
