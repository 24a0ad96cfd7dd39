//! Where the password comes from, and what an incomplete login lacks.

use std::path::Path;

use astran_backup::config::{Config, Grant};
use astran_backup::secret::Source;

use crate::support::{Home, SERVICE, typed, who};

fn password(home: &Home, line: &str) -> Source {
    match home.load(line).unwrap().login().unwrap().grant.clone() {
        Grant::Password { password, .. } => password,
        Grant::ClientCredentials => panic!("no password"),
    }
}

#[test]
fn the_password_comes_from_flag_variable_file_credential_or_prompt() {
    let home = Home::with(&who());
    let why = home.load("ls").unwrap().login().unwrap_err().to_string();
    assert!(why.contains("no password") && why.contains("password_file") && !why.contains("client_id"), "{why}");
    let asked = Config::load(&typed("ls").overrides().unwrap(), &home.environment().at_terminal()).unwrap();
    assert!(format!("{asked:?}").contains("asked for on the terminal"));

    home.write("creds/astran-backup.password", "x", 0o400);
    let creds = home.path("creds");
    let home = home.set("CREDENTIALS_DIRECTORY", &creds);
    assert_eq!(password(&home, "ls").path(), Some(creds.join("astran-backup.password").as_path()));
    home.write("creds/password", "x", 0o400);
    assert_eq!(password(&home, "ls").path(), Some(creds.join("password").as_path()));

    home.write(".config/astran-backup/config.toml", &(who() + "password_file = \"/from/file\"\n"), 0o600);
    assert_eq!(password(&home, "ls").path(), Some(Path::new("/from/file")));
    let named = creds.join("password");
    let handed_over = password(&home, &format!("ls --password-file {}", named.display()));
    assert!(matches!(handed_over, Source::Credential(path) if path == named));
    let home = home.set("ASTRAN_BACKUP_PASSWORD", "hunter2");
    assert!(matches!(password(&home, "ls"), Source::Given(_)));
    assert_eq!(password(&home, "ls --password-file /from/flag").path(), Some(Path::new("/from/flag")));
}

#[test]
fn no_debug_output_shows_a_secret() {
    let home = Home::with(&who()).set("ASTRAN_BACKUP_PASSWORD", "hunter2");
    let config = home.load("ls").unwrap();
    let output = format!("{config:?} {config:#?} {:?}", home.environment());
    assert!(!output.contains("hunter2"), "{output}");
}

#[test]
fn the_message_about_an_incomplete_login_says_what_is_missing_and_how_to_give_it() {
    let why = Home::with(SERVICE).load("ls").unwrap().login().unwrap_err().to_string();
    for part in
        ["no client_id (give --client-id, ASTRAN_BACKUP_CLIENT_ID", "no username (give --username", "no password (give"]
    {
        assert!(why.contains(part), "{part}: {why}");
    }
    let two = who() + "password_file = \"/a\"\npassword_command = [\"b\"]\n";
    let why = Home::with(&two).load("ls").unwrap_err();
    assert!(why.contains("line 7: password_command in [login]") && why.contains("contradict"), "{why}");
}

#[test]
fn a_client_can_log_in_for_itself() {
    let text = format!("{SERVICE}[login]\nclient_id = \"c\"\ngrant = \"client_credentials\"\n");
    let why = Home::with(&text).load("ls").unwrap().login().unwrap_err().to_string();
    assert!(why.contains("client_secret_file") && !why.contains("username"), "{why}");
    let home = Home::with(&(text + "client_secret_file = \"/s\"\n"));
    let config = home.load("ls").unwrap();
    let login = config.login().unwrap();
    assert!(matches!(login.grant, Grant::ClientCredentials));
    assert_eq!(login.client_secret.as_ref().unwrap().path(), Some(Path::new("/s")));
    assert!(home.load("ls --username u").unwrap_err().contains("client_credentials"));
}
