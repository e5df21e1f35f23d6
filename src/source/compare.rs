//! Nodes in a file beside nodes to be written: which of a node's own parts differ.

use crate::kdl::{Findings, Node, NodeOut, Span, ValueOut};

use super::write::text_of;

/// What a person says besides the state: it stays when a node is written again.
const HINTS: &[&str] = &["was", "backfill", "revert", "rename"];

/// What a node says, whatever its spelling.
#[derive(Debug, PartialEq, Eq)]
struct Content {
    name: String,
    args: Vec<String>,
    props: Vec<(String, String)>,
    children: Vec<Content>,
}

impl Content {
    fn written(node: &NodeOut) -> Self {
        Self {
            name: node.name.clone(),
            args: node.args.iter().map(|value| text_of(value).to_owned()).collect(),
            props: node.props.iter().map(|(name, value)| (name.clone(), text_of(value).to_owned())).collect(),
            children: node.children.iter().map(Self::written).collect(),
        }
    }

    fn read(node: &mut Node<'_>) -> Self {
        // A node that was read once has no findings that matter here.
        let mut ignored = Findings::new();
        Self {
            name: node.name().to_owned(),
            args: node.args().into_iter().map(|text| text.value).collect(),
            props: node.properties(&mut ignored).into_iter().map(|(name, value)| (name.value, value.value)).collect(),
            children: node.rest().iter_mut().map(Self::read).collect(),
        }
    }
}

/// A child that is a part of its node and no object.
#[derive(Debug)]
pub struct Part {
    /// The place of its name.
    pub span: Span,
    /// Whether it is a hint.
    pub is_hint: bool,
    content: Content,
}

impl Part {
    /// Whether it has the name of this node.
    pub fn is_named_as(&self, node: &NodeOut) -> bool {
        self.content.name == node.name
    }

    /// Whether it says what this node says.
    pub fn says(&self, node: &NodeOut) -> bool {
        self.content == Content::written(node)
    }
}

/// A node in a file: its own parts, and the hints among its properties.
#[derive(Debug, Default)]
pub struct Parts {
    /// Children that are no objects.
    pub children: Vec<Part>,
    /// Hints that are properties.
    pub hints: Vec<(String, ValueOut)>,
}

impl Parts {
    /// Looks into a node; `is_object` tells which children are objects of their own.
    pub fn of(node: &mut Node<'_>, is_object: impl Fn(Span) -> bool) -> Self {
        let mut ignored = Findings::new();
        let properties = node.properties(&mut ignored);
        let hints = properties
            .into_iter()
            .filter(|(name, _)| HINTS.contains(&name.value.as_str()))
            .map(|(name, value)| (name.value, ValueOut::Text(value.value)))
            .collect();
        let children = node
            .rest()
            .into_iter()
            .filter(|child| !is_object(child.span()))
            .map(|mut child| Part { span: child.span(), is_hint: HINTS.contains(&child.name()), content: Content::read(&mut child) })
            .collect();
        Self { children, hints }
    }

    /// Adds the hints to a node that will be written instead of this one: those that are properties,
    /// and, where the whole block is replaced, those that are children.
    pub fn give_hints(&self, node: &mut NodeOut, with_children: bool) {
        for (name, value) in &self.hints {
            node.set(name, value.clone());
        }
        for part in self.children.iter().filter(|part| with_children && part.is_hint) {
            let Content { name, args, .. } = &part.content;
            node.add(NodeOut::new(name).args(args.iter().map(String::as_str)));
        }
    }
}

/// Whether two nodes are equal but for the name that one of them may carry as `name=`.
pub fn same_but_for_name(a: &[NodeOut], b: &[NodeOut]) -> bool {
    let bare = |nodes: &[NodeOut]| {
        let mut nodes = nodes.to_vec();
        for node in &mut nodes {
            node.props.shift_remove("name");
        }
        nodes
    };
    bare(a) == bare(b)
}

/// The node whose name stands at `span`, somewhere below `nodes`.
pub fn find(nodes: Vec<Node<'_>>, span: Span) -> Option<Node<'_>> {
    // The last one that begins at or before it holds it, if any does.
    let mut node = nodes.into_iter().rfind(|node| node.span().start <= span.start)?;
    if node.span().start == span.start { Some(node) } else { find(node.rest(), span) }
}
