use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};

use super::scripted_server::ScriptedServer;
use super::{Client, Timeouts};
use crate::vault::{Content, Document, DocumentId, RemotePath, Vault, VaultError};

mod budgets;
mod find;
mod tls;
mod unreachable;
mod upload;

const STORED: &str = r#"{"ID":"7","name":"a","size":5}"#;

fn path(text: &str) -> RemotePath {
    RemotePath::parse(text).unwrap()
}

fn bytes(length: u64, content: &'static [u8]) -> Content {
    Content { length, body: Full::new(Bytes::from_static(content)).map_err(|e| match e {}).boxed() }
}

async fn upload(client: &Client) -> Result<Document, VaultError> {
    client.upload(&DocumentId("d 1".into()), "a+b.pdf", &|| Ok(bytes(5, b"hello"))).await
}

fn brief() -> Timeouts {
    let short = Duration::from_millis(60);
    Timeouts { upload_idle: short, upload_answer: short, ..Timeouts::default() }
}

fn uploads(server: &ScriptedServer) -> usize {
    server.count(|s| s.method == "POST" && !s.is_token())
}
