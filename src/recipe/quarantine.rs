//! What would be dropped with its data is set aside instead, where the project keeps such things for a while: a table
//! in a schema of its own, a column under another name. Both names begin with [`SET_ASIDE`], which nothing here reads
//! as a part of the state; `schema_quarantine.kept` knows what is there, until when, how it comes back and how it goes.

use std::collections::BTreeSet;

use super::undo;
use crate::catalog::id::{apart_name, derived_name, literal, quote};
use crate::catalog::{Id, Ident};
use crate::kind::column::Column;
use crate::kind::default::Default;
use crate::kind::partition::Partition;
use crate::kind::row::SET_ASIDE;
use crate::kind::table::Table;
use crate::kind::{Kind as _, Object};
use crate::plan::draft::{Context, Op};
use crate::plan::op::{Action, Cost, Hazard, LockMode};
use crate::plan::plan::StageName;
use crate::plan::rename::placed_object;

const RECIPE: &str = "quarantine";

/// What is kept, and how it goes on from there. Its statements are texts for `format`: what is kept is found by its OID,
/// whatever is renamed meanwhile. `%1$s` is its table, `%2$I` the name under which a column waits, `%3$I` the schema of its
/// table.
struct Kept {
    /// The relation that it is or stands in, as it is called when it is set aside.
    relation: String,
    /// The name under which a column waits.
    aside: Option<Ident>,
    /// Statements that bring it back, in one transaction.
    back: Vec<String>,
    /// Statements that then make again what stood on it; each may fail by itself.
    after: Vec<String>,
    /// Statements that end it.
    purge: Vec<String>,
    /// The statement that makes room for it where one of its name is kept already.
    room: String,
}

impl Kept {
    /// The statements that write it down, around those that set it aside. The schema and its table are made when they are
    /// first needed.
    fn record(&self, id: &Id, away: Vec<String>, seconds: u64) -> Vec<String> {
        let list = |statements: &[String]| {
            let texts: Vec<String> = statements.iter().map(|statement| literal(statement)).collect();
            format!("ARRAY[{}]::text[]", texts.join(", "))
        };
        let begin = vec![
            format!("CREATE SCHEMA IF NOT EXISTS {SET_ASIDE}"),
            format!(
                "CREATE TABLE IF NOT EXISTS {SET_ASIDE}.kept (what text PRIMARY KEY, id text NOT NULL, plan text DEFAULT {PLAN}, since timestamptz NOT NULL DEFAULT now(), until timestamptz NOT NULL, relation regclass NOT NULL, aside name, back text[] NOT NULL, after text[] NOT NULL, purge text[] NOT NULL)"
            ),
            self.room.clone(),
        ];
        let end = vec![format!(
            "INSERT INTO {SET_ASIDE}.kept (what, id, until, relation, aside, back, after, purge) VALUES ({0}, {0}, now() + interval '{1}', {2}, {3}, {4}, {5}, {6})",
            literal(&id.to_string()),
            span(seconds),
            literal(&self.relation),
            self.aside.as_ref().map_or_else(|| "NULL".to_owned(), |name| literal(name)),
            list(&self.back),
            list(&self.after),
            list(&self.purge)
        )];
        [begin, away, end].concat()
    }

    /// The operation that sets it aside by `away`.
    fn op(self, id: &Id, away: Vec<String>, table: &Id, hazard: Hazard, seconds: u64) -> Op {
        let mut action = Action::new(format!("Set {id} aside for {}", span(seconds)))
            .lock(table, LockMode::AccessExclusive, Cost::Instant)
            .hazard(hazard, format!("{id}, kept for {}", span(seconds)));
        action.sql = self.record(id, away, seconds);
        let mut op = Op::new(id, action, StageName::Contract, RECIPE).removes(id).undo(vec![taken_back(id)]);
        op.teardown = true;
        op
    }
}

/// The plan whose steps run: several may set aside what has one name.
const PLAN: &str = "nullif(current_setting('schema.plan', true), '')";

/// The statement that brings back what a plan set aside, and forgets it. One that is back already stays as it is.
#[must_use]
pub fn taken_back(id: &Id) -> String {
    let id = literal(&id.to_string());
    format!(
        "DO $do$ DECLARE one record; statement text; BEGIN\n    \
         SELECT k.*, n.nspname INTO one FROM {SET_ASIDE}.kept k JOIN pg_class c ON c.oid = k.relation JOIN pg_namespace n ON n.oid = c.relnamespace\n        \
         WHERE k.id = {id} AND (k.plan = {PLAN} OR k.plan IS NULL) ORDER BY k.plan IS NULL, k.since DESC LIMIT 1;\n    \
         IF FOUND THEN\n        \
         FOREACH statement IN ARRAY one.back LOOP EXECUTE format(statement, one.relation, one.aside, one.nspname); END LOOP;\n        \
         DELETE FROM {SET_ASIDE}.kept WHERE what = one.what;\n    \
         END IF;\nEND $do$"
    )
}

/// Makes room where one of the same name is kept, in this table or schema or in another one: it gets a number. `taken` says
/// that an SQL text is the name of something in the place of `aside`, `moves` gives that another name (for `format`), and
/// `follows` writes down the SQL text that this is.
fn room(id: &Id, aside: &str, taken: impl Fn(&str) -> String, moves: &str, follows: impl Fn(&str) -> String) -> String {
    let (what, name) = (literal(&id.to_string()), literal(aside));
    let numbered = literal(&format!("{id}#"));
    let next = format!("{} || n", literal(&before_number(aside)));
    let also = follows(&next);
    let also = if also.is_empty() { also } else { format!("\n        {also};") };
    format!(
        "DO $do$ DECLARE n integer := 2; BEGIN\n    \
         WHILE EXISTS (SELECT FROM {SET_ASIDE}.kept WHERE what = {numbered} || n) OR {} LOOP n := n + 1; END LOOP;\n    \
         UPDATE {SET_ASIDE}.kept SET what = {numbered} || n WHERE what = {what};\n    \
         IF {} THEN\n        \
         EXECUTE format({}, {next});{also}\n    \
         END IF;\nEND $do$",
        taken(&next),
        taken(&name),
        literal(moves),
    )
}

/// A name cut so that a number has room behind it.
fn before_number(name: &str) -> String {
    let cut = derived_name(name, NUMBER);
    format!("{}#", cut.strip_suffix(NUMBER).unwrap_or(&cut))
}

/// The longest number that is thought of.
const NUMBER: &str = "#99999";

/// Text for `format`.
fn verbatim(text: &str) -> String {
    text.replace('%', "%%")
}

fn span(seconds: u64) -> String {
    let of = |count: u64, unit: &str| format!("{count} {unit}{}", if count == 1 { "" } else { "s" });
    match seconds {
        _ if seconds.is_multiple_of(86_400) => of(seconds / 86_400, "day"),
        _ if seconds.is_multiple_of(3600) => of(seconds / 3600, "hour"),
        _ => of(seconds, "second"),
    }
}

/// Why something is dropped after all, where that has to be said.
pub type NotKept = Option<String>;

/// Says of what is dropped why it is not kept.
pub fn say(action: &mut Action, why: NotKept) {
    let Some(why) = why else { return };
    for (_, subject) in
        action.hazards.iter_mut().rev().filter(|(hazard, _)| matches!(hazard, Hazard::DropTable | Hazard::DropColumn)).take(1)
    {
        subject.push_str(&format!("; it cannot be kept, for {why}"));
    }
}

/// Something that goes or is made anew, on which one of these stands: it would stay in its way.
fn footing(cx: &Context<'_>, leaving: &BTreeSet<Id>, table: &Id, objects: &[&Object]) -> NotKept {
    if let Some(extension) = objects.first().and_then(|object| cx.facts.on_extensions.get(&object.id())) {
        return Some(format!("{extension}, on which it stands, goes in the same plan"));
    }
    let of_table = |id: &Id| !id.is_routine() && id.path.starts_with(&table.path);
    // A sequence goes with the column that owns it.
    let owned = |id: &Id| match cx.live.get(&id.satellite("owned-by", None)) {
        Some(Object::OwnedBy(owned)) => of_table(&owned.column),
        _ => false,
    };
    let needs = objects.iter().filter(|object| object.id().kind != "foreign-key").flat_map(|object| cx.live.all_needs(object));
    let mut needs = needs.filter(|need| leaving.contains(need) && need.kind != "schema" && !of_table(need) && !owned(need));
    needs.next().map(|need| {
        let goes = if cx.desired.contains(&need) { "is made anew" } else { "goes" };
        format!("{need}, on which it stands, {goes} in the same plan")
    })
}

/// Setting a table aside instead of dropping it; why not, where it is to be dropped.
///
/// # Errors
/// See [`NotKept`].
pub fn table(cx: &Context<'_>, leaving: &BTreeSet<Id>, id: &Id) -> Result<Op, NotKept> {
    let seconds = cx.policy.quarantine.ok_or(None)?;
    let table = cx.live.get_as::<Table>(id).ok_or(None)?;
    let is_parent = table.partition_by.is_some() || cx.live.of::<Partition>().any(|place| place.parent == *id);
    if is_parent || cx.live.contains(&Partition::id_of(id)) {
        return Err(None);
    }
    if let Some(why) = footing(cx, leaving, id, &parts(cx, id)) {
        return Err(Some(why));
    }
    let place = apart_name(SET_ASIDE, id, "");
    let aside = format!("{}.{}", quote(&place), quote(id.name()));
    let keys = cx.live.objects.values().filter(|object| matches!(object, Object::ForeignKey(key) if key.table == *id));
    let kept = Kept {
        relation: aside,
        aside: None,
        back: vec![format!("ALTER TABLE %1$s SET SCHEMA {}", verbatim(&quote(id.schema()))), "DROP SCHEMA %3$I".to_owned()],
        after: keys.flat_map(|key| key.create().sql).map(|sql| verbatim(&sql)).collect(),
        purge: vec!["DROP TABLE %1$s".to_owned(), "DROP SCHEMA %3$I".to_owned()],
        room: room(
            id,
            &place,
            |name| format!("EXISTS (SELECT FROM pg_namespace WHERE nspname = {name})"),
            &format!("ALTER SCHEMA {} RENAME TO %I", verbatim(&quote(&place))),
            |_| String::new(),
        ),
    };
    let away = vec![format!("CREATE SCHEMA {}", quote(&place)), format!("ALTER TABLE {} SET SCHEMA {}", id.sql(), quote(&place))];
    Ok(kept.op(id, away, id, Hazard::DropTable, seconds))
}

/// An object with all that hangs on it.
fn parts<'c>(cx: &Context<'c>, id: &Id) -> Vec<&'c Object> {
    let own = cx.live.parts(id).into_iter().flat_map(|part| parts(cx, &part.id()));
    cx.live.get(id).into_iter().chain(own).collect()
}

/// Setting a column aside instead of dropping it; why not, where it is to be dropped.
///
/// # Errors
/// See [`NotKept`].
pub fn column(cx: &Context<'_>, leaving: &BTreeSet<Id>, column: &Column) -> Result<Op, NotKept> {
    let seconds = cx.policy.quarantine.filter(|_| column.generated.is_none()).ok_or(None)?;
    let (id, table) = (column.id(), &column.table);
    let is_divided = cx.live.get_as::<Table>(table).is_none_or(|table| table.partition_by.is_some());
    if is_divided || cx.live.contains(&Partition::id_of(table)) {
        return Err(None);
    }
    if let Some(why) = footing(cx, leaving, table, &parts(cx, &id)) {
        return Err(Some(why));
    }
    let aside = derived_name(&format!("{SET_ASIDE}.{}", column.name), "");
    let (of, name) = (literal(&table.sql()), literal(&aside));
    let alter = |what: String| format!("ALTER TABLE {} {what}", table.sql());
    let mut away = vec![alter(format!("RENAME COLUMN {} TO {}", quote(&column.name), quote(&aside)))];
    // Who does not know it any more must be able to insert.
    let filled = cx.live.contains(&Default::id_of(&id)) || column.identity.is_some();
    let loosened = column.not_null && !filled;
    if loosened {
        away.push(alter(format!("ALTER COLUMN {} DROP NOT NULL", quote(&aside))));
    }
    let kept = Kept {
        relation: table.sql(),
        aside: Some(aside.clone()),
        back: vec![format!("ALTER TABLE %1$s RENAME COLUMN %2$I TO {}", verbatim(&quote(&column.name)))],
        after: standing(cx, column, loosened),
        purge: vec!["ALTER TABLE %1$s DROP COLUMN %2$I".to_owned()],
        room: room(
            &id,
            &aside,
            |name| format!("EXISTS (SELECT FROM pg_attribute WHERE attrelid = {of}::regclass AND attname = {name})"),
            &format!("ALTER TABLE {} RENAME COLUMN {} TO %I", verbatim(&table.sql()), verbatim(&quote(&aside))),
            |next| format!("UPDATE {SET_ASIDE}.kept SET aside = {next} WHERE relation = {of}::regclass AND aside = {name}"),
        ),
    };
    Ok(kept.op(&id, away, table, Hazard::DropColumn, seconds))
}

/// What stood on a column in its table and goes by itself comes back with it, whatever the table is called then.
fn standing(cx: &Context<'_>, column: &Column, loosened: bool) -> Vec<String> {
    let (id, table) = (column.id(), &column.table);
    let found = cx.live.dependants(&id).filter_map(|dependant| cx.live.get(dependant));
    let own = found.filter(|object| object.parent().as_ref() == Some(table) && !cx.desired.contains(&object.id()));
    let own: Vec<&Object> = own.filter(|object| object.id().kind != "trigger" && object.id().kind != "policy").collect();
    // No table of anybody is called so; what stands in its schema stays there.
    let stand_in = table.renamed(&format!("{SET_ASIDE}, the table"));
    let mut statements = Vec::new();
    if loosened {
        statements.extend(Column { table: stand_in.clone(), ..column.clone() }.set_not_null_sql(None));
    }
    statements.extend(undo::plainly_at(cx, own, |object| placed_object(object, &object.id(), table, &stand_in)));
    statements.iter().map(|sql| verbatim(sql).replace(&stand_in.sql(), "%1$s")).collect()
}
