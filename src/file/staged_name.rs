//! The name of a file that is set aside, which says where the file belongs: after a crash no record is needed to put it back.
//!
//! `sub/report` waits as `.astran-backup/0123456789abcdef~sub%2Freport`: sixteen random digits, and its path with `/` and `%`
//! encoded. So the private folder is flat: it needs no folder for each sub-folder, which a full disk has no room for. Where there can
//! be no private folder, or the path is longer than a name can be, the file waits beside its own place as
//! `sub/.astran-backup~0123456789abcdef~report`. A name that is too long for that too waits in a slot, a folder of its own, with its
//! whole path: `.astran-backup/0123456789abcdef~/sub/report`. Earlier versions put all files so, in folders numbered from 0.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Component, Path, PathBuf};

use rustix::io::Errno;

use super::{BESIDE, PRIVATE};

/// How many random hexadecimal digits a name has, so that nobody can make that name before us.
const RANDOM_DIGITS: usize = 16;

/// Hexadecimal digits for a name that nobody can foresee.
pub(crate) fn random_digits() -> Result<String, Errno> {
    let mut random = [0u8; RANDOM_DIGITS / 2];
    rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
    Ok(format!("{:016x}", u64::from_ne_bytes(random)))
}

/// The name in the private folder of a file that belongs to this path.
pub(crate) fn encode(random: &str, origin: &Path) -> OsString {
    let mut name = format!("{random}~").into_bytes();
    for byte in origin.as_os_str().as_bytes() {
        match byte {
            b'/' => name.extend(b"%2F"),
            b'%' => name.extend(b"%25"),
            other => name.push(*other),
        }
    }
    OsString::from_vec(name)
}

/// The path that [`encode`] made such a name of.
fn decode(name: &OsStr) -> Option<PathBuf> {
    let (random, path) = name.as_bytes().split_at_checked(RANDOM_DIGITS)?;
    let mut encoded = path.strip_prefix(b"~").filter(|_| random.iter().all(u8::is_ascii_hexdigit))?;
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

/// The name of a file that is set aside beside its own place.
pub(crate) fn beside(random: &str, name: &OsStr) -> OsString {
    let mut hidden = OsString::from(format!("{BESIDE}{random}~"));
    hidden.push(name);
    hidden
}

/// The name that [`beside`] made such a name of.
fn decode_beside(name: &OsStr) -> Option<&OsStr> {
    let rest = name.as_bytes().strip_prefix(BESIDE.as_bytes())?;
    let at = rest.iter().position(|byte| *byte == b'~')?;
    Some(OsStr::from_bytes(&rest[at + 1..])).filter(|name| !name.is_empty())
}

/// Whether a name is that of a file that was set aside beside its own place.
pub(crate) fn is_beside(name: &OsStr) -> bool {
    decode_beside(name).is_some()
}

/// Returns where a file belongs, told from where it lies; the same place for a file that is not set aside.
pub(crate) fn origin(place: &Path) -> PathBuf {
    let Some((base, rest)) = split_at_private(place) else {
        let Some(name) = place.file_name().and_then(decode_beside) else { return place.to_owned() };
        return place.with_file_name(name);
    };
    let mut parts = rest.components();
    let first = parts.next().map_or(OsStr::new(""), Component::as_os_str);
    match parts.as_path() {
        // A name that this program did not make is kept.
        alone if alone.as_os_str().is_empty() => base.join(decode(first).unwrap_or_else(|| first.into())),
        below_slot => base.join(below_slot),
    }
}

/// The folder that a private folder lies in, and a file's path in that private folder, for a file that lies in one.
pub(crate) fn split_at_private(place: &Path) -> Option<(&Path, &Path)> {
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

    const DIGITS: &str = "0123456789abcdef";

    fn path_of(names: &[Vec<u8>]) -> PathBuf {
        names.iter().map(|name| OsStr::from_bytes(name)).collect()
    }

    /// A byte of a name; every second one has a meaning in an encoded name.
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
        fn every_path_comes_back_from_its_encoded_name(names in names()) {
            let path = path_of(&names);
            let name = encode(DIGITS, &path);
            prop_assert!(!name.as_bytes().contains(&b'/'));
            prop_assert_eq!(decode(&name), Some(path.clone()));
            prop_assert_eq!(origin(&Path::new("sub").join(PRIVATE).join(name)), Path::new("sub").join(path));
        }

        #[test]
        fn every_name_comes_back_from_beside_its_place(names in names()) {
            let path = path_of(&names);
            let hidden = beside(DIGITS, path.file_name().unwrap());
            prop_assert!(is_beside(&hidden));
            // A file that is set aside is never set aside a second time beside itself.
            prop_assume!(split_at_private(&path).is_none());
            prop_assert_eq!(origin(&path.with_file_name(hidden)), path);
        }

        #[test]
        fn a_name_stands_for_one_path_at_most(bytes in prop::collection::vec(byte(), 0..40)) {
            let name = [DIGITS.as_bytes(), b"~", &bytes].concat();
            if let Some(path) = decode(OsStr::from_bytes(&name)) {
                prop_assert_eq!(encode(DIGITS, &path).into_vec(), name);
            }
        }
    }

    #[test]
    fn a_name_that_this_program_did_not_make_is_kept_as_it_is() {
        for name in ["report", "0~x", "0123456789abcdef", "0123456789abcdef~", "0123456789abcdeg~x"] {
            assert_eq!(origin(&Path::new(PRIVATE).join(name)), Path::new(name));
        }
        for name in ["..%2Fx", "%2Fetc%2Fx", "a%2F%2Fb", "a%2F..", ".", "a%2F", "a%41"] {
            let name = format!("{DIGITS}~{name}");
            assert_eq!(origin(&Path::new(PRIVATE).join(&name)), Path::new(&name));
        }
    }

    #[test]
    fn a_file_in_a_slot_belongs_below_the_folder_of_the_private_folder() {
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
