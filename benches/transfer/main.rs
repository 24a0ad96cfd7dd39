//! `cargo bench`: whole runs of the program against the sandbox, each beside what else does the same work, in one run.
//!
//! - `watch --once` on small files, beside curl with one kept connection and the login done already, and beside the way of
//!   the vendor's tutorial (a login for each file, whole files in memory; in Python);
//! - `push` of one large file, beside `curl -T` and `openssl dgst -sha256` of that file side by side;
//! - both also over TLS, near by and at a distance, where curl does it over HTTP/1.1 and over HTTP/2;
//! - `watch --once` with several fixed numbers of uploads at once, beside the number that the program finds;
//! - `watch --once` on a million files.
//!
//! `ASTRAN_BENCH_FILES` (5000), `ASTRAN_BENCH_MIB` (1024), `ASTRAN_BENCH_FAR_MIB` (512) and `ASTRAN_BENCH_RUNS` (3) change the sizes,
//! `ASTRAN_BENCH_DELAY_MS` (25) the delay of the distant service each way; `ASTRAN_BENCH_PROGRAM` measures another build of the program;
//! `ASTRAN_BENCH_ONLY` leaves out all rows whose names do not begin so; `TMPDIR` says on which disk. Figures are medians; memory is the
//! program's peak, read every few milliseconds while it runs.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::cast_precision_loss, missing_docs)]

mod backlog;
mod link;
mod numbers;
mod others;
mod s3;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use link::Link;
use support::World;

fn main() {
    let (files, mib) = (setting("ASTRAN_BENCH_FILES", 5000), setting("ASTRAN_BENCH_MIB", 1024));
    let far_mib = setting("ASTRAN_BENCH_FAR_MIB", 512);
    let far = Duration::from_millis(setting("ASTRAN_BENCH_DELAY_MS", 25) as u64);
    let only = std::env::var("ASTRAN_BENCH_ONLY").unwrap_or_default();
    let cases: [(&str, &dyn Fn()); 13] = [
        ("small plain", &|| small_files(files)),
        ("small tls", &|| small_files_over_tls(files, Duration::ZERO)),
        ("small far", &|| small_files_over_tls(files, far)),
        ("large plain", &|| large_file(mib, None)),
        ("large tls", &|| large_file(mib, Some(Duration::ZERO))),
        ("large far", &|| large_file(far_mib, Some(far))),
        ("get tls", &|| get(mib, Duration::ZERO)),
        ("get far", &|| get(far_mib, far)),
        ("backlog", &|| backlog::backlog()),
        ("number 0", &|| numbers::numbers(files, Duration::ZERO)),
        ("number 10", &|| numbers::numbers(files, Duration::from_millis(5))),
        ("number 50", &|| numbers::numbers(files, Duration::from_millis(25))),
        ("number 200", &|| numbers::numbers(files, Duration::from_millis(100))),
    ];
    for (_, case) in cases.iter().filter(|(name, _)| name.starts_with(&only)) {
        case();
    }
}

fn runs() -> usize {
    setting("ASTRAN_BENCH_RUNS", 3)
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
    /// Processor time of the program, in the kernel too.
    cpu: Duration,
}

/// The program in this world: the one that was built now, or the one that is named.
fn program(world: &World, link: Option<&Link>) -> Command {
    let mut command = world.command();
    if let Some(other) = std::env::var_os("ASTRAN_BENCH_PROGRAM") {
        let mut named = Command::new(other);
        named.env_clear().current_dir(world.dir.path()).stdin(Stdio::null());
        named.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command = named;
    }
    if let Some(link) = link {
        link.lead(&mut command);
    }
    command.stdout(Stdio::null());
    command
}

fn watch_once(world: &World, link: Option<&Link>, files: usize) -> Took {
    let took = timed(program(world, link).args(["watch", "watched", "--once", "-q"]));
    assert_eq!(world.files_left().len(), 0, "files were left");
    assert_eq!(world.sandbox().uploads().len(), files);
    took
}

fn where_it_is(delay: Option<Duration>) -> String {
    match delay {
        None => "plain http".to_owned(),
        Some(Duration::ZERO) => "TLS".to_owned(),
        Some(delay) => format!("TLS, {} ms away", 2 * delay.as_millis()),
    }
}

fn small_files_over_tls(files: usize, delay: Duration) {
    let (mut ours, mut by_s3) = (Vec::new(), others::BY_S3.map(|_| Vec::new()));
    for _ in 0..runs() {
        for ((_, other), took) in others::BY_S3.iter().zip(&mut by_s3) {
            took.extend(move_by_s3(*other, files, Some(delay)));
        }
        let world = filled(files);
        ours.push(watch_once(&world, Some(&Link::start(&world, delay)), files));
    }
    println!("{files} files of 4 KiB over {}:", where_it_is(Some(delay)));
    small_rows(files, median(ours), others::BY_S3.map(|(name, _)| name).into_iter().zip(by_s3));
}

fn small_files(files: usize) {
    let mut ours = Vec::new();
    let names = others::ALL.map(|(name, _)| name).into_iter().chain(others::BY_S3.map(|(name, _)| name));
    let mut rows: Vec<(&str, Vec<Took>)> = names.map(|name| (name, Vec::new())).collect();
    for _ in 0..runs() {
        let by_the_api = others::ALL.iter().map(|(_, other)| other(&filled(files), files));
        let by_s3 = others::BY_S3.iter().map(|(_, other)| move_by_s3(*other, files, None));
        for (took, (_, row)) in by_the_api.chain(by_s3).zip(&mut rows) {
            row.extend(took);
        }
        let world = filled(files);
        ours.push(watch_once(&world, None, files));
    }
    println!("{files} files of 4 KiB over plain http (ours with durable receipts and the grace (1 s)):");
    small_rows(files, median(ours), rows.into_iter());
}

/// The same by a program that speaks S3, in front of a server in this process; over TLS with a delay.
fn move_by_s3(other: others::MoveByS3, files: usize, delay: Option<Duration>) -> Option<Took> {
    let world = filled(files);
    let server = s3::S3::start(&world.dir.path().join("objects"));
    let link = delay.map(|delay| Link::to(server.address, &world, delay));
    let plain = format!("http://{}", server.address);
    let took = other(&world, link.as_ref().map_or(&plain, |link| &link.url), link.as_ref().map(|link| &*link.ca_file))?;
    assert_eq!((server.objects(), world.files_left().len()), (files, 0));
    Some(took)
}

fn small_rows<'a>(files: usize, ours: Took, others: impl Iterator<Item = (&'a str, Vec<Took>)>) {
    let rate = |took: Took| files as f64 / took.wall.as_secs_f64();
    let row = |name: &str, took: Took| {
        let (seconds, rate, times) = (took.wall.as_secs_f64(), rate(took), rate(ours) / rate(took));
        let cpu = took.cpu.as_secs_f64() * 1e6 / files as f64;
        println!(
            "  {name:<22} {seconds:8.3} s {rate:8.0} files/s {:7} KiB {cpu:5.0} us of CPU a file   ours: {times:5.2} x its rate",
            took.peak
        );
    };
    row("watch --once", ours);
    for (name, took) in others {
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

fn large_file(mib: usize, delay: Option<Duration>) {
    let versions: &[&str] = if delay.is_some() { &["--http1.1", "--http2"] } else { &["--http1.1"] };
    let mut ours = Vec::new();
    let mut others: Vec<Vec<Took>> = versions.iter().map(|_| Vec::new()).collect();
    for _ in 0..runs() {
        let world = world();
        let link = delay.map(|delay| Link::start(&world, delay));
        let file = world.dir.path().join("large.bin");
        fill(&file, mib);
        for (version, took) in versions.iter().zip(&mut others) {
            took.push(curl_and_openssl(&world, link.as_ref(), version, &file));
        }
        ours.push(timed(program(&world, link.as_ref()).arg("push").arg(&file).arg("-q")));
        assert_eq!(world.times_stored("/HR_Backup/large.bin"), 1);
    }
    println!("1 file of {mib} MiB over {}, sent and hashed:", where_it_is(delay));
    let others = versions.iter().map(|version| format!("curl {version} + openssl")).zip(others);
    large_rows(mib, ("push", ours), others);
}

/// `get` of one large document, beside curl.
fn get(mib: usize, delay: Duration) {
    let versions = ["--http1.1", "--http2"];
    let mut ours = Vec::new();
    let mut others = versions.map(|_| Vec::new());
    for _ in 0..runs() {
        let world = world();
        let link = Link::start(&world, delay);
        fill(&world.dir.path().join("vault/HR_Backup/large.bin"), mib);
        for (version, took) in versions.iter().zip(&mut others) {
            let mut curl = Command::new("curl");
            curl.args([version, "-sS", "--fail", "-o"]).arg(world.dir.path().join("curl.bin"));
            curl.arg("-H").arg(format!("Authorization: Bearer {}", others::token(&world)));
            curl.arg("--cacert")
                .arg(&link.ca_file)
                .arg(format!("{}/api/v2.1/filesystem/HR_Backup/large.bin?children=false", link.url));
            took.push(timed(&mut curl));
        }
        ours.push(timed(program(&world, Some(&link)).args(["get", "/HR_Backup/large.bin", "-o", "ours.bin"])));
        for file in ["curl.bin", "ours.bin"] {
            assert_eq!(std::fs::metadata(world.dir.path().join(file)).unwrap().len(), (mib as u64) << 20);
        }
    }
    println!("1 document of {mib} MiB over {}, read back:", where_it_is(Some(delay)));
    large_rows(mib, ("get", ours), versions.map(|version| format!("curl {version}")).into_iter().zip(others));
}

/// Prints the rows of a large file: ours, and the others with our rate compared.
fn large_rows(mib: usize, ours: (&str, Vec<Took>), others: impl Iterator<Item = (String, Vec<Took>)>) {
    let (name, ours) = (ours.0, median(ours.1));
    let rate = |took: Took| mib as f64 / took.wall.as_secs_f64();
    let row = |name: &str, took: Took| {
        let (seconds, rate, times) = (took.wall.as_secs_f64(), rate(took), rate(ours) / rate(took));
        println!("  {name:<24} {seconds:8.3} s {rate:8.0} MiB/s {:7} KiB   ours: {times:5.2} x its rate", took.peak);
    };
    row(name, ours);
    for (name, took) in others {
        row(&name, median(took));
    }
}

/// The same work by others, side by side: the time until both have ended.
fn curl_and_openssl(world: &World, link: Option<&Link>, version: &str, file: &Path) -> Took {
    let (plain, token) = (world.sandbox().access().api_url.clone(), others::token(world));
    let api = link.map_or(&plain, |link| &link.url);
    let folder = others::folder_id(&plain, &token);
    let url = format!("{api}/api/v2.1/files/{folder}/children?name=curl.bin&isMajor=true");
    let mut curl = Command::new("curl");
    curl.args([version, "-sS", "--fail", "-X", "POST", "-H", "Expect:", "-o", "/dev/null", "-T"]).arg(file);
    curl.arg("-H").arg(format!("Authorization: Bearer {token}")).arg(url);
    if let Some(link) = link {
        curl.arg("--cacert").arg(&link.ca_file);
    }
    let start = Instant::now();
    let mut hashing =
        Command::new("openssl").args(["dgst", "-sha256"]).arg(file).stdout(Stdio::null()).spawn().unwrap();
    let curl = timed(&mut curl);
    assert!(hashing.wait().unwrap().success());
    Took { wall: start.elapsed(), ..curl }
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
    let (start, before) = (Instant::now(), children());
    let mut child = command.stderr(Stdio::inherit()).spawn().unwrap();
    let mut peak = 0;
    loop {
        peak = peak.max(peak_of(child.id()));
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{command:?} failed");
            return Took { wall: start.elapsed(), peak, cpu: children().saturating_sub(before) };
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The processor time of all processes that this one has started and that have ended.
fn children() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // Behind the name, which may hold anything: fields 16 and 17, in hundredths of a second.
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u64 = fields[13..15].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
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
