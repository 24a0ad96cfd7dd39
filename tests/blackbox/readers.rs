//! A reader of standard output that stops reading stops nothing.

use std::io::Write;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use crate::support::{PATIENCE, QUICK, World, eventually};

/// A running program whose standard output is a full pipe that is never read.
struct Unread {
    child: Child,
    /// The open end of the pipe: a closed one would be another case.
    _reader: std::io::PipeReader,
}

impl Drop for Unread {
    fn drop(&mut self) {
        // The program has ended already, or the test has failed.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn start(world: &World, arguments: &[&str]) -> Unread {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let flags = fcntl_getfl(&writer).unwrap();
    fcntl_setfl(&writer, flags | OFlags::NONBLOCK).unwrap();
    while writer.write(&[b'x'; 4096]).is_ok() {}
    while writer.write(b"x").is_ok() {}
    fcntl_setfl(&writer, flags).unwrap();
    let mut command = world.command();
    command.args(arguments).stdout(writer).stderr(Stdio::null());
    Unread { child: command.spawn().unwrap(), _reader: reader }
}

fn end(unread: &mut Unread) -> Option<i32> {
    let start = Instant::now();
    loop {
        if let Some(status) = unread.child.try_wait().unwrap() {
            return status.code();
        }
        assert!(start.elapsed() < PATIENCE, "it waits for a reader for ever");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_reader_that_never_reads_stops_neither_the_uploads_nor_the_end_of_a_daemon() {
    for json in [&[][..], &["--json"]] {
        let world = World::new();
        let mut daemon = start(&world, &[&["watch", "watched"], &QUICK[..], json].concat());
        for round in 0..2 {
            for number in 0..20 {
                world.put(format!("file-{round}-{number}"), format!("content {round} {number}"));
            }
            eventually("all are stored and removed", || {
                world.sandbox().uploads().len() == (round + 1) * 20 && world.files_left().is_empty()
            });
        }
        let pid = rustix::process::Pid::from_child(&daemon.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert_eq!(end(&mut daemon), Some(0));
    }
}

#[test]
fn a_reader_that_never_reads_does_not_keep_a_command_from_its_end() {
    for arguments in [&["watch", "watched", "--once", QUICK[0], QUICK[1]][..], &["push", "watched", "--delete"]] {
        let world = World::new();
        for number in 0..20 {
            world.put(format!("file-{number}"), format!("content {number}"));
        }
        let mut command = start(&world, arguments);
        assert_eq!(end(&mut command), Some(0));
        assert_eq!(world.sandbox().uploads().len(), 20);
        assert!(world.files_left().is_empty());
    }
}
