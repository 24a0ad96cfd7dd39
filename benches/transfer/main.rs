//! `cargo bench`: whole runs of the program against the sandbox, each beside what else does the same work, in one run.
//!
//! - `watch --once` on small files, beside curl with one kept connection and the login done already, and beside the way of
//!   the vendor's tutorial (a login for each file, whole files in memory; in Python);
//! - `push` of one large file, beside `curl -T` and `openssl dgst -sha256` of that file side by side.
//!
//! `ASTRAN_BENCH_FILES` (5000), `ASTRAN_BENCH_MIB` (1024) and `ASTRAN_BENCH_RUNS` (3) change the sizes; `TMPDIR` says on
//! which disk. Figures are medians; memory is the program's peak, read every few milliseconds while it runs.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::cast_precision_loss, missing_docs)]

mod others;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::World;

fn main() {
    let runs = setting("ASTRAN_BENCH_RUNS", 3);
    small_files(setting("ASTRAN_BENCH_FILES", 5000), runs);
    large_file(setting("ASTRAN_BENCH_MIB", 1024), runs);
}

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// What one run took.
#[derive(Clone, Copy)]
struct Took {
    wall: Duration,
    /// Peak resident memory in KiB.
    peak: u64,
}

fn small_files(files: usize, runs: usize) {
    let mut ours = Vec::new();
    let mut rows: Vec<(&str, Vec<Took>)> = others::ALL.iter().map(|(name, _)| (*name, Vec::new())).collect();
    for _ in 0..runs {
        for ((_, other), (_, took)) in others::ALL.iter().zip(&mut rows) {
            let world = filled(files);
            took.extend(other(&world, files));
        }
        let world = filled(files);
        ours.push(timed(world.command().args(["watch", "watched", "--once", "-q"]).stdout(Stdio::null())));
        assert_eq!(world.files_left().len(), 0, "files were left");
        assert_eq!(world.sandbox().uploads().len(), files);
    }
    let rate = |took: Took| files as f64 / took.wall.as_secs_f64();
    let ours = median(ours);
    println!("{files} files of 4 KiB (ours with settling (1 s), durable receipts and the grace (1 s)):");
    let row = |name: &str, took: Took| {
        let (seconds, rate, times) = (took.wall.as_secs_f64(), rate(took), rate(ours) / rate(took));
        println!("  {name:<22} {seconds:8.3} s {rate:8.0} files/s {:7} KiB   ours: {times:5.2} x its rate", took.peak);
    };
    row("watch --once", ours);
    for (name, took) in rows {
        if took.is_empty() { println!("  {name:<22} is not installed") } else { row(name, median(took)) }
    }
}

fn filled(files: usize) -> World {
    let world = world();
    let content = vec![7u8; 4096];
    for n in 0..files {
        world.put(format!("file-{n:06}"), &content);
    }
    world
}

fn large_file(mib: usize, runs: usize) {
    let mut ours = Vec::new();
    let mut others = Vec::new();
    for _ in 0..runs {
        let world = world();
        let file = world.dir.path().join("large.bin");
        fill(&file, mib);
        others.push(curl_and_openssl(&world, &file));
        ours.push(timed(world.command().arg("push").arg(&file).arg("-q").stdout(Stdio::null())));
        assert_eq!(world.times_stored("/HR_Backup/large.bin"), 1);
    }
    let (ours, other) = (median(ours), median(others));
    let rate = |took: Took| mib as f64 / took.wall.as_secs_f64();
    println!("1 file of {mib} MiB, sent and hashed:");
    println!("  push            {:8.3} s  {:8.0} MiB/s  {:6} KiB", ours.wall.as_secs_f64(), rate(ours), ours.peak);
    println!("  curl + openssl  {:8.3} s  {:8.0} MiB/s  {:6} KiB", other.wall.as_secs_f64(), rate(other), other.peak);
    println!("  ratio           {:8.2} x their rate", rate(ours) / rate(other));
}

/// The same work by others, side by side: the time until both have ended.
fn curl_and_openssl(world: &World, file: &Path) -> Took {
    let (api, token) = (world.sandbox().access().api_url.clone(), others::token(world));
    let url = format!("{api}/api/v2.1/files/{}/children?name=curl.bin&isMajor=true", others::folder_id(&api, &token));
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--fail", "-X", "POST", "-H", "Expect:", "-o", "/dev/null", "-T"]).arg(file);
    curl.arg("-H").arg(format!("Authorization: Bearer {token}")).arg(url);
    let start = Instant::now();
    let mut hashing =
        Command::new("openssl").args(["dgst", "-sha256"]).arg(file).stdout(Stdio::null()).spawn().unwrap();
    let peak = timed(&mut curl).peak;
    assert!(hashing.wait().unwrap().success());
    Took { wall: start.elapsed(), peak }
}

/// A sandbox that does no more than it must, so that it is not what is measured.
fn world() -> World {
    World::with(|options| options.checksums = false)
}

fn fill(file: &PathBuf, mib: usize) {
    let mut file = std::fs::File::create(file).unwrap();
    let mut piece = vec![0u8; 1 << 20];
    for n in 0..mib {
        piece[..8].copy_from_slice(&n.to_le_bytes());
        file.write_all(&piece).unwrap();
    }
    file.sync_all().unwrap();
}

/// Runs a command to its end.
fn timed(command: &mut Command) -> Took {
    let start = Instant::now();
    let mut child = command.stderr(Stdio::inherit()).spawn().unwrap();
    let mut peak = 0;
    loop {
        peak = peak.max(peak_of(child.id()));
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{command:?} failed");
            return Took { wall: start.elapsed(), peak };
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The peak of a process's resident memory so far, in KiB.
fn peak_of(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
}

fn median(mut took: Vec<Took>) -> Took {
    took.sort_by_key(|took| took.wall);
    Took { peak: took.iter().map(|took| took.peak).max().unwrap(), ..took[took.len() / 2] }
}
