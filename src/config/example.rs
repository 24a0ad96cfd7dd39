//! Tests: `config.example.toml` lists every key, and what it says of the defaults is true.

use std::collections::BTreeSet;
use std::path::Path;

use super::keys::{KEYS, Table};
use super::parsed::Parsed;
use super::policy_builder::PolicyBuilder;
use super::{Config, Environment, Overrides, Policy};

const EXAMPLE: &str = include_str!("../../config.example.toml");

fn parse(text: &str) -> Parsed {
    Parsed::parse(Path::new("config.example.toml"), text).unwrap()
}

/// The example with its commented keys in force.
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
fn the_example_lists_every_key() {
    let text = uncommented();
    parse(&text);
    let mut shown = keys_of(&text);
    shown.remove(&("folder".into(), "dest".into()));
    let there_are: BTreeSet<_> = KEYS.iter().map(|(t, key, _)| (t.name().to_owned(), (*key).to_owned())).collect();
    assert_eq!(shown, there_are);
}

/// Serde's error about an unknown key lists the fields of the struct.
#[test]
fn the_list_of_keys_is_the_same_as_the_fields_of_the_structs() {
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
    assert_eq!(fields::<super::file::NotifyKeys>(), listed(Table::Notify));
    assert_eq!(fields::<super::file::FleetKeys>(), listed(Table::Fleet));
}

#[test]
fn the_values_in_the_example_are_the_defaults() {
    let parsed = parse(EXAMPLE);
    let mut upload = parsed.keys.upload.clone();
    assert_eq!(upload.dest.take().unwrap().to_string(), "/HR_Backup");
    let builder = PolicyBuilder::default().with_keys(&upload, str::to_owned).unwrap();
    assert_eq!(builder.policy, Policy::default());
    for shown in [
        "transfers",
        "max_size",
        "settle",
        "verify",
        "after",
        "on_conflict",
        "layout",
        "ignore",
        "exclude",
        "include",
        "min_age",
        "prune_empty",
        "rescan",
        "allow_unleased",
        "store_lag",
    ] {
        assert!(keys_of(EXAMPLE).contains(&("upload".into(), shown.into())), "{shown}");
    }
    assert_eq!(keys_of(EXAMPLE).iter().filter(|(table, _)| table == "upload").count(), 16, "a default untested here");

    let with = load_with(EXAMPLE);
    let bare = load_with("[service]\nrealm = \"my-realm\"\n");
    assert_eq!(with.service.content_type, bare.service.content_type);
    assert_eq!(with.service.api_url, bare.service.api_url);
    assert_eq!(with.service.auth_url, bare.service.auth_url);
    assert_eq!(with.grace, bare.grace);
    assert_eq!((with.listen, bare.listen), (None, None));
    assert_eq!((with.keep_receipts, with.anchor), (bare.keep_receipts, bare.anchor));
    assert_eq!(with.notify, bare.notify);
    assert_eq!(keys_of(EXAMPLE).iter().filter(|(table, _)| table == "notify").count(), 4, "a default untested here");
    assert_eq!(parsed.keys.login.grant, Some(super::file::GrantWord::Password));
    assert_eq!(with.folders[0].policy.dest.as_ref().unwrap().to_string(), "/HR_Backup");
}

#[test]
fn the_addresses_in_the_example_follow_from_the_realm() {
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
    let overrides = Overrides { file: Some(path), ..Overrides::default() };
    Config::load(&overrides, &Environment::new([("HOME", "/home/me")])).unwrap()
}
