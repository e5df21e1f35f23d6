//! What is written reads back equal; a folder that people edited keeps what does not differ.
#![allow(
    clippy::unwrap_used,
    clippy::struct_excessive_bools,
    clippy::format_push_string,
    clippy::type_complexity,
    missing_docs,
    reason = "tests"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use schema::catalog::id::quote;
use schema::catalog::{Catalog, Id};
use schema::kind::key::{Deferrable, Key};
use schema::kind::{Object, check, column, comment, default, index, owned_by, primary_key, sequence, table, unique, view};
use schema::source::{document, read_folder, read_text, write_folder};

/// Names that a sloppy reader or writer takes for something else.
const NAMES: &[&str] = &[
    "a", "User Id", "true", "not-null", "x.y", "q\"q", "größe", "was", "default", "-1", "/-x", "1st", "sql", "comment", "null", "name",
    "table", "#", "column", "a\\b",
];

fn texts() -> impl Strategy<Value = String> {
    const NASTY: &[&str] = &[
        "it's",
        "a\nb",
        " lead\n\n  trail ",
        "\"\"\"",
        "\"#",
        "\\",
        "// no comment",
        "/* x",
        "}",
        "\r\n",
        "\t",
        "\u{202e}",
        "0",
        "true",
        "#true",
        "a; b",
        "\n",
    ];
    prop_oneof![prop::sample::select(NASTY).prop_map(str::to_owned), "[ -~\\n]{1,12}", "\\PC{1,8}"]
        .prop_filter("a text", |text| !text.is_empty())
}

fn names(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<&'static str>> {
    prop::sample::subsequence(NAMES, count)
}

#[derive(Clone, Debug)]
struct Shape {
    columns: Vec<(&'static str, u8, bool, Option<String>, Option<String>)>,
    key: bool,
    serial: bool,
    unique: bool,
    check: Option<String>,
    index: Option<&'static str>,
    comment: Option<String>,
    unlogged: bool,
    fillfactor: Option<u8>,
}

fn shapes() -> impl Strategy<Value = Shape> {
    let column = || (0..4_u8, any::<bool>(), prop::option::of(texts()), prop::option::weighted(0.2, texts()));
    let columns = names(1..5).prop_flat_map(move |names| {
        let count = names.len();
        (Just(names), prop::collection::vec(column(), count))
            .prop_map(|(names, parts)| names.into_iter().zip(parts).map(|(name, (a, b, c, d))| (name, a, b, c, d)).collect())
    });
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (
        columns,
        flags,
        prop::option::of(texts()),
        prop::option::of(prop::sample::select(NAMES)),
        prop::option::of(texts()),
        prop::option::of(10..100_u8),
    )
        .prop_map(|(columns, (key, serial, unique, unlogged), check, index, comment, fillfactor)| Shape {
            columns,
            key,
            serial,
            unique,
            check,
            index,
            comment,
            unlogged,
            fillfactor,
        })
}

fn key(table: &Id, name: &str, columns: &[&str]) -> Key {
    Key {
        table: table.clone(),
        name: name.into(),
        columns: columns.iter().map(|name| (*name).into()).collect(),
        include: Vec::new(),
        options: Vec::new(),
        tablespace: None,
        deferrable: Deferrable::No,
        part_of: None,
    }
}

/// Puts what a server would say of such a table.
fn put_table(catalog: &mut Catalog, name: &'static str, shape: &Shape) {
    let id = Id::new("table", ["app", name]);
    let options = shape.fillfactor.map(|factor| ("fillfactor".to_owned(), factor.to_string())).into_iter().collect();
    catalog.put(
        table::Table {
            schema: "app".into(),
            name: name.into(),
            unlogged: shape.unlogged,
            options,
            tablespace: None,
            using: None,
            partition_by: None,
        }
        .into(),
    );
    let first = shape.columns[0].0;
    for (column, data_type, not_null, default, comment) in &shape.columns {
        let is_key = shape.key && *column == first;
        let is_serial = shape.serial && *column == first;
        let data_type = if is_serial {
            "bigint"
        } else {
            ["integer", "text", "character varying(16)", "timestamp with time zone"][usize::from(*data_type)]
        };
        let own = column::Column {
            table: id.clone(),
            name: (*column).into(),
            data_type: data_type.to_owned(),
            collation: None,
            not_null: *not_null || is_key || is_serial,
            constraint: schema::kind::not_null::NotNull::default(),
            identity: None,
            generated: None,
            storage: None,
            compression: None,
            statistics: None,
            options: Vec::new(),
        };
        let column = schema::kind::Kind::id(&own);
        catalog.put(own.into());
        if is_serial {
            let sequence = Id::new("sequence", ["app", schema::catalog::id::default_name(name, column.name(), "seq").as_str()]);
            let expression = format!("nextval({}::regclass)", schema::catalog::id::literal(&sequence.sql()));
            catalog.put(
                sequence::Sequence {
                    schema: "app".into(),
                    name: sequence.name().into(),
                    options: sequence::SequenceOptions::defaults("bigint", 1),
                    unlogged: shape.unlogged,
                }
                .into(),
            );
            catalog.put(owned_by::OwnedBy { sequence, column: column.clone() }.into());
            catalog.put(default::Default { column: column.clone(), expression }.into());
        } else if let Some(expression) = default {
            catalog.put(default::Default { column: column.clone(), expression: expression.clone() }.into());
        }
        if let Some(text) = comment {
            catalog.put(comment::Comment { on: column, text: text.clone() }.into());
        }
    }
    if shape.key {
        catalog.put(primary_key::PrimaryKey { key: key(&id, &format!("{name}_pkey"), &[first]) }.into());
    }
    if shape.unique {
        catalog.put(unique::Unique { key: key(&id, &format!("{name} by hand"), &[first]), nulls_not_distinct: false }.into());
    }
    if let Some(expression) = &shape.check {
        catalog.put(
            check::Check {
                table: id.clone(),
                name: "true".into(),
                expression: expression.clone(),
                no_inherit: false,
                not_valid: shape.unique,
            }
            .into(),
        );
    }
    if let Some(index) = shape.index {
        let index = index::Index {
            on: id.clone(),
            name: format!("{name} {index}").into(),
            using: "btree".into(),
            elements: vec![quote(first)],
            include: Vec::new(),
            unique: shape.unlogged,
            nulls_not_distinct: false,
            filter: shape.check.clone(),
            options: Vec::new(),
            tablespace: None,
            part_of: None,
            statistics: Vec::new(),
            invalid: false,
        };
        catalog.put(index.into());
    }
    if let Some(text) = &shape.comment {
        catalog.put(comment::Comment { on: id, text: text.clone() }.into());
    }
}

#[derive(Clone, Debug)]
struct State {
    catalog: Catalog,
    tables: BTreeMap<&'static str, Shape>,
}

/// The same without line breaks in its texts.
fn on_lines(state: State) -> State {
    let plain = |text: &mut Option<String>| {
        if let Some(text) = text {
            *text = text.replace(['\n', '\r'], " ");
        }
    };
    let mut tables = state.tables;
    for shape in tables.values_mut() {
        plain(&mut shape.check);
        plain(&mut shape.comment);
        shape.columns.iter_mut().for_each(|(.., default, comment)| {
            plain(default);
            plain(comment);
        });
    }
    self::state(tables, Some("1"), Some("it's"))
}

fn states() -> impl Strategy<Value = State> {
    let tables = names(0..6).prop_flat_map(|names| {
        let count = names.len();
        (Just(names), prop::collection::vec(shapes(), count))
            .prop_map(|(names, shapes)| names.into_iter().zip(shapes).collect::<BTreeMap<_, _>>())
    });
    (tables, prop::option::of(texts()), prop::option::of(texts()))
        .prop_map(|(tables, view, comment)| state(tables, view.as_deref(), comment.as_deref()))
}

fn state(tables: BTreeMap<&'static str, Shape>, view: Option<&str>, comment: Option<&str>) -> State {
    let mut catalog = Catalog::default();
    let app = schema::kind::schema::Schema { name: "app".into() };
    catalog.put(app.into());
    if let Some(text) = comment {
        catalog.put(comment::Comment { on: Id::new("schema", ["app"]), text: text.to_owned() }.into());
    }
    for (name, shape) in &tables {
        put_table(&mut catalog, name, shape);
    }
    if let Some(sql) = view {
        let sql = format!("SELECT {sql}x");
        catalog.put(
            view::View {
                schema: "app".into(),
                name: "the view".into(),
                with: Vec::new(),
                sql,
                columns: schema::kind::observed::Observed::default(),
            }
            .into(),
        );
    }
    State { catalog, tables }
}

fn differences(expected: &Catalog, read: &Catalog) -> Vec<String> {
    let lacking = expected
        .objects
        .iter()
        .filter(|(id, object)| read.get(id) != Some(*object))
        .map(|(id, object)| format!("{object:?} against {:?}", read.get(id)));
    lacking.chain(read.objects.keys().filter(|id| !expected.contains(id)).map(|id| format!("extra {id}"))).collect()
}

/// Puts a comment above every line that begins a node, and behind it where the line ends one, with
/// the name of the table it is about. There are no multi-line strings.
fn commented(text: &str) -> String {
    let (mut out, mut about, mut count, mut continued) = (String::new(), String::from("-"), 0, false);
    for line in text.lines() {
        if !continued {
            if let Some(rest) = line.trim_start().strip_prefix("table ") {
                rest.trim_end_matches(" {").clone_into(&mut about);
            }
            count += 1;
            out += &format!("// {count} above {about:?}\n");
        }
        out += line;
        continued = line.ends_with('\\');
        if !continued {
            count += 1;
            out += &format!(" // {count} behind {about:?}");
        }
        out += "\n";
    }
    out
}

fn all_files(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            files.extend(all_files(&entry.path()));
        } else {
            files.insert(entry.path(), std::fs::read_to_string(entry.path()).unwrap());
        }
    }
    files
}

fn comments(files: &BTreeMap<PathBuf, String>) -> BTreeSet<String> {
    let lines = files.values().flat_map(|text| text.lines());
    lines
        .filter_map(|line| line.rfind("// ").map(|at| line[at..].to_owned()))
        .filter(|comment| comment.contains(" above ") || comment.contains(" behind "))
        .collect()
}

fn is_of(comment: &str, tables: &BTreeMap<&'static str, Shape>) -> bool {
    let about = comment.split_once(" above ").or_else(|| comment.split_once(" behind ")).map_or("", |(_, about)| about);
    tables.keys().any(|name| about.starts_with(format!("{:?}", schema::kdl::write::spell_on_line(name)).trim_end_matches('"')))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_is_written_reads_back(state in states()) {
        let text = document(&state.catalog);
        let read = read_text("state.kdl", &text);
        prop_assert!(read.is_ok(), "{:?}\n{text}", read.err());
        let lacking = differences(&state.catalog, &read.unwrap().catalog);
        prop_assert!(lacking.is_empty(), "{lacking:#?}\n{text}");
    }

    #[test]
    fn a_folder_becomes_any_other_state(old in states().prop_map(on_lines), new in states().prop_map(on_lines), one_file in any::<bool>(), unchanged in any::<prop::sample::Index>()) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("schema");
        // One table of both states is the same.
        let mut tables = new.tables.clone();
        if !old.tables.is_empty() {
            let (name, shape) = old.tables.iter().nth(unchanged.index(old.tables.len())).unwrap();
            tables.insert(name, shape.clone());
        }
        let new = state(tables, Some("1"), None);
        if one_file {
            std::fs::create_dir(&root).unwrap();
            std::fs::write(root.join("all.kdl"), document(&old.catalog)).unwrap();
        } else {
            write_folder(&old.catalog, &root).unwrap();
        }
        for (path, text) in all_files(&root) {
            std::fs::write(path, commented(&text)).unwrap();
        }
        let before = all_files(&root);
        prop_assert_eq!(write_folder(&old.catalog, &root).unwrap(), schema::source::FolderChanges::default());

        let changes = write_folder(&new.catalog, &root);
        prop_assert!(changes.is_ok(), "{}\n{before:#?}", changes.unwrap_err());
        let after = all_files(&root);
        let lacking = differences(&new.catalog, &read_folder(&root).unwrap().catalog);
        prop_assert!(lacking.is_empty(), "{lacking:#?}\n{after:#?}");
        prop_assert_eq!(write_folder(&new.catalog, &root).unwrap(), schema::source::FolderChanges::default());

        let (was, is) = (comments(&before), comments(&after));
        let lost: Vec<_> = was.difference(&is).filter(|comment| is_of(comment, &old.tables) && is_of(comment, &new.tables)).collect();
        prop_assert!(lost.is_empty(), "{lost:#?}\n{before:#?}\n{after:#?}");
        // What is the same in both states keeps its bytes: of a table's own file, all of them.
        for (path, text) in before.iter().filter(|(path, _)| !one_file && path.to_string_lossy().contains("/tables/")) {
            let said = read_text("x", text).unwrap().catalog;
            let tables: Vec<&Id> = said.objects.keys().filter(|id| id.kind == "table").collect();
            let count = |catalog: &Catalog| catalog.objects.keys().filter(|id| belongs(id, tables[0])).count();
            let same = said.objects.iter().all(|(id, object)| matches!(object, Object::Schema(_)) || new.catalog.get(id) == Some(object));
            if same && count(&old.catalog) == count(&new.catalog) {
                prop_assert_eq!(after.get(path), Some(text));
            }
        }
    }
}

fn belongs(id: &Id, table: &Id) -> bool {
    let path = if id.kind == "comment" { &id.path[1..] } else { &id.path[..] };
    path.starts_with(&table.path)
}
