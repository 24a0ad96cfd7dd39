//! The sandbox inside a command (`--sandbox`), on a machine with other users.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::{Daemon, World, eventually, run_to_end};

/// The loopback address on which a process listens, from the kernel's tables.
fn listens(pid: u32) -> Option<u16> {
    let sockets: Vec<String> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .ok()?
        .filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok()?.to_str().map(str::to_owned))
        .filter_map(|link| Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
        .collect();
    let table = std::fs::read_to_string(format!("/proc/{pid}/net/tcp")).ok()?;
    table.lines().skip(1).find_map(|line| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let is_ours = columns[3] == "0A" && sockets.iter().any(|socket| socket == columns[9]);
        is_ours.then(|| u16::from_str_radix(columns[1].rsplit(':').next().unwrap(), 16).unwrap())
    })
}

/// The status of an answer, and the whole answer.
fn ask(port: u16, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: application/x-www-form-urlencoded\r\n\
         content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    (answer.split(' ').nth(1).unwrap().parse().unwrap(), answer)
}

const TOKEN: &str = "/auth/realms/sandbox/protocol/openid-connect/token";

fn login(password: &str) -> String {
    format!("grant_type=password&client_id=sandbox-client&username=sandbox@example.com&password={password}")
}

/// Regression: the password was the same everywhere, and any user could make the sandbox confirm uploads that it did not have.
#[test]
fn no_other_user_of_this_machine_can_log_in_or_set_faults() {
    let world = World::new();
    let mut command = world.command();
    for (name, _) in crate::support::access_variables(&world.access) {
        command.env_remove(name);
    }
    let daemon = Daemon::start(command.args(["watch", "watched", "--sandbox", "--settle", "50ms"]));
    daemon.wait_for("watching");
    let port = listens(daemon.pid()).unwrap();
    assert_eq!(ask(port, "POST", TOKEN, &login("sandbox-password")).0, 400);
    let lie = r#"{"call":"upload","do":{"kind":"garbage","body":"empty","carried_out":false}}"#;
    for (method, name, body) in
        [("POST", "faults", lie), ("DELETE", "faults", ""), ("GET", "stats", ""), ("GET", "uploads", "")]
    {
        assert_eq!(ask(port, method, &format!("/sandbox/{name}"), body).0, 404, "{method} {name}");
    }
    // The command itself can still log in after others have tried passwords.
    world.put("report", "content");
    eventually("the file is stored and removed", || world.files_left().is_empty());
    assert_eq!(daemon.stop().code, Some(0));
}

/// The stand-alone sandbox is meant to be controlled, and prints its password: a random one, or the given one.
#[test]
fn the_stand_alone_sandbox_has_a_random_password_unless_one_is_given() {
    let world = World::new();
    let password = |more: &[&str]| {
        let mut command = world.command();
        command.args(["sandbox", "--listen", "127.0.0.1:0", "--json"]).args(more);
        let sandbox = Daemon::start(&mut command);
        let line: serde_json::Value = serde_json::from_str(&sandbox.wait_for("{")).unwrap();
        let port = listens(sandbox.pid()).unwrap();
        let password = line["password"].as_str().unwrap().to_owned();
        assert_eq!(ask(port, "POST", TOKEN, &login(&password)).0, 200);
        assert_eq!(ask(port, "GET", "/sandbox/stats", "").0, 200);
        password
    };
    let (one, other) = (password(&[]), password(&[]));
    assert!(one.len() >= 32 && one != other && one != "sandbox-password");
    assert_eq!(password(&["--password", "known"]), "known");
    assert!(run_to_end(world.command().args(["sandbox", "--help"])).stdout.contains("everybody on this machine"));
}
