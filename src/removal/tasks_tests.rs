use super::*;
use crate::file::Root;
use crate::file::lease::{LeaseBreaks, Writers};
use crate::journal::{Intent, Stored};
use crate::removal::StagingError;
use crate::vault::{DocumentId, RemotePath};

fn not_removed(error: RemovalError) -> RemovalResult {
    Err(NotRemoved { error, place: "x".into(), stranded: None })
}

fn uploaded(file: &Settled) -> UploadedFile {
    let opened = file.root.open_file(&file.relative).unwrap();
    let Writers::None(lease) = opened.writers() else { panic!("nobody writes it") };
    let lock = Arc::new(file.root.lock_for_upload(&opened).unwrap());
    UploadedFile { opened, lease: Some(Arc::new(lease)), lock, sha256: None }
}

fn request(file: Settled, record: Option<AttemptId>) -> RemovalRequest {
    RemovalRequest {
        file,
        disposition: Disposition::Delete,
        prunes: false,
        record,
        on_end: Box::new(|_, _| ()),
        span: tracing::Span::none(),
    }
}

#[test]
fn the_journal_calls_only_a_removed_file_removed() {
    let end = |outcome| journal_end(&outcome);
    assert_eq!(end(Ok(LocalEnd::Removed)), Some(End::Local(LocalEnd::Removed)));
    assert_eq!(end(Ok(LocalEnd::Moved("/y".into()))), Some(End::Local(LocalEnd::Moved("/y".into()))));
    assert_eq!(end(not_removed(RemovalError::Replaced)), Some(End::Superseded));
    let refused = RemovalError::NotFinished(rustix::io::Errno::ACCESS.into());
    assert_eq!(end(not_removed(refused)), None, "still stored: the next walk tries again");
    assert_eq!(end(not_removed(RemovalError::Internal)), None);
    // Regression: after the grace a shortage of descriptors was blamed on the file, which stayed in the private folder.
    let scarce = RemovalError::NotFinished(StagingError::from(rustix::io::Errno::MFILE).into());
    assert_eq!(end(not_removed(scarce)), Some(End::Superseded), "it settles again, and is not sent again");
}

#[tokio::test]
async fn a_file_that_a_writer_waits_for_since_its_upload_stays() {
    LeaseBreaks::install().unwrap();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("x"), "1234").unwrap();
    let file = Settled::new(Arc::new(Root::open(dir.path()).unwrap()), "x".into());
    let uploaded = uploaded(&file);
    let path = dir.path().join("x");
    let writer = std::thread::spawn(move || drop(std::fs::File::options().append(true).open(path).unwrap()));
    while uploaded.lease.as_ref().unwrap().holds() {
        tokio::task::yield_now().await;
    }
    let staged = set_aside_one(&request(file, None), uploaded);
    assert!(matches!(staged.unwrap_err().error, RemovalError::ChangedSinceUpload));
    writer.join().unwrap();
    assert!(dir.path().join("x").exists());
}

#[tokio::test]
async fn a_panic_in_the_middle_of_one_file_is_reported_and_the_others_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let root = Arc::new(Root::open(dir.path()).unwrap());
    let job = |name: &str| (request(Settled::new(Arc::clone(&root), name.into()), None), ());
    let done = each(vec![job("faulty"), job("other")], |request, ()| {
        assert_ne!(request.file.relative.as_os_str(), "faulty", "meant to panic");
        Ok(())
    });
    let done: Vec<_> = done.await.into_iter().map(|(_, outcome)| outcome).collect();
    assert!(matches!(&done[..], [Err(NotRemoved { error: RemovalError::Internal, .. }), Ok(())]), "{done:?}");
}

#[tokio::test(start_paused = true)]
async fn removals_are_drained_when_their_files_are_gone_and_the_journal_says_so() {
    LeaseBreaks::install().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let watched = dir.path().join("watched");
    std::fs::create_dir(&watched).unwrap();
    std::fs::write(watched.join("x"), "1234").unwrap();
    let journal = Journal::open(&dir.path().join("state")).unwrap();
    let file = Settled::new(Arc::new(Root::open(&watched).unwrap()), "x".into());
    let uploaded = uploaded(&file);
    let (attempt, _) = journal.adopt(intent(&file, &uploaded), stored()).await.unwrap();
    let removals = Removals::start(journal.clone(), Activity::default(), ());
    removals.add(request(file, Some(attempt)), uploaded).await;
    removals.drained().await;
    assert!(!watched.join("x").exists());
    let page = journal.history_page(&crate::journal::Filter::default(), None, 9).await.unwrap();
    assert_eq!(page[0].entry.state, crate::journal::State::Ended(End::Local(LocalEnd::Removed)));
}

fn intent(file: &Settled, uploaded: &UploadedFile) -> Intent {
    Intent {
        root: file.root.path().to_owned(),
        relative: file.origin.clone(),
        stamp: uploaded.opened.stamp,
        dest: RemotePath::default(),
        folder: DocumentId("1".into()),
        name: "x".into(),
    }
}

fn stored() -> Stored {
    Stored {
        sha256: String::new(),
        size: 1,
        document: DocumentId("1".into()),
        document_version: None,
        user: "me".into(),
        already_present: false,
    }
}
