//! Removes known secrets from the texts of a server: an error page that repeats the request would have them printed, logged and
//! written into the journal.
//!
//! The secrets are known process-wide: the code that quotes a text has no session at hand, and a secret that was sent in one session
//! must not be shown in another.
//!
//! A secret that the text holds as it was sent is replaced, and the text around it stays. A server may also write it in another
//! form: escaped for a form, a page or JSON, each in many spellings and one inside the other, or in Base64 or hexadecimal. So the
//! text is unescaped step by step, and if a secret appears nothing of the text is quoted.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use percent_encoding::percent_decode_str;
use secrecy::zeroize::Zeroizing;
use url::form_urlencoded;

use super::unescape;
use crate::budget;
use crate::hex;

/// Replaces a secret.
const HIDDEN: &str = "[hidden]";

/// The known secrets; the oldest first.
static KNOWN: Mutex<VecDeque<Secret>> = Mutex::new(VecDeque::new());

/// A secret, and the forms that a text may hold it in.
struct Secret {
    /// As it was sent, and encoded as in a form; the longest first.
    as_sent: Vec<Zeroizing<String>>,
    /// In lower case: some servers change the case, as in the name of a host.
    small: Zeroizing<String>,
    /// The part of it that each Base64 or hexadecimal text with the secret in it has in common.
    encoded: Vec<Zeroizing<String>>,
}

/// From now on this secret is removed from all texts that are quoted.
pub(super) fn learn(secret: &str) {
    if secret.is_empty() {
        return;
    }
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if known.iter().any(|other| other.as_sent.iter().any(|form| form.as_str() == secret)) {
        return;
    }
    known.push_back(Secret::new(secret));
    while known.len() > budget::KNOWN_SECRETS {
        known.pop_front();
    }
}

/// The text without any known secret.
pub(super) fn redacted(text: &str) -> Cow<'_, str> {
    let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    hide(text, &known.iter().collect::<Vec<_>>())
}

/// A document's name without the long known secrets, such as tokens. A short secret may be part of a real name, and a changed name
/// would be taken for another document's.
pub(super) fn redacted_name(name: &str) -> String {
    let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let long = known.iter().filter(|secret| secret.small.len() >= budget::LONG_SECRET);
    hide(name, &long.collect::<Vec<_>>()).into_owned()
}

impl Secret {
    fn new(secret: &str) -> Self {
        let form: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        let mut as_sent = vec![secret.to_owned(), form.replace('+', "%20"), form];
        as_sent.sort_by_key(|form| std::cmp::Reverse(form.len()));
        let mut encoded = base64_cores(secret.as_bytes());
        encoded.push(hex(secret.as_bytes()));
        encoded.retain(|form| form.len() >= budget::SHORTEST_SECRET);
        let hold = |forms: Vec<String>| forms.into_iter().map(Zeroizing::new).collect();
        Self { as_sent: hold(as_sent), small: Zeroizing::new(secret.to_lowercase()), encoded: hold(encoded) }
    }

    fn is_short(&self) -> bool {
        self.small.len() < budget::SHORTEST_SECRET
    }

    /// Returns whether an unescaped text holds the secret, in any case, or encoded. `small` is the text in lower case.
    fn is_in(&self, text: &str, small: &str) -> bool {
        small.contains(self.small.as_str()) || self.encoded.iter().any(|form| is_encoded_in(form, text, small))
    }
}

/// Hexadecimal may be in upper case; Base64 may be the variant for URLs, and without its end.
fn is_encoded_in(form: &str, text: &str, small: &str) -> bool {
    text.contains(form) || (form.bytes().all(|b| b.is_ascii_hexdigit()) && small.contains(form))
}

/// Pure. A secret so short that every other word holds it can't be removed: then nothing is quoted.
fn hide<'a>(text: &'a str, known: &[&Secret]) -> Cow<'a, str> {
    let mut shown = Cow::Borrowed(text);
    for secret in known {
        for form in &secret.as_sent {
            if !shown.contains(form.as_str()) {
                continue;
            }
            if secret.is_short() {
                return Cow::Borrowed(HIDDEN);
            }
            shown = Cow::Owned(shown.replace(form.as_str(), HIDDEN));
        }
    }
    if reveals(&shown, known) { Cow::Borrowed(HIDDEN) } else { shown }
}

/// Returns whether a known secret can be read in a text once it is unescaped.
fn reveals(text: &str, known: &[&Secret]) -> bool {
    if known.is_empty() {
        return false;
    }
    let mut readings = vec![text.to_owned()];
    for _ in 0..=budget::ESCAPES {
        for reading in &readings {
            // An encoder may have broken a long word into lines.
            let (joined, small) = (without_breaks(reading), reading.to_lowercase());
            if known.iter().any(|secret| secret.is_in(&joined, &small) || secret.is_in(reading, &small)) {
                return true;
            }
        }
        readings = readings.iter().flat_map(|reading| once_unescaped(reading)).collect();
        readings.sort_unstable();
        readings.dedup();
        if readings.is_empty() {
            return false;
        }
        if readings.len() > budget::READINGS {
            // No honest text can be read in so many ways.
            return true;
        }
    }
    false
}

fn without_breaks(text: &str) -> String {
    // The Base64 for URLs differs in two letters.
    text.chars()
        .filter(|c| !matches!(c, '\r' | '\n'))
        .map(|c| {
            if c == '-' {
                '+'
            } else if c == '_' {
                '/'
            } else {
                c
            }
        })
        .collect()
}

/// The readings of a text without one kind of escapes; none if it holds no escape. Each kind is removed by itself, because an escape
/// of one kind may be the secret's own letters for another.
fn once_unescaped(text: &str) -> Vec<String> {
    let percent = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    // A plus is a space in a form, and itself elsewhere.
    let readings =
        [unescape::entities(text), unescape::backslashes(text), percent(text), percent(&text.replace('+', " "))];
    readings.into_iter().filter(|reading| reading != text).collect()
}

/// What each Base64 text that holds these bytes has in common, depending on where they begin: three variants, each without the
/// letters that the neighbouring bytes influence.
fn base64_cores(bytes: &[u8]) -> Vec<String> {
    (0..3)
        .map(|before| {
            let padded = [&[0, 0][..before], bytes].concat();
            let whole = base64(&padded);
            let (first, last) = ((before * 8).div_ceil(6), padded.len() * 8 / 6);
            whole.get(first..last).unwrap_or_default().to_owned()
        })
        .collect()
}

/// Base64 without padding.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for piece in bytes.chunks(3) {
        let bits = piece.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - piece.len()));
        for letter in 0..=piece.len() {
            text.push(char::from(LETTERS[(bits >> (18 - 6 * letter) & 63) as usize]));
        }
    }
    text
}

#[cfg(test)]
#[allow(clippy::format_collect, reason = "short texts")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECRET: &str = "pässwörd & 100% \"x\"/'<y>+\\z";

    fn hidden(text: &str, secret: &str) -> String {
        hide(text, &[&Secret::new(secret)]).into_owned()
    }

    #[test]
    fn a_secret_as_it_was_sent_is_replaced_and_the_rest_stays() {
        let form: String = form_urlencoded::byte_serialize(SECRET.as_bytes()).collect();
        for sent in [SECRET.to_owned(), form.replace('+', "%20"), form] {
            let text = format!("you sent {sent}!");
            assert_eq!(hidden(&text, SECRET), "you sent [hidden]!", "{sent}");
        }
        assert_eq!(hidden("nothing of it, 100% sure: \\o/ &c.", SECRET), "nothing of it, 100% sure: \\o/ &c.");
    }

    fn percent(text: &str) -> String {
        text.bytes().map(|b| format!("%{b:02X}")).collect()
    }

    fn entities(text: &str) -> String {
        text.replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
            .replace('"', "&quot;")
            .replace('\'', "&#39;")
    }

    fn json(text: &str) -> String {
        let escaped = |unit: u16| format!("\\u{unit:04X}");
        let letter = |c: char| c.encode_utf16(&mut [0; 2]).iter().map(|unit| escaped(*unit)).collect();
        text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_string() } else { letter(c) }).collect()
    }

    fn numbered(text: &str) -> String {
        text.chars()
            .map(|c| if c.is_alphanumeric() { c.to_string() } else { format!("&#x{:X};", u32::from(c)) })
            .collect()
    }

    /// The ways in which a server may write a text.
    const ENCODINGS: [fn(&str) -> String; 9] = [
        percent,
        |text| percent(text).to_lowercase(),
        entities,
        numbered,
        json,
        |text| serde_json::to_string(text).unwrap(),
        |text| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().to_lowercase(),
        |text| text.to_uppercase(),
        str::to_owned,
    ];

    #[test]
    fn a_secret_in_any_encoding_within_any_encoding_is_not_quoted() {
        for inner in ENCODINGS {
            for outer in ENCODINGS {
                let text = format!("you sent {}!", outer(&inner(SECRET)));
                let shown = hidden(&text, SECRET);
                assert!(
                    shown == HIDDEN || shown == "you sent [hidden]!" || shown == "you sent \"[hidden]\"!",
                    "{text}: {shown}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn a_secret_in_base64_or_hexadecimal_is_found_at_any_offset(
            secret in "[!-~äß]{8,40}", before in "[ -~]{0,9}", after in "[ -~]{0,9}",
        ) {
            let bytes = format!("{before}{secret}{after}").into_bytes();
            let text = base64(&bytes);
            for shown in [text.clone(), text.replace('+', "-").replace('/', "_"), percent(&text), hex(&bytes), hex(&bytes).to_uppercase()] {
                prop_assert_eq!(hidden(&shown, &secret), HIDDEN, "{}", shown);
            }
        }
    }

    #[test]
    fn base64_is_the_standard_one() {
        for (bytes, text) in
            [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg"), ("fooba", "Zm9vYmE")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn nothing_is_quoted_where_a_secret_is_too_short_to_be_found() {
        assert_eq!(hidden("a word with an a", "a"), HIDDEN);
    }
}
