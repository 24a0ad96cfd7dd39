//! Removes the escapes of pages (`&amp;`, `&#x27;`) and of JSON and program texts (`\"`, `\u00e9`, `\x27`) from a text. Pure.
//!
//! Everything that is no escape stays as it is.

use std::char::decode_utf16;

/// The named entities that every encoder of pages knows.
const NAMED: [(&str, char); 6] =
    [("amp", '&'), ("lt", '<'), ("gt", '>'), ("quot", '"'), ("apos", '\''), ("nbsp", '\u{a0}')];
/// No entity of interest has a longer name.
const LONGEST: usize = 10;

/// Replaces the entities of pages by what they mean.
pub(super) fn entities(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        plain.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let end = rest.bytes().take(LONGEST).position(|byte| byte == b';');
        match end.and_then(|end| Some((entity(&rest[..end])?, end))) {
            Some((meant, end)) => {
                plain.push(meant);
                rest = &rest[end + 1..];
            }
            None => plain.push('&'),
        }
    }
    plain + rest
}

fn entity(name: &str) -> Option<char> {
    let Some(number) = name.strip_prefix('#') else {
        return NAMED.iter().find(|(known, _)| name.eq_ignore_ascii_case(known)).map(|(_, meant)| *meant);
    };
    let number = match number.strip_prefix(['x', 'X']) {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => number.parse(),
    };
    char::from_u32(number.ok()?)
}

/// Replaces backslash escapes by what they mean.
pub(super) fn backslashes(text: &str) -> String {
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        units.extend(rest[..at].encode_utf16());
        rest = &rest[at + 1..];
        let (unit, length) = escaped(rest);
        units.extend(unit);
        rest = &rest[length..];
    }
    units.extend(rest.encode_utf16());
    // Two 16-bit units may be one letter.
    decode_utf16(units).map(|unit| unit.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

/// What an escape means; and its length, without the backslash.
fn escaped(rest: &str) -> (Option<u16>, usize) {
    let digits = |from, to| rest.get(from..to).and_then(|digits| u16::from_str_radix(digits, 16).ok());
    match rest.as_bytes().first() {
        Some(b'u' | b'U') => digits(1, 5).map_or((None, 1), |unit| (Some(unit), 5)),
        Some(b'x' | b'X') => digits(1, 3).map_or((None, 1), |unit| (Some(unit), 3)),
        Some(b'n') => (Some(u16::from(b'\n')), 1),
        Some(b't') => (Some(u16::from(b'\t')), 1),
        Some(b'r') => (Some(u16::from(b'\r')), 1),
        // Any other character, a backslash too, means itself.
        Some(byte) if byte.is_ascii() => (Some(u16::from(*byte)), 1),
        _ => (None, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn escapes_are_replaced_and_everything_else_stays() {
        for (text, plain) in
            [("a &amp; b", "a & b"), ("&#39;&#x27;&apos;", "'''"), ("&AMP;lt;", "&lt;"), ("R&D & co; &", "R&D & co; &")]
        {
            assert_eq!(entities(text), plain);
        }
        for (text, plain) in
            [(r#"\"x\/\\"#, r#""x/\"#), (r"p\u00e4\u00C4\x27", "päÄ'"), (r"\ud83d\ude00", "😀"), ("end\\", "end")]
        {
            assert_eq!(backslashes(text), plain);
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange(text in any::<String>(), escapes in "[&#x;\\\\u0-9a-f]{0,40}") {
            for text in [&text, &escapes] {
                entities(text);
                backslashes(text);
            }
        }
    }
}
