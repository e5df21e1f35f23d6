//! A parsed file and the exact texts in it.

use std::sync::Arc;

use ::kdl::{KdlDocument, KdlEntry, KdlValue};

use super::cursor::Node;
use super::source::{FileId, Findings, SourceFile, Sources, Span};

/// A file, parsed once; cursors borrow from it.
#[derive(Debug)]
pub struct Document {
    pub(super) file: FileId,
    pub(super) text: Arc<str>,
    parsed: KdlDocument,
}

impl Document {
    /// Parses one file. `file` only marks the spans, so files can be parsed beside each other.
    ///
    /// # Errors
    /// Everything the KDL parser finds wrong.
    pub fn parse(file: FileId, source: &SourceFile) -> Result<Self, Findings> {
        match super::syntax::parse(&source.text) {
            Ok(parsed) => Ok(Self { file, text: Arc::clone(&source.text), parsed }),
            Err(error) => Err(super::syntax::findings(file, &source.text, &error)),
        }
    }

    /// Parses the file `file` of `sources`; a file that is not there is empty.
    ///
    /// # Errors
    /// Everything the KDL parser finds wrong.
    pub fn parse_in(sources: &Sources, file: FileId) -> Result<Self, Findings> {
        match sources.get(file) {
            Some(source) => Self::parse(file, source),
            None => Ok(Self { file, text: "".into(), parsed: KdlDocument::new() }),
        }
    }

    /// The file's nodes, in order.
    #[must_use]
    pub fn nodes(&self) -> Vec<Node<'_>> {
        self.parsed.nodes().iter().map(|node| Node::new(self, node, &[])).collect()
    }
}

/// How a text is spelled in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Spelling {
    /// A bare word.
    Word,
    /// `"…"`, `#"…"#` or a multi-line string.
    Quoted,
    /// A number: the text is its source representation.
    Number,
    /// `#true` or `#false`: the text is `true` or `false`.
    Boolean,
    /// `#null`, `#inf`, `#-inf`, `#nan`: always a finding.
    Keyword,
}

/// A value in the file with its place.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Text {
    /// The exact characters; of numbers and booleans the source representation (`4.990` stays `4.990`, `#true` gives `true`).
    pub value: String,
    /// The value's place, with its quotes, without its property name.
    pub span: Span,
    /// `env` in `(env)NAME`.
    pub annotation: Option<String>,
    /// How it was spelled.
    pub spelling: Spelling,
}

impl Text {
    /// The text of an entry: an argument or a property's value.
    pub(super) fn of(document: &Document, entry: &KdlEntry) -> Self {
        let source = entry.format().map_or("", |format| format.value_repr.as_str());
        let end = entry.span().offset() + entry.span().len();
        let span = Span::new(document.file, end.saturating_sub(source.len()), end);
        let (value, spelling) = match entry.value() {
            KdlValue::String(value) if source.contains('"') => (value.clone(), Spelling::Quoted),
            KdlValue::String(value) => (value.clone(), Spelling::Word),
            KdlValue::Bool(value) => (value.to_string(), Spelling::Boolean),
            KdlValue::Null => ("null".to_owned(), Spelling::Keyword),
            KdlValue::Integer(_) | KdlValue::Float(_) => match source.strip_prefix('#') {
                Some(word) => (word.to_owned(), Spelling::Keyword),
                None => (source.to_owned(), Spelling::Number),
            },
        };
        Self { value, span, annotation: entry.ty().map(|ty| ty.value().to_owned()), spelling }
    }

    /// The characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.value
    }

    /// The integer that a number spells (`1_000`, `0x10`), if it fits.
    #[must_use]
    pub fn integer(&self) -> Option<i64> {
        if self.spelling != Spelling::Number {
            return None;
        }
        let plain: String = self.value.chars().filter(|c| *c != '_').collect();
        let (sign, digits) = match plain.strip_prefix('-') {
            Some(digits) => ("-", digits),
            None => ("", plain.strip_prefix('+').unwrap_or(&plain)),
        };
        let (radix, digits) = match digits.get(..2) {
            Some("0x") => (16, &digits[2..]),
            Some("0o") => (8, &digits[2..]),
            Some("0b") => (2, &digits[2..]),
            _ => (10, digits),
        };
        i64::from_str_radix(&format!("{sign}{digits}"), radix).ok()
    }

    /// The place of the character `offset` (counted from 0, in characters) of the value: the word that starts there, or the whole value where its spelling
    /// (escapes) does not tell.
    #[must_use]
    pub fn at(&self, sources: &Sources, offset: usize) -> Span {
        super::literal::place(sources.slice(self.span), &self.value, offset)
            .map_or(self.span, |(start, end)| Span::new(self.span.file, self.span.start as usize + start, self.span.start as usize + end))
    }
}
