//! Plans, approvals and rehearsals as KDL: what people review and commit.
//!
//! Format 1. Whatever a [`Plan`] holds reads back to the byte. Every statement is a node of its own
//! with a closing semicolon that belongs to the file, not to the statement: nothing has to split
//! SQL.

mod approval;
mod evidence;
mod gate;
mod read;
mod write;

pub use self::approval::{Approval, read_approvals, write_approval};
pub use self::evidence::{read_rehearsal, write_rehearsal};
pub use self::gate::{gate_node, read_gate};
pub use self::read::{parse_id, read};
pub use self::write::write;
use super::plan::Plan;
use crate::catalog::Fingerprint;

/// The format that is written, and the only one that is read.
pub const FORMAT: u32 = 1;

/// What is approved and what the ledger knows a plan by: steps, hazards, allowances and what it
/// relies on. Not its number, name, maker, summary or proof.
#[must_use]
pub fn hash(plan: &Plan) -> Fingerprint {
    let Plan {
        name: _,
        made_by: _,
        elaborated_on: _,
        from: _,
        to: _,
        summary: _,
        proof: _,
        relies_on,
        assumes,
        hazards,
        allowances,
        stages,
        gate,
    } = plan;
    Fingerprint::of(&(FORMAT, relies_on, assumes, hazards, allowances, stages, gate))
}

/// What a proof is of: the steps.
fn proven(plan: &Plan) -> Fingerprint {
    Fingerprint::of(&plan.stages)
}

#[cfg(test)]
mod tests;
