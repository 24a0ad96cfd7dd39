//! Reads documents out of JSON, and holds no more of it in memory than what is kept. Pure.
//!
//! `serde_json`'s own values take thirty bytes and more for each two bytes of text: a listing of 16 MiB of `{},` took 4.6 GB. Here
//! each entry is read as it comes, and everything that is neither a text, a number nor a flag is skipped.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::budget;

/// The value of a field: a text, a number or a flag; `Nothing` for everything else.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scalar {
    Text(String),
    /// A text that was longer than [`budget::FIELD_BYTES`] and is cut to that: no name that this program sent, and no usable id.
    Cut(String),
    Number(serde_json::Number),
    Flag(bool),
    Nothing,
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Scalar, E> {
        Ok(Scalar::Flag(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Scalar, E> {
        Ok(Scalar::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Scalar, E> {
        Ok(Scalar::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Scalar, E> {
        Ok(serde_json::Number::from_f64(number).map_or(Scalar::Nothing, Scalar::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
        Ok(if text.len() <= budget::FIELD_BYTES {
            Scalar::Text(text.to_owned())
        } else {
            Scalar::Cut(text[..text.floor_char_boundary(budget::FIELD_BYTES)].to_owned())
        })
    }

    fn visit_unit<E>(self) -> Result<Scalar, E> {
        Ok(Scalar::Nothing)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Scalar, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Nothing)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Nothing)
    }
}

/// The fields of an object that are used, in their plausible spellings. Of several equal ones the last counts.
#[derive(Debug, Default)]
pub(super) struct DocumentFields {
    pub(super) upper_id: Option<Scalar>,
    pub(super) id: Option<Scalar>,
    pub(super) name: Option<Scalar>,
    pub(super) sizes: [Option<Scalar>; 3],
    pub(super) sums: [Option<Scalar>; 3],
    pub(super) is_folder: Option<Scalar>,
    pub(super) folder: Option<Scalar>,
    pub(super) kind: Option<Scalar>,
    pub(super) version: Option<Scalar>,
}

#[derive(Deserialize)]
#[serde(field_identifier)]
enum FieldName {
    #[serde(rename = "ID")]
    UpperId,
    #[serde(rename = "id")]
    Id,
    #[serde(rename = "name")]
    Name,
    #[serde(rename = "size")]
    Size,
    #[serde(rename = "length")]
    Length,
    #[serde(rename = "fileSize")]
    FileSize,
    #[serde(rename = "sha256")]
    Sha256,
    #[serde(rename = "checksum")]
    Checksum,
    #[serde(rename = "hash")]
    Hash,
    #[serde(rename = "isFolder")]
    IsFolder,
    #[serde(rename = "folder")]
    Folder,
    #[serde(rename = "type")]
    Kind,
    #[serde(rename = "version")]
    Version,
    #[serde(other)]
    Other,
}

impl DocumentFields {
    fn slot(&mut self, key: &FieldName) -> Option<&mut Option<Scalar>> {
        Some(match key {
            FieldName::UpperId => &mut self.upper_id,
            FieldName::Id => &mut self.id,
            FieldName::Name => &mut self.name,
            FieldName::Size => &mut self.sizes[0],
            FieldName::Length => &mut self.sizes[1],
            FieldName::FileSize => &mut self.sizes[2],
            FieldName::Sha256 => &mut self.sums[0],
            FieldName::Checksum => &mut self.sums[1],
            FieldName::Hash => &mut self.sums[2],
            FieldName::IsFolder => &mut self.is_folder,
            FieldName::Folder => &mut self.folder,
            FieldName::Kind => &mut self.kind,
            FieldName::Version => &mut self.version,
            FieldName::Other => return None,
        })
    }
}

/// An entry of a listing: its fields, or `None` for an entry that is no object.
pub(super) struct ListingEntry(pub(super) Option<DocumentFields>);

impl<'de> Deserialize<'de> for ListingEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListingEntryVisitor)
    }
}

struct ListingEntryVisitor;

impl<'de> Visitor<'de> for ListingEntryVisitor {
    type Value = ListingEntry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a document")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ListingEntry, A::Error> {
        let mut fields = DocumentFields::default();
        while let Some(key) = map.next_key::<FieldName>()? {
            match fields.slot(&key) {
                Some(slot) => *slot = Some(map.next_value()?),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(ListingEntry(Some(fields)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<ListingEntry, A::Error> {
        ScalarVisitor.visit_seq(list).map(|_| ListingEntry(None))
    }

    fn visit_bool<E>(self, _: bool) -> Result<ListingEntry, E> {
        Ok(ListingEntry(None))
    }

    fn visit_i64<E>(self, _: i64) -> Result<ListingEntry, E> {
        Ok(ListingEntry(None))
    }

    fn visit_u64<E>(self, _: u64) -> Result<ListingEntry, E> {
        Ok(ListingEntry(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<ListingEntry, E> {
        Ok(ListingEntry(None))
    }

    fn visit_str<E>(self, _: &str) -> Result<ListingEntry, E> {
        Ok(ListingEntry(None))
    }

    fn visit_unit<E>(self) -> Result<ListingEntry, E> {
        Ok(ListingEntry(None))
    }
}

/// Calls a function with each entry of a listing, which is an array, or an object that holds one under a usual name. The value is
/// the number of entries; `None` where the JSON is no listing.
pub(super) struct EachEntry<'a>(pub(super) &'a mut dyn FnMut(ListingEntry));

impl<'de> DeserializeSeed<'de> for EachEntry<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for EachEntry<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of documents")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Option<usize>, A::Error> {
        let mut count = 0;
        while let Some(entry) = list.next_element::<ListingEntry>()? {
            count += 1;
            if count > budget::LISTING_ENTRIES {
                return Err(A::Error::custom("too many entries"));
            }
            (self.0)(entry);
        }
        Ok(Some(count))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Option<usize>, A::Error> {
        let mut count = None;
        while let Some(key) = map.next_key::<Wrapper>()? {
            match (key, count) {
                (Wrapper::List, None) => count = map.next_value_seed(EachEntry(&mut *self.0))?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(count)
    }

    fn visit_unit<E>(self) -> Result<Option<usize>, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Option<usize>, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Option<usize>, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Option<usize>, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Option<usize>, E> {
        Ok(None)
    }

    fn visit_str<E>(self, _: &str) -> Result<Option<usize>, E> {
        Ok(None)
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Wrapper {
    #[serde(alias = "children", alias = "files", alias = "items", alias = "documents", alias = "content")]
    List,
    #[serde(other)]
    Other,
}
