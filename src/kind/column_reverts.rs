//! `revert` of a column: the way back to what it was, or, with `of=`, to a column that it takes the place of.

use super::Lowering;
use super::lowering::GivenBack;
use crate::catalog::Id;
use crate::kdl::{Node, Text};

/// Every `revert` of a column, with the column that it gives back, where that is another one.
pub(super) fn read(node: &mut Node<'_>, out: &mut Lowering) -> Vec<(Text, Option<Text>)> {
    let mut reverts = Vec::new();
    for mut revert in node.children("revert") {
        let expression = revert.arg("an expression", &mut out.findings);
        let of = revert.value("of", &mut out.findings);
        revert.finish(&mut out.findings);
        reverts.extend(expression.map(|expression| (expression, of)));
    }
    reverts
}

/// Puts each of them where the planner looks for it.
pub(super) fn put(id: &Id, reverts: Vec<(Text, Option<Text>)>, has_backfill: bool, out: &mut Lowering) {
    for (expression, of) in reverts {
        let Some(of) = of else {
            if out.hints.reverts.contains_key(id) {
                out.complain(
                    &expression,
                    format!("column `{}` has two ways back", id.name()),
                    "say of which column each is: revert \"…\" of=…",
                );
            }
            out.hints.reverts.insert(id.clone(), expression.value);
            continue;
        };
        let old = id.renamed(&of.value);
        if old == *id {
            out.complain(
                &of,
                format!("column `{}` cannot give itself back", id.name()),
                "name the column that goes, or leave `of` out where the column keeps its name",
            );
        } else if !has_backfill {
            let help = format!("say how the column is computed from it: backfill \"an expression over {}\"", of.value);
            out.complain(&of, format!("column `{}` gives {} back, and has no `backfill`", id.name(), of.value), help);
        } else if let Some(other) = out.hints.given_back.get(&old) {
            let message = format!("column `{}` is given back twice, by `{}` too", of.value, other.by.name());
            out.complain(&of, message, "keep one of the two");
        } else {
            out.hints.given_back.insert(old, GivenBack { by: id.clone(), expression: expression.value });
        }
    }
}
