//! Several files that want one name in the vault.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use astran_backup::journal::LocalEnd;
use astran_backup::upload::Outcome;
use astran_backup::vault::Kind;

use crate::fake_vault::Reply;
use crate::life::Life;

#[tokio::test(start_paused = true)]
async fn of_two_files_of_one_name_and_the_same_bytes_at_once_one_is_sent() {
    let mut life = Life::new(|_| ());
    life.vault.next_uploads([Reply::After(Duration::from_secs(5))]);
    for place in ["one/x", "two/x"] {
        life.put(place, b"1234");
        life.hand_over(place).await;
    }
    for _ in 0..2 {
        assert!(matches!(life.outcome().await, Outcome::Stored { local: LocalEnd::Removed, .. }));
    }
    assert_eq!(life.vault.uploads(), 1);
}

/// A receipt may be old: an upload is spared only if the document is in the store now.
#[tokio::test(start_paused = true)]
async fn another_files_document_spares_an_upload_only_while_it_is_in_the_store() {
    let mut life = Life::new(|_| ());
    life.put("one/x", b"1234");
    life.put("two/x", b"1234");
    life.put("three/x", b"1234");
    life.send("one/x").await;
    let Outcome::Stored { stored, .. } = life.send("two/x").await else { panic!("not stored") };
    assert!(stored.already_present && life.vault.uploads() == 1);
    life.vault.clear();
    let Outcome::Stored { stored, remote, .. } = life.send("three/x").await else { panic!("not stored") };
    assert!(!stored.already_present);
    assert_eq!(life.vault.stored(remote.segments().last().unwrap()), [b"1234"]);
}

#[tokio::test(start_paused = true)]
async fn a_name_that_the_store_has_other_content_under_leaves_no_open_attempt() {
    let mut life = Life::new(|_| ());
    life.put("x", b"1234");
    life.vault.put("/dest/x", b"somebody else's");
    life.vault.next_uploads([Reply::Fail(Kind::Conflict)]);
    let Outcome::Stored { remote, .. } = life.send("x").await else { panic!("not stored") };
    assert!(remote.to_string().contains("(conflict"), "{remote}");
    let open = life.journal.unresolved(life.root.path()).await.unwrap();
    assert!(open.iter().all(|entry| entry.intent.name != "x"), "{open:?}");
}

/// One file was staged and changed, and its name was taken meanwhile: otherwise each would take the intent of the other for the leftover
/// of a crash.
#[tokio::test(start_paused = true)]
async fn two_files_of_one_path_at_once_are_each_sent_once() {
    let mut life = Life::new(|_| ());
    life.vault.next_uploads([Reply::After(Duration::from_secs(5))]);
    for (number, (place, content)) in [(".astran-backup/0/x", "first"), ("x", "second")].into_iter().enumerate() {
        life.under_way(number).await;
        life.put(place, content.as_bytes());
        let private = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(life.root.path().join(".astran-backup"), private).unwrap();
        life.hand_over(place).await;
    }
    for _ in 0..2 {
        assert!(matches!(life.outcome().await, Outcome::Stored { local: LocalEnd::Removed, .. }));
    }
    assert_eq!(life.vault.uploads(), 2);
    assert_eq!(life.vault.stored("x"), [b"first".as_slice(), b"second"]);
}
