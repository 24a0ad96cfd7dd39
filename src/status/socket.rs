//! The Unix socket in the state directory at which a daemon tells its status: who connects gets one line of JSON.
//!
//! The socket has mode 0600, so that only the same user and root can connect: names of files concern nobody else, and the state directory
//! may be open to others. Each daemon has a socket of its own, because several may share a state directory and hold different folders.
//! A daemon that was killed leaves its socket; the next one removes it.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, Mode, OFlags, fchmod, flock};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixSocket, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};

use super::{Gatherer, Snapshot};
use crate::budget;
use crate::events;
use crate::file::staged_name::random_digits;
use crate::removal;

const PREFIX: &str = "status-";
const SUFFIX: &str = ".socket";

/// The pause after a connection could not be accepted: mostly the process has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// The running server. Dropping it ends the server, removes the socket and closes the gatherer.
#[derive(Debug)]
pub(crate) struct Server {
    _task: JoinSet<()>,
    state_dir: OwnedFd,
    name: String,
    gatherer: Gatherer,
}

/// A daemon that listens, and gives no status. A person has to look at it.
#[derive(Debug, thiserror::Error)]
#[error("{} gives no status: {why}", daemon(*.pid, .socket))]
pub(crate) struct Silent {
    pid: Option<i32>,
    socket: PathBuf,
    why: NoAnswer,
}

/// What keeps a daemon from telling its status.
#[derive(Debug, thiserror::Error)]
enum NoAnswer {
    #[error("no answer came within {} s; look whether it hangs or is stopped, and restart it", budget::STATUS_CONNECTION.as_secs())]
    Late,
    #[error("{0}")]
    Io(#[source] io::Error),
    #[error("its answer is not one of this version ({0}); restart it, if the program was updated")]
    Unreadable(#[source] serde_json::Error),
}

fn daemon(pid: Option<i32>, socket: &Path) -> String {
    match pid {
        Some(pid) => format!("the daemon with pid {pid}"),
        None => format!("the daemon at {}", socket.display()),
    }
}

/// What the daemons of a state directory say.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    pub(crate) snapshots: Vec<Snapshot>,
    pub(crate) silent: Vec<Silent>,
}

impl Server {
    /// Starts to tell the status, and removes the sockets of daemons that were killed. Blocks for a moment.
    pub(crate) fn start(state_dir: &Path, gatherer: Gatherer) -> io::Result<Self> {
        let state_dir = open(state_dir)?;
        // A socket that is bound and does not listen yet looks like that of a killed daemon, so only one process at a time does both.
        // Where the file system has no such locks, a daemon that starts in the same millisecond may lose its socket.
        flock(&state_dir, FlockOperation::LockExclusive).ok();
        remove_left_over(&state_dir)?;
        let name = format!("{PREFIX}{}{SUFFIX}", random_digits()?);
        let listener = bind(&place(&state_dir, &name))?;
        flock(&state_dir, FlockOperation::Unlock).ok();
        let mut task = JoinSet::new();
        task.spawn(accept_all(listener, gatherer.clone()));
        Ok(Self { _task: task, state_dir, name, gatherer })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.gatherer.close();
        if let Err(error) = removal::remove_socket(&self.state_dir, &self.name) {
            tracing::debug!("the socket for the status can't be removed: {error}");
        }
    }
}

fn remove_left_over(state_dir: &OwnedFd) -> io::Result<()> {
    for name in names(state_dir)? {
        let connected = std::os::unix::net::UnixStream::connect(place(state_dir, &name));
        if connected.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
            removal::remove_socket(state_dir, &name)?;
        }
    }
    Ok(())
}

fn bind(place: &Path) -> io::Result<UnixListener> {
    let socket = UnixSocket::new_stream()?;
    // Linux gives the file in the folder the mode that the socket has when it is bound: at no time can other users connect.
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    socket.bind(place)?;
    socket.listen(64)
}

/// The state directory, held open: its path may be too long for the address of a socket.
pub(super) fn open(state_dir: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(state_dir, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// A short path to a socket.
pub(super) fn place(state_dir: &OwnedFd, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", state_dir.as_raw_fd()))
}

/// The names of all sockets for the status.
pub(super) fn names(state_dir: &OwnedFd) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(state_dir)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with(PREFIX) && name.ends_with(SUFFIX) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

async fn accept_all(listener: UnixListener, gatherer: Gatherer) {
    let places = Arc::new(Semaphore::new(budget::STATUS_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let gatherer = gatherer.clone();
                connections.spawn(async move {
                    if timeout(budget::STATUS_CONNECTION, answer(stream, gatherer)).await.is_err() {
                        tracing::debug!("a client asked for the status, and did not read it");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!("a connection to the status can't be accepted: {error}");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn answer(mut stream: UnixStream, gatherer: Gatherer) {
    let Ok(snapshot) = spawn_blocking(move || gatherer.snapshot()).await else { return };
    let line = events::line(&snapshot, SystemTime::now()) + "\n";
    // The client may be gone.
    stream.write_all(line.as_bytes()).await.ok();
    stream.shutdown().await.ok();
}

/// Asks all daemons of a state directory at once. The error is that of the state directory.
pub(crate) async fn ask_all(state_dir: &Path) -> io::Result<Answers> {
    let path = state_dir.to_owned();
    let listed = spawn_blocking(move || open(&path).and_then(|dir| Ok((names(&dir)?, Arc::new(dir))))).await;
    let (names, dir) = match listed.map_err(io::Error::other)? {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Answers::default()),
        listed => listed?,
    };
    let mut asking = JoinSet::new();
    for name in names {
        let (dir, socket) = (Arc::clone(&dir), state_dir.join(&name));
        asking.spawn(async move { ask(&place(&dir, &name), socket).await });
    }
    let mut answers = Answers::default();
    while let Some(asked) = asking.join_next().await {
        match asked.map_err(io::Error::other)? {
            Ok(snapshot) => answers.snapshots.extend(snapshot),
            Err(silent) => answers.silent.push(silent),
        }
    }
    answers.snapshots.sort_by(|a, b| (&a.since, a.pid).cmp(&(&b.since, b.pid)));
    Ok(answers)
}

/// Asks one daemon. Returns `None` where the daemon was killed, or ended just now.
async fn ask(place: &Path, socket: PathBuf) -> Result<Option<Snapshot>, Silent> {
    let mut pid = None;
    let why = match timeout(budget::STATUS_CONNECTION, answer_of(place, &mut pid)).await {
        Ok(Ok(line)) => match serde_json::from_slice(&line) {
            Ok(snapshot) => return Ok(Some(snapshot)),
            Err(error) => NoAnswer::Unreadable(error),
        },
        Ok(Err(error)) => NoAnswer::Io(error),
        Err(_) => NoAnswer::Late,
    };
    // A daemon that ends cuts its connections. An answer that is late is not asked for twice.
    if !matches!(why, NoAnswer::Late) && is_gone(place).await {
        return Ok(None);
    }
    Err(Silent { pid, socket, why })
}

async fn answer_of(place: &Path, pid: &mut Option<i32>) -> io::Result<Vec<u8>> {
    let stream = UnixStream::connect(place).await?;
    *pid = stream.peer_cred().ok().and_then(|credentials| credentials.pid());
    let mut line = Vec::new();
    stream.take(budget::STATUS_BYTES).read_to_end(&mut line).await?;
    Ok(line)
}

async fn is_gone(place: &Path) -> bool {
    let connected = UnixStream::connect(place).await;
    connected.is_err_and(|error| matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::observe::health::Health;

    fn gatherer() -> Gatherer {
        Gatherer::without_daemon(Health::default(), None, None)
    }

    #[tokio::test]
    async fn only_the_same_user_can_connect() {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::start(dir.path(), gatherer()).unwrap();
        let mode = std::fs::metadata(dir.path().join(&server.name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    /// A socket that is bound and does not listen yet looks like that of a killed daemon.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn daemons_that_start_at_once_do_not_remove_each_others_sockets() {
        let dir = tempfile::tempdir().unwrap();
        let mut starting = JoinSet::new();
        for _ in 0..32 {
            let dir = dir.path().to_owned();
            starting.spawn_blocking(move || Server::start(&dir, gatherer()).unwrap());
        }
        let servers = starting.join_all().await;
        assert_eq!(ask_all(dir.path()).await.unwrap().snapshots.len(), servers.len());
        drop(servers);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_daemon_that_does_not_answer_is_named_and_hides_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let _answers = Server::start(dir.path(), gatherer()).unwrap();
        let _stopped = std::os::unix::net::UnixListener::bind(dir.path().join("status-0.socket")).unwrap();
        let Answers { snapshots, silent } = ask_all(dir.path()).await.unwrap();
        let [silent] = silent.as_slice() else { panic!("{silent:?}") };
        assert_eq!(snapshots.len(), 1);
        let pid = std::process::id();
        assert_eq!(
            silent.to_string(),
            format!(
                "the daemon with pid {pid} gives no status: no answer came within 15 s; look whether it hangs or is stopped, and restart it"
            )
        );
    }

    #[tokio::test]
    async fn an_answer_of_another_version_is_said_to_be_one() {
        let dir = tempfile::tempdir().unwrap();
        let other = UnixListener::bind(dir.path().join("status-0.socket")).unwrap();
        let answering = async {
            let (mut stream, _) = other.accept().await.unwrap();
            stream.write_all(b"{\"v\":7}").await.unwrap();
        };
        let (answers, ()) = tokio::join!(ask_all(dir.path()), answering);
        let silent = answers.unwrap().silent;
        assert!(matches!(silent[0].why, NoAnswer::Unreadable(_)), "{silent:?}");
    }
}
