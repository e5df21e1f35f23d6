//! For the tests of kinds: what an object writes must read back as itself.

use super::{Kind, Lowering, Scope};
use crate::catalog::Id;
use crate::kdl::{Document, NodeOut, Sources, write};

/// Writes an object into a node of its own, reads that with the kind's reader and compares; gives
/// the KDL. The object must not need its own children or the generic reader.
///
/// # Panics
/// When it does not read back equal, or with findings.
pub fn check<K: Kind>(object: &K) -> String {
    let mut parent = NodeOut::new("parent");
    object.write(&mut parent);
    let text = write::render(&parent.children);
    let mut sources = Sources::default();
    let file = sources.add("test.kdl", text.as_str());
    let document = Document::parse_in(&sources, file).expect("what is written parses");
    let mut nodes = document.nodes();
    assert_eq!(nodes.len(), 1, "{text}");
    let mut node = nodes.remove(0);
    assert_eq!(node.name(), K::NODE);
    let (above, mut out) = (object.parent(), Lowering::default());
    let at = Scope { parent: above.as_ref(), schema: above.as_ref().map_or("", |id| id.schema()) };
    let id = K::read(&mut node, &at, &mut out).unwrap_or_else(|| panic!("it reads: {text}{:?}", out.findings));
    let read = out.catalog.get(&id).and_then(K::cast);
    assert_eq!(read, Some(object), "{text}");
    assert_eq!(id, object.id(), "{text}");
    node.finish(&mut out.findings);
    assert!(out.findings.is_empty(), "{text}{:?}", out.findings);
    text
}

/// Reads one node that stands in `parent`.
///
/// # Panics
/// When it does not read, or with findings.
#[must_use]
pub fn read<K: Kind>(kdl: &str, parent: Option<&Id>) -> K {
    let mut sources = Sources::default();
    let file = sources.add("test.kdl", kdl);
    let document = Document::parse_in(&sources, file).expect("it parses");
    let mut out = Lowering::default();
    let mut node = document.nodes().remove(0);
    let id = K::read(&mut node, &Scope { parent, schema: parent.map_or("", Id::schema) }, &mut out);
    node.finish(&mut out.findings);
    assert!(out.findings.is_empty(), "{kdl}{:?}", out.findings);
    let id = id.expect("without a finding there is an object");
    out.catalog.get(&id).and_then(K::cast).expect("it is of this kind").clone()
}

/// Reads a node, checks that the object writes and reads back equal, and gives its CREATE.
///
/// # Panics
/// When one of these fails.
#[must_use]
pub fn created<K: Kind>(kdl: &str, parent: Option<&Id>) -> Vec<String> {
    let object: K = read(kdl, parent);
    check(&object);
    object.create().sql
}
