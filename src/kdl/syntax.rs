//! The one call of the kdl crate's parser, and its errors as findings.

use std::borrow::Cow;
use std::sync::Arc;

use ::kdl::{KdlDiagnostic, KdlDocument, KdlError};

use super::lex::{TokenKind, tokens};
use super::source::{FileId, Finding, Findings, Span};

/// Blocks may stand inside each other this deep. The parser recurses: in debug builds 300 levels overflow a stack of 2 MiB.
const MAX_DEPTH: usize = 100;

/// The parser recurses for every `*` and `/` in a block comment as well: beyond this many they are kept from it.
const MAX_COMMENT_SIGNS: usize = 200;

/// The parser goes on after an error and is often led astray by it: beyond this many its errors help nobody.
const MAX_ERRORS: usize = 20;

/// Parses a KDL 2 text. The document's places are those of `text`.
pub(super) fn parse(text: &str) -> Result<KdlDocument, KdlError> {
    KdlDocument::parse(&shallow(text)?)
}

/// `text` without what would overflow the parser's stack; as long as `text`, so that places stay.
fn shallow(text: &str) -> Result<Cow<'_, str>, KdlError> {
    let mut text = Cow::Borrowed(text);
    let mut depth = 0usize;
    let mut long_comments = Vec::new();
    for token in tokens(&text, 0) {
        match token.kind {
            TokenKind::Open => depth += 1,
            TokenKind::Close => depth = depth.saturating_sub(1),
            TokenKind::BlockComment => {
                let signs = token.text(&text).bytes().filter(|byte| matches!(byte, b'*' | b'/')).count();
                if signs > MAX_COMMENT_SIGNS {
                    long_comments.push((token.start, token.end));
                }
            }
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(error(
                &text,
                (token.start, token.end),
                "these blocks stand inside each other too deep",
                "more than 100 levels are not read",
            ));
        }
    }
    for (start, end) in long_comments {
        if end < start + 4 || !text[..end].ends_with("*/") {
            return Err(error(
                &text,
                (start, start + 2),
                "this comment is not closed",
                "close it with `*/`; comments inside it are closed on their own",
            ));
        }
        text.to_mut().replace_range(start + 2..end - 2, &" ".repeat(end - start - 4));
    }
    Ok(text)
}

fn error(text: &str, (start, end): (usize, usize), message: &str, help: &str) -> KdlError {
    let input = Arc::new(text.to_owned());
    let diagnostic = KdlDiagnostic {
        input: Arc::clone(&input),
        span: (start..end).into(),
        message: Some(message.to_owned()),
        label: Some("here".to_owned()),
        help: Some(help.to_owned()),
        severity: miette::Severity::Error,
    };
    KdlError { input, diagnostics: vec![diagnostic] }
}

/// The parser's own diagnostics in words for people who do not know its grammar, one finding each. Where it stumbled over the same place several times, or
/// over what an unclosed text or block left behind, the first says most.
pub(super) fn findings(file: FileId, text: &str, error: &::kdl::KdlError) -> Findings {
    let mut findings = Findings::new();
    if let Some(at) = conflict(text) {
        let finding = Finding::at(Span::new(file, at, at + CONFLICT.len()), "git left a merge conflict here");
        findings.push(finding.label("here").help("keep what is to hold of both sides, and take the marks out").code("kdl::syntax"));
        return findings;
    }
    let mut last = None;
    let mut unclosed = false;
    for diagnostic in &error.diagnostics {
        let message = diagnostic.message.as_deref().unwrap_or("this is no valid KDL");
        let (offset, end) = narrowed(text, diagnostic.span.offset(), diagnostic.span.len(), message);
        let span = Span::new(file, offset, end);
        let follows = unclosed && (message.starts_with("Expected end of document") || message.starts_with("Closing '}'"));
        if last == Some(span) || follows {
            continue;
        }
        last = Some(span);
        if findings.len() == MAX_ERRORS {
            findings.push(Finding::at(span, "there are more syntax errors from here on").code("kdl::syntax"));
            break;
        }
        let bad = text.get(offset..end).unwrap_or("").trim();
        let (message, label, help) = words(bad, message);
        unclosed |= message.ends_with("closed");
        let mut finding = Finding::at(span, message).label(label).code("kdl::syntax");
        finding.help = spelling_help(bad).or(help).or_else(|| diagnostic.help.clone());
        if bad == "{"
            && let Some(suspect) = misfit(text).filter(|suspect| *suspect != offset)
        {
            finding = finding.other(Span::new(file, suspect, suspect + 1), "perhaps it is this one: the next `}` stands further left");
        }
        findings.push(finding);
    }
    if findings.is_empty() {
        findings.push(Finding::at(Span::new(file, 0, 0), "this file is no valid KDL").code("kdl::syntax"));
    }
    findings
}

/// How the first side of a merge conflict begins.
const CONFLICT: &str = "<<<<<<< ";

/// Where a merge conflict begins, if there is one.
fn conflict(text: &str) -> Option<usize> {
    let begins = text.match_indices(CONFLICT).map(|(at, _)| at).find(|at| *at == 0 || text[..*at].ends_with('\n'));
    begins.filter(|_| text.contains("\n>>>>>>> "))
}

/// The place that a person has to look at: the parser marks from the node's beginning, or to the file's end.
fn narrowed(text: &str, offset: usize, len: usize, message: &str) -> (usize, usize) {
    let (offset, end) = (offset.min(text.len()), offset.saturating_add(len).min(text.len()));
    let marked = text.get(offset..end).unwrap_or("");
    if message.contains("multi-line comment") {
        return (offset, (offset + 2).min(end));
    }
    if message.starts_with("Expected property value") {
        let tail = marked.trim_end();
        let start = offset + tail.rfind(char::is_whitespace).map_or(0, |at| at + tail[at..].chars().next().map_or(1, char::len_utf8));
        let stop = offset + tail.len();
        let word = text[stop..].find(|c: char| c.is_whitespace() || matches!(c, ';' | '{' | '}')).unwrap_or(text.len() - stop);
        return (start, stop + word);
    }
    (offset, end)
}

/// Message, label and help for what the parser says.
fn words(bad: &str, message: &str) -> (String, &'static str, Option<String>) {
    let help = |text: &str| Some(text.to_owned());
    if message.starts_with("No closing '}'") {
        return ("this block is never closed".to_owned(), "no `}` for this", help("every `{` needs its `}`"));
    }
    if message.starts_with("Expected end of document") && bad.starts_with('}') {
        return ("this `}` closes nothing".to_owned(), "one too many", help("take it out, or look above for a block that ended too early"));
    }
    if message.starts_with("Unexpected newline in single-line") {
        let advice = "add the closing `\"`; a text of several lines stands between `\"\"\"` and `\"\"\"`, each on a line of its own";
        return ("this text is never closed".to_owned(), "no closing quote on this line", help(advice));
    }
    if message.contains("multi-line comment") {
        return ("this comment is never closed".to_owned(), "no `*/` for this", help("close it with `*/`"));
    }
    if message.starts_with("Expected property value") && bad.ends_with('=') {
        let name = bad.trim_end_matches('=');
        return (
            format!("`{name}` has no value"),
            "a value is missing after this",
            Some(format!("write the value directly behind `=`: `{name}=…`")),
        );
    }
    if message.starts_with("Expected property value") || message.starts_with("Expected identifier") {
        return (format!("`{}` is no value of KDL", bad.rsplit('=').next().unwrap_or(bad)), "not a value", None);
    }
    (message.to_owned(), "", None)
}

/// The first `{` whose `}` stands first on its line, but not below the beginning of the line of the `{`.
fn misfit(text: &str) -> Option<usize> {
    let indent = |at: usize| {
        let line = &text[text[..at].rfind('\n').map_or(0, |newline| newline + 1)..];
        line.len() - line.trim_start().len()
    };
    let mut open = Vec::new();
    for token in tokens(text, 0) {
        match token.kind {
            TokenKind::Open => open.push(token.start),
            TokenKind::Close => {
                let start = open.pop()?;
                let first = text[..token.start]
                    .rfind('\n')
                    .map_or(&text[..token.start], |newline| &text[newline + 1..token.start])
                    .trim()
                    .is_empty();
                if first && indent(token.start) < indent(start) {
                    return Some(start);
                }
            }
            _ => {}
        }
    }
    None
}

/// What to type instead, for the mistakes that people who know KDL 1 or YAML make.
fn spelling_help(bad: &str) -> Option<String> {
    let value = bad.rsplit('=').next().unwrap_or(bad).trim();
    match value {
        "true" | "false" => Some(format!("write `#{value}` for the boolean, `\"{value}\"` for the word")),
        "null" | "inf" | "-inf" | "nan" => Some(format!("`{value}` is a word of KDL: write `\"{value}\"` for the text")),
        _ if value.starts_with(|first: char| first.is_ascii_digit()) && !value.contains('"') && !value.is_empty() => {
            Some(format!("what starts with a digit and is no number needs quotes: `\"{value}\"`"))
        }
        _ => None,
    }
}
