//! Renamed values of enums and attributes of composite types: in place, as PostgreSQL can; clients
//! that name them must be told.

use crate::catalog::id::{literal, quote};
use crate::catalog::{Catalog, Id, Ident};
use crate::kind::Object;
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
        for other in after.objects.values_mut() {
            *other = substituted(other, &written, &now);
        }
    }
    after.objects.insert(owner.clone(), object);
    Some((op, after))
}

fn replace(values: &mut [Ident], old: &Ident, new: &Ident) -> Option<()> {
    if values.contains(new) {
        return None;
    }
    *values.iter_mut().find(|value| *value == old)? = new.clone();
    Some(())
}

/// The object with one text for another in its SQL.
fn substituted(object: &Object, from: &str, to: &str) -> Object {
    if !object.texts().iter().any(|text| text.contains(from)) {
        return object.clone();
    }
    let mut value = serde_json::to_value(object).expect("objects are plain data");
    walk(&mut value, from, to);
    serde_json::from_value(value).expect("the shape stays")
}

fn walk(value: &mut serde_json::Value, from: &str, to: &str) {
    match value {
        serde_json::Value::String(text) => *text = text.replace(from, to),
        serde_json::Value::Array(items) => items.iter_mut().for_each(|item| walk(item, from, to)),
        serde_json::Value::Object(fields) => fields.values_mut().for_each(|field| walk(field, from, to)),
        _ => {}
    }
}
