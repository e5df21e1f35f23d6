//! Which hazards run, which must be allowed by name, which never run. A pure function of a plan
//! and the policy of an environment.

use serde::{Deserialize, Serialize};

use super::op::Hazard;
use super::plan::{Plan, Proof};

/// What a policy says about one hazard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// It runs, and is shown.
    Allow,
    /// The authors of the plan must have allowed it by name.
    Ask,
    /// It never runs.
    Forbid,
}

impl Rule {
    /// Every rule, mildest first.
    pub const ALL: [Self; 3] = [Self::Allow, Self::Ask, Self::Forbid];

    /// The word in schema.kdl.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Ask => "ask",
            Self::Forbid => "forbid",
        }
    }

    /// The inverse of [`Self::name`].
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| rule.name() == name)
    }
}

/// A rule for every hazard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// In the order of [`Hazard::ALL`].
    rules: [Rule; Hazard::ALL.len()],
}

impl Default for Policy {
    /// What loses data, breaks clients or blocks them is asked for; the rest is shown.
    fn default() -> Self {
        Self { rules: Hazard::ALL.map(default_rule) }
    }
}

/// The rule where no configuration says otherwise.
const fn default_rule(hazard: Hazard) -> Rule {
    match hazard {
        Hazard::DropTable
        | Hazard::DropColumn
        | Hazard::DropData
        | Hazard::LossyCast
        | Hazard::Breaking
        | Hazard::Blocking
        | Hazard::Rewrite
        | Hazard::Irreversible
        | Hazard::Revoke => Rule::Ask,
        Hazard::DropIndex | Hazard::SideEffects | Hazard::RowShape | Hazard::Prepared | Hazard::UpsertRace | Hazard::Unproven => {
            Rule::Allow
        }
    }
}

impl Policy {
    /// The rule for one hazard.
    #[must_use]
    pub const fn rule(&self, hazard: Hazard) -> Rule {
        self.rules[hazard as usize]
    }

    /// Changes the rule for one hazard.
    pub const fn set(&mut self, hazard: Hazard, rule: Rule) {
        self.rules[hazard as usize] = rule;
    }

    /// Changes the rule for every hazard.
    pub const fn set_all(&mut self, rule: Rule) {
        self.rules = [rule; Hazard::ALL.len()];
    }
}

/// How a hazard of a plan stands under a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing<'p> {
    /// The policy allows it.
    Permitted,
    /// The policy asks; the authors of the plan allowed it, for this reason.
    Allowed(Option<&'p str>),
    /// The policy asks, and nobody allowed it.
    Missing,
    /// The policy forbids it, whatever the plan says.
    Forbidden,
}

/// One hazard of a plan with all that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged<'p> {
    /// Which.
    pub hazard: Hazard,
    /// What it is about, in the order of the plan, each once.
    pub subjects: Vec<&'p str>,
    /// What the policy says.
    pub standing: Standing<'p>,
}

impl Judged<'_> {
    /// Whether the plan must not run because of it.
    #[must_use]
    pub const fn stops(&self) -> bool {
        matches!(self.standing, Standing::Missing | Standing::Forbidden)
    }
}

/// The hazards of a plan, in the order of [`Hazard::ALL`], each with what `policy` says of it.
#[must_use]
pub fn judge<'p>(plan: &'p Plan, policy: &Policy) -> Vec<Judged<'p>> {
    let judged = |hazard: Hazard| {
        let mut subjects: Vec<&str> = Vec::new();
        for note in plan.hazards.iter().filter(|note| note.hazard == hazard) {
            if !subjects.contains(&note.subject.as_str()) {
                subjects.push(&note.subject);
            }
        }
        if hazard == Hazard::Unproven && matches!(plan.proof, Proof::Edited(_)) {
            subjects.push("its steps were edited since it was proven");
        }
        if subjects.is_empty() {
            return None;
        }
        let allowance = plan.allowances.iter().find(|allowance| allowance.hazard == hazard);
        let standing = match (policy.rule(hazard), allowance) {
            (Rule::Forbid, _) => Standing::Forbidden,
            (_, Some(allowance)) => Standing::Allowed(allowance.reason.as_deref()),
            (Rule::Allow, None) => Standing::Permitted,
            (Rule::Ask, None) => Standing::Missing,
        };
        Some(Judged { hazard, subjects, standing })
    };
    Hazard::ALL.into_iter().filter_map(judged).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::plan::{Allowance, HazardNote};

    #[test]
    fn rules_are_kept_in_the_order_of_all() {
        for (index, hazard) in Hazard::ALL.into_iter().enumerate() {
            assert_eq!(hazard as usize, index);
        }
    }

    #[test]
    fn a_plan_may_allow_what_is_asked_for_but_not_what_is_forbidden() {
        let note = |hazard, subject: &str| HazardNote { hazard, subject: subject.into() };
        let plan = Plan {
            hazards: vec![
                note(Hazard::Breaking, "b"),
                note(Hazard::DropTable, "t"),
                note(Hazard::DropTable, "t"),
                note(Hazard::DropIndex, "i"),
            ],
            allowances: vec![Allowance { hazard: Hazard::Breaking, reason: Some("r".into()) }],
            ..Plan::default()
        };
        let mut policy = Policy::default();
        let standings =
            |policy: &Policy| judge(&plan, policy).into_iter().map(|j| (j.hazard, j.subjects.len(), j.standing)).collect::<Vec<_>>();
        assert_eq!(
            standings(&policy),
            [
                (Hazard::DropTable, 1, Standing::Missing),
                (Hazard::DropIndex, 1, Standing::Permitted),
                (Hazard::Breaking, 1, Standing::Allowed(Some("r"))),
            ]
        );
        policy.set_all(Rule::Forbid);
        assert!(judge(&plan, &policy).iter().all(Judged::stops));
        policy.set_all(Rule::Allow);
        assert!(!judge(&plan, &policy).iter().any(Judged::stops));
    }
}
