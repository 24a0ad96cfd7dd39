//! Tells systemd how the daemon is (`sd_notify`): when it is ready, reloads or stops, in one line what it does, and that it is alive.
//!
//! Where the variable `NOTIFY_SOCKET` is not set, nothing happens. No upload ever waits for the service manager: each message is sent by the
//! task that has it, and is dropped where the service manager does not take it within a second.

mod watchdog;
mod words;

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::ZonedDateTime;
use tokio::net::UnixDatagram;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep, timeout};

use crate::budget;
use crate::observe::health::Health;
use crate::shutdown::{Shutdown, Stop};
use crate::status::Gatherer;
use watchdog::OwnStall;
use words::Facts;

/// The time between two looks at what the status line says. It is sent only where it has changed.
const TICK: Duration = Duration::from_secs(3);

/// The variables by which systemd tells a service where and how often it wants to hear of it. `secret` takes them out of the environment of the
/// commands that it runs.
const VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// The service manager. Clones tell the same one.
#[derive(Debug, Clone)]
pub(crate) struct ServiceManager(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Where messages go; `None` where nobody wants to hear of this process.
    address: Option<OsString>,
    /// How long the service manager waits for a sign of life.
    watchdog: Option<Duration>,
    told: Mutex<Told>,
    /// Held while a message is sent, so that all arrive in their order.
    sending: tokio::sync::Mutex<()>,
}

/// What was told.
#[derive(Debug, Default)]
struct Told {
    is_ready: bool,
    is_stopping: bool,
    status: String,
    /// What people should know of the last reload.
    note: Option<String>,
}

/// The tasks that tell how the daemon is. They end when this is dropped.
#[derive(Debug)]
pub(crate) struct Telling(#[expect(dead_code, reason = "dropping it ends the tasks")] JoinSet<()>);

impl ServiceManager {
    /// The service manager that the variables name. `variable` reads an environment variable that is set and not empty.
    pub(crate) fn new(variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let [address, usec, pid] = VARIABLES.map(variable);
        let number = |text: Option<OsString>| text.and_then(|text| text.to_str()?.parse::<u64>().ok());
        // A process that inherited the variables is not the one that is waited for.
        let is_for_us = pid.is_none() || number(pid) == Some(u64::from(std::process::id()));
        let watchdog = number(usec).filter(|usec| *usec > 0 && is_for_us).map(Duration::from_micros);
        Self(Arc::new(Inner { address, watchdog, told: Mutex::default(), sending: tokio::sync::Mutex::default() }))
    }

    /// Starts to tell what the daemon does: the status line, the signs of life, and the stop.
    pub(crate) fn keep_telling(&self, health: &Health, gatherer: &Gatherer, shutdown: Shutdown) -> Telling {
        let mut tasks = JoinSet::new();
        if self.0.address.is_some() {
            tasks.spawn(keep_status(self.clone(), health.clone(), gatherer.clone(), shutdown));
            if let Some(patience) = self.0.watchdog {
                tasks.spawn(feed_watchdog(self.clone(), health.clone(), gatherer.clone(), patience));
            }
        }
        Telling(tasks)
    }

    /// The daemon watches, or waits only for what comes by itself. Told once.
    pub(crate) async fn ready(&self) {
        if !std::mem::replace(&mut self.told().is_ready, true) {
            self.send("READY=1\n").await;
        }
    }

    /// The daemon reads its configuration again.
    pub(crate) async fn reloading(&self) {
        let Ok(now) = monotonic_now() else { return };
        self.send(&format!("RELOADING=1\n{now}\n")).await;
    }

    /// The reload has ended. The note is part of the status line until the next reload.
    pub(crate) async fn reloaded(&self, note: Option<String>) {
        {
            let mut told = self.told();
            (told.note, told.is_ready) = (note, true);
        }
        self.send("READY=1\n").await;
    }

    /// The daemon stops. Told once.
    pub(crate) async fn stopping(&self) {
        if !std::mem::replace(&mut self.told().is_stopping, true) {
            self.send("STOPPING=1\n").await;
        }
    }

    async fn status(&self, facts: &Facts) {
        let status = words::status(facts, &ZonedDateTime::now());
        if std::mem::replace(&mut self.told().status, status.clone()) != status {
            self.send(&format!("STATUS={status}\n")).await;
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(&self, message: &str) {
        let Some(address) = &self.0.address else { return };
        let sending = async {
            let _in_order = self.0.sending.lock().await;
            connect(address)?.send(message.as_bytes()).await
        };
        match timeout(budget::SERVICE_MANAGER, sending).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::debug!("the service manager can't be told: {error}"),
            Err(_elapsed) => tracing::debug!("the service manager does not take what it is told"),
        }
    }
}

/// A socket to this address: a path or, with `@`, a name without a file. A new one for each message, because the service manager may have been
/// replaced since the last one.
fn connect(address: &OsStr) -> io::Result<UnixDatagram> {
    let socket = std::os::unix::net::UnixDatagram::unbound()?;
    match address.as_bytes().strip_prefix(b"@") {
        #[cfg(target_os = "linux")]
        Some(name) => {
            use std::os::linux::net::SocketAddrExt as _;
            socket.connect_addr(&std::os::unix::net::SocketAddr::from_abstract_name(name)?)?;
        }
        _ => socket.connect(Path::new(address))?,
    }
    socket.set_nonblocking(true)?;
    UnixDatagram::from_std(socket)
}

/// The time of the kernel's monotonic clock, as a message: systemd tells by it a reload that it asked for from an earlier one.
#[cfg(target_os = "linux")]
fn monotonic_now() -> io::Result<impl std::fmt::Display> {
    sd_notify::NotifyState::monotonic_usec_now()
}

#[cfg(not(target_os = "linux"))]
fn monotonic_now() -> io::Result<String> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Keeps the status line up to date for ever. A stop is told at once.
async fn keep_status(manager: ServiceManager, health: Health, gatherer: Gatherer, mut shutdown: Shutdown) {
    loop {
        let is_stopping = shutdown.requested() >= Stop::Gently;
        if is_stopping {
            manager.stopping().await;
        }
        let facts = Facts {
            brief: brief(&gatherer).await,
            troubles: health.check_all().into_iter().filter(|checked| checked.trouble.is_some()).collect(),
            note: manager.told().note.clone(),
            is_stopping,
        };
        manager.status(&facts).await;
        tokio::select! {
            () = sleep(TICK) => {}
            () = shutdown.reached(Stop::Gently), if !is_stopping => {}
        }
    }
}

/// Asks the journal how much was stored today, which blocks.
async fn brief(gatherer: &Gatherer) -> crate::status::Brief {
    let gatherer = gatherer.clone();
    spawn_blocking(move || gatherer.brief()).await.unwrap_or_default()
}

/// Gives signs of life for ever, three of them in the time that the service manager waits for one. A runtime that is stuck gives none, as
/// this task does not run then; and none is given while this program's own parts stand still (see [`OwnStall`]).
async fn feed_watchdog(manager: ServiceManager, health: Health, gatherer: Gatherer, patience: Duration) {
    let mut stall = OwnStall::default();
    loop {
        if stall.is_over(&health.check_all(), gatherer.uploads_in_flight(), Instant::now()) {
            manager.send("WATCHDOG=1\n").await;
        } else {
            tracing::error!(
                "files wait and none moves, though service, login, journal and folders are fine: the service manager is to restart this \
                 program"
            );
        }
        sleep(patience / 3).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shutdown;

    /// A service manager that can be listened to.
    struct Listening {
        _dir: tempfile::TempDir,
        socket: std::os::unix::net::UnixDatagram,
        manager: ServiceManager,
    }

    fn listening(more: &[(&str, &str)]) -> Listening {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let more: Vec<_> = more.iter().map(|(name, value)| (name.to_string(), OsString::from(value))).collect();
        let manager = ServiceManager::new(|name| {
            let given = more.iter().find(|(given, _)| given == name).map(|(_, value)| value.clone());
            given.or_else(|| (name == "NOTIFY_SOCKET").then(|| path.clone().into_os_string()))
        });
        Listening { _dir: dir, socket, manager }
    }

    impl Listening {
        fn next(&self) -> String {
            let mut buffer = [0; 4096];
            let length = self.socket.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..length].to_vec()).unwrap()
        }

        /// How many messages have come.
        fn count(&self) -> usize {
            self.socket.set_nonblocking(true).unwrap();
            std::iter::from_fn(|| self.socket.recv(&mut [0; 4096]).ok()).count()
        }
    }

    #[tokio::test]
    async fn ready_and_stopping_are_told_once_and_a_reload_ends_with_ready() {
        let listening = listening(&[]);
        let manager = &listening.manager;
        manager.ready().await;
        manager.ready().await;
        manager.reloading().await;
        manager.reloaded(None).await;
        manager.stopping().await;
        manager.stopping().await;
        assert_eq!(listening.next(), "READY=1\n");
        let reloading = listening.next();
        let usec = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().trim_end();
        assert!(usec.parse::<u64>().unwrap() > 0, "{reloading}");
        assert_eq!((listening.next(), listening.next()), ("READY=1\n".to_owned(), "STOPPING=1\n".to_owned()));
        assert_eq!(listening.count(), 0);
    }

    #[tokio::test]
    async fn without_a_socket_nothing_happens_and_one_that_nobody_reads_holds_up_nothing() {
        ServiceManager::new(|_| None).ready().await;
        let listening = listening(&[]);
        let start = std::time::Instant::now();
        let last = async {
            // The kernel holds some hundred messages for a reader at most.
            for _ in 0..2000 {
                if listening.manager.0.sending.try_lock().is_err() {
                    break;
                }
                tokio::spawn({
                    let manager = listening.manager.clone();
                    async move { manager.send("STATUS=x\n").await }
                });
                tokio::task::yield_now().await;
            }
            listening.manager.stopping().await;
        };
        timeout(Duration::from_secs(30), last).await.unwrap();
        assert!(start.elapsed() < 10 * budget::SERVICE_MANAGER, "{:?}", start.elapsed());
    }

    #[test]
    fn a_runtime_that_is_stuck_gives_no_sign_of_life() {
        let listening = listening(&[("WATCHDOG_USEC", "30000")]);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (_trigger, shutdown) = shutdown::channel();
        let gatherer = Gatherer::without_daemon(Health::default(), None, None);
        runtime.block_on(async {
            let _telling = listening.manager.keep_telling(&Health::default(), &gatherer, shutdown);
            while listening.count() == 0 {
                sleep(Duration::from_millis(5)).await;
            }
            // The only thread of the runtime is stuck.
            std::thread::sleep(Duration::from_millis(300));
            assert_eq!(listening.count(), 0);
            sleep(Duration::from_millis(60)).await;
            assert!(listening.count() > 0, "it moves again");
        });
    }

    #[test]
    fn the_watchdog_of_another_process_is_not_fed() {
        let watchdog = |pid: &str| listening(&[("WATCHDOG_USEC", "1000000"), ("WATCHDOG_PID", pid)]).manager.0.watchdog;
        assert_eq!(watchdog(&std::process::id().to_string()), Some(Duration::from_secs(1)));
        assert_eq!(watchdog("1"), None);
        for nonsense in ["0", "soon"] {
            assert_eq!(listening(&[("WATCHDOG_USEC", nonsense)]).manager.0.watchdog, None);
        }
    }
}
