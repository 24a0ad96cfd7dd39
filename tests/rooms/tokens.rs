//! Rust source as words, signs and plain texts, each with its line: without comments, other texts, characters and lifetimes.

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Token {
    /// A word, one sign, or a plain text with its quotes.
    pub(crate) text: String,
    pub(crate) line: usize,
}

pub(crate) fn tokens(source: &str) -> Vec<Token> {
    let mut reader = Reader { rest: source, line: 1 };
    std::iter::from_fn(|| reader.token()).collect()
}

struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl<'a> Reader<'a> {
    fn token(&mut self) -> Option<Token> {
        loop {
            let first = self.rest.chars().next()?;
            if first.is_whitespace() {
                self.take(first.len_utf8());
            } else if self.rest.starts_with("//") {
                self.take(self.rest.find('\n').unwrap_or(self.rest.len()));
            } else if self.rest.starts_with("/*") {
                self.take(block_comment(self.rest));
            } else if let Some(length) = literal(self.rest).filter(|_| first != '"') {
                self.take(length);
            } else {
                let line = self.line;
                let length = word(self.rest).or_else(|| literal(self.rest)).unwrap_or(first.len_utf8());
                return Some(Token { text: self.take(length).to_owned(), line });
            }
        }
    }

    fn take(&mut self, length: usize) -> &'a str {
        let (taken, rest) = self.rest.split_at(length);
        self.line += taken.matches('\n').count();
        self.rest = rest;
        taken
    }
}

fn word(text: &str) -> Option<usize> {
    let length = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    (length > 0).then_some(length)
}

/// They may be one in the other.
fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        match &text.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            break;
        }
    }
    at
}

/// The length of the text, character or lifetime that `text` begins with.
fn literal(text: &str) -> Option<usize> {
    let plain = text.trim_start_matches(['b', 'c', 'r']);
    let prefix = text.len() - plain.len();
    if prefix > 2 {
        return None;
    }
    let hashes = plain.len() - plain.trim_start_matches('#').len();
    if text[..prefix].ends_with('r') && plain[hashes..].starts_with('"') {
        let end = format!("\"{}", "#".repeat(hashes));
        let begin = prefix + hashes + 1;
        return Some(text[begin..].find(&end).map_or(text.len(), |at| begin + at + end.len()));
    }
    match plain.chars().next()? {
        '"' => Some(prefix + until(plain, '"')),
        '\'' => {
            let mut inner = plain[1..].chars();
            let is_character = inner.next()? == '\\' || inner.next() == Some('\'');
            if is_character { Some(prefix + until(plain, '\'')) } else { (prefix == 0).then_some(1) }
        }
        _ => None,
    }
}

/// The length of a quoted text with its quotes; a backslash takes the next character's meaning away.
fn until(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if c == quote && !is_escaped {
            return at + 1;
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    text.len()
}

#[test]
fn comments_and_characters_are_left_out_and_texts_are_no_words() {
    let words = |source: &str| tokens(source).into_iter().map(|token| token.text).collect::<Vec<_>>().join(" ");
    assert_eq!(words("a /* b /* c */ d */ e // f\ng"), "a e g");
    assert_eq!(words(r##"a "b \" c" d r#"e " f"# g b"h" i"##), r#"a "b \" c" d g i"#);
    assert_eq!(words(r"a '{' b '\'' c '\u{7f}' d b'}' e 'é' f"), "a b c d e f");
    assert_eq!(words("fn a<'b>(c: &'b str)"), "fn a < b > ( c : & b str )");
    assert_eq!(words("crate::bc"), "crate : : bc");
    assert_eq!(tokens("a\n\"\n\"\nb")[2], Token { text: "b".into(), line: 4 });
}
