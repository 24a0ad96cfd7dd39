//! The excerpt of a server's answer that an error may quote: short, printable, and without anything that could be a token. Pure.

use serde_json::Value;

use super::redact::redacted;
use crate::budget;

/// What an answer says to people: the text of a JSON error or the title of a page; never the whole body.
pub(super) fn message(body: &[u8]) -> Option<String> {
    // As JSON values, a huge answer would take many times its size in memory.
    let body = body.get(..budget::QUOTED_BYTES).unwrap_or(body);
    let text = match serde_json::from_slice::<Value>(body) {
        Ok(value) => json_text(&value)?,
        Err(_) => title(&String::from_utf8_lossy(body))?,
    };
    Some(one_line(&text)).filter(|s| !s.is_empty())
}

fn json_text(value: &Value) -> Option<String> {
    ["error_description", "message", "error", "detail", "title"].into_iter().find_map(|name| match value.get(name)? {
        Value::String(text) if !text.trim().is_empty() => Some(text.clone()),
        inner @ Value::Object(_) => inner.get("message")?.as_str().map(str::to_owned),
        _ => None,
    })
}

fn title(page: &str) -> Option<String> {
    // ASCII lowering keeps every byte in its place, so that positions hold in the original.
    let lower = page.to_ascii_lowercase();
    let tag = lower.find("<title")?;
    let start = tag + lower[tag..].find('>')? + 1;
    let end = start + lower[start..].find("</title")?;
    Some(page[start..end].to_owned())
}

/// A text on one line, printable, at most 200 characters, without over-long words.
pub(super) fn one_line(text: &str) -> String {
    let text = redacted(text);
    let clean: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let words: Vec<&str> = clean
        .split_whitespace()
        .map(|w| if w.starts_with("eyJ") || w.len() > budget::QUOTED_WORD { "…" } else { w })
        .collect();
    let line = words.join(" ");
    match line.char_indices().nth(budget::QUOTED) {
        Some((cut, _)) => format!("{}…", &line[..cut]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_text_of_an_error_is_found() {
        for (body, text) in [
            (r#"{"error":"invalid_grant","error_description":"Account disabled"}"#, "Account disabled"),
            (r#"{"error":{"message":"deep"}}"#, "deep"),
            (r#"{"error":"Realm does not exist"}"#, "Realm does not exist"),
            ("<html><head><TITLE lang=x>502 Bad\n Gateway</TITLE>", "502 Bad Gateway"),
        ] {
            assert_eq!(message(body.as_bytes()).as_deref(), Some(text));
        }
        for body in ["", "[]", "{}", "plain text that may hold anything", "<title>open"] {
            assert_eq!(message(body.as_bytes()), None, "{body}");
        }
    }

    #[test]
    fn tokens_are_not_repeated() {
        let token = format!("eyJhbGciOi.{}", "x".repeat(30));
        assert!(!one_line(&format!("bad token {token} here")).contains("eyJ"));
        assert!(!one_line(&format!("bad token {} here", "t".repeat(61))).contains("tttt"));
    }

    proptest! {
        #[test]
        fn always_short_and_printable(text in any::<String>()) {
            let s = one_line(&text);
            prop_assert!(s.chars().count() <= budget::QUOTED + 1);
            prop_assert!(!s.chars().any(char::is_control));
        }
    }
}
