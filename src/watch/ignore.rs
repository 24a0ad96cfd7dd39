//! Names that say "in progress".

use std::ffi::OsStr;
use std::path::Path;

use globset::{Glob, GlobSet, GlobSetBuilder};

use crate::file::{PRIVATE, staged_name};

/// The names that are not taken: a rename to another name makes them candidates.
#[derive(Debug, Clone)]
pub struct IgnorePatterns(GlobSet);

impl IgnorePatterns {
    /// From globs over a single name, such as `*.part`.
    pub fn new(globs: &[String]) -> Result<Self, globset::Error> {
        let mut set = GlobSetBuilder::new();
        for glob in globs {
            set.add(Glob::new(glob)?);
        }
        Ok(Self(set.build()?))
    }

    /// Whether a file's or folder's name says that it is not finished, or is our own private folder.
    pub fn in_progress(&self, name: &OsStr) -> bool {
        name == PRIVATE || staged_name::is_beside(name) || self.0.is_match(Path::new(name))
    }

    /// Whether any part of a path below the root does.
    pub fn any_in_progress(&self, relative: &Path) -> bool {
        relative.iter().any(|name| self.in_progress(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> IgnorePatterns {
        IgnorePatterns::new(&["*.part", ".*", "*~", "~$*"].map(str::to_owned)).unwrap()
    }

    #[test]
    fn names_in_progress_are_told_from_others_in_any_part_of_the_path() {
        for taken in ["report.pdf", "partial", "a/b.parts", "--x", "naïve.part.pdf", "with\nnewline"] {
            assert!(!names().any_in_progress(Path::new(taken)), "{taken}");
        }
        for left in ["report.part", ".hidden", "a/.git/x", "x~", "~$letter.docx", ".astran-backup/0/x", "new\n.part"] {
            assert!(names().any_in_progress(Path::new(left)), "{left}");
        }
    }

    #[test]
    fn names_that_are_no_utf_8_are_matched_by_their_bytes() {
        use std::os::unix::ffi::OsStrExt;
        assert!(names().in_progress(OsStr::from_bytes(b"caf\xe9.part")));
        assert!(!names().in_progress(OsStr::from_bytes(b"caf\xe9.pdf")));
    }

    /// Whoever configures their own names to ignore leaves out the pattern that covers ours.
    #[test]
    fn the_private_folder_is_left_alone_whatever_is_configured() {
        let none = IgnorePatterns::new(&[]).unwrap();
        assert!(
            none.any_in_progress(Path::new(".astran-backup/0/x"))
                && none.any_in_progress(Path::new("a/.astran-backup"))
        );
        assert!(!none.any_in_progress(Path::new(".hidden")));
    }
}
