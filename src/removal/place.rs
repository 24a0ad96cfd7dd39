//! Where a file lies while it is set aside, which says where it belongs: a crash leaves no file whose origin nobody knows, at no
//! cost of a record.
//!
//! `sub/report` waits as `.astran-backup/0123456789abcdef~sub%2Freport`: sixteen digits by chance, and its path with `/` and `%`
//! encoded. So the private folder is flat: it needs no folder for each sub-folder, which a full disk has no room for. Where there can
//! be no private folder, or the path is longer than a name can be, the file waits beside its own place as
//! `sub/.astran-backup~0123456789abcdef~report`. A name that is too long for that too waits in a folder of its own, with its whole
//! path: `.astran-backup/0123456789abcdef~/sub/report`. Earlier versions put all files so, in folders numbered from 0.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

use rustix::io::Errno;

use crate::file::{BESIDE, PRIVATE};

/// Hexadecimal digits of the part of a name that is by chance: nobody can make that name before us.
const CHANCE: usize = 16;

/// A part for a name that nobody can foresee.
pub(super) fn chance() -> Result<String, Errno> {
    let mut random = [0u8; CHANCE / 2];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    Ok(format!("{:016x}", u64::from_ne_bytes(random)))
}

/// What a file is called in the private folder that belongs to this path.
pub(super) fn flat(chance: &str, belongs: &Path) -> OsString {
    let mut name = format!("{chance}~").into_bytes();
    for byte in belongs.as_os_str().as_bytes() {
        match byte {
            b'/' => name.extend(b"%2F"),
            b'%' => name.extend(b"%25"),
            other => name.push(*other),
        }
    }
    OsString::from_vec(name)
}

/// The path that [`flat`] made such a name of.
fn of_flat(name: &OsStr) -> Option<PathBuf> {
    let (chance, path) = name.as_bytes().split_at_checked(CHANCE)?;
    let mut encoded = path.strip_prefix(b"~").filter(|_| chance.iter().all(u8::is_ascii_hexdigit))?;
    let mut path = Vec::with_capacity(encoded.len());
    while let [first, rest @ ..] = encoded {
        let (byte, after) = match (first, rest) {
            (b'%', [b'2', b'F', after @ ..]) => (b'/', after),
            (b'%', [b'2', b'5', after @ ..]) => (b'%', after),
            (b'%', _) => return None,
            (other, after) => (*other, after),
        };
        path.push(byte);
        encoded = after;
    }
    let path = PathBuf::from(OsString::from_vec(path));
    // Nothing else than a path as we write it: no dots, no second slash.
    let plain: PathBuf = path.components().filter(|part| matches!(part, Component::Normal(_))).collect();
    (!path.as_os_str().is_empty() && plain.as_os_str() == path.as_os_str()).then_some(path)
}

/// What a file is called that is set aside beside its own place.
pub(super) fn beside(chance: &str, name: &OsStr) -> OsString {
    let mut hidden = OsString::from(format!("{BESIDE}{chance}~"));
    hidden.push(name);
    hidden
}

/// The name that [`beside`] made such a name of.
fn of_beside(name: &OsStr) -> Option<&OsStr> {
    let rest = name.as_bytes().strip_prefix(BESIDE.as_bytes())?;
    let at = rest.iter().position(|byte| *byte == b'~')?;
    Some(OsStr::from_bytes(&rest[at + 1..])).filter(|name| !name.is_empty())
}

/// Whether a name is that of a file that was set aside beside its own place.
pub(crate) fn is_beside(name: &OsStr) -> bool {
    of_beside(name).is_some()
}

/// Where a file belongs, told from where it lies; the same place for one that is not set aside.
pub fn origin(place: &Path) -> PathBuf {
    let Some((base, rest)) = in_private(place) else {
        let Some(name) = place.file_name().and_then(of_beside) else { return place.to_owned() };
        return place.with_file_name(name);
    };
    let mut parts = rest.components();
    let first = parts.next().map_or(OsStr::new(""), Component::as_os_str);
    match parts.as_path() {
        // One that has no name of ours keeps its own.
        alone if alone.as_os_str().is_empty() => base.join(of_flat(first).unwrap_or_else(|| first.into())),
        below_slot => base.join(below_slot),
    }
}

/// The folder that a private folder lies in, and a file's path in that private folder, for a file that lies in one.
pub(super) fn in_private(place: &Path) -> Option<(&Path, &Path)> {
    let mut parts = place.components();
    let private = parts.by_ref().find(|part| part.as_os_str() == PRIVATE)?;
    let rest = parts.as_path();
    let length = place.as_os_str().len() - rest.as_os_str().len();
    let through = Path::new(OsStr::from_bytes(&place.as_os_str().as_bytes()[..length]));
    debug_assert_eq!(through.file_name(), Some(private.as_os_str()));
    Some((through.parent()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEN: &str = "0123456789abcdef";

    fn path_of(names: &[Vec<u8>]) -> PathBuf {
        names.iter().map(|name| OsStr::from_bytes(name)).collect()
    }

    /// One of a name; every second one means something to us.
    fn byte() -> impl Strategy<Value = u8> {
        prop_oneof![
            prop::sample::select(b"%25F~.".to_vec()),
            any::<u8>().prop_filter("no name has it", |byte| !b"/\0".contains(byte))
        ]
    }

    fn names() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let name = prop::collection::vec(byte(), 1..12).prop_filter("no name", |name| name != b"." && name != b"..");
        prop::collection::vec(name, 1..5)
    }

    proptest! {
        #[test]
        fn every_path_comes_back_from_its_flat_name(names in names()) {
            let path = path_of(&names);
            let name = flat(TEN, &path);
            prop_assert!(!name.as_bytes().contains(&b'/'));
            prop_assert_eq!(of_flat(&name), Some(path.clone()));
            prop_assert_eq!(origin(&Path::new("sub").join(PRIVATE).join(name)), Path::new("sub").join(path));
        }

        #[test]
        fn every_name_comes_back_from_beside_its_place(names in names()) {
            let path = path_of(&names);
            let hidden = beside(TEN, path.file_name().unwrap());
            prop_assert!(is_beside(&hidden));
            // Nothing of ours is ever set aside a second time beside itself.
            prop_assume!(in_private(&path).is_none());
            prop_assert_eq!(origin(&path.with_file_name(hidden)), path);
        }

        #[test]
        fn a_name_says_one_path_at_most(bytes in prop::collection::vec(byte(), 0..40)) {
            let name = [TEN.as_bytes(), b"~", &bytes].concat();
            if let Some(path) = of_flat(OsStr::from_bytes(&name)) {
                prop_assert_eq!(flat(TEN, &path).into_vec(), name);
            }
        }
    }

    #[test]
    fn a_name_that_is_none_of_ours_leads_nowhere_else() {
        for name in ["report", "0~x", "0123456789abcdef", "0123456789abcdef~", "0123456789abcdeg~x"] {
            assert_eq!(origin(&Path::new(PRIVATE).join(name)), Path::new(name));
        }
        for name in ["..%2Fx", "%2Fetc%2Fx", "a%2F%2Fb", "a%2F..", ".", "a%2F", "a%41"] {
            let name = format!("{TEN}~{name}");
            assert_eq!(origin(&Path::new(PRIVATE).join(&name)), Path::new(&name));
        }
    }

    #[test]
    fn what_lies_in_a_folder_of_the_private_one_belongs_below_where_that_lies() {
        for (place, belongs) in [
            (".astran-backup/0/sub/report", "sub/report"),
            (".astran-backup/0123456789abcdef/report", "report"),
            (".astran-backup/0123456789abcdef~/sub/report", "sub/report"),
            ("mounted/.astran-backup/0/report", "mounted/report"),
            ("sub/.astran-backup~0~report", "sub/report"),
            ("sub/report", "sub/report"),
        ] {
            assert_eq!(origin(Path::new(place)), Path::new(belongs), "{place}");
        }
    }
}
