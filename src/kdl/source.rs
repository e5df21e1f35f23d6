//! Source files, places in them, and what is wrong there.
//!
//! Readers collect cheap [`Finding`]s and never stop at the first; at the end all of them become one [`Diagnostics`] error that shows every place.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use miette::{LabeledSpan, NamedSource};
use serde::{Deserialize, Serialize};

/// One file of a set of [`Sources`].
#[derive(Debug, Clone)]
pub struct SourceFile {
    /// The path as diagnostics show it, relative to the project.
    pub path: PathBuf,
    /// The whole text, exactly as it stands in the file.
    pub text: Arc<str>,
}

/// The index of a file in its [`Sources`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FileId(pub u32);

/// A place in a file: a range of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Span {
    /// The file.
    pub file: FileId,
    /// The first byte.
    pub start: u32,
    /// The number of bytes.
    pub len: u32,
}

impl Span {
    /// The bytes `start..end` of `file`. Files beyond 4 GiB are cut off there: a place in them is shown wrongly, nothing else.
    #[must_use]
    pub fn new(file: FileId, start: usize, end: usize) -> Self {
        let start = u32::try_from(start).unwrap_or(u32::MAX);
        let end = u32::try_from(end).unwrap_or(u32::MAX);
        Self { file, start, len: end.saturating_sub(start) }
    }

    /// The range of bytes.
    #[must_use]
    pub fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.start as usize + self.len as usize
    }
}

/// A set of files that are read together.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    files: Vec<SourceFile>,
}

impl Sources {
    /// The empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file; `path` is what diagnostics show.
    pub fn add(&mut self, path: impl Into<PathBuf>, text: impl Into<Arc<str>>) -> FileId {
        let id = FileId(u32::try_from(self.files.len()).unwrap_or(u32::MAX));
        self.files.push(SourceFile { path: path.into(), text: text.into() });
        id
    }

    /// The file, if `id` comes from this set.
    #[must_use]
    pub fn get(&self, id: FileId) -> Option<&SourceFile> {
        self.files.get(id.0 as usize)
    }

    /// All files with their ids, in the order they were added.
    pub fn iter(&self) -> impl Iterator<Item = (FileId, &SourceFile)> {
        (0u32..).map(FileId).zip(&self.files)
    }

    /// The text at `span`; empty if it lies outside.
    #[must_use]
    pub fn slice(&self, span: Span) -> &str {
        self.get(span.file).and_then(|file| file.text.get(span.range())).unwrap_or("")
    }

    /// Line and column of the span's start, both counted from 1, the column in characters.
    #[must_use]
    pub fn position(&self, span: Span) -> (usize, usize) {
        let text = self.get(span.file).map_or("", |file| &file.text);
        let before = &text[..floor_boundary(text, span.start as usize)];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }

    /// `path:line:column`, as editors and terminals make it clickable.
    #[must_use]
    pub fn place(&self, span: Span) -> String {
        let (line, column) = self.position(span);
        let path = self.get(span.file).map_or(Path::new("?"), |file| &file.path);
        format!("{}:{line}:{column}", path.display())
    }
}

/// The largest character boundary at or below `at`.
fn floor_boundary(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// One thing that is wrong in the files: cheap to make, shown only at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What is wrong, in one line.
    pub message: String,
    /// Where, if it is at one place.
    pub span: Option<Span>,
    /// What is said at that place; may be empty.
    pub label: String,
    /// Other places that belong to it, such as the first of two definitions, each with its label.
    pub others: Vec<(Span, String)>,
    /// What to type instead.
    pub help: Option<String>,
    /// A stable name of this sort of finding, where it has one.
    pub code: Option<&'static str>,
}

impl Finding {
    /// A finding at `span`.
    pub fn at(span: Span, message: impl Into<String>) -> Self {
        Self { span: Some(span), ..Self::general(message) }
    }

    /// A finding that has no place.
    pub fn general(message: impl Into<String>) -> Self {
        Self { message: message.into(), span: None, label: String::new(), others: Vec::new(), help: None, code: None }
    }

    /// What is said at the place itself.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// One more place that belongs to it.
    #[must_use]
    pub fn other(mut self, span: Span, label: impl Into<String>) -> Self {
        self.others.push((span, label.into()));
        self
    }

    /// What to type instead.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The stable name of this sort of finding.
    #[must_use]
    pub fn code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }
}

/// What readers collect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings(pub Vec<Finding>);

impl Findings {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    pub fn push(&mut self, finding: Finding) {
        self.0.push(finding);
    }

    /// Adds all of `other`.
    pub fn append(&mut self, other: Findings) {
        self.0.extend(other.0);
    }

    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of findings.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The error that shows all of them, in the order of files and places; those without a place come first.
    #[must_use]
    pub fn into_report(mut self, sources: &Sources) -> Diagnostics {
        self.0.sort_by_key(|finding| finding.span);
        self.0.dedup();
        Diagnostics(self.0.into_iter().map(|finding| Diagnostic::new(sources, finding)).collect())
    }

    /// `value` if nothing is wrong, else the error that shows all findings.
    pub fn or_report<T>(self, sources: &Sources, value: T) -> Result<T, Diagnostics> {
        if self.is_empty() { Ok(value) } else { Err(self.into_report(sources)) }
    }
}

/// A [`Finding`] together with the text it speaks of, ready to be shown.
#[derive(Debug, Clone)]
pub struct Diagnostic {
    message: String,
    help: Option<String>,
    code: Option<&'static str>,
    source: Option<NamedSource<Arc<str>>>,
    labels: Vec<LabeledSpan>,
    related: Vec<Diagnostic>,
    place: Option<String>,
    /// Whether it only shows another place of the one above it.
    aside: bool,
}

impl Diagnostic {
    fn new(sources: &Sources, finding: Finding) -> Self {
        let Finding { message, span, label, others, help, code } = finding;
        let mut labels = Vec::new();
        let mut related = Vec::new();
        if let Some(span) = span {
            let label = if label.is_empty() { None } else { Some(label) };
            labels.push(LabeledSpan::new_primary_with_span(label, span.range()));
        }
        for (other, label) in others {
            if span.is_some_and(|span| span.file == other.file) {
                labels.push(LabeledSpan::new_with_span(Some(label), other.range()));
            } else {
                // A miette diagnostic has one source text: a place in another file needs a diagnostic of its own.
                related.push(Self { aside: true, ..Self::new(sources, Finding::at(other, label)) });
            }
        }
        let source = span.and_then(|span| sources.get(span.file)).map(named);
        if source.is_none() {
            labels.clear();
        }
        Self { message, help, code, source, labels, related, place: span.map(|span| sources.place(span)), aside: false }
    }

    /// What is wrong.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to type instead.
    #[must_use]
    pub fn advice(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// `path:line:column` of the first place.
    #[must_use]
    pub fn place(&self) -> Option<&str> {
        self.place.as_deref()
    }
}

fn named(file: &SourceFile) -> NamedSource<Arc<str>> {
    NamedSource::new(file.path.to_string_lossy(), Arc::clone(&file.text))
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Diagnostic {}

impl miette::Diagnostic for Diagnostic {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.code.map(|code| Box::new(code) as Box<dyn fmt::Display>)
    }

    fn severity(&self) -> Option<miette::Severity> {
        self.aside.then_some(miette::Severity::Advice)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        self.source.as_ref().map(|source| source as &dyn miette::SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        if self.labels.is_empty() { None } else { Some(Box::new(self.labels.iter().cloned())) }
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn miette::Diagnostic> + 'a>> {
        related(&self.related)
    }
}

fn related(list: &[Diagnostic]) -> Option<Box<dyn Iterator<Item = &dyn miette::Diagnostic> + '_>> {
    if list.is_empty() { None } else { Some(Box::new(list.iter().map(|one| one as &dyn miette::Diagnostic))) }
}

/// All that is wrong in a set of files: one error. A single diagnostic is shown as itself, several beneath a line that counts them.
#[derive(Debug, Clone)]
pub struct Diagnostics(Vec<Diagnostic>);

impl Diagnostics {
    /// The diagnostics in the order of files and places.
    #[must_use]
    pub fn list(&self) -> &[Diagnostic] {
        &self.0
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [one] => one.fmt(f),
            all => write!(f, "{} errors", all.len()),
        }
    }
}

impl std::error::Error for Diagnostics {}

impl miette::Diagnostic for Diagnostics {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        if let [one] = self.0.as_slice() { one.code() } else { None }
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        if let [one] = self.0.as_slice() { one.help() } else { None }
    }

    fn source_code(&self) -> Option<&dyn miette::SourceCode> {
        if let [one] = self.0.as_slice() { one.source_code() } else { None }
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        if let [one] = self.0.as_slice() { one.labels() } else { None }
    }

    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn miette::Diagnostic> + 'a>> {
        match self.0.as_slice() {
            [one] => miette::Diagnostic::related(one),
            all => related(all),
        }
    }
}
