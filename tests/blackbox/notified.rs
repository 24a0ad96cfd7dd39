//! `[notify]`: people are told of trouble by a command, a web address and a check, and nothing of that is in the way of uploads.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use astran_backup::sandbox::faults::{Call, Fault, Rule};
use serde_json::Value;

use crate::support::schema::fault;
use crate::support::{Daemon, Output, PATIENCE, QUICK, World, eventually, run_to_end};

/// A web server that notes the requests: path and body. It answers as it is told.
#[derive(Clone)]
struct Server {
    address: String,
    seen: Arc<Mutex<Vec<(String, String)>>>,
}

impl Server {
    /// A server that answers with this status line, or never if that is empty.
    fn start(status: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self { address: format!("http://{}", listener.local_addr().unwrap()), seen: Arc::default() };
        let seen = Arc::clone(&server.seen);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let seen = Arc::clone(&seen);
                std::thread::spawn(move || serve(&mut stream.unwrap(), status, &seen));
            }
        });
        server
    }

    fn seen(&self) -> Vec<(String, String)> {
        self.seen.lock().unwrap().clone()
    }

    /// The paths without their query.
    fn paths(&self) -> Vec<String> {
        self.seen().into_iter().map(|(path, _)| path).collect()
    }
}

fn serve(stream: &mut TcpStream, status: &str, seen: &Mutex<Vec<(String, String)>>) {
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        if !matches!(stream.read(&mut byte), Ok(1)) {
            return;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    stream.read_exact(&mut body).unwrap();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    seen.lock().unwrap().push((path, String::from_utf8(body).unwrap()));
    if status.is_empty() {
        std::thread::sleep(PATIENCE);
    }
    write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\nlocation: /elsewhere\r\nconnection: close\r\n\r\n").ok();
}

/// The configuration of a command that adds each message to the file `told`, after `before`.
fn telling(before: &str) -> String {
    format!("command = [\"/bin/sh\", \"-c\", \"{before}cat >> told\"]\n")
}

fn configured(notify: &str) -> World {
    configured_as(World::new(), notify)
}

fn configured_as(world: World, notify: &str) -> World {
    world.configure(&format!("[upload]\nrescan = \"1s\"\n[notify]\n{notify}"));
    world
}

/// The messages that the command got.
fn told(world: &World) -> Vec<Value> {
    let text = std::fs::read_to_string(world.dir.path().join("told")).unwrap_or_default();
    // The last line may be half written yet.
    let messages: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    for message in &messages {
        assert_eq!(fault(&message.to_string()), None, "{message}");
    }
    messages
}

fn events(world: &World) -> Vec<String> {
    told(world).iter().map(|message| message["event"].as_str().unwrap().to_owned()).collect()
}

const CONFIG: [&str; 2] = ["--config", "config.toml"];

fn once(world: &World) -> Output {
    world.once_quick(&CONFIG)
}

fn watch(world: &World) -> Daemon {
    world.watch(&[&QUICK[..], &CONFIG].concat())
}

/// The sandbox refuses all files whose name holds this text.
fn refuse(world: &World, name: &str) {
    let fault = Fault::Status { status: 422, retry_after: None, body: None, content_type: None, carried_out: false };
    world.faults().add(Rule::new(Call::Upload, fault).named(name).always());
}

fn folder(world: &World) -> String {
    world.watched().canonicalize().unwrap().display().to_string()
}

#[test]
fn runs_that_fail_in_the_same_way_tell_it_once_and_the_run_that_does_not_tells_the_end() {
    let check = Server::start("200 OK");
    let world = configured(&format!("{}ping = \"{}/uuid\"\n", telling(""), check.address));
    refuse(&world, "bad");
    let bad = world.put("bad", "content");
    for _ in 0..2 {
        assert_eq!(once(&world).code, Some(1));
    }
    std::fs::remove_file(bad).unwrap();
    for _ in 0..2 {
        assert_eq!(once(&world).code, Some(0));
    }
    let told = told(&world);
    assert_eq!(events(&world), ["failed", "recovered"], "{told:?}");
    let failed = &told[0];
    assert_eq!((&failed["count"], failed["folder"].as_str()), (&1.into(), Some(&*folder(&world))), "{failed}");
    assert!(failed["reason"].as_str().unwrap().contains("watched/bad: "), "{failed}");
    assert!(failed["files"][0]["local_path"].as_str().unwrap().ends_with("watched/bad"), "{failed}");
    assert_eq!((told[1]["of"].as_str(), told[1]["folder"].as_str()), (Some("failed"), Some(&*folder(&world))));
    let (start, fail, success) = ("/uuid/start", "/uuid/fail", "/uuid");
    assert_eq!(check.paths(), [start, fail, start, fail, start, success, start, success]);
    let names: String = check.seen().into_iter().map(|(_, body)| body).collect();
    assert!(!names.contains("bad") && !names.contains("watched"), "names = false: {names}");
}

#[test]
fn a_run_that_ends_with_an_error_tells_it() {
    let world = configured(&telling(""));
    std::fs::remove_dir(world.watched()).unwrap();
    for _ in 0..2 {
        assert_eq!(once(&world).code, Some(4));
    }
    std::fs::create_dir(world.watched()).unwrap();
    assert_eq!(once(&world).code, Some(0));
    assert_eq!(events(&world), ["failed", "recovered"]);
    assert!(told(&world)[0]["reason"].as_str().unwrap().contains("is missing: make it"), "{:?}", told(&world));
}

#[test]
fn a_refused_login_is_told_at_once_and_so_is_its_end() {
    let check = Server::start("200 OK");
    let world = configured(&format!("{}ping = \"{}/uuid\"\n", telling(""), check.address));
    world.faults().add(Rule::new(Call::Any, Fault::DisableUser));
    assert_eq!(world.start(&[&QUICK[..], &CONFIG].concat()).end().code, Some(3));
    eventually("the end is told", || events(&world) == ["login"]);
    assert_eq!(check.paths(), ["/uuid/fail"]);
    world.faults().clear();
    let daemon = world.watch(&[&QUICK[..], &CONFIG, &["--retry-login"]].concat());
    eventually("the login works again", || events(&world) == ["login", "recovered"]);
    eventually("the check is well", || check.paths().last().unwrap() == "/uuid");
    assert_eq!(daemon.stop().code, Some(0));
    assert_eq!(events(&world).len(), 2, "a stop is not told");
}

#[test]
fn a_login_that_is_refused_while_the_daemon_runs_is_told_until_it_is_mended() {
    let check = Server::start("200 OK");
    let world = configured(&format!("{}ping = \"{}/uuid\"\n", telling(""), check.address));
    let daemon = watch(&world);
    eventually("the check is well", || check.paths() == ["/uuid"]);
    for fault in [Fault::DisableUser, Fault::ExpireAll] {
        world.faults().add(Rule::new(Call::Any, fault));
    }
    world.put("a.pdf", "content");
    eventually("it is told", || events(&world) == ["login"]);
    eventually("the check fails", || check.paths() == ["/uuid", "/uuid/fail"]);
    world.faults().clear();
    daemon.signal("-HUP");
    eventually("the file is stored", || world.files_left().is_empty());
    eventually("the end is told", || events(&world) == ["login", "recovered"]);
    assert_eq!(told(&world)[1]["of"], "login");
    eventually("the check is well again", || check.paths() == ["/uuid", "/uuid/fail", "/uuid"]);
}

#[test]
fn uploads_that_are_stuck_are_told_after_a_while_and_that_they_go_on() {
    let mut world = configured(&format!("stuck_after = \"3s\"\n{}", telling("")));
    let daemon = watch(&world);
    world.stop_sandbox();
    world.put("a.pdf", "content");
    eventually("it is told", || events(&world) == ["stuck"]);
    let stuck = &told(&world)[0];
    assert!(
        stuck["seconds"].as_u64().unwrap() >= 3 && stuck["reason"].as_str().unwrap().contains("service"),
        "{stuck}"
    );
    world.start_sandbox();
    daemon.signal("-HUP");
    eventually("the end is told", || events(&world) == ["stuck", "recovered"]);
}

#[test]
fn a_file_that_a_program_keeps_open_is_stuck_until_it_is_closed() {
    let world = configured(&format!("stuck_after = \"2s\"\n{}", telling("")));
    let _daemon = watch(&world);
    let open = std::fs::File::create(world.watched().join("open.pdf")).unwrap();
    eventually("it is told", || events(&world) == ["stuck"]);
    let stuck = &told(&world)[0];
    assert_eq!((&stuck["count"], stuck["folder"].as_str()), (&1.into(), Some(&*folder(&world))), "{stuck}");
    drop(open);
    eventually("the end is told", || events(&world) == ["stuck", "recovered"]);
}

#[test]
fn a_daemon_tells_thousands_of_failed_files_in_one_message_and_when_all_are_mended() {
    let address = Server::start("204 No Content");
    let world = configured(&format!("{}url = \"{}/hook?key=hidden\"\n", telling(""), address.address));
    refuse(&world, "bad");
    for number in 0..2000 {
        world.put(format!("bad{number}"), "x");
    }
    world.put("good", "x");
    let daemon = watch(&world);
    eventually("all have failed", || world.files_left().len() == 2000 && !told(&world).is_empty());
    std::thread::sleep(Duration::from_secs(3));
    assert!(events(&world).len() <= 2, "{:?}", events(&world));
    assert!(told(&world)[0]["count"].as_u64().unwrap() > 100);
    world.faults().clear();
    for path in world.files_left() {
        std::fs::remove_file(world.watched().join(path)).unwrap();
    }
    world.put("later", "x");
    eventually("the end is told", || events(&world).last().unwrap() == "recovered");
    eventually("it is posted", || address.seen().len() == told(&world).len());
    for (path, body) in address.seen() {
        assert_eq!(path, "/hook?key=hidden");
        let json: Value = serde_json::from_str(&body).unwrap();
        assert!(json["folder"].is_null() && !body.contains("bad1") && !body.contains("watched"), "{body}");
    }
    drop(daemon);
}

#[test]
fn names_leave_by_url_where_that_is_allowed() {
    let address = Server::start("200 OK");
    let world = configured(&format!("names = true\nurl = \"{}/hook\"\n", address.address));
    refuse(&world, "bad");
    world.put("bad", "content");
    assert_eq!(once(&world).code, Some(1));
    let (_, body) = address.seen().pop().unwrap();
    assert!(body.contains("watched/bad") && body.contains(&folder(&world)), "{body}");
}

#[test]
fn what_hangs_or_floods_holds_up_no_upload_and_not_the_end() {
    let silent = Server::start("");
    let floods = "head -c 100000000 /dev/zero; head -c 100000000 /dev/zero >&2; ";
    let targets = format!("url = \"{0}/hook\"\nping = \"{0}/uuid\"\n", silent.address);
    for command in [telling(floods), telling("sleep 1000; ")] {
        let world = configured(&(targets.clone() + &command));
        refuse(&world, "bad");
        for number in 0..50 {
            world.put(format!("good{number}"), "content");
        }
        world.put("bad", "content");
        let daemon = watch(&world);
        eventually("all others are stored", || world.files_left() == [PathBuf::from("bad")]);
        // The trouble is told, and the command hangs now: further files are stored all the same.
        std::thread::sleep(Duration::from_secs(5));
        world.put("later", "content");
        eventually("it is stored", || world.files_left() == [PathBuf::from("bad")]);
        let start = Instant::now();
        assert_eq!(daemon.stop().code, Some(0));
        assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
        let start = Instant::now();
        assert_eq!(once(&world).code, Some(1));
        assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    }
}

#[test]
fn no_secret_is_in_a_log_or_a_message() {
    let refusing = Server::start("500 Oh no");
    let secret = format!("{}/hidden1?key=hidden2", refusing.address);
    let world = configured(&format!(
        "names = true\nurl = \"{secret}\"\nping = \"{secret}\"\ncommand = [\"/bin/sh\", \"-c\", \"env > environment; cat > told; false\", \"hidden3\"]\n"
    ));
    refuse(&world, "bad");
    world.put("bad", "content");
    let output = world.once_quick(&[&CONFIG[..], &["-vv"]].concat());
    assert_eq!(output.code, Some(1));
    assert!(output.stderr.contains("can't be sent") && output.stderr.contains("500"), "{}", output.stderr);
    let environment = std::fs::read_to_string(world.dir.path().join("environment")).unwrap();
    assert!(environment.contains("ASTRAN_BACKUP_EVENT=failed") && !environment.contains("PASSWORD"), "{environment}");
    let told = std::fs::read_to_string(world.dir.path().join("told")).unwrap();
    for text in [output.stderr, output.stdout, environment, told] {
        for hidden in ["hidden1", "hidden2", "hidden3", &world.access.password] {
            let line = text.lines().find(|line| line.contains(hidden));
            assert_eq!(line, None, "{hidden} is shown");
        }
    }
}

fn test(world: &World, more: &[&str]) -> Output {
    run_to_end(world.command().args(CONFIG).args(["notify", "--test"]).args(more))
}

#[test]
fn the_trial_says_for_each_way_whether_it_works() {
    let (works, refuses, redirects) =
        (Server::start("200 OK"), Server::start("404 Not Found"), Server::start("302 Found"));
    let world = configured(&format!("{0}url = \"{1}/a\"\nping = \"{1}/b\"\n", telling(""), works.address));
    let output = test(&world, &[]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(
        output.stdout.lines().count() == 3 && output.stdout.lines().all(|line| line.starts_with("✓ ")),
        "{output:?}"
    );
    assert_eq!(events(&world), ["test"]);
    let mut paths = works.paths();
    paths.sort();
    assert_eq!(paths, ["/a", "/b/log"]);

    let ways =
        format!("url = \"{}/a\"\nping = \"{}/b\"\ncommand = [\"/nonexistent\"]\n", refuses.address, redirects.address);
    let output = test(&configured(&ways), &[]);
    assert_eq!(output.code, Some(1), "{output:?}");
    for part in ["command /nonexistent: it can't be run", "it answers 404 Not Found", "redirects are not followed"] {
        assert!(output.stdout.contains(part), "{output:?}");
    }
    assert_eq!((redirects.paths().len(), output.stdout.matches("✗ ").count()), (1, 3), "{output:?}");
    let json = test(&configured(&ways), &["--json"]);
    let first: Value = serde_json::from_str(json.stdout.lines().next().unwrap()).unwrap();
    assert_eq!((&first["v"], &first["type"], &first["ok"]), (&1.into(), &"notify_test".into(), &false.into()));
}

#[test]
fn where_nobody_is_to_be_told_the_trial_says_how_to_name_them_and_check_says_nothing() {
    let world = configured("every = \"1h\"\n");
    let output = test(&world, &[]);
    assert!(output.code == Some(2) && output.stderr.contains("add command, url or ping"), "{output:?}");
    let check = world.run([&CONFIG[..], &["check"]].concat());
    assert!(!check.stdout.contains("notify"), "{check:?}");
}

#[test]
fn check_names_those_who_are_told_and_tries_none() {
    let address = Server::start("200 OK");
    let world = configured(&format!("{}url = \"{}/hidden\"\n", telling(""), address.address));
    let check = world.run([&CONFIG[..], &["check"]].concat());
    let line = check.stdout.lines().find(|line| line.contains("notify: ")).unwrap();
    assert!(
        line.starts_with("✓ notify: command /bin/sh, url http://127.0.0.1:") && line.contains("not tried"),
        "{line}"
    );
    assert!(!check.stdout.contains("hidden") && address.seen().is_empty() && told(&world).is_empty());
}
