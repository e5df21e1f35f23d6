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
            return Err(error(&text, (token.start, token.end), "these blocks stand inside each other too deep", "more than 100 levels are not read"));
        }
    }
    for (start, end) in long_comments {
        if end < start + 4 || !text[..end].ends_with("*/") {
            return Err(error(&text, (start, start + 2), "this comment is not closed", "close it with `*/`; comments inside it are closed on their own"));
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

/// The parser's own diagnostics, one finding each. Where it stumbled over the same place several times, the first says most.
pub(super) fn findings(file: FileId, text: &str, error: &::kdl::KdlError) -> Findings {
    let mut findings = Findings::new();
    let mut last = None;
    for diagnostic in &error.diagnostics {
        let offset = diagnostic.span.offset().min(text.len());
        let end = (offset + diagnostic.span.len()).min(text.len());
        let span = Span::new(file, offset, end);
        if last == Some(span) {
            continue;
        }
        last = Some(span);
        if findings.len() == MAX_ERRORS {
            findings.push(Finding::at(span, "there are more syntax errors from here on").code("kdl::syntax"));
            break;
        }
        let bad = text.get(offset..end).unwrap_or("").trim();
        let mut finding = Finding::at(span, diagnostic.message.clone().unwrap_or_else(|| "this is no valid KDL".to_owned()))
            .label(diagnostic.label.clone().unwrap_or_default())
            .code("kdl::syntax");
        finding.help = spelling_help(bad).or_else(|| diagnostic.help.clone());
        findings.push(finding);
    }
    if findings.is_empty() {
        findings.push(Finding::at(Span::new(file, 0, 0), "this file is no valid KDL").code("kdl::syntax"));
    }
    findings
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
