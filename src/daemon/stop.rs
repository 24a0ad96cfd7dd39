//! The end of a run: how long a stop waits for files under way, and what is removed from the folders.

use std::sync::Arc;

use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};
use tracing::Instrument as _;

use super::span_of;
use crate::budget;
use crate::file::Root;
use crate::removal;
use crate::shutdown::{Grace, Shutdown, Stop};

/// Resolves when a stop does not wait any longer for files under way.
///
/// The uploads have `grace`, which a second signal ends. The removals have [`budget::TIDY`] more, so that a file with a receipt is
/// still removed. They have a limit too, because a removal on a file system that does not answer would keep the program from ending.
pub(crate) async fn patience_after_stop(grace: impl Into<Grace>, mut shutdown: Shutdown) {
    let grace = grace.into();
    let mut second_signal = shutdown.clone();
    let grace_ends = async {
        shutdown.reached(Stop::Gently).await;
        sleep(grace.get()).await;
    };
    tokio::select! {
        () = grace_ends => {}
        () = second_signal.reached(Stop::Now) => {}
    }
    sleep(budget::TIDY).await;
}

/// Removes the private folder of a watched folder, where it is empty. The wait has a limit, so that a network share that
/// hangs does not keep the program from ending.
pub(super) async fn tidy(root: Arc<Root>) {
    let tidying = spawn_blocking(move || removal::tidy(&root));
    if timeout(budget::TIDY, tidying).await.is_err() {
        tracing::warn!("its file system does not answer; an empty private folder may be left there");
    }
}

/// Lets go of a folder that ends: tidies it, and where the program goes on, unlocks it. It may come back with other settings, and must not be shut
/// out by its old lock.
pub(super) async fn release(root: Arc<Root>, shutdown: &Shutdown) {
    tidy(Arc::clone(&root)).await;
    if shutdown.requested() < Stop::Gently {
        root.unlock();
    }
}

/// Removes the empty private folders of several watched folders, side by side.
pub(crate) async fn tidy_all(roots: impl IntoIterator<Item = Arc<Root>>) {
    let tidy_in_span = |root: Arc<Root>| {
        let span = span_of(&root);
        tidy(root).instrument(span)
    };
    roots.into_iter().map(tidy_in_span).collect::<JoinSet<()>>().join_all().await;
}
