//! Where documents are written: decided before anything is fetched.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::exit::{Cause, Exit, Fatal};
use crate::printable::printable;
use crate::vault::RemotePath;

/// Where a document goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    /// Into this file.
    File(PathBuf),
    /// Onto standard output.
    Stdout,
}

/// The place of each document. `output` is what the command line says; without it, the documents go into the working directory.
pub(super) fn places(paths: &[RemotePath], output: Option<&Path>) -> Result<Vec<Place>, Fatal> {
    let several = paths.len() > 1;
    match output {
        Some(file) if file == Path::new("-") && several => {
            Err(usage("standard output (-) takes one document: name a folder with -o"))
        }
        Some(file) if file == Path::new("-") => Ok(vec![Place::Stdout]),
        Some(file) if several || means_a_folder(file) => in_folder(paths, folder(file)?),
        Some(file) => Ok(vec![Place::File(file.to_owned())]),
        None => in_folder(paths, Path::new("")),
    }
}

fn usage(why: impl Into<String>) -> Fatal {
    Fatal::new(Exit::Usage, why)
}

fn ends_with_slash(path: &Path) -> bool {
    path.as_os_str().as_bytes().ends_with(b"/")
}

fn means_a_folder(path: &Path) -> bool {
    ends_with_slash(path) || path.is_dir()
}

/// Checks that a folder is there: a mistyped name must not become a new folder.
fn folder(path: &Path) -> Result<&Path, Fatal> {
    if path.is_dir() {
        return Ok(path);
    }
    let shown = printable(&path.to_string_lossy());
    Err(if std::fs::symlink_metadata(path).is_ok() {
        usage(format!("{shown} is not a folder: several documents go into a folder, so name one with -o"))
    } else {
        Fatal::new(Exit::Missing, format!("the folder {shown} is missing: make it, or name another one with -o"))
    })
}

/// Each document under its own name. No two may have the same: with --force the second one would replace the first.
fn in_folder(paths: &[RemotePath], folder: &Path) -> Result<Vec<Place>, Fatal> {
    let mut names: HashMap<&str, &RemotePath> = HashMap::new();
    let place = |path| {
        let name = own_name(path)?;
        if let Some(other) = names.insert(name, path) {
            let (other, path) = (printable(&other.to_string()), printable(&path.to_string()));
            return Err(usage(format!("{other} and {path} have the same name here: get one after the other, with -o")));
        }
        Ok(Place::File(folder.join(OsStr::new(name))))
    };
    paths.iter().map(place).collect()
}

/// The document's name. A name in the vault has no slash and is not `..`, so it can't lead out of a folder.
fn own_name(path: &RemotePath) -> Result<&str, Fatal> {
    let name = path.segments().last();
    name.map(String::as_str).ok_or_else(|| usage("/ is the vault itself: name a document in it"))
}

/// Refuses before anything is fetched. A file that appears later is refused when the download is renamed to its place.
pub(super) fn refuse_existing(place: &Path) -> Result<(), Fatal> {
    if std::fs::symlink_metadata(place).is_ok() { Err(exists(place)) } else { Ok(()) }
}

pub(super) fn exists(place: &Path) -> Fatal {
    let place = printable(&place.to_string_lossy());
    Fatal::because(
        Cause::Exists,
        format!("{place} exists and is not replaced: name another file with -o, or use --force"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(paths: &[&str], output: Option<&Path>) -> Result<Vec<Place>, Exit> {
        let paths: Vec<_> = paths.iter().map(|path| RemotePath::parse(path).unwrap()).collect();
        places(&paths, output).map_err(|fatal| fatal.exit)
    }

    fn file(path: impl Into<PathBuf>) -> Place {
        Place::File(path.into())
    }

    #[test]
    fn one_document_goes_into_the_file_or_folder_that_is_named_or_here() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        assert_eq!(of(&["/docs/a"], None), Ok(vec![file("a")]));
        assert_eq!(of(&["/docs/a"], Some(Path::new("b"))), Ok(vec![file("b")]));
        assert_eq!(of(&["/docs/a"], Some(Path::new("-"))), Ok(vec![Place::Stdout]));
        assert_eq!(of(&["/docs/a"], Some(dir)), Ok(vec![file(dir.join("a"))]));
        assert_eq!(of(&["/docs/a"], Some(&dir.join("no/"))), Err(Exit::Missing));
        assert_eq!(of(&["/"], None), Err(Exit::Usage));
    }

    #[test]
    fn several_documents_go_into_a_folder_that_is_there_and_none_takes_the_name_of_another() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        std::fs::write(dir.join("file"), "").unwrap();
        assert_eq!(of(&["/docs/a", "/b"], Some(dir)), Ok(vec![file(dir.join("a")), file(dir.join("b"))]));
        assert_eq!(of(&["/docs/a", "/b"], None), Ok(vec![file("a"), file("b")]));
        for (output, exit) in
            [("-".into(), Exit::Usage), (dir.join("no"), Exit::Missing), (dir.join("file"), Exit::Usage)]
        {
            assert_eq!(of(&["/a", "/b"], Some(&output)), Err(exit), "{}", output.display());
        }
        assert_eq!(of(&["/docs/a", "/a"], Some(dir)), Err(Exit::Usage));
    }
}
