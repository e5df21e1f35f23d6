//! Who approved which plan: plans/NNNN-slug.approvals.kdl, one line each, to be committed.

use std::path::Path;

use crate::catalog::Fingerprint;
use crate::kdl::{Diagnostics, Document, Finding, Findings, NodeOut, Sources, render};

/// One approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// The hash of the plan as it was then.
    pub plan: Fingerprint,
    /// Name and mail address.
    pub by: String,
    /// When, UTC, as RFC 3339.
    pub at: String,
}

/// The line that records it.
#[must_use]
pub fn write_approval(approval: &Approval) -> String {
    let Approval { plan, by, at } = approval;
    render(&[NodeOut::new("approval").prop("plan", plan.0.as_str()).prop("by", by.as_str()).prop("at", at.as_str())])
}

/// Reads the text of the approvals' file at `path`.
///
/// # Errors
/// Everything that is wrong in it.
pub fn read_approvals(path: &Path, text: &str) -> Result<Vec<Approval>, Diagnostics> {
    let mut sources = Sources::new();
    let file = sources.add(path, text);
    let document = Document::parse_in(&sources, file).map_err(|findings| findings.into_report(&sources))?;
    let f = &mut Findings::new();
    let mut approvals = Vec::new();
    for mut node in document.nodes() {
        if node.name() != "approval" {
            node.unknown("a file of approvals", &["approval"], f);
            continue;
        }
        let [plan, by, at] = ["plan", "by", "at"].map(|name| {
            let value = node.value(name, f).map(|text| text.value);
            if value.is_none() {
                f.push(Finding::at(node.span(), format!("`approval` needs `{name}`")).help("`schema approve` writes such lines"));
            }
            value
        });
        node.finish(f);
        if let (Some(plan), Some(by), Some(at)) = (plan, by, at) {
            approvals.push(Approval { plan: Fingerprint(plan), by, at });
        }
    }
    std::mem::take(f).or_report(&sources, approvals)
}
