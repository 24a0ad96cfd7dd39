//! Command line and configuration, as a person meets them: what wins, what is refused, and in which words.

#![allow(clippy::unwrap_used)] // helpers outside test functions

use std::ffi::{OsStr, OsString};
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use astran_backup::cli::{Cli, Command};
use astran_backup::config::{After, Config, Environment, Grant, Transfers, Verify};
use astran_backup::exit::{Exit, Fatal};
use astran_backup::secret::Source;
use clap::Parser;
use proptest::prelude::*;
use tempfile::TempDir;

/// A home of its own for each test, with a configuration file or none.
struct Home {
    temp: TempDir,
    variables: Vec<(OsString, OsString)>,
}

impl Home {
    fn bare() -> Self {
        let temp = tempfile::tempdir().unwrap();
        let variables = vec![("HOME".into(), temp.path().into())];
        Self { temp, variables }
    }

    /// With an empty file, so that none of the machine's is found.
    fn empty() -> Self {
        Self::with("")
    }

    fn with(text: &str) -> Self {
        let home = Self::bare();
        home.write(".config/astran-backup/config.toml", text, 0o600);
        home
    }

    fn set(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.variables.push((name.into(), value.as_ref().to_owned()));
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join(name)
    }

    fn config(&self) -> PathBuf {
        self.path(".config/astran-backup/config.toml")
    }

    fn write(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    fn environment(&self) -> Environment {
        Environment::new(self.variables.clone())
    }

    fn load(&self, line: &str) -> Result<Config, String> {
        Config::load(&typed(line), &self.environment()).map_err(|e| {
            let fatal = Fatal::from(e);
            assert_eq!(fatal.exit, Exit::Usage);
            fatal.message
        })
    }
}

fn typed(line: &str) -> Cli {
    Cli::try_parse_from(std::iter::once("astran-backup").chain(line.split_whitespace())).unwrap()
}

fn refused(line: &str) -> clap::Error {
    Cli::try_parse_from(std::iter::once("astran-backup").chain(line.split_whitespace())).unwrap_err()
}

fn dest(config: &Config) -> String {
    config.upload.dest.as_ref().unwrap().to_string()
}

const SERVICE: &str = "[service]\nrealm = \"r\"\n";

// --- the command line ---

#[test]
fn the_grammar_is_sound() {
    Cli::grammar().debug_assert();
}

#[test]
fn slips_end_with_two_and_help_with_zero() {
    for line in [
        "",
        "wach",
        "push",
        "watch --keep --move-to x",
        "push a --delete --move-to x",
        "watch --transfers 0",
        "ls -v -q",
    ] {
        assert_eq!(refused(line).exit_code(), 2, "{line}");
    }
    for line in ["--help", "--version", "watch --help", "help push"] {
        assert_eq!(refused(line).exit_code(), 0, "{line}");
    }
}

#[test]
fn help_lists_the_exit_codes() {
    let help = refused("--help").to_string();
    for line in
        ["  0  all done", "  6  another", "130  interrupted", "astran-backup watch ./TemporaryFolder --dest /HR_Backup"]
    {
        assert!(help.contains(line), "{line}");
    }
}

#[test]
fn there_is_no_flag_for_a_password() {
    for line in ["ls --password hunter2", "ls --password=hunter2", "--password=hunter2 ls"] {
        let said = refused(line).to_string();
        assert!(said.contains("--password-file") && !said.contains("hunter2"), "{said}");
    }
}

#[test]
fn names_need_not_be_text_nor_tame() {
    let odd = OsStr::from_bytes(b"\xff.pdf");
    let line = [
        "astran-backup".as_ref(),
        "push".as_ref(),
        "--dest".as_ref(),
        "/x".as_ref(),
        "--".as_ref(),
        odd,
        "-v".as_ref(),
    ];
    let Command::Push(push) = Cli::try_parse_from(line).unwrap().command else { panic!("push") };
    assert_eq!(push.files, [Path::new(odd), Path::new("-v")]);
}

#[test]
fn a_daemon_says_more_than_a_command() {
    use tracing::Level;
    let rows = [
        ("watch", Level::INFO),
        ("watch --once", Level::WARN),
        ("ls", Level::WARN),
        ("ls -v", Level::DEBUG),
        ("-vv watch", Level::TRACE),
        ("watch -q", Level::ERROR),
    ];
    for (line, level) in rows {
        assert_eq!(typed(line).level(), level, "{line}");
    }
}

// --- what wins ---

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
fn addresses_and_certificates_win_likewise() {
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
fn an_empty_variable_is_none() {
    let config = Home::with(SERVICE).set("ASTRAN_BACKUP_REALM", "").set("ASTRAN_BACKUP_CONFIG", "").load("ls").unwrap();
    assert_eq!(config.service.realm, "r");
}

#[test]
fn addresses_that_are_refused_are_not_repeated() {
    for (flag, variable) in [("--api-url", "ASTRAN_BACKUP_API_URL"), ("--auth-url", "ASTRAN_BACKUP_AUTH_URL")] {
        let bad = "https://me:hunter2@example.com";
        let by_flag = Home::with(SERVICE).load(&format!("ls {flag} {bad}")).unwrap_err();
        let by_variable = Home::with(SERVICE).set(variable, bad).load("ls").unwrap_err();
        assert!(by_flag.starts_with(flag) && by_variable.contains(variable), "{by_flag} {by_variable}");
        assert!(!by_flag.contains("hunter2") && !by_variable.contains("hunter2"));
        assert!(Home::with(SERVICE).load(&format!("ls {flag} http://example.com")).unwrap_err().contains("plain http"));
    }
}

// --- the file ---

#[test]
fn where_the_file_is_looked_for() {
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
fn faults_name_the_file_the_line_and_the_mend() {
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

// --- login ---

fn password(home: &Home, line: &str) -> Source {
    match home.load(line).unwrap().login().unwrap().grant.clone() {
        Grant::Password { password, .. } => password,
        Grant::ClientCredentials => panic!("no password"),
    }
}

fn who() -> String {
    format!("{SERVICE}[login]\nclient_id = \"c\"\nusername = \"u\"\n")
}

#[test]
fn where_the_password_comes_from() {
    let home = Home::with(&who());
    let why = home.load("ls").unwrap().login().unwrap_err().to_string();
    assert!(why.contains("no password") && why.contains("password_file") && !why.contains("client_id"), "{why}");
    let asked = Config::load(&typed("ls"), &home.environment().at_terminal()).unwrap();
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
fn nothing_secret_is_in_what_is_printed() {
    let home = Home::with(&who()).set("ASTRAN_BACKUP_PASSWORD", "hunter2");
    let config = home.load("ls").unwrap();
    let said = format!("{config:?} {config:#?} {:?}", home.environment());
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn what_a_login_lacks() {
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

// --- policies and folders ---

#[test]
fn a_folder_has_the_upload_policy_but_for_its_own_keys_and_the_flags() {
    let text = format!(
        "{SERVICE}[upload]\ndest = \"/all\"\nsettle = \"2s\"\nafter = \"keep\"\n\
         [[folder]]\npath = \"/w/a\"\n[[folder]]\npath = \"/w/b\"\ndest = \"/own\"\nafter = \"delete\"\nverify = \"listing\"\n"
    );
    let home = Home::with(&text);
    let config = home.load("watch").unwrap();
    let (a, b) = (&config.folders[0].policy, &config.folders[1].policy);
    assert_eq!((a.settle, b.settle), (Duration::from_secs(2), Duration::from_secs(2)));
    assert_eq!((&a.after, &b.after), (&After::Keep, &After::Delete));
    assert_eq!((a.verify, b.verify), (Verify::Answer, Verify::Listing));
    assert_eq!(b.dest.as_ref().unwrap().to_string(), "/own");

    let config = home.load("watch --verify content --transfers 3 --settle 1m --move-to /m --ignore *.bak").unwrap();
    for folder in &config.folders {
        assert_eq!(folder.policy.verify, Verify::Content);
        assert_eq!(folder.policy.transfers, Transfers::Fixed(3));
        assert_eq!(folder.policy.settle, Duration::from_secs(60));
        assert_eq!(folder.policy.after, After::Move("/m".into()));
        assert!(
            folder.policy.ignore.iter().any(|g| g == "*.part") && folder.policy.ignore.iter().any(|g| g == "*.bak")
        );
    }

    let home = home.set("ASTRAN_BACKUP_DEST", "/env");
    let config = home.load("watch").unwrap();
    assert_eq!(config.folders[0].policy.dest.as_ref().unwrap().to_string(), "/env");
    assert_eq!(
        config.folders[1].policy.dest.as_ref().unwrap().to_string(),
        "/own",
        "a variable must not mix folders up"
    );
}

#[test]
fn a_named_directory_is_watched_alone() {
    let home =
        Home::with(&format!("{SERVICE}[upload]\ndest = \"/all\"\n[[folder]]\npath = \"/w/a\"\ndest = \"/own\"\n"));
    let config = home.load("watch /w/other").unwrap();
    assert_eq!(config.folders.len(), 1);
    assert_eq!(config.folders[0].path, Path::new("/w/other"));
    assert_eq!(config.folders[0].policy, config.upload);
    let config = home.load("watch /w/./a/").unwrap();
    assert_eq!(config.folders[0].policy.dest.as_ref().unwrap().to_string(), "/own", "it is the folder of the file");
}

#[test]
fn push_keeps_unless_told_otherwise() {
    let home = Home::with(&format!("{SERVICE}[upload]\ndest = \"/all\"\nafter = \"delete\"\n"));
    assert_eq!(home.load("push a").unwrap().upload.after, After::Keep);
    assert_eq!(home.load("push a --delete").unwrap().upload.after, After::Delete);
    assert_eq!(home.load("push a --move-to m").unwrap().upload.after, After::Move("m".into()));
}

#[test]
fn what_does_not_fit_together() {
    let rows = [
        ("", "watch", "astran-backup watch DIR"),
        ("", "watch", "[[folder]]"),
        ("", "watch /w", "no destination for /w: give --dest"),
        ("", "push a", "no destination: give --dest"),
        ("", "push - --dest /x", "--name"),
        ("", "push - - --dest /x --name n", "once"),
        ("", "push a b --dest /x --name n", "one document"),
        ("", "push - --dest /x --name n --delete", "can't be deleted"),
        ("[upload]\nafter = \"move\"\n", "ls", "line 4: after in [upload]: \"move\" needs a folder"),
        ("[upload]\nmove_to = \"m\"\n", "ls", "line 4: move_to in [upload]: files would not be moved"),
        ("[[folder]]\ndest = \"/x\"\n", "ls", "path in [[folder]] number 1 is missing"),
        ("[[folder]]\npath = \"/w\"\n[[folder]]\npath = \"/w/in\"\n", "ls", "/w/in lies in /w"),
        ("[[folder]]\npath = \"/w\"\n[[folder]]\npath = \"/w/../w\"\n", "ls", "is the same folder"),
        (
            "[[folder]]\npath = \"/w\"\nafter = \"move\"\nmove_to = \"/w/done\"\n",
            "ls",
            "move_to (/w/done) lies in the watched folder /w",
        ),
        ("[[folder]]\npath = \"/w\"\nfailed_dir = \"/w/bad\"\n", "ls", "failed_dir (/w/bad)"),
        ("[[folder]]\npath = \"/w\"\n", "ls --state-dir /w/state", "the folder of the journal (/w/state)"),
        (
            "[login]\nclient_id = \"c\"\nusername = \"u\"\npassword_file = \"/w/p\"\n[[folder]]\npath = \"/w\"\n",
            "ls",
            "a file with a secret (/w/p)",
        ),
        ("", "watch /w --dest /x --failed-dir /w/bad", "failed_dir (/w/bad)"),
    ];
    for (text, line, part) in rows {
        let why = Home::with(&format!("{SERVICE}{text}")).load(line).unwrap_err();
        assert!(why.contains(part), "{line} with {text}: {why}");
    }
}

#[test]
fn the_file_that_configures_is_not_uploaded() {
    let home = Home::with(&format!("{SERVICE}[upload]\ndest = \"/x\"\n"));
    let config = home.config();
    let why = home.load(&format!("watch {}", config.parent().unwrap().display())).unwrap_err();
    assert!(why.contains("the configuration file"), "{why}");
}

// --- the rest ---

#[test]
fn where_the_journal_lies() {
    let home = Home::with(SERVICE);
    assert_eq!(home.load("ls").unwrap().state_dir, home.path(".local/state/astran-backup"));
    let home = home.set("XDG_STATE_HOME", "/xdg");
    assert_eq!(home.load("ls").unwrap().state_dir, Path::new("/xdg/astran-backup"));
    let home = home.set("STATE_DIRECTORY", "/var/lib/one:/var/lib/two");
    assert_eq!(home.load("ls").unwrap().state_dir, Path::new("/var/lib/one"));
    assert_eq!(home.load("ls --state-dir s").unwrap().state_dir, Path::new("s"));
    let config = Environment::new([("ASTRAN_BACKUP_CONFIG", home.config())]);
    let nowhere = Config::load(&typed("history"), &config).unwrap_err().to_string();
    assert!(nowhere.contains("--state-dir"), "{nowhere}");
}

#[test]
fn receipts_grace_and_where_to_listen() {
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

#[cfg(feature = "sandbox")]
#[test]
fn the_sandbox_needs_no_account_and_uses_none() {
    let home = Home::with(&who()).set("ASTRAN_BACKUP_REALM", "real").set("ASTRAN_BACKUP_PASSWORD", "x");
    for line in ["sandbox --sandbox", "ls --sandbox", "watch /w --dest /x --sandbox"] {
        let config = home.load(line).unwrap();
        assert!(config.service.api_url.host_str().unwrap().ends_with(".invalid"), "{line}");
        assert!(config.login.is_none(), "{line}");
    }
    assert!(home.load("ls --sandbox --realm x").unwrap_err().contains("--realm"));
}

#[test]
fn what_asks_no_service_needs_no_realm() {
    for line in ["history", "retry", "man"] {
        let service = Home::empty().load(line).unwrap().service;
        assert!(service.api_url.host_str().unwrap().ends_with(".invalid"), "{line}");
    }
    for line in ["ls", "check", "verify", "get /x", "push a --dest /x", "watch /w --dest /x"] {
        assert!(Home::empty().load(line).unwrap_err().contains("no realm"), "{line}");
    }
}
