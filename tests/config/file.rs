//! Where the configuration file is looked for, and the messages about its faults.

use std::path::Path;

use crate::support::{Home, SERVICE, dest};

#[test]
fn the_file_is_found_by_flag_variable_or_place() {
    let home = Home::with("[service]\nrealm = \"home\"\n");
    let other = home.write("other.toml", "[service]\nrealm = \"other\"\n", 0o600);
    home.write("xdg/astran-backup/config.toml", "[service]\nrealm = \"xdg\"\n", 0o600);
    assert_eq!(home.load("ls").unwrap().service.realm, "home");
    let xdg = home.path("xdg");
    let home = home.set("XDG_CONFIG_HOME", xdg);
    assert_eq!(home.load("ls").unwrap().service.realm, "xdg");
    let home = home.set("ASTRAN_BACKUP_CONFIG", &other);
    assert_eq!(home.load("ls").unwrap().service.realm, "other");
    let why = home.load("ls --config /no/such.toml").unwrap_err();
    assert!(why.contains("there is no configuration file /no/such.toml"), "{why}");
}

#[test]
fn a_fault_names_the_file_the_line_and_the_mend() {
    let home = Home::with("[service]\nrealm = \"r\"\n\n[upload]\nsetle = \"1s\"\n");
    let why = home.load("ls").unwrap_err();
    let begin = format!("{} line 5: unknown key `setle` in [upload]: did you mean `settle`?", home.config().display());
    assert_eq!(why, begin);
}

#[test]
fn a_file_that_others_can_read_or_change_is_refused() {
    for (mode, fine) in [(0o600, true), (0o640, true), (0o400, true), (0o644, false), (0o660, false), (0o602, false)] {
        let home = Home::bare();
        let path = home.write(".config/astran-backup/config.toml", SERVICE, mode);
        let loaded = home.load("ls");
        assert_eq!(loaded.is_ok(), fine, "{mode:o}");
        if let Err(why) = loaded {
            assert!(why.contains(&format!("chmod 600 {}", path.display())), "{why}");
        }
    }
}

#[test]
fn no_file_is_fine() {
    let home = Home::bare();
    if !Path::new("/etc/astran-backup/config.toml").exists() {
        let config = home.load("watch /w --dest /x --realm r").unwrap();
        assert_eq!((dest(&config).as_str(), config.folders.len()), ("/x", 1));
        assert!(config.login().unwrap_err().to_string().contains(home.config().to_str().unwrap()), "the file to write");
    }
}

#[test]
fn a_destination_takes_the_machines_name_and_a_name_that_leads_elsewhere_is_refused() {
    let with = |name: &str| {
        Home::with(&format!(
            "{SERVICE}[upload]\ndest = \"/Scans/{{host}}\"\n[fleet]\nname = \"{name}\"\n[[folder]]\npath = \"/w\"\n[[folder]]\n\
             path = \"/v\"\ndest = \"/{{host}}\"\n"
        ))
    };
    let config = with("scan-01").load("watch").unwrap();
    let of_folders = config.folders.iter().map(|folder| folder.policy.dest.as_ref().unwrap().to_string());
    assert_eq!(
        (dest(&config).as_str(), of_folders.collect::<Vec<_>>()),
        ("/Scans/scan-01", vec!["/Scans/scan-01".into(), "/scan-01".into()])
    );
    for bad in ["..", "a/b", ""] {
        let why = with(bad).load("watch").unwrap_err();
        assert!(why.contains("line") && why.contains("name in [fleet]"), "{why}");
    }
}
