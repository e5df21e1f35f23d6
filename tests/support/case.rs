//! A case: a folder of `tests/cases` with the state before, the state after, and what is known.

use std::path::{Path, PathBuf};

use schema::catalog::{Catalog, Id, id};
use schema::kind::Object;
use schema::kind::not_null::settle;
use schema::kind::view::OutputColumn;
use schema::plan::{Facts, Policy, TableFacts};
use schema::source::{Desired, read_text};

/// Rows of a table of which a case says nothing: large.
const ROWS: u64 = 1_000_000;

/// One folder.
pub struct Case {
    #[allow(dead_code, reason = "only one of the two harnesses asks")]
    pub name: String,
    #[allow(dead_code, reason = "only one of the two harnesses asks")]
    pub folder: PathBuf,
    pub before: Desired,
    pub after: Desired,
    pub facts: Facts,
    pub policy: Policy,
}

/// The folder of all cases.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases")
}

/// Their names, sorted.
pub fn names() -> Vec<String> {
    let entries = std::fs::read_dir(root()).expect("the folder of cases is readable");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_dir())
        .map(|path| path.file_name().unwrap_or_default().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Whether the server of these tests is too old for a case: `needs 180000` in its `facts.kdl`.
#[allow(dead_code, reason = "only the harnesses with a server ask")]
pub fn is_newer_than_here(name: &str) -> bool {
    let here = schema::pg::find(None).map_or(0, |installation| u64::from(installation.major) * 10_000);
    needs(name).is_some_and(|least| least > here)
}

/// The oldest server that knows what a case speaks of, where not every one does.
pub fn needs(name: &str) -> Option<u64> {
    let lines = lines(&root().join(name).join("facts.kdl")).ok()?;
    lines.into_iter().find(|(word, ..)| word == "needs").and_then(|(_, least, _)| least.parse().ok())
}

impl Case {
    /// Reads a folder.
    pub fn read(name: &str) -> Result<Self, String> {
        let folder = root().join(name);
        let state = |file: &str| -> Result<Desired, String> {
            let text = std::fs::read_to_string(folder.join(file)).map_err(|error| format!("{name}/{file}: {error}"))?;
            let mut desired = read_text(file, &text).map_err(|error| format!("{name}: {}", schema::cli::out::plain(&error)))?;
            observe(&mut desired.catalog);
            Ok(desired)
        };
        let (mut before, mut after) = (state("before.kdl")?, state("after.kdl")?);
        if let Some(server) = needs(name).and_then(|server| u32::try_from(server).ok()) {
            settle(&Catalog::default(), &mut before.catalog, &before.hints, server);
            settle(&before.catalog, &mut after.catalog, &after.hints, server);
        }
        let facts = facts(&folder.join("facts.kdl"), &before.catalog)?;
        let policy = policy(&folder.join("policy.kdl"))?;
        Ok(Self { name: name.to_owned(), folder, before, after, facts, policy })
    }
}

/// Views know their columns, as a server would say (their types aside).
fn observe(catalog: &mut Catalog) {
    for object in catalog.objects.values_mut() {
        let Object::View(view) = object else { continue };
        let Some(list) = view.sql.trim_start().strip_prefix("SELECT ").map(|rest| rest.split("\n   FROM").next().unwrap_or(rest)) else {
            continue;
        };
        let names = list.split(",\n").map(|item| item.rsplit([' ', '.']).next().unwrap_or_default().trim_end_matches(';'));
        view.columns = names.map(|name| OutputColumn { name: name.into(), data_type: "unknown".to_owned() }).collect::<Vec<_>>().into();
    }
}

/// `server 150000`, `needs 180000` (older servers cannot have it at all), `table "public.orders" rows=12`, `volatile "public.orders.token"`,
/// `reads "public.users.first_name: full_name"`, `partition-bound "public.events_2025: (at < …)"`, `detach-check "public.events_2025: events_2025_at_check"`.
fn facts(path: &Path, before: &Catalog) -> Result<Facts, String> {
    let mut facts = Facts { server: 150_000, ..Facts::default() };
    for id in before.objects.keys().filter(|id| id.kind == "table") {
        facts.tables.insert(id.clone(), TableFacts { rows: ROWS, bytes: ROWS * 100 });
    }
    for (word, argument, rows) in lines(path)? {
        let (argument, said) =
            argument.split_once(": ").map_or((argument.clone(), None), |(id, text)| (id.to_owned(), Some(text.to_owned())));
        match (word.as_str(), rows) {
            ("partition-bound", _) => {
                facts.partition_bounds.insert(Id::new("partition", id::undotted(&argument)), said.unwrap_or_default());
            }
            ("detach-check", _) => {
                facts.detach_checks.insert(Id::new("partition", id::undotted(&argument)), said.map(Into::into));
            }
            ("server", _) => facts.server = argument.parse().map_err(|_| format!("{}: server takes a number", path.display()))?,
            ("needs", _) => {}
            ("table", Some(rows)) => {
                facts.tables.insert(Id::new("table", id::undotted(&argument)), TableFacts { rows, bytes: rows * 100 });
            }
            ("volatile", _) => {
                facts.volatile_defaults.insert(Id::new("column", id::undotted(&argument)));
            }
            // The columns that a `backfill` names.
            ("reads", _) => {
                let names = said.unwrap_or_default().split(' ').map(Into::into).collect();
                facts.reads.insert(Id::new("column", id::undotted(&argument)), names);
            }
            // The new columns that, when NULL, give no value back.
            ("gives-null", _) => {
                let names = said.unwrap_or_default().split(' ').map(Into::into).collect();
                facts.gives_null.insert(Id::new("column", id::undotted(&argument)), names);
            }
            // What the server would say of a change of type: it rewrites; every value survives it, there or back; both are of one category.
            ("keeps-values" | "reverts" | "compatible", _) => {
                let retype = facts.retypes.entry(Id::new("column", id::undotted(&argument))).or_default();
                retype.rewrites = true;
                retype.keeps_values |= word == "keeps-values";
                retype.reverts |= word == "reverts";
                retype.compatible |= word == "compatible";
            }
            _ => return Err(format!("{}: what is {word}?", path.display())),
        }
    }
    Ok(facts)
}

/// `small-table rows=50`, `direct`.
fn policy(path: &Path) -> Result<Policy, String> {
    let mut policy = Policy::default();
    for (word, _, rows) in lines(path)? {
        match (word.as_str(), rows) {
            ("small-table", Some(rows)) => policy.small_table_rows = rows,
            ("direct", None) => policy.direct = true,
            ("quarantine", None) => policy.quarantine = Some(7 * 86_400),
            _ => return Err(format!("{}: what is {word}?", path.display())),
        }
    }
    Ok(policy)
}

/// Node, first argument, `rows=` of each node; nothing where there is no file.
fn lines(path: &Path) -> Result<Vec<(String, String, Option<u64>)>, String> {
    let Ok(text) = std::fs::read_to_string(path) else { return Ok(Vec::new()) };
    let document: kdl::KdlDocument = text.parse().map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(document
        .nodes()
        .iter()
        .map(|node| {
            let argument = node.get(0).map(|value| value.as_string().map_or_else(|| value.to_string(), str::to_owned)).unwrap_or_default();
            let rows = node.get("rows").and_then(kdl::KdlValue::as_integer).and_then(|rows| u64::try_from(rows).ok());
            (node.name().value().to_owned(), argument, rows)
        })
        .collect())
}
