//! Renamed values of enums and attributes of composite types: in place, as PostgreSQL can; clients
//! that name them must be told.

use std::collections::BTreeSet;

use crate::catalog::id::{literal, quote};
use crate::catalog::{Catalog, Id, Ident};
use crate::kind::column::columns_of;
use crate::kind::domain::Domain;
use crate::kind::table::Table;
use crate::kind::{Kind as _, Object};
use crate::plan::draft::{Context, Op};
use crate::plan::op::{Action, Hazard};
use crate::plan::plan::StageName;

/// The operation that renames a part of `owner`, and the state after it; nothing where the type is
/// not there, or has the new name already.
#[must_use]
pub fn rename(cx: &Context<'_>, live: &Catalog, owner: &Id, old: &Ident, new: &Ident) -> Option<(Op, Catalog)> {
    let mut object = live.get(owner)?.clone();
    let (word, from, to) = match &mut object {
        Object::EnumType(kind) => {
            replace(&mut kind.values, old, new)?;
            ("VALUE", literal(old), literal(new))
        }
        Object::Composite(kind) => {
            if kind.attributes.iter().any(|attribute| attribute.name == *new) {
                return None;
            }
            kind.attributes.iter_mut().find(|attribute| attribute.name == *old)?.name = new.clone();
            ("ATTRIBUTE", quote(old), quote(new))
        }
        _ => return None,
    };
    let statement = |from: &str, to: &str| vec![format!("ALTER TYPE {} RENAME {word} {from} TO {to}", owner.sql())];
    let mut action =
        Action { sql: statement(&from, &to), ..Action::new(format!("Rename {} {from} of {owner} to {to}", word.to_lowercase())) };
    if !cx.policy.direct {
        action = action.hazard(Hazard::Breaking, format!("statements that use {from} of {owner} fail"));
    }
    let op = Op::new(owner, action, StageName::Expand, "rename-part").undo(statement(&to, &from)).puts(object.clone());
    let mut after = live.clone();
    if word == "VALUE" {
        // Literals are stored as values: they deparse under the new name.
        let (written, now) = (format!("{from}::{}", owner.sql()), format!("{to}::{}", owner.sql()));
        let ending = format!("}}'::{}[]", owner.sql());
        let renamed = |text: &str| in_arrays(&text.replace(&written, &now), &ending, [old, new]);
        let divided = divided_by(live, owner);
        for other in after.objects.values_mut() {
            match other {
                // The bound of a partition is stored as a value, too.
                Object::Partition(place) if divided.contains(&place.parent) => place.bound = place.bound.replace(&from, &to),
                other => *other = substituted(other, &renamed),
            }
        }
    }
    after.objects.insert(owner.clone(), object);
    Some((op, after))
}

/// The partitioned tables that hold values of an enum, by which they may be divided.
fn divided_by(live: &Catalog, owner: &Id) -> BTreeSet<Id> {
    let of_enum = |name: &String| *name == owner.sql();
    let domains: Vec<String> = live.of::<Domain>().filter(|domain| of_enum(&domain.base)).map(|domain| domain.id().sql()).collect();
    let holds = |table: &Id| columns_of(live, table).any(|column| of_enum(&column.data_type) || domains.contains(&column.data_type));
    live.of::<Table>().filter(|table| table.partition_by.is_some()).map(Table::id).filter(holds).collect()
}

fn replace(values: &mut [Ident], old: &Ident, new: &Ident) -> Option<()> {
    if values.contains(new) {
        return None;
    }
    *values.iter_mut().find(|value| *value == old)? = new.clone();
    Some(())
}

/// The object with its SQL told otherwise.
fn substituted(object: &Object, renamed: &impl Fn(&str) -> String) -> Object {
    if object.texts().iter().all(|text| renamed(text) == **text) {
        return object.clone();
    }
    let mut value = serde_json::to_value(object).expect("objects are plain data");
    walk(&mut value, renamed);
    serde_json::from_value(value).expect("the shape stays")
}

fn walk(value: &mut serde_json::Value, renamed: &impl Fn(&str) -> String) {
    match value {
        serde_json::Value::String(text) => *text = renamed(text),
        serde_json::Value::Array(items) => items.iter_mut().for_each(|item| walk(item, renamed)),
        serde_json::Value::Object(fields) => fields.values_mut().for_each(|field| walk(field, renamed)),
        _ => {}
    }
}

/// A text in which array literals, each with this `ending`, name the second value where they named the first.
fn in_arrays(text: &str, ending: &str, [old, new]: [&str; 2]) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(end) = rest.find(ending) {
        let Some(start) = rest[..end].rfind("'{") else { break };
        let elements = rest[start + 2..end].split_inclusive([',', '{', '}']);
        out += &rest[..start + 2];
        for element in elements {
            let value = element.trim_end_matches([',', '{', '}']);
            out += if [escaped(old), format!("\"{}\"", escaped(old))].iter().any(|written| written == value) {
                in_array(new)
            } else {
                value.to_owned()
            }
            .as_str();
            out += &element[value.len()..];
        }
        out += ending;
        rest = &rest[end + ending.len()..];
    }
    out + rest
}

/// A value as it stands within a literal.
fn escaped(value: &str) -> String {
    let text = literal(value);
    text[1..text.len() - 1].to_owned()
}

/// A value as an element of an array literal (manual, 8.15.6).
fn in_array(value: &str) -> String {
    let quoted = value.is_empty()
        || value.eq_ignore_ascii_case("null")
        || value.contains(|letter: char| letter.is_whitespace() || "{},\"\\".contains(letter));
    let value = escaped(value);
    if quoted { format!("\"{}\"", value.replace('"', "\\\"")) } else { value }
}

#[cfg(test)]
mod tests {
    use super::in_arrays;

    #[test]
    fn values_in_array_literals_follow() {
        let renamed = |text: &str| in_arrays(text, "}'::public.mood[]", ["b", "so so"]);
        assert_eq!(renamed("'{a,b,bb}'::public.mood[]"), "'{a,\"so so\",bb}'::public.mood[]");
        assert_eq!(
            renamed("'{{b},{a}}'::public.mood[] || '{\"b\"}'::public.mood[]"),
            "'{{\"so so\"},{a}}'::public.mood[] || '{\"so so\"}'::public.mood[]"
        );
        assert_eq!(renamed("'{b}'::text[]"), "'{b}'::text[]");
    }
}
