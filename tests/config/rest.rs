//! The state folder, the sandbox, and commands that ask nothing of the service.

use std::path::Path;
use std::time::Duration;

use astran_backup::config::{Config, Environment, RateLimit};

use crate::support::{Home, SERVICE, typed};

#[test]
fn the_state_folder_comes_from_flag_or_environment() {
    let home = Home::with(SERVICE);
    assert_eq!(home.load("ls").unwrap().state_dir, home.path(".local/state/astran-backup"));
    let home = home.set("XDG_STATE_HOME", "/xdg");
    assert_eq!(home.load("ls").unwrap().state_dir, Path::new("/xdg/astran-backup"));
    let home = home.set("STATE_DIRECTORY", "/var/lib/one:/var/lib/two");
    assert_eq!(home.load("ls").unwrap().state_dir, Path::new("/var/lib/one"));
    assert_eq!(home.load("ls --state-dir s").unwrap().state_dir, Path::new("s"));
    let config = Environment::new([("ASTRAN_BACKUP_CONFIG", home.config())]);
    let nowhere = Config::load(&typed("history").overrides().unwrap(), &config).unwrap_err().to_string();
    assert!(nowhere.contains("--state-dir"), "{nowhere}");
}

#[test]
fn the_keys_of_daemon_and_journal_are_read() {
    let config = Home::with(SERVICE).load("ls").unwrap();
    assert_eq!((config.keep_receipts, config.grace, config.listen), (None, Duration::from_secs(30), None));
    let text =
        format!("{SERVICE}[daemon]\ngrace = \"1m\"\nlisten = \"[::1]:9464\"\n[journal]\nkeep_receipts = \"365d\"\n");
    let config = Home::with(&text).load("ls").unwrap();
    assert_eq!(
        (config.keep_receipts, config.grace, config.listen.map(|at| at.to_string()).as_deref()),
        (Some(Duration::from_secs(365 * 86_400)), Duration::from_secs(60), Some("[::1]:9464"))
    );
}

#[test]
fn the_rate_of_all_uploads_is_limited_by_flag_or_key() {
    let off = Home::with(SERVICE).load("push a --dest /x").unwrap().limit_rate;
    assert_eq!(off, RateLimit::default());
    let home = Home::with(
        &SERVICE.replace("[service]", "[service]\nlimit_rate = { \"08:00\" = \"2MiB\", \"18:00\" = \"off\" }"),
    );
    let by_day = home.load("push a --dest /x").unwrap().limit_rate;
    let by_flag = home.load("push a --dest /x --limit-rate 1MiB").unwrap().limit_rate;
    assert!(by_day != off && by_flag != off && by_flag != by_day);
    for (value, why) in [
        ("10", "lacks a unit"),
        ("\"1B\"", "lowest rate"),
        ("{ \"8 o'clock\" = \"off\" }", "like 08:00"),
        ("{}", "no time"),
    ] {
        let home = Home::with(&SERVICE.replace("[service]", &format!("[service]\nlimit_rate = {value}")));
        let error = home.load("push a --dest /x").unwrap_err();
        assert!(error.contains("limit_rate in [service]") && error.contains(why), "{value}: {error}");
    }
}

#[cfg(feature = "sandbox")]
#[test]
fn the_sandbox_needs_no_account_and_uses_none() {
    let home = Home::with(&crate::support::who()).set("ASTRAN_BACKUP_REALM", "real").set("ASTRAN_BACKUP_PASSWORD", "x");
    for line in ["sandbox --sandbox", "ls --sandbox", "watch /w --dest /x --sandbox"] {
        let config = home.load(line).unwrap();
        assert!(config.service.api_url.host_str().unwrap().ends_with(".invalid"), "{line}");
        assert!(config.login.is_none(), "{line}");
    }
    assert!(home.load("ls --sandbox --realm x").unwrap_err().contains("--realm"));
}

#[test]
fn only_commands_that_ask_the_service_need_a_realm() {
    for line in ["history", "retry", "man"] {
        let service = Home::empty().load(line).unwrap().service;
        assert!(service.api_url.host_str().unwrap().ends_with(".invalid"), "{line}");
    }
    for line in ["ls", "check", "verify", "get /x", "push a --dest /x", "watch /w --dest /x"] {
        assert!(Home::empty().load(line).unwrap_err().contains("no realm"), "{line}");
    }
}

#[test]
fn who_is_told_of_trouble_is_read_and_nobody_is_by_default() {
    let nobody = Home::with(SERVICE).load("ls").unwrap().notify;
    assert!(!nobody.is_used() && nobody.on.words() == ["failed", "stuck", "login", "recovered"]);
    let text = format!(
        "{SERVICE}[notify]\non = [\"stuck\"]\nstuck_after = \"10m\"\nevery = \"1d\"\nurl = \"https://h/secret\"\nnames = true\n"
    );
    let notify = Home::with(&text).load("ls").unwrap().notify;
    assert!(notify.is_used() && notify.names && notify.on.words() == ["stuck"]);
    assert_eq!((notify.stuck_after, notify.every), (Duration::from_secs(600), Duration::from_secs(86_400)));
    assert!(!format!("{notify:?}").contains("secret"), "{notify:?}");
    for (text, why) in [
        ("on = [\"stock\"]", "did you mean `stuck`?"),
        ("ping = \"http://h/secret\"", "plain http"),
        ("evry = \"1h\"", "did you mean `every`?"),
    ] {
        let error = Home::with(&format!("{SERVICE}[notify]\n{text}\n")).load("ls").unwrap_err();
        assert!(error.contains(why) && !error.contains("secret"), "{error}");
    }
}
