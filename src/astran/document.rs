//! Reads documents, listings and the user out of the service's answers. It is tolerant: only the id is needed, unknown fields are
//! ignored. Pure.

use serde::de::DeserializeSeed as _;
use serde_json::Value;

use super::listing::{DocumentFields, EachEntry, ListingEntry, Scalar};
use super::redact::redacted_name;
use crate::budget;
use crate::vault::{Document, DocumentId};

/// Why a 2xx answer could not be read. Quotes nothing of the answer. The caller fails with [`super::call::Call::unreadable`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum DocumentError {
    #[error("it is not JSON")]
    NotJson,
    #[error("it has no document id")]
    NoId,
    #[error("it is no list of documents")]
    NoList,
    #[error("it does not tell the root folder (member.rootDocumentId)")]
    NoRoot,
}

/// The answer of `users/me`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LoggedInUser {
    pub(super) root: DocumentId,
    pub(super) name: Option<String>,
}

/// The document that an answer describes.
pub(super) fn document(body: &[u8]) -> Result<Document, DocumentError> {
    let entry: ListingEntry = serde_json::from_slice(body).map_err(|_| DocumentError::NotJson)?;
    entry.0.and_then(DocumentFields::into_document).ok_or(DocumentError::NoId)
}

/// The documents of a listing that are `wanted`. An entry that can't be read is left out; if none can be read, that is an error.
pub(super) fn listing(body: &[u8], wanted: impl Fn(&Document) -> bool) -> Result<Vec<Document>, DocumentError> {
    let (mut readable, mut documents) = (false, Vec::new());
    let mut each = |entry: ListingEntry| {
        let document = entry.0.and_then(DocumentFields::into_document);
        readable |= document.is_some();
        documents.extend(document.filter(&wanted));
    };
    let mut json = serde_json::Deserializer::from_slice(body);
    let listed = EachEntry(&mut each).deserialize(&mut json).and_then(|listed| json.end().map(|()| listed));
    match listed.map_err(|_| DocumentError::NotJson)? {
        None => Err(DocumentError::NoList),
        Some(count) if count > 0 && !readable => Err(DocumentError::NoId),
        Some(_) => Ok(documents),
    }
}

/// The fields that may hold the user's name, the most precise first.
const NAMES: [&str; 8] =
    ["username", "userName", "preferred_username", "login", "email", "mail", "displayName", "name"];

/// Who is logged in, and where their documents begin.
pub(super) fn logged_in_user(body: &[u8]) -> Result<LoggedInUser, DocumentError> {
    let value: Value = serde_json::from_slice(body).map_err(|_| DocumentError::NotJson)?;
    let member = value.get("member").unwrap_or(&Value::Null);
    let root =
        [member, &value].into_iter().find_map(|v| scalar(v.get("rootDocumentId")?)).ok_or(DocumentError::NoRoot)?;
    let user = value.get("user").unwrap_or(&Value::Null);
    let name = [&value, member, user].into_iter().find_map(|v| NAMES.iter().find_map(|n| scalar(v.get(n)?)));
    Ok(LoggedInUser { root: DocumentId(root), name })
}

impl DocumentFields {
    fn into_document(self) -> Option<Document> {
        let id = [&self.upper_id, &self.id].into_iter().flatten().find_map(Scalar::text_or_number)?;
        Some(Document {
            id: DocumentId(id),
            size: self.sizes.iter().flatten().find_map(Scalar::size),
            sha256: self.sums.iter().flatten().find_map(|sum| sha256(sum.text()?)),
            folder: self.is_a_folder(),
            version: self.version.as_ref().and_then(Scalar::text_or_number),
            name: self.name.and_then(|name| match name {
                // A name that was cut is not the one that was sent, and must not look as if it were missing. The name is redacted,
                // because a server may repeat a token there, and the error about the wrong name would show it.
                Scalar::Text(name) | Scalar::Cut(name) => Some(redacted_name(&name)),
                _ => None,
            }),
        })
    }

    fn is_a_folder(&self) -> Option<bool> {
        let flag = |field: &Option<Scalar>| match field {
            Some(Scalar::Flag(flag)) => Some(*flag),
            _ => None,
        };
        flag(&self.is_folder).or_else(|| flag(&self.folder)).or_else(|| {
            match self.kind.as_ref()?.text()?.to_ascii_lowercase().as_str() {
                "folder" | "directory" | "dir" | "container" | "workspace" => Some(true),
                "file" | "document" => Some(false),
                _ => None,
            }
        })
    }
}

impl Scalar {
    fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// A text or a number as text; `None` for an empty text.
    fn text_or_number(&self) -> Option<String> {
        match self {
            Self::Text(text) if !text.is_empty() => Some(text.clone()),
            Self::Number(number) => Some(number.to_string()),
            _ => None,
        }
    }

    fn size(&self) -> Option<u64> {
        match self {
            Self::Number(number) => number.as_u64(),
            Self::Text(text) => text.parse().ok(),
            _ => None,
        }
    }
}

/// A text or a number as text; `None` for an empty text, and for one that is too long to be kept.
fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(s) if !s.is_empty() && s.len() <= budget::FIELD_BYTES => Some(s.clone()),
        Value::Number(n) => Some(n.to_string()),
        _ => None,
    }
}

/// A checksum that can only be SHA-256: one of another kind would make every upload look wrong.
fn sha256(text: &str) -> Option<String> {
    let text = match text.get(..7) {
        Some(prefix) if prefix.eq_ignore_ascii_case("sha256:") => &text[7..],
        _ => text,
    };
    (text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())).then(|| text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(body: &[u8]) -> Result<Vec<Document>, DocumentError> {
        listing(body, |_| true)
    }

    #[test]
    fn only_the_wanted_documents_of_a_listing_are_kept() {
        let body = br#"[{"ID":"1","name":"a"},{"ID":"2","name":"b"}]"#;
        let kept = listing(body, |document| document.name.as_deref() == Some("b")).unwrap();
        assert_eq!(kept.iter().map(|document| document.id.0.as_str()).collect::<Vec<_>>(), ["2"]);
        assert_eq!(listing(body, |_| false), Ok(vec![]));
    }

    #[test]
    fn a_listing_of_more_entries_than_any_folder_has_is_refused() {
        let many = format!("[{}{{}}]", "{},".repeat(budget::LISTING_ENTRIES));
        assert_eq!(all(many.as_bytes()), Err(DocumentError::NotJson));
    }

    #[test]
    fn ids_that_are_too_long_are_refused_and_names_are_cut() {
        let long = "x".repeat(budget::FIELD_BYTES + 1);
        assert_eq!(document(format!(r#"{{"ID":"{long}"}}"#).as_bytes()), Err(DocumentError::NoId));
        let named = document(format!(r#"{{"ID":"1","name":"{long}","version":"{long}"}}"#).as_bytes()).unwrap();
        assert_eq!((named.name.map(|name| name.len()), named.version), (Some(budget::FIELD_BYTES), None));
        assert_eq!(
            logged_in_user(format!(r#"{{"member":{{"rootDocumentId":"{long}"}}}}"#).as_bytes()),
            Err(DocumentError::NoRoot)
        );
    }

    const SHA: &str = "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855";

    #[test]
    fn ids_come_in_any_spelling() {
        for body in [r#"{"ID":"7"}"#, r#"{"id":7}"#, r#"{"ID":7,"id":"8","x":[{}]}"#, r#"{"ID":null,"id":"7"}"#] {
            assert_eq!(document(body.as_bytes()).unwrap().id.0, "7", "{body}");
        }
        for body in ["{}", r#"{"ID":""}"#, r#"{"id":{}}"#, "null", "3"] {
            assert_eq!(document(body.as_bytes()), Err(DocumentError::NoId), "{body}");
        }
        for body in ["", "<html>", r#"{"ID":"7""#, "ID=7"] {
            assert_eq!(document(body.as_bytes()), Err(DocumentError::NotJson), "{body}");
        }
    }

    #[test]
    fn other_fields_are_read_only_where_their_meaning_is_clear() {
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
            let ids: Vec<String> = all(body.as_bytes()).unwrap().into_iter().map(|d| d.id.0).collect();
            assert_eq!(ids, ["1", "2"], "{body}");
        }
        assert_eq!(all(b"[]"), Ok(vec![]));
        assert_eq!(all(b"[{}]"), Err(DocumentError::NoId));
        assert_eq!(all(b"{}"), Err(DocumentError::NoList));
        assert_eq!(all(b"<html>"), Err(DocumentError::NotJson));
    }

    #[test]
    fn the_user_has_a_root_and_perhaps_a_name() {
        let read = |text: &str| logged_in_user(text.as_bytes());
        let known = read(r#"{"member":{"rootDocumentId":12,"email":"m@x"},"username":"u"}"#).unwrap();
        assert_eq!((known.root.0.as_str(), known.name.as_deref()), ("12", Some("u")));
        assert_eq!(read(r#"{"member":{"rootDocumentId":"r"}}"#).unwrap().name, None);
        assert_eq!(read(r#"{"member":{}}"#), Err(DocumentError::NoRoot));
        assert_eq!(read("[1]"), Err(DocumentError::NoRoot));
        assert_eq!(read("<p>"), Err(DocumentError::NotJson));
    }

    proptest! {
        #[test]
        fn nothing_panics(body in prop::collection::vec(any::<u8>(), 0..64), text in r#"[\[{]("[a-zID]{1,4}":[0-9"{\[]{1,3},?)*[\]}]"#) {
            for bytes in [&body[..], text.as_bytes()] {
                drop((document(bytes), all(bytes), logged_in_user(bytes)));
            }
        }
    }
}
