//! Takes known secrets out of whatever a server says: an error page that repeats the request would have them printed, logged and
//! written into the journal.
//!
//! The secrets are known process-wide, because a text is quoted where no session is at hand, and one that was sent in any session
//! must show in none.
//!
//! A secret that stands there as it was sent is replaced, and the text around it stays. A server may also write it in another
//! form: escaped for a form, a page or JSON, each in many spellings and one in the other, or in Base64 or hexadecimal. So the text
//! is taken out of its escapes step by step, and where a secret comes to light nothing of the text is quoted.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use percent_encoding::percent_decode_str;
use secrecy::zeroize::Zeroizing;
use url::form_urlencoded;

use super::unescape;
use crate::budget;
use crate::hex;

/// What stands in a secret's place.
const HIDDEN: &str = "[hidden]";

/// The known secrets; the oldest first.
static KNOWN: Mutex<VecDeque<Secret>> = Mutex::new(VecDeque::new());

/// A secret, and how it may stand in a text.
struct Secret {
    /// As it was sent, and as a form has it; the longest first.
    as_sent: Vec<Zeroizing<String>>,
    /// In small letters: some servers change them, as in the name of a host.
    small: Zeroizing<String>,
    /// What of it stands in each text in Base64 or hexadecimal that holds it.
    encoded: Vec<Zeroizing<String>>,
}

/// From now on this is taken out of all that is quoted.
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

/// A document's name without the long secrets that are known, such as tokens. A short one may be a part of a name in earnest, and a
/// name that was changed would be taken for another document's.
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

    /// Whether it stands in a text that was taken out of its escapes, in whatever letters; or encoded.
    fn is_in(&self, text: &str, small: &str) -> bool {
        small.contains(self.small.as_str()) || self.encoded.iter().any(|form| is_encoded_in(form, text, small))
    }
}

/// Hexadecimal may be in capitals; Base64 may be that for addresses, and without its end.
fn is_encoded_in(form: &str, text: &str, small: &str) -> bool {
    text.contains(form) || (form.bytes().all(|b| b.is_ascii_hexdigit()) && small.contains(form))
}

/// Pure. A secret so short that it stands in every other word can't be taken out: then nothing is quoted.
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
    if shows(&shown, known) { Cow::Borrowed(HIDDEN) } else { shown }
}

/// Whether a known secret can be read in a text by taking it out of its escapes.
fn shows(text: &str, known: &[&Secret]) -> bool {
    if known.is_empty() {
        return false;
    }
    let mut readings = vec![text.to_owned()];
    for _ in 0..=budget::ESCAPES {
        for reading in &readings {
            // Line breaks within a long word are the encoder's.
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
            // Whoever writes a text that can be read in so many ways has something to hide.
            return true;
        }
    }
    false
}

fn without_breaks(text: &str) -> String {
    // The Base64 of addresses is the same but for two letters.
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

/// The readings of a text with one kind of escapes taken away; none where there is no escape in it. Each kind by itself, for what is
/// an escape of one kind may be the secret's own letters for the others.
fn once_unescaped(text: &str) -> Vec<String> {
    let percent = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    // A plus is a space in a form, and itself elsewhere.
    let readings =
        [unescape::entities(text), unescape::backslashes(text), percent(text), percent(&text.replace('+', " "))];
    readings.into_iter().filter(|reading| reading != text).collect()
}

/// What stands in each Base64 text that holds these bytes, wherever in it they begin: three ways, each without the letters that
/// their neighbours decide too.
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
    fn a_secret_that_stands_there_as_it_was_sent_is_replaced_and_the_rest_is_told() {
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

    /// Each way in which a server may write a text.
    const WAYS: [fn(&str) -> String; 9] = [
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
    fn in_whatever_form_and_form_of_a_form_it_stands_there_nothing_of_it_is_told() {
        for inner in WAYS {
            for outer in WAYS {
                let text = format!("you sent {}!", outer(&inner(SECRET)));
                let told = hidden(&text, SECRET);
                assert!(
                    told == HIDDEN || told == "you sent [hidden]!" || told == "you sent \"[hidden]\"!",
                    "{text}: {told}"
                );
            }
        }
    }

    proptest! {
        #[test]
        fn in_base64_and_hexadecimal_it_is_found_wherever_it_begins(
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
    fn base64_is_that_of_everybody() {
        for (bytes, text) in
            [("", ""), ("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg"), ("fooba", "Zm9vYmE")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn where_a_secret_is_too_short_to_be_found_nothing_is_quoted() {
        assert_eq!(hidden("a word with an a", "a"), HIDDEN);
    }
}
