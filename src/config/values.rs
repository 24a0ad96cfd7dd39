//! Single values as people write them, whether in a flag, a variable or the file. Pure.
//!
//! The errors say what is wrong and how to write it, without the place: whoever reads the value knows that.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use url::{Host, Url};

use super::{AnchorFolder, MaxSize, Transfers};
use crate::budget;
use crate::vault::RemotePath;

/// The most uploads at once: more would only wait for one another.
pub const MOST_TRANSFERS: usize = 256;

/// Longer than any sensible wait, and far from where a point in time plus a duration overflows.
const LONGEST: Duration = Duration::from_secs(100 * 366 * 24 * 60 * 60);

/// A length of time with its unit: `500ms`, `10s`, `1m 30s`, `365d`.
pub fn duration(text: &str) -> Result<Duration, String> {
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

/// How long a store is waited for. All that is known of an upload that was cut off is forgotten after the longest such time.
pub fn store_lag(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        long if long > budget::LATE => {
            Err(format!("is longer than {}, the longest that is possible", humantime::format_duration(budget::LATE)))
        }
        lag => Ok(lag),
    }
}

/// `1M` for a minute is a slip that would be a month.
fn has_month_letter(text: &str) -> bool {
    text.split(|c: char| !c.is_alphabetic()).any(|unit| unit == "M")
}

/// How long receipts are kept: `forever`, or a length of time.
pub fn keep_receipts(text: &str) -> Result<Option<Duration>, String> {
    if text == "forever" {
        return Ok(None);
    }
    match duration(text)? {
        Duration::ZERO => Err("would keep no receipt at all: write \"forever\", or a duration such as 365d".into()),
        kept => Ok(Some(kept)),
    }
}

/// The largest file that is sent: `none`, or a size.
pub fn max_size(text: &str) -> Result<MaxSize, String> {
    if text == "none" {
        return Ok(MaxSize(None));
    }
    match size(text)? {
        0 => Err("would refuse every file: write \"none\", or a size such as 100GiB".into()),
        most => Ok(MaxSize(Some(most))),
    }
}

/// A number of bytes with its unit: `8MiB`, `100 GiB`, `2GB`.
fn size(text: &str) -> Result<u64, String> {
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
pub fn anchor(text: &str) -> Result<AnchorFolder, String> {
    match text {
        "dest" => Ok(AnchorFolder::Dest),
        "off" => Ok(AnchorFolder::Off),
        path if path.starts_with('/') => remote_path(path).map(AnchorFolder::Folder),
        _ => Err(format!(
            "`{text}` is no place for anchors: write \"dest\", \"off\", or a folder of the vault like /Anchors"
        )),
    }
}

/// An address of this machine to listen on; port 0 takes a free one.
pub fn listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!("`{text}` is no IP address with a port: write it like 127.0.0.1:9464 or [::1]:9464, not as a name")
    })
}

/// A number of uploads at once, or `auto`.
pub fn transfers(text: &str) -> Result<Transfers, String> {
    if text == "auto" {
        return Ok(Transfers::Auto);
    }
    match text.parse() {
        Ok(number @ 1..=MOST_TRANSFERS) => Ok(Transfers::Fixed(number)),
        _ => Err(format!("expects \"auto\" or a number from 1 to {MOST_TRANSFERS}")),
    }
}

/// A path in the vault.
pub fn remote_path(text: &str) -> Result<RemotePath, String> {
    if text.is_empty() {
        return Err("is empty: write the path from the vault's root, like /HR_Backup".into());
    }
    RemotePath::parse(text).map_err(|e| e.to_string())
}

/// A name for one document.
pub fn document_name(text: &str) -> Result<String, String> {
    match text {
        "" | "." | ".." => Err("is no name for a document".into()),
        _ if text.contains(['/', '\0']) => Err("can't hold a / or NUL: the folder is given with --dest".into()),
        _ => Ok(text.to_owned()),
    }
}

/// A pattern over file names, checked only; it is compiled where it is used.
pub fn glob(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("is empty: write a pattern such as *.tmp".into());
    }
    globset::Glob::new(text).map(|_| text.to_owned()).map_err(|e| format!("is no pattern: {}", e.kind()))
}

/// A realm's name: what may stand in an address's path without being encoded.
pub fn realm(text: &str) -> Result<String, String> {
    let simple = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if text.is_empty() || text.len() > 255 || !simple || text.starts_with('.') {
        return Err("is no realm: expects its bare name, such as my-realm, not an address".into());
    }
    Ok(text.to_owned())
}

/// The address that follows from the realm's name; `part` is `api.s5` or `auth`.
pub fn realm_address(realm: &str, part: &str) -> Result<Url, String> {
    let label = realm.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if !label || realm.is_empty() || realm.len() > 63 || realm.starts_with('-') || realm.ends_with('-') {
        return Err(format!("no address follows from the realm `{realm}`, which can't be part of a host's name"));
    }
    Url::parse(&format!("https://{realm}.{part}.astran.io")).map_err(|e| e.to_string())
}

/// An address of the service: https, or plain http on this machine; a path prefix is kept.
///
/// No error repeats the address, which may hold a password.
pub fn address(text: &str) -> Result<Url, String> {
    let url = Url::parse(text.trim())
        .map_err(|e| format!("is no address ({e}): write it like https://my-realm.api.s5.astran.io"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a user or a password: leave them out, they belong in [login]".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("has a ? or # part: leave it out".into());
    }
    match url.scheme() {
        "https" if url.host().is_some() => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        "http" => {
            Err("is plain http, which anybody on the way can read: write https (http only to this machine)".into())
        }
        _ => Err("is no https address: write it like https://my-realm.api.s5.astran.io".into()),
    }
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => IpAddr::V4(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).is_loopback(),
        None => false,
    }
}

/// What content is sent as: `type/subtype`, fit for a header.
pub fn content_type(text: &str) -> Result<String, String> {
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
            drop((duration(&text), transfers(&text), address(&text), realm(&text), glob(&text), content_type(&text)));
            drop((listen(&text), max_size(&text)));
        }

        #[test]
        fn no_error_repeats_what_an_address_holds(user in "[a-z]{8}", word in "[a-zA-Z0-9]{12}", scheme in "[a-z]{2,5}") {
            let why = address(&format!("{scheme}://{user}:{word}@example.com:99999/")).unwrap_err();
            prop_assert!(!why.contains(&word) && !why.contains(&user), "{}", why);
        }

        #[test]
        fn a_realm_cannot_leave_its_domain(text in "\\PC{1,80}") {
            if let Ok(url) = realm_address(&text, "auth") {
                prop_assert!(url.host_str().unwrap().ends_with(".auth.astran.io"));
                prop_assert_eq!(url.path(), "/");
            }
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
    fn addresses_to_listen_on_have_an_ip_and_a_port() {
        for good in ["127.0.0.1:9464", "[::1]:9464", "0.0.0.0:0"] {
            assert!(listen(good).is_ok(), "{good}");
        }
        for bad in
            ["", "9464", ":9464", "127.0.0.1", "localhost:9464", "::1:9464", "127.0.0.1:99999", "http://127.0.0.1:1"]
        {
            assert!(listen(bad).unwrap_err().contains("127.0.0.1:9464"), "{bad}");
        }
    }

    #[test]
    fn plain_http_only_to_this_machine() {
        for good in
            ["http://127.0.0.1:8080", "http://127.9.9.9", "http://[::1]:1/x", "http://localhost", "https://h/p/q"]
        {
            assert!(address(good).is_ok(), "{good}");
        }
        for bad in ["http://example.com", "http://localhost.example.com", "http://0.0.0.0", "http://[::2]", "ftp://h"] {
            assert!(address(bad).is_err(), "{bad}");
        }
        assert_eq!(address("https://h/a/b").unwrap().path(), "/a/b");
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
    fn realms_are_simple_names() {
        for good in ["my-realm", "A_b.c", "42"] {
            assert!(realm(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "https://a", "a b", "a?b", "é", "a@b"] {
            assert!(realm(bad).is_err(), "{bad}");
        }
        assert!(realm_address("a_b", "auth").is_err());
    }

    #[test]
    fn content_types_fit_a_header() {
        assert!(content_type("text/plain; charset=utf-8").is_ok());
        for bad in ["", "text", "/x", "x/", "a/b\r\nX: y"] {
            assert!(content_type(bad).is_err(), "{bad}");
        }
    }
}
