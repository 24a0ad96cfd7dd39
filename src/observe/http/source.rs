//! What the program makes on request (the status of `/status.json`, the look for `/metrics`), kept for a moment because clients may ask for it often.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

use crate::budget;

/// The status as JSON, one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusText {
    /// With the names of files, folders, users and hosts.
    pub with_names: Bytes,
    /// The same without them.
    pub without_names: Bytes,
}

/// Makes something when it is asked for. Clones share the last one.
#[derive(Clone)]
pub struct Source<T> {
    make: Arc<dyn Fn() -> T + Send + Sync>,
    last: Arc<Mutex<Option<Kept<T>>>>,
}

/// What was made, and how long others get it too.
struct Kept<T> {
    result: T,
    made: Instant,
    fresh_for: Duration,
}

impl<T> fmt::Debug for Source<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source")
    }
}

impl<T: Clone + Send + 'static> Source<T> {
    /// A source that calls `make`, which may block.
    pub fn new(make: impl Fn() -> T + Send + Sync + 'static) -> Self {
        Self { make: Arc::new(make), last: Arc::default() }
    }

    /// The newest result; `None` where it could not be made in time, because the file system of a folder does not answer.
    pub(super) async fn get(&self) -> Option<T> {
        let getting = async {
            let mut last = Arc::clone(&self.last).lock_owned().await;
            if let Some(kept) = last.as_ref().filter(|kept| kept.made.elapsed() < kept.fresh_for) {
                return Some(kept.result.clone());
            }
            let make = Arc::clone(&self.make);
            // The lock goes along, so that a file system that hangs holds one thread, however many clients ask and give up.
            let making = spawn_blocking(move || {
                let start = Instant::now();
                let result = make();
                // What takes long to make is kept as long, so that the folders are looked at no more than half of the time.
                let fresh_for = start.elapsed().max(budget::PAGE_FRESH);
                *last = Some(Kept { result: result.clone(), made: Instant::now(), fresh_for });
                result
            });
            making.await.ok()
        };
        timeout(budget::PAGE_STATUS, getting).await.ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    fn counting(takes: Duration) -> (Arc<AtomicUsize>, Source<StatusText>) {
        let made = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&made);
        let source = Source::new(move || {
            std::thread::sleep(takes);
            let text = Bytes::from(counter.fetch_add(1, Ordering::Relaxed).to_string());
            StatusText { with_names: text.clone(), without_names: text }
        });
        (made, source)
    }

    #[tokio::test]
    async fn many_clients_share_one_look() {
        let (made, source) = counting(Duration::from_millis(20));
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let source = source.clone();
            clients.spawn(async move { source.get().await });
        }
        assert!(clients.join_all().await.iter().all(Option::is_some));
        assert_eq!(made.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_file_system_that_hangs_holds_one_thread_and_no_client() {
        let (release, released) = mpsc::channel::<()>();
        let (made, released) = (Arc::new(AtomicUsize::new(0)), std::sync::Mutex::new(released));
        let counter = Arc::clone(&made);
        let source = Source::new(move || {
            counter.fetch_add(1, Ordering::Relaxed);
            released.lock().unwrap().recv().ok();
            StatusText { with_names: Bytes::new(), without_names: Bytes::new() }
        });
        // The clients give up: their connections are cut.
        for _ in 0..5 {
            assert!(timeout(Duration::from_millis(20), source.get()).await.is_err());
        }
        assert_eq!(made.load(Ordering::Relaxed), 1);
        drop(release);
        assert!(source.get().await.is_some(), "it answers again");
    }
}
