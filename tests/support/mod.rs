//! What the tests share that run the program as a process: for each test a sandbox, a watched folder and a state folder of its own
//! (a "world"), and the ways to run the binary in it.
//!
//! The sandbox runs in the test's process, on a thread of its own: killing the program never kills the store.

// Each test binary uses only a part of this module.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::disallowed_methods, clippy::unwrap_used)]

pub mod proof;
pub mod schema;
pub mod terminal;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use astran_backup::sandbox::{Access, Faults, Options, Sandbox};
use astran_backup::vault::RemotePath;

/// How long a test waits for anything before it fails: far longer than anything takes, also on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A sandbox, a watched folder and a state folder.
pub struct World {
    pub sandbox: Option<Sandbox>,
    /// The address and the login of the sandbox; kept while the sandbox is stopped.
    pub access: Access,
    options: Options,
    pub runtime: tokio::runtime::Runtime,
    pub dir: tempfile::TempDir,
}

/// The exit code and the output of a run that has ended.
#[derive(Debug)]
pub struct Output {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// The events of this type that the program printed with `--json`.
    pub fn events(&self, kind: &str) -> Vec<serde_json::Value> {
        let event = |line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line} is no JSON: {self:?}"));
        let mut events: Vec<serde_json::Value> = self.stdout.lines().map(event).collect();
        events.retain(|event| event["type"] == kind);
        events
    }
}

impl World {
    /// A world whose vault has the folder `/HR_Backup`.
    pub fn new() -> Self {
        Self::with(|_| ())
    }

    /// A world whose sandbox has these options changed.
    pub fn with(change: impl FnOnce(&mut Options)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("watched")).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut options = Options::new(dir.path().join("vault"));
        options.folders = vec![RemotePath::parse("/HR_Backup").unwrap()];
        change(&mut options);
        let sandbox = runtime.block_on(Sandbox::start(options.clone())).unwrap();
        let access = sandbox.access().clone();
        Self { sandbox: Some(sandbox), access, options, runtime, dir }
    }

    pub fn sandbox(&self) -> &Sandbox {
        self.sandbox.as_ref().unwrap()
    }

    pub fn faults(&self) -> Faults {
        self.sandbox().faults()
    }

    /// Stops the service.
    pub fn stop_sandbox(&mut self) {
        if let Some(sandbox) = self.sandbox.take() {
            self.runtime.block_on(sandbox.stop());
        }
    }

    /// Starts the service again at the same address, with the same vault. Its counts and its list of uploads begin anew.
    pub fn start_sandbox(&mut self) {
        let address = self.access.api_url.strip_prefix("http://").unwrap();
        self.options.listen = address[..address.len() - self.options.prefix.len()].parse().unwrap();
        self.sandbox = Some(self.runtime.block_on(Sandbox::start(self.options.clone())).unwrap());
    }

    pub fn watched(&self) -> PathBuf {
        self.dir.path().join("watched")
    }

    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// Writes a file into the watched folder, making its sub-folders.
    pub fn put(&self, relative: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.watched().join(relative);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// A document's current content; `None` where there is none.
    pub fn stored(&self, path: &str) -> Option<Vec<u8>> {
        std::fs::read(self.dir.path().join("vault").join(path.trim_start_matches('/'))).ok()
    }

    /// How many uploads to this path were stored.
    pub fn times_stored(&self, path: &str) -> usize {
        self.sandbox().uploads().iter().filter(|upload| upload.path == path).count()
    }

    /// The files in the watched folder and its sub-folders, without those in the private folder.
    pub fn files_left(&self) -> Vec<PathBuf> {
        let mut left = files_below(&self.watched());
        left.sort();
        left
    }

    /// Where the file of this path lies while it is staged, that is, set aside during the grace before its removal.
    pub fn staged(&self, relative: &str) -> Option<PathBuf> {
        let (private, ending) = (self.watched().join(".astran-backup"), format!("~{}", relative.replace('/', "%2F")));
        let file = files_below(&private).into_iter().find(|file| file.to_str().is_some_and(|it| it.ends_with(&ending)));
        file.map(|file| private.join(file))
    }

    /// Waits until the file of this path is staged; returns where it lies.
    pub fn wait_for_staged(&self, relative: &str) -> PathBuf {
        let mut place = None;
        eventually("the file is staged", || {
            place = self.staged(relative);
            place.is_some()
        });
        place.unwrap()
    }

    /// The binary, with an environment of this world only: nothing of this machine's configuration is used.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_astran-backup"));
        command.env_clear().current_dir(self.dir.path()).stdin(Stdio::null());
        command.env("HOME", self.dir.path()).env("XDG_STATE_HOME", self.state()).env("PATH", "/usr/bin:/bin");
        for (name, value) in access_variables(&self.access) {
            command.env(name, value);
        }
        // Most tests count what is uploaded. `tests/anchors.rs` has anchors as they are by default.
        command.env("ASTRAN_BACKUP_DEST", "/HR_Backup").env("ASTRAN_BACKUP_ANCHOR", "off");
        // The sandbox stores within milliseconds, also after a cut connection: the default of a minute would prove nothing more.
        command.env("ASTRAN_BACKUP_STORE_LAG", "8s");
        command
    }

    /// The attempts that `history` lists with these arguments.
    pub fn attempts(&self, arguments: &[&str]) -> Vec<serde_json::Value> {
        self.run([&["history", "--json"], arguments].concat()).events("attempt")
    }

    /// Writes a configuration file, to be given as `--config config.toml`.
    pub fn configure(&self, text: &str) {
        let mut options = std::fs::OpenOptions::new();
        std::os::unix::fs::OpenOptionsExt::mode(options.write(true).create_new(true), 0o600);
        options.open(self.dir.path().join("config.toml")).unwrap().write_all(text.as_bytes()).unwrap();
    }

    /// Runs the binary with these arguments until it ends.
    pub fn run<S: AsRef<std::ffi::OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Output {
        run_to_end(self.command().args(arguments))
    }

    /// Runs `watch` on the watched folder once.
    pub fn once(&self, arguments: &[&str]) -> Output {
        self.run(["watch", "watched", "--once"].iter().chain(arguments))
    }

    /// Like [`World::once`], with a short settle time: for tests that are not about settling.
    pub fn once_quick(&self, arguments: &[&str]) -> Output {
        self.once(&[&QUICK, arguments].concat())
    }

    /// Starts `watch` with a short settle time, and waits until the first walk is over: files that come later are seen by events.
    pub fn watch_quick(&self, arguments: &[&str]) -> Daemon {
        let (first, stored) = ("first-of-all", "/HR_Backup/first-of-all");
        self.put(first, first);
        let daemon = self.watch(&[&QUICK, arguments].concat());
        eventually("the first walk", || self.times_stored(stored) == 1);
        daemon
    }

    /// Starts `watch` on the watched folder, and waits until it says that it watches.
    pub fn watch(&self, arguments: &[&str]) -> Daemon {
        let daemon = self.start(arguments);
        daemon.wait_for("watching");
        daemon
    }

    /// A shell script with the environment of this world, in which `$1` is the program. `flags` are those of `unshare`, for example `-rm`:
    /// the script may mount then, and its mounts end with it.
    pub fn unshared(&self, flags: &str, script: &str) -> Command {
        let inner = self.command();
        let mut command = Command::new("unshare");
        command.args(flags.split(' ')).args(["sh", "-c", script, "sh"]).arg(inner.get_program());
        command.current_dir(self.dir.path()).env_clear();
        command.envs(inner.get_envs().filter_map(|(key, value)| Some((key, value?))));
        command
    }

    /// Starts `watch` on the watched folder.
    pub fn start(&self, arguments: &[&str]) -> Daemon {
        Daemon::start(self.command().arg("watch").arg("watched").args(arguments))
    }
}

/// A short settle time, for tests that are not about settling.
pub const QUICK: [&str; 2] = ["--settle", "50ms"];

/// The environment variables with the address and the login of a service.
pub fn access_variables(access: &Access) -> [(&'static str, &str); 6] {
    [
        ("ASTRAN_BACKUP_REALM", &access.realm),
        ("ASTRAN_BACKUP_API_URL", &access.api_url),
        ("ASTRAN_BACKUP_AUTH_URL", &access.auth_url),
        ("ASTRAN_BACKUP_CLIENT_ID", &access.client_id),
        ("ASTRAN_BACKUP_USERNAME", &access.username),
        ("ASTRAN_BACKUP_PASSWORD", &access.password),
    ]
}

/// Runs a command until it ends; fails the test if that takes longer than [`PATIENCE`].
pub fn run_to_end(command: &mut Command) -> Output {
    run_within(PATIENCE, command)
}

/// Runs a command until it ends, where the program may be patient itself for longer than usual.
pub fn run_within(patience: Duration, command: &mut Command) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let stdout = std::thread::spawn(move || read_all(&mut out));
    let stderr = std::thread::spawn(move || read_all(&mut err));
    let code = wait(patience, &mut child);
    let (stdout, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());
    // A killed program may have been writing its last line.
    schema::check_events(stdout.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')));
    Output { code, stdout, stderr }
}

fn read_all(from: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    from.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Waits until a process ends; kills it and fails the test if that takes too long. Returns the exit code, `None` after a signal.
fn wait(patience: Duration, child: &mut Child) -> Option<i32> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if start.elapsed() > patience {
            child.kill().unwrap();
            panic!("the program did not end within {patience:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A running `watch`.
pub struct Daemon {
    child: Child,
    lines: mpsc::Receiver<String>,
    seen: std::cell::RefCell<Vec<String>>,
}

impl Daemon {
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        let streams: [Box<dyn Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for stream in streams {
            let sender = sender.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
                    if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                        return;
                    }
                }
            });
        }
        Self { child, lines, seen: std::cell::RefCell::default() }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line with this text, on standard output or standard error, after the lines that were waited for before.
    pub fn wait_for(&self, text: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let line = self.lines.recv_timeout(end.saturating_duration_since(Instant::now()));
            let Ok(line) = line else { panic!("{text:?} was never printed, but:\n{}", self.seen.borrow().join("\n")) };
            self.seen.borrow_mut().push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
    }

    /// All lines that the program has printed so far.
    pub fn output_so_far(&self) -> String {
        self.seen.borrow_mut().extend(self.lines.try_iter());
        self.seen.borrow().join("\n")
    }

    pub fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.pid().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// Waits until the program ends; returns the exit code, and all lines of both streams as standard output.
    pub fn end(mut self) -> Output {
        let code = wait(PATIENCE, &mut self.child);
        let mut all = self.seen.take();
        all.extend(self.lines.iter());
        if code.is_some() {
            schema::check_events(all.iter().map(String::as_str));
        }
        Output { code, stdout: all.join("\n"), stderr: String::new() }
    }

    /// Stops the program with SIGTERM, and waits until it ends.
    pub fn stop(self) -> Output {
        self.signal("-TERM");
        self.end()
    }

    /// Kills the program with SIGKILL, as a crash would.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // The program has ended already, or the test has failed.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Waits until a condition holds; fails the test if it does not within [`PATIENCE`].
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The files below a folder, as paths relative to it. Private folders below it are left out; in a private folder itself, the lock file is.
pub fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && entry.file_name() != ".astran-backup" => folders.push(entry.path()),
                Ok(_) if folder.ends_with(".astran-backup") && entry.path() == folder.join("lock") => {}
                Ok(kind) if !kind.is_dir() => files.push(entry.path().strip_prefix(folder).unwrap().to_owned()),
                _ => {}
            }
        }
    }
    files
}

/// Writes a file piece by piece with pauses, as a slow program does.
pub fn write_slowly(path: &Path, pieces: usize, piece: &[u8], pause: Duration) {
    let mut file = std::fs::File::create(path).unwrap();
    for _ in 0..pieces {
        file.write_all(piece).unwrap();
        std::thread::sleep(pause);
    }
}
