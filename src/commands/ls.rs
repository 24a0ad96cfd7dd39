//! `ls [PATH]`: lists a folder of the vault.

use std::io::Write;

use serde::Serialize;

use crate::exit::{Exit, Fatal};
use crate::printable::{json_line, printable};
use crate::vault::{Document, Kind, RemotePath, Vault};

/// What is listed, and how.
#[derive(Debug, Clone, Default)]
pub(super) struct Options {
    /// The folder; or a document, which is listed alone.
    pub(super) path: RemotePath,
    /// One JSON object a line.
    pub(super) json: bool,
}

/// A line of `--json`: a stable contract.
#[derive(Debug, Serialize)]
struct Line<'a> {
    name: Option<&'a str>,
    path: String,
    id: &'a str,
    size: Option<u64>,
    folder: Option<bool>,
    version: Option<&'a str>,
    sha256: Option<&'a str>,
}

/// Lists the folder at the path, or the one document there, onto `out`.
pub(super) async fn run(vault: &impl Vault, options: &Options, out: &mut impl Write) -> Result<Exit, Fatal> {
    let (parent, mut found) = collect(vault, &options.path).await?;
    found.sort_by(|a, b| (&a.name, &a.id).cmp(&(&b.name, &b.id)));
    let written = if options.json { print_json(&parent, &found, out) } else { print_text(&found, out) };
    match written.and_then(|()| out.flush()) {
        // The reader has read enough, as in `ls | head`.
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(Exit::Done),
        Err(e) => Err(Fatal::new(Exit::SomeFailed, format!("the listing can't be written to standard output: {e}"))),
        Ok(()) => Ok(Exit::Done),
    }
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

fn print_json(parent: &RemotePath, found: &[Document], out: &mut impl Write) -> std::io::Result<()> {
    for document in found {
        let line = Line {
            name: document.name.as_deref(),
            path: document.name.as_ref().map_or_else(|| parent.to_string(), |n| parent.join(n).to_string()),
            id: &document.id.0,
            size: document.size,
            folder: document.folder,
            version: document.version.as_deref(),
            sha256: document.sha256.as_deref(),
        };
        writeln!(out, "{}", json_line(&line))?;
    }
    Ok(())
}

fn print_text(found: &[Document], out: &mut impl Write) -> std::io::Result<()> {
    for document in found {
        let name = document.name.as_deref().map_or_else(|| format!("({})", printable(&document.id.0)), printable);
        let (size, slash) = match (document.folder, document.size) {
            (Some(true), _) => (String::new(), "/"),
            (_, Some(size)) => (human(size), ""),
            (_, None) => ("?".to_owned(), ""),
        };
        writeln!(out, "{size:>10}  {name}{slash}")?;
    }
    Ok(())
}

/// A size in units of 1024, with one decimal.
fn human(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut rest, mut unit) = (bytes, 0);
    // Whole numbers are used, so that no size is rounded up to 1024.
    while rest >= 1024 * 1024 {
        rest /= 1024;
        unit += 1;
    }
    format!("{}.{} {}", rest / 1024, rest % 1024 * 10 / 1024, UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_unit_and_one_decimal() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (1_048_575, "1023.9 KiB"),
            (1 << 20, "1.0 MiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(human(bytes), text);
        }
    }

    use crate::fake_vault::{FakeVault, document};

    async fn list(path: &str, json: bool) -> Result<String, Fatal> {
        let vault = FakeVault::default();
        for (name, content) in [("b.pdf", b"12345".as_slice()), ("a\n.pdf", b"")] {
            let at = RemotePath::parse("/docs").unwrap().join(name);
            vault.put_described(&at.to_string(), Document { sha256: None, ..document(&at, content) }, Ok(content));
        }
        let mut out = Vec::new();
        let options = Options { path: RemotePath::parse(path).unwrap(), json };
        assert_eq!(run(&vault, &options, &mut out).await?, Exit::Done);
        Ok(String::from_utf8(out).unwrap())
    }

    #[tokio::test]
    async fn folders_and_documents_are_listed() {
        assert_eq!(list("/", false).await.unwrap(), "            docs/\n");
        assert_eq!(list("/docs", false).await.unwrap(), "       0 B  a\\n.pdf\n       5 B  b.pdf\n");
        assert_eq!(list("/docs/b.pdf", false).await.unwrap(), "       5 B  b.pdf\n");
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
        print_text(&found, &mut text).unwrap();
        print_json(&RemotePath::default(), &found, &mut json).unwrap();
        for shown in [text, json] {
            let shown = String::from_utf8(shown).unwrap();
            assert_eq!(shown.lines().count(), 2, "{shown:?}");
            assert!(!shown.contains(['\u{1b}', '\u{202e}']), "{shown:?}");
        }
    }

    #[tokio::test]
    async fn the_json_fields_are_a_stable_contract() {
        assert_eq!(
            list("docs/b.pdf", true).await.unwrap(),
            "{\"name\":\"b.pdf\",\"path\":\"/docs/b.pdf\",\"id\":\"/docs/b.pdf\",\"size\":5,\"folder\":false,\
             \"version\":null,\"sha256\":null}\n"
        );
        assert_eq!(list("/docs", true).await.unwrap().lines().count(), 2);
    }
}
