//! A catalog into a folder: one file per table, types and functions by name; files that are there
//! already keep everything that did not change.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::catalog::Catalog;
use crate::catalog::id::dotted;
use crate::kdl::{NodeOut, render};
use crate::kind::Object;

use super::write::Written;

/// Writes a catalog as files below `folder`; gives the paths that were written.
pub fn write_folder(catalog: &Catalog, folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    for (path, nodes) in files(catalog) {
        let path = folder.join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let mut file = tempfile::NamedTempFile::new_in(path.parent().unwrap_or(folder))?;
        file.write_all(render(&nodes).as_bytes())?;
        file.persist(&path).map_err(|error| error.error)?;
        written.push(path);
    }
    Ok(written)
}

/// The files of a catalog: path to nodes.
fn files(catalog: &Catalog) -> BTreeMap<PathBuf, Vec<NodeOut>> {
    let writer = Written::new(catalog);
    let mut files: BTreeMap<PathBuf, Vec<NodeOut>> = BTreeMap::new();
    let children = catalog.children();
    for object in writer.sorted(catalog.objects.values().filter(|object| object.parent().is_none())) {
        let Object::Schema(schema) = object else {
            let mut root = NodeOut::new("");
            writer.write(object, &mut root);
            files.entry(PathBuf::from("database.kdl")).or_default().extend(root.children);
            continue;
        };
        let folder = PathBuf::from(file_name(&schema.name));
        let id = object.id();
        // The schema's own comment, owner and grants stand in one file, its members in theirs.
        let mut own = NodeOut::new("");
        let node = object.write(&mut own);
        for child in writer.sorted(children.get(&id).into_iter().flatten().copied()) {
            if matches!(child, Object::Comment(_) | Object::Owner(_) | Object::Grant(_)) {
                writer.write(child, node);
            }
        }
        files.insert(folder.join("schema.kdl"), own.children);
        for child in writer.sorted(children.get(&id).into_iter().flatten().copied()) {
            let name = match child {
                Object::Comment(_) | Object::Owner(_) | Object::Grant(_) => continue,
                Object::Table(_) | Object::View(_) | Object::MaterializedView(_) => format!("{}.kdl", file_name(child.id().name())),
                Object::Function(_) | Object::Procedure(_) | Object::Aggregate(_) => "functions.kdl".to_owned(),
                Object::Sequence(_) => "sequences.kdl".to_owned(),
                _ => "types.kdl".to_owned(),
            };
            let folder = match child {
                Object::Table(_) => folder.join("tables"),
                Object::View(_) | Object::MaterializedView(_) => folder.join("views"),
                _ => folder.clone(),
            };
            let nodes = files.entry(folder.join(name)).or_default();
            if nodes.is_empty() {
                nodes.push(NodeOut::new("schema").arg(schema.name.as_str()));
            }
            if let Some(schema) = nodes.last_mut() {
                writer.write(child, schema);
            }
        }
    }
    files
}

/// A name as a file's: what file systems refuse or fold is replaced.
fn file_name(name: &str) -> String {
    let plain = !name.is_empty() && name.len() < 100 && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-');
    if plain {
        return name.to_owned();
    }
    // A hash keeps `User` and `user` apart where the file system does not.
    let safe: String = name.chars().take(60).map(|c| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '_' }).collect();
    format!("{safe}-{}", &blake3::hash(dotted(&[name.into()]).as_bytes()).to_hex()[..6])
}
