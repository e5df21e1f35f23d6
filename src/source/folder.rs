//! A catalog into a folder: one file per table, types and functions by name; files that are there
//! already keep everything that did not change.

use std::collections::{BTreeMap, HashSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::catalog::id::dotted;
use crate::catalog::{Catalog, Id};
use crate::kdl::{Document, EditError, FileId, Findings, Node, NodeOut, Sources, is_free_of_comments, render};
use crate::kind::{Kind as _, Object, not_null, schema::Schema};

use super::cache::Cache;
use super::merge::{Additions, Merged, merge};
use super::read::{ReadError, read_folder, read_with};
use super::write::Written;

/// What was done to a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FolderChanges {
    /// Files that are new or have a new text, sorted.
    pub written: Vec<PathBuf>,
    /// Files that had nothing left in them, sorted.
    pub deleted: Vec<PathBuf>,
}

/// Why a folder could not be written. Nothing was, but for [`WriteError::Io`].
#[derive(Debug, thiserror::Error, miette::Diagnostic)]
pub enum WriteError {
    /// What is there cannot be read.
    #[error(transparent)]
    #[diagnostic(transparent)]
    Read(#[from] ReadError),
    /// A file cannot be written.
    #[error("cannot write {path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A file cannot be edited.
    #[error("cannot edit {path}: {error}")]
    Edit {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: EditError,
    },
    /// The result would say something else.
    #[error("internal error: the files would not say what they should of {}", ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    #[diagnostic(help("nothing was written; inspect into an empty folder instead, and report this"))]
    Unequal {
        /// The first objects that would be missing, too many or different.
        ids: Vec<Id>,
    },
}

/// Writes a catalog as files below `folder`, so that reading them gives exactly this catalog. Files
/// that are there keep what does not differ, to the byte. Owners and grants that the files declare
/// stay when the catalog has none at all: then they are not managed.
///
/// # Errors
/// When what is there cannot be read, or a file cannot be written; see [`WriteError`].
pub fn write_folder(catalog: &Catalog, folder: &Path) -> Result<FolderChanges, WriteError> {
    write_folder_beside(catalog, folder, |_| false)
}

/// Like [`write_folder`]; what `outside` holds of stays as the files have it, whatever the catalog
/// says.
///
/// # Errors
/// As [`write_folder`].
pub fn write_folder_beside(catalog: &Catalog, folder: &Path, outside: impl Fn(&Id) -> bool) -> Result<FolderChanges, WriteError> {
    let mut desired = if folder.exists() { read_folder(folder)? } else { super::Desired::default() };
    let mut wanted = catalog.clone();
    wanted.objects.retain(|id, _| !outside(id));
    wanted.objects.extend(desired.catalog.objects.iter().filter(|(id, _)| outside(id)).map(|(id, object)| (id.clone(), object.clone())));
    for kind in ["owner", "grant"] {
        if !catalog.objects.keys().any(|id| id.kind == kind) {
            let kept = desired
                .catalog
                .objects
                .iter()
                .filter(|(id, object)| id.kind == kind && object.parent().is_none_or(|on| catalog.contains(&on)));
            wanted.objects.extend(kept.map(|(id, object)| (id.clone(), object.clone())));
        }
    }
    not_null::settle_as(&wanted, &mut desired.catalog, &desired.hints);
    let Merged { mut edited, added } = merge(&desired, &wanted, folder)?;
    let added: BTreeMap<PathBuf, String> = added.into_iter().map(|(path, additions)| (path, render(&document(additions)))).collect();
    let deleted = emptied(&desired.sources, &mut edited, &added, &wanted);
    verify(&desired.sources, &edited, &deleted, &added, &wanted)?;

    let mut changes = FolderChanges::default();
    let path_of = |file: &FileId| desired.sources.get(*file).map(|source| source.path.clone()).unwrap_or_default();
    let texts = edited.into_iter().map(|(file, text)| (path_of(&file), text)).chain(added);
    for (path, text) in texts {
        write_file(&path, &text).map_err(|error| WriteError::Io { path: path.clone(), error })?;
        changes.written.push(path);
    }
    for path in deleted.iter().map(path_of) {
        std::fs::remove_file(&path).map_err(|error| WriteError::Io { path: path.clone(), error })?;
        changes.deleted.push(path);
    }
    changes.written.sort();
    changes.deleted.sort();
    Ok(changes)
}

/// In one step: a file that is read meanwhile is the old or the new one.
fn write_file(path: &Path, text: &str) -> std::io::Result<()> {
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    let mut file = tempfile::Builder::new().prefix(".schema-").tempfile_in(folder)?;
    file.write_all(text.as_bytes())?;
    // A temporary file is its owner's alone; the new one is as open as the one it replaces.
    let permissions = std::fs::metadata(path).map(|data| data.permissions());
    let permissions = permissions.unwrap_or_else(|_| std::os::unix::fs::PermissionsExt::from_mode(0o644));
    file.as_file().set_permissions(permissions)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

fn document(additions: Additions) -> Vec<NodeOut> {
    let mut document = Vec::new();
    for (schema, nodes) in additions {
        match schema {
            Some(schema) => document.push(NodeOut { children: nodes, ..NodeOut::new(Schema::KEYWORD).arg(schema.as_str()) }),
            None => document.extend(nodes),
        }
    }
    document
}

/// Takes those files out of `edited` in which nothing is left, and whose schemas stand elsewhere.
fn emptied(sources: &Sources, edited: &mut BTreeMap<FileId, String>, added: &BTreeMap<PathBuf, String>, wanted: &Catalog) -> Vec<FileId> {
    let empty: Vec<FileId> =
        edited.iter().filter(|(_, text)| is_free_of_comments(text) && bare_schemas(text).is_some()).map(|(file, _)| *file).collect();
    if empty.is_empty() {
        return empty;
    }
    let mut elsewhere: HashSet<String> = HashSet::new();
    let kept = sources
        .iter()
        .filter(|(file, _)| !empty.contains(file))
        .map(|(file, source)| edited.get(&file).map_or(&*source.text, String::as_str));
    for text in kept.chain(added.values().map(String::as_str)) {
        elsewhere.extend(schemas(text).unwrap_or_default().into_iter().map(|(name, _)| name));
    }
    let mut deleted = Vec::new();
    for file in empty {
        let names = edited.get(&file).and_then(|text| bare_schemas(text)).unwrap_or_default();
        if names.iter().all(|name| elsewhere.contains(name) || !wanted.contains(&Schema::id_of(name))) {
            edited.remove(&file);
            deleted.push(file);
        } else {
            elsewhere.extend(names);
        }
    }
    deleted
}

/// The schemas of a text, and whether each says nothing but its name; nothing if other nodes stand
/// beside them.
fn schemas(text: &str) -> Option<Vec<(String, bool)>> {
    let mut sources = Sources::new();
    let file = sources.add("", text);
    let document = Document::parse_in(&sources, file).ok()?;
    let read = |mut node: Node<'_>| {
        let name = node.arg("a name", &mut Findings::new())?.value;
        (node.name() == Schema::KEYWORD).then(|| (name, !node.has_children() && node.properties(&mut Findings::new()).is_empty()))
    };
    let nodes = document.nodes().into_iter();
    Some(nodes.filter_map(read).collect())
}

/// The names of the schemas in a text that holds nothing else.
fn bare_schemas(text: &str) -> Option<Vec<String>> {
    let mut sources = Sources::new();
    let file = sources.add("", text);
    let count = Document::parse_in(&sources, file).ok()?.nodes().len();
    let schemas = schemas(text)?;
    (schemas.len() == count && schemas.iter().all(|(_, bare)| *bare)).then(|| schemas.into_iter().map(|(name, _)| name).collect())
}

/// Reads what would be there, before anything is written.
fn verify(
    old: &Sources,
    edited: &BTreeMap<FileId, String>,
    deleted: &[FileId],
    added: &BTreeMap<PathBuf, String>,
    wanted: &Catalog,
) -> Result<(), WriteError> {
    if edited.is_empty() && deleted.is_empty() && added.is_empty() {
        return Ok(());
    }
    let mut sources = Sources::new();
    for (file, source) in old.iter().filter(|(file, _)| !deleted.contains(file)) {
        match edited.get(&file) {
            Some(text) => sources.add(source.path.clone(), text.as_str()),
            None => sources.add(source.path.clone(), source.text.clone()),
        };
    }
    for (path, text) in added {
        sources.add(path.clone(), text.as_str());
    }
    let mut result = read_with(sources, Some(&Cache::of_user())).map_err(ReadError::Findings)?;
    not_null::settle_as(wanted, &mut result.catalog, &result.hints);
    let missing = wanted.objects.iter().filter(|(id, object)| result.catalog.get(id) != Some(*object)).map(|(id, _)| id);
    let extra = result.catalog.objects.keys().filter(|id| !wanted.contains(id));
    let ids: Vec<Id> = missing.chain(extra).take(5).cloned().collect();
    if ids.is_empty() { Ok(()) } else { Err(WriteError::Unequal { ids }) }
}

/// The files of a catalog in an empty folder: path to nodes.
#[must_use]
pub fn files(catalog: &Catalog) -> BTreeMap<PathBuf, Vec<NodeOut>> {
    let mut files: BTreeMap<PathBuf, Additions> = BTreeMap::new();
    for mut piece in Written::new(catalog).pieces() {
        let Some(object) = catalog.get(&piece.main) else { continue };
        if let Object::Schema(schema) = object {
            let (own, members): (Vec<_>, Vec<_>) = piece.children.into_iter().partition(|child| child.main.kind == "grant");
            piece.children = own;
            for member in members {
                let Some(object) = catalog.get(&member.main) else { continue };
                files.entry(file_of(object)).or_default().entry(Some(schema.name.clone())).or_default().extend(member.into_nodes());
            }
        }
        files.entry(file_of(object)).or_default().entry(None).or_default().extend(piece.into_nodes());
    }
    files.into_iter().map(|(path, additions)| (path, document(additions))).collect()
}

/// The file of an object that stands in a schema or at the top, relative to the folder.
#[must_use]
pub fn file_of(object: &Object) -> PathBuf {
    let id = object.id();
    let folder = PathBuf::from(file_name(id.schema()));
    match object {
        Object::Schema(_) => folder.join("schema.kdl"),
        _ if object.parent().is_none() => PathBuf::from("database.kdl"),
        Object::Table(_) => folder.join("tables").join(format!("{}.kdl", file_name(id.name()))),
        Object::View(_) | Object::MaterializedView(_) => folder.join("views").join(format!("{}.kdl", file_name(id.name()))),
        Object::Function(_) | Object::Procedure(_) | Object::Aggregate(_) => folder.join("functions.kdl"),
        Object::Sequence(_) => folder.join("sequences.kdl"),
        _ => folder.join("types.kdl"),
    }
}

/// A name as a file's: what file systems refuse or fold is replaced.
fn file_name(name: &str) -> String {
    let plain =
        !name.is_empty() && name.len() < 100 && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-');
    if plain {
        return name.to_owned();
    }
    // A hash keeps `User` and `user` apart where the file system does not.
    let safe: String = name.chars().take(60).map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' }).collect();
    format!("{safe}-{}", &blake3::hash(dotted(&[name.into()]).as_bytes()).to_hex()[..6])
}
