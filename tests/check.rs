//! `check` prints a line for each step, with the mend if it is broken, and ends with the exit code of the first broken step.
#![cfg(feature = "sandbox")]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use astran_backup::sandbox::faults::{Call, Fault, Rule};
use support::{Output, World, run_to_end};

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

fn check(world: &World, arguments: &[&str]) -> Output {
    let mut command = world.command();
    command.env_remove("ASTRAN_BACKUP_PASSWORD");
    run_to_end(command.args(["--config", "config.toml", "check"]).args(arguments))
}

/// The line of a step.
#[track_caller]
fn line<'a>(output: &'a Output, step: &str) -> &'a str {
    let found = output.stdout.lines().find(|line| line.split_once(' ').is_some_and(|(_, rest)| rest.starts_with(step)));
    found.unwrap_or_else(|| panic!("no line for {step}: {output:?}"))
}

#[test]
fn a_good_setup_gets_only_ticks_and_check_leaves_no_trace() {
    let world = configured();
    world.put("sub/report.pdf", "content");
    let output = check(&world, &[]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stdout.lines().all(|line| line.starts_with('✓')), "{}", output.stdout);
    for (step, part) in [
        ("config", "config.toml"),
        ("password", "mode 600"),
        ("api address", "answers in"),
        ("login address", "answers in"),
        ("login:", "access tokens live for 5 min, the session goes on if used within 30 min"),
        ("user", "sandbox@example.com"),
        ("destination /HR_Backup", "id "),
        ("folder watched", "readable, files can be deleted, changes are noticed by events"),
        ("watches", "2 needed"),
        ("state", "the journal can be written"),
    ] {
        assert!(line(&output, step).contains(part), "{}", output.stdout);
    }
    assert!(!output.stdout.contains("sandbox-password"));
    assert_eq!(world.files_left(), [Path::new("sub/report.pdf")]);
    assert!(!world.watched().join(".astran-backup").exists(), "the probe is gone");
    let stats = world.sandbox().stats();
    assert_eq!((stats.logins["password"], stats.logouts, stats.uploads_stored), (1, 1, 0));
}

#[test]
fn a_folder_and_a_destination_that_are_not_configured_are_tried_alone() {
    let world = configured();
    std::fs::create_dir(world.dir.path().join("other")).unwrap();
    let output = check(&world, &["other", "--dest", "/HR_Backup/none"]);
    assert_eq!(output.code, Some(4), "{output:?}");
    assert!(line(&output, "destination /HR_Backup/none").starts_with('✗'), "{output:?}");
    assert!(line(&output, "folder other").contains("files can be deleted"), "{output:?}");
    let tried = |output: &Output, step| {
        let steps = output.stdout.lines().filter_map(|line| line.split_once(' '));
        steps.filter(|(_, rest)| rest.starts_with(step)).count()
    };
    assert_eq!((tried(&output, "destination "), tried(&output, "folder ")), (1, 1), "{output:?}");

    let alone = check(&world, &["--dest", "/HR_Backup"]);
    assert_eq!(alone.code, Some(0), "{alone:?}");
    assert_eq!((tried(&alone, "destination "), tried(&alone, "folder ")), (1, 0), "{alone:?}");
    let missing = check(&world, &["none", "--dest", "/HR_Backup"]);
    assert!(missing.code == Some(4) && line(&missing, "folder none").contains("is missing"), "{missing:?}");
}

#[test]
fn json_output_is_one_object_a_line() {
    let world = configured();
    let output = check(&world, &["--json"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    let steps = output.events("check");
    assert!(steps.iter().all(|step| step["status"] == "ok" || step["status"] == "warning"), "{output:?}");
    assert_eq!(steps.len() + 1, output.stdout.lines().count(), "each line but the summary is a step: {output:?}");
}

#[test]
fn a_step_that_depends_on_a_broken_one_is_not_tried_and_says_so() {
    let world = configured();
    world.faults().add(Rule { call: None, ..Rule::new(Call::Any, Fault::DisableUser) });
    let output = check(&world, &[]);
    assert_eq!(output.code, Some(3), "{output:?}");
    assert!(line(&output, "login:").starts_with('✗') && line(&output, "login:").contains("have it enabled"));
    assert_eq!(line(&output, "user"), "– user: not tried: there is no login");
    assert!(line(&output, "destination /HR_Backup").starts_with('–'));
    assert!(line(&output, "folder watched").starts_with('✓'), "independent steps are tried");
    assert_eq!(world.sandbox().stats().requests["login"], 1, "one try");
}

#[test]
fn the_first_broken_step_gives_the_exit_code() {
    let world = configured();
    with_mode(&world.dir.path().join("password"), 0o644);
    let output = check(&world, &[]);
    assert_eq!(output.code, Some(2), "{output:?}");
    assert!(line(&output, "password").contains("chmod 600"), "{output:?}");
    assert_eq!(line(&output, "login:"), "– login: not tried: a secret is missing");
    assert_eq!(world.sandbox().stats().requests["login"], 0);

    let mut world = configured();
    world.stop_sandbox();
    let mut command = world.command();
    for variable in ["ASTRAN_BACKUP_API_URL", "ASTRAN_BACKUP_AUTH_URL"] {
        command.env(variable, "http://127.0.0.1:1");
    }
    command.env("ASTRAN_BACKUP_REALM", "r").env("ASTRAN_BACKUP_CLIENT_ID", "c").env("ASTRAN_BACKUP_USERNAME", "u");
    let away = support::run_to_end(command.args(["--config", "config.toml", "check"]));
    assert_eq!(away.code, Some(5), "{away:?}");
    assert!(line(&away, "api address").starts_with('✗') && line(&away, "login:").contains("can't be reached"));
}

#[test]
fn a_missing_local_folder_and_a_missing_destination_are_both_shown() {
    let world = configured();
    let config = std::fs::read_to_string(world.dir.path().join("config.toml")).unwrap();
    let elsewhere = config.replace("\"watched\"", "\"nowhere\"").replace("/HR_Backup", "/Nowhere");
    std::fs::write(world.dir.path().join("config.toml"), elsewhere).unwrap();
    let output = check(&world, &[]);
    assert_eq!(output.code, Some(4), "{output:?}");
    assert!(line(&output, "destination /Nowhere").starts_with('✗'), "{output:?}");
    assert!(line(&output, "folder nowhere").contains("is missing: make it"), "{output:?}");
}

#[test]
fn an_unusable_configuration_is_a_broken_step() {
    let world = configured();
    std::fs::write(world.dir.path().join("config.toml"), "[login]\npasword_file = \"x\"\n").unwrap();
    let output = check(&world, &[]);
    assert_eq!(output.code, Some(2), "{output:?}");
    assert!(line(&output, "config").contains("password_file"), "{output:?}");
    assert!(line(&output, "everything else").starts_with('–'));
}

#[test]
fn a_folder_without_write_permission_is_a_broken_step() {
    if rustix::process::geteuid().is_root() {
        // Root may write everywhere.
        return;
    }
    let world = configured();
    with_mode(&world.watched(), 0o555);
    let output = check(&world, &[]);
    with_mode(&world.watched(), 0o755);
    assert_eq!(output.code, Some(4), "{output:?}");
    assert!(line(&output, "folder watched").contains("can't be deleted"), "{output:?}");
}

#[test]
fn the_sandbox_passes_without_any_configuration() {
    let world = World::new();
    let output = world.run(["check", "--sandbox"]);
    assert_eq!(output.code, Some(0), "{output:?}");
}

/// Runs `check` by another program, with the environment of a configured world.
fn check_under(world: &World, program: &str, arguments: &[&str]) -> Output {
    let inner = world.command();
    let mut command = std::process::Command::new(program);
    command.args(arguments).arg(inner.get_program()).args(["--config", "config.toml", "check"]);
    command.current_dir(world.dir.path()).env_clear();
    command.envs(inner.get_envs().filter_map(|(key, value)| Some((key, value?))));
    run_to_end(command.env_remove("ASTRAN_BACKUP_PASSWORD"))
}

/// Regression: the line said only that files can be deleted, not that they are set aside in a worse way.
#[test]
fn an_unusable_private_folder_is_shown_and_no_failure() {
    let world = configured();
    std::fs::write(world.watched().join(".astran-backup"), "not a folder").unwrap();
    let output = check(&world, &[]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(line(&output, "folder watched").contains("files can be deleted"), "{output:?}");
    let shown = line(&output, "private folder");
    assert!(shown.starts_with('✓') && shown.contains("beside their place; better: "), "{shown}");

    std::fs::remove_file(world.watched().join(".astran-backup")).unwrap();
    std::fs::create_dir(world.watched().join(".astran-backup")).unwrap();
    with_mode(&world.watched().join(".astran-backup"), 0o755);
    assert!(line(&check(&world, &[]), "private folder").contains("chmod 700"), "others may enter it");
    with_mode(&world.watched().join(".astran-backup"), 0o700);
    assert!(!check(&world, &[]).stdout.contains("private folder"), "a usable private folder gets no line");
}

#[test]
fn mounts_below_a_folder_and_over_the_private_folder_are_shown() {
    let world = configured();
    for folder in [".astran-backup", "disk", "layers"] {
        std::fs::create_dir(world.watched().join(folder)).unwrap();
    }
    for folder in ["lower", "upper", "work"] {
        std::fs::create_dir(world.dir.path().join(folder)).unwrap();
    }
    let mount = "mount -t tmpfs -o mode=700 none watched/.astran-backup && mount -t tmpfs none watched/disk && \
                 mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work watched/layers || exit 77; exec \"$@\"";
    let output = check_under(&world, "unshare", &["-rm", "sh", "-c", mount, "sh"]);
    if output.code == Some(77) || output.stderr.contains("unshare") {
        eprintln!("skipped: nothing can be mounted here");
        return;
    }
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(line(&output, "private folder").contains("another file system"), "{output:?}");
    let mounts: Vec<_> = output.stdout.lines().filter(|line| line.starts_with("✓ mount ")).collect();
    assert!(mounts.len() == 1 && mounts[0].contains("layers") && mounts[0].contains("quiet for 10 s"), "{mounts:?}");
}

/// Regression: the line said that writers are detected by leases, although leases detect only writers of this user's own files.
#[test]
fn a_process_without_cap_lease_says_what_that_means_for_files_of_others() {
    let world = configured();
    let setpriv = ["--bounding-set", "-lease", "--inh-caps", "-lease", "--"];
    let output = check_under(&world, "setpriv", &setpriv);
    if !rustix::process::geteuid().is_root() || output.stdout.is_empty() {
        eprintln!("skipped: no capability can be taken away here");
        return;
    }
    assert!(!line(&output, "folder watched").contains("better"), "no other user may put files there: {output:?}");
    with_mode(&world.watched(), 0o777);
    let output = check_under(&world, "setpriv", &setpriv);
    let shown = line(&output, "folder watched");
    assert!(shown.contains("files of other users") && shown.contains("AmbientCapabilities=CAP_LEASE"), "{shown}");
    assert_eq!(output.code, Some(0), "{output:?}");
}

#[test]
fn a_state_directory_that_others_may_read_is_shown() {
    let world = configured();
    let state = world.state().join("astran-backup");
    std::fs::create_dir_all(&state).unwrap();
    with_mode(&state, 0o755);
    let output = check(&world, &[]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(line(&output, "state").contains("chmod 700"), "{output:?}");
}
