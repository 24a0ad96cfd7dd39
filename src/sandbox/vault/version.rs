//! Version numbers, and the names under which replaced versions are kept.

use std::fmt;

/// A version as `major.minor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version {
    major: u32,
    minor: u32,
}

impl Version {
    /// The version that the first upload of a name makes.
    pub(crate) const FIRST: Self = Self { major: 1, minor: 0 };

    /// The version that the next upload makes.
    pub(crate) fn next(self, is_major: bool) -> Self {
        if is_major { Self { major: self.major + 1, minor: 0 } } else { Self { minor: self.minor + 1, ..self } }
    }

    /// Returns the name of the file that keeps this version once an upload has replaced it. The name holds the kind of that upload, so that
    /// the current version's number follows from the kept files and is stored nowhere else.
    pub(crate) fn kept_as(self, replaced_by_major: bool) -> String {
        format!("{self}-{}", if replaced_by_major { "major" } else { "minor" })
    }

    /// Returns the current version, given the names of all kept files.
    pub(crate) fn current<'a>(kept: impl Iterator<Item = &'a str>) -> Self {
        kept.filter_map(after).max().unwrap_or(Self::FIRST)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// Returns the version that replaced a kept one.
fn after(kept: &str) -> Option<Version> {
    let (number, kind) = kept.split_once('-')?;
    let (major, minor) = number.split_once('.')?;
    let version = Version { major: major.parse().ok()?, minor: minor.parse().ok()? };
    Some(version.next(kind == "major"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_current_version_follows_from_the_kept_files() {
        let mut kept = Vec::new();
        let mut version = Version::FIRST;
        for is_major in [true, false, false, true, true, true, true, true, true, true, true, false] {
            assert_eq!(Version::current(kept.iter().map(String::as_str)), version);
            kept.push(version.kept_as(is_major));
            version = version.next(is_major);
        }
        assert_eq!(version.to_string(), "10.1");
    }

    #[test]
    fn other_files_beside_the_kept_ones_are_no_versions() {
        assert_eq!(Version::current([".DS_Store", "notes.txt", "1.x-major"].into_iter()), Version::FIRST);
    }
}
