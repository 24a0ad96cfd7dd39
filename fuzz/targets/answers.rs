//! Whatever a service answers: documents, listings, the user, tokens, errors.

use astran_backup::fuzzing::service;
use astran_backup::vault::Document;
use serde_json::Value;
use url::Url;

use crate::input::{Input, assert_harmless};

pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let status = 100 + (u16::from(input.byte()) << 2 | u16::from(input.byte()) & 3) % 900;
    let retry_after = input.text().into_owned();
    let body = input.rest();
    document(body);
    listing(body);
    me(body);
    said(body);
    token(status, &retry_after, body);
}

fn is_json(body: &[u8]) -> bool {
    serde_json::from_slice::<Value>(body).is_ok()
}

fn check(document: &Document) {
    assert!(!document.id.0.is_empty() && document.id.0.len() <= service::FIELD_BYTES);
    assert!(document.name.as_ref().is_none_or(|name| name.len() <= service::FIELD_BYTES));
    assert!(document.version.as_ref().is_none_or(|version| version.len() <= service::FIELD_BYTES));
    let is_sum =
        |sum: &String| sum.len() == 64 && sum.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    assert!(document.sha256.as_ref().is_none_or(is_sum), "{document:?}");
}

fn document(body: &[u8]) {
    if let Ok(document) = service::document(body) {
        check(&document);
        // The same object as the only one of a list is the same document.
        let list = [b"[", body, b"]"].concat();
        assert_eq!(service::listing(&list, |_| true), Ok(vec![document]));
    }
}

fn listing(body: &[u8]) {
    let all = service::listing(body, |_| true);
    let some = service::listing(body, |document| document.name.is_some());
    match (all, some) {
        (Ok(all), Ok(some)) => {
            all.iter().for_each(check);
            let named: Vec<Document> = all.into_iter().filter(|document| document.name.is_some()).collect();
            assert_eq!(named, some, "what is wanted does not change what is read");
        }
        (Err(all), Err(some)) => {
            assert_eq!(all, some);
            assert!(!is_json(body) || !all.contains("not JSON"), "it is JSON");
        }
        differ => panic!("{differ:?}"),
    }
}

fn me(body: &[u8]) {
    if let Ok((root, name)) = service::me(body) {
        assert!(!root.is_empty() && root.len() <= service::FIELD_BYTES);
        assert!(name.is_none_or(|name| !name.is_empty() && name.len() <= service::FIELD_BYTES));
    }
}

fn said(body: &[u8]) {
    if let Some(said) = service::message(body) {
        assert!(!said.is_empty() && said.chars().count() <= 201 && !said.chars().any(char::is_control), "{said:?}");
        // The mark of a cut is none of the word's own bytes.
        let words = said.strip_suffix('…').unwrap_or(&said);
        assert!(!words.split(' ').any(|word| word.starts_with("eyJ") || word.len() > 60), "{said:?} may hold a token");
    }
}

fn token(status: u16, retry_after: &str, body: &[u8]) {
    let url = Url::parse("https://login.example/auth").unwrap();
    match service::token(status, retry_after, body, &url) {
        Ok(lives) => {
            assert!((200..300).contains(&status), "a token with status {status}");
            let year = std::time::Duration::from_secs(366 * 86_400);
            assert!(lives.into_iter().flatten().all(|life| !life.is_zero() && life < year), "{lives:?}");
        }
        Err((refused, message)) => {
            assert!(!refused || !matches!(status, 408 | 429 | 500..), "{status} is no verdict on what was sent");
            assert!(message.len() < 2000, "{message}");
            assert_harmless(&message);
        }
    }
}
