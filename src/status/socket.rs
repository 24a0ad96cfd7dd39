//! The Unix socket in the state directory at which a daemon tells its status: whoever connects gets one line of JSON.
//!
//! The state directory belongs to the user alone (mode 0700), so nobody else can connect. Each daemon has a socket of its own, because
//! several may share a state directory and hold different folders. A daemon that was killed leaves its socket; the next one removes it.

use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustix::fs::{Mode, OFlags};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{UnixListener, UnixStream};
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

/// The running server. Dropping it ends the server and removes the socket.
#[derive(Debug)]
pub(crate) struct Server {
    _task: JoinSet<()>,
    state_dir: OwnedFd,
    name: String,
}

/// Why the status of the daemons can't be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// The state directory can't be read.
    #[error("the state directory {} can't be read: {source}", .path.display())]
    StateDir { path: PathBuf, source: io::Error },
    /// A daemon listens there and does not answer as one of this version does.
    #[error("a daemon with the socket {} gives no status: {source}", .socket.display())]
    Answer { socket: PathBuf, source: io::Error },
}

impl Server {
    /// Starts to tell the status, and removes the sockets of daemons that were killed. Blocks for a moment.
    pub(crate) fn start(state_dir: &Path, gatherer: Gatherer) -> io::Result<Self> {
        let state_dir = open(state_dir)?;
        for name in names(&state_dir)? {
            if matches!(BlockingStream::connect(place(&state_dir, &name)), Err(error) if error.kind() == io::ErrorKind::ConnectionRefused)
            {
                removal::remove_socket(&state_dir, &name)?;
            }
        }
        let name = format!("{PREFIX}{}{SUFFIX}", random_digits()?);
        let listener = UnixListener::bind(place(&state_dir, &name))?;
        let mut task = JoinSet::new();
        task.spawn(accept_all(listener, gatherer));
        Ok(Self { _task: task, state_dir, name })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = removal::remove_socket(&self.state_dir, &self.name) {
            tracing::debug!("the socket for the status can't be removed: {error}");
        }
    }
}

/// The state directory, held open: its path may be too long for the address of a socket.
fn open(state_dir: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(state_dir, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
}

/// A short path to a socket.
fn place(state_dir: &OwnedFd, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{name}", state_dir.as_raw_fd()))
}

/// The names of all sockets for the status.
fn names(state_dir: &OwnedFd) -> io::Result<Vec<String>> {
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
                        tracing::debug!("somebody asked for the status, and did not read it");
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
    // Whoever asked may be gone.
    stream.write_all(line.as_bytes()).await.ok();
    stream.shutdown().await.ok();
}

/// Asks all daemons of a state directory. Blocks, for some seconds at most with each.
pub(crate) fn ask_all(state_dir: &Path) -> Result<Vec<Snapshot>, AskError> {
    let unreadable = |source: io::Error| AskError::StateDir { path: state_dir.to_owned(), source };
    let dir = match open(state_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(unreadable)?,
    };
    let mut snapshots = Vec::new();
    for name in names(&dir).map_err(unreadable)? {
        match ask(&place(&dir, &name)) {
            Ok(snapshot) => snapshots.push(snapshot),
            // The daemon was killed, or has just ended.
            Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => {}
            Err(source) => return Err(AskError::Answer { socket: state_dir.join(name), source }),
        }
    }
    Ok(snapshots)
}

fn ask(socket: &Path) -> io::Result<Snapshot> {
    let stream = BlockingStream::connect(socket)?;
    stream.set_read_timeout(Some(budget::STATUS_CONNECTION))?;
    let mut line = Vec::new();
    stream.take(budget::STATUS_BYTES).read_to_end(&mut line).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => io::Error::new(io::ErrorKind::TimedOut, "it does not answer"),
        _ => error,
    })?;
    serde_json::from_slice(&line).map_err(io::Error::other)
}
