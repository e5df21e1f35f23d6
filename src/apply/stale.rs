//! Whether a plan still fits the database: what it relies on is as it was, and what it assumes holds. Pure.

use std::collections::BTreeMap;
use std::fmt;

use crate::catalog::{Catalog, Fingerprint, Id};
use crate::plan::Plan;
use crate::plan::plan::RowsBound;

/// A reason why a plan no longer fits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stale {
    /// An object is not as it was.
    Changed {
        /// What the plan relies on.
        object: Id,
        /// The object itself, or what hangs on it, that changed.
        part: Id,
    },
    /// An object is not there any more.
    Gone {
        /// What the plan relies on.
        object: Id,
        /// The object itself, or what hung on it, that is gone.
        part: Id,
    },
    /// Something new hangs on an object.
    New {
        /// What the plan relies on.
        object: Id,
        /// What is new.
        part: Id,
    },
    /// A table has outgrown the recipe that was chosen for it.
    Grown {
        /// The table.
        table: Id,
        /// The number of rows up to which the recipe was chosen.
        at_most: u64,
        /// The number that the server estimates now.
        rows: u64,
    },
}

impl fmt::Display for Stale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed { object, part } if object == part => write!(f, "{object} changed"),
            Self::Changed { object, part } => write!(f, "{part} changed (the plan relies on {object})"),
            Self::Gone { object, part } if object == part => write!(f, "{object} is gone"),
            Self::Gone { object, part } => write!(f, "{part} is gone (the plan relies on {object})"),
            Self::New { object, part } => write!(f, "{part} is new (the plan relies on {object})"),
            Self::Grown { table, at_most, rows } => {
                write!(f, "{table} has about {rows} rows; the plan was made for at most {at_most}, and would block its clients")
            }
        }
    }
}

/// What moved among the objects that `plan` relies on, in its order; empty: it fits.
///
/// `parts_of` gives the live ids that make up an object: itself and everything that hangs on it.
#[must_use]
pub fn check_reliance(plan: &Plan, live: &Catalog, parts_of: impl Fn(&Id) -> Vec<Id>) -> Vec<Stale> {
    let mut stale = Vec::new();
    for reliance in &plan.relies_on {
        let object = || reliance.id.clone();
        let ids = parts_of(&reliance.id);
        let (together, now) = Fingerprint::of_parts(live, &ids);
        if together == reliance.fingerprint {
            continue;
        }
        if !live.contains(&reliance.id) {
            stale.push(Stale::Gone { object: object(), part: object() });
            continue;
        }
        let before: BTreeMap<_, _> = reliance.parts.iter().map(|(id, fingerprint)| (id, fingerprint)).collect();
        let now: BTreeMap<_, _> = now.iter().map(|(id, fingerprint)| (id, fingerprint)).collect();
        let found = stale.len();
        for (id, fingerprint) in &before {
            match now.get(id) {
                None => stale.push(Stale::Gone { object: object(), part: (*id).clone() }),
                Some(current) if current != fingerprint => stale.push(Stale::Changed { object: object(), part: (*id).clone() }),
                Some(_) => {}
            }
        }
        for id in now.keys().filter(|id| !before.contains_key(*id)) {
            stale.push(Stale::New { object: object(), part: (*id).clone() });
        }
        if stale.len() == found {
            // A plan without parts, or one whose parts were edited: that it moved is all that is known.
            stale.push(Stale::Changed { object: object(), part: object() });
        }
    }
    stale
}

/// Which tables have outgrown what `plan` assumes of them. `rows_of` gives the server's estimate, `None` where it has
/// none: that says nothing against the plan.
#[must_use]
pub fn check_assumptions(plan: &Plan, rows_of: impl Fn(&Id) -> Option<u64>) -> Vec<Stale> {
    let grown = |assumption: &crate::plan::plan::Assumption| match assumption.rows {
        // The staged recipe does no harm to a small table.
        RowsBound::Over(_) => None,
        RowsBound::AtMost(at_most) => {
            let rows = rows_of(&assumption.table).filter(|rows| *rows > at_most)?;
            Some(Stale::Grown { table: assumption.table.clone(), at_most, rows })
        }
    };
    plan.assumes.iter().filter_map(grown).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::Object;
    use crate::kind::schema::Schema;
    use crate::plan::plan::{Assumption, Reliance};

    fn schemas(names: &[&str]) -> Catalog {
        let mut catalog = Catalog::default();
        for name in names {
            catalog.put(Object::Schema(Schema { name: (*name).into() }));
        }
        catalog
    }

    /// What a plan made on `names` relies on, as the parts of `a`; the fingerprint of `b` is replaced by `b_was`.
    fn plan(names: &[&str], b_was: Option<&Fingerprint>) -> Plan {
        let catalog = schemas(names);
        let ids: Vec<Id> = names.iter().map(|name| Schema::id_of(name)).collect();
        let (mut fingerprint, mut parts) = Fingerprint::of_parts(&catalog, &ids);
        for part in parts.iter_mut().filter(|(id, _)| *id == Schema::id_of("b")) {
            part.1 = b_was.cloned().unwrap_or_else(|| part.1.clone());
        }
        if b_was.is_some() {
            fingerprint = Fingerprint::of(&parts);
        }
        Plan { relies_on: vec![Reliance { id: Schema::id_of("a"), fingerprint, parts }], ..Plan::default() }
    }

    fn found(plan: &Plan, live: &[&str]) -> Vec<String> {
        let all = live.iter().map(|name| Schema::id_of(name)).collect::<Vec<_>>();
        check_reliance(plan, &schemas(live), |_| all.clone()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_moved_is_named() {
        assert_eq!(found(&plan(&["a", "b"], None), &["a", "b"]), [""; 0]);
        assert_eq!(found(&plan(&["a", "b"], None), &["a"]), ["schema b is gone (the plan relies on schema a)"]);
        assert_eq!(found(&plan(&["a"], None), &["a", "b"]), ["schema b is new (the plan relies on schema a)"]);
        assert_eq!(
            found(&plan(&["a", "b"], Some(&Fingerprint::default())), &["a", "b"]),
            ["schema b changed (the plan relies on schema a)"]
        );
        assert_eq!(found(&plan(&["a", "b"], None), &["b"]), ["schema a is gone"]);
    }

    #[test]
    fn a_table_that_grew() {
        let table = Id::new("table", ["public", "t"]);
        let assumes = [RowsBound::AtMost(10), RowsBound::Over(10)].map(|rows| Assumption { table: table.clone(), rows });
        let plan = Plan { assumes: assumes.to_vec(), ..Plan::default() };
        assert_eq!(check_assumptions(&plan, |_| Some(10)), []);
        assert_eq!(check_assumptions(&plan, |_| None), []);
        assert_eq!(check_assumptions(&plan, |_| Some(11)), [Stale::Grown { table, at_most: 10, rows: 11 }]);
    }
}
