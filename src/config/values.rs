//! Single values as people write them, whether in a flag, a variable or the file. Pure.
//!
//! An error says what is wrong and how to write it, without the place: the caller knows the place.

use std::time::Duration;

use super::{AnchorFolder, MaxSize, Transfers};
use crate::budget;
use crate::filter::{self, List};
use crate::vault::RemotePath;

/// The longest duration. It is longer than any sensible wait, and so short that adding it to a point in time can't overflow.
const LONGEST: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);

/// A length of time with its unit: `500ms`, `10s`, `1m 30s`, `365d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(format!("`{text}` lacks a unit: write {text}ms, {text}s, {text}m, {text}h or {text}d"));
    }
    if has_month_letter(text) {
        return Err("`M` would be months: write m for minutes, or days as in 30d".into());
    }
    let read =
        humantime::parse_duration(text).map_err(|_| "is no duration: write it like 500ms, 10s or 1m".to_owned())?;
    if read > LONGEST { Err("is longer than a hundred years".into()) } else { Ok(read) }
}

/// How long the store may still be storing an upload whose connection broke. The longest such time is limited, because the program
/// forgets the upload after that.
pub(super) fn store_lag(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        long if long > budget::LATE => {
            Err(format!("is longer than {}, the longest that is possible", humantime::format_duration(budget::LATE)))
        }
        lag => Ok(lag),
    }
}

/// Whether a unit is `M`, which humantime reads as a month; people who write `1M` mean a minute.
fn has_month_letter(text: &str) -> bool {
    text.split(|c: char| !c.is_alphabetic()).any(|unit| unit == "M")
}

/// A number of things: one or more.
pub(crate) fn number(text: &str) -> Result<usize, String> {
    match text.trim().parse() {
        Ok(0) | Err(_) => Err("is no number of 1 or more".to_owned()),
        Ok(number) => Ok(number),
    }
}

/// How long receipts are kept; `None` means for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct KeepReceipts(pub(super) Option<Duration>);

/// How long receipts are kept: `forever`, or a length of time.
pub(super) fn keep_receipts(text: &str) -> Result<KeepReceipts, String> {
    if text == "forever" {
        return Ok(KeepReceipts(None));
    }
    match duration(text)? {
        Duration::ZERO => Err("would keep no receipt at all: write \"forever\", or a duration such as 365d".into()),
        kept => Ok(KeepReceipts(Some(kept))),
    }
}

/// The size of the largest file that is sent: `none`, or a size.
pub(crate) fn max_size(text: &str) -> Result<MaxSize, String> {
    if text == "none" {
        return Ok(MaxSize(None));
    }
    match size(text)? {
        0 => Err("would refuse every file: write \"none\", or a size such as 100GiB".into()),
        most => Ok(MaxSize(Some(most))),
    }
}

/// A number of bytes with its unit: `8MiB`, `100 GiB`, `2GB`.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let (number, unit) = text.split_at(text.bytes().take_while(u8::is_ascii_digit).count());
    let number: u64 =
        number.parse().map_err(|_| "is no size: write a whole number and a unit, like 8MiB or 100GiB".to_owned())?;
    let factor = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" => {
            return Err(format!("`{text}` lacks a unit: write {text}B, {text}KiB, {text}MiB, {text}GiB or {text}TiB"));
        }
        "b" => 1,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        other => return Err(format!("`{other}` is no unit of size: write B, KiB, MiB, GiB or TiB")),
    };
    number.checked_mul(factor).ok_or_else(|| "is larger than any file".into())
}

/// Where anchors go: `dest`, `off`, or a folder of the vault.
pub(super) fn anchor(text: &str) -> Result<AnchorFolder, String> {
    match text {
        "dest" => Ok(AnchorFolder::Dest),
        "off" => Ok(AnchorFolder::Off),
        path if path.starts_with('/') => remote_path(path).map(AnchorFolder::Folder),
        _ => Err(format!(
            "`{text}` is no place for anchors: write \"dest\", \"off\", or a folder of the vault like /Anchors"
        )),
    }
}

/// A number of uploads at once, or `auto`.
pub(crate) fn transfers(text: &str) -> Result<Transfers, String> {
    if text == "auto" {
        return Ok(Transfers::Auto);
    }
    match text.parse() {
        Ok(number @ 1..=budget::UPLOADS) => Ok(Transfers::Fixed(number)),
        _ => Err(format!("expects \"auto\" or a number from 1 to {}", budget::UPLOADS)),
    }
}

/// A path in the vault.
pub(crate) fn remote_path(text: &str) -> Result<RemotePath, String> {
    if text.is_empty() {
        return Err("is empty: write the path from the vault's root, like /HR_Backup".into());
    }
    RemotePath::parse(text).map_err(|e| e.to_string())
}

/// A name for one document.
pub(crate) fn document_name(text: &str) -> Result<String, String> {
    match text {
        "" | "." | ".." => Err("is no name for a document".into()),
        _ if text.contains(['/', '\0']) => Err("can't hold a / or NUL: the folder is given with --dest".into()),
        _ => Ok(text.to_owned()),
    }
}

/// A pattern of `ignore`. It is only checked here; the code that uses it compiles it.
pub(crate) fn ignored(text: &str) -> Result<String, String> {
    pattern(List::Ignore, text)
}

/// A pattern of `exclude`.
pub(crate) fn excluded(text: &str) -> Result<String, String> {
    pattern(List::Exclude, text)
}

/// A pattern of `include`.
pub(crate) fn included(text: &str) -> Result<String, String> {
    pattern(List::Include, text)
}

fn pattern(list: List, text: &str) -> Result<String, String> {
    filter::check(list, text).map(|()| text.to_owned()).map_err(|error| error.to_string())
}

/// A content type: `type/subtype`, without characters that a header can't hold.
pub(super) fn content_type(text: &str) -> Result<String, String> {
    let fits = text.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
    match text.split_once('/') {
        Some((kind, rest)) if fits && !kind.trim().is_empty() && !rest.trim().is_empty() => Ok(text.to_owned()),
        _ => Err("is no content type: write it like application/octet-stream".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_duration_survives_being_written(ms in 0u64..3_000_000_000_000) {
            let meant = Duration::from_millis(ms);
            prop_assert_eq!(duration(&humantime::format_duration(meant).to_string()), Ok(meant));
        }

        #[test]
        fn a_bare_number_is_never_a_duration(n in any::<u64>()) {
            let why = duration(&n.to_string()).unwrap_err();
            prop_assert!(why.contains("unit"), "{}", why);
        }

        #[test]
        fn no_text_makes_a_value_panic(text in ".*") {
            drop((duration(&text), transfers(&text), excluded(&text), included(&text), content_type(&text), max_size(&text)));
        }
    }

    #[test]
    fn durations_as_people_write_them() {
        for (text, ms) in [("500ms", 500), ("10s", 10_000), ("1m", 60_000), ("1m 30s", 90_000), ("1d", 86_400_000)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "5", "5.5", "0", "-1s", "1M", "soon", "1s2", "1000years"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_as_people_write_them() {
        let most = |bytes| Ok(MaxSize(Some(bytes)));
        for (text, bytes) in [("1B", 1), ("8MiB", 8 << 20), ("100 GiB", 100 << 30), ("2tib", 2 << 40), ("3kB", 3000)] {
            assert_eq!(max_size(text), most(bytes), "{text}");
        }
        assert_eq!(max_size("none"), Ok(MaxSize(None)));
        for text in ["", "5", "-1B", "1.5GiB", "8M", "GiB", "0B", "99999999TiB", "1MiBB"] {
            assert!(max_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn transfers_have_bounds() {
        assert_eq!(transfers("auto"), Ok(Transfers::Auto));
        assert_eq!(transfers("256"), Ok(Transfers::Fixed(256)));
        for bad in ["0", "257", "-1", "many", "", "99999999999999999999"] {
            assert!(transfers(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn content_types_fit_a_header() {
        assert!(content_type("text/plain; charset=utf-8").is_ok());
        for bad in ["", "text", "/x", "x/", "a/b\r\nX: y"] {
            assert!(content_type(bad).is_err(), "{bad}");
        }
    }
}
