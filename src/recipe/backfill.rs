//! Filling a column of rows that are already there, and proving it NOT NULL: parts that several
//! recipes share.

use super::{sync, types};
use crate::catalog::id::quote;
use crate::catalog::{Id, Ident};
use crate::kind::Kind as _;
use crate::kind::column::{Column, not_null_proof};
use crate::plan::draft::{Context, Op};
use crate::plan::op::{Action, Cost, Hazard, LockMode};
use crate::plan::plan::{BEGIN, Backfill, COMMIT, StageName};

/// The columns by which a table is walked: its primary key, else a unique key whose columns are NOT
/// NULL, else nothing (by ctid).
#[must_use]
pub fn walk_key(cx: &Context<'_>, table: &Id) -> Vec<Ident> {
    crate::kind::violations::row_key(cx.live, table)
}

/// The operation that sets `column` to `expression` where `filter` holds: one UPDATE on a small
/// table, else in batches.
#[must_use]
pub fn fill(
    cx: &Context<'_>,
    column: &Column,
    expression: &str,
    filter: &str,
    recipe: &'static str,
    settings: Vec<(String, String)>,
) -> Op {
    let id = column.id();
    let mut op = fill_set(cx, &id, &column.table, &format!("{} = {expression}", quote(&column.name)), filter, recipe, settings);
    op.fills = vec![(id, expression.to_owned())];
    op
}

/// The same for a list of assignments; `subject` is what people know it by.
#[must_use]
pub fn fill_set(
    cx: &Context<'_>,
    subject: &Id,
    table: &Id,
    set: &str,
    filter: &str,
    recipe: &'static str,
    settings: Vec<(String, String)>,
) -> Op {
    let id = subject.clone();
    // The author's expression means the names of the table's schema first.
    let mut settings = settings;
    settings.push(("search_path".to_owned(), search_path(table)));
    if [set, filter].iter().any(|sql| sql.contains('\\')) {
        settings.push(("standard_conforming_strings".to_owned(), "on".to_owned()));
    }
    let count = format!("SELECT count(*) FROM {} WHERE {filter}", table.sql());
    let title = format!("Backfill {id}");
    let triggers: Vec<String> = own_triggers(cx, table, (subject.kind == Column::KEYWORD).then(|| subject.name()));
    let publications = super::published::told_of_updates(cx, table);
    let warn = |action: Action| {
        let effects = [("fires", &triggers), ("is sent to the subscribers of", &publications)];
        effects.into_iter().filter(|(_, names)| !names.is_empty() && !cx.policy.direct).fold(action, |action, (does, names)| {
            action.hazard(Hazard::SideEffects, format!("the backfill of {id} {does} {}", names.join(", ")))
        })
    };
    if cx.is_small(table) {
        let mut action = Action::new(title);
        for (name, value) in &settings {
            action = action.sql(format!(
                "SELECT set_config({}, {}, true)",
                crate::catalog::id::literal(name),
                crate::catalog::id::literal(value)
            ));
        }
        let action = action.sql(format!("UPDATE {} SET {set} WHERE {filter}", table.sql())).lock(table, LockMode::RowExclusive, Cost::Scan);
        return Op::new(&id, warn(action), StageName::Backfill, recipe).verify(count, "0");
    }
    let mut op = Op::new(&id, warn(Action::new(title).lock(table, LockMode::RowExclusive, Cost::Scan)), StageName::Backfill, recipe)
        .verify(count, "0");
    op.backfill = Some(Backfill {
        table: table.clone(),
        key: walk_key(cx, table),
        set: set.to_owned(),
        filter: filter.to_owned(),
        settings,
        rows: cx.facts.rows(table),
        copy: None,
    });
    op
}

/// Where an author's expression looks for names: the table's schema, then `public`.
#[must_use]
pub fn search_path(table: &Id) -> String {
    if table.schema() == "public" { "public".to_owned() } else { format!("{}, public", quote(table.schema())) }
}

/// Names of the table's own triggers that an UPDATE of `column`, or of any, fires.
#[must_use]
pub fn own_triggers(cx: &Context<'_>, table: &Id, column: Option<&str>) -> Vec<String> {
    let fires = |listed: &[Ident]| listed.is_empty() || column.is_none_or(|column| listed.iter().any(|name| name == column));
    cx.live
        .within::<crate::kind::trigger::Trigger>(table)
        .filter(|trigger| trigger.events.iter().any(|event| event == "update") && fires(&trigger.update_of))
        .map(|trigger| trigger.id().to_string())
        .collect()
}

/// The operations that set a filled column NOT NULL: proven by a CHECK on a large table, so that the
/// switch scans nothing (safe-changes.md: two statements in one transaction).
#[must_use]
pub fn set_not_null(cx: &Context<'_>, column: &Column, stage: StageName, recipe: &'static str) -> Vec<Op> {
    let id = column.id();
    let table = &column.table;
    let old = cx.live.get_as::<Column>(&id);
    let set = |cost| {
        let action = Action::new(format!("Set {id} NOT NULL")).lock(table, LockMode::AccessExclusive, cost);
        Action { sql: column.set_not_null_sql(old), ..action }
    };
    let undo = column.altering(String::new(), "DROP NOT NULL", LockMode::AccessExclusive, Cost::Instant).sql;
    if cx.is_small(table) {
        return vec![Op::new(&id, set(Cost::Scan), stage, recipe).undo(undo).puts(column.clone())];
    }
    let before = stage.min(StageName::Backfill).max(if stage == StageName::Contract { StageName::Contract } else { StageName::Backfill });
    if cx.facts.server >= 180_000 {
        return not_null_by_itself(cx, column, before, recipe);
    }
    let proof = not_null_proof(column, types::is_row(cx, &column.data_type));
    let proof_id = proof.id();
    let (add, validate) = (proof.add_not_valid(), proof.validate());
    let again = add.sql.clone();
    let drop = proof.drop();
    let add = Action { title: format!("Add a proof that {id} is NOT NULL, not yet validated"), ..add };
    let validate = Action { title: format!("Prove {id} NOT NULL"), ..validate };
    let mut switch = set(Cost::Instant);
    switch.sql.extend(drop.sql.clone());
    vec![
        Op::new(&id, add, before, recipe).undo(drop.sql).puts_temporary(&proof_id),
        Op::new(&id, validate, before, recipe),
        Op::new(&id, switch, stage, recipe).undo([undo, again].concat()).puts(column.clone()).removes(&proof_id),
    ]
}

/// From PostgreSQL 18 on NOT NULL is a constraint that can be validated like others: no CHECK has to prove it, and
/// nothing is left for the switch.
fn not_null_by_itself(cx: &Context<'_>, column: &Column, stage: StageName, recipe: &'static str) -> Vec<Op> {
    let (id, table) = (column.id(), &column.table);
    let old = cx.live.get_as::<Column>(&id);
    let unproven = Column {
        not_null: false,
        constraint: crate::kind::not_null::NotNull { not_valid: true, ..column.constraint.clone() },
        ..column.clone()
    };
    let validate = column.validate_not_null();
    if let Some(old) = old.filter(|old| old.constraint.not_valid) {
        // It is there already, if by another name.
        let sql = |actions: Vec<Action>| actions.into_iter().flat_map(|action| action.sql).collect::<Vec<_>>();
        let (there, back) = (sql(unproven.alter_not_null(old)), sql(old.alter_not_null(&unproven)));
        let validate = Op::new(&id, validate, stage, recipe).undo(sql(unproven.alter_not_null(column))).puts(column.clone());
        if there.is_empty() {
            return vec![validate];
        }
        let rename = Action::new(format!("Give NOT NULL of {id} its form")).lock(table, LockMode::AccessExclusive, Cost::Instant);
        return vec![Op::new(&id, Action { sql: there, ..rename }, stage, recipe).undo(back), validate];
    }
    let add = Action::new(format!("Add NOT NULL to {id}, not yet validated")).sql(unproven.add_not_null_sql()).lock(
        table,
        LockMode::AccessExclusive,
        Cost::Instant,
    );
    let mut undo = vec![format!("ALTER TABLE {} DROP CONSTRAINT {}", table.sql(), quote(&column.not_null_name()))];
    // A primary key that a partition got meanwhile has made the constraint its own (measured).
    for (part, _) in super::partition::beneath(cx, table) {
        let theirs = cx.live.get_as::<Column>(&part.child(Column::KEYWORD, &column.name));
        if !theirs.is_some_and(Column::has_not_null) {
            undo.push(format!("ALTER TABLE {} ALTER COLUMN {} DROP NOT NULL", part.sql(), quote(&column.name)));
        }
    }
    // The constraint goes with the way back of the step that added it: not before, or that one would not find it.
    let add = Op::new(&id, add, stage, recipe).undo(undo);
    vec![add, Op::new(&id, validate, stage, recipe).undo(Vec::new()).puts(column.clone())]
}

/// The way back from DROP NOT NULL, proven beside the traffic on a large table.
#[must_use]
pub fn not_null_again(cx: &Context<'_>, column: &Column) -> Vec<String> {
    let set = column.set_not_null_sql(None);
    if cx.is_small(&column.table) {
        return set;
    }
    let proof = not_null_proof(column, types::is_row(cx, &column.data_type));
    let next = || vec![COMMIT.to_owned(), BEGIN.to_owned()];
    [proof.add_not_valid().sql, next(), proof.validate().sql, next(), set, proof.drop().sql].concat()
}

/// A trigger that fills a column where a client leaves it NULL, so that clients of the old release
/// go on: (making, taking away, the trigger and its function).
#[must_use]
pub fn fill_trigger(cx: &Context<'_>, column: &Column, expression: &str) -> (Vec<String>, Vec<String>, [Id; 2]) {
    let table = &column.table;
    let name = sync::name(cx, table, &column.name, "_fill");
    let function = format!("{}.{}", quote(table.schema()), quote(&name));
    let new = sync::field("NEW", &quote(&column.name));
    // The expression speaks of the table's columns by their names, so the new row stands in for the
    // table under the table's name.
    let body = format!(
        "{}BEGIN\n    IF {} THEN\n        SELECT ({expression}) INTO {new} FROM (SELECT NEW.*) AS {};\n    END IF;\n    RETURN NEW;\nEND",
        sync::resolution(&[expression]),
        types::is_null(cx, column, &new),
        quote(table.name())
    );
    let trigger = table.child("trigger", &sync::trigger_name("~", &name));
    let make = vec![
        format!(
            "CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SET search_path = {}, pg_temp{} AS $fill$\n{body}\n$fill$",
            search_path(table),
            sync::settings(cx, table, &[column], &[expression])
        ),
        format!(
            "CREATE TRIGGER {} BEFORE INSERT OR UPDATE ON {} FOR EACH ROW EXECUTE FUNCTION {function}()",
            trigger.name_sql(),
            table.sql()
        ),
        format!("ALTER TABLE {} ENABLE ALWAYS TRIGGER {}", table.sql(), trigger.name_sql()),
    ];
    let take = vec![format!("DROP TRIGGER {} ON {}", trigger.name_sql(), table.sql()), format!("DROP FUNCTION {function}()")];
    let function = Id::new("function", [table.schema(), &name, ""]);
    (make, take, [trigger, function])
}
