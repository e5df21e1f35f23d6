//! What would be dropped with its data is set aside instead, where the project keeps such things for a while: a table
//! in a schema of its own, a column under another name. Both names begin with [`SET_ASIDE`], which nothing here reads
//! as a part of the state; `schema_quarantine.kept` knows what is there, until when, how it comes back and how it goes.

use super::undo;
use crate::catalog::Id;
use crate::catalog::id::{apart_name, derived_name, literal, quote};
use crate::kind::column::Column;
use crate::kind::default::Default;
use crate::kind::partition::Partition;
use crate::kind::row::SET_ASIDE;
use crate::kind::table::Table;
use crate::kind::{Kind as _, Object};
use crate::plan::draft::{Context, Op};
use crate::plan::op::{Action, Cost, Hazard, LockMode};
use crate::plan::plan::StageName;

const RECIPE: &str = "quarantine";

/// What is kept, and how it goes on from there.
struct Kept {
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
                "CREATE TABLE IF NOT EXISTS {SET_ASIDE}.kept (what text PRIMARY KEY, since timestamptz NOT NULL DEFAULT now(), until timestamptz NOT NULL, back text[] NOT NULL, after text[] NOT NULL, purge text[] NOT NULL)"
            ),
            self.room.clone(),
        ];
        let end = vec![format!(
            "INSERT INTO {SET_ASIDE}.kept (what, until, back, after, purge) VALUES ({}, now() + interval '{}', {}, {}, {})",
            literal(&id.to_string()),
            span(seconds),
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
        let forget = format!("DELETE FROM {SET_ASIDE}.kept WHERE what = {}", literal(&id.to_string()));
        let mut op = Op::new(id, action, StageName::Contract, RECIPE).removes(id).undo([self.back, vec![forget]].concat());
        op.teardown = true;
        op
    }
}

/// One of the same name that was set aside before, and may be kept in this database or not, gets a number: `there` tells
/// whether it stands where it was put, `aside` is its name with room for the number, and `moves` gives it that of the
/// variable `aside`; `back` and `purge` are then its statements, as arguments of `format`.
fn room(id: &Id, there: &str, aside: &str, moves: &str, back: &[String], purge: &[String]) -> String {
    let what = literal(&id.to_string());
    let numbered = literal(&format!("{id}#"));
    let list = |texts: &[String]| {
        let texts: Vec<String> = texts.iter().map(|text| format!("format({}, aside)", literal(text))).collect();
        format!("ARRAY[{}]", texts.join(", "))
    };
    format!(
        "DO $do$ DECLARE n integer := 2; aside name; BEGIN\n    \
         IF EXISTS (SELECT FROM {SET_ASIDE}.kept WHERE what = {what}) THEN\n        \
         WHILE EXISTS (SELECT FROM {SET_ASIDE}.kept WHERE what = {numbered} || n) LOOP n := n + 1; END LOOP;\n        \
         aside := {} || n;\n        \
         IF {there} THEN\n            \
         EXECUTE format({}, aside);\n            \
         UPDATE {SET_ASIDE}.kept SET back = {}, purge = {} WHERE what = {what};\n        \
         END IF;\n        \
         UPDATE {SET_ASIDE}.kept SET what = {numbered} || n WHERE what = {what};\n    \
         END IF;\nEND $do$",
        literal(aside),
        literal(moves),
        list(back),
        list(purge),
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

/// Setting a table aside instead of dropping it; nothing where it is to be dropped.
#[must_use]
pub fn table(cx: &Context<'_>, id: &Id) -> Option<Op> {
    let seconds = cx.policy.quarantine?;
    let table = cx.live.get_as::<Table>(id)?;
    let is_parent = table.partition_by.is_some() || cx.live.of::<Partition>().any(|place| place.parent == *id);
    if is_parent || cx.live.contains(&Partition::id_of(id)) {
        return None;
    }
    let place = apart_name(SET_ASIDE, id, "");
    let aside = format!("{}.{}", quote(&place), quote(id.name()));
    let keys = cx.live.objects.values().filter(|object| matches!(object, Object::ForeignKey(key) if key.table == *id));
    let kept = Kept {
        back: vec![format!("ALTER TABLE {aside} SET SCHEMA {}", quote(id.schema())), format!("DROP SCHEMA {}", quote(&place))],
        after: keys.flat_map(|key| key.create().sql).collect(),
        purge: vec![format!("DROP TABLE IF EXISTS {aside}"), format!("DROP SCHEMA IF EXISTS {}", quote(&place))],
        room: {
            let own = verbatim(&quote(id.name()));
            room(
                id,
                &format!("to_regclass({}) IS NOT NULL", literal(&aside)),
                &before_number(&place),
                &format!("ALTER SCHEMA {} RENAME TO %1$I", verbatim(&quote(&place))),
                &[format!("ALTER TABLE %1$I.{own} SET SCHEMA {}", verbatim(&quote(id.schema()))), "DROP SCHEMA %1$I".to_owned()],
                &[format!("DROP TABLE IF EXISTS %1$I.{own}"), "DROP SCHEMA IF EXISTS %1$I".to_owned()],
            )
        },
    };
    let away = vec![format!("CREATE SCHEMA {}", quote(&place)), format!("ALTER TABLE {} SET SCHEMA {}", id.sql(), quote(&place))];
    Some(kept.op(id, away, id, Hazard::DropTable, seconds))
}

/// Setting a column aside instead of dropping it; nothing where it is to be dropped.
#[must_use]
pub fn column(cx: &Context<'_>, column: &Column) -> Option<Op> {
    let seconds = cx.policy.quarantine.filter(|_| column.generated.is_none())?;
    let (id, table) = (column.id(), &column.table);
    let partitioned = cx.live.get_as::<Table>(table)?.partition_by.is_some() || cx.live.contains(&Partition::id_of(table));
    if partitioned {
        return None;
    }
    let aside = derived_name(&format!("{SET_ASIDE}.{}", column.name), "");
    let alter = |what: String| format!("ALTER TABLE {} {what}", table.sql());
    let mut away = vec![alter(format!("RENAME COLUMN {} TO {}", quote(&column.name), quote(&aside)))];
    let mut standing = Vec::new();
    // Who does not know it any more must be able to insert.
    let filled = cx.live.contains(&Default::id_of(&id)) || column.identity.is_some();
    if column.not_null && !filled {
        away.push(alter(format!("ALTER COLUMN {} DROP NOT NULL", quote(&aside))));
        standing.extend(column.set_not_null_sql(None));
    }
    // What stood on it in its table and goes by itself comes back with it.
    let found = cx.live.dependants(&id).filter_map(|dependant| cx.live.get(dependant));
    let own = found.filter(|object| object.parent().as_ref() == Some(table) && !cx.desired.contains(&object.id()));
    let own: Vec<&Object> = own.filter(|object| object.id().kind != "trigger" && object.id().kind != "policy").collect();
    standing.extend(undo::plainly(cx, own));
    let kept = Kept {
        back: vec![alter(format!("RENAME COLUMN {} TO {}", quote(&aside), quote(&column.name)))],
        after: standing,
        purge: vec![format!("ALTER TABLE IF EXISTS {} DROP COLUMN IF EXISTS {}", table.sql(), quote(&aside))],
        room: room(
            &id,
            &format!(
                "EXISTS (SELECT FROM pg_attribute WHERE attrelid = {}::regclass AND attname = {} AND NOT attisdropped)",
                literal(&table.sql()),
                literal(&aside)
            ),
            &before_number(&aside),
            &format!("ALTER TABLE {} RENAME COLUMN {} TO %1$I", verbatim(&table.sql()), verbatim(&quote(&aside))),
            &[format!("ALTER TABLE {} RENAME COLUMN %1$I TO {}", verbatim(&table.sql()), verbatim(&quote(&column.name)))],
            &[format!("ALTER TABLE IF EXISTS {} DROP COLUMN IF EXISTS %1$I", verbatim(&table.sql()))],
        ),
    };
    Some(kept.op(&id, away, table, Hazard::DropColumn, seconds))
}
