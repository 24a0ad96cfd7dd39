//! Document ids. They are derived from the place, so that every process with the same store gives the same ids.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::vault::RemotePath;

/// The place of a document or folder: the path, and the number among the documents of that name, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) path: RemotePath,
    pub(crate) copy: u32,
}

impl Place {
    /// The place of the first, usually the only, document or folder at a path.
    pub(crate) fn first(path: RemotePath) -> Self {
        Self { path, copy: 1 }
    }

    /// Returns the id. A NUL separates path and copy, since no name can hold one.
    pub(crate) fn id(&self) -> String {
        let mut text = self.path.to_string();
        if self.copy > 1 {
            text.push('\0');
            text.push_str(&self.copy.to_string());
        }
        URL_SAFE_NO_PAD.encode(text)
    }

    /// Returns the place of an id; `None` for a text that [`Place::id`] never returns.
    pub(crate) fn of_id(id: &str) -> Option<Self> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(id).ok()?).ok()?;
        let (path, copy) = match text.split_once('\0') {
            Some((path, copy)) => (path, copy.parse().ok()?),
            None => (text.as_str(), 1),
        };
        let place = Self { path: RemotePath::parse(path).ok()?, copy };
        (place.id() == id).then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_text_that_is_no_id_has_no_place() {
        for id in [
            "",
            "nonsense",
            "Lw==",
            "../..",
            "Ly4u",
            &URL_SAFE_NO_PAD.encode("//a"),
            &URL_SAFE_NO_PAD.encode("/a\x001"),
        ] {
            assert_eq!(Place::of_id(id), None, "{id}");
        }
    }

    proptest! {
        #[test]
        fn every_place_has_its_own_id(names in prop::collection::vec("[^/\0]{1,20}", 0..4), copy in 1u32..5) {
            prop_assume!(names.iter().all(|n| n != "." && n != ".."));
            let path = names.iter().fold(RemotePath::default(), |path, name| path.join(name));
            let place = Place { path, copy };
            prop_assert_eq!(Place::of_id(&place.id()), Some(place));
        }
    }
}
