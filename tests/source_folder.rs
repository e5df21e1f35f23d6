//! `write_folder` over files that people edited: exact texts.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::path::Path;

use schema::source::{FolderChanges, WriteError, document, read_folder, read_text, write_folder};

/// Writes the state that `wanted` describes over a folder with these files.
fn over(files: &[(&str, &str)], wanted: &str) -> (tempfile::TempDir, FolderChanges) {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let wanted = read_text("wanted", wanted).unwrap().catalog;
    let changes = write_folder(&wanted, folder.path()).unwrap();
    assert_eq!(read_folder(folder.path()).unwrap().catalog.objects.len(), wanted.objects.len());
    (folder, changes)
}

fn text(folder: &tempfile::TempDir, path: &str) -> String {
    std::fs::read_to_string(folder.path().join(path)).unwrap()
}

#[test]
fn only_what_differs_is_touched() {
    let mine = "\
// Ours.
schema app {
    table t comment=\"old\" was=s {   // what we sell
        column id    int   not-null // its number
        primary-key id

        // How much.
        column price numeric { backfill 0; }
        column   gone text  // soon
        index price
        with fillfactor=70
    }
}
";
    let wanted = "schema app {
    table t comment=new { column id int; column price \"numeric(5,2)\"; column added text; primary-key id; index price name=by_price; with fillfactor=80; }
    view v { sql \"SELECT 1\"; }
}";
    let (folder, changes) = over(&[("mine.kdl", mine)], wanted);
    assert_eq!(
        text(&folder, "mine.kdl"),
        "\
// Ours.
schema app {
    table t comment=new was=s {   // what we sell
        column id    int   not-null // its number
        primary-key id

        // How much.
        column price \"numeric(5,2)\" {
            backfill \"0\"
        }
        column added text
        // soon
        index price name=by_price
        with fillfactor=80
    }
}
"
    );
    assert_eq!(text(&folder, "app/views/v.kdl"), "schema app {\n    view v {\n        sql \"SELECT 1\"\n    }\n}\n");
    let paths: Vec<_> = changes.written.iter().map(|path| path.strip_prefix(folder.path()).unwrap()).collect();
    assert_eq!(paths, [Path::new("app/views/v.kdl"), Path::new("mine.kdl")]);
}

#[test]
fn other_spellings_stay() {
    let mine = "schema app {
    table t { index b name=x; check \"a > 0\" name=c; primary-key a; column b varchar; column a int4 not-null default=#\"nextval('app.t_a_seq'::regclass)\"#; }
    table p { column at date; partition-by range at; }
    table p1 partition-of=p from=\"'2025-01-01'\" to=\"'2026-01-01'\" { column at date; }
    sequence t_a_seq as=int owned-by=t.a
}";
    let wanted = "schema app {
    table t { column a serial; column b \"character varying\"; primary-key a; check \"a > 0\" name=c; index b name=x; }
    table p { column at date; partition-by range at; partition p1 from=\"'2025-01-01'\" to=\"'2026-01-01'\"; }
}";
    assert_eq!(over(&[("a.kdl", mine)], wanted).1, FolderChanges::default());
}

#[test]
fn what_is_empty_goes() {
    let table = "schema app {\n    table t { column a int; }\n}\n";
    let other = "schema app { table u { column a int; }; }\n";
    let (folder, changes) =
        over(&[("t.kdl", table), ("kept.kdl", &format!("// Why.\n{}", table.replace(" t ", " v "))), ("u.kdl", other)], other);
    assert_eq!(changes.deleted, [folder.path().join("t.kdl")]);
    assert_eq!(text(&folder, "kept.kdl"), "// Why.\nschema app {\n}\n");
    // The schema itself still stands somewhere.
    let (folder, changes) = over(&[("t.kdl", table)], "schema app");
    assert_eq!((changes.deleted.len(), text(&folder, "t.kdl").as_str()), (0, "schema app {\n}\n"));
}

#[test]
fn owners_and_grants_stay_where_nobody_manages_them() {
    let mine = "schema app owner=boss { table t owner=me { column a int { grant reader select; }; grant app insert; grant app select; }; }";
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.kdl"), mine).unwrap();
    let wanted = read_text("wanted", "schema app { table t { column a bigint; }; }").unwrap().catalog;
    write_folder(&wanted, folder.path()).unwrap();
    assert_eq!(text(&folder, "a.kdl"), mine.replace("column a int", "column a bigint"));
    let managed =
        read_text("wanted", "schema app owner=boss { table t owner=you { column a bigint; grant app delete; }; }").unwrap().catalog;
    write_folder(&managed, folder.path()).unwrap();
    assert_eq!(text(&folder, "a.kdl"), "schema app owner=boss { table t owner=you { column a bigint { }; grant app delete; }; }");
}

#[test]
fn partitions_move() {
    let mine = "schema app {
    table p {
        column at date
        partition-by range at
        // The first.
        partition p1 from=1 to=2
        partition p2 from=2 to=3 // second
    }
}
";
    let wanted = "schema app {
    table p { column at date; partition-by range at; partition p2 from=2 to=4; partition p3 from=4 to=5; }
    table p1 { column at date; }
}";
    let (folder, _) = over(&[("p.kdl", mine)], wanted);
    assert_eq!(
        text(&folder, "p.kdl"),
        "schema app {
    table p {
        column at date
        partition-by range at
        // The first.
        partition p2 from=2 to=4 // second
        partition p3 from=4 to=5
    }
}
"
    );
    assert_eq!(text(&folder, "app/tables/p1.kdl"), "schema app {\n    table p1 {\n        column at date\n    }\n}\n");
}

#[test]
fn what_cannot_be_read_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.kdl");
    std::fs::write(&path, "schema app { tabel t; }").unwrap();
    let wanted = read_text("wanted", "schema app { table t { column a int; }; }").unwrap().catalog;
    assert!(matches!(write_folder(&wanted, folder.path()), Err(WriteError::Read(_))));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "schema app { tabel t; }");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn the_short_forms() {
    let text = "schema app {
    table t {
        column id bigserial
        column b int not-null
        primary-key id
    }
    table p {
        partition-by range at
        column at int
        primary-key at
        partition p1 from=1 to=2 {
            partition-by list at
            primary-key at part-of=p_pkey
            partition p11 in=1 {
                primary-key at part-of=p1_pkey
            }
        }
    }
}
";
    let catalog = read_text("a", text).unwrap().catalog;
    assert_eq!(document(&catalog), text);
}
