//! A vault for the tests of the commands: one folder, `/docs`.

use bytes::Bytes;

use crate::vault::{Content, Document, DocumentId, Download, Kind, RemotePath, Vault, VaultError};

/// What lies in `/docs`: names, contents, and how long a download says it is.
pub(super) struct Shelf(pub(super) Vec<(&'static str, &'static [u8], Option<u64>)>);

pub(super) struct Pieces(Vec<&'static [u8]>, Option<u64>);

impl Download for Pieces {
    fn length(&self) -> Option<u64> {
        self.1
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, VaultError> {
        Ok(self.0.pop().map(Bytes::from_static))
    }
}

fn missing() -> VaultError {
    VaultError::new(Kind::Missing, "nothing is there")
}

fn document(name: &str, size: Option<u64>, folder: bool) -> Document {
    let (id, name) = (DocumentId(format!("id-{name}")), Some(name.to_owned()));
    Document { id, name, size, sha256: None, folder: Some(folder), version: None }
}

impl Vault for Shelf {
    type Download = Pieces;

    async fn folder(&self, path: &RemotePath) -> Result<Document, VaultError> {
        self.at(path).await?.ok_or_else(missing)
    }

    async fn children(&self, folder: &DocumentId) -> Result<Vec<Document>, VaultError> {
        match folder.0.as_str() {
            "id-docs" => Ok(self.0.iter().map(|(n, c, _)| document(n, Some(c.len() as u64), false)).collect()),
            _ => Ok(vec![document("docs", None, true)]),
        }
    }

    async fn at(&self, path: &RemotePath) -> Result<Option<Document>, VaultError> {
        let segments: Vec<&str> = path.segments().iter().map(String::as_str).collect();
        Ok(match segments[..] {
            [] => Some(document("", None, true)),
            ["docs"] => Some(document("docs", None, true)),
            ["docs", name] => self
                .children(&DocumentId("id-docs".into()))
                .await?
                .into_iter()
                .find(|d| d.name.as_deref() == Some(name)),
            _ => None,
        })
    }

    async fn named(&self, path: &RemotePath, _: &DocumentId, name: &str) -> Result<Vec<Document>, VaultError> {
        Ok(self.at(&path.join(name)).await?.into_iter().collect())
    }

    async fn upload(
        &self,
        _: &DocumentId,
        _: &str,
        _: &(dyn Fn() -> std::io::Result<Content> + Send + Sync),
    ) -> Result<Document, VaultError> {
        Err(VaultError::new(Kind::Refused, "read only"))
    }

    async fn download(&self, path: &RemotePath) -> Result<Pieces, VaultError> {
        let name = path.segments().last().map(String::as_str);
        let found = self.0.iter().find(|(n, _, _)| Some(*n) == name).ok_or_else(missing)?;
        let (first, second) = found.1.split_at(found.1.len() / 2);
        Ok(Pieces(vec![second, first], found.2))
    }

    async fn probe(&self) -> Result<String, VaultError> {
        Ok("someone".to_owned())
    }
}
