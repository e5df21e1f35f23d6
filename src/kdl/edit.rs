//! Editing a person's file: pieces of its text are replaced, all other bytes stay.
//!
//! Places are [`Span`]s of the text as it was read. Nodes are found by the byte they start at, so both [`super::Node::span`] and [`super::Node::whole_span`] will do.

use std::collections::BTreeMap;

use super::lex::{Shape, Token, TokenKind, shape, tokens};
use super::source::Span;
use super::write::{INDENT, NodeOut, render_at, render_header};

/// Why the edits were not made. Nothing is to be written then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// Two edits want the same piece of the text.
    #[error("internal error: two edits of the same place in the file (byte {at})")]
    Overlap {
        /// The byte where the second begins.
        at: usize,
    },
    /// The result would be no valid KDL.
    #[error("internal error: the edited file would be no valid KDL: {message}")]
    Invalid {
        /// What the parser says of the result.
        message: String,
    },
}

/// What happens to the comments on the lines directly above a deleted node and behind it on its last line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comments {
    /// They stay.
    Keep,
    /// They go with the node.
    Delete,
}

/// A piece of the text and what stands there instead.
#[derive(Debug, Clone)]
struct Change {
    start: usize,
    end: usize,
    text: String,
}

/// Whether there is no comment in the text, nor anything that a slashdash takes out.
#[must_use]
pub fn is_free_of_comments(text: &str) -> bool {
    !tokens(text, 0).any(|token| token.is_comment() || token.kind == TokenKind::Slashdash)
}

/// Edits of one text, collected and then made at once.
#[derive(Debug, Clone)]
pub struct Edits<'t> {
    text: &'t str,
    newline: &'static str,
    changes: Vec<Change>,
    /// New children by the byte their parent starts at: several are inserted together.
    children: BTreeMap<usize, Vec<NodeOut>>,
    appended: Vec<NodeOut>,
}

impl<'t> Edits<'t> {
    /// No edits of `text` yet.
    #[must_use]
    pub fn new(text: &'t str) -> Self {
        let newline = if text.find('\n').is_some_and(|at| text[..at].ends_with('\r')) { "\r\n" } else { "\n" };
        Self { text, newline, changes: Vec::new(), children: BTreeMap::new(), appended: Vec::new() }
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.children.is_empty() && self.appended.is_empty()
    }

    /// Replaces exactly the bytes at `span`, such as one value.
    pub fn replace(&mut self, span: Span, text: impl Into<String>) {
        let range = span.range();
        self.change(range.start, range.end, text.into());
    }

    /// Replaces name, arguments and properties of a node by those of `header`. Comments among them are kept: behind the new header, or above it.
    pub fn replace_header(&mut self, node: Span, header: &NodeOut) {
        let start = node.range().start;
        let shape = shape(self.text, start);
        let indent = self.line_indent(start);
        let mut above = String::new();
        let mut text = render_header(header, indent);
        for token in tokens(self.text, start).take_while(|token| token.end <= shape.header_end) {
            let inside = shape.commented.iter().any(|(from, to)| (*from..*to).contains(&token.start));
            match token.kind {
                _ if inside => {}
                TokenKind::LineComment => above = format!("{above}{}\n{indent}", token.text(self.text)),
                TokenKind::BlockComment => text = format!("{text} {}", token.text(self.text)),
                _ => {}
            }
        }
        for (from, to) in shape.commented.iter().filter(|(_, to)| *to <= shape.header_end) {
            text = format!("{text} {}", &self.text[*from..*to]);
        }
        self.change(start, shape.header_end, self.native(&format!("{above}{text}")));
    }

    /// Replaces a whole node with its block. Comments inside it go above it; what a slashdash takes out of it goes.
    pub fn replace_node(&mut self, node: Span, new: &NodeOut) {
        let start = node.range().start;
        let end = shape(self.text, start).full_end;
        let indent = self.line_indent(start);
        let mut above = String::new();
        for token in tokens(self.text, start).take_while(|token| token.end <= end).filter(|token| token.is_comment()) {
            above = format!("{above}{}\n{indent}", token.text(self.text));
        }
        let rendered = render_at(std::slice::from_ref(new), indent);
        let text = rendered.strip_prefix(indent).unwrap_or(&rendered).trim_end_matches('\n');
        self.change(start, end, format!("{above}{}", self.native(text)));
    }

    /// Inserts a node behind `sibling`, and behind the comment that follows it on its last line.
    pub fn insert_after(&mut self, sibling: Span, node: &NodeOut) {
        let start = sibling.range().start;
        let indent = self.line_indent(start);
        let rendered = render_at(std::slice::from_ref(node), indent);
        let mut end = shape(self.text, start).full_end;
        let terminator = self.terminator(end);
        if let Some(semicolon) = terminator {
            end = semicolon.end;
        }
        let mut line_end = end;
        for token in tokens(self.text, end) {
            match token.kind {
                TokenKind::Space | TokenKind::LineComment => line_end = token.end,
                TokenKind::Newline => {
                    self.change(token.end, token.end, self.native(&rendered));
                    return;
                }
                _ => break,
            }
        }
        if line_end == self.text.len() {
            self.change(line_end, line_end, self.native(&format!("\n{rendered}")));
            return;
        }
        // Something else follows on the line: it goes between.
        let text = rendered.strip_prefix(indent).unwrap_or(&rendered).trim_end_matches('\n');
        let text = if terminator.is_some() { format!(" {text};") } else { format!("; {text}") };
        self.change(end, end, self.native(&text));
    }

    /// Deletes a node; with its lines, if nothing else stands on them.
    pub fn delete_node(&mut self, node: Span, comments: Comments) {
        let start = node.range().start;
        let mut end = shape(self.text, start).full_end;
        if let Some(semicolon) = self.terminator(end) {
            if self.text[end..semicolon.start].chars().all(char::is_whitespace) {
                end = semicolon.end;
            } else {
                // Comments stand before it: they stay.
                self.change(semicolon.start, semicolon.end, String::new());
            }
        }
        let after: Vec<Token> = tokens(self.text, end).take(4).collect();
        let mut after = after.iter().filter(|token| token.kind != TokenKind::Space).peekable();
        let comment = if comments == Comments::Delete { after.next_if(|token| token.kind == TokenKind::LineComment) } else { None };
        if let Some(comment) = comment {
            end = comment.end;
        }
        let mut start = start;
        let line_start = self.line_start(start);
        let first_on_line = self.text[line_start..start].chars().all(char::is_whitespace);
        let ends_line = after.peek().is_none_or(|token| token.kind == TokenKind::Newline);
        if first_on_line && ends_line {
            start = line_start;
            end = after.peek().map_or(self.text.len(), |newline| newline.end);
        } else if ends_line {
            start -= self.text[..start].len() - self.text[..start].trim_end_matches([' ', '\t']).len();
        } else if self.text[end..].starts_with([' ', '\t']) {
            end += self.text[end..].len() - self.text[end..].trim_start_matches([' ', '\t']).len();
        }
        if comments == Comments::Delete && first_on_line {
            start = self.comments_above(line_start).unwrap_or(start);
        }
        self.change(start, end, String::new());
    }

    /// Deletes one argument or property with the space before it. `entry` is its whole place, the property's name included.
    pub fn delete_entry(&mut self, entry: Span) {
        let range = entry.range();
        let before = &self.text[..range.start];
        self.change(before.trim_end_matches([' ', '\t']).len(), range.end, String::new());
    }

    /// Inserts a node as the last child of `parent`, which gets a block if it has none.
    pub fn insert_child(&mut self, parent: Span, child: NodeOut) {
        self.children.entry(parent.range().start).or_default().push(child);
    }

    /// Inserts a node at the end of the file.
    pub fn append(&mut self, node: NodeOut) {
        self.appended.push(node);
    }

    /// The edited text.
    ///
    /// # Errors
    /// [`EditError`], a bug of the caller or of this module; nothing is to be written then.
    pub fn apply(mut self) -> Result<String, EditError> {
        for (parent, children) in std::mem::take(&mut self.children) {
            self.insert_children(parent, &children);
        }
        self.append_all();
        // Stable: insertions at one place stay in their order, and come behind what is replaced before it.
        self.changes.sort_by_key(|change| (change.start, change.end));
        let mut out = String::with_capacity(self.text.len());
        let mut at = 0;
        let mut deleting = false;
        for change in &self.changes {
            // Deletions of neighbours both take the space between them.
            if change.start < at && change.text.is_empty() && deleting {
                at = at.max(change.end);
                continue;
            }
            deleting = change.text.is_empty();
            let Some(kept) = self.text.get(at..change.start) else { return Err(EditError::Overlap { at: change.start }) };
            out.push_str(kept);
            out.push_str(&change.text);
            at = change.end;
        }
        out.push_str(self.text.get(at..).ok_or(EditError::Overlap { at })?);
        match super::syntax::parse(&out) {
            Ok(_) => Ok(out),
            Err(error) => Err(EditError::Invalid { message: error.diagnostics.first().map(ToString::to_string).unwrap_or_default() }),
        }
    }

    fn change(&mut self, start: usize, end: usize, text: String) {
        self.changes.push(Change { start, end, text });
    }

    /// The `;` that ends the node whose last token ends at `end`, if one does.
    fn terminator(&self, end: usize) -> Option<Token> {
        let mut continued = false;
        for token in tokens(self.text, end) {
            match token.kind {
                TokenKind::Semicolon => return Some(token),
                TokenKind::Continuation => continued = true,
                TokenKind::Newline if continued => continued = false,
                TokenKind::LineComment if continued => {}
                TokenKind::Space | TokenKind::BlockComment => {}
                _ => return None,
            }
        }
        None
    }

    /// With the line breaks that the file uses.
    fn native(&self, text: &str) -> String {
        text.replace('\n', self.newline)
    }

    fn line_start(&self, at: usize) -> usize {
        self.text[..at].rfind('\n').map_or(0, |newline| newline + 1)
    }

    /// The spaces and tabs that the line of the byte `at` begins with.
    fn line_indent(&self, at: usize) -> &'t str {
        let line = &self.text[self.line_start(at)..at];
        let rest = line.trim_start_matches([' ', '\t']);
        &line[..line.len() - rest.len()]
    }

    /// Where the line comments begin that stand on the lines directly above the line at `line_start`.
    fn comments_above(&self, line_start: usize) -> Option<usize> {
        let mut first = None;
        let mut at = line_start;
        while at > 0 {
            let above = self.line_start(at - 1);
            if !self.text[above..at].trim_start().starts_with("//") {
                break;
            }
            first = Some(above);
            at = above;
        }
        // A line inside a multi-line string or a block comment may look like a comment.
        let is_comment = |start: usize| {
            tokens(self.text, 0).any(|token| token.kind == TokenKind::LineComment && token.start >= start && token.start < line_start)
        };
        first.filter(|start| is_comment(*start))
    }

    fn insert_children(&mut self, parent: usize, children: &[NodeOut]) {
        let Shape { block, entries_end, .. } = shape(self.text, parent);
        let indent = self.line_indent(parent);
        let Some((open, close)) = block else {
            let rendered = render_at(children, &format!("{indent}{INDENT}"));
            self.change(entries_end, entries_end, self.native(&format!(" {{\n{rendered}{indent}}}")));
            return;
        };
        let inside: Vec<Token> = tokens(self.text, open + 1).take_while(|token| token.end <= close).collect();
        let deeper = self.child_indent(&inside).map_or_else(|| format!("{indent}{INDENT}"), str::to_owned);
        let rendered = render_at(children, &deeper);
        // Behind `\` the first line break ends nothing.
        let continued =
            inside.iter().rev().find(|token| !matches!(token.kind, TokenKind::Space | TokenKind::Newline) && !token.is_comment());
        let lead = if continued.is_some_and(|token| token.kind == TokenKind::Continuation) { "\n" } else { "" };
        let line_start = self.line_start(close);
        let own_line = self.text[line_start..close].chars().all(|c| c == ' ' || c == '\t');
        if own_line && line_start > open {
            self.change(line_start, line_start, self.native(&format!("{lead}{rendered}")));
            return;
        }
        let one_line = !self.text[open..close].contains(['\n', '\r']);
        let ended = inside.iter().rev().find(|token| token.kind != TokenKind::Space).is_none_or(|token| token.kind == TokenKind::Semicolon);
        if one_line && ended && rendered.lines().count() == children.len() {
            let space = if self.text[..close].ends_with([' ', '\t']) { "" } else { " " };
            let nodes: Vec<&str> = rendered.lines().map(str::trim_start).collect();
            self.change(close, close, format!("{space}{}; ", nodes.join("; ")));
        } else {
            self.change(close, close, self.native(&format!("\n{lead}{rendered}{indent}")));
        }
    }

    /// The indentation of the first child that begins a line.
    fn child_indent(&self, inside: &[Token]) -> Option<&'t str> {
        let first = inside.iter().find(|token| !token.is_trivia())?;
        let line = &self.text[self.line_start(first.start)..first.start];
        line.chars().all(|c| c == ' ' || c == '\t').then_some(line)
    }

    fn append_all(&mut self) {
        if self.appended.is_empty() {
            return;
        }
        let mut text = render_at(&std::mem::take(&mut self.appended), "");
        let empty = self.text.trim_start_matches('\u{FEFF}').is_empty();
        if !empty {
            let continued = tokens(self.text, 0)
                .filter(|token| !matches!(token.kind, TokenKind::Space | TokenKind::Newline) && !token.is_comment())
                .last();
            let ended = self.text.ends_with('\n') && continued.is_none_or(|token| token.kind != TokenKind::Continuation);
            text.insert_str(0, if ended { "" } else { "\n" });
        }
        let end = self.text.len();
        self.change(end, end, self.native(&text));
    }
}
