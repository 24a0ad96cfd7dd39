//! Either the store gets all bytes of a file, or it never gets the last ones.

use super::*;
use crate::file::lease::LeaseBreaks;
use crate::file::{Root, Settled};
use crate::hex;
use crate::observe::stall::Activity;
use crate::upload::error::SourceError;

fn settled(content: &[u8]) -> (tempfile::TempDir, Settled) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("x"), content).unwrap();
    let root = Arc::new(Root::open(dir.path()).unwrap());
    (dir, Settled::new(root, "x".into()))
}

fn no_limit() -> Arc<RateLimiter> {
    Arc::default()
}

async fn sent(content: Content) -> Result<Vec<u8>, io::Error> {
    Ok(content.body.collect().await?.to_bytes().to_vec())
}

#[tokio::test]
async fn all_bytes_are_sent_and_hashed_whatever_the_size() {
    LeaseBreaks::install().unwrap();
    for size in [0, 1, 4096, 128 * 1024, 128 * 1024 + 1, 1_000_000] {
        let bytes: Vec<u8> = (0..size).map(|n: u32| n.to_le_bytes()[0]).collect();
        let (_dir, settled) = settled(&bytes);
        let source = Source::open_now(&settled, Activity::default()).unwrap();
        source.load_now().unwrap();
        let counted = SentBytes::default();
        let content = source.content(&counted, &no_limit());
        assert_eq!(content.body.size_hint().exact(), Some(content.length));
        assert_eq!(sent(content).await.unwrap(), bytes);
        assert_eq!(source.sha256().unwrap(), hex(&Sha256::digest(&bytes)));
        assert_eq!(source.hash_now().unwrap(), hex(&Sha256::digest(&bytes)));
        assert_eq!(sent(source.content(&counted, &no_limit())).await.unwrap(), bytes, "the body opens anew");
        assert_eq!(counted.get(), u64::from(size), "the second sending is counted from zero");
    }
}

#[tokio::test]
async fn a_file_that_grows_or_shrinks_while_it_is_sent_is_never_sent_whole() {
    LeaseBreaks::install().unwrap();
    for changed in [9_000_000, 10] {
        let (dir, settled) = settled(&vec![7; 4_000_000]);
        let source = Source::open_now(&settled, Activity::default()).unwrap();
        let mut body = source.content(&SentBytes::default(), &no_limit()).body;
        body.frame().await.unwrap().unwrap();
        let file = dir.path().join("x");
        let writer = std::thread::spawn(move || {
            std::fs::OpenOptions::new().write(true).open(file).unwrap().set_len(changed).unwrap();
        });
        let lease = source.lease.as_ref().unwrap();
        while lease.holds() {
            tokio::task::yield_now().await;
        }
        lease.give_up();
        let ended = loop {
            match body.frame().await {
                Some(Ok(_)) => {}
                Some(Err(error)) => break error,
                None => panic!("sent whole"),
            }
        };
        assert!(ended.to_string().contains("while it was read"), "{ended}");
        drop((body, source));
        writer.join().unwrap();
    }
}

#[tokio::test]
async fn a_file_open_for_writing_is_not_taken() {
    LeaseBreaks::install().unwrap();
    let (dir, settled) = settled(b"1234");
    let writer = std::fs::OpenOptions::new().append(true).open(dir.path().join("x")).unwrap();
    assert!(matches!(Source::open_now(&settled, Activity::default()), Err(SourceError::Unsettled(_))));
    drop(writer);
    assert!(Source::open_now(&settled, Activity::default()).is_ok());
}

#[tokio::test]
async fn a_small_file_that_is_opened_for_writing_while_it_is_read_is_not_taken() {
    LeaseBreaks::install().unwrap();
    let (dir, settled) = settled(b"1234");
    let source = Source::open_now(&settled, Activity::default()).unwrap();
    let file = dir.path().join("x");
    let writer = std::thread::spawn(move || drop(std::fs::OpenOptions::new().append(true).open(file).unwrap()));
    let lease = source.lease.as_ref().unwrap();
    while lease.holds() {
        tokio::task::yield_now().await;
    }
    assert!(matches!(source.load_now(), Err(SourceError::Unsettled(_))));
    assert!(source.sha256().is_none());
    lease.give_up();
    writer.join().unwrap();
}

#[tokio::test]
async fn a_file_that_another_upload_has_locked_is_not_taken() {
    LeaseBreaks::install().unwrap();
    let (_dir, settled) = settled(b"1234");
    let first = Source::open_now(&settled, Activity::default()).unwrap();
    assert!(matches!(Source::open_now(&settled, Activity::default()), Err(SourceError::Unsettled(_))));
    drop(first);
    assert!(Source::open_now(&settled, Activity::default()).is_ok());
}
