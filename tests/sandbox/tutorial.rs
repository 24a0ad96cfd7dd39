//! The vendor's published client runs against the sandbox as it is: the requests here are written as that client's HTTP library sends
//! them, with its spelling, its headers, and its double slash.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::support::logged_out;

/// What the vendor's client sends with each request.
const HEADERS: &str =
    "User-Agent: python-requests/2.31.0\r\nAccept-Encoding: gzip, deflate\r\nAccept: */*\r\nConnection: close\r\n";

struct Answer {
    status: String,
    json: Value,
}

/// Sends one request as text, and reads the whole answer.
async fn exchange(address: &str, request_line: &str, headers: &str, body: &str) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let request = format!("{request_line} HTTP/1.1\r\nHost: {address}\r\n{HEADERS}{headers}{length}\r\n{body}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(Duration::from_secs(20), stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().to_owned();
    Answer { status, json: serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}")) }
}

#[tokio::test]
async fn the_vendors_published_client_runs_against_the_sandbox_as_it_is() {
    let service = logged_out(|_| {}).await;
    let access = &service.user.access;
    let address = access.api_url.strip_prefix("http://").unwrap();
    let token = format!("POST /auth/realms/{}/protocol/openid-connect/token", access.realm);
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";

    let login = format!(
        "grant_type=password&username={}&password={}&client_id={}",
        access.username.replace('@', "%40"),
        access.password,
        access.client_id
    );
    let tokens = exchange(address, &token, form, &login).await;
    assert_eq!(tokens.status, "200", "{}", tokens.json);

    let refresh = format!(
        "grant_type=refresh_token&refresh_token={}&client_id={}",
        tokens.json["refresh_token"].as_str().unwrap(),
        access.client_id
    );
    let tokens = exchange(address, &token, form, &refresh).await;
    assert_eq!(tokens.status, "200", "{}", tokens.json);
    let bearer = format!(
        "Authorization: Bearer {}\r\nContent-Type: application/json\r\n",
        tokens.json["access_token"].as_str().unwrap()
    );

    let folder = exchange(address, "GET /api/v2.1/filesystem//HR_Backup?children=False", &bearer, "").await;
    assert_eq!(folder.status, "200", "{}", folder.json);
    assert_eq!(folder.json["name"], "HR_Backup");
    let id = folder.json["ID"].as_str().unwrap();

    let upload = format!("POST /api/v2.1/files/{id}/children?name=report.pdf&isMajor=True");
    let document = exchange(address, &upload, &bearer, "%PDF-1.7, in truth").await;
    assert_eq!((document.status.as_str(), &document.json["name"]), ("200", &"report.pdf".into()));
    assert_eq!(service.on_disk("HR_Backup/report.pdf").unwrap(), b"%PDF-1.7, in truth");

    let children = exchange(address, &format!("GET /api/v2.1/files/{id}/children"), &bearer, "").await;
    assert_eq!(children.json[0]["name"], "report.pdf");
}
