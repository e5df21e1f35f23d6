//! What each file says, and all of them together, kept in the user's cache folder: parsing KDL is most of the
//! time that reading takes.
//!
//! An entry belongs to one text and one build of this program. A cache that cannot be read or
//! written is never an error: the file is parsed again.

use std::io::Write as _;
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

/// Beneath it, parsing is as quick as a look into the cache.
const SMALLEST: usize = 256;

/// A folder of entries.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
    build: String,
}

/// The place of what one text says.
#[derive(Debug)]
pub struct Entry {
    path: PathBuf,
}

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

    /// The entry of a text; small ones have none.
    #[must_use]
    pub fn entry(&self, text: &str) -> Option<Entry> {
        if text.len() < SMALLEST {
            return None;
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.build.as_bytes()).update(&[0]).update(text.as_bytes());
        Some(Entry { path: self.folder.join(hasher.finalize().to_hex().as_str()) })
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

impl Entry {
    /// What the text says, with spans in `file`.
    #[must_use]
    pub fn get(&self, file: FileId) -> Option<Lowering> {
        let Stored { catalog, hints, mut origins } = self.read()?;
        for (_, origin) in &mut origins {
            move_to(origin, file);
        }
        Some(Lowering { catalog, hints, origins: origins.into_iter().collect(), ..Lowering::default() })
    }

    /// What many texts together say: there was nothing to complain about.
    #[must_use]
    pub fn get_whole(&self) -> Option<(Catalog, Hints)> {
        self.read()
    }

    fn read<T: serde::de::DeserializeOwned>(&self) -> Option<T> {
        let bytes = std::fs::read(&self.path).ok()?;
        // The last bytes are the hash of the others: half an entry is none.
        let (content, hash) = bytes.split_last_chunk::<32>()?;
        if blake3::hash(content).as_bytes() != hash {
            return None;
        }
        let read = postcard::from_bytes(content).ok()?;
        self.note_use();
        Some(read)
    }

    /// Keeps what the text says.
    pub fn put(&self, said: &Lowering) {
        let Lowering { catalog, hints, origins, findings: _, repeated: _, unread: _ } = said;
        self.keep(&Borrowed { catalog, hints, origins: origins.iter().collect() });
    }

    /// Keeps what many texts together say.
    pub fn put_whole(&self, catalog: &Catalog, hints: &Hints) {
        self.keep(&(catalog, hints));
    }

    fn keep(&self, what: &impl Serialize) {
        let Ok(mut bytes) = postcard::to_stdvec(what) else { return };
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
