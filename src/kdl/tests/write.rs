use proptest::prelude::*;

use crate::kdl::{NodeOut, ValueOut, render};

/// What a reader gets back: name, arguments and properties as texts.
fn read_back(text: &str) -> (String, Vec<String>, Vec<(String, String)>) {
    let (_, document) = super::parse(text);
    let mut f = crate::kdl::Findings::new();
    let mut node = document.nodes().remove(0);
    let name = node.name().to_owned();
    let args = node.args().into_iter().map(|text| text.value).collect();
    let props = node.properties(&mut f).into_iter().map(|(name, value)| (name.value, value.value)).collect();
    node.finish(&mut f);
    assert!(f.is_empty(), "{text}: {f:?}");
    (name, args, props)
}

#[test]
fn a_table_is_written() {
    let column = NodeOut::new("column")
        .arg("severity")
        .arg("varchar(16)")
        .flag("not-null", true)
        .flag("unique", false)
        .prop("default", ValueOut::plain("4.990"));
    let body = NodeOut::new("body").arg("BEGIN  -- \"quotes\"\n\n    RETURN '\\d';\nEND");
    let key = NodeOut::new("foreign-key").arg("model_id").child(NodeOut::new("references").arg("models").arg("id")).inline();
    let table = NodeOut::new("table").arg("orders").comment("One.\n\nTwo.").child(column).child(body).child(key).prop("rls", true);
    let check = NodeOut::new("check").arg("\"User Id\" IS NOT NULL").prop("name", "true").opt_prop("x", None::<i64>).opt_prop("n", Some(5));
    insta::assert_snapshot!(render(&[table, check]), @r####"
    // One.
    //
    // Two.
    table orders rls=#true {
        column severity "varchar(16)" not-null default=4.990
        body #"""
            BEGIN  -- "quotes"

                RETURN '\d';
            END
            """#
        foreign-key model_id { references models id; }
    }
    check #""User Id" IS NOT NULL"# name="true" n=5
    "####);
}

#[test]
fn spellings() {
    let spell = crate::kdl::write::spell_on_line;
    for (text, expected) in [
        ("name", "name"),
        ("PG-13", "PG-13"),
        ("orders.no", "orders.no"),
        ("1st", "\"1st\""),
        ("-1", "\"-1\""),
        (".5", "\".5\""),
        ("", "\"\""),
        ("null", "\"null\""),
        ("-inf", "\"-inf\""),
        ("größe", "größe"),
        ("a b", "\"a b\""),
        ("a=b", "\"a=b\""),
        ("say \"x\"", "#\"say \"x\"\"#"),
        ("\"#", "##\"\"#\"##"),
        ("\"\"", "\"\\\"\\\"\""),
        ("\"", "\"\\\"\""),
        ("a\tb\r\n", "\"a\\tb\\r\\n\""),
        ("\u{202E}x\u{1}", "\"\\u{202e}x\\u{1}\""),
    ] {
        assert_eq!(spell(text), expected);
    }
    for (text, value) in [
        ("0", ValueOut::Number("0".into())),
        ("1e5", ValueOut::Number("1e5".into())),
        ("true", true.into()),
        ("1.", "1.".into()),
        ("now()", "now()".into()),
    ] {
        assert_eq!(ValueOut::plain(text), value);
    }
    assert_eq!(render(&[NodeOut::new("x").arg(ValueOut::Number("0; drop".into()))]), "x \"0; drop\"\n");
}

#[test]
fn long_headers_go_on_in_the_next_line() {
    let node = (0..12).fold(NodeOut::new("index"), |node, n| node.arg(format!("column_number_{n}")));
    let text = render(std::slice::from_ref(&node));
    assert!(text.lines().all(|line| line.chars().count() <= 102), "{text}");
    assert_eq!(text.lines().count(), 3);
    assert_eq!(read_back(&text).1.len(), 12);
}

fn odd_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => any::<char>().prop_filter("PostgreSQL has no NUL", |c| *c != '\0').prop_map(String::from),
        1 => prop::sample::select(vec![
            "\n", "\r\n", "\r", " \n", "\t", "\"", "\"\"\"", "\"#", "\"\"\"##", "#", "\\", "\\n", "//", "/*", "    ", "\u{202E}", "\u{2067}", "\u{FEFF}", "\u{85}", "\u{2028}", "\u{7F}", "\u{1}",
            "\u{B}", "SELECT", "true", "-1", "\u{A0}", "\u{3000}\n", "é",
        ]).prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_text_survives(name in odd_text(), args in prop::collection::vec(odd_text(), 0..4), props in prop::collection::btree_map(odd_text(), odd_text(), 0..3), comment in odd_text()) {
        let inner = props.iter().fold(NodeOut::new(name.clone()).args(args.iter().map(String::as_str)).comment(comment), |node, (name, value)| node.prop(name.clone(), value.clone()));
        let text = render(std::slice::from_ref(&inner));
        let props: Vec<(String, String)> = props.into_iter().collect();
        prop_assert_eq!(read_back(&text), (name.clone(), args.clone(), props));
        // As a child, at another indentation, and on one line.
        for outer in [NodeOut::new("t").child(inner.clone()), NodeOut::new("t").child(NodeOut { leading_comment: None, ..inner.clone() }).inline()] {
            let text = render(&[outer]);
            let (_, document) = super::parse(&text);
            let mut child = document.nodes().remove(0).rest().remove(0);
            prop_assert_eq!(child.name(), &name);
            prop_assert_eq!(child.args().into_iter().map(|text| text.value).collect::<Vec<_>>(), args.clone());
        }
    }

    #[test]
    fn plain_values_survive(text in prop_oneof![odd_text(), "-?[0-9]{1,40}(\\.[0-9]{0,3})?(e[+-]?[0-9]{0,3})?"]) {
        prop_assert_eq!(read_back(&render(&[NodeOut::new("x").arg(ValueOut::plain(&text))])).1, vec![text]);
    }
}
