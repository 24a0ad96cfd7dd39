//! Connects serde to the parsers in [`values`] and [`addresses`]: one function for each kind of value.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use url::Url;

use super::notify::{NotifyEvents, SecretUrl};
use super::values::KeepReceipts;
use super::{AnchorFolder, Database, MaxSize, RateLimit, Transfers, addresses, fleet, host, values};
use crate::vault::RemotePath;

type Read<'de, D, T> = Result<Option<T>, <D as Deserializer<'de>>::Error>;

pub(super) fn realm<'de, D: Deserializer<'de>>(de: D) -> Read<'de, D, String> {
    text(de, addresses::realm)
}

pub(super) fn address<'de, D: Deserializer<'de>>(de: D) -> Read<'de, D, Url> {
    text(de, addresses::service)
}

pub(super) fn host_name<'de, D: Deserializer<'de>>(de: D) -> Read<'de, D, String> {
    text(de, host::host_name)
}

pub(super) fn database<'de, D: Deserializer<'de>>(de: D) -> Read<'de, D, Database> {
    text(de, fleet::database)
}

/// A second or more: the database of a large fleet has thousands of them to take.
pub(super) fn heartbeat<'de, D: Deserializer<'de>>(de: D) -> Read<'de, D, Duration> {
    rescan(de)
}

pub(super) fn content_type<'de, D: Deserializer<'de>>(de: D) -> Read<'de, D, String> {
    text(de, values::content_type)
}

pub(super) fn remote_path<'de, D: Deserializer<'de>>(de: D) -> Read<'de, D, RemotePath> {
    text(de, values::remote_path)
}

pub(super) fn nonempty<'de, D: Deserializer<'de>>(de: D) -> Read<'de, D, String> {
    text(de, |text| if text.is_empty() { Err("is empty".into()) } else { Ok(text.to_owned()) })
}

/// A local path. Only a shell expands `~`; here it would be a folder of that name, so it is refused.
pub(super) fn path<'de, D: Deserializer<'de>>(de: D) -> Read<'de, D, PathBuf> {
    text(de, |text| match text {
        "" => Err("is empty".into()),
        _ if text == "~" || text.starts_with("~/") => {
            Err("begins with ~, which means nothing here: write it out".into())
        }
        _ => Ok(PathBuf::from(text)),
    })
}

pub(super) fn duration<'de, D: Deserializer<'de>>(de: D) -> Read<'de, D, Duration> {
    text_or_number(de, values::duration)
}

/// A second or more: scanning the folder without a pause would leave no time for anything else.
pub(super) fn rescan<'de, D: Deserializer<'de>>(de: D) -> Read<'de, D, Duration> {
    text_or_number(de, |text| match values::duration(text)? {
        short if short < Duration::from_secs(1) => Err("is less than a second".into()),
        enough => Ok(enough),
    })
}

pub(super) fn store_lag<'de, D: Deserializer<'de>>(de: D) -> Read<'de, D, Duration> {
    text_or_number(de, values::store_lag)
}

pub(super) fn listen<'de, D: Deserializer<'de>>(de: D) -> Read<'de, D, SocketAddr> {
    text_or_number(de, addresses::listen)
}

pub(super) fn keep_receipts<'de, D: Deserializer<'de>>(de: D) -> Read<'de, D, KeepReceipts> {
    text_or_number(de, values::keep_receipts)
}

pub(super) fn anchor<'de, D: Deserializer<'de>>(de: D) -> Read<'de, D, AnchorFolder> {
    text(de, values::anchor)
}

pub(super) fn transfers<'de, D: Deserializer<'de>>(de: D) -> Read<'de, D, Transfers> {
    text_or_number(de, values::transfers)
}

pub(super) fn max_size<'de, D: Deserializer<'de>>(de: D) -> Read<'de, D, MaxSize> {
    text_or_number(de, values::max_size)
}

/// One rate, or a table of times of the day with the rate from then on.
pub(super) fn rate_limit<'de, D: Deserializer<'de>>(de: D) -> Read<'de, D, RateLimit> {
    de.deserialize_any(RateText).map(Some)
}

struct RateText;

impl<'de> Visitor<'de> for RateText {
    type Value = RateLimit;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text in quotes, or a table of times and rates")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<RateLimit, E> {
        RateLimit::parse(text).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<RateLimit, E> {
        RateLimit::parse(&number.to_string()).map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RateLimit, A::Error> {
        let mut periods = Vec::new();
        while let Some(period) = map.next_entry::<String, String>()? {
            periods.push(period);
        }
        RateLimit::of_day(periods.iter().map(|(time, rate)| (time.as_str(), rate.as_str()))).map_err(A::Error::custom)
    }
}

pub(super) fn ignored<'de, D: Deserializer<'de>>(de: D) -> Read<'de, D, Vec<String>> {
    patterns(de, values::ignored)
}

pub(super) fn excluded<'de, D: Deserializer<'de>>(de: D) -> Read<'de, D, Vec<String>> {
    patterns(de, values::excluded)
}

pub(super) fn included<'de, D: Deserializer<'de>>(de: D) -> Read<'de, D, Vec<String>> {
    patterns(de, values::included)
}

fn patterns<'de, D: Deserializer<'de>>(
    de: D,
    parse: impl Fn(&str) -> Result<String, String>,
) -> Read<'de, D, Vec<String>> {
    let patterns = Vec::<String>::deserialize(de)?;
    for pattern in &patterns {
        parse(pattern).map_err(|why| D::Error::custom(format!("`{pattern}` {why}")))?;
    }
    Ok(Some(patterns))
}

pub(super) fn command<'de, D: Deserializer<'de>>(de: D) -> Read<'de, D, Vec<String>> {
    let words = Vec::<String>::deserialize(de)?;
    match words.first() {
        Some(program) if !program.is_empty() => Ok(Some(words)),
        _ => Err(D::Error::custom("names no program")),
    }
}

pub(super) fn notify_on<'de, D: Deserializer<'de>>(de: D) -> Read<'de, D, NotifyEvents> {
    let words = Vec::<String>::deserialize(de)?;
    NotifyEvents::parse(&words).map(Some).map_err(D::Error::custom)
}

/// A second or more: with less, one trouble would be told in a storm.
pub(super) fn notify_time<'de, D: Deserializer<'de>>(de: D) -> Read<'de, D, Duration> {
    rescan(de)
}

/// An address that may hold a secret. No error repeats it.
pub(super) fn secret_url<'de, D: Deserializer<'de>>(de: D) -> Read<'de, D, SecretUrl> {
    text(de, addresses::notify).map(|url| url.map(SecretUrl::new))
}

fn text<'de, D: Deserializer<'de>, T>(de: D, parse: impl Fn(&str) -> Result<T, String>) -> Read<'de, D, T> {
    de.deserialize_str(Text { parse, numbers: false }).map(Some)
}

/// The parser gets a number as text, so that its error can say that the unit is missing.
fn text_or_number<'de, D: Deserializer<'de>, T>(de: D, parse: impl Fn(&str) -> Result<T, String>) -> Read<'de, D, T> {
    de.deserialize_any(Text { parse, numbers: true }).map(Some)
}

struct Text<F> {
    parse: F,
    numbers: bool,
}

impl<F: Fn(&str) -> Result<T, String>, T> Text<F> {
    fn number<E: Error>(&self, text: &str, found: serde::de::Unexpected<'_>) -> Result<T, E> {
        if self.numbers {
            (self.parse)(text).map_err(E::custom)
        } else {
            Err(E::invalid_type(found, &"a text in quotes"))
        }
    }
}

impl<F: Fn(&str) -> Result<T, String>, T> Visitor<'_> for Text<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text in quotes")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
        self.number(&number.to_string(), serde::de::Unexpected::Signed(number))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<T, E> {
        self.number(&number.to_string(), serde::de::Unexpected::Float(number))
    }
}
