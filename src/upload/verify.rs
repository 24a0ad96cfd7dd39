//! Does the store have it? What its answers say of a document, compared with what was sent.

use super::target::{Sent, Target};
use crate::config::Verify;
use crate::observe::stall::Activity;
use crate::read_back;
use crate::vault::{Document, DocumentId, Download, Kind, Vault, VaultError};

/// What speaks against the store's answer that it has a document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// The store's description contradicts what was sent.
    #[error("the store says {field} {got}, sent was {expected}")]
    Contradiction {
        /// What differs: name, size or SHA-256.
        field: &'static str,
        /// What the store says.
        got: String,
        /// What was sent.
        expected: String,
    },
    /// The folder's listing does not have the document.
    #[error("its folder does not list it")]
    NotListed,
    /// The content read back differs.
    #[error("reading it back gives other bytes")]
    OtherContent,
}

/// What in a document's description contradicts that it is what was sent. A field that the description lacks contradicts nothing.
pub(super) fn contradiction(document: &Document, sent: &Sent) -> Option<Doubt> {
    let differs = |field, got: String, expected: String| Some(Doubt::Contradiction { field, got, expected });
    if let Some(name) = document.name.as_ref().filter(|name| **name != sent.name) {
        return differs("name", format!("{name:?}"), format!("{:?}", sent.name));
    }
    if let Some(size) = document.size.filter(|size| *size != sent.size) {
        return differs("size", size.to_string(), sent.size.to_string());
    }
    if let Some(sha256) = document.sha256.as_ref().filter(|sha256| **sha256 != sent.sha256) {
        return differs("SHA-256", sha256.clone(), sent.sha256.clone());
    }
    None
}

/// What speaks against the store's answer to an upload, as far as the configuration has it checked.
pub(super) async fn doubt<V: Vault>(
    vault: &V,
    activity: &Activity,
    verify: Verify,
    target: &Target,
    (document, sent): (&Document, &Sent),
) -> Result<Option<Doubt>, VaultError> {
    if let Some(contradiction) = contradiction(document, sent) {
        return Ok(Some(contradiction));
    }
    let (is_sure, doubt) = match verify {
        Verify::Answer => return Ok(None),
        Verify::Listing => (is_listed(vault, &target.folder, &document.id, sent).await?, Doubt::NotListed),
        Verify::Content => (content_matches(vault, activity, target, sent).await?, Doubt::OtherContent),
    };
    Ok((!is_sure).then_some(doubt))
}

/// What a look for a document found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// A document of this name and these bytes.
    Same(Document),
    /// Documents of this name, with other bytes.
    Other,
    /// No document of this name.
    Nothing,
}

impl Found {
    /// Whether the store has these bytes under this name.
    pub(super) fn is_same(&self) -> bool {
        matches!(self, Self::Same(_))
    }
}

/// Looks in the target's folder for what was (or may have been) sent: by its path, then among the folder's children, because a store
/// that keeps several documents under one name shows only one by path. `Same` means the same bytes: the store's own SHA-256, or the
/// content read back. With `read_back` only the content counts, wherever it can be read. `activity` is told of each piece that is read back.
pub(super) async fn find<V: Vault>(
    vault: &V,
    activity: &Activity,
    target: &Target,
    sent: &Sent,
    read_back: bool,
) -> Result<Found, VaultError> {
    let Some(document) = vault.at(&target.path()).await? else { return Ok(Found::Nothing) };
    if is_same(vault, activity, target, (&document, sent), read_back).await? {
        return Ok(Found::Same(document));
    }
    // Only the store's own SHA-256 can tell the others apart: their content can't be read by path.
    let named = vault.named(&target.dest, &target.folder, &sent.name).await?;
    let mut others = named.into_iter().filter(|other| other.id != document.id);
    let same = others.find(|other| other.sha256.as_ref() == Some(&sent.sha256));
    Ok(same.map_or(Found::Other, Found::Same))
}

async fn is_same<V: Vault>(
    vault: &V,
    activity: &Activity,
    target: &Target,
    (document, sent): (&Document, &Sent),
    read_back: bool,
) -> Result<bool, VaultError> {
    if document.folder == Some(true) || contradiction(document, sent).is_some() {
        return Ok(false);
    }
    Ok((document.sha256.is_some() && !read_back) || content_matches(vault, activity, target, sent).await?)
}

/// Reads a document back and compares length and SHA-256.
async fn content_matches<V: Vault>(
    vault: &V,
    activity: &Activity,
    target: &Target,
    sent: &Sent,
) -> Result<bool, VaultError> {
    let path = &target.path();
    let mut download = match vault.download(path).await {
        Ok(download) => download,
        Err(error) if error.kind == Kind::Missing => return Ok(false),
        Err(error) => return Err(error),
    };
    if download.length().is_some_and(|length| length != 0 && length != sent.size) {
        return Ok(false);
    }
    let content = read_back::read(&mut download, sent.size, |_| {
        activity.advanced();
        Ok::<_, VaultError>(())
    });
    let Some(content) = content.await? else { return Ok(false) };
    if content.size == 0 && sent.size > 0 {
        // This is how a proxy says that it has nothing; the store itself said nothing.
        let what = format!("the content of {path} came as an empty answer");
        return Err(VaultError::new(Kind::Content, what));
    }
    Ok(content.size == sent.size && content.sha256 == sent.sha256)
}

/// Whether a folder lists the document that an upload answered with, with the right size.
async fn is_listed<V: Vault>(vault: &V, folder: &DocumentId, id: &DocumentId, sent: &Sent) -> Result<bool, VaultError> {
    let child = vault.child(folder, id).await?;
    Ok(child.is_some_and(|child| contradiction(&child, sent).is_none()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_vault::FakeVault;
    use crate::hex;
    use crate::vault::RemotePath;
    use sha2::{Digest, Sha256};

    fn sent() -> Sent {
        Sent { name: "x".into(), size: 4, sha256: "ab".into() }
    }

    fn document() -> Document {
        Document { id: DocumentId("1".into()), name: None, size: None, sha256: None, folder: None, version: None }
    }

    #[test]
    fn a_field_that_the_store_does_not_send_contradicts_nothing() {
        assert_eq!(contradiction(&document(), &sent()), None);
    }

    #[test]
    fn each_field_that_the_store_sends_must_match() {
        let right = Document { name: Some("x".into()), size: Some(4), sha256: Some("ab".into()), ..document() };
        assert_eq!(contradiction(&right, &sent()), None);
        for wrong in [
            Document { name: Some("y".into()), ..right.clone() },
            Document { size: Some(3), ..right.clone() },
            Document { sha256: Some("cd".into()), ..right.clone() },
        ] {
            assert!(contradiction(&wrong, &sent()).is_some(), "{wrong:?}");
        }
    }

    /// A vault with these documents of the name `x`, whose downloads give this content.
    fn vault_with(named: &[Document], content: Result<&'static [u8], Kind>) -> FakeVault {
        let vault = FakeVault::default();
        for document in named {
            vault.put_described("/x", document.clone(), content);
        }
        vault
    }

    async fn look(named: &[Document], content: Result<&'static [u8], Kind>, read_back: bool) -> Result<Found, Kind> {
        let target = Target { dest: RemotePath::default(), folder: DocumentId("/".into()), name: "x".into() };
        let sent = Sent { name: "x".into(), size: 4, sha256: hex(&Sha256::digest(b"1234")) };
        let vault = vault_with(named, content);
        find(&vault, &Activity::default(), &target, &sent, read_back).await.map_err(|error| error.kind)
    }

    /// A document of four bytes whose SHA-256 the store does not tell.
    fn unhashed() -> Document {
        Document { name: Some("x".into()), size: Some(4), ..document() }
    }

    fn hashed(id: &str, content: &[u8]) -> Document {
        Document { id: DocumentId(id.into()), sha256: Some(hex(&Sha256::digest(content))), ..unhashed() }
    }

    #[tokio::test]
    async fn a_document_of_the_name_and_size_is_the_same_only_if_its_bytes_are() {
        assert_eq!(look(&[], Ok(b"1234"), false).await, Ok(Found::Nothing));
        assert_eq!(look(&[unhashed()], Ok(b"1234"), false).await, Ok(Found::Same(unhashed())));
        for other in [b"4321".as_slice(), b"123", b"12345"] {
            assert_eq!(look(&[unhashed()], Ok(other), false).await, Ok(Found::Other), "{other:?}");
        }
    }

    #[tokio::test]
    async fn a_folder_of_the_name_is_not_the_document() {
        let folder = Document { folder: Some(true), ..unhashed() };
        assert_eq!(look(&[folder], Ok(b"1234"), false).await, Ok(Found::Other));
    }

    #[tokio::test]
    async fn where_the_content_is_to_be_read_back_the_stores_word_is_not_enough() {
        let sure = hashed("1", b"1234");
        assert_eq!(look(std::slice::from_ref(&sure), Ok(b"4321"), false).await, Ok(Found::Same(sure.clone())));
        assert_eq!(look(&[sure], Ok(b"4321"), true).await, Ok(Found::Other));
    }

    #[tokio::test]
    async fn a_second_document_of_the_name_is_found_by_its_sha_256_and_by_nothing_less() {
        let (first, second) = (hashed("1", b"4321"), hashed("2", b"1234"));
        assert_eq!(look(&[first.clone(), second.clone()], Ok(b"4321"), false).await, Ok(Found::Same(second)));
        for unsure in [Document { id: DocumentId("2".into()), ..unhashed() }, hashed("2", b"abcd")] {
            assert_eq!(look(&[first.clone(), unsure], Ok(b"4321"), false).await, Ok(Found::Other));
        }
    }

    /// Taken for other bytes it would be sent again.
    #[tokio::test]
    async fn content_that_can_not_be_read_back_or_comes_empty_says_nothing() {
        assert_eq!(look(&[unhashed()], Err(Kind::Missing), false).await, Ok(Found::Other), "gone since");
        assert_eq!(look(&[unhashed()], Ok(b""), false).await, Err(Kind::Content), "a proxy's empty answer");
        for kind in [Kind::Unavailable, Kind::Forbidden, Kind::Login] {
            assert_eq!(look(&[unhashed()], Err(kind), false).await, Err(kind));
        }
    }

    #[tokio::test]
    async fn a_folder_lists_the_document_of_the_answer_and_no_other() {
        let vault = vault_with(&[hashed("1", b"1234"), hashed("2", b"4321")], Ok(b""));
        let sent = Sent { name: "x".into(), size: 4, sha256: hex(&Sha256::digest(b"1234")) };
        for (id, listed) in [("1", true), ("2", false), ("3", false)] {
            let folder = DocumentId("/".into());
            assert_eq!(is_listed(&vault, &folder, &DocumentId(id.into()), &sent).await.unwrap(), listed, "{id}");
        }
    }
}
