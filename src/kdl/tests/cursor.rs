use crate::kdl::{Document, FileId, Findings, Span, Spelling};

use super::{FILE, parse, shown, sources};

#[test]
fn a_column_is_read() {
    let text =
        r#"column total "numeric(12,2)" not-null default=4.990 was=sum { backfill "lower(x)"; grant hr select; grant boss update; }"#;
    let (sources, document) = parse(text);
    let mut f = Findings::new();
    let mut node = document.nodes().remove(0);
    assert_eq!(node.name(), "column");
    let name = node.arg("a name", &mut f).expect("a name");
    assert_eq!((name.as_str(), name.spelling), ("total", Spelling::Word));
    assert!(node.flag("not-null", &mut f));
    assert!(!node.flag("unique", &mut f));
    let data_type = node.arg("a type", &mut f).expect("a type");
    assert_eq!(data_type.value, "numeric(12,2)");
    assert_eq!(sources.slice(data_type.span), "\"numeric(12,2)\"");
    let default = node.value("default", &mut f).expect("a default");
    assert_eq!((default.as_str(), default.spelling), ("4.990", Spelling::Number));
    assert_eq!(sources.slice(default.span), "4.990");
    assert_eq!(node.value("was", &mut f).map(|text| text.value).as_deref(), Some("sum"));
    assert_eq!(node.value("backfill", &mut f).map(|text| text.value).as_deref(), Some("lower(x)"));
    let grants: Vec<String> = node
        .children("grant")
        .into_iter()
        .map(|mut grant| {
            let words = grant.args().into_iter().map(|word| word.value).collect::<Vec<_>>().join(" ");
            grant.finish(&mut f);
            words
        })
        .collect();
    assert_eq!(grants, ["hr select", "boss update"]);
    assert_eq!(sources.slice(node.whole_span()), text);
    node.finish(&mut f);
    assert_eq!(f, Findings::new());
}

/// Reads a column the way a kind would, and shows the findings.
fn column(text: &str) -> Vec<String> {
    let (sources, document) = parse(text);
    let mut f = Findings::new();
    for mut node in document.nodes() {
        node.arg("a name", &mut f);
        node.flag("not-null", &mut f);
        node.arg("a type", &mut f);
        node.value("default", &mut f);
        node.number("statistics", &mut f);
        node.word("storage", &["plain", "external", "extended"], &mut f);
        for part in node.children("grant") {
            let mut part = part;
            part.args();
            part.finish(&mut f);
        }
        node.finish(&mut f);
    }
    shown(&sources, &f)
}

#[test]
fn what_is_left_over_is_reported_at_its_place() {
    assert_eq!(column("column a int not-nul=#true"), ["not-nul: unknown property `not-nul` on column; did you mean `not-null`?"]);
    assert_eq!(column("column a int not_null"), ["not_null: unexpected argument `not_null` on column | did you mean `not-null`?"]);
    assert_eq!(
        column("column a int default"),
        ["default: unexpected argument `default` on column | `default` needs a value: write `default=…`"]
    );
    assert_eq!(column("column a int { grnt b; }"), ["grnt: unknown `grnt` on column; did you mean `grant`?"]);
    assert_eq!(
        column("column a int { frobnicate b; }"),
        ["frobnicate: unknown `frobnicate` on column | possible are `not-null`, `default`, `statistics`, `storage`, `grant`"]
    );
    assert_eq!(column("column a"), ["column a: `column` needs a type"]);
    assert_eq!(column("column a not-null"), ["column a: `column` needs a type"]);
    assert_eq!(column("column a \"not-null\""), Vec::<String>::new());
    assert_eq!(column("column not-null int"), Vec::<String>::new());
    assert_eq!(column("column a int default=1 default=2"), ["default=2: `default` stands twice on column | keep one of them"]);
    assert_eq!(column("column a int default=1 { default 2; }"), ["default: `default` stands twice on column | keep one of them"]);
    assert_eq!(column("column a int { default 1 2; }"), ["2: unexpected argument `2` on default"]);
    assert_eq!(column("column a int { default; }"), ["default: `default` needs a value"]);
    assert_eq!(
        column("column a int default=#null"),
        ["#null: `#null` has no meaning here | write `\"null\"` for the word, or leave it out"]
    );
    assert_eq!(
        column("column a int not-null=yes"),
        ["yes: `not-null` is a flag: it is `#true` or `#false` | write `not-null=#true`, or `not-null=#false`"]
    );
    assert_eq!(column("column a int statistics=many"), ["many: `statistics` must be an integer | write a number, as in `statistics=10`"]);
    assert_eq!(
        column("column a int statistics=\"10\""),
        ["\"10\": `statistics` must be an integer | write it without quotes: `statistics=10`"]
    );
    assert_eq!(
        column("column a int storage=externl"),
        ["externl: `storage` cannot be `externl` | did you mean `external`? Possible are `plain`, `external`, `extended`"]
    );
    assert_eq!(column("column (x)a int"), ["x: unexpected type annotation `(x)` | leave it out"]);
    assert_eq!(column("(x)column a int"), ["x: unexpected type annotation `(x)` | leave it out"]);
    assert_eq!(column("column a int /-odd=1 /-{ grnt; }"), Vec::<String>::new());
}

#[test]
fn flags_in_every_form() {
    for (text, expected) in [
        ("x cycle", Some(true)),
        ("x cycle=#true", Some(true)),
        ("x cycle=#false", Some(false)),
        ("x { cycle; }", Some(true)),
        ("x { cycle #false; }", Some(false)),
        ("x", None),
    ] {
        let (_, document) = parse(text);
        let mut f = Findings::new();
        let mut node = document.nodes().remove(0);
        assert_eq!(node.opt_flag("cycle", &mut f), expected, "{text}");
        node.finish(&mut f);
        assert!(f.is_empty(), "{text}: {f:?}");
    }
}

#[test]
fn numbers_keep_their_source_and_have_a_value() {
    let (_, document) = parse("x 1_000 0xff -5 4.990 #true 1e3 99999999999999999999");
    let mut f = Findings::new();
    let mut node = document.nodes().remove(0);
    let args: Vec<(String, Option<i64>)> = node.args().into_iter().map(|text| (text.value.clone(), text.integer())).collect();
    node.finish(&mut f);
    let expected = [
        ("1_000", Some(1000)),
        ("0xff", Some(255)),
        ("-5", Some(-5)),
        ("4.990", None),
        ("true", None),
        ("1e3", None),
        ("99999999999999999999", None),
    ];
    assert_eq!(args, expected.map(|(text, number)| (text.to_owned(), number)));
}

#[test]
fn options_annotations_and_dispatch() {
    let (sources, document) = parse("with fillfactor=70 toast.autovacuum_enabled=#false fillfactor=80\nurl (env)A { direct; other; }");
    let mut f = Findings::new();
    let mut nodes = document.nodes();
    let mut with = nodes.remove(0);
    let options: Vec<String> = with.properties(&mut f).into_iter().map(|(name, value)| format!("{}={}", name.value, value.value)).collect();
    assert_eq!(options, ["fillfactor=70", "toast.autovacuum_enabled=false"]);
    with.finish(&mut f);
    let mut url = nodes.remove(0);
    url.allow_annotations(&["env"]);
    let value = url.opt_arg().expect("an argument");
    assert_eq!((value.annotation.as_deref(), value.as_str(), sources.slice(value.span)), (Some("env"), "A", "A"));
    for child in url.rest() {
        match child.name() {
            "direct" => child.finish(&mut f),
            _ => child.unknown("url", &["direct"], &mut f),
        }
    }
    url.finish(&mut f);
    assert_eq!(
        shown(&sources, &f),
        ["fillfactor: `fillfactor` stands twice on with | keep one of them", "other: unknown `other` on url | possible are `direct`"]
    );
}

#[test]
fn a_property_is_a_child_with_one_argument() {
    for text in ["x identity=always", "x { identity always; }"] {
        let (sources, document) = parse(text);
        let mut f = Findings::new();
        let mut node = document.nodes().remove(0);
        let mut identity = node.child("identity", &mut f).expect("an identity");
        assert_eq!(identity.arg("a word", &mut f).map(|text| text.value).as_deref(), Some("always"));
        assert_eq!(identity.value("name", &mut f), None);
        assert!(sources.slice(identity.whole_span()).starts_with("identity"));
        identity.finish(&mut f);
        node.finish(&mut f);
        assert!(f.is_empty(), "{f:?}");
    }
}

#[test]
fn whole_spans() {
    let text =
        "a 1 /-2 { b; } // c\nb /-{ x } { y } /-{ z }; c d \\\n  e /-f = 2\n\"d\" /* } */ {\n // }\n \"}\" #\"}\"#\n}\n(t)e /*x*/\nf {}";
    let (sources, document) = parse(text);
    let spans: Vec<&str> = document.nodes().iter().map(|node| sources.slice(node.whole_span())).collect();
    assert_eq!(spans, ["a 1 /-2 { b; }", "b /-{ x } { y }", "c d \\\n  e", "\"d\" /* } */ {\n // }\n \"}\" #\"}\"#\n}", "(t)e", "f {}"]);
}

#[test]
fn places_inside_texts() {
    let text = "x plain \"a bad b\" #\"ü bad\"# \"es\\\"bad\" {\n    sql #\"\"\"\n        SELECT\n          bad\n        \"\"\"#\n    q \"\"\"\r\n  one\r\n  bad\r\n  \"\"\"\n}";
    let (sources, document) = parse(text);
    let mut f = Findings::new();
    let mut node = document.nodes().remove(0);
    let args = node.args();
    let at = |text: &crate::kdl::Text, offset: usize| sources.slice(text.at(&sources, offset)).to_owned();
    assert_eq!(at(&args[0], 2), "ain");
    assert_eq!(at(&args[1], 2), "bad");
    assert_eq!(at(&args[2], 2), "bad");
    assert_eq!(at(&args[3], 3), "\"es\\\"bad\"");
    assert_eq!(at(&args[0], 5), "");
    let sql = node.value("sql", &mut f).expect("sql");
    let offset = sql.value.find("bad").expect("the text has it");
    let place = sql.at(&sources, offset);
    assert_eq!((sources.slice(place), sources.position(place)), ("bad", (4, 11)));
    let quoted = node.value("q", &mut f).expect("q");
    assert_eq!((quoted.as_str(), at(&quoted, 4).as_str()), ("one\nbad", "bad"));
    node.finish(&mut f);
}

#[test]
fn syntax_errors_are_all_reported() {
    let text = "a default=true\nb \"x\n";
    let sources = sources(text);
    let f = Document::parse_in(&sources, FILE).expect_err("no valid KDL");
    assert!(f.len() >= 2, "{f:?}");
    let report = f.into_report(&sources);
    assert_eq!(report.list()[0].place(), Some("schema/a.kdl:1:11"));
    assert_eq!(report.list()[0].advice(), Some("write `#true` for the boolean, `\"true\"` for the word"));
    for odd in ["a {", "}", "a }", "a 1day", "a \"x", "a \\", "/*", "a #tru", "\u{0}", "a \"ü", "a #\"x", "(", "a (ü", "a \"\"\"x\"\"\""]
    {
        let sources = super::sources(odd);
        if let Err(f) = Document::parse_in(&sources, FILE) {
            assert!(!f.into_report(&sources).list().is_empty(), "{odd}");
        }
    }
}

#[test]
fn the_parser_never_runs_out_of_stack() {
    let parse = |text: String| Document::parse_in(&sources(&text), FILE).map(|document| document.nodes().len());
    assert_eq!(parse(format!("/*{}*/ a", "* / ü ".repeat(20_000))), Ok(1));
    assert_eq!(parse(format!("a {} b", "/**/ ".repeat(20_000))), Ok(1));
    let message = |text: String| parse(text).expect_err("no valid KDL").0[0].message.clone();
    assert_eq!(message("/*".repeat(20_000)), "this comment is not closed");
    assert_eq!(message("a {".repeat(20_000)), "these blocks stand inside each other too deep");
    assert_eq!(parse("} ".repeat(200)).expect_err("no valid KDL").len(), 21);
    assert_eq!(parse(format!("{}{}", "a {".repeat(100), "}".repeat(100))), Ok(1));
}

#[test]
fn reports_are_sorted_and_show_other_files() {
    use crate::kdl::Finding;
    let mut sources = sources("table a\ntable b");
    let second = sources.add("schema/b.kdl", "table a");
    let mut f = Findings::new();
    f.push(
        Finding::at(Span::new(second, 6, 7), "table `a` is defined twice").label("again here").other(Span::new(FILE, 6, 7), "first here"),
    );
    f.push(Finding::at(Span::new(FILE, 14, 15), "second line"));
    f.push(Finding::general("nowhere"));
    let report = f.into_report(&sources);
    assert_eq!(
        report.list().iter().map(|one| one.message().to_owned()).collect::<Vec<_>>(),
        ["nowhere", "second line", "table `a` is defined twice"]
    );
    let mut out = String::new();
    miette::GraphicalReportHandler::new_themed(miette::GraphicalTheme::none())
        .render_report(&mut out, &report)
        .expect("rendering to a string");
    assert!(
        out.contains("3 errors") && out.contains("schema/b.kdl:1:7") && out.contains("schema/a.kdl:1:7") && out.contains("first here"),
        "{out}"
    );
    assert_eq!(sources.place(Span::new(FileId(7), 3, 4)), "?:1:1");
}
