//! How fast the sandbox is: a benchmark of the client must not measure the sandbox instead.
//!
//! `cargo test --release --test sandbox speed -- --ignored --nocapture`

use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::{User, service};

const CONNECTIONS: usize = 8;
const UPLOADS: usize = 5_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, for a release build on a quiet machine"]
async fn small_uploads() {
    let service = service().await;
    let folder = service.user.folder_id().await;
    let start = Instant::now();
    let tasks: Vec<_> = (0..CONNECTIONS)
        .map(|connection| tokio::spawn(upload_many(service.user.clone(), folder.clone(), connection)))
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let seconds = start.elapsed().as_secs_f64();
    let count = u32::try_from(CONNECTIONS * UPLOADS).unwrap();
    eprintln!("{:.0} uploads of 4 KiB a second, client and service in one process", f64::from(count) / seconds);
    assert_eq!(service.sandbox.stats().uploads_stored, u64::from(count));
}

/// The leanest possible client, so that most of the time is spent in the service.
async fn upload_many(user: User, folder: String, connection: usize) {
    let address = user.access.api_url.strip_prefix("http://").unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut answer = vec![0; 4096];
    for number in 0..UPLOADS {
        let mut request = format!(
            "POST /api/v2.1/files/{folder}/children?name=f-{connection}-{number}&isMajor=true HTTP/1.1\r\nHost: x\r\n\
             Authorization: Bearer {}\r\nContent-Length: 4096\r\n\r\n",
            user.token
        )
        .into_bytes();
        request.resize(request.len() + 4096, b'x');
        stream.write_all(&request).await.unwrap();
        let length = stream.read(&mut answer).await.unwrap();
        assert!(answer[..length].starts_with(b"HTTP/1.1 200"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, for a release build on a quiet machine"]
async fn one_large_upload() {
    let service = service().await;
    let piece = vec![7_u8; 1 << 20];
    let folder = service.user.folder_id().await;
    let head = format!(
        "POST /api/v2.1/files/{folder}/children?name=large&isMajor=true HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\
         Content-Length: {}\r\n\r\n",
        service.user.token,
        1_u64 << 30
    );
    let address = service.user.access.api_url.strip_prefix("http://").unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let start = Instant::now();
    stream.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..1024 {
        stream.write_all(&piece).await.unwrap();
    }
    let mut answer = vec![0; 4096];
    let length = stream.read(&mut answer).await.unwrap();
    assert!(answer[..length].starts_with(b"HTTP/1.1 200"));
    eprintln!("1 GiB in {:.2} s, hashed and written", start.elapsed().as_secs_f64());
}
