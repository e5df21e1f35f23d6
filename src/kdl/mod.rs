//! The KDL syntax: reading it with spans, reporting what is wrong at its place, writing it, formatting and editing a person's file.
//!
//! This room knows no kind of database object and does no IO. The way through it: text goes into [`Sources`], [`Document::parse`] parses it once,
//! readers walk its [`Node`] cursors and collect [`Findings`]; [`NodeOut`] is the opposite direction; [`format()`] and [`Edits`] work on the text itself.

pub mod cursor;
pub mod document;
pub mod edit;
pub mod format;
mod lex;
mod literal;
pub mod source;
mod syntax;
pub mod write;

pub use cursor::{Node, one_of, suggest};
pub use document::{Document, Spelling, Text};
pub use edit::{Comments, EditError, Edits, is_free_of_comments};
pub use format::{FormatError, format};
pub use source::{Diagnostic, Diagnostics, FileId, Finding, Findings, SourceFile, Sources, Span};
pub use write::{NodeOut, ValueOut, render, render_at};

#[cfg(test)]
mod tests;
