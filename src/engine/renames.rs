//! Names that go round: a rename to a name that something else has, which would go for it. What was renamed long ago has
//! its new name and not the old one, and `was` is history.

use indexmap::IndexMap;

use crate::catalog::{Catalog, Id};
use crate::kdl::{Finding, Findings};
use crate::kind::lowering::{Hints, Origin};

/// Looks at every object that has both names.
pub fn check<'o>(live: &Catalog, desired: &Catalog, hints: &Hints, origins: impl Fn() -> &'o IndexMap<Id, Origin>) -> Findings {
    let mut findings = Findings::new();
    // A table may take the place of one that is renamed; a column that goes on as it is was not another one.
    let goes_on = |(new, old): &(&Id, &Id)| {
        new.kind == "column" && live.contains(old) && !live.contains(new) && desired.contains(old) && !hints.renames.contains_key(*old)
    };
    for (new, old) in hints.renames.iter().filter(goes_on) {
        let text = format!("{new} was {}, and {} goes on in the source too", old.name(), old.name());
        let place = origins().get(new).map(|origin| origin.was(old.name()));
        let help =
            format!("take {} out; or take `was` out, and say `backfill {}` if it is to begin with its values", old.name(), old.name());
        findings.push(match place {
            Some(span) => Finding::at(span, text).label("here").help(help),
            None => Finding::general(text).help(help),
        });
    }
    for (new, old) in hints.renames.iter().filter(|(new, old)| live.contains(new) && live.contains(old)) {
        // The one that has the name now.
        let next = hints.renames.iter().find(|(_, from)| *from == new).map(|(id, _)| id);
        let swapped = next.is_some_and(|next| hints.renames.get(old) == Some(new) && next == old);
        if desired.contains(old) && !swapped {
            continue;
        }
        let text = format!("{new} was {}, and {} is there already", old.name(), new.name());
        let help = match next {
            Some(next) if swapped => {
                format!("{} and {} cannot change names in one plan: give one of them a third name first", new.name(), next.name())
            }
            Some(next) => format!("make two plans of it: let {} become {} first", new.name(), next.name()),
            None => format!("take `was` out, if {} may go with what it holds; or drop {} in a plan before", old.name(), new.name()),
        };
        let place = origins().get(new).map(|origin| origin.was(old.name()));
        findings.push(match place {
            Some(span) => Finding::at(span, text).label("here").help(help),
            None => Finding::general(text).help(help),
        });
    }
    findings.0.extend(met_nothing(live, desired, hints, origins).0);
    findings
}

/// A `was` that names nothing, where something of its kind goes: that may be what is meant, and would be lost. (In a
/// database in which nothing of the kind goes, `was` is history that it never had.)
fn met_nothing<'o>(live: &Catalog, desired: &Catalog, hints: &Hints, origins: impl Fn() -> &'o IndexMap<Id, Origin>) -> Findings {
    let mut findings = Findings::new();
    for (new, old) in hints.renames.iter().filter(|(new, old)| !live.contains(new) && !live.contains(old)) {
        let of_same = |id: &&Id| {
            id.kind == old.kind && id.path.len() == old.path.len() && id.path[..id.path.len() - 1] == old.path[..old.path.len() - 1]
        };
        let taken = |id: &Id| hints.renames.values().any(|other| other == id);
        let going: Vec<&str> = live.objects.keys().filter(of_same).filter(|id| !desired.contains(id) && !taken(id)).map(Id::name).collect();
        let Some(first) = going.first() else { continue };
        let meant = crate::kdl::suggest(old.name(), &going).unwrap_or(first);
        let text = format!("{new} was {}, which is not there, and {meant} goes", old.name());
        let help = format!("say `was={meant}` if that is meant, so that it keeps what it holds; or take `was` out");
        let place = origins().get(new).map(|origin| origin.was(old.name()));
        findings.push(match place {
            Some(span) => Finding::at(span, text).label("here").help(help),
            None => Finding::general(text).help(help),
        });
    }
    findings
}
