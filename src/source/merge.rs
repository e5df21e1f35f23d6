//! A catalog into files that people edit: only the nodes that differ are touched.
//!
//! Both states, the one in the files and the given one, are laid out as trees of nodes in the form
//! that the files have ([`Layout`]). Where two nodes are the same, the text stays; else the node in
//! the file is found by the span of its object.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use crate::catalog::{Catalog, Id, Ident};
use crate::kdl::{Comments, Document, Edits, FileId, Node, NodeOut, Span};
use crate::kind::{Kind as _, Object, schema::Schema};

use super::Desired;
use super::compare::{Parts, find, same_but_for_name};
use super::folder::{WriteError, file_of};
use super::layout::Layout;
use super::write::{Piece, Written};

/// Nodes for a file: those of the document itself, and those of each schema.
pub type Additions = IndexMap<Option<Ident>, Vec<NodeOut>>;

/// What happens to the files of a folder.
#[derive(Debug, Default)]
pub struct Merged {
    /// The new texts of files that change.
    pub edited: BTreeMap<FileId, String>,
    /// Nodes for files that are not there yet.
    pub added: BTreeMap<PathBuf, Additions>,
}

/// The edits that turn what the files say into `new`. `folder` is where new files go.
pub fn merge(desired: &Desired, new: &Catalog, folder: &Path) -> Result<Merged, WriteError> {
    let layout = Layout::of(desired);
    let old_pieces = Written::with_layout(&desired.catalog, &layout).pieces();
    let new_pieces = Written::with_layout(new, &layout).pieces();
    let objects = desired
        .origins()
        .values()
        .flat_map(|origin| [origin.name].into_iter().chain(origin.others.iter().copied()))
        .map(|span| (span.file, span.start))
        .collect();
    let mut merge = Merge { desired, new, folder, objects, edits: HashMap::new(), documents: HashMap::new(), added: BTreeMap::new() };
    merge.siblings(None, &old_pieces, &new_pieces);
    merge.finish()
}

struct Merge<'a> {
    desired: &'a Desired,
    new: &'a Catalog,
    folder: &'a Path,
    /// Where the nodes of objects stand: other nodes are parts of theirs.
    objects: HashSet<(FileId, u32)>,
    edits: HashMap<FileId, Edits<'a>>,
    documents: HashMap<FileId, Option<Document>>,
    added: BTreeMap<PathBuf, Additions>,
}

impl<'a> Merge<'a> {
    /// Where the nodes of an object stand.
    fn spans(&self, id: &Id) -> Vec<Span> {
        self.desired
            .origins()
            .get(id)
            .map(|origin| [origin.name].into_iter().chain(origin.others.iter().copied()).collect())
            .unwrap_or_default()
    }

    fn edits(&mut self, file: FileId) -> &mut Edits<'a> {
        let text = self.desired.sources.get(file).map_or("", |source| &*source.text);
        self.edits.entry(file).or_insert_with(|| Edits::new(text))
    }

    /// Brings the children of one node (`parent`, or the document) from `old` to `new`.
    fn siblings(&mut self, parent: Option<&Id>, old: &[Piece], new: &[Piece]) {
        let pairs = self.pair(old, new);
        let taken: HashSet<&Id> = pairs.values().map(|piece| &piece.main).collect();
        // The last node of each kind that stays: new ones go behind it.
        let mut last: HashMap<&str, Span> = HashMap::new();
        for piece in old {
            let Some(pair) = pairs.get(&piece.main) else {
                for span in self.spans(&piece.main) {
                    self.edits(span.file).delete_node(span, Comments::Keep);
                }
                continue;
            };
            if let Some(span) = self.spans(&piece.main).last() {
                let place = last.entry(piece.main.kind.as_str()).or_insert(*span);
                *place = (*place).max(*span);
            }
            self.update(piece, pair);
        }
        for piece in new.iter().filter(|piece| !taken.contains(&piece.main)) {
            self.insert(parent, piece, last.get(piece.main.kind.as_str()).copied());
        }
    }

    /// Which new node stands for which old one: the same object, or one that got a name.
    fn pair<'p>(&self, old: &'p [Piece], new: &'p [Piece]) -> HashMap<&'p Id, &'p Piece> {
        let by_main: HashMap<&Id, &Piece> = new.iter().map(|piece| (&piece.main, piece)).collect();
        let mut pairs: HashMap<&Id, &Piece> = old.iter().filter_map(|piece| Some((&piece.main, *by_main.get(&piece.main)?))).collect();
        let unnamed: Vec<&Piece> =
            old.iter().filter(|piece| !pairs.contains_key(&piece.main) && self.desired.hints.unnamed.contains(&piece.main)).collect();
        if !unnamed.is_empty() {
            let mut free: Vec<&Piece> = new.iter().filter(|piece| !pairs.contains_key(&piece.main)).collect();
            for piece in unnamed {
                let same = |other: &&Piece| other.main.kind == piece.main.kind && same_but_for_name(&other.nodes, &piece.nodes);
                if let Some(at) = free.iter().position(same) {
                    pairs.insert(&piece.main, free.remove(at));
                }
            }
        }
        pairs
    }

    /// Whether the node in the file says what it has to say.
    fn is_current(&self, old: &Piece, new: &Piece) -> bool {
        if old.nodes == new.nodes {
            return true;
        }
        // A column's node says less where its key implies the rest, so its nodes decide.
        let same = |id: &Id| self.desired.catalog.get(id) == self.new.get(id);
        old.main.kind != "column" && old.objects == new.objects && old.objects.iter().all(same)
    }

    fn update(&mut self, old: &Piece, new: &Piece) {
        let current = self.is_current(old, new);
        let spans = self.spans(&old.main);
        let Some(&first) = spans.first() else { return };
        if current {
            self.siblings(Some(&old.main), &old.children, &new.children);
        } else if old.main.kind == Schema::KEYWORD {
            // Its properties may stand on any of its nodes: then they stand on the first.
            for (at, span) in spans.iter().enumerate() {
                let plain = NodeOut::new(Schema::KEYWORD).arg(old.main.name());
                let header = if at == 0 { &new.nodes[0] } else { &plain };
                self.container(*span, header);
            }
            self.siblings(Some(&old.main), &old.children, &new.children);
        } else if old.children.is_empty() && new.children.is_empty() {
            self.leaf(&spans, first, &new.nodes);
        } else if let Some(node) = new.nodes.first() {
            self.container(first, node);
            self.siblings(Some(&old.main), &old.children, &new.children);
        }
    }

    /// Replaces the nodes of an object that holds no others.
    fn leaf(&mut self, spans: &[Span], first: Span, nodes: &[NodeOut]) {
        let parts = self.parts(first);
        let edits = self.edits(first.file);
        for (at, node) in nodes.iter().enumerate() {
            if at == 0 {
                let mut node = node.clone();
                parts.give_hints(&mut node, true);
                edits.replace_node(first, &node);
            } else {
                edits.insert_after(first, node);
            }
        }
        for span in &spans[1..] {
            self.edits(span.file).delete_node(*span, Comments::Keep);
        }
    }

    /// Replaces the header of a node and those of its own parts that differ.
    fn container(&mut self, span: Span, node: &NodeOut) {
        let parts = self.parts(span);
        let mut header = NodeOut { children: Vec::new(), ..node.clone() };
        parts.give_hints(&mut header, false);
        let edits = self.edits(span.file);
        edits.replace_header(span, &header);
        let mut missing: Vec<&NodeOut> = node.children.iter().collect();
        for part in parts.children.iter().filter(|part| !part.is_hint) {
            let same =
                missing.iter().position(|child| part.says(child)).or_else(|| missing.iter().position(|child| part.is_named_as(child)));
            match same.map(|at| missing.remove(at)) {
                Some(child) if part.says(child) => {}
                Some(child) => edits.replace_node(part.span, child),
                None => edits.delete_node(part.span, Comments::Keep),
            }
        }
        for child in missing {
            edits.insert_child(span, child.clone());
        }
    }

    /// The parts of the node at `span` that are no objects.
    fn parts(&mut self, span: Span) -> Parts {
        let sources = &self.desired.sources;
        // They were parsed when the folder was read; only those that change are parsed again.
        let document = self.documents.entry(span.file).or_insert_with(|| Document::parse_in(sources, span.file).ok());
        let node: Option<Node<'_>> = document.as_ref().and_then(|document| find(document.nodes(), span));
        node.map(|mut node| Parts::of(&mut node, |child| self.objects.contains(&(child.file, child.start)))).unwrap_or_default()
    }

    /// Puts a new node at its natural place.
    fn insert(&mut self, parent: Option<&Id>, piece: &Piece, sibling: Option<Span>) {
        let Some(object) = self.new.get(&piece.main) else { return };
        let own_file = matches!(object, Object::Schema(_) | Object::Table(_) | Object::View(_) | Object::MaterializedView(_));
        let inside = parent.filter(|parent| parent.kind != Schema::KEYWORD);
        let nodes = piece.clone().into_nodes();
        if let Some(sibling) = sibling.filter(|_| inside.is_some() || !own_file) {
            for node in &nodes {
                self.edits(sibling.file).insert_after(sibling, node);
            }
            return;
        }
        if let Some(span) = inside.and_then(|parent| self.spans(parent).first().copied()) {
            for node in nodes {
                self.edits(span.file).insert_child(span, node);
            }
            return;
        }
        if let (Object::Schema(schema), None) = (object, parent) {
            self.add_schema(schema, piece);
        } else {
            self.add(object, parent.map(|schema| Ident::new(schema.name())), nodes);
        }
    }

    /// A schema's members go into files of their own.
    fn add_schema(&mut self, schema: &Schema, piece: &Piece) {
        let (mut own, members) = (piece.clone(), &piece.children);
        own.children.retain(|child| child.main.kind == "grant");
        self.add(&schema.clone().into(), None, own.into_nodes());
        for member in members.iter().filter(|child| child.main.kind != "grant") {
            if let Some(object) = self.new.get(&member.main) {
                self.add(object, Some(schema.name.clone()), member.clone().into_nodes());
            }
        }
    }

    /// Adds nodes to the file in which a fresh folder has them.
    fn add(&mut self, object: &Object, schema: Option<Ident>, nodes: Vec<NodeOut>) {
        let path = if self.folder.is_file() { self.folder.to_owned() } else { self.folder.join(file_of(object)) };
        self.added.entry(path).or_default().entry(schema).or_default().extend(nodes);
    }

    fn finish(mut self) -> Result<Merged, WriteError> {
        let files: HashMap<PathBuf, FileId> = self.desired.sources.iter().map(|(id, source)| (source.path.clone(), id)).collect();
        let mut fresh = BTreeMap::new();
        for (path, additions) in std::mem::take(&mut self.added) {
            let Some(&file) = files.get(&path) else {
                fresh.insert(path, additions);
                continue;
            };
            for (schema, nodes) in additions {
                let inside = schema.as_deref().filter(|name| self.new.contains(&Schema::id_of(name)));
                let place = inside.and_then(|name| self.spans(&Schema::id_of(name)).into_iter().find(|span| span.file == file));
                match (place, schema) {
                    (Some(span), _) => nodes.into_iter().for_each(|node| self.edits(file).insert_child(span, node)),
                    (None, Some(schema)) => {
                        self.edits(file).append(NodeOut { children: nodes, ..NodeOut::new(Schema::KEYWORD).arg(schema.as_str()) });
                    }
                    (None, None) => nodes.into_iter().for_each(|node| self.edits(file).append(node)),
                }
            }
        }
        let mut edited = BTreeMap::new();
        for (file, edits) in self.edits {
            let Some(source) = self.desired.sources.get(file) else { continue };
            let text = edits.apply().map_err(|error| WriteError::Edit { path: source.path.clone(), error })?;
            if *text != *source.text {
                edited.insert(file, text);
            }
        }
        Ok(Merged { edited, added: fresh })
    }
}
