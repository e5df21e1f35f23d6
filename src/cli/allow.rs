//! `--allow HAZARD,…`

use crate::kdl::suggest;
use crate::plan::Plan;
use crate::plan::op::Hazard;
use crate::plan::plan::Allowance;

/// One word of `--allow`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// Every hazard that the plan has.
    All,
    /// One hazard.
    One(Hazard),
}

/// Reads one word of `--allow`.
///
/// # Errors
/// A word that is no hazard, with the nearest that is.
pub fn allowed(word: &str) -> Result<Allowed, String> {
    if word == "all" {
        return Ok(Allowed::All);
    }
    Hazard::from_name(word).map(Allowed::One).ok_or_else(|| {
        let names = Hazard::ALL.map(Hazard::name);
        match suggest(word, &names) {
            Some(near) => format!("no such hazard; did you mean `{near}`?"),
            None => format!("no such hazard; there are all, {}", names.join(", ")),
        }
    })
}

/// Records in a plan what is allowed of the hazards that it has, each once, in the order of
/// [`Hazard::ALL`].
pub fn allow(plan: &mut Plan, allowed: &[Allowed], because: Option<&str>) {
    for hazard in Hazard::ALL {
        let wanted = allowed.contains(&Allowed::All) || allowed.contains(&Allowed::One(hazard));
        let there = plan.hazards.iter().any(|note| note.hazard == hazard);
        if wanted && there && !plan.allowances.iter().any(|allowance| allowance.hazard == hazard) {
            plan.allowances.push(Allowance { hazard, reason: because.map(str::to_owned) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::sample;

    #[test]
    fn only_what_the_plan_has() {
        let mut plan = sample::severity_level();
        allow(&mut plan, &[Allowed::All], Some("because"));
        let names: Vec<_> = plan.allowances.iter().map(|allowance| (allowance.hazard.name(), allowance.reason.as_deref())).collect();
        assert_eq!(names, [("row-shape", Some("nothing uses COPY since 2.4")), ("drop-column", Some("because"))]);
        assert_eq!(allowed("drop-colum"), Err("no such hazard; did you mean `drop-column`?".into()));
    }
}
