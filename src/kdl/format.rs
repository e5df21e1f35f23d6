//! The formatter for a person's file.
//!
//! It changes white space and nothing else: indentation, spaces between entries, runs of blank lines, trailing spaces, the final line break, a `;` that ends
//! a line, and the indentation inside multi-line strings (which their value does not hold). The person's line breaks stay;
//! a block that takes several lines gets one after `{` and before `}`. It works on the tokens of the text, never through kdl's
//! printing (which loses comments after a closing brace), and checks its own result.

use ::kdl::{KdlDocument, KdlEntry, KdlNode};

use super::lex::{Token, TokenKind, is_space, tokens};
use super::source::FileId;
use super::source::Findings;
use super::write::INDENT;

/// Why a text was not formatted. The text itself stays as it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// The text is no valid KDL.
    #[error("the file is no valid KDL")]
    Syntax(Findings),
    /// The formatter's result would have meant something else: a bug in it. Nothing was changed.
    #[error("internal error: formatting would have changed the file's meaning; it was left as it is")]
    Internal,
}

/// Formats the text of a file; `file` marks the spans of syntax errors. Formatting the result again changes nothing.
///
/// # Errors
/// [`FormatError`]; the text is to be left as it is then.
pub fn format(file: FileId, text: &str) -> Result<String, FormatError> {
    let before = super::syntax::parse(text).map_err(|error| FormatError::Syntax(super::syntax::findings(file, text, &error)))?;
    let tokens: Vec<Token> = tokens(text, 0).collect();
    for strings in [Strings::Indented, Strings::Untouched] {
        let after = Printer::new(text, &tokens, strings).print();
        if after == text || (same_meaning(&before, &after) && same_comments(text, &tokens, &after)) {
            return Ok(after);
        }
    }
    Err(FormatError::Internal)
}

/// What happens to the lines of multi-line strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Strings {
    Indented,
    Untouched,
}

struct Printer<'t> {
    text: &'t str,
    tokens: &'t [Token],
    strings: Strings,
    newline: &'static str,
    out: String,
    /// The blocks that are open: whether each takes several lines.
    blocks: Vec<bool>,
    /// The indentation of the current line.
    indent: usize,
}

impl<'t> Printer<'t> {
    fn new(text: &'t str, tokens: &'t [Token], strings: Strings) -> Self {
        let first_newline = tokens.iter().find(|token| token.kind == TokenKind::Newline);
        let newline = if first_newline.is_some_and(|token| token.text(text) == "\r\n") { "\r\n" } else { "\n" };
        Self { text, tokens, strings, newline, out: String::with_capacity(text.len() + 64), blocks: Vec::new(), indent: 0 }
    }

    fn print(mut self) -> String {
        let mut last: Option<TokenKind> = None;
        let mut newlines = 0;
        // Whether the line being read goes on after its end.
        let mut continued = false;
        for (index, token) in self.tokens.iter().enumerate() {
            match token.kind {
                TokenKind::Space => continue,
                TokenKind::Newline => {
                    newlines += 1;
                    continue;
                }
                TokenKind::Semicolon if self.ends_line(index) && last != Some(TokenKind::Continuation) => continue,
                _ => {}
            }
            // A block that takes several lines begins and ends one.
            if last == Some(TokenKind::Open) && self.blocks.last() == Some(&true) && !token.is_comment() {
                newlines = newlines.max(1);
            }
            if token.kind == TokenKind::Close && self.blocks.pop() == Some(true) {
                newlines = newlines.max(1);
            }
            // What a slashdash takes out stands beside it.
            if last == Some(TokenKind::Slashdash) && token.kind != TokenKind::LineComment {
                newlines = 0;
            }
            match last {
                None | Some(TokenKind::Bom) => {
                    self.indent = self.blocks.len();
                }
                Some(_) if newlines > 0 => {
                    let edge = last == Some(TokenKind::Open) || token.kind == TokenKind::Close;
                    // The line break after `\` ends nothing; the one after that does.
                    let needed = if continued && newlines > 1 { 2 } else { 1 };
                    let wanted = if edge { needed } else { newlines.min(2) };
                    for _ in 0..wanted {
                        self.out.push_str(self.newline);
                    }
                    let goes_on = continued && newlines == 1 && token.kind != TokenKind::Close;
                    self.indent = self.blocks.len() + usize::from(goes_on);
                    self.out.push_str(&INDENT.repeat(self.indent));
                    continued = false;
                }
                Some(last) if spaced(last, token.kind) => self.out.push(' '),
                Some(_) => {}
            }
            newlines = 0;
            self.token(*token);
            match token.kind {
                TokenKind::Open => self.blocks.push(self.is_broken(index)),
                TokenKind::Continuation => continued = true,
                _ if token.is_comment() => {}
                _ => continued = false,
            }
            last = Some(token.kind);
        }
        if !self.out.is_empty() && last != Some(TokenKind::Bom) {
            self.out.push_str(self.newline);
        }
        self.out
    }

    /// Whether nothing but a line comment follows on the line of the token, as it will be printed.
    fn ends_line(&self, index: usize) -> bool {
        let next = self.tokens[index + 1..].iter().find(|token| token.kind != TokenKind::Space);
        next.is_none_or(|next| match next.kind {
            TokenKind::Newline | TokenKind::LineComment => true,
            TokenKind::Close => self.blocks.last() == Some(&true),
            _ => false,
        })
    }

    /// Whether there is a line break in the block that the token opens.
    fn is_broken(&self, open: usize) -> bool {
        let mut depth = 0;
        for token in &self.tokens[open..] {
            match token.kind {
                TokenKind::Open => depth += 1,
                TokenKind::Close if depth == 1 => return false,
                TokenKind::Close => depth -= 1,
                TokenKind::Newline => return true,
                _ => {}
            }
        }
        false
    }

    fn token(&mut self, token: Token) {
        let source = token.text(self.text);
        match token.kind {
            TokenKind::LineComment => self.out.push_str(source.trim_end()),
            TokenKind::String if self.strings == Strings::Indented => {
                let prefix = INDENT.repeat(self.indent + 1);
                match reindented(source, &prefix) {
                    Some(string) => self.out.push_str(&string),
                    None => self.out.push_str(source),
                }
            }
            _ => self.out.push_str(source),
        }
    }
}

/// Whether a space stands between two tokens on one line.
fn spaced(last: TokenKind, next: TokenKind) -> bool {
    use TokenKind::{BlockComment, Close, Continuation, Equals, LineComment, Open, ParenClose, ParenOpen, Semicolon, Slashdash};
    let comment = |kind| matches!(kind, BlockComment | LineComment | Continuation);
    match (last, next) {
        (_, Semicolon | ParenClose) | (ParenOpen, _) | (Open, Close) => false,
        (Equals | ParenClose | Slashdash, other) | (other, Equals) => comment(other),
        _ => true,
    }
}

/// The multi-line string with `prefix` before its lines instead of its own indentation; nothing if it has one line or if escapes make its lines hard to tell.
fn reindented(source: &str, prefix: &str) -> Option<String> {
    let hashes = source.len() - source.trim_start_matches('#').len();
    let inner = source.get(hashes..source.len() - hashes)?;
    let body = inner.strip_prefix("\"\"\"")?.strip_suffix("\"\"\"")?;
    if hashes == 0 && body.contains('\\') {
        return None;
    }
    let lines: Vec<&str> = body.split('\n').collect();
    let (first, rest) = lines.split_first()?;
    let (old_prefix, rest) = rest.split_last()?;
    if !first.trim_end_matches('\r').is_empty() || !old_prefix.chars().all(is_space) {
        return None;
    }
    let fence = &source[..hashes];
    let mut out = format!("{fence}\"\"\"{first}\n");
    for line in rest {
        let content = line.trim_end_matches('\r');
        if content.chars().all(is_space) {
            out.push_str(&line[content.len()..]);
        } else {
            out.push_str(prefix);
            out.push_str(line.strip_prefix(old_prefix)?);
        }
        out.push('\n');
    }
    out.push_str(prefix);
    out.push_str("\"\"\"");
    out.push_str(fence);
    Some(out)
}

fn same_comments(text: &str, before: &[Token], after: &str) -> bool {
    let before = before.iter().filter(|token| token.is_comment()).map(|token| token.text(text).trim_end());
    let after_tokens = tokens(after, 0).filter(|token| token.is_comment()).map(|token| token.text(after).trim_end());
    before.eq(after_tokens)
}

/// Whether `after` says what `before` says, all formatting aside.
pub(super) fn same_meaning(before: &KdlDocument, after: &str) -> bool {
    super::syntax::parse(after).is_ok_and(|after| same_nodes(Some(before), Some(&after)))
}

fn same_nodes(a: Option<&KdlDocument>, b: Option<&KdlDocument>) -> bool {
    let (Some(a), Some(b)) = (a, b) else { return a.is_none() == b.is_none() };
    a.nodes().len() == b.nodes().len() && a.nodes().iter().zip(b.nodes()).all(|(a, b)| same_node(a, b))
}

fn same_node(a: &KdlNode, b: &KdlNode) -> bool {
    let same_type = a.ty().map(::kdl::KdlIdentifier::value) == b.ty().map(::kdl::KdlIdentifier::value);
    let same_entries = a.entries().len() == b.entries().len() && a.entries().iter().zip(b.entries()).all(|(a, b)| same_entry(a, b));
    same_type && a.name().value() == b.name().value() && same_entries && same_nodes(a.children(), b.children())
}

fn same_entry(a: &KdlEntry, b: &KdlEntry) -> bool {
    let same_name = a.name().map(::kdl::KdlIdentifier::value) == b.name().map(::kdl::KdlIdentifier::value);
    let same_type = a.ty().map(::kdl::KdlIdentifier::value) == b.ty().map(::kdl::KdlIdentifier::value);
    // Numbers count as they are spelled, and a bare word is more than its text: it may be a flag.
    let bare = |entry: &KdlEntry| entry.format().map(|format| format.value_repr.clone()).filter(|repr| !repr.contains('"'));
    same_name && same_type && a.value() == b.value() && bare(a) == bare(b)
}
