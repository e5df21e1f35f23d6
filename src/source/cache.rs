//! What each file says, and all of them together, kept in the user's cache folder: parsing KDL is most of the
//! time that reading takes.
//!
//! Two entries belong to a source folder and one build of this program: what all its files say, while none of them
//! changes; and what each of them says, for when some do. A cache that cannot be read or written is never an error:
//! the files are parsed again.

use std::collections::HashMap;
use std::io::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::catalog::{Catalog, Id};
use crate::kdl::{FileId, Sources, Span};
use crate::kind::Lowering;
use crate::kind::lowering::{Hints, Origin};

/// Changes whenever the form of an entry does.
const FORMAT: u32 = 2;

/// Entries that nobody used for this long are removed.
const KEPT: Duration = Duration::from_hours(24 * 30);

/// How often an entry's time of use is noted, and old ones are looked for.
const DAY: Duration = Duration::from_hours(24);

/// Beneath it, in bytes, parsing is as quick as a look into the cache.
const SMALLEST: usize = 256;

/// A folder of entries.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
    build: String,
}

/// The place of what many texts say.
#[derive(Debug)]
pub struct Entry {
    path: PathBuf,
}

/// What each text of a folder said when it was read last. One file: to make ten thousand costs as much as to parse them.
#[derive(Debug, Default)]
pub struct Parts {
    bytes: Vec<u8>,
    places: HashMap<Hash, Range<usize>>,
}

/// The hash of a text.
pub type Hash = [u8; 32];

/// What one text says, as it is kept.
#[derive(Debug)]
pub struct Part(Vec<u8>);

#[derive(Serialize, Deserialize)]
struct Stored {
    catalog: Catalog,
    hints: Hints,
    origins: Vec<(Id, Origin)>,
}

#[derive(Serialize)]
struct Borrowed<'l> {
    catalog: &'l Catalog,
    hints: &'l Hints,
    origins: Vec<(&'l Id, &'l Origin)>,
}

impl Cache {
    /// The one in the user's cache folder.
    #[must_use]
    pub fn of_user() -> Self {
        Self::at(crate::pg::server::cache_dir().join("lowered"))
    }

    /// A cache in this folder, which need not be there yet.
    #[must_use]
    pub fn at(folder: PathBuf) -> Self {
        // Two builds of one version may read differently while it is being worked on.
        let program = std::env::current_exe().and_then(std::fs::metadata);
        let stamp = program.map(|data| format!("{} {:?}", data.len(), data.modified().ok())).unwrap_or_default();
        let cache = Self { folder, build: format!("{FORMAT} {} {stamp}", env!("CARGO_PKG_VERSION")) };
        cache.clean();
        cache
    }

    /// The entry of what each text says by itself, by the folder in which all of them stand.
    #[must_use]
    pub fn parts(&self, sources: &Sources) -> Entry {
        let mut folders = sources.iter().map(|(_, source)| source.path.parent().unwrap_or(Path::new("")));
        let mut common = folders.next().map(Path::to_owned).unwrap_or_default();
        for folder in folders {
            while !folder.starts_with(&common) && common.pop() {}
        }
        let common = std::path::absolute(&common).unwrap_or(common);
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.build.as_bytes()).update(b"\0parts\0").update(common.as_os_str().as_encoded_bytes());
        Entry { path: self.folder.join(hasher.finalize().to_hex().as_str()) }
    }

    /// The entry of many texts together, in this order; none where they are small.
    #[must_use]
    pub fn whole(&self, sources: &Sources) -> Option<Entry> {
        let length: usize = sources.iter().map(|(_, source)| source.text.len()).sum();
        if length < SMALLEST {
            return None;
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.build.as_bytes()).update(b"\0whole");
        for (_, source) in sources.iter() {
            // The length keeps one text from running into the next.
            hasher.update(&source.text.len().to_le_bytes()).update(source.text.as_bytes());
        }
        Some(Entry { path: self.folder.join(hasher.finalize().to_hex().as_str()) })
    }

    /// Removes what was not used for long, once a day.
    fn clean(&self) {
        let marker = self.folder.join("cleaned");
        let young = std::fs::metadata(&marker).is_ok_and(|data| age(&data) < DAY);
        if young || !self.folder.is_dir() || std::fs::write(&marker, "").is_err() {
            return;
        }
        for entry in std::fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            if entry.metadata().is_ok_and(|data| data.is_file() && age(&data) > KEPT) {
                // What cannot be removed only takes space.
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

fn age(data: &std::fs::Metadata) -> Duration {
    data.modified().ok().and_then(|time| SystemTime::now().duration_since(time).ok()).unwrap_or_default()
}

impl Parts {
    /// What a text with this hash says, with spans in `file`.
    #[must_use]
    pub fn get(&self, hash: &Hash, file: FileId) -> Option<Lowering> {
        let Stored { catalog, hints, mut origins } = postcard::from_bytes(&self.bytes[self.places.get(hash)?.clone()]).ok()?;
        for (_, origin) in &mut origins {
            move_to(origin, file);
        }
        Some(Lowering { catalog, hints, origins: origins.into_iter().collect(), ..Lowering::default() })
    }

    /// The same as it is kept, to be kept again.
    #[must_use]
    pub fn kept(&self, hash: &Hash) -> Option<Part> {
        Some(Part(self.bytes[self.places.get(hash)?.clone()].to_vec()))
    }
}

impl Part {
    /// What one text says; there was nothing to complain about.
    #[must_use]
    pub fn of(said: &Lowering) -> Option<Self> {
        let Lowering { catalog, hints, origins, findings: _, repeated: _, unread: _ } = said;
        postcard::to_stdvec(&Borrowed { catalog, hints, origins: origins.iter().collect() }).ok().map(Self)
    }
}

impl Entry {
    /// What each text said.
    #[must_use]
    pub fn get_parts(&self) -> Parts {
        let read = || {
            let bytes = self.content()?;
            let (lengths, rest) = postcard::take_from_bytes::<Vec<(Hash, usize)>>(&bytes).ok()?;
            let mut at = bytes.len() - rest.len();
            let mut places = HashMap::with_capacity(lengths.len());
            for (hash, length) in lengths {
                places.insert(hash, at..at.checked_add(length).filter(|end| *end <= bytes.len())?);
                at += length;
            }
            Some(Parts { bytes, places })
        };
        read().unwrap_or_default()
    }

    /// Keeps what each text says, and nothing of those that are gone.
    pub fn put_parts(&self, parts: &[(Hash, Part)]) {
        let lengths: Vec<(Hash, usize)> = parts.iter().map(|(hash, part)| (*hash, part.0.len())).collect();
        let Ok(mut bytes) = postcard::to_stdvec(&lengths) else { return };
        bytes.extend(parts.iter().flat_map(|(_, part)| &part.0));
        self.keep_bytes(bytes);
    }

    /// What many texts together say: there was nothing to complain about.
    #[must_use]
    pub fn get_whole(&self) -> Option<(Catalog, Hints)> {
        self.read()
    }

    fn read<T: serde::de::DeserializeOwned>(&self) -> Option<T> {
        postcard::from_bytes(&self.content()?).ok()
    }

    fn content(&self) -> Option<Vec<u8>> {
        let mut bytes = std::fs::read(&self.path).ok()?;
        // The last bytes are the hash of the others: half an entry is none.
        let (content, hash) = bytes.split_last_chunk::<32>()?;
        if blake3::hash(content).as_bytes() != hash {
            return None;
        }
        bytes.truncate(bytes.len() - 32);
        self.note_use();
        Some(bytes)
    }

    /// Keeps what many texts together say.
    pub fn put_whole(&self, catalog: &Catalog, hints: &Hints) {
        if let Ok(bytes) = postcard::to_stdvec(&(catalog, hints)) {
            self.keep_bytes(bytes);
        }
    }

    fn keep_bytes(&self, mut bytes: Vec<u8>) {
        bytes.extend(*blake3::hash(&bytes).as_bytes());
        // A full disk or a read-only home only costs time.
        let _ = self.write(&bytes);
    }

    fn write(&self, bytes: &[u8]) -> std::io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(bytes)?;
        file.persist(&self.path).map_err(|error| error.error)?;
        Ok(())
    }

    fn note_use(&self) {
        let old = std::fs::metadata(&self.path).is_ok_and(|data| age(&data) > DAY);
        if old && let Ok(file) = std::fs::File::options().append(true).open(&self.path) {
            let _ = file.set_modified(SystemTime::now());
        }
    }
}

/// The same places in another file.
fn move_to(origin: &mut Origin, file: FileId) {
    let Origin { name, node, texts, others } = origin;
    let spans = [name, node].into_iter().chain(texts.iter_mut().map(|text| &mut text.span)).chain(others);
    spans.for_each(|span: &mut Span| span.file = file);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::read::read_with;

    #[test]
    fn what_comes_from_the_cache_is_the_same() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let cache = Cache::at(folder.path().join("lowered"));
        let text = format!(
            "// {}\nschema app {{\n    table t was=s {{\n        column id bigint\n        primary-key id\n    }}\n}}\n",
            "x".repeat(SMALLEST)
        );
        let read = |cache: Option<&Cache>| {
            let mut sources = Sources::new();
            sources.add("first.kdl", "schema other");
            sources.add("second.kdl", text.as_str());
            read_with(sources, cache).expect("it reads")
        };
        let plain = read(None);
        let cold = read(Some(&cache));
        // One of the file that is not small, one of all together.
        assert_eq!(std::fs::read_dir(folder.path().join("lowered")).expect("entries").count(), 2);
        let mut warm = read(Some(&cache));
        assert!(warm.catalog.needs.is_empty(), "it comes from the entry of all together");
        warm.guess_needs();
        for cached in [cold, warm] {
            assert_eq!(cached.catalog, plain.catalog);
            assert_eq!(cached.hints, plain.hints);
            assert_eq!(cached.origins(), plain.origins());
        }
        for entry in std::fs::read_dir(folder.path().join("lowered")).expect("entries") {
            std::fs::write(entry.expect("an entry").path(), "half").expect("writable");
        }
        assert_eq!(read(Some(&cache)).catalog, plain.catalog);
        let unwritable = Cache::at("/proc/none".into());
        assert_eq!(read(Some(&unwritable)).catalog, plain.catalog);
    }
}
