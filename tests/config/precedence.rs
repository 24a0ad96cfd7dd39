//! Precedence: flags over environment over file.

use astran_backup::config::Grant;
use proptest::prelude::*;

use crate::support::{Home, SERVICE, dest};

proptest! {
    #[test]
    fn flags_over_environment_over_file(flag: bool, variable: bool, file: bool) {
        let text = if file { "[service]\nrealm = \"file\"\n[upload]\ndest = \"/file\"\n[login]\nclient_id = \"file\"\nusername = \"file\"\n" } else { "" };
        let mut home = Home::with(text).set("ASTRAN_BACKUP_PASSWORD", "x");
        if variable {
            home = home.set("ASTRAN_BACKUP_REALM", "env").set("ASTRAN_BACKUP_DEST", "/env");
            home = home.set("ASTRAN_BACKUP_CLIENT_ID", "env").set("ASTRAN_BACKUP_USERNAME", "env");
        }
        let line = if flag { "push a --realm flag --dest /flag --client-id flag --username flag" } else { "push a" };
        let wins = [(flag, "flag"), (variable, "env"), (file, "file")].into_iter().find(|(given, _)| *given);
        match (home.load(line), wins) {
            (Ok(config), Some((_, who))) => {
                prop_assert_eq!(&config.service.realm, who);
                prop_assert_eq!(dest(&config), format!("/{who}"));
                prop_assert_eq!(config.service.api_url.as_str(), format!("https://{who}.api.s5.astran.io/"));
                let login = config.login().unwrap();
                prop_assert_eq!(&login.client_id, who);
                let ours = matches!(&login.grant, Grant::Password { username, .. } if username == who);
                prop_assert!(ours);
            }
            (Err(why), None) => prop_assert!(why.contains("--realm") && why.contains("ASTRAN_BACKUP_REALM"), "{}", why),
            (loaded, wins) => prop_assert!(false, "{:?} {:?}", loaded, wins),
        }
    }
}

#[test]
fn addresses_and_certificates_have_the_same_precedence() {
    let text = "[service]\nrealm = \"r\"\napi_url = \"https://file/p\"\nca_file = \"file.pem\"\n";
    let config = Home::with(text).load("ls").unwrap();
    assert_eq!(config.service.api_url.as_str(), "https://file/p");
    assert_eq!(config.service.auth_url.as_str(), "https://r.auth.astran.io/");
    assert_eq!(config.service.ca_file, Some("file.pem".into()));
    let home = Home::with(text).set("ASTRAN_BACKUP_API_URL", "https://env").set("ASTRAN_BACKUP_CA_FILE", "env.pem");
    let config = home.load("ls").unwrap();
    assert_eq!(config.service.api_url.as_str(), "https://env/");
    assert_eq!(config.service.ca_file, Some("env.pem".into()));
    let config = home.load("ls --api-url http://127.0.0.1:9 --ca-file flag.pem").unwrap();
    assert_eq!(config.service.api_url.as_str(), "http://127.0.0.1:9/");
    assert_eq!(config.service.ca_file, Some("flag.pem".into()));
}

#[test]
fn an_empty_variable_counts_as_unset() {
    let config = Home::with(SERVICE).set("ASTRAN_BACKUP_REALM", "").set("ASTRAN_BACKUP_CONFIG", "").load("ls").unwrap();
    assert_eq!(config.service.realm, "r");
}

#[test]
fn the_message_about_a_refused_address_does_not_repeat_it() {
    for (flag, variable) in [("--api-url", "ASTRAN_BACKUP_API_URL"), ("--auth-url", "ASTRAN_BACKUP_AUTH_URL")] {
        let bad = "https://me:hunter2@example.com";
        let by_flag = Home::with(SERVICE).load(&format!("ls {flag} {bad}")).unwrap_err();
        let by_variable = Home::with(SERVICE).set(variable, bad).load("ls").unwrap_err();
        assert!(by_flag.starts_with(flag) && by_variable.contains(variable), "{by_flag} {by_variable}");
        assert!(!by_flag.contains("hunter2") && !by_variable.contains("hunter2"));
        assert!(Home::with(SERVICE).load(&format!("ls {flag} http://example.com")).unwrap_err().contains("plain http"));
    }
}
