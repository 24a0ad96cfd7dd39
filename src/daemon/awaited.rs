//! A folder that can't be opened at the start, a share that is not mounted perhaps: it is waited for, and joins the others when it
//! appears.

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::start::{Started, recover, recovered};
use super::{Run, Tally, WatchedFolder, failed_before, folder, stop};
use crate::budget;
use crate::observe::health::{Component, Condition};
use crate::shutdown::{Shutdown, Stop};
use crate::upload::Report;
use crate::vault::Vault;

/// A folder that could not be opened at the start.
pub struct AwaitedFolder {
    /// Where it will lie: the path of its root once it is open.
    pub place: PathBuf,
    /// Why it is not watched. The daemon adds it to the health, and clears it when the folder joins.
    pub condition: Condition,
    /// The same folder runs with other settings, and leaves first: resolves when it has left. The daemon adds it where that began earlier.
    pub after: Option<oneshot::Receiver<()>>,
    /// Resolves once the folder is open and locked.
    pub appears: Pin<Box<dyn Future<Output = WatchedFolder> + Send>>,
}

impl fmt::Debug for AwaitedFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwaitedFolder").field("place", &self.place).finish_non_exhaustive()
    }
}

/// Waits for the folder, and runs it until its end. The other folders run already, so whatever goes wrong ends only this one.
pub(super) async fn run<V, F>(run: Arc<Run<V, F>>, awaited: AwaitedFolder, mut shutdown: Shutdown) -> Tally
where
    V: Vault,
    F: Fn(&Report) + Send + Sync + 'static,
{
    let AwaitedFolder { place, condition, after, mut appears } = awaited;
    if let Some(left) = after {
        tokio::select! {
            biased;
            // Not where this one is to leave too: a third one may wait for that, and must not come before the first one has left.
            () = shutdown.reached(Stop::Gently) => return Tally::default(),
            // An error: it had ended before.
            _ = left => {}
        }
    }
    run.health.add(Component::Folder(place.display().to_string()), Arc::new(condition.clone()));
    let folder = tokio::select! {
        biased;
        () = shutdown.reached(Stop::Leave) => {
            // A try that is under way may lock the folder just now, and the folder's next settings need the lock.
            if shutdown.requested() == Stop::Leave
                && let Ok(folder) = timeout(budget::TIDY, &mut appears).await
            {
                stop::release(folder.root, &shutdown).await;
            }
            return Tally::default();
        }
        folder = &mut appears => folder,
    };
    let root = Arc::clone(&folder.root);
    let recovery = recover(run.shared.journal().clone(), Arc::clone(&root));
    if let Err(tally) = recovered(recovery, &condition, shutdown.clone()).await {
        stop::release(root, &shutdown).await;
        return tally;
    }
    tracing::info!("the folder is there; watching it from now on");
    failed_before::remind(run.shared.journal().clone(), vec![root.path().to_owned()]);
    let started = Started { folder, late: None, condition: Some(condition.clone()) };
    match folder::run(run, started, shutdown.clone()).await {
        Ok(tally) => tally,
        Err(fatal) => {
            condition.raise("it can't be watched; the log says why");
            tracing::error!("it is not watched until the next start: {fatal}");
            stop::release(root, &shutdown).await;
            Tally { failed: 1, ..Tally::default() }
        }
    }
}
