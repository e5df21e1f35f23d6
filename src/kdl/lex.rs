//! The tokens of a KDL text, white space and comments included.
//!
//! The kdl crate tells what a document means; this tells how it is written. It expects a text which that crate has accepted: on any other it still ends, and
//! its tokens still cover the text, but they mean nothing.

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    Bom,
    /// Spaces and tabs on one line.
    Space,
    /// One line break (`\r\n` is one).
    Newline,
    /// `// …` without the line break.
    LineComment,
    /// `/* … */`.
    BlockComment,
    /// `/-`.
    Slashdash,
    /// `\` outside strings: the node goes on in the next line.
    Continuation,
    /// A quoted, raw or multi-line string.
    String,
    /// An identifier, a number or a keyword.
    Word,
    Open,
    Close,
    ParenOpen,
    ParenClose,
    Equals,
    Semicolon,
    /// A character that stands nowhere in KDL.
    Other,
}

/// A piece of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub kind: TokenKind,
    pub start: usize,
    pub end: usize,
}

impl Token {
    /// White space, line breaks, comments, continuations.
    pub fn is_trivia(self) -> bool {
        use TokenKind::{BlockComment, Bom, Continuation, LineComment, Newline, Space};
        matches!(self.kind, Bom | Space | Newline | LineComment | BlockComment | Continuation)
    }

    pub fn is_comment(self) -> bool {
        matches!(self.kind, TokenKind::LineComment | TokenKind::BlockComment)
    }

    pub fn text(self, source: &str) -> &str {
        &source[self.start..self.end]
    }
}

/// KDL's spaces.
pub(super) fn is_space(c: char) -> bool {
    matches!(c, '\t' | ' ' | '\u{A0}' | '\u{1680}' | '\u{2000}'..='\u{200A}' | '\u{202F}' | '\u{205F}' | '\u{3000}')
}

/// KDL's line breaks.
pub(super) fn is_newline(c: char) -> bool {
    matches!(c, '\r' | '\n' | '\u{85}' | '\u{B}' | '\u{C}' | '\u{2028}' | '\u{2029}')
}

/// What ends a bare word.
pub(super) fn ends_word(c: char) -> bool {
    is_space(c) || is_newline(c) || matches!(c, '\\' | '/' | '(' | ')' | '{' | '}' | '[' | ']' | ';' | '"' | '=')
}

/// All tokens of `source` from the byte `from` on; each begins where the one before ends.
pub(super) fn tokens(source: &str, from: usize) -> impl Iterator<Item = Token> {
    let mut at = from;
    std::iter::from_fn(move || {
        let rest = source.get(at..).filter(|rest| !rest.is_empty())?;
        let (kind, length) = next(rest, at == 0);
        let token = Token { kind, start: at, end: at + length };
        at = token.end;
        Some(token)
    })
}

fn next(rest: &str, first: bool) -> (TokenKind, usize) {
    let Some(c) = rest.chars().next() else { return (TokenKind::Other, 0) };
    let run = |stop: fn(char) -> bool| rest.find(stop).unwrap_or(rest.len());
    match c {
        '\u{FEFF}' if first => (TokenKind::Bom, c.len_utf8()),
        _ if is_space(c) => (TokenKind::Space, run(|c| !is_space(c))),
        '\r' if rest.starts_with("\r\n") => (TokenKind::Newline, 2),
        _ if is_newline(c) => (TokenKind::Newline, c.len_utf8()),
        '/' if rest.starts_with("//") => (TokenKind::LineComment, run(is_newline)),
        '/' if rest.starts_with("/*") => (TokenKind::BlockComment, block_comment(rest)),
        '/' if rest.starts_with("/-") => (TokenKind::Slashdash, 2),
        '\\' => (TokenKind::Continuation, 1),
        '{' => (TokenKind::Open, 1),
        '}' => (TokenKind::Close, 1),
        '(' => (TokenKind::ParenOpen, 1),
        ')' => (TokenKind::ParenClose, 1),
        '=' => (TokenKind::Equals, 1),
        ';' => (TokenKind::Semicolon, 1),
        '"' => (TokenKind::String, quoted(rest)),
        '#' if rest.trim_start_matches('#').starts_with('"') => (TokenKind::String, raw(rest)),
        _ if ends_word(c) => (TokenKind::Other, c.len_utf8()),
        _ => (TokenKind::Word, run(ends_word)),
    }
}

/// Block comments nest.
fn block_comment(rest: &str) -> usize {
    let bytes = rest.as_bytes();
    let (mut at, mut depth) = (2, 1);
    while depth > 0 && at < bytes.len() {
        match bytes.get(at..at + 2) {
            Some(b"/*") => (at, depth) = (at + 2, depth + 1),
            Some(b"*/") => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
    }
    at
}

/// A string with escapes, of one line or several.
fn quoted(rest: &str) -> usize {
    let close = if rest.starts_with("\"\"\"") { "\"\"\"" } else { "\"" };
    let bytes = rest.as_bytes();
    let mut at = close.len();
    while at < bytes.len() {
        if bytes[at] == b'\\' {
            at += 2;
        } else if rest.as_bytes()[at..].starts_with(close.as_bytes()) {
            return at + close.len();
        } else {
            at += 1;
        }
    }
    rest.len()
}

/// A raw string: it ends at the quotes that as many `#` follow as stood before it.
fn raw(rest: &str) -> usize {
    let hashes = rest.len() - rest.trim_start_matches('#').len();
    let quotes = if rest[hashes..].starts_with("\"\"\"") { 3 } else { 1 };
    let close = format!("{}{}", &"\"\"\""[..quotes], &rest[..hashes]);
    let body = hashes + quotes;
    rest[body..].find(&close).map_or(rest.len(), |at| body + at + close.len())
}

/// Where the node that starts at the byte `start` ends: behind its last entry or its block, before the trivia and the terminator that follow.
pub(super) fn node_end(source: &str, start: usize) -> usize {
    shape(source, start).end
}

/// How one node is laid out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shape {
    /// Behind the last entry (or the name, if there is none).
    pub header_end: usize,
    /// The bytes of `{` and of `}`.
    pub block: Option<(usize, usize)>,
    /// The entries that a slashdash takes out, with it.
    pub commented: Vec<(usize, usize)>,
    /// Behind the last entry, those in `commented` included: where a block can stand.
    pub entries_end: usize,
    /// Behind the last entry or the block.
    pub end: usize,
    /// Behind all of it, with what a slashdash takes out.
    pub full_end: usize,
}

/// What a slashdash takes out while scanning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Commented {
    Nothing,
    /// What comes next.
    Next,
    /// The entry that began.
    Entry,
}

/// Scans the node that starts at the byte `start`. What a slashdash takes out belongs to no header and to no end.
pub(super) fn shape(source: &str, start: usize) -> Shape {
    use TokenKind::{Close, Continuation, Equals, LineComment, Newline, Open, ParenClose, ParenOpen, Semicolon, Slashdash};
    let mut shape = Shape { header_end: start, block: None, commented: Vec::new(), entries_end: start, end: start, full_end: start };
    let mut depth = 0usize;
    let mut block = None;
    let mut commented = Commented::Nothing;
    let mut last_commented = false;
    let mut continued = false;
    let mut commented_type = false;
    for token in tokens(source, start) {
        if depth > 0 {
            match token.kind {
                Open => depth += 1,
                Close => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                shape.full_end = token.end;
                if let Some(open) = block {
                    shape.block = Some((open, token.start));
                    shape.end = token.end;
                }
            }
            continue;
        }
        let breaks_entry = token.is_trivia() || matches!(token.kind, Open | Slashdash);
        if commented == Commented::Entry && breaks_entry && !commented_type {
            commented = Commented::Nothing;
        }
        match token.kind {
            Close | Semicolon => break,
            Newline | LineComment if !continued && commented != Commented::Next => break,
            Newline => continued = false,
            Continuation => continued = true,
            Slashdash => {
                commented = Commented::Next;
                shape.commented.push((token.start, token.end));
            }
            Open => {
                if commented == Commented::Next {
                    shape.commented.pop();
                }
                depth = 1;
                block = (commented == Commented::Nothing).then_some(token.start);
                commented = Commented::Nothing;
            }
            _ if token.is_trivia() => {}
            // `/-x = 1`: the space ended nothing.
            Equals if last_commented => commented = Commented::Next,
            _ => {
                continued = false;
                last_commented = commented != Commented::Nothing;
                (shape.entries_end, shape.full_end) = (token.end, token.end);
                if last_commented {
                    // In `/-(type) x` the space ends nothing either.
                    commented = if token.kind == ParenClose { Commented::Next } else { Commented::Entry };
                    commented_type = token.kind == ParenOpen || commented_type && token.kind != ParenClose;
                    if let Some(span) = shape.commented.last_mut() {
                        span.1 = token.end;
                    }
                } else {
                    shape.header_end = token.end;
                    shape.end = token.end;
                }
            }
        }
    }
    shape
}
