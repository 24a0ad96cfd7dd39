//! Text from outside made safe for terminals and logs: a file's name can hold any character. Pure.

/// Escapes the characters of a text that would break its line, control a terminal, or not be seen.
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

/// How many columns of a terminal a text takes, or more: East Asian characters take two, and marks that take none count as one.
pub(crate) fn columns(text: &str) -> usize {
    text.chars().map(columns_of).sum()
}

/// The columns of one character.
pub(crate) fn columns_of(c: char) -> usize {
    if c < '\u{1100}' { 1 } else { 2 }
}

/// Escapes a whole line of the log in the same way. In a `coloured` log the log's own colours are kept. A name in the line that holds
/// one of them can then colour the line, but it can't hide anything.
pub(crate) fn escaped_line(line: &str, coloured: bool) -> String {
    let (text, end) = line.strip_suffix('\n').map_or((line, ""), |text| (text, "\n"));
    let mut shown = String::with_capacity(line.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let colour = if coloured { colour_length(rest) } else { 0 };
        let taken = if colour > 0 { colour } else { c.len_utf8() };
        if colour > 0 || !is_odd(c) {
            shown.push_str(&rest[..taken]);
        } else {
            shown.extend(c.escape_default());
        }
        rest = &rest[taken..];
    }
    shown + end
}

/// The codes that the log itself uses: reset, bold, dimmed, italic, and the colours of its levels.
const COLOURS: [&str; 9] = ["0", "1", "2", "3", "31", "32", "33", "34", "35"];

/// The length of the colour sequence at the beginning of a text; 0 for anything else, which is then escaped.
fn colour_length(text: &str) -> usize {
    let Some((codes, _)) = text.strip_prefix("\u{1b}[").and_then(|rest| rest.split_once('m')) else { return 0 };
    if COLOURS.contains(&codes) { codes.len() + 3 } else { 0 }
}

/// Returns a value as one line of JSON for standard output, escaped as in [`escaped_json`], since standard output may be a terminal.
pub(crate) fn json_line(value: &impl serde::Serialize) -> String {
    // Serialization can't fail: all keys are texts, and no value has a serializer that refuses.
    escaped_json(&serde_json::to_string(value).unwrap_or_default())
}

/// Replaces the characters of a line of JSON that a terminal would act on by JSON escapes, which mean the same.
pub(crate) fn escaped_json(line: &str) -> String {
    use std::fmt::Write as _;
    let (text, end) = line.strip_suffix('\n').map_or((line, ""), |text| (text, "\n"));
    let escaped = text.chars().fold(String::with_capacity(line.len()), |mut shown, c| {
        if is_odd(c) {
            for unit in c.encode_utf16(&mut [0; 2]) {
                // Writing to a String can't fail.
                write!(shown, "\\u{unit:04x}").ok();
            }
        } else {
            shown.push(c);
        }
        shown
    });
    escaped + end
}

/// Whether a character must be escaped: control characters, all ends of lines, invisible characters, and marks that change the direction
/// of writing, which can make one name look like another.
fn is_odd(c: char) -> bool {
    c.is_control()
        || matches!(c,
            // Marks that change the direction of writing, and ends of lines and paragraphs.
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            // Invisible: soft hyphen, zero-width characters, fillers, tags.
            | '\u{00ad}' | '\u{034f}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200d}' | '\u{2060}'..='\u{2065}' | '\u{206a}'..='\u{206f}' | '\u{3164}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invisible_characters_and_direction_marks_are_escaped() {
        for odd in
            "\u{61c}\u{200b}\u{200d}\u{200f}\u{202e}\u{2067}\u{2060}\u{feff}\u{ad}\u{e0041}\u{180e}\u{7f}\u{9b}\t"
                .chars()
        {
            assert!(printable(&odd.to_string()).starts_with('\\'), "{odd:?}");
        }
        let plain = "Zürich 日本語 ✓ (1) – naïve.pdf";
        assert_eq!(printable(plain), plain);
    }

    #[test]
    fn a_log_line_keeps_the_logs_colours_and_no_other_sequence() {
        let line = "\u{1b}[2mINFO\u{1b}[0m file=a\nb\u{1b}[2J\u{202e}\n";
        assert_eq!(escaped_line(line, true), "\u{1b}[2mINFO\u{1b}[0m file=a\\nb\\u{1b}[2J\\u{202e}\n");
        // Regression: a name could conceal the text after it, and colour a log without colours.
        assert_eq!(escaped_line("\u{1b}[8mhidden\u{1b}[1;31m", true), "\\u{1b}[8mhidden\\u{1b}[1;31m");
        assert_eq!(escaped_line("file=\u{1b}[31mred\n", false), "file=\\u{1b}[31mred\n");
        // Regression: JSON on a terminal had the names unescaped.
        let json = escaped_json("{\"file\":\"a\u{202e}\u{e0041}\"}\n");
        assert_eq!(json, "{\"file\":\"a\\u202e\\udb40\\udc41\"}\n");
    }

    #[test]
    fn control_characters_and_line_ends_are_escaped() {
        assert_eq!(printable("a\n\u{1b}[2J\u{202e}\u{2028}é.pdf"), "a\\n\\u{1b}[2J\\u{202e}\\u{2028}é.pdf");
    }
}
