//! The life of one process: a folder, a journal, the upload queue, and a scripted store.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use astran_backup::config::{Policy, Verify};
use astran_backup::file::lease::LeaseBreaks;
use astran_backup::file::{Root, Settled};
use astran_backup::journal::{AttemptId, Begun, Intent, Journal, Stored};
use astran_backup::observe::metrics::FolderMetrics;
use astran_backup::observe::stall::Activity;
use astran_backup::shutdown;
use astran_backup::upload::{Asked, MoveTargets, Options, Outcome, Report, Shared, Uploader};
use astran_backup::vault::{DocumentId, RemotePath};
use tokio::sync::mpsc;

use crate::fake_vault::FakeVault;
use crate::support::PATIENCE;
use crate::support::proof::sha256;

pub(crate) struct Life {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) root: Arc<Root>,
    pub(crate) journal: Journal,
    pub(crate) vault: Arc<FakeVault>,
    /// What waits, and what moves.
    pub(crate) flow: Activity,
    queue: mpsc::Sender<Settled>,
    reports: mpsc::UnboundedReceiver<Report>,
    /// Stops the process.
    pub(crate) trigger: shutdown::Trigger,
}

impl Life {
    /// A process that believes the store's answer (`verify = "answer"`), unless `change` says otherwise.
    pub(crate) fn new(change: impl FnOnce(&mut Policy)) -> Self {
        Self::with_grace(Duration::ZERO, change)
    }

    /// The same, where files under way have this grace after a stop.
    pub(crate) fn with_grace(grace: Duration, change: impl FnOnce(&mut Policy)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("watched")).unwrap();
        let root = Arc::new(Root::open(&dir.path().join("watched")).unwrap());
        let journal = Journal::open(&dir.path().join("state")).unwrap();
        let vault = Arc::new(FakeVault::default().with_every_folder());
        let mut policy = Policy { verify: Verify::Answer, ..Policy::default() };
        change(&mut policy);
        let shared = Shared::new(Arc::clone(&vault), journal.clone(), LeaseBreaks::install().unwrap(), None);
        let flow = shared.activity();
        let (sender, reports) = mpsc::unbounded_channel();
        let targets = MoveTargets::open(&policy).unwrap();
        let options =
            Options { policy, targets, dest: dest(), asked: Asked::ByWatch, counts: FolderMetrics::detached() };
        let uploader = Uploader::new(shared, options, sender);
        let (queue, files) = mpsc::channel(8);
        let (trigger, shutdown) = shutdown::channel();
        tokio::spawn(uploader.run(files, grace, shutdown));
        Self { dir, root, journal, vault, flow, queue, reports, trigger }
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// The journal's database, to change it as only a test may.
    pub(crate) fn sql(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.state().join("journal.sqlite")).unwrap()
    }

    /// Writes a file into the folder, making its sub-folders.
    pub(crate) fn put(&self, relative: &str, content: &[u8]) {
        let path = self.root.path().join(relative);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    pub(crate) fn is_there(&self, relative: &str) -> bool {
        self.root.path().join(relative).exists()
    }

    /// Hands a file over for upload.
    pub(crate) async fn hand_over(&self, relative: &str) {
        self.queue.send(Settled::new(Arc::clone(&self.root), relative.into())).await.unwrap();
    }

    /// Hands a file over that had this size when it settled.
    pub(crate) async fn hand_over_of_size(&self, relative: &str, size: u64) {
        let settled = Settled::new(Arc::clone(&self.root), relative.into()).of_size(size);
        self.queue.send(settled).await.unwrap();
    }

    /// Waits until so many uploads have begun. The paused clock does not move meanwhile, since this task never waits.
    pub(crate) async fn under_way(&self, uploads: usize) {
        while self.vault.uploads() < uploads {
            tokio::task::yield_now().await;
        }
    }

    /// The outcome of the next file.
    pub(crate) async fn outcome(&mut self) -> Outcome {
        // By the wall clock: the paused clock jumps to its next timer whenever only the journal's thread is at work.
        let (sender, over) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            std::thread::sleep(PATIENCE);
            sender.send(()).ok();
        });
        tokio::select! {
            report = self.reports.recv() => report.unwrap().outcome,
            _ = over => panic!("no outcome came"),
        }
    }

    /// Waits for the end of all reports, after a stop.
    pub(crate) async fn no_more_reports(&mut self) {
        assert!(self.reports.recv().await.is_none());
    }

    /// Hands a file over, and returns its outcome.
    pub(crate) async fn send(&mut self, relative: &str) -> Outcome {
        self.hand_over(relative).await;
        self.outcome().await
    }

    /// Writes the intent that a process which died has left of a file.
    pub(crate) async fn begun(&self, relative: &str) -> AttemptId {
        let intent = Intent {
            root: self.root.path().to_owned(),
            relative: relative.into(),
            stamp: self.root.open_file(Path::new(relative)).unwrap().stamp,
            dest: dest(),
            folder: DocumentId("/dest".into()),
            name: relative.to_owned(),
        };
        match self.journal.begin(intent).await.unwrap() {
            Begun::Go(id) => id,
            Begun::NameTaken(owner) => panic!("{owner:?}"),
        }
    }

    /// Writes such an intent and a receipt for this content, written so long ago.
    pub(crate) async fn receipted(&self, relative: &str, content: &[u8], ago: Duration) -> AttemptId {
        let id = self.begun(relative).await;
        let stored = Stored {
            sha256: sha256(content),
            size: content.len() as u64,
            document: DocumentId("1".into()),
            document_version: None,
            user: "me".into(),
            already_present: false,
        };
        self.journal.stored(id, stored).await.unwrap();
        let ago = i64::try_from(ago.as_nanos()).unwrap();
        self.sql().execute("UPDATE receipt SET stored = stored - ?1", [ago]).unwrap();
        id
    }
}

fn dest() -> RemotePath {
    RemotePath::parse("/dest").unwrap()
}
