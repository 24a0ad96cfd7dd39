//! Tests: `config.example.toml` is complete, and true.

use std::collections::BTreeSet;
use std::path::Path;

use super::keys::{KEYS, Table};
use super::parsed::Parsed;
use super::policy::PolicyBuilder;
use super::{Config, Environment, Policy};
use crate::cli::Cli;
use clap::Parser;

const EXAMPLE: &str = include_str!("../../config.example.toml");

fn parse(text: &str) -> Parsed {
    Parsed::parse(Path::new("config.example.toml"), text).unwrap()
}

/// With its optional keys in force.
fn uncommented() -> String {
    EXAMPLE
        .lines()
        .map(|line| {
            line.strip_prefix('#').filter(|rest| rest.contains(" = ") && !rest.starts_with(' ')).unwrap_or(line)
        })
        .fold(String::new(), |text, line| text + line + "\n")
}

fn keys_of(text: &str) -> BTreeSet<(String, String)> {
    let tables: toml::Table = toml::from_str(text).unwrap();
    let mut keys = BTreeSet::new();
    for (name, value) in tables {
        let table = value.as_array().map_or(&value, |tables| &tables[0]).as_table().unwrap().clone();
        keys.extend(table.into_iter().map(|(key, _)| (name.clone(), key)));
    }
    keys
}

#[test]
fn it_lists_every_key() {
    let text = uncommented();
    parse(&text);
    let mut shown = keys_of(&text);
    shown.remove(&("folder".into(), "dest".into()));
    let there_are: BTreeSet<_> = KEYS.iter().map(|(t, key, _)| (t.name().to_owned(), (*key).to_owned())).collect();
    assert_eq!(shown, there_are);
}

/// The fields that serde knows are the keys of the list: a struct that refuses a key tells which it takes.
#[test]
fn the_list_of_keys_is_that_of_the_structs() {
    fn fields<T: serde::de::DeserializeOwned>() -> BTreeSet<String> {
        let why = toml::from_str::<T>("\"no such key\" = 1").err().unwrap().message().to_owned();
        let (_, expected) = why.split_once("expected").unwrap();
        expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }
    let listed = |table: Table| table.keys().map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!(fields::<super::file::ServiceKeys>(), listed(Table::Service));
    assert_eq!(fields::<super::file::LoginKeys>(), listed(Table::Login));
    assert_eq!(fields::<super::file::UploadKeys>(), listed(Table::Folder));
    assert_eq!(fields::<super::file::DaemonKeys>(), listed(Table::Daemon));
    assert_eq!(fields::<super::file::JournalKeys>(), listed(Table::Journal));
}

#[test]
fn what_it_shows_in_force_is_the_default() {
    let written = parse(EXAMPLE);
    let mut upload = written.keys.upload.clone();
    assert_eq!(upload.dest.take().unwrap().to_string(), "/HR_Backup");
    let draft = PolicyBuilder::default().with_keys(&upload, str::to_owned).unwrap();
    assert_eq!(draft.policy, Policy::default());
    for shown in [
        "transfers",
        "max_size",
        "settle",
        "verify",
        "after",
        "on_conflict",
        "layout",
        "ignore",
        "rescan",
        "allow_unleased",
        "store_lag",
    ] {
        assert!(keys_of(EXAMPLE).contains(&("upload".into(), shown.into())), "{shown}");
    }
    assert_eq!(keys_of(EXAMPLE).iter().filter(|(table, _)| table == "upload").count(), 12, "a default untested here");

    let with = load_with(EXAMPLE);
    let bare = load_with("[service]\nrealm = \"my-realm\"\n");
    assert_eq!(with.service.content_type, bare.service.content_type);
    assert_eq!(with.service.api_url, bare.service.api_url);
    assert_eq!(with.service.auth_url, bare.service.auth_url);
    assert_eq!(with.grace, bare.grace);
    assert_eq!((with.listen, bare.listen), (None, None));
    assert_eq!((with.keep_receipts, with.anchor), (bare.keep_receipts, bare.anchor));
    assert_eq!(written.keys.login.grant, Some(super::file::GrantWord::Password));
    assert_eq!(with.folders[0].policy.dest.as_ref().unwrap().to_string(), "/HR_Backup");
}

#[test]
fn the_addresses_it_shows_follow_from_the_realm() {
    let keys = parse(&uncommented()).keys.service;
    let config = load_with(EXAMPLE);
    assert_eq!((keys.api_url.unwrap(), keys.auth_url.unwrap()), (config.service.api_url, config.service.auth_url));
}

fn load_with(text: &str) -> Config {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("config.toml");
    std::fs::write(&path, text).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&path, mode).unwrap();
    let cli = Cli::parse_from(["astran-backup".as_ref(), "check".as_ref(), "--config".as_ref(), path.as_os_str()]);
    Config::load(&cli, &Environment::new([("HOME", "/home/me")])).unwrap()
}
