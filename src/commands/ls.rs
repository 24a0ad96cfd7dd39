//! `ls [PATH]`: lists a folder of the vault.

use serde::Serialize;

use super::output::Output;
use super::totals::Counts;
use crate::events::Event;
use crate::exit::{Exit, Fatal};
use crate::measure;
use crate::printable::printable;
use crate::vault::{Document, Kind, RemotePath, Vault};

/// A document or a folder of the vault.
#[derive(Debug, Serialize)]
struct DocumentEvent<'a> {
    name: Option<&'a str>,
    remote_path: Option<String>,
    document_id: &'a str,
    document_version: Option<&'a str>,
    folder: Option<bool>,
    size: Option<u64>,
    sha256: Option<&'a str>,
}

impl Event for DocumentEvent<'_> {
    const TYPE: &'static str = "document";
}

/// Lists the folder at the path, or the one document there.
pub(super) async fn run(vault: &impl Vault, path: &RemotePath, out: &mut Output<'_>) -> Result<Exit, Fatal> {
    let (parent, mut found) = collect(vault, path).await?;
    found.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    let bytes = found.iter().filter_map(|document| document.size).sum();
    out.count(Counts::Documents { documents: found.len() as u64, bytes });
    print(&parent, &found, out)?;
    Ok(Exit::Done)
}

/// The documents to show, and the path of the folder that they lie in.
async fn collect(vault: &impl Vault, path: &RemotePath) -> Result<(RemotePath, Vec<Document>), Fatal> {
    let found = match vault.at(path).await? {
        Some(found) => found,
        // The error of this call says which part of the path is missing, and what lies beside it.
        None => vault.folder(path).await?,
    };
    if found.folder == Some(false) {
        return Ok(alone(path, found));
    }
    match vault.children(&found.id).await {
        Ok(children) => Ok((path.clone(), children)),
        // Where the store does not tell folders from documents, an entry without children is a document.
        Err(e) if found.folder.is_none() && matches!(e.kind, Kind::Missing | Kind::Refused | Kind::Conflict) => {
            Ok(alone(path, found))
        }
        Err(e) => Err(e.into()),
    }
}

fn alone(path: &RemotePath, mut document: Document) -> (RemotePath, Vec<Document>) {
    let (name, above) = path.segments().split_last().map_or(("", &[][..]), |(n, a)| (n.as_str(), a));
    document.name.get_or_insert_with(|| name.to_owned());
    (above.iter().fold(RemotePath::default(), |p, s| p.join(s)), vec![document])
}

fn print(parent: &RemotePath, found: &[Document], out: &mut Output<'_>) -> Result<(), Fatal> {
    for document in found {
        let event = DocumentEvent {
            name: document.name.as_deref(),
            remote_path: document.name.as_ref().map(|name| parent.join(name).to_string()),
            document_id: &document.id.0,
            document_version: document.version.as_deref(),
            folder: document.folder,
            size: document.size,
            sha256: document.sha256.as_deref(),
        };
        out.print(&event, || text(document))?;
    }
    Ok(())
}

fn text(document: &Document) -> String {
    let name = document.name.as_deref().map_or_else(|| format!("({})", printable(&document.id.0)), printable);
    let (size, slash) = match (document.folder, document.size) {
        (Some(true), _) => (String::new(), "/"),
        (_, Some(size)) => (measure::size(size), ""),
        (_, None) => ("?".to_owned(), ""),
    };
    format!("{size:>10}  {name}{slash}")
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::fake_vault::{FakeVault, document};

    async fn list(path: &str, json: bool) -> Result<String, Fatal> {
        let vault = FakeVault::default();
        for (name, content) in [("b.pdf", b"12345".as_slice()), ("a\n.pdf", b"")] {
            let at = RemotePath::parse("/docs").unwrap().join(name);
            vault.put_described(&at.to_string(), Document { sha256: None, ..document(&at, content) }, Ok(content));
        }
        let mut out = Vec::new();
        let path = RemotePath::parse(path).unwrap();
        assert_eq!(run(&vault, &path, &mut Output::new(&mut out, json)).await?, Exit::Done);
        Ok(String::from_utf8(out).unwrap())
    }

    #[tokio::test]
    async fn folders_and_documents_are_listed() {
        assert_eq!(list("/", false).await.unwrap(), "            docs/\n");
        assert_eq!(list("/docs", false).await.unwrap(), "   0 bytes  a\\n.pdf\n   5 bytes  b.pdf\n");
        assert_eq!(list("/docs/b.pdf", false).await.unwrap(), "   5 bytes  b.pdf\n");
        assert_eq!(list("/none", false).await.unwrap_err().exit, Exit::Missing);
    }

    /// Regression: the id of a document without a name reached the terminal unescaped, and names in JSON reversed the line.
    #[test]
    fn control_characters_from_the_store_are_escaped() {
        let odd = "a\u{1b}[2J\u{202e}\nb".to_owned();
        let id = crate::vault::DocumentId(odd.clone());
        let document = |name| Document { id: id.clone(), name, size: None, sha256: None, folder: None, version: None };
        let (mut text, mut json) = (Vec::new(), Vec::new());
        let found = [document(None), document(Some(odd))];
        print(&RemotePath::default(), &found, &mut Output::new(&mut text, false)).unwrap();
        print(&RemotePath::default(), &found, &mut Output::new(&mut json, true)).unwrap();
        for shown in [text, json] {
            let shown = String::from_utf8(shown).unwrap();
            assert_eq!(shown.lines().count(), 2, "{shown:?}");
            assert!(!shown.contains(['\u{1b}', '\u{202e}']), "{shown:?}");
        }
    }

    #[tokio::test]
    async fn the_json_fields_are_a_stable_contract() {
        let line = list("docs/b.pdf", true).await.unwrap();
        let own = line.split_once("Z\",").unwrap().1;
        assert_eq!(
            own,
            "\"name\":\"b.pdf\",\"remote_path\":\"/docs/b.pdf\",\"document_id\":\"/docs/b.pdf\",\"document_version\":null,\
             \"folder\":false,\"size\":5,\"sha256\":null}\n"
        );
        assert_eq!(list("/docs", true).await.unwrap().lines().count(), 2);
    }
}
