//! A configuration file of any text is read, or refused with a message. What was read keeps the promises of `Config::load`.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::OnceLock;

use astran_backup::cli::Cli;
use astran_backup::config::overrides::{Overrides, Task};
use astran_backup::config::{Config, Environment};
use astran_backup::watch::settle::Rules;
use clap::Parser;

use crate::input::assert_harmless;

fn file() -> &'static PathBuf {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    // One file for each process, in a folder that only this user reads; the system cleans it up.
    FILE.get_or_init(|| tempfile::tempdir().unwrap().keep().join("config.toml"))
}

/// Parsed once, as that takes longer than all the rest.
fn command_lines() -> &'static [Overrides] {
    static LINES: OnceLock<Vec<Overrides>> = OnceLock::new();
    LINES.get_or_init(|| {
        let line = |command: &[&str]| {
            let file = file().to_str().unwrap();
            Cli::try_parse_from([&["astran-backup", "--config", file][..], command].concat())
                .unwrap()
                .overrides()
                .unwrap()
        };
        vec![line(&["watch"]), line(&["push", "x"])]
    })
}

pub(crate) fn run(data: &[u8]) {
    let mut options = OpenOptions::new();
    let mut written = options.write(true).create(true).truncate(true).mode(0o600).open(file()).unwrap();
    written.write_all(data).unwrap();
    drop(written);
    // The environment has no home, so that no file of this machine is read.
    let environment = Environment::new([("STATE_DIRECTORY", "/nonexistent/state")]);
    for overrides in command_lines() {
        match Config::load(overrides, &environment) {
            Ok(config) => check(&config, matches!(overrides.task, Task::Watch(_))),
            Err(error) => {
                let text = error.to_string();
                assert!(!text.is_empty() && text.len() < 100_000, "{text}");
                assert_harmless(&text);
            }
        }
    }
}

fn check(config: &Config, watches: bool) {
    if watches {
        assert!(!config.folders.is_empty());
        assert!(config.folders.iter().all(|folder| folder.policy.dest.is_some()));
    } else {
        assert!(config.upload.dest.is_some());
    }
    for policy in config.folders.iter().map(|folder| &folder.policy).chain([&config.upload]) {
        // The rules for settling accept every duration that the configuration accepts.
        let rules = Rules::new(policy.settle);
        assert!(rules.closed <= rules.empty && rules.created <= rules.empty);
    }
    assert!(matches!(config.service.api_url.scheme(), "http" | "https"));
    // A password in an address would be shown with the address.
    assert!(config.service.api_url.password().is_none() && config.service.auth_url.password().is_none());
}
