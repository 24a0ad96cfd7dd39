//! Logged in for months: what the program does when the login is refused, in trouble, rotated or short-lived.
#![cfg(feature = "sandbox")]
#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use astran_backup::sandbox::faults::{Call, Fault, Garbage, Rule};
use astran_backup::sandbox::{Options, TokenCheck};
use support::{Daemon, Said, World, eventually, said};

const PASSWORD: &str = "sandbox-password";

/// A file that only we can read.
fn secret_file(world: &World, name: &str, content: &str) -> PathBuf {
    let path = world.dir.path().join(name);
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// As a careful administrator rotates it: the new content comes whole.
#[expect(clippy::disallowed_methods, reason = "no watched file")]
fn rotate(world: &World, name: &str, content: &str) {
    let new = secret_file(world, "new-secret", content);
    std::fs::rename(new, world.dir.path().join(name)).unwrap();
}

fn at_once(fault: Fault) -> Rule {
    Rule { call: None, ..Rule::new(Call::Any, fault) }
}

fn change_password(password: &str) -> Rule {
    at_once(Fault::ChangePassword { password: password.to_owned() })
}

fn status(status: u16, body: Option<&str>) -> Fault {
    Fault::Status { status, retry_after: None, body: body.map(str::to_owned), content_type: None, carried_out: false }
}

/// A run that is refused: exit code 3, this sentence, one try, nothing secret, and the file where it was.
fn refused_once(world: &World, said: &Said, sentence: &str) {
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.stderr.contains(sentence), "{sentence:?} is not in {}", said.stderr);
    assert!(!said.stderr.contains(PASSWORD) && !said.stdout.contains(PASSWORD));
    let stats = world.sandbox().stats();
    assert_eq!((stats.refused_logins, stats.requests["login"]), (1, 1), "one try");
    assert_eq!(world.left().len(), 1, "it lies where it was");
}

fn once_with(change: impl FnOnce(&mut Options), fault: Option<Fault>, environment: (&str, &str)) -> (World, Said) {
    let world = World::with(change);
    if let Some(fault) = fault {
        world.faults().add(at_once(fault));
    }
    world.put("report.pdf", "content");
    let (name, value) = environment;
    let said = said(world.command().args(["watch", "watched", "--once"]).env(name, value));
    (world, said)
}

#[test]
fn each_refusal_ends_a_run_with_its_sentence_after_one_try() {
    type Change = fn(&mut Options);
    type Row = (Change, Option<Fault>, (&'static str, &'static str), &'static str);
    let same: Change = |_| ();
    let none = ("UNUSED", "");
    let rows: [Row; 9] = [
        (same, None, ("ASTRAN_BACKUP_PASSWORD", "wrong"), "is wrong, or the account is locked"),
        (|o| o.refused_password = 401, None, ("ASTRAN_BACKUP_PASSWORD", "wrong"), "is wrong, or the account is locked"),
        (same, None, ("ASTRAN_BACKUP_USERNAME", "nobody"), "the password of user `nobody` is wrong"),
        (same, Some(Fault::Lock { ms: 600_000 }), none, "or the account is locked for a while"),
        (same, Some(Fault::DisableUser), none, "is disabled: have it enabled"),
        (same, Some(Fault::RequireAction), none, "is not fully set up: log in once with a browser"),
        (same, None, ("ASTRAN_BACKUP_CLIENT_ID", "other"), "the client `other` is not known in realm `sandbox`"),
        (|o| o.client_secret = Some("hush".into()), None, none, "is wrong or missing: check login.client_secret_file"),
        (|o| o.direct_access = false, None, none, "may not log in with a user's password"),
    ];
    for (change, fault, environment, sentence) in rows {
        let (world, said) = once_with(change, fault, environment);
        refused_once(&world, &said, sentence);
    }
}

#[test]
fn a_password_file_that_others_can_read_is_a_mistake_of_this_machine_and_asks_nobody() {
    let world = World::new();
    let file = secret_file(&world, "password", PASSWORD);
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644)).unwrap();
    for arguments in [["watch", "watched"], ["push", "watched"]] {
        let said = world.run(arguments.iter().chain(&["--password-file", "password"]));
        assert!(said.code == Some(2) && said.stderr.contains("chmod 600"), "{said:?}");
    }
    assert_eq!(world.sandbox().stats().requests["login"], 0);
}

#[test]
fn a_realm_that_is_unknown_or_disabled_ends_a_run_after_one_try() {
    let (world, said) = once_with(|_| (), None, ("ASTRAN_BACKUP_REALM", "nope"));
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(said.stderr.contains("there is no realm `nope`"), "{said:?}");
    assert_eq!(world.left().len(), 1);

    let world = World::new();
    let body = r#"{"error":"access_denied","error_description":"Realm not enabled"}"#;
    world.faults().add(Rule::new(Call::Login, status(403, Some(body))).always());
    let said = world.once(&[]);
    assert_eq!((said.code, world.sandbox().stats().requests["login"]), (Some(3), 1), "{said:?}");
    assert!(said.stderr.contains("the realm `sandbox` is disabled"), "{said:?}");
}

#[test]
fn trouble_of_the_login_is_no_verdict_and_passes() {
    let html = Fault::Garbage { body: Garbage::Html, carried_out: false };
    let page = Fault::Status {
        status: 403,
        retry_after: None,
        body: Some("<html>blocked</html>".into()),
        content_type: Some("text/html".into()),
        carried_out: false,
    };
    for fault in [status(503, None), status(429, None), html, page] {
        let world = World::new();
        world.faults().add(Rule::new(Call::Login, fault));
        world.put("report.pdf", "content");
        let said = world.once(&[]);
        assert_eq!(said.code, Some(0), "{said:?}");
        assert!(world.stored("/HR_Backup/report.pdf").is_some());
        assert_eq!(world.sandbox().stats().refused_logins, 0);
    }
}

fn client_credentials(world: &World, secret: &str) -> std::process::Command {
    secret_file(world, "client-secret", secret);
    let config = "[login]\ngrant = \"client_credentials\"\nclient_secret_file = \"client-secret\"\n";
    secret_file(world, "config.toml", config);
    let mut command = world.command();
    command.args(["--config", "config.toml", "watch", "watched", "--once"]);
    command
}

#[test]
fn a_client_can_log_in_for_itself() {
    let world = World::with(|o| (o.client_secret, o.direct_access) = (Some("hush".into()), false));
    world.put("report.pdf", "content");
    let done = said(client_credentials(&world, "hush").env_remove("ASTRAN_BACKUP_USERNAME"));
    assert_eq!(done.code, Some(0), "{done:?}");
    let stats = world.sandbox().stats();
    assert_eq!((stats.logins["client_credentials"], stats.logins["password"]), (1, 0));

    world.put("second.pdf", "content");
    let refused = said(&mut client_credentials(&world, "wrong"));
    refused_once_more(&world, &refused, "check login.client_secret_file");
}

fn refused_once_more(world: &World, said: &Said, sentence: &str) {
    assert_eq!((said.code, world.sandbox().stats().refused_logins), (Some(3), 1), "{said:?}");
    assert!(said.stderr.contains(sentence) && !said.stderr.contains("hush"), "{said:?}");
}

#[test]
fn a_confidential_client_sends_its_secret_with_the_users_password() {
    let world = World::with(|o| o.client_secret = Some("hush".into()));
    secret_file(&world, "client-secret", "hush\n");
    secret_file(&world, "config.toml", "[login]\nclient_secret_file = \"client-secret\"\n");
    world.put("report.pdf", "content");
    let said = world.run(["--config", "config.toml", "watch", "watched", "--once"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(world.sandbox().stats().logins["password"], 1);
}

#[test]
fn each_command_ends_its_session() {
    let world = World::new();
    world.put("report.pdf", "content");
    assert_eq!(world.run(["push", "watched/report.pdf"]).code, Some(0));
    assert_eq!(world.run(["ls", "/HR_Backup"]).code, Some(0));
    assert_eq!(world.once(&[]).code, Some(0));
    assert_eq!(world.run(["push", "watched", "--dest", "/Nowhere"]).code, Some(4));
    let daemon = world.watch(&[]);
    assert_eq!(daemon.stop().code, Some(0));
    let stats = world.sandbox().stats();
    assert_eq!((stats.logins["password"], stats.logouts), (5, 5));
}

#[test]
fn a_command_that_is_stopped_while_it_starts_ends_its_session_too() {
    let world = World::new();
    world.faults().add(Rule::new(Call::Filesystem, Fault::Stall { ms: 600_000 }).always());
    for arguments in [["watch", "watched"], ["push", "watched"]] {
        let daemon = Daemon::start(world.command().args(arguments));
        let before = world.sandbox().stats().requests["filesystem"];
        eventually("it looks for its destination", || world.sandbox().stats().requests["filesystem"] > before);
        assert_eq!(daemon.stop().code, Some(130));
    }
    let stats = world.sandbox().stats();
    assert_eq!((stats.logins["password"], stats.logouts), (2, 2));
}

#[test]
fn a_logout_that_hangs_holds_no_stop_up() {
    let world = World::new();
    world.faults().add(Rule::new(Call::Logout, Fault::Stall { ms: 600_000 }).always());
    let daemon = world.watch(&[]);
    let asked = Instant::now();
    assert_eq!(daemon.stop().code, Some(0));
    assert!(asked.elapsed() < Duration::from_secs(10), "2 s for the logout, the rest for a busy machine");
}

/// A daemon whose password comes from a file, and whose session is over as soon as the fault says so.
fn rotating() -> (World, Daemon) {
    let world = World::with(|o| o.brute_force = None);
    secret_file(&world, "password", PASSWORD);
    let daemon = world.watch(&["--password-file", "password", "--settle", "50ms"]);
    world.put("before.pdf", "content");
    daemon.wait_for("stored");
    (world, daemon)
}

fn refused_logins(world: &World) -> u64 {
    world.sandbox().stats().refused_logins
}

#[test]
fn a_rotated_password_suspends_uploads_loudly_until_the_file_has_it() {
    let (world, daemon) = rotating();
    world.faults().add(change_password("rotated"));
    world.faults().add(at_once(Fault::ExpireAll));
    for n in 0..20 {
        world.put(format!("{n}.pdf"), "content");
    }
    let line = daemon.wait_for("SUSPENDED");
    assert!(line.contains("ERROR") && line.contains("when the secret changes"), "{line}");
    assert_eq!((refused_logins(&world), world.left().len()), (1, 20), "one try, and nothing is deleted");
    rotate(&world, "password", "rotated\n");
    daemon.wait_for("works again");
    eventually("all are stored", || world.left().is_empty());
    assert!((1..=2).contains(&refused_logins(&world)));
    let said = daemon.stop();
    assert_eq!(said.code, Some(0));
    assert_eq!(said.stdout.matches("SUSPENDED").count(), 1, "told once:\n{}", said.stdout);
    assert!(!said.stdout.contains("failed "), "no file is blamed:\n{}", said.stdout);
}

#[test]
fn what_was_mended_at_the_service_is_tried_on_hangup() {
    let (world, daemon) = rotating();
    world.faults().add(at_once(Fault::DisableUser));
    world.faults().add(at_once(Fault::ExpireAll));
    world.put("after.pdf", "content");
    let line = daemon.wait_for("SUSPENDED");
    assert!(line.contains("have it enabled"), "{line}");
    daemon.signal("-HUP");
    daemon.wait_for("reloading");
    eventually("the reload is tried", || refused_logins(&world) == 2);
    // Enabled again: nothing that we could see from here.
    world.faults().clear();
    daemon.signal("-HUP");
    eventually("it is stored", || world.left().is_empty());
    assert_eq!(refused_logins(&world), 2);
    assert_eq!(daemon.stop().code, Some(0));
}

#[test]
fn while_the_login_is_in_trouble_a_living_token_goes_on_and_after_it_the_next_login_does() {
    let world = World::with(|o| o.token_life = Duration::from_secs(4));
    let daemon = world.watch(&["--settle", "50ms"]);
    for call in [Call::Login, Call::Refresh] {
        world.faults().add(Rule::new(call, status(503, None)).times(6));
    }
    // Well into the outage: a refresh is due, and fails, while the token lives.
    for n in 0..40 {
        world.put(format!("{n}.pdf"), "content");
        std::thread::sleep(Duration::from_millis(100));
    }
    eventually("all are stored", || world.left().is_empty());
    let stats = world.sandbox().stats();
    assert!(stats.faults > 0, "there was an outage");
    assert_eq!((stats.refused_logins, stats.refused_refreshes), (0, 0));
    let said = daemon.stop();
    assert!(!said.stdout.contains("failed "), "{}", said.stdout);
}

#[test]
fn a_hundred_uploads_over_tokens_of_a_second_take_one_refresh_a_life() {
    let world = World::with(|o| o.token_life = Duration::from_secs(1));
    // Ten at once take 400 ms, so that all of them take several lives.
    world.faults().add(Rule::new(Call::Upload, Fault::Delay { ms: 400 }).always());
    for n in 0..100 {
        world.put(format!("{n:03}.pdf"), format!("content {n}"));
    }
    let start = Instant::now();
    let said = world.once(&["--transfers", "10"]);
    let lasted = start.elapsed();
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(world.left().is_empty() && !said.stdout.contains("failed "), "{said:?}");
    let stats = world.sandbox().stats();
    assert_eq!((stats.uploads_stored, stats.refused_refreshes, stats.logins["password"]), (100, 0, 1));
    // The next is fetched when a fifth of a life is left.
    let most = lasted.as_millis() / 800 + 1;
    assert!(u128::from(stats.refreshes) <= most, "{} refreshes in {lasted:?}", stats.refreshes);
    assert!(stats.refreshes >= 3, "{} refreshes in {lasted:?}", stats.refreshes);
}

#[test]
fn a_long_upload_whose_token_is_looked_at_again_at_its_end_is_sent_anew_with_another() {
    let world = World::with(|o| o.token_check = TokenCheck::AtStartAndEnd);
    let content = vec![7; 20 << 20];
    world.put("long.bin", &content);
    // The token dies while the content is under way.
    world.faults().add(Rule::new(Call::Upload, Fault::Expire));
    let said = world.once(&[]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert_eq!(world.stored("/HR_Backup/long.bin").unwrap(), content);
    let stats = world.sandbox().stats();
    assert_eq!((stats.uploads_stored, stats.refreshes), (1, 1));
    assert_eq!(world.times_stored("/HR_Backup/long.bin"), 1);
}

#[test]
fn a_session_that_is_over_while_nothing_happened_is_a_new_login() {
    let world = World::new();
    let daemon = world.watch(&["--settle", "50ms"]);
    world.faults().add(at_once(Fault::ExpireAll));
    for n in 0..50 {
        world.put(format!("{n}.pdf"), "content");
    }
    eventually("all are stored", || world.left().is_empty());
    let stats = world.sandbox().stats();
    assert_eq!((stats.logins["password"], stats.refused_logins, stats.refused_refreshes), (2, 0, 1));
    assert!(!daemon.stop().stdout.contains("failed "));
}

#[test]
fn a_token_that_is_refused_however_new_it_is_suspends_uploads_without_a_storm() {
    let world = World::new();
    let daemon = world.watch(&["--settle", "50ms"]);
    world.faults().add(Rule::new(Call::Upload, status(401, Some("{}"))).always());
    world.faults().add(Rule::new(Call::Me, status(401, Some("{}"))).always());
    for n in 0..20 {
        world.put(format!("{n}.pdf"), "content");
    }
    daemon.wait_for("SUSPENDED");
    let before = world.sandbox().stats().requests["me"];
    eventually("it is tried again", || world.sandbox().stats().requests["me"] > before);
    let stats = world.sandbox().stats();
    assert!(stats.refreshes <= 2 && stats.logins["password"] <= 2, "{stats:?}");
    world.faults().clear();
    daemon.signal("-HUP");
    eventually("all are stored", || world.left().is_empty());
    assert!(!daemon.stop().stdout.contains("failed "));
}

#[test]
fn a_stop_while_uploads_are_suspended_waits_for_nothing() {
    let (world, daemon) = rotating();
    world.faults().add(at_once(Fault::DisableUser));
    world.faults().add(at_once(Fault::ExpireAll));
    world.put("after.pdf", "content");
    daemon.wait_for("SUSPENDED");
    let asked = Instant::now();
    let said = daemon.stop();
    assert!(asked.elapsed() < Duration::from_secs(10), "took {:?}", asked.elapsed());
    assert_eq!(said.code, Some(130), "a file is left: {said:?}");
    assert_eq!(world.left().len(), 1);
}
