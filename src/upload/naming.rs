//! What a file is called in the vault. Pure.

use std::path::Path;

use crate::config::Layout;
use crate::vault::RemotePath;

/// The longest name that is sent, in bytes: as long as file systems allow.
const LONGEST: usize = 255;

/// Why a file's name can't be sent.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The name is not valid UTF-8, and names in the vault are text.
    #[error("its name {0:?} is not valid UTF-8, and names in the vault are text: rename it")]
    NotText(std::ffi::OsString),
    /// The path ends in no name.
    #[error("it has no name")]
    None,
}

/// Where a file at this path below its folder goes, by the layout, and as what.
pub(super) fn dest_and_name(path: &Path, dest: &RemotePath, layout: Layout) -> Result<(RemotePath, String), NameError> {
    let name = remote_name(path)?;
    let folders = match layout {
        Layout::Flat => Vec::new(),
        Layout::Mirror => remote_folders(path)?,
    };
    Ok((folders.iter().fold(dest.clone(), |dest, folder| dest.join(folder)), name))
}

/// The name for a file at this path.
fn remote_name(path: &Path) -> Result<String, NameError> {
    let name = path.file_name().ok_or(NameError::None)?;
    name.to_str().map(str::to_owned).ok_or_else(|| NameError::NotText(name.to_owned()))
}

/// The sub-folders of the destination that a file at this path belongs to, in layout "mirror".
fn remote_folders(path: &Path) -> Result<Vec<String>, NameError> {
    let folders = path.parent().into_iter().flat_map(Path::iter);
    folders.map(|name| name.to_str().map(str::to_owned).ok_or_else(|| NameError::NotText(name.to_owned()))).collect()
}

/// Names to try in turn where `name` is taken by other content: by the sub-folder that the file comes from, if any, then
/// by the start of its SHA-256. Each name says why it differs, and both are the same whenever the same file is tried again.
pub(crate) fn alternatives(name: &str, path: &Path, sha256: &str) -> Vec<String> {
    let folders = path.parent().map(|parent| parent.to_string_lossy().replace('/', "_")).unwrap_or_default();
    let from = (!folders.is_empty()).then(|| with_suffix(name, &format!(" (from {folders})")));
    let short = sha256.get(..8).unwrap_or(sha256);
    from.into_iter().chain([with_suffix(name, &format!(" (conflict {short})"))]).collect()
}

/// Puts a suffix before the extension, and shortens the name so that all of it fits.
fn with_suffix(name: &str, suffix: &str) -> String {
    let (stem, extension) = match name.rfind('.') {
        Some(dot) if dot > 0 && name.len() - dot <= 16 => name.split_at(dot),
        _ => (name, ""),
    };
    let suffix = shortened(suffix, LONGEST / 2, ")");
    let room = LONGEST.saturating_sub(suffix.len() + extension.len());
    format!("{}{suffix}{extension}", shortened(stem, room, ""))
}

/// The text itself if it has at most so many bytes; else its start, cut between characters, and `end`.
fn shortened(text: &str, most: usize, end: &str) -> String {
    if text.len() <= most {
        return text.to_owned();
    }
    let cut = text.floor_char_boundary(most.saturating_sub(end.len()));
    format!("{}{end}", &text[..cut])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    const SHA: &str = "0123456789abcdef";

    #[test]
    fn a_name_is_sent_as_it_is_and_one_that_is_no_text_is_refused() {
        assert_eq!(remote_name(Path::new("sub/Zeugnis 100%+&#?.pdf")).unwrap(), "Zeugnis 100%+&#?.pdf");
        let error = remote_name(Path::new(OsStr::from_bytes(b"caf\xe9.pdf"))).unwrap_err();
        assert!(error.to_string().contains("rename it"), "{error}");
    }

    #[test]
    fn the_suffix_says_why_and_stands_before_the_extension() {
        let names = alternatives("report.pdf", Path::new("a/b/report.pdf"), SHA);
        assert_eq!(names, ["report (from a_b).pdf", "report (conflict 01234567).pdf"]);
        assert_eq!(alternatives("report", Path::new("report"), SHA), ["report (conflict 01234567)"]);
        assert_eq!(alternatives(".rc", Path::new(".rc"), SHA), [".rc (conflict 01234567)"]);
    }

    proptest! {
        #[test]
        fn an_alternative_is_another_name_that_fits(name in "[^/\0]{1,80}", folder in "[^/\0]{0,90}") {
            let path = Path::new(&folder).join("x");
            for other in alternatives(&name, &path, SHA) {
                prop_assert!(other != name && other.len() <= LONGEST && !other.contains('/'));
            }
        }
    }
}
