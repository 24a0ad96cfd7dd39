//! What the service says, read tolerantly: only the id is needed, unknown fields are ignored. Pure.

use serde::Deserialize;
use serde_json::Value;

use crate::vault::{Document, DocumentId};

/// Why an answer could not be read. Quotes nothing of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("it is not JSON")]
    NotJson,
    #[error("it has no document id")]
    NoId,
    #[error("it is no list of documents")]
    NoList,
    #[error("it does not tell the root folder (member.rootDocumentId)")]
    NoRoot,
}

/// The logged-in user, as `users/me` tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Me {
    pub(super) root: DocumentId,
    pub(super) name: Option<String>,
}

/// The fields that mean something to us, in every spelling that is plausible. A listing can hold a million documents, so
/// nothing else of it is kept.
#[derive(Deserialize)]
struct Raw {
    #[serde(rename = "ID")]
    upper_id: Option<Value>,
    id: Option<Value>,
    name: Option<Value>,
    size: Option<Value>,
    length: Option<Value>,
    #[serde(rename = "fileSize")]
    file_size: Option<Value>,
    sha256: Option<Value>,
    checksum: Option<Value>,
    hash: Option<Value>,
    #[serde(rename = "isFolder")]
    is_folder: Option<Value>,
    folder: Option<Value>,
    #[serde(rename = "type")]
    kind: Option<Value>,
    version: Option<Value>,
}

/// Listings come as an array; some services wrap it.
#[derive(Deserialize)]
struct Wrapped {
    children: Option<Vec<Value>>,
    files: Option<Vec<Value>>,
    items: Option<Vec<Value>>,
    documents: Option<Vec<Value>>,
    content: Option<Vec<Value>>,
}

/// One document.
pub(super) fn document(body: &[u8]) -> Result<Document, Unreadable> {
    let raw: Raw = serde_json::from_slice(body).map_err(not_json_or(body, Unreadable::NoId))?;
    raw.into_document().ok_or(Unreadable::NoId)
}

/// The documents of a folder. An entry that can't be read is left out, unless none can.
pub(super) fn listing(body: &[u8]) -> Result<Vec<Document>, Unreadable> {
    let found: Vec<Option<Raw>> = if first_byte(body) == Some(b'[') {
        let list: Vec<Entry> = serde_json::from_slice(body).map_err(|_| Unreadable::NotJson)?;
        list.into_iter().map(Entry::raw).collect()
    } else {
        let w: Wrapped = serde_json::from_slice(body).map_err(not_json_or(body, Unreadable::NoList))?;
        let list = [w.children, w.files, w.items, w.documents, w.content].into_iter().flatten().next();
        list.ok_or(Unreadable::NoList)?.into_iter().map(|v| serde_json::from_value(v).ok()).collect()
    };
    let (all, documents) = (found.len(), found.into_iter().flatten().filter_map(Raw::into_document));
    let documents: Vec<Document> = documents.collect();
    if documents.is_empty() && all > 0 { Err(Unreadable::NoId) } else { Ok(documents) }
}

/// Where a user's name may stand, the most telling first.
const NAMES: [&str; 8] =
    ["username", "userName", "preferred_username", "login", "email", "mail", "displayName", "name"];

/// Who is logged in, and where their documents begin.
pub(super) fn me(body: &[u8]) -> Result<Me, Unreadable> {
    let value: Value = serde_json::from_slice(body).map_err(|_| Unreadable::NotJson)?;
    let member = value.get("member").unwrap_or(&Value::Null);
    let root = [member, &value].into_iter().find_map(|v| scalar(v.get("rootDocumentId")?)).ok_or(Unreadable::NoRoot)?;
    let user = value.get("user").unwrap_or(&Value::Null);
    let name = [&value, member, user].into_iter().find_map(|v| NAMES.iter().find_map(|n| scalar(v.get(n)?)));
    Ok(Me { root: DocumentId(root), name })
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Entry {
    Document(Box<Raw>),
    Other(serde::de::IgnoredAny),
}

impl Entry {
    fn raw(self) -> Option<Raw> {
        match self {
            Self::Document(raw) => Some(*raw),
            Self::Other(_) => None,
        }
    }
}

impl Raw {
    fn into_document(self) -> Option<Document> {
        let id = [&self.upper_id, &self.id].into_iter().flatten().find_map(scalar)?;
        Some(Document {
            id: DocumentId(id),
            size: [&self.size, &self.length, &self.file_size].into_iter().flatten().find_map(number),
            sha256: [&self.sha256, &self.checksum, &self.hash].into_iter().flatten().find_map(sha256),
            folder: self.folder(),
            version: self.version.as_ref().and_then(scalar),
            name: self.name.and_then(|n| if let Value::String(s) = n { Some(s) } else { None }),
        })
    }

    fn folder(&self) -> Option<bool> {
        let flag = |v: &Option<Value>| v.as_ref().and_then(Value::as_bool);
        flag(&self.is_folder).or_else(|| flag(&self.folder)).or_else(|| {
            let kind = self.kind.as_ref()?.as_str()?.to_ascii_lowercase();
            match kind.as_str() {
                "folder" | "directory" | "dir" | "container" | "workspace" => Some(true),
                "file" | "document" => Some(false),
                _ => None,
            }
        })
    }
}

/// A text or a number as text; an empty text is none.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(s) if !s.is_empty() => Some(s.clone()),
        Value::Number(n) => Some(n.to_string()),
        _ => None,
    }
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(n) => n.as_u64(),
        Value::String(s) => s.parse().ok(),
        _ => None,
    }
}

/// Only what can't be anything else: a checksum of another kind would make every upload look wrong.
fn sha256(value: &Value) -> Option<String> {
    let text = value.as_str()?;
    let text = match text.get(..7) {
        Some(prefix) if prefix.eq_ignore_ascii_case("sha256:") => &text[7..],
        _ => text,
    };
    (text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())).then(|| text.to_ascii_lowercase())
}

fn first_byte(body: &[u8]) -> Option<u8> {
    body.iter().copied().find(|b| !b.is_ascii_whitespace())
}

/// JSON of an unexpected shape is told apart from no JSON at all: the first is the service's, the second a proxy's.
fn not_json_or(body: &[u8], shape: Unreadable) -> impl FnOnce(serde_json::Error) -> Unreadable + use<> {
    let json = serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
    move |_| if json { shape } else { Unreadable::NotJson }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SHA: &str = "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855";

    #[test]
    fn ids_come_in_any_spelling() {
        for body in [r#"{"ID":"7"}"#, r#"{"id":7}"#, r#"{"ID":7,"id":"8","x":[{}]}"#, r#"{"ID":null,"id":"7"}"#] {
            assert_eq!(document(body.as_bytes()).unwrap().id.0, "7", "{body}");
        }
        for body in ["{}", r#"{"ID":""}"#, r#"{"id":{}}"#, "null", "3"] {
            assert_eq!(document(body.as_bytes()), Err(Unreadable::NoId), "{body}");
        }
        for body in ["", "<html>", r#"{"ID":"7""#, "ID=7"] {
            assert_eq!(document(body.as_bytes()), Err(Unreadable::NotJson), "{body}");
        }
    }

    #[test]
    fn other_fields_are_taken_only_where_they_mean_something() {
        let body = format!(r#"{{"ID":"1","name":"a","size":"12","checksum":"{SHA}","type":"FOLDER","version":1.5}}"#);
        let d = document(body.as_bytes()).unwrap();
        assert_eq!(
            (d.name.as_deref(), d.size, d.folder, d.version.as_deref()),
            (Some("a"), Some(12), Some(true), Some("1.5"))
        );
        assert_eq!(d.sha256, Some(SHA.to_ascii_lowercase()));
        let d = document(
            br#"{"ID":"1","name":5,"size":-1,"fileSize":3,"hash":"abc","type":"application/pdf","isFolder":false}"#,
        )
        .unwrap();
        assert_eq!((d.name, d.size, d.sha256, d.folder), (None, Some(3), None, Some(false)));
    }

    #[test]
    fn listings_may_be_wrapped() {
        for body in [
            r#" [{"ID":"1","name":"a"},{"id":2}]"#,
            r#"{"children":[{"ID":"1","name":"a"},{"id":2}]}"#,
            r#"{"total":2,"items":[{"ID":"1","name":"a"},null,{"id":2}]}"#,
            r#"[{"ID":"1","name":"a"},null,{"name":"no id"},{"id":2}]"#,
        ] {
            let ids: Vec<String> = listing(body.as_bytes()).unwrap().into_iter().map(|d| d.id.0).collect();
            assert_eq!(ids, ["1", "2"], "{body}");
        }
        assert_eq!(listing(b"[]"), Ok(vec![]));
        assert_eq!(listing(b"[{}]"), Err(Unreadable::NoId));
        assert_eq!(listing(b"{}"), Err(Unreadable::NoList));
        assert_eq!(listing(b"<html>"), Err(Unreadable::NotJson));
    }

    #[test]
    fn me_tells_the_root_and_perhaps_a_name() {
        let read = |text: &str| me(text.as_bytes());
        let known = read(r#"{"member":{"rootDocumentId":12,"email":"m@x"},"username":"u"}"#).unwrap();
        assert_eq!((known.root.0.as_str(), known.name.as_deref()), ("12", Some("u")));
        assert_eq!(read(r#"{"member":{"rootDocumentId":"r"}}"#).unwrap().name, None);
        assert_eq!(read(r#"{"member":{}}"#), Err(Unreadable::NoRoot));
        assert_eq!(read("[1]"), Err(Unreadable::NoRoot));
        assert_eq!(read("<p>"), Err(Unreadable::NotJson));
    }

    proptest! {
        #[test]
        fn nothing_panics(body in prop::collection::vec(any::<u8>(), 0..64), text in r#"[\[{]("[a-zID]{1,4}":[0-9"{\[]{1,3},?)*[\]}]"#) {
            for bytes in [&body[..], text.as_bytes()] {
                drop((document(bytes), listing(bytes), me(bytes)));
            }
        }
    }
}
