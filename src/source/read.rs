//! A folder of KDL files to the catalog as written. The generic reader: it dispatches on keywords
//! and knows no kind but the satellites.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use indexmap::IndexMap;

use crate::catalog::{Catalog, Id, Ident, closure};
use crate::kdl::{Diagnostics, Document, FileId, Finding, Node, Sources};
use crate::kind::lowering::{Hints, Origin, defined_twice};
use crate::kind::{KINDS, Lowering, Registration, Scope, comment::Comment, grant::Grant, owner::Owner, sql_type, weight};

use super::cache::{Cache, Entry, Hash, Part, Parts};

/// The desired state as people wrote it.
#[derive(Clone, Debug, Default)]
pub struct Desired {
    /// The objects, texts as they stand. Its `needs` are guessed only where [`Self::guess_needs`] was called.
    pub catalog: Catalog,
    /// Renames, backfills.
    pub hints: Hints,
    /// The files.
    pub sources: Sources,
    origins: OnceLock<IndexMap<Id, Origin>>,
    cache: Option<Cache>,
}

impl Desired {
    /// A state that stands in no file.
    #[must_use]
    pub fn of_catalog(catalog: Catalog) -> Self {
        Self { catalog, ..Self::default() }
    }

    /// Everything, with where each object stands.
    #[must_use]
    pub fn into_parts(self) -> (Catalog, Hints, IndexMap<Id, Origin>, Sources) {
        self.origins();
        let Self { catalog, hints, sources, origins, cache: _ } = self;
        (catalog, hints, origins.into_inner().unwrap_or_default(), sources)
    }

    /// Where each object stands. Of files that were read before as a whole it is found out when it is first asked for.
    pub fn origins(&self) -> &IndexMap<Id, Origin> {
        self.origins.get_or_init(|| lower(&self.sources, self.cache.as_ref()).origins)
    }

    /// Says who needs whom, from the names in the texts.
    pub fn guess_needs(&mut self) {
        if self.catalog.needs.is_empty() {
            closure::guess_needs(&mut self.catalog);
        }
    }
}

/// Why a desired state cannot be read.
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum ReadError {
    /// A file or folder cannot be read.
    #[error("cannot read {}: {error}", path.display())]
    #[diagnostic(help("{}", advice(error.kind())))]
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

/// What to do about a file or folder of the source that cannot be read.
const fn advice(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::InvalidData => "files are read as UTF-8: save it as that (iconv -f latin1 -t utf-8 converts it, where it is Latin-1)",
        ErrorKind::PermissionDenied => "let this user read it",
        ErrorKind::InvalidInput => "the source holds files and folders; move it away, or give it another ending",
        _ => "the source folder holds the desired state as .kdl files; `schema init` makes one",
    }
}

/// How findings call the place outside of every node.
const TOP: &str = "the top of a file";

/// Reads every `.kdl` file below a folder (or one file); their order does not matter.
pub fn read_folder(folder: &Path) -> Result<Desired, ReadError> {
    let mut files = Vec::new();
    collect(folder, &mut files)?;
    files.sort();
    let mut sources = Sources::new();
    for path in files {
        let text = std::fs::read_to_string(&path).map_err(|error| ReadError::Io { path: path.clone(), error })?;
        sources.add(path, text);
    }
    Ok(read_with(sources, Some(&Cache::of_user()))?)
}

/// Reads one text, for tests and for states that are no files.
pub fn read_text(name: &str, text: &str) -> Result<Desired, Diagnostics> {
    let mut sources = Sources::new();
    sources.add(name, text);
    read_sources(sources)
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), ReadError> {
    if path.is_file() {
        files.push(path.to_owned());
        return Ok(());
    }
    let failed = |error| ReadError::Io { path: path.to_owned(), error };
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "kdl") {
            // Whoever reads a pipe waits for ever.
            if std::fs::metadata(&path).is_ok_and(|is| !is.is_file()) {
                return Err(ReadError::Io { path, error: std::io::Error::new(ErrorKind::InvalidInput, "it is no file") });
            }
            files.push(path);
        }
    }
    Ok(())
}

/// Reads files that are in memory already.
pub fn read_sources(sources: Sources) -> Result<Desired, Diagnostics> {
    read_with(sources, None)
}

/// Reads files that are in memory, with a cache of what each of them says, and all of them together.
pub fn read_with(sources: Sources, cache: Option<&Cache>) -> Result<Desired, Diagnostics> {
    let entry = cache.and_then(|cache| cache.whole(&sources));
    if let Some((catalog, hints)) = entry.as_ref().and_then(Entry::get_whole) {
        return Ok(Desired { catalog, hints, sources, origins: OnceLock::new(), cache: cache.cloned() });
    }
    let Lowering { catalog, hints, origins, findings, .. } = lower(&sources, cache);
    findings.or_report(&sources, ())?;
    if let Some(entry) = entry {
        entry.put_whole(&catalog, &hints);
    }
    let mut desired = Desired { catalog, hints, sources, origins: origins.into(), cache: None };
    desired.guess_needs();
    Ok(desired)
}

/// What all files say together.
fn lower(sources: &Sources, cache: Option<&Cache>) -> Lowering {
    let mut out = Lowering::default();
    for part in lower_files(sources, cache) {
        merge(&mut out, part);
    }
    super::resolve::finish(&mut out);
    out
}

/// One file, lowered by itself, as what it says is kept.
struct Lowered {
    said: Lowering,
    kept: Option<(Hash, Part)>,
    fresh: bool,
}

/// Lowers every file by itself, on as many threads as there are cores: parsing KDL is most of the
/// work of a plan without changes. What a file said the last time is taken from the cache.
fn lower_files(sources: &Sources, cache: Option<&Cache>) -> Vec<Lowering> {
    let ids: Vec<_> = sources.iter().map(|(id, _)| id).collect();
    let entry = cache.map(|cache| cache.parts(sources));
    let known = entry.as_ref().map(Entry::get_parts);
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(ids.len().max(1));
    let next = std::sync::atomic::AtomicUsize::new(0);
    let mut parts: Vec<(usize, Lowered)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| {
                    let mut done = Vec::new();
                    loop {
                        let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        let Some(id) = ids.get(at) else { return done };
                        done.push((at, lower_file(sources, *id, known.as_ref())));
                    }
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("reading reports findings and does not panic")).collect()
    });
    parts.sort_unstable_by_key(|(at, _)| *at);
    let fresh = parts.iter().any(|(_, part)| part.fresh);
    let (said, kept): (Vec<Lowering>, Vec<_>) = parts.into_iter().map(|(_, part)| (part.said, part.kept)).unzip();
    if let Some(entry) = entry.filter(|_| fresh) {
        entry.put_parts(&kept.into_iter().flatten().collect::<Vec<_>>());
    }
    said
}

/// Lowers one file, or takes what it said the last time.
fn lower_file(sources: &Sources, id: FileId, known: Option<&Parts>) -> Lowered {
    let hash = known.zip(sources.get(id)).map(|(_, source)| *blake3::hash(source.text.as_bytes()).as_bytes());
    if let Some((known, hash)) = known.zip(hash)
        && let Some(said) = known.get(&hash, id)
    {
        return Lowered { said, kept: known.kept(&hash).map(|part| (hash, part)), fresh: false };
    }
    let mut said = Lowering::default();
    match Document::parse_in(sources, id) {
        Ok(document) => read_nodes(document.nodes(), &Scope { parent: None, schema: "" }, TOP, &[], &mut said),
        Err(findings) => said.findings = findings,
    }
    let kept = hash.filter(|_| said.findings.is_empty()).and_then(|hash| Some((hash, Part::of(&said)?)));
    Lowered { said, fresh: kept.is_some(), kept }
}

/// Adds what one file says to the whole. Only a schema may be opened in many files.
fn merge(out: &mut Lowering, part: Lowering) {
    let Lowering { catalog, hints, origins, findings, repeated, unread } = part;
    let mut twice = std::collections::BTreeSet::new();
    for (id, object) in catalog.objects {
        if let Some(first) = out.origins.get(&id) {
            if id.kind == "schema" {
                if let (Some(again), Some(first)) = (origins.get(&id), out.origins.get_mut(&id)) {
                    first.others.push(again.name);
                    first.others.extend(&again.others);
                }
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
    out.hints.moved.extend(hints.moved);
    out.hints.part_renames.extend(hints.part_renames);
    out.hints.backfills.extend(hints.backfills);
    out.hints.value_backfills.extend(hints.value_backfills);
    out.hints.reverts.extend(hints.reverts);
    out.hints.given_back.extend(hints.given_back);
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
    let mut candidates: Vec<&str> =
        KINDS.iter().filter(|kind| kind.parents.contains(&parent)).map(|kind| kind.node).chain(asked.iter().copied()).collect();
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
        if let Some(old) = column_elsewhere(id, &was.value, at) {
            out.hints.moved.insert(id.clone(), old);
        } else if old == *id {
            out.complain(
                &was,
                format!("{id} cannot have been itself: `was` is its former name"),
                "name what it was called before, or take `was` out",
            );
        } else {
            out.hints.renames.insert(id.clone(), old);
        }
    }
}

/// The id that `was=` means: a sibling's name, or a dotted path that moves it between schemas.
/// Routines keep their argument types unless the text gives them.
fn former_id(id: &Id, was: &str, at: &Scope<'_>) -> Id {
    let (name, arguments) = match was.split_once('(') {
        Some((name, rest)) if id.is_routine() => (name, Some(rest.trim_end_matches(')'))),
        _ => (was, None),
    };
    let parts = crate::catalog::id::undotted(name);
    if id.is_routine() {
        let mut path = if parts.len() == 1 { vec![Ident::new(at.schema), parts[0].clone()] } else { parts };
        let own = id.path.last().cloned().unwrap_or_default();
        path.push(arguments.map_or(own, |text| {
            Ident::from(crate::catalog::expr::split_list(text).iter().map(|part| sql_type::canonical(part)).collect::<Vec<_>>().join(", "))
        }));
        return Id::new(&id.kind, path);
    }
    if id.path.len() == 2 && parts.len() == 2 { Id::new(&id.kind, parts) } else { id.renamed(&was.trim_matches('"').replace("\"\"", "\"")) }
}

/// The column of another table that `was="table.column"` means.
fn column_elsewhere(id: &Id, was: &str, at: &Scope<'_>) -> Option<Id> {
    let mut parts = crate::catalog::id::undotted(was);
    if id.kind != "column" || !(2..=3).contains(&parts.len()) {
        return None;
    }
    if parts.len() == 2 {
        parts.insert(0, Ident::new(at.schema));
    }
    (parts[..2] != id.path[..2]).then(|| Id::new("column", parts))
}
