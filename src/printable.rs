//! Names from outside, for people. Pure.

/// The same text, so that it can neither break its line nor drive a terminal: a name can hold anything.
pub(crate) fn printable(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut shown, c| {
        if is_odd(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
        shown
    })
}

/// Not only control characters: other ends of lines, and marks that turn the direction of writing around and can so make
/// one name look like another.
fn is_odd(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_can_do_no_harm() {
        assert_eq!(printable("a\n\u{1b}[2J\u{202e}\u{2028}é.pdf"), "a\\n\\u{1b}[2J\\u{202e}\\u{2028}é.pdf");
    }
}
