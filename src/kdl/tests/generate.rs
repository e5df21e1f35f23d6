//! Random KDL documents with white space and comments wherever KDL permits them. Not every text is valid: a test asks the kdl crate first.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::Union;

fn any_of(texts: &'static [&'static str]) -> BoxedStrategy<String> {
    Union::new(texts.iter().map(|text| Just((*text).to_owned()))).boxed()
}

fn space0() -> BoxedStrategy<String> {
    any_of(&["", "", "", " ", "  ", "\t", "/* c */", " /* a\n    b */ ", " /*n/*e*/st*/", "\u{A0}"])
}

fn space1() -> BoxedStrategy<String> {
    any_of(&[" ", " ", " ", "   ", "\t", " /*x*/ ", "/**/", " \\\n  ", " \\ // esc  \n", "\\\r\n", " \\ /* c */ \n", " \\\n\\\n "])
}

fn line_space() -> BoxedStrategy<String> {
    any_of(&[
        "\n",
        "\n\n\n",
        "// line\n",
        "  // line \t\n",
        "//\n",
        "  ",
        "/* block */ ",
        "/* b\n b */\n",
        "\t",
        "\r\n",
        "\\\n",
        "//; { } \" /*\n",
        "\u{2028}",
    ])
}

fn terminator() -> BoxedStrategy<String> {
    any_of(&[
        "\n",
        "\n",
        ";",
        "; ",
        " ;\n",
        " // end\n",
        "// end { \r\n",
        "\r\n",
        "\n\n\n\n",
        ";\n",
        "; // after\n",
        "/* c */\n",
        " /* c */;",
    ])
}

fn word() -> BoxedStrategy<String> {
    any_of(&[
        "a",
        "column",
        "not-null",
        "x1",
        "ünïcode",
        "日本",
        "-",
        "+x",
        ".y",
        "a.b",
        "<>",
        "\"q q\"",
        "\"esc \\\" \\\\ \\n \\u{e9}\"",
        "#\"ra\\w \" x\"#",
        "##\"a\"#b\"##",
        "\"\"",
        "\"// no /* comment\"",
        "\"{;}\"",
    ])
}

fn value() -> BoxedStrategy<String> {
    let plain = Union::new([
        word(),
        word(),
        any_of(&["1", "4.990", "-1_000", "0xFF", "1e9", "+3", "#true", "#false", "#null", "#inf", "#-inf", "#nan"]),
        any_of(&[
            "\"\"\"\n  two\n    lines\n\n  \"\"\"",
            "#\"\"\"\n\tBEGIN -- \"q\" \\d\n\n\t\tx // no comment\n\t\"\"\"#",
            "##\"\"\"\n\"\"\"# \n\"\"\"##",
            "\"\"\"\n    esc \\n \\\n      joined\n    \"\"\"",
            "\"\"\"\r\n  crlf\r\n   \r\n  \"\"\"",
            "#\"\"\"\n \u{3000}wide\n \u{3000}\"\"\"#",
            "\"\"\"\n\"\"\"",
        ]),
    ]);
    (prop_oneof![6 => Just(String::new()), 1 => any_of(&["(env)", "( t )", "(\"t t\")", "(t) ", "(t/*c*/)"])], plain)
        .prop_map(|(ty, value)| ty + &value)
        .boxed()
}

fn entry() -> BoxedStrategy<String> {
    let live = prop_oneof![
        2 => value(),
        2 => (word(), space0(), space0(), value()).prop_map(|(name, before, after, value)| format!("{name}{before}={after}{value}")),
    ];
    (prop_oneof![6 => Just(""), 1 => Just("/-"), 1 => Just("/- "), 1 => Just("/-\n  "), 1 => Just("/- // why\n ")], live)
        .prop_map(|(dash, entry)| format!("{dash}{entry}"))
        .boxed()
}

fn nodes(node: BoxedStrategy<String>) -> BoxedStrategy<String> {
    let one = (vec(line_space(), 0..3), node, terminator()).prop_map(|(before, node, end)| before.concat() + &node + &end);
    (vec(one, 0..4), vec(line_space(), 0..3)).prop_map(|(nodes, after)| nodes.concat() + &after.concat()).boxed()
}

fn node(children: BoxedStrategy<String>) -> BoxedStrategy<String> {
    let block = (any_of(&["{", "{", " {", " /-{", " /- {", "/* c */{"]), children, any_of(&["}", "}", "} ", "} /* c */", "}\\\n"]))
        .prop_map(|(open, nodes, close)| open + &nodes + &close);
    (
        prop_oneof![8 => Just(String::new()), 1 => any_of(&["/-", "/- ", "/-\n", "/- // c\n"]), 1 => Just("(t)".to_owned())],
        word(),
        vec((space1(), entry()), 0..4),
        prop_oneof![2 => Just(String::new()), 1 => block.clone(), 1 => (block.clone(), block).prop_map(|(a, b)| a + &b)],
    )
        .prop_map(|(dash, name, entries, block)| {
            let entries: String = entries.into_iter().map(|(space, entry)| space + &entry).collect();
            dash + &name + &entries + &block
        })
        .boxed()
}

/// A document; about half of them are valid.
pub(super) fn document() -> BoxedStrategy<String> {
    let mut inner = nodes(node(Just(" ".to_owned()).boxed()));
    for _ in 0..2 {
        inner = nodes(node(inner));
    }
    (prop_oneof![9 => Just(""), 1 => Just("\u{FEFF}")], inner).prop_map(|(bom, nodes)| bom.to_owned() + &nodes).boxed()
}
