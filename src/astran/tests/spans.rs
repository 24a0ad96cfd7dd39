//! In which span a request logs: a file's story is read with one filter.

use std::io::Write;
use std::sync::{Arc, Mutex};

use tracing::Instrument;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt;

use super::super::scripted_server::{ScriptedServer, json};
use crate::vault::Vault;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn requests_log_in_the_span_of_their_call_and_the_login_in_its_own() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        fmt().with_max_level(LevelFilter::DEBUG).with_ansi(false).with_writer(move || writer.clone()).finish();
    let _default = tracing::subscriber::set_default(subscriber);
    let server = ScriptedServer::with_login(|_| json(200, r#"{"member":{"rootDocumentId":1}}"#)).await;
    server.client().probe().instrument(tracing::info_span!("file", path = "a.pdf")).await.unwrap();
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let line = |part: &str| log.lines().find(|line| line.contains(part)).unwrap_or_else(|| panic!("{part}: {log}"));
    assert!(line("/users/me").contains(r#"file{path="a.pdf"}"#), "{log}");
    for of_the_login in ["/openid-connect/token", "a token was granted"] {
        assert!(line(of_the_login).contains("login:") && !line(of_the_login).contains("file{"), "{log}");
    }
}
