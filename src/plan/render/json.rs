//! A plan for other programs.

use serde::Serialize;

use super::super::plan::Plan;
use super::Context;
use crate::plan::rehearsal::Rehearsal;

/// The plan as JSON, pretty-printed with a newline at its end. `"format": 1` versions its shape.
///
/// # Panics
/// Never: a plan is plain data with string keys.
#[must_use]
pub fn json(plan: &Plan, context: &Context) -> String {
    #[derive(Serialize)]
    struct Versioned<'p> {
        format: u32,
        hash: String,
        #[serde(flatten)]
        plan: &'p Plan,
        #[serde(skip_serializing_if = "Option::is_none")]
        rehearsal: Option<&'p Rehearsal>,
    }
    let versioned = Versioned { format: 1, hash: crate::plan::file::hash(plan).to_string(), plan, rehearsal: context.rehearsal.as_ref() };
    let mut text = serde_json::to_string_pretty(&versioned).expect("a plan is plain data with string keys");
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use crate::plan::render::Context;
    use crate::plan::{Plan, sample};

    #[test]
    fn it_reads_back() {
        let plan = sample::severity_level();
        let text = super::json(&plan, &Context::default());
        assert_eq!(serde_json::from_str::<Plan>(&text).expect("valid"), plan);
        insta::assert_snapshot!(text);
    }
}
