//! `watch` tells systemd how it is, by messages to `NOTIFY_SOCKET`.

use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{Daemon, PATIENCE, QUICK, World, eventually};

/// A service manager that takes messages.
struct Manager(UnixDatagram);

impl Manager {
    fn new(world: &World) -> Self {
        let socket = UnixDatagram::bind(world.dir.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    /// The next message that is none of these.
    fn next_but(&self, left_out: &[&str]) -> String {
        let mut buffer = [0; 4096];
        let end = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < end, "only {left_out:?} came");
            let length = self.0.recv(&mut buffer).unwrap();
            let message = String::from_utf8(buffer[..length].to_vec()).unwrap();
            if !left_out.iter().any(|start| message.starts_with(start)) {
                return message;
            }
        }
    }

    fn wait_for(&self, text: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let message = self.next_but(&[]);
            if message.contains(text) {
                return message;
            }
            assert!(Instant::now() < end, "{text:?} was never told");
        }
    }
}

fn watch(world: &World) -> Command {
    let mut command = world.command();
    command.arg("watch").arg("watched").args(QUICK).env("NOTIFY_SOCKET", world.dir.path().join("notify"));
    command
}

#[test]
fn ready_reloading_and_stopping_are_told_in_this_order() {
    let world = World::new();
    let manager = Manager::new(&world);
    let daemon = Daemon::start(&mut watch(&world));
    let next = || manager.next_but(&["STATUS="]);
    assert_eq!(next(), "READY=1\n");
    daemon.signal("-HUP");
    let reloading = next();
    let usec = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().trim_end();
    assert!(usec.parse::<u64>().unwrap() > 0, "{reloading}");
    assert_eq!(next(), "READY=1\n");
    daemon.signal("-TERM");
    assert_eq!(next(), "STOPPING=1\n");
    assert_eq!(daemon.end().code, Some(0));
}

#[test]
fn the_status_line_says_what_is_done_and_names_no_file() {
    let world = World::new();
    let manager = Manager::new(&world);
    world.put("confidential-name", "content");
    let daemon = Daemon::start(&mut watch(&world));
    let status = manager.wait_for("1 stored today");
    assert_eq!(status, "STATUS=1 folder; 1 stored today\n");
    assert_eq!(daemon.stop().code, Some(0));
}

/// A start that waits for hours must not be killed after `TimeoutStartSec`, nor by the watchdog: no restart brings the service back.
#[test]
fn a_start_that_waits_for_the_service_is_ready_says_so_and_goes_on_giving_signs_of_life() {
    let mut world = World::new();
    world.stop_sandbox();
    let manager = Manager::new(&world);
    let daemon = Daemon::start(watch(&world).env("WATCHDOG_USEC", "150000"));
    let (mut is_ready, mut is_waiting) = (false, false);
    while !(is_ready && is_waiting) {
        let message = manager.next_but(&["WATCHDOG="]);
        is_ready |= message == "READY=1\n";
        is_waiting |= message.starts_with("STATUS=waiting for the service since") && message.contains("can't be used");
    }
    for _ in 0..5 {
        manager.wait_for("WATCHDOG=1");
    }
    daemon.signal("-HUP");
    manager.wait_for("RELOADING=1");
    assert_eq!(manager.next_but(&["STATUS=", "WATCHDOG="]), "READY=1\n", "a reload ends, though the start waits");
    assert_eq!(daemon.stop().code, Some(0));
}

#[test]
fn a_password_command_can_not_speak_for_the_service() {
    let world = World::new();
    let _manager = Manager::new(&world);
    let seen = world.dir.path().join("seen");
    world.configure(&format!(
        "[login]\npassword_command = [\"sh\", \"-c\", \"env > {}; echo {}\"]\n",
        seen.display(),
        world.access.password
    ));
    let mut command = watch(&world);
    command.args(["--config", "config.toml"]).env_remove("ASTRAN_BACKUP_PASSWORD").env("WATCHDOG_USEC", "1000000");
    let daemon = Daemon::start(&mut command);
    daemon.wait_for("watching");
    assert_eq!(daemon.stop().code, Some(0));
    let seen = std::fs::read_to_string(seen).unwrap();
    assert!(!seen.contains("NOTIFY_SOCKET") && !seen.contains("WATCHDOG"), "{seen}");
}

#[test]
fn a_service_manager_that_takes_nothing_holds_up_no_file() {
    let world = World::new();
    // Nobody reads, and the kernel holds only some messages.
    let _manager = Manager::new(&world);
    let daemon = Daemon::start(watch(&world).env("WATCHDOG_USEC", "3000"));
    std::thread::sleep(Duration::from_millis(500));
    world.put("file", "content");
    eventually("the file is stored", || world.times_stored("/HR_Backup/file") == 1);
    assert_eq!(daemon.stop().code, Some(0));
}
