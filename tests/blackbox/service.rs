//! `watch` as systemd runs it by `deploy/astran-backup.service`: without HOME, with a state directory and a credential.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use crate::support::{Daemon, World, eventually, run_to_end};

/// The binary with the variables that systemd sets, and no others. The configuration names all the rest.
fn as_a_service(world: &World) -> Command {
    let dir = world.dir.path();
    let (access, watched) = (&world.access, world.watched().display().to_string());
    world.configure(&format!(
        "[service]\nrealm = {:?}\napi_url = {:?}\nauth_url = {:?}\n\
         [login]\nclient_id = {:?}\nusername = {:?}\n\
         [journal]\nanchor = \"off\"\n\
         [[folder]]\npath = \"{watched}\"\ndest = \"/HR_Backup\"\nsettle = \"50ms\"\n",
        access.realm, access.api_url, access.auth_url, access.client_id, access.username
    ));
    let (credentials, state) = (dir.join("credentials"), dir.join("state"));
    fs::create_dir(&credentials).unwrap();
    fs::create_dir(&state).unwrap();
    let password = credentials.join("password");
    fs::write(&password, &access.password).unwrap();
    fs::set_permissions(&password, fs::Permissions::from_mode(0o440)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_astran-backup"));
    command.env_clear().current_dir("/").stdin(Stdio::null());
    command.env("STATE_DIRECTORY", &state).env("CREDENTIALS_DIRECTORY", &credentials);
    command.args(["watch", "--config"]).arg(dir.join("config.toml"));
    command
}

/// Regression: the unit that README suggested did not start, because it had neither HOME nor a state directory.
#[test]
fn without_home_it_starts_in_the_state_directory_of_systemd_and_stops_with_0() {
    let world = World::new();
    world.put("report", "content");
    let daemon = Daemon::start(&mut as_a_service(&world));
    eventually("the file is stored and removed", || world.files_left().is_empty());
    let output = daemon.stop();
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(world.stored("/HR_Backup/report").unwrap(), b"content");
    assert!(world.state().join("journal.sqlite").exists(), "{output:?}");
}

#[test]
fn without_home_and_state_directory_it_says_what_to_set() {
    let world = World::new();
    let output = run_to_end(as_a_service(&world).env_remove("STATE_DIRECTORY"));
    assert_eq!(output.code, Some(2), "{output:?}");
    assert!(output.stderr.contains("StateDirectory=") && output.stderr.contains("--state-dir"), "{output:?}");
}

/// As with `ProtectSystem=strict` and `ReadWritePaths`, which make the state directory and the watched folder mounts of their own.
#[test]
#[cfg(target_os = "linux")]
fn on_a_file_system_that_is_read_only_but_for_its_own_folders_it_stores_and_removes() {
    let world = World::new();
    let service = as_a_service(&world);
    let strict = |run: &str| {
        let binds = "d=$PWD; mount --rbind \"$d\" \"$d\" && cd \"$d\" && mount --bind watched watched && mount --bind state state && \
                     mount -o remount,bind,ro \"$d\" && ! touch \"$d/probe\" 2>/dev/null";
        let mut command = world.unshared("-rm", &format!("{binds} || exit 99; {run}"));
        command.env_clear().env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin");
        command.envs(service.get_envs().filter_map(|(key, value)| Some((key, value?))));
        command
    };
    if run_to_end(&mut strict("exit 0")).code != Some(0) {
        eprintln!("skipped: nothing can be mounted here");
        return;
    }
    world.put("report", "content");
    let daemon = Daemon::start(&mut strict("exec \"$1\" watch --config \"$PWD/config.toml\""));
    eventually("the file is stored and removed", || world.files_left().is_empty());
    let output = daemon.stop();
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(world.stored("/HR_Backup/report").unwrap(), b"content");
    assert!(!world.watched().join(".astran-backup").exists(), "{output:?}");
}
