//! An answer of the login that drips, a byte a second, never meets the deadline for silence.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::between::{Between, Done};
use crate::support::{Daemon, QUICK, World, eventually, run_to_end};

/// Sends the head of an endless answer, and then a byte a second.
fn drip(to: &mut TcpStream) -> Done {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000000\r\n\r\n";
    let mut alive = to.write_all(head.as_bytes()).is_ok();
    while alive {
        std::thread::sleep(Duration::from_secs(1));
        alive = to.write_all(b" ").is_ok();
    }
    Done::Answered
}

fn dripping_login(world: &World) -> Between {
    Between::start(world, |request, client| if request.is_login() { drip(client) } else { Done::HandOn })
}

/// An address whose port is free just now.
fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// The status and the text of `/readyz`; empty while there is no answer.
fn readiness(address: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream
        .write_all(format!("GET /readyz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").as_bytes())
        .ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// Regression: uploads stood still, `/readyz` said ready, and nothing was logged.
#[test]
fn a_token_that_drips_is_reported_by_readyz_and_the_log() {
    let world = World::new();
    let relay = dripping_login(&world);
    let address = free_address();
    world.configure(&format!("[daemon]\nlisten = \"{address}\"\n"));
    let start = Instant::now();
    let mut command = relay.command(&world);
    command.args(["watch", "watched", "--config", "config.toml"]).args(QUICK);
    let daemon = Daemon::start(&mut command);
    eventually("it says so", || {
        readiness(&address).is_some_and(|answer| answer.starts_with("HTTP/1.1 503") && answer.contains("login"))
    });
    assert!(start.elapsed() < Duration::from_secs(25), "{:?}", start.elapsed());
    daemon.wait_for("token");
    daemon.kill();
}

/// Regression: the command hung for ever.
#[test]
fn a_command_ends_though_the_token_drips() {
    let world = World::new();
    let relay = dripping_login(&world);
    let start = Instant::now();
    let ended = run_to_end(relay.command(&world).arg("ls"));
    assert_eq!(ended.code, Some(5), "{ended:?}");
    assert!(start.elapsed() < Duration::from_secs(45), "{:?}", start.elapsed());
}
