//! The sandbox within a command (`--sandbox`) on a machine that others use too.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::{Daemon, World, eventually, run_to_end};

/// The address on which a process listens on loopback, by what the kernel says.
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

/// The status of an answer, and all of it.
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

/// Regression: the password was the same for all, and anybody could have it say that it had stored what it had not.
#[test]
fn nobody_else_on_this_machine_gets_in_or_has_it_lie() {
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
    // It works as ever for the command itself, also after others have tried passwords.
    world.put("report", "content");
    eventually("it is stored and removed", || world.files_left().is_empty());
    assert_eq!(daemon.stop().code, Some(0));
}

/// The stand-alone sandbox is there to be controlled, and tells its password: one by chance, or the one that it was given.
#[test]
fn the_sandbox_on_its_own_has_a_password_by_chance_unless_one_is_given() {
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
