//! Takes known secrets out of whatever a server says: an error page that repeats the request would have them printed, logged and
//! written into the journal.
//!
//! The secrets are known process-wide, because a text is quoted where no session is at hand, and one that was sent in any session
//! must show in none.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use secrecy::zeroize::Zeroizing;
use url::form_urlencoded;

use crate::budget;

/// What stands in a secret's place.
const HIDDEN: &str = "[hidden]";

/// Each secret in each form in which it was sent; the oldest first.
static KNOWN: Mutex<VecDeque<Zeroizing<String>>> = Mutex::new(VecDeque::new());

/// From now on this is taken out of all that is quoted.
pub(super) fn learn(secret: &str) {
    if secret.is_empty() {
        return;
    }
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    for form in forms(secret) {
        if !known.iter().any(|other| **other == form) {
            known.push_back(Zeroizing::new(form));
        }
    }
    while known.len() > budget::KNOWN_SECRETS {
        known.pop_front();
    }
}

/// The text without any known secret.
pub(super) fn redacted(text: &str) -> Cow<'_, str> {
    let known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    hide(text, known.iter().map(|secret| secret.as_str()))
}

/// As it is, as a form has it, with %20 for a space, and both with the digits of their escapes in lower case.
fn forms(secret: &str) -> Vec<String> {
    let form: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    let percent = form.replace('+', "%20");
    let escaped = serde_json::to_string(secret).unwrap_or_default();
    let escaped = escaped.trim_matches('"').to_owned();
    vec![secret.to_owned(), lower_escapes(&form), lower_escapes(&percent), form, percent, escaped]
}

fn lower_escapes(text: &str) -> String {
    let mut left = 0u8;
    let lower = |c: char| {
        let escaped = left > 0;
        left = if c == '%' { 2 } else { left.saturating_sub(1) };
        if escaped { c.to_ascii_lowercase() } else { c }
    };
    text.chars().map(lower).collect()
}

/// Pure. A secret so short that it stands in every other word can't be taken out: then nothing is quoted.
fn hide(text: &str, known: impl Iterator<Item = impl AsRef<str>>) -> Cow<'_, str> {
    let mut shown = Cow::Borrowed(text);
    for secret in known {
        let secret = secret.as_ref();
        if !shown.contains(secret) {
            continue;
        }
        if secret.len() < budget::SHORTEST_SECRET {
            return Cow::Borrowed(HIDDEN);
        }
        shown = Cow::Owned(shown.replace(secret, HIDDEN));
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_hidden_in_each_form_in_which_it_was_sent() {
        let secret = "pässwörd & 100% \"x\"";
        for form in forms(secret) {
            let text = format!("you sent {form}!");
            assert_eq!(hide(&text, forms(secret).iter()), "you sent [hidden]!", "{form}");
        }
        assert!(forms(secret).contains(&"p%c3%a4ssw%c3%b6rd+%26+100%25+%22x%22".to_owned()));
        assert_eq!(hide("nothing of it", forms(secret).iter()), "nothing of it");
    }

    #[test]
    fn where_a_secret_is_too_short_to_be_found_nothing_is_quoted() {
        assert_eq!(hide("a word with an a", ["a"].iter()), HIDDEN);
    }
}
