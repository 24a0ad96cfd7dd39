//! Named steps at which tests kill the process. Without the feature `failpoints`, which no release has, they do nothing.
//!
//! `ASTRAN_BACKUP_FAILPOINT=NAME` kills the process when it first reaches the step NAME, `NAME:N` when it reaches the step for the
//! Nth time. The signal is SIGKILL, so that only the system flushes, closes and cleans up, as in a crash.
//! `ASTRAN_BACKUP_PANIC=NAME` makes the program panic at the step, each time.
//! `ASTRAN_BACKUP_PAUSES=NAME,NAME` makes each of these steps take some milliseconds, so that other threads and processes meet it.

#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub(crate) fn failpoint(_: &str) {}

#[cfg(feature = "failpoints")]
pub(crate) use armed::failpoint;

#[cfg(feature = "failpoints")]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use rustix::process::{Signal, getpid, kill_process};

    static ARMED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static REACHED: AtomicU64 = AtomicU64::new(0);

    static PANIC: OnceLock<Option<String>> = OnceLock::new();
    static PAUSES: OnceLock<Vec<String>> = OnceLock::new();
    const PAUSE: Duration = Duration::from_millis(15);

    pub(crate) fn failpoint(name: &str) {
        if PAUSES.get_or_init(pauses).iter().any(|pause| pause == name) {
            std::thread::sleep(PAUSE);
        }
        assert!(
            PANIC.get_or_init(|| std::env::var("ASTRAN_BACKUP_PANIC").ok()).as_deref() != Some(name),
            "a panic that the test wants"
        );
        let Some((armed, nth)) = ARMED.get_or_init(read) else { return };
        if armed == name && REACHED.fetch_add(1, Ordering::Relaxed) + 1 == *nth {
            kill_process(getpid(), Signal::KILL).ok();
            // Another thread may receive the signal first, so this thread must not go on meanwhile.
            loop {
                std::thread::park();
            }
        }
    }

    fn pauses() -> Vec<String> {
        let names = std::env::var("ASTRAN_BACKUP_PAUSES").unwrap_or_default();
        names.split(',').map(str::to_owned).collect()
    }

    fn read() -> Option<(String, u64)> {
        let armed = std::env::var("ASTRAN_BACKUP_FAILPOINT").ok()?;
        match armed.split_once(':') {
            Some((name, nth)) => Some((name.to_owned(), nth.parse().ok()?)),
            None => Some((armed, 1)),
        }
    }
}
