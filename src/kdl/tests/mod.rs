//! Tests of the KDL room; the property tests share one generator of documents.

mod cursor;
mod edit;
mod format;
mod generate;
mod write;

use super::{Document, FileId, Findings, Sources};

const FILE: FileId = FileId(0);

fn sources(text: &str) -> Sources {
    let mut sources = Sources::new();
    sources.add("schema/a.kdl", text);
    sources
}

fn parse(text: &str) -> (Sources, Document) {
    let sources = sources(text);
    let document = Document::parse_in(&sources, FILE).expect("the test's text is valid KDL");
    (sources, document)
}

/// Each finding as `text at the span: message | help`.
fn shown(sources: &Sources, findings: &Findings) -> Vec<String> {
    findings
        .0
        .iter()
        .map(|finding| {
            let at = finding.span.map_or("", |span| sources.slice(span));
            let help = finding.help.as_ref().map(|help| format!(" | {help}")).unwrap_or_default();
            format!("{at}: {}{help}", finding.message)
        })
        .collect()
}
