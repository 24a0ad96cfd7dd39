//! A folder that can't be opened at the start, a share that is not mounted perhaps: it is waited for, and joins the others when it
//! appears.

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use super::start::{Started, recover, recovered};
use super::{Run, Tally, WatchedFolder, failed_before, folder, stop};
use crate::observe::health::{Component, Condition};
use crate::shutdown::Stop;
use crate::upload::Report;
use crate::vault::Vault;

/// A folder that could not be opened at the start.
pub struct AwaitedFolder {
    /// Where it will lie: the path of its root once it is open.
    pub place: PathBuf,
    /// Why it is not watched. The daemon adds it to the health, and clears it when the folder joins.
    pub condition: Condition,
    /// Resolves once the folder is open and locked.
    pub appears: Pin<Box<dyn Future<Output = WatchedFolder> + Send>>,
}

impl fmt::Debug for AwaitedFolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwaitedFolder").field("place", &self.place).finish_non_exhaustive()
    }
}

/// Waits for the folder, and runs it until its end. The other folders run already, so whatever goes wrong ends only this one.
pub(super) async fn run<V, F>(run: Arc<Run<V, F>>, awaited: AwaitedFolder) -> Tally
where
    V: Vault,
    F: Fn(&Report) + Send + Sync + 'static,
{
    let AwaitedFolder { place, condition, appears } = awaited;
    run.health.add(Component::Folder(place.display().to_string()), Arc::new(condition.clone()));
    let mut shutdown = run.shutdown.clone();
    let folder = tokio::select! {
        biased;
        () = shutdown.reached(Stop::Gently) => return Tally::default(),
        folder = appears => folder,
    };
    let root = Arc::clone(&folder.root);
    let recovery = recover(run.shared.journal().clone(), Arc::clone(&root));
    if let Err(tally) = recovered(recovery, &condition, shutdown).await {
        stop::tidy(root).await;
        return tally;
    }
    tracing::info!("the folder is there; watching it from now on");
    failed_before::remind(run.shared.journal().clone(), vec![root.path().to_owned()]);
    let started = Started { folder, late: None, condition: Some(condition.clone()) };
    match folder::run(run, started).await {
        Ok(tally) => tally,
        Err(fatal) => {
            condition.raise("it can't be watched; the log says why");
            tracing::error!("it is not watched until the next start: {fatal}");
            stop::tidy(root).await;
            Tally { failed: 1, ..Tally::default() }
        }
    }
}
