//! A catalog as KDL nodes: every object into the node of its parent.

use std::collections::{HashMap, HashSet};

use indexmap::IndexMap;

use crate::catalog::{Catalog, Id};
use crate::kdl::{NodeOut, ValueOut, render};
use crate::kind::check::Check;
use crate::kind::column::Column;
use crate::kind::default::Default as ColumnDefault;
use crate::kind::partition::Partition;
use crate::kind::primary_key::PrimaryKey;
use crate::kind::{Kind as _, Object, not_null, weight};

use super::layout::Layout;

/// The whole catalog as one document.
#[must_use]
pub fn document(catalog: &Catalog) -> String {
    render(&nodes(catalog))
}

/// The top nodes of a catalog, with everything that hangs on them.
#[must_use]
pub fn nodes(catalog: &Catalog) -> Vec<NodeOut> {
    Written::new(catalog).pieces().into_iter().flat_map(Piece::into_nodes).collect()
}

/// The node of one object with everything that hangs on it.
#[must_use]
pub fn node(catalog: &Catalog, id: &Id) -> Option<NodeOut> {
    let written = Written::new(catalog);
    let mut root = NodeOut::new("");
    written.write(catalog.get(id)?, &mut root);
    root.children.pop()
}

/// What stands in a file as one node (a grant may take several), without the nodes of its children.
#[derive(Clone, Debug)]
pub struct Piece {
    /// The object that the node defines.
    pub main: Id,
    /// All that the node says, the object itself first: its comment, its default.
    pub objects: Vec<Id>,
    /// The node with its own parts (`with`, `sql`).
    pub nodes: Vec<NodeOut>,
    /// The nodes of what hangs on it.
    pub children: Vec<Piece>,
}

impl Piece {
    /// The whole, children included.
    #[must_use]
    pub fn into_nodes(self) -> Vec<NodeOut> {
        let mut nodes = self.nodes;
        if let Some(first) = nodes.first_mut() {
            first.children.extend(self.children.into_iter().flat_map(Piece::into_nodes));
        }
        nodes
    }
}

/// A catalog prepared for writing: children by parent, without what reading adds by itself.
pub struct Written<'c> {
    catalog: &'c Catalog,
    children: IndexMap<Id, Vec<&'c Object>>,
    /// What stands nowhere: partitions have it from their table, serial columns imply it.
    implied: HashSet<Id>,
    /// Serial columns: the word for the type, and what it stands for.
    serials: HashMap<Id, (&'static str, Vec<Id>)>,
    /// Columns whose NOT NULL their primary key implies.
    keyed: HashSet<Id>,
    /// Partitions that stand inside the node of their table.
    nested: HashSet<Id>,
}

impl<'c> Written<'c> {
    /// Prepares a catalog, in the shortest form.
    #[must_use]
    pub fn new(catalog: &'c Catalog) -> Self {
        Self::with_layout(catalog, &Layout::default())
    }

    /// Prepares a catalog in the form that a person chose where there are several.
    #[must_use]
    pub fn with_layout(catalog: &'c Catalog, layout: &Layout) -> Self {
        let mut children = catalog.children();
        let mut implied = implied_by_partitioning(catalog, layout);
        let mut serials = HashMap::new();
        for column in catalog.of::<Column>() {
            let id = column.id();
            let Some((word, objects)) = column.serial(catalog).filter(|_| !layout.spelled_serials.contains(&id)) else { continue };
            // A comment or a grant on the sequence needs the sequence's own node.
            let bare = children.get(&objects[0]).is_none_or(|children| children.len() <= 1);
            if bare && !implied.contains(&id) {
                implied.extend(objects.iter().cloned());
                serials.insert(id, (word, objects));
            }
        }
        let keyed =
            catalog.of::<PrimaryKey>().flat_map(|key| key.key.columns.iter().map(|name| key.key.table.child(Column::KEYWORD, name)));
        let keyed = keyed.filter(|id| !layout.spelled_not_null.contains(id)).collect();
        let mut nested = HashSet::new();
        for place in catalog.of::<Partition>() {
            if place.table.schema() == place.parent.schema()
                && !layout.flat_partitions.contains(&place.table)
                && !is_circular(catalog, place)
            {
                nested.insert(place.table.clone());
                if let Some(table) = catalog.get(&place.table) {
                    children.entry(place.parent.clone()).or_default().push(table);
                }
            }
        }
        for (parent, children) in &mut children {
            if parent.kind == "schema" {
                children.retain(|child| !matches!(child, Object::Table(_)) || !nested.contains(&child.id()));
            }
        }
        Self { catalog, children, implied, serials, keyed, nested }
    }

    /// Everything, as a tree of nodes.
    #[must_use]
    pub fn pieces(&self) -> Vec<Piece> {
        let (mut root, mut said, mut pieces) = (NodeOut::new(""), Vec::new(), Vec::new());
        for object in sorted(self.catalog.objects.values().filter(|object| object.parent().is_none())) {
            self.add(object, &mut root, &mut said, &mut pieces);
        }
        pieces
    }

    /// Writes an object and all that hangs on it into the node of its parent.
    pub fn write(&self, object: &Object, parent: &mut NodeOut) {
        let (mut said, mut pieces) = (Vec::new(), Vec::new());
        self.add(object, parent, &mut said, &mut pieces);
        parent.children.extend(pieces.into_iter().flat_map(Piece::into_nodes));
    }

    /// Writes an object: as a piece of its own, or into `holder`, whose node says `said`.
    fn add(&self, object: &Object, holder: &mut NodeOut, said: &mut Vec<Id>, pieces: &mut Vec<Piece>) {
        let id = object.id();
        if self.implied.contains(&id) {
            return;
        }
        let children = self.children.get(&id).map(Vec::as_slice).unwrap_or_default();
        let before = holder.children.len();
        match object {
            Object::Column(column) => not_null::as_written(self.catalog, column).write(holder),
            object => object.write(holder),
        };
        let mut nodes = holder.children.split_off(before);
        if nodes.is_empty() {
            // It is a property of `holder`, or of a part of it that it finds again by itself.
            said.push(id);
            if !children.is_empty() {
                let node = object.write(holder);
                for child in sorted(children.iter().copied()) {
                    said.push(child.id());
                    self.write(child, node);
                }
            }
            return;
        }
        let mut piece = Piece { main: id.clone(), objects: vec![id.clone()], nodes: Vec::new(), children: Vec::new() };
        if let [node] = nodes.as_mut_slice() {
            if let Object::Column(_) = object {
                if let Some((word, objects)) = self.serials.get(&id) {
                    Column::write_serial(node, word);
                    piece.objects.extend(objects.iter().cloned());
                } else if self.keyed.contains(&id) {
                    Column::leave_out_not_null(node);
                }
            }
            for child in sorted(children.iter().copied()) {
                self.add(child, node, &mut piece.objects, &mut piece.children);
            }
            if self.nested.contains(&id) {
                Partition::KEYWORD.clone_into(&mut node.name);
                node.props.shift_remove("partition-of");
            }
        }
        piece.nodes = nodes;
        pieces.push(piece);
    }
}

/// In the order of creation by kind; within a kind as they come (columns by position).
#[must_use]
pub fn sorted<'o>(objects: impl Iterator<Item = &'o Object>) -> Vec<&'o Object> {
    let mut objects: Vec<&Object> = objects.collect();
    objects.sort_by_cached_key(|object| match object {
        // What is said on the node itself comes first, so that it stands in its header.
        Object::Comment(_) | Object::Owner(_) | Object::Default(_) | Object::OwnedBy(_) | Object::Partition(_) => 0,
        object => weight(&object.id().kind) + 1,
    });
    // Tables come before columns in the order of creation; inside a table they are its partitions.
    if objects.iter().any(|object| matches!(object, Object::Column(_) | Object::Partition(_))) {
        objects.sort_by_key(|object| matches!(object, Object::Table(_)));
    }
    objects
}

/// Whether following the tables above comes back: then no node could hold the others.
fn is_circular(catalog: &Catalog, place: &Partition) -> bool {
    let mut at = &place.parent;
    for _ in 0..100 {
        let Some(above) = catalog.get_as::<Partition>(&Partition::id_of(at)) else { return false };
        at = &above.parent;
    }
    true
}

/// Columns, defaults and checks of partitions that are as their table's.
fn implied_by_partitioning(catalog: &Catalog, layout: &Layout) -> HashSet<Id> {
    let parents: HashMap<&Id, &Id> = catalog.of::<Partition>().map(|place| (&place.table, &place.parent)).collect();
    let mut implied = HashSet::new();
    if parents.is_empty() {
        return implied;
    }
    // What a comment or a grant hangs on needs a node.
    let carriers: HashSet<&Id> = catalog
        .objects
        .values()
        .filter_map(|object| match object {
            Object::Comment(comment) => Some(&comment.on),
            Object::Grant(grant) => Some(&grant.on),
            _ => None,
        })
        .collect();
    let default = |column: &Id| catalog.get_as::<ColumnDefault>(&ColumnDefault::id_of(column)).map(|default| default.expression.as_str());
    for (id, object) in &catalog.objects {
        if carriers.contains(id) || layout.spelled_in_partitions.contains(id) {
            continue;
        }
        match object {
            Object::Column(column) => {
                let Some(parent) = parents.get(&column.table) else { continue };
                let above = parent.child(Column::KEYWORD, &column.name);
                if catalog.get_as::<Column>(&above).is_some_and(|theirs| column.is_inherited_from(theirs)) && default(id) == default(&above)
                {
                    implied.insert(id.clone());
                    implied.insert(ColumnDefault::id_of(id));
                }
            }
            Object::Check(check) => {
                let Some(parent) = parents.get(&check.table) else { continue };
                let above = catalog.get_as::<Check>(&parent.child(Check::KEYWORD, &check.name));
                if above.is_some_and(|theirs| !theirs.no_inherit && Check { table: check.table.clone(), ..theirs.clone() } == *check) {
                    implied.insert(id.clone());
                }
            }
            _ => {}
        }
    }
    implied
}

/// The text of a value, whatever its spelling.
#[must_use]
pub fn text_of(value: &ValueOut) -> &str {
    match value {
        ValueOut::Text(text) | ValueOut::Number(text) => text,
        ValueOut::Bool(true) => "true",
        ValueOut::Bool(false) => "false",
    }
}
