//! Answers that are huge or endless: their cost is limited.

use std::io::Write;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::between::{Between, Done, answer, hand_on, json, sandbox_of};
use crate::support::{PATIENCE, World, run_to_end};

const MIB: usize = 1 << 20;

/// Runs a command until it ends, or until it has had enough answers; returns its peak memory in MiB, as the kernel counts it.
fn peak(command: &mut Command, enough: impl Fn() -> bool) -> u64 {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let (mut most, start) = (0, Instant::now());
    while child.try_wait().unwrap().is_none() && !enough() && start.elapsed() < PATIENCE {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        most = line.map_or(most, |line| line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024);
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    most
}

/// A listing of this entry, repeated up to so many bytes.
fn listing(entry: &str, size: usize) -> Vec<u8> {
    format!("[{}{entry}]", format!("{entry},").repeat(size / (entry.len() + 1))).into_bytes()
}

/// Regression: 16 MiB of `{},` took 4.6 GB.
#[test]
fn a_huge_listing_takes_little_more_memory_than_it_has_bytes() {
    let sized = |entry: &str, size: usize| (format!("{size} of {entry}"), listing(entry, size));
    let listings = [
        sized("{}", 16 * MIB),
        sized("{}", 63 * MIB),
        sized(r#"{"ID":"1"}"#, 8 * MIB),
        sized(r#"{"ID":"1","name":"file","isFolder":false,"more":[[[[]]]]}"#, 24 * MIB),
    ];
    std::thread::scope(|scope| {
        for (what, body) in listings {
            scope.spawn(move || take(&what, body));
        }
    });
}

/// Lets the listing be read by `ls`, and by the search for a document with the same content.
fn take(what: &str, body: Vec<u8>) {
    let world = World::new();
    let relay = Between::start(&world, move |request, client| {
        if request.is_listing() {
            return answer(client, "200 OK", "application/json", &body);
        }
        if request.is_upload() {
            return json(client, "409 Conflict", "{}");
        }
        Done::HandOn
    });
    // A document of this name with other bytes, so that the store is asked for a second one of the name.
    world.put("file", "another");
    relay.honestly(&world, &["push", "watched"]);
    world.put("file", "content");
    let listings = || relay.requests().iter().filter(|request| request.is_listing()).count();
    for arguments in [&["ls", "/HR_Backup"][..], &["push", "watched/file"]] {
        let before = listings();
        // A second request means that the first answer was read.
        let most = peak(relay.command(&world).args(arguments), || listings() >= before + 2);
        println!("{what}: {arguments:?} {most} MiB");
        assert!((1..200).contains(&most), "{what}: {arguments:?} took {most} MiB");
        assert!(listings() > before, "{what}: {arguments:?} asked for no listing");
    }
}

/// Regression: each such file took 1 MB in the journal.
#[test]
fn a_name_and_an_id_of_a_megabyte_are_not_written_to_the_journal() {
    let world = World::new();
    let sandbox = sandbox_of(&world);
    let relay = Between::start(&world, move |request, client| {
        if !request.is_upload() {
            return Done::HandOn;
        }
        hand_on(sandbox, request);
        let long = "x".repeat(900_000);
        json(client, "201 Created", &format!(r#"{{"ID":"{long}","name":"{long}","version":"{long}"}}"#))
    });
    let size = || {
        let files = walkdir::WalkDir::new(world.state()).into_iter().map_while(Result::ok);
        files
            .filter_map(|file| file.metadata().ok())
            .filter(std::fs::Metadata::is_file)
            .map(|file| file.len())
            .sum::<u64>()
    };
    relay.honestly(&world, &["push", "watched"]);
    let before = size();
    for number in 0..10 {
        world.put(format!("file-{number}"), format!("content {number}"));
    }
    let ended = run_to_end(relay.command(&world).args(["push", "watched"]).env("ASTRAN_BACKUP_STORE_LAG", "0s"));
    assert!(relay.requests().iter().any(crate::between::Request::is_upload), "{ended:?}");
    let grown = size().saturating_sub(before);
    println!("{grown} bytes for ten files");
    assert!(grown < 1_000_000, "{grown} bytes for ten files");
    assert!(ended.stderr.len() + ended.stdout.len() < 20_000, "{}", ended.stderr.len());
}

/// Sends bytes until the client stops reading, and counts them.
fn endless(to: &mut TcpStream, count: &AtomicU64) -> Done {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\nconnection: close\r\n\r\n";
    let mut taken = to.write_all(head.as_bytes()).is_ok();
    while taken && count.load(Ordering::SeqCst) < 200 << 20 {
        taken = to.write_all(&[b'x'; 8192]).is_ok();
        count.fetch_add(8192, Ordering::SeqCst);
    }
    Done::Answered
}

/// Regression: 20 GB were read to compare a thousand bytes; `get` wrote them to the disk.
#[test]
fn endless_content_is_read_to_one_byte_beyond_the_size_in_the_receipt() {
    let world = World::new();
    let sent = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&sent);
    let relay = Between::start(&world, move |request, client| {
        let is_content = request.path.contains("/filesystem/HR_Backup/file") && request.header("accept") == Some("*/*");
        if is_content { endless(client, &count) } else { Done::HandOn }
    });
    world.put("file", "content");
    relay.honestly(&world, &["push", "watched"]);
    let ask = |arguments: &[&str]| {
        sent.store(0, Ordering::SeqCst);
        let ended = run_to_end(relay.command(&world).args(arguments));
        // Bytes in buffers under way are counted too.
        assert!(sent.load(Ordering::SeqCst) < 64 << 20, "{arguments:?} took {sent:?} bytes: {ended:?}");
        ended
    };
    let got = ask(&["get", "/HR_Backup/file", "-o", "got"]);
    assert_eq!(got.code, Some(1), "{got:?}");
    assert!(got.stderr.contains("longer than the 7 bytes") && got.stderr.contains("--force"), "{got:?}");
    assert!(!world.dir.path().join("got").exists());
    let printed = ask(&["get", "/HR_Backup/file", "-o", "-"]);
    assert!(printed.code == Some(1) && printed.stdout.len() <= 7, "{:?} {}", printed.code, printed.stdout.len());
    let verified = ask(&["verify"]);
    assert!(verified.code == Some(1) && verified.stdout.contains("longer"), "{verified:?}");
    world.put("file", "another");
    ask(&["push", "watched", "--verify", "content"]);
}
