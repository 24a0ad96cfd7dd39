//! Names in any script and with any sign: none does harm.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;

use crate::support::{send, service};

const HOSTILE: &[&str] = &[
    "plain.txt",
    " two  spaces ",
    "100% sure?.pdf",
    "a#b+c&d=e;f.txt",
    "quotes \" ' ` .txt",
    "new\nline\ttab.txt",
    "-rf",
    "--help",
    ".hidden",
    "...",
    "back\\slash",
    "%2e%2e%2f",
    "Überprüfung für Straße.pdf",
    "履歴書.pdf",
    "سيرة.pdf",
    "🙂.png",
    "e\u{301} and \u{e9}",
    "CON",
    "$(reboot)",
    "<script>alert(1)",
    ".sandbox",
];

#[tokio::test]
async fn hostile_names_come_back_as_they_went_in() {
    let service = service().await;
    for name in HOSTILE {
        let answer = service.user.upload(name, *name).await;
        assert_eq!(answer.status, 200, "{name:?}: {}", answer.json());
        assert_eq!(answer.json()["name"], **name);
        let path = format!("/HR_Backup/{name}");
        assert_eq!(service.user.metadata(&path).await.json()["name"], **name);
        assert_eq!(service.user.content(&path).await.body, name.as_bytes());
        assert_eq!(service.on_disk(&format!("HR_Backup/{name}")).as_deref(), Some(name.as_bytes()));
    }
    let mut listed: Vec<_> =
        service.user.children().await.iter().map(|d| d["name"].as_str().unwrap().to_owned()).collect();
    let mut expected: Vec<_> = HOSTILE.iter().map(ToString::to_string).collect();
    listed.sort();
    expected.sort();
    assert_eq!(listed, expected);
}

#[tokio::test]
async fn a_name_of_255_bytes_is_the_longest() {
    let service = service().await;
    assert_eq!(service.user.upload(&"ä".repeat(127), "a").await.status, 200);
    assert_eq!(service.user.upload(&"x".repeat(255), "a").await.status, 200);
    assert_eq!(service.user.upload(&"x".repeat(256), "a").await.status, 422);
    assert_eq!(service.user.metadata(&format!("/HR_Backup/{}", "x".repeat(256))).await.status, 404);
}

#[tokio::test]
async fn invalid_names_are_refused() {
    let service = service().await;
    for name in ["", ".", "..", "a/b", "/etc/passwd", "../up", "nul\0nul"] {
        assert_eq!(service.user.upload(name, "a").await.status, 422, "{name:?}");
    }
    assert!(service.user.children().await.is_empty());
}

#[tokio::test]
async fn the_sandboxs_own_folder_is_out_of_reach() {
    let service = service().await;
    let root = service.user.metadata("/").await.json()["ID"].as_str().unwrap().to_owned();
    for name in [".sandbox", ".SANDBOX"] {
        let call = format!("files/{root}/children?name={}&isMajor=true", utf8_percent_encode(name, NON_ALPHANUMERIC));
        assert_eq!(send(service.user.request(Method::POST, &call).body("a")).await.status, 422);
    }
    assert_eq!(service.user.metadata("/.sandbox/lock").await.status, 404);
}

#[tokio::test]
async fn in_a_query_a_plus_is_a_space() {
    let service = service().await;
    let call = format!("files/{}/children?name=a+b%2Bc&isMajor=true", service.user.folder_id().await);
    let answer = send(service.user.request(Method::POST, &call).body("a")).await;
    assert_eq!(answer.json()["name"], "a b+c");
}
