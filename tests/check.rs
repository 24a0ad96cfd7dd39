//! `check`: a line for each thing that must hold, with what mends it, and the code of the first that does not.
#![cfg(feature = "sandbox")]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use astran_backup::sandbox::faults::{Call, Fault, Rule};
use support::{Said, World, said};

fn with_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A world with a configuration that names the watched folder and a password file.
fn configured() -> World {
    let world = World::new();
    let config = "[login]\npassword_file = \"password\"\n[[folder]]\npath = \"watched\"\ndest = \"/HR_Backup\"\n";
    for (name, content) in [("config.toml", config), ("password", "sandbox-password\n")] {
        std::fs::write(world.dir.path().join(name), content).unwrap();
        with_mode(&world.dir.path().join(name), 0o600);
    }
    world
}

fn check(world: &World, arguments: &[&str]) -> Said {
    let mut command = world.command();
    command.env_remove("ASTRAN_BACKUP_PASSWORD");
    said(command.args(["--config", "config.toml", "check"]).args(arguments))
}

/// The line of a step.
#[track_caller]
fn line<'a>(said: &'a Said, step: &str) -> &'a str {
    let found = said.stdout.lines().find(|line| line.split_once(' ').is_some_and(|(_, rest)| rest.starts_with(step)));
    found.unwrap_or_else(|| panic!("no line for {step}: {said:?}"))
}

#[test]
fn a_good_setup_is_all_ticks_and_leaves_no_trace() {
    let world = configured();
    world.put("sub/report.pdf", "content");
    let said = check(&world, &[]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stdout.lines().all(|line| line.starts_with('✓')), "{}", said.stdout);
    for (step, part) in [
        ("config", "config.toml"),
        ("password", "mode 600"),
        ("api address", "answers in"),
        ("login address", "answers in"),
        ("login:", "access tokens live for 5m, the session goes on if used within 30m"),
        ("user", "sandbox@example.com"),
        ("destination /HR_Backup", "id "),
        ("folder watched", "readable, files can be deleted, changes are told by events"),
        ("watches", "2 needed"),
        ("state", "the journal can be written"),
    ] {
        assert!(line(&said, step).contains(part), "{}", said.stdout);
    }
    assert!(!said.stdout.contains("sandbox-password"));
    assert_eq!(world.left(), [Path::new("sub/report.pdf")]);
    assert!(!world.watched().join(".astran-backup").exists(), "the probe is gone");
    let stats = world.sandbox().stats();
    assert_eq!((stats.logins["password"], stats.logouts, stats.uploads_stored), (1, 1, 0));
}

#[test]
fn json_is_one_object_a_line() {
    let world = configured();
    let said = check(&world, &["--json"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    for line in said.stdout.lines() {
        let object: serde_json::Value = serde_json::from_str(line).unwrap();
        let keys: Vec<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, ["detail", "mend", "ok", "step"]);
        assert_eq!(object["ok"], true, "{line}");
    }
}

#[test]
fn what_hangs_on_something_broken_says_that_it_was_not_tried() {
    let world = configured();
    world.faults().add(Rule { call: None, ..Rule::new(Call::Any, Fault::DisableUser) });
    let said = check(&world, &[]);
    assert_eq!(said.code, Some(3), "{said:?}");
    assert!(line(&said, "login:").starts_with('✗') && line(&said, "login:").contains("have it enabled"));
    assert_eq!(line(&said, "user"), "– user: not tried: there is no login");
    assert!(line(&said, "destination /HR_Backup").starts_with('–'));
    assert!(line(&said, "folder watched").starts_with('✓'), "what does not hang on it is tried");
    assert_eq!(world.sandbox().stats().requests["login"], 1, "one try");
}

#[test]
fn the_first_broken_thing_gives_the_code() {
    let world = configured();
    with_mode(&world.dir.path().join("password"), 0o644);
    let said = check(&world, &[]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(line(&said, "password").contains("chmod 600"), "{said:?}");
    assert_eq!(line(&said, "login:"), "– login: not tried: a secret is missing");
    assert_eq!(world.sandbox().stats().requests["login"], 0);

    let mut world = configured();
    world.stop_sandbox();
    let mut command = world.command();
    for variable in ["ASTRAN_BACKUP_API_URL", "ASTRAN_BACKUP_AUTH_URL"] {
        command.env(variable, "http://127.0.0.1:1");
    }
    command.env("ASTRAN_BACKUP_REALM", "r").env("ASTRAN_BACKUP_CLIENT_ID", "c").env("ASTRAN_BACKUP_USERNAME", "u");
    let away = support::said(command.args(["--config", "config.toml", "check"]));
    assert_eq!(away.code, Some(5), "{away:?}");
    assert!(line(&away, "api address").starts_with('✗') && line(&away, "login:").contains("can't be reached"));
}

#[test]
fn missing_folders_are_told_on_both_sides() {
    let world = configured();
    let config = std::fs::read_to_string(world.dir.path().join("config.toml")).unwrap();
    let elsewhere = config.replace("\"watched\"", "\"nowhere\"").replace("/HR_Backup", "/Nowhere");
    std::fs::write(world.dir.path().join("config.toml"), elsewhere).unwrap();
    let said = check(&world, &[]);
    assert_eq!(said.code, Some(4), "{said:?}");
    assert!(line(&said, "destination /Nowhere").starts_with('✗'), "{said:?}");
    assert!(line(&said, "folder nowhere").contains("is missing: make it"), "{said:?}");
}

#[test]
fn a_configuration_that_can_not_be_used_is_one_line_too() {
    let world = configured();
    std::fs::write(world.dir.path().join("config.toml"), "[login]\npasword_file = \"x\"\n").unwrap();
    let said = check(&world, &[]);
    assert_eq!(said.code, Some(2), "{said:?}");
    assert!(line(&said, "config").contains("password_file"), "{said:?}");
    assert!(line(&said, "everything else").starts_with('–'));
}

#[test]
fn a_folder_that_may_not_be_written_is_told_unless_files_are_kept() {
    if rustix::process::geteuid().is_root() {
        // Root may write everywhere.
        return;
    }
    let world = configured();
    with_mode(&world.watched(), 0o555);
    let said = check(&world, &[]);
    with_mode(&world.watched(), 0o755);
    assert_eq!(said.code, Some(4), "{said:?}");
    assert!(line(&said, "folder watched").contains("can't be deleted"), "{said:?}");
}

#[test]
fn the_sandbox_passes_without_any_configuration() {
    let world = World::new();
    let said = world.run(["check", "--sandbox"]);
    assert_eq!(said.code, Some(0), "{said:?}");
}

/// The program under other commands, with a configured world's environment.
fn check_under(world: &World, program: &str, arguments: &[&str]) -> Said {
    let inner = world.command();
    let mut command = std::process::Command::new(program);
    command.args(arguments).arg(inner.get_program()).args(["--config", "config.toml", "check"]);
    command.current_dir(world.dir.path()).env_clear();
    command.envs(inner.get_envs().filter_map(|(key, value)| Some((key, value?))));
    said(command.env_remove("ASTRAN_BACKUP_PASSWORD"))
}

/// Regression: "files can be deleted", and nothing of why they are set aside in another way.
#[test]
fn a_private_folder_that_can_not_be_used_is_told_and_no_failure() {
    let world = configured();
    std::fs::write(world.watched().join(".astran-backup"), "not a folder").unwrap();
    let said = check(&world, &[]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(line(&said, "folder watched").contains("files can be deleted"), "{said:?}");
    let told = line(&said, "private folder");
    assert!(told.starts_with('✓') && told.contains("beside their place; better: "), "{told}");

    std::fs::remove_file(world.watched().join(".astran-backup")).unwrap();
    std::fs::create_dir(world.watched().join(".astran-backup")).unwrap();
    with_mode(&world.watched().join(".astran-backup"), 0o755);
    assert!(line(&check(&world, &[]), "private folder").contains("chmod 700"), "others may enter it");
    with_mode(&world.watched().join(".astran-backup"), 0o700);
    assert!(!check(&world, &[]).stdout.contains("private folder"), "nothing is said where it can be used");
}

#[test]
fn what_is_mounted_below_a_folder_or_in_the_place_of_the_private_folder_is_told() {
    let world = configured();
    for folder in [".astran-backup", "disk", "layers"] {
        std::fs::create_dir(world.watched().join(folder)).unwrap();
    }
    for folder in ["lower", "upper", "work"] {
        std::fs::create_dir(world.dir.path().join(folder)).unwrap();
    }
    let mount = "mount -t tmpfs -o mode=700 none watched/.astran-backup && mount -t tmpfs none watched/disk && \
                 mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work watched/layers || exit 77; exec \"$@\"";
    let said = check_under(&world, "unshare", &["-rm", "sh", "-c", mount, "sh"]);
    if said.code == Some(77) || said.stderr.contains("unshare") {
        eprintln!("skipped: nothing can be mounted here");
        return;
    }
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(line(&said, "private folder").contains("another file system"), "{said:?}");
    let mounts: Vec<_> = said.stdout.lines().filter(|line| line.starts_with("✓ mount ")).collect();
    assert!(mounts.len() == 1 && mounts[0].contains("layers") && mounts[0].contains("quiet for 10 s"), "{mounts:?}");
}

/// Regression: "writers are told by leases", though only those of this user's own files were.
#[test]
fn a_process_that_may_take_no_lease_on_files_of_others_says_so() {
    let world = configured();
    let setpriv = ["--bounding-set", "-lease", "--inh-caps", "-lease", "--"];
    let said = check_under(&world, "setpriv", &setpriv);
    if !rustix::process::geteuid().is_root() || said.stdout.is_empty() {
        eprintln!("skipped: no capability can be taken away here");
        return;
    }
    assert!(!line(&said, "folder watched").contains("better"), "nobody else may put files there: {said:?}");
    with_mode(&world.watched(), 0o777);
    let said = check_under(&world, "setpriv", &setpriv);
    let told = line(&said, "folder watched");
    assert!(told.contains("files of other users") && told.contains("AmbientCapabilities=CAP_LEASE"), "{told}");
    assert_eq!(said.code, Some(0), "{said:?}");
}

#[test]
fn a_state_directory_that_others_may_read_is_told() {
    let world = configured();
    let state = world.state().join("astran-backup");
    std::fs::create_dir_all(&state).unwrap();
    with_mode(&state, 0o755);
    let said = check(&world, &[]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(line(&said, "state").contains("chmod 700"), "{said:?}");
}
