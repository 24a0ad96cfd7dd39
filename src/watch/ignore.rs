//! Names that say that a file is not finished.

use std::ffi::OsStr;
use std::path::Path;

use globset::{Glob, GlobSet, GlobSetBuilder};

use crate::file::PRIVATE;
use crate::file::staged_name::is_beside;

/// The names that are ignored. A file of such a name is uploaded after a rename to another name.
#[derive(Debug, Clone)]
pub(crate) struct IgnorePatterns {
    set: GlobSet,
    /// As they were written, in the order of the set.
    globs: Vec<String>,
}

impl IgnorePatterns {
    /// From globs over a single name, such as `*.part`.
    pub(crate) fn new(globs: &[String]) -> Result<Self, globset::Error> {
        let mut set = GlobSetBuilder::new();
        for glob in globs {
            set.add(Glob::new(glob)?);
        }
        Ok(Self { set: set.build()?, globs: globs.to_vec() })
    }

    /// Returns whether a file's or folder's name is ignored: by a pattern, or because this program made it.
    pub(crate) fn ignores(&self, name: &OsStr) -> bool {
        name == PRIVATE || is_beside(name) || self.set.is_match(Path::new(name))
    }

    /// Returns the pattern by which a name is ignored. `None` for a name that is not ignored, and for one that this program made.
    pub(crate) fn pattern_of(&self, name: &OsStr) -> Option<&str> {
        let first = self.set.matches(Path::new(name)).into_iter().next()?;
        self.globs.get(first).map(String::as_str)
    }

    /// Returns whether any part of a path below the root is ignored.
    pub(crate) fn ignores_any_part(&self, relative: &Path) -> bool {
        relative.iter().any(|name| self.ignores(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns() -> IgnorePatterns {
        IgnorePatterns::new(&["*.part", ".*", "*~", "~$*"].map(str::to_owned)).unwrap()
    }

    #[test]
    fn a_pattern_ignores_whole_names_in_any_part_of_the_path() {
        for taken in ["report.pdf", "partial", "a/b.parts", "--x", "naïve.part.pdf", "with\nnewline"] {
            assert!(!patterns().ignores_any_part(Path::new(taken)), "{taken}");
        }
        for ignored in ["report.part", ".hidden", "a/.git/x", "x~", "~$letter.docx", ".astran-backup/0/x", "new\n.part"]
        {
            assert!(patterns().ignores_any_part(Path::new(ignored)), "{ignored}");
        }
    }

    #[test]
    fn names_that_are_no_utf_8_are_matched_by_their_bytes() {
        use std::os::unix::ffi::OsStrExt;
        assert!(patterns().ignores(OsStr::from_bytes(b"caf\xe9.part")));
        assert!(!patterns().ignores(OsStr::from_bytes(b"caf\xe9.pdf")));
    }

    /// Patterns of the user's own replace the default ones, of which one covers the private folder.
    #[test]
    fn the_private_folder_is_ignored_whatever_is_configured() {
        let none = IgnorePatterns::new(&[]).unwrap();
        assert!(none.ignores_any_part(Path::new(".astran-backup/0/x")));
        assert!(none.ignores_any_part(Path::new("a/.astran-backup")));
        assert!(!none.ignores_any_part(Path::new(".hidden")));
    }
}
