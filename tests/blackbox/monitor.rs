//! `[daemon] listen`: the metrics and the readiness that a running `watch` shows over HTTP.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use astran_backup::sandbox::faults::{Call, Fault, Rule};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use serde_json::Value;

use crate::outage::coming_and_going;
use crate::promtool;
use crate::support::{Daemon, PATIENCE, QUICK, World, eventually, schema};

const LISTEN: &str = "[daemon]\nlisten = \"127.0.0.1:0\"\n[upload]\nrescan = \"1s\"\n";

/// A `watch` that listens.
struct Listening {
    daemon: Daemon,
    address: SocketAddr,
    /// The watched folder, as in the label of the metrics.
    folder: String,
}

/// Starts `watch` with the listener on a free port.
fn listening(world: &World) -> Listening {
    world.configure(LISTEN);
    started(world)
}

/// Starts `watch` with the configuration that is there.
fn started(world: &World) -> Listening {
    let daemon = world.start(&[&QUICK[..], &["--config", "config.toml"]].concat());
    let line = daemon.wait_for("metrics and readiness");
    let address = line.split_once("http://").unwrap().1.split_once('/').unwrap().0.parse().unwrap();
    let folder = world.watched().canonicalize().unwrap().display().to_string();
    Listening { daemon, address, folder }
}

/// The status and the body of an answer.
pub(crate) fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

impl Listening {
    fn metrics(&self) -> String {
        let (status, text) = get(self.address, "/metrics");
        assert_eq!(status, 200, "{text}");
        text
    }

    /// The value of a metric of the watched folder; `labels` are those after the folder's.
    fn number(&self, name: &str, labels: &str) -> Option<f64> {
        let start = format!("astran_backup_{name}{{folder=\"{}\"{labels}}} ", self.folder);
        let text = self.metrics();
        let line = text.lines().find_map(|line| line.strip_prefix(&start))?;
        Some(line.parse().unwrap())
    }

    fn files(&self, outcome: &str) -> Option<f64> {
        self.number("files_total", &format!(",outcome=\"{outcome}\""))
    }

    /// The reasons that `/readyz` gives; `None` when the program is ready.
    fn reasons(&self) -> Option<String> {
        match get(self.address, "/readyz") {
            (200, text) => {
                assert_eq!(text, "ready\n");
                None
            }
            (503, text) => Some(text),
            other => panic!("{other:?}"),
        }
    }

    fn becomes_ready(&self) {
        eventually("the program is ready", || self.reasons().is_none());
        // Not asserted at once: a breaker may open for a moment meanwhile, which is not the subject of these tests.
        eventually("the metric says so too", || self.metrics().contains("astran_backup_ready 1"));
    }

    /// Waits until `/readyz` gives a reason with this text.
    fn is_held_up_by(&self, text: &str) {
        eventually(text, || self.reasons().is_some_and(|reasons| reasons.contains(text)));
    }
}

#[test]
fn stored_and_failed_files_are_counted_from_zero() {
    let world = World::with(|options| options.max_size = Some(10));
    let it = listening(&world);
    it.daemon.wait_for("watching");
    assert_eq!((it.files("stored"), it.files("failed")), (Some(0.0), Some(0.0)));
    assert_eq!(it.number("unannounced_files_total", ""), Some(0.0));
    world.put("one", "content");
    world.put("sub/two", "more");
    world.put("large", "more than ten bytes");
    eventually("two are stored", || it.files("stored") == Some(2.0));
    eventually("one has failed", || it.files("failed") == Some(1.0));
    assert_eq!(it.number("stored_bytes_total", ""), Some(11.0));
    assert_eq!(it.number("upload_duration_seconds_count", ""), Some(2.0));
    assert_eq!(it.number("drop_to_stored_seconds_count", ""), Some(2.0));
    // The settle time at least, for each of them.
    assert!(it.number("drop_to_stored_seconds_sum", "").unwrap() >= 0.1, "{}", it.metrics());
    assert_eq!(it.number("files_under_way", ""), Some(0.0));
    let last = it.number("last_stored_timestamp_seconds", "").unwrap();
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    assert!((now - 60.0..=now).contains(&last), "{last}");
    assert_eq!(it.reasons(), None, "trouble of one file holds up no other");
    assert_eq!(it.daemon.stop().code, Some(0));
}

#[test]
fn the_page_and_its_status_tell_what_status_prints() {
    let world = World::new();
    let it = listening(&world);
    world.put("draft.tmp", "draft");
    let (status, page) = get(it.address, "/");
    assert!(status == 200 && page.starts_with("<!doctype html>") && page.ends_with("</html>\n"), "{page}");
    eventually("both tell the same", || {
        let (status, text) = get(it.address, "/status.json");
        assert_eq!((status, schema::fault(text.trim_end())), (200, None), "{text}");
        let of_page: Value = serde_json::from_str(&text).unwrap();
        let of_command = &world.run(["status", "--json"]).events("status")[0];
        let same =
            ["running", "pid", "since", "user", "troubles"].iter().all(|field| of_page[field] == of_command[field]);
        let files = &of_page["folders"][0]["files"];
        same && of_page["running"] == true
            && files.to_string().contains("draft.tmp")
            && *files == of_command["folders"][0]["files"]
    });
    assert_eq!(it.daemon.stop().code, Some(0));
}

#[test]
fn a_file_under_way_is_counted_until_it_is_done() {
    let world = World::new();
    let it = listening(&world);
    it.daemon.wait_for("watching");
    world.faults().add(Rule::new(Call::Upload, Fault::Stall { ms: 1000 }));
    world.put("file", "content");
    eventually("the file is under way", || it.number("files_under_way", "") == Some(1.0));
    eventually("the file is stored", || it.files("stored") == Some(1.0));
    assert_eq!(it.number("files_under_way", ""), Some(0.0));
}

#[test]
fn what_has_failed_waits_and_is_in_flight_shows_and_a_restart_forgets_no_failure() {
    let world = World::with(|options| options.max_size = Some(5_000_000));
    let it = listening(&world);
    it.daemon.wait_for("watching");
    world.put("too-large", vec![0; 5_000_001]);
    eventually("the failed file is counted", || it.number("failed_files", "") == Some(1.0));
    world.faults().add(Rule::new(Call::Upload, Fault::Stall { ms: 600_000 }).named("in-flight").always());
    world.put("in-flight", vec![1; 3_000_000]);
    eventually("the file is in flight", || it.number("in_flight_bytes", "") == Some(3e6));
    let mut open = fs::File::create(world.watched().join("open")).unwrap();
    open.write_all(b"still written").unwrap();
    eventually("both wait", || it.number("waiting_files", "") == Some(2.0));
    eventually("their sizes are known", || it.number("waiting_bytes", "") == Some(3_000_013.0));
    eventually("the oldest grows old", || it.number("oldest_waiting_age_seconds", "") > Some(0.5));
    let text = it.metrics();
    for start in [
        "config_last_reload_successful 1",
        "login_refused 0",
        r#"token_requests_total{grant="login",outcome="granted"} 1"#,
        concat!("build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
        "journal_size_bytes ",
        "sent_bytes_total ",
    ] {
        assert!(text.lines().any(|line| line.starts_with(&format!("astran_backup_{start}"))), "{start}:\n{text}");
    }
    assert_eq!(promtool::faults(&text), None);
    it.daemon.kill();
    world.faults().clear();
    drop(open);
    let it = started(&world);
    eventually("the failed file is still counted", || it.number("failed_files", "") == Some(1.0));
    assert_eq!(it.files("failed"), Some(0.0), "it was not tried again");
    fs::remove_file(world.watched().join("too-large")).unwrap();
    eventually("a file that is gone has not failed any more", || it.number("failed_files", "") == Some(0.0));
    assert_eq!(it.daemon.stop().code, Some(0));
}

/// Makes the daemon's event source deaf, as a fault of the system would: removes its watches from outside. Returns `false` where this
/// system does not allow that.
fn deafen(pid: u32) -> bool {
    let pidfd = pidfd_open(Pid::from_raw(pid.cast_signed()).unwrap(), PidfdFlags::empty()).unwrap();
    let source =
        |fd: PathBuf| fs::read_link(&fd).is_ok_and(|to| to.to_string_lossy().contains("inotify")).then_some(fd);
    for fd in fs::read_dir(format!("/proc/{pid}/fd")).unwrap().filter_map(|entry| source(entry.unwrap().path())) {
        let number = fd.file_name().unwrap().to_str().unwrap();
        let Ok(inotify): Result<OwnedFd, _> = pidfd_getfd(&pidfd, number.parse().unwrap(), PidfdGetfdFlags::empty())
        else {
            return false;
        };
        let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{number}")).unwrap();
        for watch in info.lines().filter_map(|line| line.strip_prefix("inotify wd:")) {
            // The number is hexadecimal. The watch may have ended meanwhile.
            let watch = i32::from_str_radix(watch.split(' ').next().unwrap(), 16).unwrap();
            rustix::fs::inotify::remove_watch(&inotify, watch).ok();
        }
    }
    true
}

#[test]
fn a_file_that_events_should_have_announced_raises_the_metric_and_a_warning() {
    let world = World::new();
    let it = listening(&world);
    it.daemon.wait_for("watching");
    let mut files = 0;
    eventually("an event is missed", || {
        if !deafen(it.daemon.pid()) {
            return true;
        }
        // The next walk mends the watch. If that walk was faster than this test, an event announces the file, and the test tries again.
        files += 1;
        world.put(files.to_string(), "content");
        eventually("the file is stored", || it.files("stored") == Some(f64::from(files)));
        it.number("unannounced_files_total", "") > Some(0.0)
    });
    if files == 0 {
        return eprintln!("skipped: this system gives no access to another process");
    }
    let output = it.daemon.stop();
    assert!(output.stdout.contains("no event told"), "{output:?}");
}

#[test]
fn readiness_follows_a_service_that_goes_away_and_comes_back() {
    let mut world = coming_and_going();
    let it = listening(&world);
    it.daemon.wait_for("watching");
    it.becomes_ready();
    world.stop_sandbox();
    world.put("file", "content");
    it.is_held_up_by("the service: ");
    assert!(it.metrics().contains(r#"astran_backup_circuit_open{circuit="service",folder=""} 1"#));
    assert_eq!(get(it.address, "/healthz"), (200, "alive\n".into()));
    world.start_sandbox();
    eventually("the file is stored", || it.files("stored") == Some(1.0));
    it.becomes_ready();
    assert!(it.metrics().contains(r#"astran_backup_circuit_open{circuit="service",folder=""} 0"#));
    assert_eq!(it.files("failed"), Some(0.0));
}

#[test]
fn a_daemon_that_still_waits_for_the_service_is_alive_and_not_ready() {
    let mut world = coming_and_going();
    world.stop_sandbox();
    let it = listening(&world);
    assert_eq!(get(it.address, "/healthz").0, 200);
    it.daemon.wait_for("can't be reached");
    it.is_held_up_by("the start: it can't be used just now");
    assert!(it.metrics().contains("astran_backup_ready 0"));
    assert_eq!(it.files("stored"), Some(0.0));
    world.start_sandbox();
    it.becomes_ready();
}

#[test]
fn a_refused_login_is_a_reason_until_it_is_mended() {
    let world = World::new();
    let it = listening(&world);
    it.daemon.wait_for("watching");
    let refused =
        || Fault::Status { status: 401, retry_after: None, body: None, content_type: None, carried_out: false };
    world.faults().add(Rule::new(Call::Upload, refused()).always());
    world.faults().add(Rule::new(Call::Me, refused()).always());
    world.put("file", "content");
    it.is_held_up_by("the service: uploads are suspended");
    world.faults().clear();
    it.daemon.signal("-HUP");
    it.becomes_ready();
}

#[test]
fn a_journal_that_can_not_be_written_is_a_reason_until_it_can_be() {
    let world = World::new();
    let it = listening(&world);
    it.daemon.wait_for("watching");
    let journal = rusqlite::Connection::open(world.state().join("astran-backup/journal.sqlite")).unwrap();
    journal.execute_batch("BEGIN IMMEDIATE").unwrap();
    world.put("file", "content");
    it.is_held_up_by("the journal: ");
    assert!(it.metrics().contains(r#"astran_backup_circuit_open{circuit="journal",folder=""} 1"#));
    journal.execute_batch("ROLLBACK").unwrap();
    eventually("the file is stored", || it.files("stored") == Some(1.0));
    it.becomes_ready();
}

#[test]
fn a_destination_in_trouble_and_a_watched_folder_that_is_gone_are_reasons() {
    let world = World::new();
    let it = listening(&world);
    it.daemon.wait_for("watching");
    let missing =
        || Fault::Status { status: 404, retry_after: None, body: None, content_type: None, carried_out: false };
    for call in [Call::Upload, Call::Filesystem] {
        world.faults().add(Rule::new(call, missing()).always());
    }
    world.put("file", "content");
    it.is_held_up_by(&format!("the destination of {}: ", it.folder));
    assert_eq!(it.number("folder_gone", ""), Some(0.0));
    world.faults().clear();
    it.becomes_ready();
    let away = world.dir.path().join("away");
    fs::rename(world.watched(), &away).unwrap();
    it.is_held_up_by(&format!("the folder {}: ", it.folder));
    assert_eq!(it.number("folder_gone", ""), Some(1.0));
    fs::rename(&away, world.watched()).unwrap();
    it.becomes_ready();
}

#[test]
fn an_address_that_is_taken_ends_it_with_2_before_anything_is_sent() {
    let world = World::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    world.configure(&format!("[daemon]\nlisten = \"{address}\"\n"));
    let path = world.put("file", "content");
    let output = world.run(["watch", "watched", "--config", "config.toml"]);
    assert_eq!(output.code, Some(2), "{output:?}");
    assert!(output.stderr.contains(&address) && output.stderr.contains("something else listens"), "{output:?}");
    assert!(path.exists() && world.sandbox().stats().connections == 0);
    // Neither of these listens, so both can do their work.
    assert_eq!(world.run(["push", "watched", "--config", "config.toml"]).code, Some(0));
    assert_eq!(world.once_quick(&["--config", "config.toml"]).code, Some(0));
}

#[test]
fn without_listen_no_port_is_opened() {
    let world = World::new();
    let daemon = world.watch_quick(&[]);
    let sockets = fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap();
    let own: Vec<String> = sockets
        .filter_map(|fd| fs::read_link(fd.unwrap().path()).ok()?.to_str()?.strip_prefix("socket:[").map(str::to_owned))
        .map(|inode| inode.trim_end_matches(']').to_owned())
        .collect();
    // State 0A is LISTEN; the tenth field is the inode.
    let listens = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        fields[3] == "0A" && own.iter().any(|inode| inode == fields[9])
    };
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        assert!(!fs::read_to_string(table).unwrap_or_default().lines().skip(1).any(listens));
    }
}

#[test]
fn silent_clients_delay_neither_uploads_nor_other_clients_nor_the_end() {
    let world = World::new();
    let it = listening(&world);
    it.daemon.wait_for("watching");
    let silent: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(it.address).unwrap()).collect();
    world.put("file", "content");
    eventually("the file is stored", || it.files("stored") == Some(1.0));
    for mut stream in silent {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // The listener drops such a client, with or without an answer.
        assert_eq!(stream.read(&mut [0]).unwrap_or_default(), 0);
    }
    let _silent = TcpStream::connect(it.address).unwrap();
    assert_eq!(it.daemon.stop().code, Some(0));
}

#[test]
fn metrics_and_reasons_show_neither_secrets_nor_file_names() {
    let world = World::with(|options| options.max_size = Some(10));
    let it = listening(&world);
    it.daemon.wait_for("watching");
    world.put("sub-folder/payslip.pdf", "content");
    world.put("sub-folder/too-large.pdf", "more than ten bytes");
    eventually("one is stored and one has failed", || {
        (it.files("stored"), it.files("failed")) == (Some(1.0), Some(1.0))
    });
    let busy = Fault::Status { status: 503, retry_after: None, body: None, content_type: None, carried_out: false };
    world.faults().add(Rule::new(Call::Upload, busy).always());
    world.put("sub-folder/payslip.pdf", "another");
    it.is_held_up_by("the service: ");
    let text = [it.metrics(), it.reasons().unwrap(), get(it.address, "/nothing").1].concat();
    for secret in [
        &world.access.password,
        &world.access.username,
        &world.access.client_id,
        "Bearer",
        "payslip",
        "too-large",
        "sub-folder",
    ] {
        assert!(!text.contains(secret), "{secret}:\n{text}");
    }
}

/// The program runs in a network namespace without interfaces, so that nothing outside this machine can connect meanwhile.
#[test]
#[cfg(target_os = "linux")]
fn an_address_that_other_machines_can_reach_gets_a_warning_and_one_of_this_machine_gets_none() {
    let world = World::new();
    world.configure("[daemon]\nlisten = \"0.0.0.0:0\"\n");
    std::fs::write(world.dir.path().join("local.toml"), "[daemon]\nlisten = \"127.0.0.1:0\"\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(world.dir.path().join("local.toml"), mode).unwrap();
    if !std::process::Command::new("unshare").args(["-rn", "true"]).status().is_ok_and(|status| status.success()) {
        eprintln!("skipped: no network namespace can be made here");
        return;
    }
    for (file, level) in [("config.toml", "WARN"), ("local.toml", "INFO")] {
        let inner = world.command();
        let mut command = std::process::Command::new("unshare");
        command.args(["-rn"]).arg(inner.get_program()).args(["watch", "watched", "--config", file]);
        command.current_dir(world.dir.path()).env_clear();
        command.envs(inner.get_envs().filter_map(|(key, value)| Some((key, value?))));
        let daemon = Daemon::start(&mut command);
        let line = daemon.wait_for("metrics and readiness are at");
        assert!(line.contains(level), "{line}");
        daemon.kill();
    }
}
