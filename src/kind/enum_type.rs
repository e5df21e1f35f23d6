//! An enumerated type: `enum mood sad ok happy`.

use serde::{Deserialize, Serialize};

use super::{Kind, Lowering, Row, Scope, row, schema::Schema};
use crate::catalog::id::literal;
use crate::catalog::{Id, Ident};
use crate::kdl::{Node, NodeOut};
use crate::plan::op::{Action, Alteration, Transaction};

/// A type and its values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EnumType {
    /// Its schema.
    pub schema: Ident,
    /// Its name.
    pub name: Ident,
    /// Its labels, in their order.
    pub values: Vec<Ident>,
}

impl EnumType {
    /// `backfill happy with=ok`: what rows get that hold a value which the type has no longer.
    fn read_backfills(node: &mut Node<'_>, name: &str, values: &[Ident], out: &mut Lowering) -> Vec<(Ident, Ident)> {
        let mut instead = Vec::new();
        for mut child in node.children("backfill") {
            let (Some(gone), with) = (child.arg("a value that goes", &mut out.findings), child.value("with", &mut out.findings)) else { continue };
            let place = child.title();
            child.finish(&mut out.findings);
            let Some(with) = with else {
                let finding = crate::kdl::Finding::at(place, format!("what do rows get that hold `{}`?", gone.value));
                out.findings.push(finding.help(format!("say it: backfill {} with=…", gone.value)));
                continue;
            };
            let has = |value: &str| values.iter().any(|other| other == value);
            if has(&gone.value) {
                out.complain(&gone, format!("`{}` is a value of enum {name}: its rows keep it", gone.value), "take it from the values, or take `backfill` out");
            } else if !has(&with.value) {
                out.complain(&with, format!("enum {name} has no value `{}`", with.value), "name one of its values");
            } else {
                instead.push((Ident::new(&gone.value), Ident::new(&with.value)));
            }
        }
        instead
    }

    /// Whether the values that both types have stand in the same order.
    #[must_use]
    pub fn is_ordered_as(&self, other: &Self) -> bool {
        let both = |one: &Self, two: &Self| one.values.iter().filter(|value| two.values.contains(value)).cloned().collect::<Vec<_>>();
        both(self, other) == both(other, self)
    }
}

impl Kind for EnumType {
    const KEYWORD: &'static str = "enum";
    const CATALOG: &'static str = "pg_type";
    const PARENTS: &'static [&'static str] = &["schema"];
    cast_to!(EnumType);

    fn query(_server: u32) -> Option<String> {
        Some(format!(
            "SELECT t.oid::int8, 0::int8, n.nspname::text, t.typname::text, \
             ARRAY(SELECT e.enumlabel::text FROM pg_enum e WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder) \
             FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace \
             WHERE t.typtype = 'e' AND {} AND {} ORDER BY 3, 4",
            row::in_user_schema("t.typnamespace"),
            row::not_extension_member("pg_type", "t.oid")
        ))
    }

    fn from_row(row: &mut Row<'_>) -> Self {
        Self { schema: row.name(), name: row.name(), values: row.names() }
    }

    fn read(node: &mut Node<'_>, at: &Scope<'_>, out: &mut Lowering) -> Option<Id> {
        let name = node.arg("a name", &mut out.findings)?;
        let mut labels = node.args();
        let mut renames = Vec::new();
        for mut child in node.children("value") {
            let Some(label) = child.arg("a label", &mut out.findings) else { continue };
            if let Some(was) = child.value("was", &mut out.findings) {
                renames.push((Ident::new(&label.value), Ident::new(&was.value)));
            }
            child.finish(&mut out.findings);
            labels.push(label);
        }
        let mut values: Vec<Ident> = Vec::new();
        for label in labels {
            let value = Ident::new(&label.value);
            if values.contains(&value) {
                out.findings.push(crate::kdl::Finding::at(label.span, format!("enum {} has the value `{value}` twice", name.value)).label("a second time here").help("keep one of them"));
            } else {
                values.push(value);
            }
        }
        let instead = Self::read_backfills(node, &name.value, &values, out);
        let id = out.put(node, Self { schema: Ident::new(at.schema), name: Ident::new(&name.value), values });
        out.hints.part_renames.extend(renames.into_iter().map(|(new, old)| ((id.clone(), new), old)));
        out.hints.value_backfills.extend(instead.into_iter().map(|(gone, value)| ((id.clone(), gone), value)));
        Some(id)
    }

    fn write<'n>(&self, parent: &'n mut NodeOut) -> &'n mut NodeOut {
        let Self { schema: _, name, values } = self;
        let node = values.iter().fold(NodeOut::new(Self::KEYWORD).arg(name.as_str()), |node, value| node.arg(value.as_str()));
        parent.add(node)
    }

    fn id(&self) -> Id {
        Id::new(Self::KEYWORD, [self.schema.clone(), self.name.clone()])
    }

    fn parent(&self) -> Option<Id> {
        Some(Schema::id_of(&self.schema))
    }

    fn create(&self) -> Action {
        let Self { schema: _, name: _, values } = self;
        let values = values.iter().map(|value| literal(value)).collect::<Vec<_>>().join(", ");
        Action::new(format!("Create {}", self.id())).sql(format!("CREATE TYPE {} AS ENUM ({values})", self.id().sql()))
    }

    fn drop(&self) -> Action {
        Action::new(format!("Drop {}", self.id())).sql(format!("DROP TYPE {}", self.id().sql()))
    }

    fn alter(old: &Self, new: &Self) -> Alteration {
        let Self { schema: _, name: _, values } = new;
        let kept = values.iter().filter(|value| old.values.contains(value));
        if !kept.eq(old.values.iter()) {
            // There is no ALTER TYPE that drops or moves a value (manual, ALTER TYPE).
            return Alteration::Replace;
        }
        let id = new.id();
        let mut last_kept = None;
        for (index, value) in values.iter().enumerate() {
            if old.values.contains(value) {
                last_kept = Some(index);
            }
        }
        let mut actions = Vec::new();
        for (index, value) in values.iter().enumerate() {
            if old.values.contains(value) {
                continue;
            }
            // What stands before a new value is there by then, old or just added.
            let place = match (index, old.values.first()) {
                (0, Some(first)) => format!(" BEFORE {}", literal(first)),
                _ if last_kept.is_none_or(|kept| kept < index) => String::new(),
                _ => format!(" AFTER {}", literal(&values[index - 1])),
            };
            actions.push(
                Action::new(format!("Add the value {value} to {id}"))
                    .sql(format!("ALTER TYPE {} ADD VALUE {}{place}", id.sql(), literal(value)))
                    // It cannot be used before the commit (manual, ALTER TYPE, Notes).
                    .transaction(Transaction::CommitAfter),
            );
        }
        Alteration::Act(actions)
    }

    fn rename(old: &Id, new: &Id) -> Option<Action> {
        Some(super::table::rename_in_schema("TYPE", old, new))
    }

    fn address(id: &Id) -> String {
        format!("TYPE {}", id.sql())
    }

    fn grant_address(id: &Id) -> Option<String> {
        Some(format!("TYPE {}", id.sql()))
    }

    fn relation_name(&self) -> Option<String> {
        Some(self.id().sql())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::round_trip;

    fn level(values: &[&str]) -> EnumType {
        EnumType { schema: "app".into(), name: "level".into(), values: values.iter().map(Ident::new).collect() }
    }

    fn added(old: &[&str], new: &[&str]) -> Vec<String> {
        match EnumType::alter(&level(old), &level(new)) {
            Alteration::Act(actions) => {
                assert!(actions.iter().all(|action| action.transaction == Transaction::CommitAfter));
                actions.into_iter().flat_map(|action| action.sql).collect()
            }
            _ => vec!["replace".to_owned()],
        }
    }

    #[test]
    fn create() {
        assert_eq!(level(&["low", "it's"]).create().sql, ["CREATE TYPE app.level AS ENUM ('low', 'it''s')"]);
        assert_eq!(level(&[]).create().sql, ["CREATE TYPE app.level AS ENUM ()"]);
    }

    #[test]
    fn values_are_added_where_they_stand() {
        assert_eq!(
            added(&["b", "d"], &["a", "a2", "b", "c", "d", "e", "f"]),
            [
                "ALTER TYPE app.level ADD VALUE 'a' BEFORE 'b'",
                "ALTER TYPE app.level ADD VALUE 'a2' AFTER 'a'",
                "ALTER TYPE app.level ADD VALUE 'c' AFTER 'b'",
                "ALTER TYPE app.level ADD VALUE 'e'",
                "ALTER TYPE app.level ADD VALUE 'f'",
            ]
        );
        assert_eq!(added(&[], &["a", "b"]), ["ALTER TYPE app.level ADD VALUE 'a'", "ALTER TYPE app.level ADD VALUE 'b'"]);
    }

    #[test]
    fn removed_and_moved_values_need_a_new_type() {
        assert_eq!(added(&["a", "b"], &["a"]), ["replace"]);
        assert_eq!(added(&["a", "b"], &["b", "a"]), ["replace"]);
    }

    #[test]
    fn reads_back() {
        let text = round_trip::check(&level(&["null", "1st", "PG-13", "true", "it's", "7"]));
        assert_eq!(text, "enum level \"null\" \"1st\" PG-13 \"true\" \"it's\" \"7\"\n");
        round_trip::check(&level(&[]));
    }
}
