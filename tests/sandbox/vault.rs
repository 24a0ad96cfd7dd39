//! The vault outlives the sandbox, and two sandboxes may share one.

use astran_backup::sandbox::{Options, Sandbox};

use crate::support::{User, service, sha256};

#[tokio::test]
async fn a_restarted_sandbox_has_the_same_documents_under_the_same_ids() {
    let service = service().await;
    service.user.upload("a", "one").await;
    let before = service.user.upload("a", "two").await.json();
    service.sandbox.stop().await;

    let again = Sandbox::start(Options::new(service.store.path().join("vault"))).await.unwrap();
    let user = User::new(&again).logged_in().await;
    let after = user.metadata("/HR_Backup/a").await.json();
    for key in ["ID", "name", "size", "sha256", "version", "parentId"] {
        assert_eq!(before[key], after[key], "{key}");
    }
    assert_eq!(user.upload("a", "three").await.json()["version"], "3.0");
}

#[tokio::test]
async fn two_sandboxes_on_one_store_see_each_others_documents() {
    let one = service().await;
    let other = Sandbox::start(Options::new(one.store.path().join("vault"))).await.unwrap();
    let user = User::new(&other).logged_in().await;
    let stored = one.user.upload("a", "one").await.json();
    assert_eq!(user.children().await[0]["ID"], stored["ID"]);
    assert_eq!(user.content("/HR_Backup/a").await.body, b"one");
    assert_eq!(user.upload("a", "two").await.json()["version"], "2.0");
    assert_eq!(one.user.metadata("/HR_Backup/a").await.json()["version"], "2.0");
    assert_eq!(one.user.content("/HR_Backup/a").await.body, b"two");
}

#[tokio::test]
async fn two_sandboxes_on_one_store_lose_no_version() {
    let one = service().await;
    let other = Sandbox::start(Options::new(one.store.path().join("vault"))).await.unwrap();
    let user = User::new(&other).logged_in().await;
    let mut tasks = Vec::new();
    for n in 0..10 {
        for user in [&one.user, &user] {
            let user = user.clone();
            tasks.push(tokio::spawn(async move { user.upload("a", n.to_string()).await.status.as_u16() }));
        }
    }
    for task in tasks {
        assert_eq!(task.await.unwrap(), 200);
    }
    assert_eq!(user.metadata("/HR_Backup/a").await.json()["version"], "20.0");
}

#[tokio::test]
async fn files_put_into_the_store_by_hand_are_in_the_vault() {
    let service = service().await;
    let folder = service.store.path().join("vault/HR_Backup/2026");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("by hand.txt"), "by hand").unwrap();
    let metadata = service.user.metadata("/HR_Backup/2026/by hand.txt").await.json();
    assert_eq!(metadata["sha256"], sha256(b"by hand").as_str());
    assert_eq!(service.user.children().await[0]["name"], "2026");
    std::fs::write(folder.join("by hand.txt"), "changed").unwrap();
    let metadata = service.user.metadata("/HR_Backup/2026/by hand.txt").await.json();
    assert_eq!(metadata["sha256"], sha256(b"changed").as_str());
}

#[cfg(unix)]
#[tokio::test]
async fn links_lead_nowhere() {
    let service = service().await;
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "secret").unwrap();
    let folder = service.store.path().join("vault/HR_Backup");
    std::os::unix::fs::symlink(outside.path(), folder.join("folder")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("secret"), folder.join("file")).unwrap();
    assert!(service.user.children().await.is_empty());
    for path in ["/HR_Backup/folder", "/HR_Backup/folder/secret", "/HR_Backup/file"] {
        assert_eq!(service.user.content(path).await.status, 404, "{path}");
    }
    assert_eq!(service.user.upload("file", "x").await.status, 409);
}

#[tokio::test]
async fn unfinished_uploads_of_a_killed_sandbox_are_removed() {
    let service = service().await;
    let incoming = service.store.path().join("vault/.sandbox/incoming");
    let (dead, alive) = (incoming.join("999999999-0-0"), incoming.join(format!("{}-0-0", std::process::id())));
    std::fs::write(&dead, "half").unwrap();
    std::fs::write(&alive, "half").unwrap();
    let _other = Sandbox::start(Options::new(service.store.path().join("vault"))).await.unwrap();
    assert!(!dead.exists());
    assert!(alive.exists());
}
