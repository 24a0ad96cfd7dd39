//! The program in the soak: started, killed, paused for a while, and observed from outside.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::support::{PATIENCE, World};

/// The peak of each figure.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Used {
    pub(crate) rss_kib: u64,
    pub(crate) descriptors: u64,
    pub(crate) threads: u64,
}

pub(crate) struct Program<'a> {
    world: &'a World,
    binary: Option<String>,
    store_lag: &'static str,
    pub(crate) log: PathBuf,
    child: Option<(Child, Instant)>,
    pub(crate) most: Used,
    /// How often the program ended by itself, for each exit code.
    pub(crate) ended: BTreeMap<i32, u64>,
}

impl<'a> Program<'a> {
    /// `ASTRAN_TEST_BINARY` names another build of the program, such as the release.
    /// The relay of the soak hands uploads on late. On a machine that is busy with the soak itself an hour of storms has a hand-over
    /// that takes longer than the lag of the short tests, so a long soak allows for half of the default.
    pub(crate) fn new(world: &'a World, log: PathBuf, length: Duration) -> Self {
        let store_lag = if length < Duration::from_secs(120) { "8s" } else { "30s" };
        let binary = std::env::var("ASTRAN_TEST_BINARY").ok();
        Self { world, binary, store_lag, log, child: None, most: Used::default(), ended: BTreeMap::new() }
    }

    fn log(&self) -> Stdio {
        let file: File = OpenOptions::new().append(true).create(true).open(&self.log).unwrap();
        file.into()
    }

    fn command(&self) -> Command {
        let ours = self.world.command();
        match &self.binary {
            Some(binary) => with_environment_of(&ours, Path::new(binary)),
            None => ours,
        }
    }

    /// Asks how the program is, which it must tell at all times, and else the journal, within some seconds.
    pub(crate) fn ask_for_status(&self) {
        let asked = Instant::now();
        let output = self.command().args(["status", "--json"]).output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        let is_whole = told.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok());
        let is_told = matches!(output.status.code(), Some(0 | 1)) && is_whole && told.contains("\"type\":\"status\"");
        assert!(is_told && asked.elapsed() < PATIENCE, "status after {:?}: {output:?}", asked.elapsed());
    }

    pub(crate) fn start(&mut self, arguments: &[&str]) {
        let mut command = self.command();
        // The storm refuses logins too; a start after that is one that a person has asked for.
        command.args(["watch", "watched", "--retry-login"]).args(arguments).stdout(self.log()).stderr(self.log());
        command.env("ASTRAN_BACKUP_STORE_LAG", self.store_lag);
        self.child = Some((command.spawn().unwrap(), Instant::now()));
    }

    /// Whether the program runs. An end that the soak did not cause is counted.
    pub(crate) fn runs(&mut self) -> bool {
        let Some((child, _)) = &mut self.child else { return false };
        let Some(status) = child.try_wait().unwrap() else { return true };
        self.child = None;
        self.ended_with(status);
        false
    }

    fn ended_with(&mut self, status: ExitStatus) {
        *self.ended.entry(status.code().unwrap_or(-1)).or_default() += 1;
    }

    pub(crate) fn kill(&mut self) {
        if let Some((mut child, _)) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Stops the program with a signal, and waits until it has ended.
    pub(crate) fn stop(&mut self) -> Option<i32> {
        self.signal("-TERM");
        let (mut child, _) = self.child.take()?;
        let asked = Instant::now();
        while asked.elapsed() < PATIENCE {
            if let Some(status) = child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        child.kill().unwrap();
        panic!("it did not end within {PATIENCE:?} of a stop signal");
    }

    pub(crate) fn signal(&self, signal: &str) {
        if let Some((child, _)) = &self.child {
            let status = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
            assert!(status.success(), "kill {signal}");
        }
    }

    /// Observes the program from outside; returns what it uses, and for how long it has run.
    pub(crate) fn sample(&mut self) -> Option<(Used, Duration)> {
        let (child, since) = self.child.as_ref()?;
        let process = Path::new("/proc").join(child.id().to_string());
        let status = std::fs::read_to_string(process.join("status")).ok()?;
        let number = |key: &str| {
            let line = status.lines().find(|line| line.starts_with(key))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        };
        let used = Used {
            rss_kib: number("VmRSS:")?,
            descriptors: std::fs::read_dir(process.join("fd")).ok()?.count() as u64,
            threads: number("Threads:")?,
        };
        let most = &mut self.most;
        most.rss_kib = most.rss_kib.max(used.rss_kib);
        most.descriptors = most.descriptors.max(used.descriptors);
        most.threads = most.threads.max(used.threads);
        Some((used, since.elapsed()))
    }

    /// The end of its output, for the message of a failed proof.
    pub(crate) fn last_words(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(6000)..]).into_owned()
    }
}

impl Drop for Program<'_> {
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.child {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

fn with_environment_of(command: &Command, program: &Path) -> Command {
    let mut other = Command::new(program);
    other.env_clear().stdin(Stdio::null());
    other.current_dir(command.get_current_dir().unwrap());
    other.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
    other
}
