use ::kdl::KdlDocument;
use proptest::prelude::*;

use crate::kdl::{Comments, EditError, Edits, Findings, Node, NodeOut, Span};

use super::{FILE, generate, parse};

fn edited(text: &str, edit: impl FnOnce(&mut Edits<'_>, Vec<Node<'_>>)) -> String {
    let (_, document) = parse(text);
    let mut edits = Edits::new(text);
    edit(&mut edits, document.nodes());
    edits.apply().expect("the edits are possible")
}

fn new_column() -> NodeOut {
    NodeOut::new("column").arg("new").arg("int")
}

#[test]
fn headers() {
    let header = NodeOut::new("column").arg("a").arg("bigint");
    for (text, expected) in [
        ("  column a int // c\n", "  column a bigint // c\n"),
        ("column a int { x; }", "column a bigint { x; }"),
        ("column a /* why */ int /-old=1 x=2 /-{ y }", "column a bigint /* why */ /-old=1 /-{ y }"),
        ("\tcolumn a \\ // why\n int;", "\t// why\n\tcolumn a bigint;"),
    ] {
        assert_eq!(edited(text, |edits, nodes| edits.replace_header(nodes[0].span(), &header)), expected);
    }
}

#[test]
fn deletions() {
    for (text, keep, delete) in [
        ("x\n  // of a\n  a 1 // why\n  b\n", "x\n  // of a\n  // why\n  b\n", "x\n  b\n"),
        ("x; a; b\n", "x; b\n", "x; b\n"),
        ("x; a\nb\n", "x;\nb\n", "x;\nb\n"),
        ("x\na { y; }", "x\n", "x\n"),
        ("x\r\na\r\nb\r\n", "x\r\nb\r\n", "x\r\nb\r\n"),
        ("x\n/* c */ a\n", "x\n/* c */\n", "x\n/* c */\n"),
        ("x\n\n// other\n\na;\n", "x\n\n// other\n\n", "x\n\n// other\n\n"),
        ("x \"\"\"\n// text\n\"\"\"\na\n", "x \"\"\"\n// text\n\"\"\"\n", "x \"\"\"\n// text\n\"\"\"\n"),
    ] {
        assert_eq!(edited(text, |edits, nodes| edits.delete_node(nodes[1].span(), Comments::Keep)), keep);
        assert_eq!(edited(text, |edits, nodes| edits.delete_node(nodes[1].span(), Comments::Delete)), delete);
    }
    let hint = |text: &str| {
        edited(text, |edits, mut nodes| {
            let part = nodes[0].child("was", &mut Findings::new()).expect("a hint");
            if part.is_property() { edits.delete_entry(part.whole_span()) } else { edits.delete_node(part.whole_span(), Comments::Keep) }
        })
    };
    assert_eq!(hint("a b  was = c d=1 // x"), "a b d=1 // x");
    assert_eq!(hint("a b {\n  was c\n  d 1\n}"), "a b {\n  d 1\n}");
}

#[test]
fn insertions() {
    for (text, expected) in [
        ("t a", "t a {\n    column new int\n}"),
        ("  t a // c\n  u", "  t a {\n      column new int\n  } // c\n  u"),
        ("t a {\n  x\n}\n", "t a {\n  x\n  column new int\n}\n"),
        ("t a {\n    x }", "t a {\n    x \n    column new int\n}"),
        ("t a { x; }", "t a { x; column new int; }"),
        ("t a {}", "t a { column new int; }"),
        ("t a { x }", "t a { x \n    column new int\n}"),
        ("t a {\r\n}\r\n", "t a {\r\n    column new int\r\n}\r\n"),
        ("t a {\n    x \\\n}\n", "t a {\n    x \\\n\n    column new int\n}\n"),
        ("t a /-{ x } // c", "t a {\n    column new int\n} /-{ x } // c"),
    ] {
        assert_eq!(edited(text, |edits, nodes| edits.insert_child(nodes[0].span(), new_column())), expected);
    }
    let two = edited("t a", |edits, nodes| {
        edits.replace_header(nodes[0].span(), &NodeOut::new("t").arg("b"));
        edits.insert_child(nodes[0].span(), NodeOut::new("x"));
        edits.insert_child(nodes[0].span(), NodeOut::new("y"));
        edits.append(NodeOut::new("z"));
    });
    assert_eq!(two, "t b {\n    x\n    y\n}\nz\n");
    assert_eq!(
        edited("t {\n    a\n    b\n}", |edits, mut nodes| {
            for child in nodes[0].rest() {
                edits.delete_node(child.span(), Comments::Keep);
            }
            edits.insert_child(nodes[0].span(), NodeOut::new("c"));
        }),
        "t {\n    c\n}"
    );
    assert_eq!(edited("", |edits, _| edits.append(NodeOut::new("z"))), "z\n");
    assert_eq!(edited("a // x", |edits, _| edits.append(NodeOut::new("z"))), "a // x\nz\n");
    assert_eq!(edited("a \\ // x\n", |edits, _| edits.append(NodeOut::new("z"))), "a \\ // x\n\nz\n");
}

#[test]
fn impossible_edits_are_refused() {
    let mut edits = Edits::new("a b c");
    edits.replace(Span::new(FILE, 2, 5), "x");
    edits.replace(Span::new(FILE, 4, 5), "y");
    assert_eq!(edits.apply(), Err(EditError::Overlap { at: 4 }));
    let mut edits = Edits::new("a b");
    edits.replace(Span::new(FILE, 2, 3), "{");
    assert!(matches!(edits.apply(), Err(EditError::Invalid { .. })));
    let mut edits = Edits::new("a");
    edits.replace(Span::new(FILE, 7, 9), "{");
    assert!(edits.apply().is_err());
}

/// The nodes in depth-first order: (name, its place, the number of its parent).
fn all(nodes: Vec<Node<'_>>, parent: Option<usize>, out: &mut Vec<(String, Span, Span, Option<usize>)>) {
    for mut node in nodes {
        let index = out.len();
        out.push((node.name().to_owned(), node.span(), node.whole_span(), parent));
        all(node.rest(), Some(index), out);
    }
}

fn listed(text: &str) -> Vec<(String, Span, Span, Option<usize>)> {
    let (_, document) = parse(text);
    let mut out = Vec::new();
    all(document.nodes(), None, &mut out);
    out
}

fn names(text: &str) -> Vec<(String, Option<usize>)> {
    listed(text).into_iter().map(|(name, _, _, parent)| (name, parent)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, max_global_rejects: 200_000, ..ProptestConfig::default() })]

    #[test]
    fn one_edit_leaves_the_rest(text in generate::document(), pick in any::<prop::sample::Index>(), operation in 0..5) {
        prop_assume!(KdlDocument::parse(&text).is_ok());
        let nodes = listed(&text);
        prop_assume!(!nodes.is_empty());
        let index = pick.index(nodes.len());
        let (_, _, whole, parent) = nodes[index].clone();
        let range = whole.range();
        let mut expected = names(&text);
        let size = 1 + nodes[index + 1..].iter().take_while(|(_, _, inner, _)| inner.range().end <= range.end).count();
        let mut edits = Edits::new(&text);
        let new = NodeOut::new("new").arg(1);
        let remove = |expected: &mut Vec<(String, Option<usize>)>, with: Option<(String, Option<usize>)>| {
            let less = size - usize::from(with.is_some());
            expected.splice(index..index + size, with);
            for (_, parent) in expected.iter_mut() {
                *parent = parent.map(|parent| if parent > index { parent - less } else { parent });
            }
        };
        match operation {
            0 => {
                edits.replace_header(whole, &new);
                expected[index].0 = "new".to_owned();
            }
            1 => {
                edits.replace_node(whole, &new);
                remove(&mut expected, Some(("new".to_owned(), parent)));
            }
            2 => {
                edits.delete_node(whole, Comments::Keep);
                remove(&mut expected, None);
            }
            3 => {
                edits.insert_child(whole, new);
                expected.insert(index + size, ("new".to_owned(), Some(index)));
                for (_, parent) in &mut expected[index + size + 1..] {
                    *parent = parent.map(|parent| if parent >= index + size { parent + 1 } else { parent });
                }
            }
            _ => {
                edits.append(new);
                expected.push(("new".to_owned(), None));
            }
        }
        let after = edits.apply();
        prop_assert!(after.is_ok(), "{:?}", after);
        let after = after.expect("it was asked");
        prop_assert_eq!(names(&after), expected, "{}", after);
        // Around the edit all bytes stay; a deletion takes white space and `;` besides.
        if operation == 4 {
            prop_assert!(after.starts_with(&text));
        } else {
            let before = text[..range.start].trim_end();
            let end = if matches!(operation, 1..=3) { crate::kdl::lex::shape(&text, range.start).full_end } else { range.end };
            let behind = text[end..].trim_start_matches(|c: char| c.is_whitespace() || c == ';');
            if operation == 2 {
                let ink = |text: &str| text.chars().filter(|c| !c.is_whitespace() && *c != ';').collect::<String>();
                prop_assert_eq!(ink(&after), ink(before) + &ink(behind));
                return Ok(());
            }
            prop_assert!(after.starts_with(before), "{}", after);
            prop_assert!(after.ends_with(behind), "{}", after);
        }
    }
}
