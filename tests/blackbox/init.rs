//! `init`: asks, tries, and writes a configuration that works; and writes nothing where it is ended before.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::support::terminal::Terminal;
use crate::support::{Output, World, files_below, run_to_end};

/// `init` without variables of the service, writing into a folder of the test's own. The tests run as root too, whose usual place is /etc.
fn init(world: &World, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_astran-backup"));
    command
        .env_clear()
        .current_dir(world.dir.path())
        .env("HOME", world.dir.path())
        .env("XDG_STATE_HOME", world.state());
    command.args(["init", "--config", "conf/config.toml"]).args(arguments);
    command.args(["--auth-url", &world.access.auth_url, "--api-url", &world.access.api_url]);
    command
}

/// The same with all flags, without a terminal, and with the password on standard input.
fn scripted(world: &World, changed: &[&str], password: &str) -> Output {
    let access = &world.access;
    let mut arguments =
        vec!["--realm", &access.realm, "--client-id", &access.client_id, "--username", &access.username];
    arguments.extend(["--folder", "watched", "--dest", "/HR_Backup", "--password-stdin"]);
    for change in changed.chunks(2) {
        let at = arguments.iter().position(|argument| *argument == change[0]).unwrap();
        arguments[at + 1] = change[1];
    }
    let typed = world.dir.path().join("typed");
    fs::File::create(&typed).unwrap().write_all(format!("{password}\n").as_bytes()).unwrap();
    run_to_end(init(world, &[&arguments[..], &["--json"]].concat()).stdin(fs::File::open(typed).unwrap()))
}

fn written(world: &World) -> Vec<PathBuf> {
    let mut files = files_below(&world.dir.path().join("conf"));
    files.sort();
    files
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

/// The program with nothing but the configuration that was written.
fn with_configuration(world: &World, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_astran-backup"));
    command.env_clear().current_dir("/").env("HOME", world.dir.path()).env("XDG_STATE_HOME", world.state());
    let config = world.dir.path().join("conf/config.toml");
    run_to_end(command.args(arguments).arg("--config").arg(config).stdin(Stdio::null()))
}

#[test]
fn a_person_answers_and_the_configuration_works_as_it_is() {
    let world = World::new();
    world.put("letter", "a letter");
    world.put("draft.tmp", "a draft");
    let mut terminal = Terminal::start(&mut init(&world, &[]));
    terminal.answer("Realm", &world.access.realm);
    // The addresses are given by flags.
    terminal.answer("Client id", &world.access.client_id);
    terminal.answer("User", &world.access.username);
    terminal.wait_for("Password");
    terminal.wait_for(": ");
    assert!(!terminal.echoes());
    terminal.type_keys("wrong-secret\n");
    terminal.wait_for("✗");
    terminal.answer("Client id", "");
    terminal.answer("User", "");
    terminal.answer("Password", &world.access.password);
    terminal.answer("Folder to watch", "watched");
    terminal.wait_for("The vault has /HR_Backup");
    terminal.answer("[/HR_Backup]", "");
    let echoes = terminal.echoes();
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(0), "{shown}");
    assert!(echoes, "what is typed is shown again");
    assert!(
        shown.contains("1 file (8 bytes) would go from ") && shown.contains(" to /HR_Backup now; 1 ignored"),
        "{shown}"
    );
    assert!(shown.contains("astran-backup check --config "), "{shown}");
    assert!(!shown.contains(&world.access.password) && !shown.contains("wrong-secret"), "{shown}");
    assert_eq!(world.sandbox().stats().refused_logins, 1);
    assert_eq!(written(&world), ["config.toml", "password"].map(PathBuf::from));
    for file in written(&world) {
        assert_eq!(mode(&world.dir.path().join("conf").join(file)), 0o600);
    }
    assert_eq!(with_configuration(&world, &["watch", "--once"]).code, Some(0));
    assert_eq!(world.stored("/HR_Backup/letter").unwrap(), b"a letter");
    let config = fs::read_to_string(world.dir.path().join("conf/config.toml")).unwrap();
    assert!(!config.contains(&world.access.password));
}

#[test]
fn ctrl_d_and_ctrl_c_at_a_question_write_nothing_and_show_typing_again() {
    let world = World::new();
    let mut terminal = Terminal::start(&mut init(&world, &["--realm", &world.access.realm]));
    terminal.wait_for("Client id: ");
    terminal.type_keys("\x04");
    let (code, shown) = terminal.end();
    assert!(code == Some(130) && shown.contains("Nothing was written"), "{code:?} {shown}");
    let login = ["--realm", &world.access.realm, "--client-id", &world.access.client_id, "--username", "me"];
    let mut terminal = Terminal::start(&mut init(&world, &login));
    terminal.wait_for("Password (not shown): ");
    assert!(!terminal.echoes());
    assert!(Command::new("kill").args(["-INT", &terminal.pid().to_string()]).status().unwrap().success());
    terminal.wait_for("Nothing was written");
    assert!(terminal.echoes());
    assert_eq!(terminal.end().0, Some(130));
    assert!(!world.dir.path().join("conf").exists());
}

#[test]
fn a_script_gives_flags_and_gets_an_event_and_a_second_run_replaces_nothing() {
    let world = World::new();
    let output = scripted(&world, &[], &world.access.password);
    assert_eq!(output.code, Some(0), "{output:?}");
    let event = &output.events("init")[0];
    assert_eq!(
        (&event["files"], &event["complete"], &event["remote_path"]),
        (&0.into(), &true.into(), &"/HR_Backup".into())
    );
    assert!(event["next"][1].as_str().unwrap().starts_with("astran-backup watch --config /"), "{event}");
    assert_eq!(with_configuration(&world, &["check"]).code, Some(0));
    let before = fs::read(world.dir.path().join("conf/config.toml")).unwrap();
    let again = scripted(&world, &[], &world.access.password);
    assert_eq!((again.code, again.events("error")[0]["code"].as_str()), (Some(1), Some("exists")), "{again:?}");
    assert_eq!(fs::read(world.dir.path().join("conf/config.toml")).unwrap(), before);
}

#[test]
fn what_does_not_work_ends_a_script_with_its_exit_code_and_writes_nothing() {
    let world = World::new();
    let right = world.access.password.clone();
    let rows: [(&[&str], &str, i32, &str); 6] = [
        (&["--realm", "another"], &right, 5, "no such realm"),
        (&[], "wrong-secret", 3, "refused"),
        (&["--folder", "new"], &right, 4, "--yes"),
        (&["--folder", "."], &right, 2, ""),
        (&["--dest", "/None"], &right, 4, "HR_Backup"),
        (&["--dest", "/../x"], &right, 2, "--dest"),
    ];
    for (changed, password, code, part) in rows {
        let output = scripted(&world, changed, password);
        assert_eq!(output.code, Some(code), "{changed:?}: {output:?}");
        let error = output.events("error")[0]["message"].as_str().unwrap().to_owned();
        assert!(error.contains(part) && !error.contains(password), "{error}");
    }
    assert!(written(&world).is_empty() && !world.dir.path().join("new").exists());
    let lacking = run_to_end(init(&world, &["--realm", &world.access.realm]).stdin(Stdio::null()));
    assert!(lacking.code == Some(2) && lacking.stderr.contains("--client-id"), "{lacking:?}");
    let sandbox = run_to_end(init(&world, &["--sandbox"]).stdin(Stdio::null()));
    assert!(sandbox.code == Some(2) && sandbox.stderr.contains("needs no configuration"), "{sandbox:?}");
}

#[test]
fn a_missing_folder_is_made_and_a_password_file_that_is_there_is_used_as_it_is() {
    let world = World::new();
    let password = world.dir.path().join("secret");
    fs::write(&password, format!("{}\n", world.access.password)).unwrap();
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
    let access = &world.access;
    let arguments = ["--realm", &access.realm, "--client-id", &access.client_id, "--username", &access.username];
    let rest = ["--folder", "new/scans", "--yes", "--dest", "/HR_Backup", "--password-file", "secret"];
    let output = run_to_end(init(&world, &[&arguments[..], &rest].concat()).stdin(Stdio::null()));
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(mode(&world.dir.path().join("new/scans")), 0o700);
    assert_eq!(written(&world), ["config.toml"].map(PathBuf::from));
    assert_eq!(with_configuration(&world, &["watch", "--once"]).code, Some(0));
}
