//! A table that becomes a partition of its own successor: not a row is copied. A CHECK proves beside the traffic that all
//! its rows belong there; in one short transaction it gets the partition's name, the new table takes its own, and it is
//! attached.
//!
//! Chosen where the partition is of the same form: the only one, or the one whose author says that it was the table
//! (`partition events_old was=events`).

use super::followers::is_at_switch;
use super::tree::{Tree, objects};
use crate::catalog::id::{derived_name, dotted, quote, quoted_list};
use crate::catalog::{Catalog, Id};
use crate::kind::check::Check;
use crate::kind::column::Column;
use crate::kind::partition::Partition;
use crate::kind::table::Table;
use crate::kind::{Kind as _, Object};
use crate::plan::Alteration;
use crate::plan::change::Changes;
use crate::plan::draft::{Context, Op};
use crate::plan::op::{Action, Cost, Hazard, LockMode};
use crate::plan::plan::StageName;
use crate::plan::rename::placed_object;
use crate::recipe::retype::followers::Followers;

pub(in crate::recipe) const RECIPE: &str = "become-partition";

/// A table and the partition that it becomes.
#[derive(Debug)]
pub(super) struct Attach<'c> {
    pub(super) tree: Tree<'c>,
    place: &'c Partition,
    /// What its rows must be, where it does not take all of them.
    check: Option<Check>,
    /// Indexes and keys with the name that each gets.
    renamed: Vec<(&'c Object, Id)>,
    /// What stood on the table and belongs to its successor.
    comments: Vec<&'c Object>,
}

/// Whether the author says of `new` that it was the table of which it is a partition now.
#[must_use]
pub fn becomes_part(desired: &Catalog, old: &Id, new: &Id) -> bool {
    desired.get_as::<Partition>(&Partition::id_of(new)).is_some_and(|place| place.parent == *old)
}

impl<'c> Attach<'c> {
    /// Says why not, where the table is not of the partition's form; `None` where nobody asks for it.
    pub(super) fn of(cx: &Context<'c>, changes: &Changes, root: &Id) -> Option<Result<Self, String>> {
        let places: Vec<&Partition> = cx.desired.of::<Partition>().filter(|place| place.parent == *root).collect();
        let said = places.iter().find(|place| cx.hints.renames.get(&place.table) == Some(root));
        let place = *said.or_else(|| places.first().filter(|_| places.len() == 1))?;
        let divided = |state: &Catalog, table: &Id| state.get_as::<Table>(table).is_some_and(|table| table.partition_by.is_some());
        if divided(cx.live, root) || divided(cx.desired, &place.table) || cx.live.contains(&place.table) {
            return None;
        }
        Some(Self::fitted(cx, changes, root, place, places.len() > 1))
    }

    fn fitted(cx: &Context<'c>, changes: &Changes, root: &Id, place: &'c Partition, others: bool) -> Result<Self, String> {
        let tree = Tree::of(cx, changes, root, false)?;
        let (renamed, comments) = same_form(cx, root, &place.table)?;
        let stays = objects(cx.live, std::slice::from_ref(root)).find_map(|object| {
            let id = object.id();
            let mut dependants = cx.live.dependants(&id);
            dependants.find(|id| matches!(id.kind.as_str(), "view" | "materialized-view" | "function") && !cx.desired.contains(id)).cloned()
        });
        if let Some(id) = stays {
            return Err(format!("{id} would go on with the rows of one partition"));
        }
        let needed = others || place.bound != "DEFAULT";
        let check = match cx.facts.partition_bounds.get(&place.id()).filter(|_| needed) {
            Some(expression) => {
                let name = derived_name(root.name(), "_bound");
                Some(Check { table: root.clone(), name, expression: expression.clone(), no_inherit: false, not_valid: true })
            }
            None if needed => return Err(format!("no CHECK can say what the bound of {} says", place.table)),
            None => None,
        };
        Ok(Self { tree, place, check, renamed, comments })
    }

    /// The relations that are made beside.
    fn made(&self) -> Vec<Id> {
        self.tree.new.iter().filter(|table| **table != self.place.table).cloned().collect()
    }

    /// The operations, and which of them is the switch.
    pub(super) fn ops(&self, cx: &Context<'_>) -> Result<(Vec<Op>, usize), String> {
        let Self { tree, place, check, .. } = self;
        let root = &tree.root;
        let name = dotted(&place.table.path);
        let mut ops = vec![self.expand(cx)?];
        if let Some(check) = check {
            let validate = Action { title: format!("Prove that all rows of {root} belong to {name}"), ..check.validate() };
            ops.push(Op::new(root, validate, StageName::Backfill, RECIPE).undo(Vec::new()));
        }
        let switch = ops.len();
        let mut action = tree.held(cx, Action::new(format!("Make {root} the partition {name} of the new one")));
        // The foreign keys of the partition become parts of those above: their triggers on the referenced tables go.
        for table in tree.referenced(cx) {
            action = action.lock(table, LockMode::AccessExclusive, Cost::Instant);
        }
        action.sql = self.switch_sql(cx);
        let undo = [self.undo_sql(cx), tree.proven_again()].concat();
        let mut op = tree.effects(cx, Op::new(root, action, StageName::Switch, RECIPE).undo(undo));
        op = op.removes(&Id::new("schema", [tree.schema_new()]));
        for table in self.made() {
            op = op.removes(&tree.made(&table));
        }
        if let Some(check) = check {
            op = op.removes(&check.id());
        }
        ops.push(op);
        ops.extend(tree.validations(cx));
        ops.push(super::statistics(tree, false));
        for op in &mut ops {
            op.recipe = RECIPE;
        }
        Ok((ops, switch))
    }

    fn expand(&self, cx: &Context<'_>) -> Result<Op, String> {
        let Self { tree, place, check, .. } = self;
        let root = &tree.root;
        let schema = tree.schema_new();
        let mut action = Action::new(format!("Make the new form of {root} beside it, without {}", dotted(&place.table.path)));
        for table in tree.referenced(cx) {
            action = action.lock(table, LockMode::ShareRowExclusive, Cost::Instant);
        }
        action.sql = tree.creation(cx, &self.made(), std::slice::from_ref(&schema))?;
        let mut undo = Vec::new();
        if let Some(check) = check {
            let add = check.add_not_valid();
            action.sql.extend(add.sql);
            action.locks.extend(add.locks);
            let name = dotted(&place.table.path);
            action = action
                .hazard(Hazard::Breaking, format!("{root}: a row that does not belong to {name} is refused from here until the switch"));
            undo.extend(check.drop().sql);
        }
        undo.push(format!("DROP TABLE {}", tree.made(root).sql()));
        undo.push(format!("DROP SCHEMA {}", quote(&schema)));
        let mut op = Op::new(root, action, StageName::Expand, RECIPE).undo(undo).puts_temporary(&Id::new("schema", [schema]));
        for table in self.made() {
            op = op.puts_temporary(&tree.made(&table));
        }
        if let Some(check) = check {
            op = op.puts_temporary(&check.id());
            let key = crate::kind::violations::named_by(cx.live, root).join(", ");
            op.violations.push(crate::plan::op::Violations {
                title: format!("rows of {root} do not belong to {}", dotted(&place.table.path)),
                rows: format!("SELECT {key} FROM {} WHERE NOT ({})", root.sql(), check.expression),
                help: "move or delete them, or change the bound".to_owned(),
                reads: vec![root.clone()],
                ..Default::default()
            });
        }
        Ok(op)
    }

    /// Statements that give indexes and keys their names as parts, or back; while the table is called `table`.
    fn renames(&self, table: &Id, back: bool) -> Vec<String> {
        let one = |(object, new): &(&Object, Id)| {
            let old = object.id();
            let (from, to) = if back { (new.name(), old.name()) } else { (old.name(), new.name()) };
            if old.kind == "index" {
                format!("ALTER INDEX {}.{} RENAME TO {}", quote(table.schema()), quote(from), quote(to))
            } else {
                format!("ALTER TABLE {} RENAME CONSTRAINT {} TO {}", table.sql(), quote(from), quote(to))
            }
        };
        self.renamed.iter().filter(|(object, new)| object.id().name() != new.name()).map(one).collect()
    }

    fn switch_sql(&self, cx: &Context<'_>) -> Vec<String> {
        let Self { tree, place, check, comments, .. } = self;
        let (root, part) = (&tree.root, &place.table);
        let (mut sql, late) = Followers::drop(cx.live, &tree.before);
        sql.push(tree.lock());
        sql.extend(late);
        sql.extend(tree.incoming.iter().flat_map(|key| key.drop().sql));
        sql.extend(tree.sequences(|table| tree.made(table), Id::clone));
        sql.extend(tree.owned[0].iter().map(|owned| format!("ALTER SEQUENCE {} OWNED BY NONE", owned.sequence.sql())));
        sql.extend(comments.iter().flat_map(|comment| comment.drop().sql));
        for column in tree.columns.iter().filter(|column| column.identity.is_some()) {
            sql.push(format!("ALTER TABLE {} ALTER COLUMN {} DROP IDENTITY", root.sql(), quote(&column.name)));
        }
        sql.extend(self.renames(root, false));
        sql.push(format!("ALTER TABLE {} RENAME TO {}", root.sql(), part.name_sql()));
        if part.schema() != root.schema() {
            sql.push(format!("ALTER TABLE {} SET SCHEMA {}", root.renamed(part.name()).sql(), quote(part.schema())));
        }
        sql.extend(self.made().iter().map(|table| super::switch::to_schema(&tree.made(table), table.schema())));
        sql.extend(place.create().sql);
        if let Some(check) = check {
            sql.push(format!("ALTER TABLE {} DROP CONSTRAINT {}", part.sql(), quote(&check.name)));
        }
        sql.extend(tree.owned[1].iter().flat_map(|owned| owned.create().sql));
        sql.extend(tree.wanted(cx).iter().flat_map(|key| key.add_not_valid().sql));
        sql.extend(super::switch::make(cx.desired, &tree.after));
        sql.push(format!("DROP SCHEMA {}", quote(&tree.schema_new())));
        sql
    }

    /// The way back: what came into other partitions comes into the one that was the table.
    fn undo_sql(&self, cx: &Context<'_>) -> Vec<String> {
        let Self { tree, place, check, comments, .. } = self;
        let (root, part) = (&tree.root, &place.table);
        let (mut sql, late) = Followers::drop(cx.desired, &tree.after);
        sql.push(tree.lock());
        sql.extend(late);
        sql.extend(tree.wanted(cx).iter().flat_map(|key| key.drop().sql));
        sql.extend(place.drop().sql);
        if tree.new.len() > 2 {
            let list = quoted_list(tree.copied());
            sql.push(format!("INSERT INTO {} ({list}) SELECT {list} FROM {}", part.sql(), root.sql()));
            sql.push(format!("TRUNCATE {}", root.sql()));
        }
        sql.extend(tree.owned[1].iter().map(|owned| format!("ALTER SEQUENCE {} OWNED BY NONE", owned.sequence.sql())));
        sql.push(format!("CREATE SCHEMA {}", quote(&tree.schema_new())));
        sql.extend(self.made().iter().map(|table| super::switch::to_schema(table, &tree.schema_new())));
        if part.schema() != root.schema() {
            sql.push(format!("ALTER TABLE {} SET SCHEMA {}", part.sql(), quote(root.schema())));
        }
        sql.push(format!("ALTER TABLE {} RENAME TO {}", root.renamed(part.name()).sql(), root.name_sql()));
        sql.extend(self.renames(root, true));
        for column in tree.columns.iter().filter(|column| column.identity.is_some()) {
            let plain = Column { identity: None, ..(*column).clone() };
            if let Alteration::Act(actions) = Column::alter(&plain, column) {
                sql.extend(actions.into_iter().flat_map(|action| action.sql));
            }
        }
        sql.extend(tree.sequences(Id::clone, |table| tree.made(table)));
        sql.extend(comments.iter().flat_map(|comment| comment.create().sql));
        sql.extend(tree.owned[0].iter().flat_map(|owned| owned.create().sql));
        sql.extend(tree.incoming.iter().flat_map(|key| key.add_not_valid().sql));
        sql.extend(super::switch::make(cx.live, &tree.before));
        sql.extend(check.iter().flat_map(|check| check.add_not_valid().sql));
        sql
    }
}

/// The object without its name and without what it is part of.
fn nameless(object: &Object) -> Object {
    let mut object = object.clone();
    match &mut object {
        Object::Index(index) => (index.part_of, index.name) = (None, "".into()),
        Object::PrimaryKey(key) => (key.key.part_of, key.key.name) = (None, "".into()),
        Object::Unique(key) => (key.key.part_of, key.key.name) = (None, "".into()),
        _ => {}
    }
    object
}

/// Indexes and keys of the live table with their names as parts, and the comments that go; or what differs.
type Fitting<'c> = (Vec<(&'c Object, Id)>, Vec<&'c Object>);

fn same_form<'c>(cx: &Context<'c>, root: &Id, part: &Id) -> Result<Fitting<'c>, String> {
    let differs = |id: &Id| Err(format!("{id} is not the same for the partition {}", dotted(&part.path)));
    let mut left: Vec<&Object> = objects(cx.desired, std::slice::from_ref(part))
        .filter(|object| !is_at_switch(cx.desired, object) && object.id().kind != Partition::KEYWORD)
        .collect();
    let (mut renamed, mut comments) = (Vec::new(), Vec::new());
    for object in objects(cx.live, std::slice::from_ref(root)).filter(|object| !is_at_switch(cx.live, object)) {
        let id = object.id();
        let mut there = placed_object(object, &id, root, part);
        if let Object::Column(column) = &mut there {
            column.identity = None;
        }
        let found = left.iter().position(|wanted| nameless(wanted) == nameless(&there));
        match (id.kind.as_str(), found) {
            ("index" | "primary-key" | "unique", Some(at)) => renamed.push((object, left.remove(at).id())),
            (_, Some(at)) => {
                left.remove(at);
            }
            ("comment", None) => comments.push(object),
            // It becomes a part of the one above.
            ("foreign-key", None) if cx.desired.get(&id) == Some(object) => {}
            _ => return differs(&id),
        }
    }
    match left.first() {
        Some(object) => differs(&object.id()),
        None => Ok((renamed, comments)),
    }
}
