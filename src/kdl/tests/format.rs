use ::kdl::KdlDocument;
use proptest::prelude::*;

use crate::kdl::lex::{Token, tokens};
use crate::kdl::{FormatError, format};

use super::{FILE, generate};

fn formatted(text: &str) -> String {
    format(FILE, text).unwrap_or_else(|error| panic!("{error}: {text:?}"))
}

#[test]
fn a_file_is_formatted() {
    let text = "\n\nschema public{\n\n\n  // models   \n table  models  comment = \"x\"  { column id   bigint ;   // the key\n\n\n\n   column \\\n      name text; column x int\n\tprimary-key id /* why */ ; }   // after the brace\n  /-  table old {\n a}\n function f {\n  body #\"\"\"\n   BEGIN\n\n     x\n   \"\"\"#\n }\n\n}\n\n\n// end";
    insta::assert_snapshot!(formatted(text), @r####"
    schema public {
        // models
        table models comment="x" {
            column id bigint // the key

            column \
                name text; column x int
            primary-key id /* why */
        } // after the brace
        /-table old {
            a
        }
        function f {
            body #"""
                BEGIN

                  x
                """#
        }
    }

    // end
    "####);
}

#[test]
fn edges() {
    for (text, expected) in [
        ("", ""),
        ("\n\n", ""),
        ("a", "a\n"),
        ("\u{FEFF}a", "\u{FEFF}a\n"),
        ("a;b", "a; b\n"),
        ("a;\nb;", "a\nb\n"),
        ("a{}", "a {}\n"),
        ("a{b}", "a { b }\n"),
        ("a\r\n  b\r\n", "a\r\nb\r\n"),
        ("a x = ( t ) 1", "a x=(t)1\n"),
        ("// only", "// only\n"),
        ("a \\\n\nb", "a \\\n\nb\n"),
        ("a \\\n\n\n\nb", "a \\\n\nb\n"),
        ("a { b \\\n }", "a {\n    b \\\n}\n"),
        ("a { b { c\nd; } }", "a {\n    b {\n        c\n        d\n    }\n}\n"),
        ("a { // c\n\n b; }", "a { // c\n\n    b\n}\n"),
    ] {
        assert_eq!(formatted(text), expected, "{text:?}");
    }
    assert!(matches!(format(FILE, "a {"), Err(FormatError::Syntax(f)) if !f.is_empty()));
}

fn comments(text: &str) -> Vec<&str> {
    tokens(text, 0).filter(|token| token.is_comment()).map(|token| token.text(text).trim_end()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, max_global_rejects: 200_000, ..ProptestConfig::default() })]

    #[test]
    fn comments_and_meaning_stay(text in generate::document()) {
        let before = KdlDocument::parse(&text);
        prop_assume!(before.is_ok());
        let once = formatted(&text);
        prop_assert!(crate::kdl::format::same_meaning(&before.expect("it was asked"), &once), "{}", once);
        prop_assert_eq!(comments(&text), comments(&once));
        prop_assert_eq!(formatted(&once), once);
    }

    #[test]
    fn tokens_cover_every_text(text in any::<String>()) {
        let all: Vec<Token> = tokens(&text, 0).collect();
        prop_assert_eq!(all.iter().map(|token| token.text(&text)).collect::<String>(), text);
    }
}
