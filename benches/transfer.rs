//! `cargo bench`: whole runs of the program against the sandbox, each beside what else does the same work, in one run.
//!
//! - `watch --once` on small files, beside curl with one kept connection and the login done already;
//! - `push` of one large file, beside `curl -T` and `openssl dgst -sha256` of that file side by side.
//!
//! `ASTRAN_BENCH_FILES` (5000), `ASTRAN_BENCH_MIB` (1024) and `ASTRAN_BENCH_RUNS` (3) change the sizes; `TMPDIR` says on
//! which disk. Figures are medians; memory is the program's peak, read every few milliseconds while it runs.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss, missing_docs)]

#[path = "../tests/support/mod.rs"]
mod support;

use std::fmt::Write as _;
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
    let mut curls = Vec::new();
    for _ in 0..runs {
        let world = world();
        let content = vec![7u8; 4096];
        for n in 0..files {
            world.put(format!("file-{n:06}"), &content);
        }
        curls.push(timed(curl_all(&world, files).stdout(Stdio::null())));
        ours.push(timed(world.command().args(["watch", "watched", "--once", "-q"]).stdout(Stdio::null())));
        assert_eq!(world.left().len(), 0, "files were left");
        assert_eq!(world.sandbox().uploads().len(), 2 * files);
    }
    let (ours, curl) = (median(ours), median(curls));
    let rate = |took: Took| files as f64 / took.wall.as_secs_f64();
    println!("{files} files of 4 KiB:");
    println!("  watch --once  {:8.3} s  {:8.0} files/s  {:6} KiB", ours.wall.as_secs_f64(), rate(ours), ours.peak);
    println!("  curl          {:8.3} s  {:8.0} files/s  {:6} KiB", curl.wall.as_secs_f64(), rate(curl), curl.peak);
    println!(
        "  ratio         {:8.2} x curl's rate, with settling (1 s), receipts and the grace (1 s)",
        rate(ours) / rate(curl)
    );
}

/// curl, uploading all files of the watched folder one after the other on one connection.
fn curl_all(world: &World, files: usize) -> Command {
    let (api, token) = (world.sandbox().access().api_url.clone(), token(world));
    let folder = folder_id(&api, &token);
    let mut config = String::new();
    for n in 0..files {
        let path = world.watched().join(format!("file-{n:06}"));
        let url = format!("{api}/api/v2.1/files/{folder}/children?name=curl-{n:06}&isMajor=true");
        writeln!(config, "url = \"{url}\"\nupload-file = \"{}\"\noutput = \"/dev/null\"", path.display()).unwrap();
        writeln!(config, "request = POST\nheader = \"Authorization: Bearer {token}\"\nheader = \"Expect:\"\nnext")
            .unwrap();
    }
    let place = world.dir.path().join("curl.conf");
    std::fs::write(&place, config.trim_end_matches("next\n")).unwrap();
    let mut command = Command::new("curl");
    command.arg("-sS").arg("--fail").arg("-K").arg(place);
    command
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
    let (api, token) = (world.sandbox().access().api_url.clone(), token(world));
    let url = format!("{api}/api/v2.1/files/{}/children?name=curl.bin&isMajor=true", folder_id(&api, &token));
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

fn token(world: &World) -> String {
    let access = world.sandbox().access();
    let url = format!("{}/auth/realms/{}/protocol/openid-connect/token", access.auth_url, access.realm);
    let form = format!(
        "grant_type=password&client_id={}&username={}&password={}",
        access.client_id, access.username, access.password
    );
    let answer = Command::new("curl").args(["-sS", "--fail", "-d", &form, &url]).output().unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&answer.stdout).unwrap();
    answer["access_token"].as_str().unwrap().to_owned()
}

fn folder_id(api: &str, token: &str) -> String {
    let url = format!("{api}/api/v2.1/filesystem/HR_Backup?children=false");
    let bearer = format!("Authorization: Bearer {token}");
    let answer = Command::new("curl")
        .args(["-sS", "--fail", "-H", "Accept: application/json", "-H", &bearer, &url])
        .output()
        .unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&answer.stdout).unwrap();
    answer["ID"].as_str().unwrap().to_owned()
}
