//! A folder of KDL files to the catalog as written. The generic reader: it dispatches on keywords
//! and knows no kind but the satellites.

use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use crate::catalog::{Catalog, Id, Ident, closure};
use crate::kdl::{Diagnostics, Document, Finding, Node, Sources};
use crate::kind::lowering::{Hints, Origin, defined_twice};
use crate::kind::{KINDS, Lowering, Object, Registration, Scope, comment::Comment, grant::Grant, owner::Owner, sql_type, weight};

/// The desired state as people wrote it.
#[derive(Clone, Debug, Default)]
pub struct Desired {
    /// The objects, texts as they stand.
    pub catalog: Catalog,
    /// Renames, backfills.
    pub hints: Hints,
    /// Where each object stands.
    pub origins: IndexMap<Id, Origin>,
    /// The files.
    pub sources: Sources,
}

/// Why a desired state cannot be read.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum ReadError {
    /// A file or folder cannot be read.
    #[error("cannot read {path}: {error}")]
    #[diagnostic(help("the source folder holds the desired state as .kdl files; `schema init` makes one"))]
    Io {
        /// What was to be read.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The files say something that cannot be.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Findings(#[from] Diagnostics),
}

/// How findings call the place outside of every node.
const TOP: &str = "the top of a file";

/// Reads every `.kdl` file below a folder (or one file); their order does not matter.
pub fn read_folder(folder: &Path) -> Result<Desired, ReadError> {
    let mut files = Vec::new();
    collect(folder, &mut files).map_err(|error| ReadError::Io { path: folder.to_owned(), error })?;
    files.sort();
    let mut sources = Sources::new();
    for path in files {
        let text = std::fs::read_to_string(&path).map_err(|error| ReadError::Io { path: path.clone(), error })?;
        sources.add(path, text);
    }
    Ok(read_sources(sources)?)
}

/// Reads one text, for tests and for states that are no files.
pub fn read_text(name: &str, text: &str) -> Result<Desired, Diagnostics> {
    let mut sources = Sources::new();
    sources.add(name, text);
    read_sources(sources)
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if path.is_file() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in std::fs::read_dir(path)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "kdl") {
            files.push(path);
        }
    }
    Ok(())
}

/// Reads files that are in memory already.
pub fn read_sources(sources: Sources) -> Result<Desired, Diagnostics> {
    let parts = lower_files(&sources);
    let mut out = Lowering::default();
    for part in parts {
        merge(&mut out, part);
    }
    finish(&mut out);
    let Lowering { catalog, hints, origins, findings, .. } = out;
    findings.or_report(&sources, ())?;
    Ok(Desired { catalog, hints, origins, sources })
}

/// Lowers every file by itself, on as many threads as there are cores: parsing KDL is most of the
/// work of a plan without changes.
fn lower_files(sources: &Sources) -> Vec<Lowering> {
    let ids: Vec<_> = sources.iter().map(|(id, _)| id).collect();
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(ids.len().max(1));
    let next = std::sync::atomic::AtomicUsize::new(0);
    let mut parts: Vec<(usize, Lowering)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut done = Vec::new();
                    loop {
                        let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        let Some(id) = ids.get(at) else { return done };
                        let mut out = Lowering::default();
                        match Document::parse_in(sources, *id) {
                            Ok(document) => read_nodes(document.nodes(), &Scope { parent: None, schema: "" }, TOP, &[], &mut out),
                            Err(findings) => out.findings = findings,
                        }
                        done.push((at, out));
                    }
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("reading reports findings and does not panic")).collect()
    });
    parts.sort_unstable_by_key(|(at, _)| *at);
    parts.into_iter().map(|(_, part)| part).collect()
}

/// Adds what one file says to the whole. Only a schema may be opened in many files.
fn merge(out: &mut Lowering, part: Lowering) {
    let Lowering { catalog, hints, origins, findings, repeated, unread } = part;
    let mut twice = std::collections::BTreeSet::new();
    for (id, object) in catalog.objects {
        if let Some(first) = out.origins.get(&id) {
            if id.kind == "schema" {
                continue;
            }
            // What stands in something that is defined twice is no news.
            if let Some(again) = origins.get(&id).filter(|_| object.parent().is_none_or(|parent| !twice.contains(&parent))) {
                out.findings.push(defined_twice(&id, first.name, again.name));
            }
            twice.insert(id);
            continue;
        }
        if let Some(origin) = origins.get(&id) {
            out.origins.insert(id.clone(), origin.clone());
        }
        out.catalog.objects.insert(id, object);
    }
    out.findings.append(findings);
    out.repeated.extend(repeated);
    out.unread.extend(unread);
    out.hints.renames.extend(hints.renames);
    out.hints.part_renames.extend(hints.part_renames);
    out.hints.backfills.extend(hints.backfills);
    out.hints.reverts.extend(hints.reverts);
    out.hints.in_place.extend(hints.in_place);
    out.hints.unnamed.extend(hints.unnamed);
}

/// Reads the children of one node, by kind: what others may refer to (columns) first.
fn read_nodes(mut nodes: Vec<Node<'_>>, at: &Scope<'_>, parent_name: &str, asked: &[&str], out: &mut Lowering) {
    nodes.sort_by_key(|node| find(node.name(), at).map_or(usize::MAX, |kind| weight(kind.keyword)));
    for node in nodes {
        read_node(node, at, parent_name, asked, out);
    }
}

fn parent_keyword<'s>(at: &Scope<'s>) -> &'s str {
    at.parent.map_or("", |id| id.kind.as_str())
}

fn find(node: &str, at: &Scope<'_>) -> Option<&'static Registration> {
    let parent = parent_keyword(at);
    KINDS.iter().find(|kind| kind.node == node && kind.parents.contains(&parent))
}

fn read_node(mut node: Node<'_>, at: &Scope<'_>, parent_name: &str, asked: &[&str], out: &mut Lowering) {
    if node.name() == "revoke" && at.parent.is_some() {
        Grant::read_revoke(&mut node, at, out);
        node.finish(&mut out.findings);
        return;
    }
    let Some(kind) = find(node.name(), at) else {
        unknown_node(node, at, parent_name, asked, out);
        return;
    };
    let name = node.name();
    let Some(id) = (kind.read)(&mut node, at, out) else {
        // A finding was reported; what else is wrong with this node may follow from it.
        out.unread.extend(node.texts().into_iter().next().map(|first| first.value));
        node.slips(&mut out.findings);
        return;
    };
    if out.repeated.contains(&id) {
        return;
    }
    satellites(&mut node, &id, at, out);
    let schema = if id.kind == "schema" { id.name().to_owned() } else { at.schema.to_owned() };
    let label = format!("{name} {}", id.name());
    let rest = node.rest();
    let asked = node.asked().to_vec();
    read_nodes(rest, &Scope { parent: Some(&id), schema: &schema }, &label, &asked, out);
    node.finish(&mut out.findings);
}

/// A node that no kind reads here: it belongs elsewhere, or its name is a slip.
fn unknown_node(node: Node<'_>, at: &Scope<'_>, parent_name: &str, asked: &[&str], out: &mut Lowering) {
    let parent = parent_keyword(at);
    let mut candidates: Vec<&str> = KINDS.iter().filter(|kind| kind.parents.contains(&parent)).map(|kind| kind.node).chain(asked.iter().copied()).collect();
    candidates.sort_unstable();
    candidates.dedup();
    if candidates.contains(&node.name()) {
        // It was read as a part already, so this is the second one.
        node.unknown(parent_name, &[], &mut out.findings);
        return;
    }
    let mut homes: Vec<&str> = KINDS.iter().filter(|kind| kind.node == node.name()).flat_map(|kind| kind.parents).copied().collect();
    homes.dedup();
    if homes.is_empty() {
        node.unknown(parent_name, &candidates, &mut out.findings);
        return;
    }
    let help = match homes[..] {
        ["schema"] if parent.is_empty() => format!("put it into a schema: `schema public {{ {} … }}`", node.name()),
        _ => format!("it stands in: {}", homes.iter().map(|home| if home.is_empty() { TOP } else { home }).collect::<Vec<_>>().join(", ")),
    };
    let place = if parent.is_empty() { format!("at {TOP}") } else { format!("in {parent_name}") };
    out.findings.push(Finding::at(node.title(), format!("`{}` cannot stand {place}", node.name())).help(help));
}

/// What may hang on anything: `comment`, `owner`, `was`.
fn satellites(node: &mut Node<'_>, id: &Id, at: &Scope<'_>, out: &mut Lowering) {
    if matches!(id.kind.as_str(), "grant" | "cluster-on" | "replica-identity") {
        return;
    }
    if let Some(text) = node.value("comment", &mut out.findings) {
        out.put(node, Comment { on: id.clone(), text: text.value });
    }
    if let Some(role) = node.value("owner", &mut out.findings) {
        out.put(node, Owner { on: id.clone(), role: Ident::new(&role.value) });
    }
    // A column asks for it with its other properties.
    if id.kind != "column" && node.word("rename", &["in-place", "staged"], &mut out.findings).is_some_and(|word| word.value == "in-place") {
        out.hints.in_place.insert(id.clone());
    }
    if let Some(was) = node.value("was", &mut out.findings) {
        let old = former_id(id, &was.value, at);
        if old == *id {
            out.complain(&was, format!("{id} cannot have been itself: `was` is its former name"), "name what it was called before, or take `was` out");
        } else {
            out.hints.renames.insert(id.clone(), old);
        }
    }
}

/// The id that `was=` means: a sibling's name, or a dotted path that moves it between schemas.
/// Routines keep their argument types unless the text gives them.
fn former_id(id: &Id, was: &str, at: &Scope<'_>) -> Id {
    let (name, arguments) = match was.split_once('(') {
        Some((name, rest)) if is_routine(id) => (name, Some(rest.trim_end_matches(')'))),
        _ => (was, None),
    };
    let parts = crate::catalog::id::undotted(name);
    if is_routine(id) {
        let mut path = if parts.len() == 1 { vec![Ident::new(at.schema), parts[0].clone()] } else { parts };
        let own = id.path.last().cloned().unwrap_or_default();
        path.push(arguments.map_or(own, |text| {
            Ident::from(crate::catalog::expr::split_list(text).iter().map(|part| sql_type::canonical(part)).collect::<Vec<_>>().join(", "))
        }));
        return Id::new(&id.kind, path);
    }
    if id.path.len() == 2 && parts.len() == 2 { Id::new(&id.kind, parts) } else { id.renamed(&was.trim_matches('"').replace("\"\"", "\"")) }
}

fn is_routine(id: &Id) -> bool {
    matches!(id.kind.as_str(), "function" | "procedure" | "aggregate")
}

/// What can only be said when everything is read: whose names the texts mean.
fn finish(out: &mut Lowering) {
    resolve_names(out);
    inherit_into_partitions(&mut out.catalog);
    imply_not_null(&mut out.catalog);
    // In a file that does not parse anything may be defined.
    if !out.findings.0.iter().any(|finding| finding.code == Some("kdl::syntax")) {
        super::references::check(out);
        super::rules::check(out);
    }
    closure::guess_needs(&mut out.catalog);
}

/// Types and references without a schema mean the enclosing one, else `public`.
fn resolve_names(out: &mut Lowering) {
    let relations: std::collections::HashSet<(Ident, Ident)> = out
        .catalog
        .objects
        .keys()
        .filter(|id| matches!(id.kind.as_str(), "enum" | "domain" | "type" | "range-type" | "table" | "view" | "materialized-view"))
        .map(|id| (id.path[0].clone(), id.path[1].clone()))
        .collect();
    let declared = |schema: &str, name: &str| relations.contains(&(Ident::new(schema), Ident::new(name)));
    let ids: Vec<Id> = out.catalog.objects.keys().cloned().collect();
    for id in ids {
        let Some(object) = out.catalog.objects.get_mut(&id) else { continue };
        let schema = id.schema().to_owned();
        for name in object.type_names() {
            let (set, rest) = name.strip_prefix("SETOF ").map_or(("", name.as_str()), |rest| ("SETOF ", rest));
            if sql_type::is_builtin(rest) {
                continue;
            }
            let base = sql_type::base(rest);
            let path = crate::catalog::id::undotted(&base);
            if path.len() != 1 {
                continue;
            }
            for home in [schema.as_str(), "public"] {
                if declared(home, &path[0]) {
                    let qualified = crate::catalog::id::qualified(&[Ident::new(home), path[0].clone()]);
                    *name = format!("{set}{}", sql_type::with_base(rest, &qualified));
                    break;
                }
            }
        }
        for reference in object.references() {
            let (home, name) = (reference.path[0].clone(), reference.path[1].clone());
            if home == schema && !declared(&home, &name) && declared("public", &name) {
                let path = [Ident::new_static("public"), name].into_iter().chain(reference.path[2..].iter().cloned());
                *reference = Id::new(&reference.kind.clone(), path.collect::<Vec<_>>());
            }
        }
        // A routine's id holds its argument types.
        let new = object.id();
        if new != id {
            rekey(out, &id, &new);
        }
    }
}

/// Gives an object, and all that hangs on it, its new id.
fn rekey(out: &mut Lowering, old: &Id, new: &Id) {
    let objects = std::mem::take(&mut out.catalog.objects);
    let move_id = |id: &Id| if id == old { new.clone() } else { id.clone() };
    for (id, object) in objects {
        let object = match object {
            Object::Comment(mut comment) if comment.on == *old => {
                comment.on = new.clone();
                Object::Comment(comment)
            }
            Object::Owner(mut owner) if owner.on == *old => {
                owner.on = new.clone();
                Object::Owner(owner)
            }
            Object::Grant(mut grant) if grant.on == *old => {
                grant.on = new.clone();
                Object::Grant(grant)
            }
            object => object,
        };
        let key = object.id();
        if key != id
            && let Some(origin) = out.origins.shift_remove(&id)
        {
            out.origins.insert(key.clone(), origin);
        }
        out.catalog.objects.insert(key, object);
    }
    let renames = std::mem::take(&mut out.hints.renames);
    out.hints.renames = renames.into_iter().map(|(to, from)| (move_id(&to), from)).collect();
}

/// A partition has the columns and checks of its table; only what differs is written.
fn inherit_into_partitions(catalog: &mut Catalog) {
    use crate::kind::{check::Check, column::Column, default::Default, partition::Partition};
    let mut places: Vec<Partition> = catalog.of::<Partition>().cloned().collect();
    // Outer partitions first, so that inner ones find their columns.
    let depth = |place: &Partition| {
        let (mut depth, mut at) = (0, place.parent.clone());
        while let Some(above) = catalog.get_as::<Partition>(&Partition::id_of(&at)) {
            depth += 1;
            if depth > 64 {
                break;
            }
            at = above.parent.clone();
        }
        depth
    };
    places.sort_by_key(depth);
    for place in places {
        let mut inherited: Vec<Object> = Vec::new();
        for object in catalog.objects.values() {
            match object {
                Object::Column(column) if column.table == place.parent => {
                    let mut own = Column { table: place.table.clone(), ..column.clone() };
                    // A partition takes its rows' identity from the table above.
                    own.identity = None;
                    inherited.push(own.into());
                }
                Object::Default(default) if default.column.up("table") == place.parent => {
                    inherited.push(Default { column: place.table.child("column", default.column.name()), expression: default.expression.clone() }.into());
                }
                Object::Check(check) if check.table == place.parent && !check.no_inherit => {
                    inherited.push(Check { table: place.table.clone(), ..check.clone() }.into());
                }
                _ => {}
            }
        }
        for object in inherited {
            let id = object.id();
            // A column that is written for the partition stands for itself, its default too.
            let own_column = matches!(&object, Object::Default(default) if catalog.contains(&default.column) && !catalog_was_inherited(catalog, &default.column, &place.parent));
            if !catalog.contains(&id) && !own_column {
                catalog.objects.insert(id, object);
            }
        }
    }
}

fn catalog_was_inherited(catalog: &Catalog, column: &Id, parent: &Id) -> bool {
    use crate::kind::column::Column;
    let above = parent.child("column", column.name());
    match (catalog.get_as::<Column>(column), catalog.get_as::<Column>(&above)) {
        (Some(own), Some(theirs)) => Column { table: theirs.table.clone(), identity: theirs.identity.clone(), ..own.clone() } == *theirs,
        _ => false,
    }
}

/// Columns of a primary key are NOT NULL.
fn imply_not_null(catalog: &mut Catalog) {
    let ids: Vec<Id> =
        catalog.of::<crate::kind::primary_key::PrimaryKey>().flat_map(|key| key.key.columns.iter().map(|name| key.key.table.child("column", name)).collect::<Vec<_>>()).collect();
    for id in ids {
        if let Some(Object::Column(column)) = catalog.objects.get_mut(&id) {
            column.not_null = true;
        }
    }
}
